"""The checks, in the order in which they are shown."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator

from sqlalchemy import select, text
from sqlmodel import col

from ca import clock, crl
from ca.authority import ABSENT, OFFLINE, State
from ca.errors import CertwrightError
from ca.models import LedgerHead
from pki import backup
from pki.doctor.finding import Finding, Level
from pki.product import Product
from pki.settings import FILE

SMALLEST_DISK = 512 << 20
OLDEST_POSTGRESQL = 130000
LARGEST_SKEW = 5
DAY = 86400
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
        except CertwrightError as error:
            yield Finding("keys", Level.PROBLEM, f"the key of {row.name} does not work: {error.message}", error.hint)
        else:
            yield Finding("keys", Level.OK, f"the key of {row.name} is that of its certificate")


def secrets(product: Product) -> Iterator[Finding]:
    """Nobody else reads keys, the passphrase, the PIN or the settings."""
    state, asked = product.state, product.settings.keys
    named = [state / asked.passphrase_file, *([state / asked.pin_file] if asked.pin_file else []), state / FILE]
    wrong = False
    for path in (state, state / "keys", *named, *(state / "keys").glob("*.pem")):
        if path.exists() and path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            wrong = True
            mode = "0700" if path.is_dir() else "0400"
            yield Finding("permissions", Level.PROBLEM, f"others may read or write {path}", f"chmod {mode} {path}")
    if not wrong:
        yield Finding("permissions", Level.OK, "keys, passphrase and settings are the owner's alone")


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
    else:
        yield Finding("clock", Level.OK, "the clock is not behind the ledger, nor away from the database's")


def disk(product: Product) -> Iterator[Finding]:
    """There is room for what is written."""
    free = shutil.disk_usage(product.state).free
    level = Level.OK if free >= SMALLEST_DISK else Level.PROBLEM
    advice = None if level is Level.OK else "make room: without it nothing is issued"
    yield Finding("disk", level, f"{free >> 20} MiB are free for {product.state}", advice)


def database(product: Product) -> Iterator[Finding]:
    """The database is one that is supported."""
    if not product.installation.store.is_shared:
        yield Finding("database", Level.OK, "SQLite, for this one process; PostgreSQL for several")
        return
    with product.installation.store.read() as connection:
        version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    level = Level.OK if version >= OLDEST_POSTGRESQL else Level.PROBLEM
    advice = None if level is Level.OK else "upgrade PostgreSQL"
    yield Finding("database", level, f"PostgreSQL {version // 10000}", advice)


def lists(product: Product) -> Iterator[Finding]:
    """No CRL has run out, or is about to."""
    now, margin = clock.timestamp(), product.settings.crl.lifetime.total_seconds() / 4
    wrong = False
    for status in crl.statuses(product.installation):
        name, left = f"list {status.shard} of {status.authority}", status.next_update - now
        if crl.overdue(status, now):
            wrong = True
            yield Finding("crl", Level.PROBLEM, f"{name} is not good any more", PUBLISHES)
        elif left < margin:
            wrong = True
            yield Finding("crl", Level.WARNING, f"{name} ends in {left} s", PUBLISHES)
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
    """Entries come under a signed head."""
    waiting = product.installation.ledger.waiting()
    level = Level.OK if waiting < 1000 else Level.WARNING
    advice = None if level is Level.OK else "is certwright serve running? See its log for sequence-ledger"
    yield Finding("ledger", level, f"{waiting} entries wait for a signed head", advice)


CHECKS: tuple[Check, ...] = (keys, secrets, expiry, time_of_day, disk, database, lists, backups, ledger)


def examine(product: Product) -> list[Finding]:
    """Run them all."""
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(product)
        except (CertwrightError, OSError) as error:
            found.append(Finding(check.__name__, Level.PROBLEM, f"it cannot be looked at: {error}"))
    return found
