"""The watch over consumers: who does not hold what was published long ago, who is not reached, what is about to end.

It finds its rows by query, so that a look costs what is wrong and not what there is; each alarm is raised from what the
transaction that raises it sees, and cleared once it is over. What nobody has planned to bring is planned here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers.distribution import holdings, published, spreading, streams
from renewers.distribution.holdings import ACTIVE, STALE_ALARM, UNREACHABLE_ALARM
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Holding, Publication
from renewers.telling import alarms
from renewers.telling.alarms import Trouble

LATE_ALARM = "publication-late"
SIGNER_ALARM = "publication-signer"
RESPONDER_ALARM = "responder-signer"
LIST_ALARM = "crl-incomplete"
LATE_PART = 4
"""A manifest is late once less than this part of its life is left: it should have been followed at half of it."""
PAGE = 100
MOST = 10_000
"""Consumers that are judged in one look; those beyond come when these are mended."""
GROWS_WORSE = 10
"""How many times as old as it may be something is when it is worse than a warning."""

_FIRST_UNHELD = (
    select(col(Publication.published_at))
    .where(col(Publication.stream) == col(Holding.stream), col(Publication.version) > col(Holding.held_version))
    .order_by(col(Publication.version))
    .limit(1)
    .correlate(Holding)
    .scalar_subquery()
)
"""When that was published which comes next after what a consumer holds."""
_STARTED = func.coalesce(col(Holding.held_since), col(Consumer.created_at))


def watch(lifecycle: Lifecycle) -> int:
    """Look at everybody; returns how many alarms were raised or cleared."""
    spreading.catch_up(lifecycle)
    with lifecycle.store.read() as connection:
        about = _worth_a_look(connection)
        ends = _newest(connection, lifecycle)
    changed = 0
    for start in range(0, len(about), PAGE):
        names = about[start : start + PAGE]
        changed += lifecycle.store.write(lambda tx, names=names: _judge(tx, names))
    late = [row for row in ends if _is_late(row)]
    with lifecycle.store.read() as connection:
        standing = connection.execute(select(col(Alarm.subject)).where(col(Alarm.kind) == LATE_ALARM)).scalars().all()
    if late or standing:
        changed += lifecycle.store.write(lambda tx: _judge_ends(tx, ends, standing))
    return changed + _judge_signer(lifecycle) + _judge_responders(lifecycle) + _judge_lists(lifecycle)


def _judge_signer(lifecycle: Lifecycle) -> int:
    """Its old certificate still signs: what stands in the way of a new one is mended before that ends."""
    trouble, about = lifecycle.signing_trouble(), lifecycle.trust_domain
    known = select(col(Alarm.subject)).where(col(Alarm.kind) == SIGNER_ALARM)
    with lifecycle.store.read() as connection:
        is_standing = connection.execute(known).first() is not None
    if trouble is None and not is_standing:
        return 0
    if trouble is None:
        return int(lifecycle.store.write(lambda tx: alarms.clear_alarm(tx, SIGNER_ALARM, about)))
    message = f"the certificate that signs publications cannot be renewed: {trouble.message}"
    said = Trouble(SIGNER_ALARM, about, "error", message, trouble.hint)
    return int(lifecycle.store.write(lambda tx: alarms.raise_alarm(tx, said)))


def _judge_responders(lifecycle: Lifecycle) -> int:
    """The same of what signs OCSP answers, for each CA."""
    said = [
        Trouble(RESPONDER_ALARM, name, "error", f"what signs OCSP answers cannot be made: {e.message}", e.hint)
        for name, e in lifecycle.status_trouble().items()
    ]
    return _judge_each(lifecycle, RESPONDER_ALARM, said)


def _judge_lists(lifecycle: Lifecycle) -> int:
    """And of lists that do not say what the tables say; what is lacking is published by itself (`ca/rounds`)."""
    hint = "certwright ca crl --check says all of it; where somebody stands who is in no table, the ledger knows why"
    said = [
        Trouble(LIST_ALARM, name, "critical", f"{findings[0]}; {len(findings)} findings in all", hint)
        for name, findings in lifecycle.list_trouble().items()
    ]
    return _judge_each(lifecycle, LIST_ALARM, said)


def _judge_each(lifecycle: Lifecycle, kind: str, said: Sequence[Trouble]) -> int:
    """Raise these alarms, and clear the others of their kind; returns how many changed."""
    with lifecycle.store.read() as connection:
        known = connection.execute(select(col(Alarm.subject)).where(col(Alarm.kind) == kind)).scalars()
        over = sorted(set(known) - {one.subject for one in said})
    if not said and not over:
        return 0

    def unit(tx: Transaction) -> int:
        raised = sum(alarms.raise_alarm(tx, one) for one in said)
        return raised + sum(alarms.clear_alarm(tx, kind, name) for name in over)

    return int(lifecycle.store.write(unit))


def _worth_a_look(connection: Connection) -> list[str]:
    """Names of consumers about which there is something to say, or to take back."""
    now = clock.timestamp()
    kinds = (STALE_ALARM, UNREACHABLE_ALARM)
    said = connection.execute(select(col(Alarm.subject)).where(col(Alarm.kind).in_(kinds)).limit(MOST)).scalars()
    names = {subject.partition("/")[0] for subject in said}
    stale = select(col(Consumer.name)).join(Holding, col(Holding.consumer_id) == col(Consumer.id)).where(_is_stale(now))
    names |= set(connection.execute(stale.limit(MOST)).scalars())
    away = select(col(Consumer.name)).where(_is_away(now)).limit(MOST)
    return sorted(names | set(connection.execute(away).scalars()))


def _is_stale(now: int) -> ColumnElement[bool]:
    """Published longer ago than it may be, and not held; who is new, or in a new place, is given that time, too."""
    too_old = now - col(Consumer.fresh_within)
    return (too_old >= _FIRST_UNHELD) & or_(col(Holding.held_version) > 0, too_old >= _STARTED)


def _is_away(now: int) -> ColumnElement[bool]:
    return (col(Consumer.failing_since) <= now - spreading.SAID_SINCE) & (col(Consumer.state) == ACTIVE)


def _judge(tx: Transaction, names: Sequence[str]) -> int:
    now, changed = clock.timestamp(), 0
    standing = _standing(tx, names)
    query = holdings.standing(col(Consumer.fresh_within), _FIRST_UNHELD.label("since"))
    of_them = col(Consumer.name).in_(names)
    for row in tx.execute(query.where(of_them, _is_stale(now)).order_by(col(Consumer.id), col(Holding.stream))).all():
        changed += alarms.raise_alarm(tx, _stale(row, now))
        standing.discard((STALE_ALARM, f"{row.name}/{row.stream}"))
    for row in tx.execute(select(Consumer).where(of_them, col(Consumer.failing_since).is_not(None))).all():
        if row.state == ACTIVE and row.failing_since <= now - spreading.SAID_SINCE:
            changed += spreading.say_unreachable(tx, row, row.last_error or "", row.failing_since)
        if row.state == ACTIVE:  # not for so long yet, but perhaps for the second time
            standing.discard((UNREACHABLE_ALARM, row.name))
    for kind, subject in sorted(standing):
        changed += alarms.clear_alarm(tx, kind, subject)
    return changed


def _stale(row: Any, now: int) -> Trouble:
    newest = "anything" if row.held_version == 0 else f"what came after version {row.held_version}"
    message = f"{row.name} was not seen to hold {newest} of {row.stream}: {holdings.why(row, row.held_version + 1)}"
    is_worse = now - row.since > GROWS_WORSE * row.fresh_within
    hint = "certwright consumer show says what it lacks and how it can prove what it holds"
    subject = f"{row.name}/{row.stream}"
    severity = "error" if is_worse else "warning"
    return Trouble(STALE_ALARM, subject, severity, message, hint, row.owner_id, int(row.since))


def _standing(tx: Transaction, names: Sequence[str]) -> set[tuple[str, str]]:
    """Alarms of the watch about these that stand, and are cleared unless they are raised anew."""
    known = set(names)
    query = select(col(Alarm.kind), col(Alarm.subject)).where(col(Alarm.kind).in_((STALE_ALARM, UNREACHABLE_ALARM)))
    return {(row.kind, row.subject) for row in tx.execute(query) if row.subject.partition("/")[0] in known}


def _newest(connection: Connection, lifecycle: Lifecycle) -> list[Any]:
    """The newest versions of our own streams, and of those that anybody needs."""
    needed = connection.execute(select(col(Holding.stream)).distinct()).scalars().all()
    own = (streams.trust_stream(lifecycle.trust_domain), streams.crl_stream(lifecycle.trust_domain))
    return list(published.heads(connection, [*own, *sorted(needed)]).values())


def _is_late(row: Any) -> bool:
    return bool((row.expires_at - clock.timestamp()) * LATE_PART < row.expires_at - row.issued_at)


def _judge_ends(tx: Transaction, seen: Sequence[Any], standing: Sequence[str]) -> int:
    """Look again at what was found, in the transaction that says so."""
    changed = 0
    ends = published.heads(tx.connection, [row.stream for row in seen])
    for stream, row in ends.items():
        if not _is_late(row):
            continue
        is_over = row.expires_at <= clock.timestamp()
        verb = "has ended" if is_over else "ends soon"
        message = f"version {row.version} of {stream} {verb}, and no newer one was published"
        hint = "does the schedule run, and do the CAs' keys answer? certwright bundle list, certwright ca crl"
        severity = "critical" if is_over else "warning"
        changed += alarms.raise_alarm(tx, Trouble(LATE_ALARM, stream, severity, message, hint))
    for subject in standing:
        if subject not in ends or not _is_late(ends[subject]):
            changed += alarms.clear_alarm(tx, LATE_ALARM, subject)
    return changed
