"""The checks, in the order in which they are shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping

from sqlalchemy import select, text
from sqlmodel import col

from ca import clock, completeness, crl
from ca.authority import ABSENT, OFFLINE, State
from ca.errors import CertwrightError, StoreUnavailable
from ca.models import LedgerHead
from ca.store import migrate
from ca.timekeeping import SET_IT
from pki import backup
from pki.doctor.distribution import distribution
from pki.doctor.finding import Finding, Level
from pki.doctor.listeners import listeners
from pki.doctor.permissions import permissions
from pki.doctor.signers import signers
from pki.doctor.vouching import vouching
from pki.product import Product
from renewers.telling import audits

SMALLEST_DISK = 512 << 20
OLDEST_POSTGRESQL = 130000
LARGEST_SKEW = 5
DAY = 86400
CHECKED_FOR = 3.0
"""Seconds for which lists are held against the tables."""
LATE_AUDIT = 3
"""How many times their distance audits may be late, as the alert rules have it."""
STANDS = 900
"""Seconds after which work counts as standing still, as the alert rules have it."""
AWAY = "start the database, or mend store.url; the server goes on by itself once it answers"
PUBLISHES = "certwright serve publishes lists: see its log"
Check = Callable[[Product], Iterator[Finding]]


def keys(product: Product) -> Iterator[Finding]:
    """Every CA that signs has its key, and it is the one of its certificate."""
    authorities = product.installation.authorities
    for row in authorities.trusted():
        if row.key_label in ABSENT:
            whose = "kept offline" if row.key_label == OFFLINE else "somebody else's"
            yield Finding("keys", Level.OK, f"the key of {row.name} is {whose}")
            continue
        try:
            authorities.issuer(row.name)
        except StoreUnavailable:
            raise
        except CertwrightError as error:
            yield Finding("keys", Level.PROBLEM, f"the key of {row.name} does not work: {error.message}", error.hint)
        else:
            yield Finding("keys", Level.OK, f"the key of {row.name} is that of its certificate")


def secrets(product: Product) -> Iterator[Finding]:
    """Nobody else reads keys, the passphrase, the PIN or the settings."""
    return permissions(product.state, product.settings.keys)


def expiry(product: Product) -> Iterator[Finding]:
    """CA certificates live on for longer than the time that settings name."""
    now, warn = clock.timestamp(), product.settings.warn.authority.total_seconds()
    for row in product.installation.authorities.trusted():
        if row.state not in (State.ACTIVE, State.TAINTED):
            continue
        left = row.not_after - now
        days = f"{row.name} ends in {left // DAY} days"
        if left <= 0:
            yield Finding("expiry", Level.PROBLEM, f"{row.name} has expired", "certwright ca rotate")
        elif left < warn:
            yield Finding("expiry", Level.WARNING, days, "certwright ca rotate")
        else:
            yield Finding("expiry", Level.OK, days)


def time_of_day(product: Product) -> Iterator[Finding]:
    """The clock is not behind what was signed already, nor away from the database's."""
    now, store = clock.timestamp(), product.installation.store
    with store.read() as connection:
        signed = connection.execute(select(col(LedgerHead.signed_at)).order_by(col(LedgerHead.size).desc())).scalar()
        theirs = (
            int(connection.execute(text("SELECT extract(epoch FROM now())")).scalar_one()) if store.is_shared else now
        )
    if signed is not None and signed > now + LARGEST_SKEW:
        message = f"the clock is {signed - now} s behind the newest head of the ledger"
        yield Finding("clock", Level.PROBLEM, message, "set the clock (chronyc makestep), then look again")
    elif abs(theirs - now) > LARGEST_SKEW:
        message = f"the database's clock is {theirs - now} s away"
        yield Finding("clock", Level.PROBLEM, message, "have both machines follow the same time servers")
    elif (objection := product.installation.timekeeper.objection) is not None:
        yield Finding("clock", Level.PROBLEM, f"nothing is issued: {objection}", SET_IT)
    else:
        yield Finding("clock", Level.OK, "the clock is not behind the ledger, nor away from the database's")


def disk(product: Product) -> Iterator[Finding]:
    """There is room for what is written."""
    free = shutil.disk_usage(product.state).free
    level = Level.OK if free >= SMALLEST_DISK else Level.PROBLEM
    advice = None if level is Level.OK else "make room: without it nothing is issued"
    yield Finding("disk", level, f"{free >> 20} MiB are free for {product.state}", advice)


def database(product: Product) -> Iterator[Finding]:
    """The database answers, is one that is supported, and nobody has changed its tables behind our back."""
    store = product.installation.store
    with store.read() as connection:
        revision = migrate.current_revision(connection)
        version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) if store.is_shared else None
    if revision != migrate.newest_revision():
        message = f"the database has revision {revision}, this program {migrate.newest_revision()}"
        advice = "another version of the program has changed it: run the same one everywhere"
        yield Finding("database", Level.PROBLEM, message, advice)
    elif version is not None and version < OLDEST_POSTGRESQL:
        yield Finding("database", Level.PROBLEM, f"PostgreSQL {version // 10000} is too old", "upgrade PostgreSQL")
    else:
        what = "SQLite, for this one process" if version is None else f"PostgreSQL {version // 10000}"
        yield Finding("database", Level.OK, f"{what}; revision {revision}")


def lists(product: Product) -> Iterator[Finding]:
    """No CRL has run out, or is about to; those of offline CAs, which people renew, wait for nobody either."""
    now, margin = clock.timestamp(), product.settings.crl.lifetime.total_seconds() / 4
    offline = {row.name for row in product.installation.authorities.all() if row.key_label == OFFLINE}
    wrong = False
    for status in crl.statuses(product.installation):
        is_offline = status.authority in offline
        name, left = completeness.Checked(status.authority, status.shard).name, status.next_update - now
        advice = f"certwright ceremony request {status.authority}" if is_offline else PUBLISHES
        least = (status.next_update - status.this_update) / 4 if is_offline else margin
        if crl.overdue(status, now):
            level, message = Level.PROBLEM, f"{name} is not good any more"
        elif left < least:
            level, message = Level.WARNING, f"{name} ends in {left // 3600} hours"
        elif is_offline and status.due_at <= now:
            level, message = Level.WARNING, f"{name} lacks what was revoked since, and waits for its key"
        else:
            continue
        wrong = True
        yield Finding("crl", level, message, advice)
    if not wrong:
        yield Finding("crl", Level.OK, "every CRL is fresh")


def backups(product: Product) -> Iterator[Finding]:
    """There is a backup, and it is not old."""
    if not product.settings.backup.to:
        yield Finding("backup", Level.WARNING, "no backups are made", "certwright backup key, then [backup] to")
    elif backup.is_late(product):
        yield Finding(
            "backup", Level.PROBLEM, "the newest backup is late, or none is there", "certwright backup create"
        )
    else:
        yield Finding("backup", Level.OK, f"the newest backup is {int(backup.age(product))} s old")


def ledger(product: Product) -> Iterator[Finding]:
    """Entries come under a signed head, and the store says what they say."""
    waiting = product.installation.ledger.waiting()
    level = Level.OK if waiting < 1000 else Level.WARNING
    advice = None if level is Level.OK else "is certwright serve running? See its log for sequence-ledger"
    yield Finding("ledger", level, f"{waiting} entries wait for a signed head", advice)
    last, every = audits.newest(product.installation.store), product.settings.ledger.audit_every.total_seconds()
    if last is None:
        yield Finding("ledger", Level.SKIPPED, "no daily audit was made yet; certwright ledger verify makes one now")
    elif last.findings:
        message = f"the store does not say what it says: {last.first}; {last.findings} findings in all"
        yield Finding("ledger", Level.PROBLEM, message, "certwright ledger verify; keep the database as it is")
    else:
        age = clock.timestamp() - last.at
        level = Level.OK if age < LATE_AUDIT * every else Level.WARNING
        message = f"the store said what it says {int(age)} s ago, in {last.entries} entries"
        yield Finding("ledger", level, message, None if level is Level.OK else "see the log for audit-ledger")


def complete(product: Product) -> Iterator[Finding]:
    """Published lists say what the tables say: as many as a few seconds allow, besides what the schedule has found."""
    installation, until = product.installation, clock.monotonic() + CHECKED_FOR
    wanted = completeness.places(installation)
    troubles = {message for found in product.list_rounds.troubles.values() for message in found}
    left = list(reversed(wanted))
    while left:
        troubles.update(completeness.check(installation, left.pop()).findings)
        if clock.monotonic() >= until:
            break
    for message in sorted(troubles)[: completeness.MOST]:
        yield Finding("completeness", Level.PROBLEM, message, "certwright ca crl --check, then see the ledger")
    if not troubles:
        rest = "; certwright ca crl --check looks at all" if left else ""
        yield Finding(
            "completeness", Level.OK, f"{len(wanted) - len(left)} of {len(wanted)} lists say what the tables say{rest}"
        )


def schedule(product: Product) -> Iterator[Finding]:
    """Scheduled work of this process has been done, each piece in its time."""
    pulses = product.pulses.known
    if not pulses:
        yield Finding("schedule", Level.SKIPPED, "no schedule runs here: certwright serve runs one")
        return
    wrong = False
    for name, pulse in pulses.items():
        if pulse.trouble is not None:
            wrong = True
            message = f"{name} fails, and was last done {int(pulse.age)} s ago: {pulse.trouble}"
            yield Finding("schedule", Level.PROBLEM, message, pulse.hint or "see the log for work-failed")
        elif pulse.age > max(STANDS, 2 * pulse.every):
            wrong = True
            message = f"{name} was last done {int(pulse.age)} s ago, and is due every {pulse.every} s"
            yield Finding("schedule", Level.PROBLEM, message, "it hangs: restart certwright serve, and report its log")
    if not wrong:
        oldest = max(int(pulse.age) for pulse in pulses.values())
        yield Finding("schedule", Level.OK, f"{len(pulses)} pieces of work are done in time, the last {oldest} s ago")


CHECKS: Mapping[str, Check] = {
    "database": database,
    "keys": keys,
    "permissions": secrets,
    "expiry": expiry,
    "signers": signers,
    "clock": time_of_day,
    "disk": disk,
    "crl": lists,
    "completeness": complete,
    "cdp": distribution,
    "listeners": listeners,
    "identity": vouching,
    "schedule": schedule,
    "backup": backups,
    "ledger": ledger,
}
"""By the name that their findings have."""
WITHOUT_STORE = ("permissions", "disk", "identity", "schedule")
"""Those that say something while the database is away."""


def examine(product: Product) -> list[Finding]:
    """Run them all. Without a database most of them know nothing, and may wait for it each: it is asked once."""
    found: list[Finding] = []
    is_away = False
    for name, check in CHECKS.items():
        if is_away and name not in WITHOUT_STORE:
            found.append(Finding(name, Level.SKIPPED, "it needs the database"))
            continue
        try:
            found += check(product)
        except StoreUnavailable as error:
            is_away = True
            found.append(Finding("database", Level.PROBLEM, error.message, error.hint or AWAY))
        except CertwrightError as error:
            found.append(Finding(name, Level.PROBLEM, f"it cannot be looked at: {error.message}", error.hint))
        except OSError as error:
            found.append(Finding(name, Level.PROBLEM, f"it cannot be looked at: {error}"))
    return found
