"""Consumers say what they hold, and are believed once they have shown who they are; here alone a holding gets better.

A report names a version and its hash. Its time is the consumer's own and only grows, so that an old report is no proof
of anything. What a consumer says it holds is the truth, also where it is less than it held before, or is nothing of
ours: then rotations wait for it again, and an alarm says so. Who signs its reports is checked before anything else.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlmodel import col

from ca import certificates, clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict, Forbidden, NotFound, Refusal, Unauthenticated
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.distribution import holdings, latency, reporting, sharing, showing, spreading, streams
from renewers.distribution.holdings import REFUSES_ALARM
from renewers.distribution.reporting import REFUSED, Report, read_identities
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Holding, Publication
from renewers.notifiers import signature
from renewers.plain import one_line
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble

FELL_BACK_ALARM, HOLDS_ANOTHER_ALARM = "consumer-fell-back", "consumer-holds-another"
BY_HAND, BY_SIGNATURE = "hand:", "signature"

_CONSUMER = select(Consumer).where(col(Consumer.id) == bindparam("which")).with_for_update()
_NAMED = select(Consumer).where(col(Consumer.name) == bindparam("named"))
_IS_ITS = (col(Holding.consumer_id) == bindparam("whose"), col(Holding.stream) == bindparam("of_stream"))
_HOLDING = select(Holding).where(*_IS_ITS).with_for_update()
_PUBLISHED = select(col(Publication.sha256), col(Publication.published_at)).where(
    col(Publication.stream) == bindparam("of_stream"), col(Publication.version) == bindparam("of_version")
)
_SAID = select(col(Alarm.kind)).where(
    col(Alarm.kind).in_((REFUSES_ALARM, FELL_BACK_ALARM, HOLDS_ANOTHER_ALARM)), col(Alarm.subject) == bindparam("about")
)
_NEWEST = select(func.max(col(Publication.version))).where(col(Publication.stream) == bindparam("of_stream"))


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of a report. `refusal` is raised once all of this is durable."""

    holding: Any
    outcome: str
    refusal: Refusal | None = None
    seconds: float | None = None
    """From publication to proof, if it is the first of this version."""


def acknowledge(lifecycle: Lifecycle, caller: Caller, name: str, report: Report) -> Holding:
    """Take a report of a consumer from itself, or by hand from who manages consumers; what it holds of the stream now.

    `Forbidden` unless the caller is one of the consumer's identities. `BadRequest` (`unknown-version`, `other-hash`)
    if we never published that; `Conflict` (`old-report`) if it is not newer than the last one.
    """
    caller.must(Operation.ACKNOWLEDGE, Operation.MANAGE_CONSUMERS)
    reporting.check(report)
    with lifecycle.store.read() as connection:
        row: Any = connection.execute(_NAMED, {"named": name}).first()
    known_as = None if row is None else _known_as(lifecycle, caller, read_identities(row.identities))
    if known_as is None:
        if not caller.may(Operation.MANAGE_CONSUMERS):
            raise Forbidden(
                f"{caller.identity} is not the consumer {name[:63]!r}, or there is none of that name",
                code="not-the-consumer",
                hint="certwright consumer show says as whom it may report: its identities",
            )
        if row is None:
            raise showing.unknown(name)
        known_as = BY_HAND + caller.identity
    return _take(lifecycle, row.id, report, known_as)


def acknowledge_signed(lifecycle: Lifecycle, headers: Mapping[str, str], body: bytes) -> Holding:
    """The same from whoever has signed the report with the consumer's secret (Standard Webhooks).

    `Unauthenticated` (`bad-signature`) says neither whether there is such a consumer nor what is wrong.
    """
    name, report = reporting.read_signed(body)
    with lifecycle.store.read() as connection:
        row: Any = connection.execute(_NAMED, {"named": name}).first()
    is_known = row is not None and row.sealed_secret is not None
    sealed, whose = (row.sealed_secret, name) if is_known else (sharing.nobody(lifecycle.sealer), "")
    secret = sharing.reveal(lifecycle.sealer, sealed, whose)
    try:
        signature.verify(secret, headers, body, clock.timestamp())
    except ValueError:
        is_known = False
    if not is_known:
        lifecycle.count("acknowledgements", BY_SIGNATURE, "unauthenticated")
        raise Unauthenticated(
            "this is not signed with the secret of a consumer of that name, or not within five minutes",
            code="bad-signature",
            hint="Standard Webhooks: webhook-id, webhook-timestamp, webhook-signature over the body as it is sent",
        )
    return _take(lifecycle, row.id, report, BY_SIGNATURE)


def prove(tx: Transaction, consumer_id: int, stream: str, version: int, by: str) -> bool:
    """A consumer was seen to hold a version, or says so. True if that is more than was known.

    The one place where a holding gets better. False, too, if it does not need the stream, or there is no such version.
    """
    return _improve(tx, consumer_id, stream, version, by) is not None


def _known_as(lifecycle: Lifecycle, caller: Caller, identities: frozenset[str]) -> str | None:
    """Which of a consumer's identities the caller is: its token, or a name in its certificate, valid now."""
    if caller.identity.startswith(("token:", "jwt:")) and caller.identity in identities:
        return caller.identity
    if caller.certificate is None:
        return None
    try:
        stored = certificates.find(lifecycle.store, caller.certificate)
    except NotFound:
        return None
    if stored.state != "valid":
        return None
    return next((f"name:{name}" for name in stored.names() if f"name:{name}" in identities), None)


def _take(lifecycle: Lifecycle, consumer_id: int, report: Report, by: str) -> Holding:
    how = by.partition(":")[0]
    try:
        taken = lifecycle.store.write(lambda tx: _taken(tx, consumer_id, report, by))
    except Refusal as refusal:
        lifecycle.count("acknowledgements", how, refusal.code)
        raise
    lifecycle.count("acknowledgements", how, taken.outcome)
    if taken.seconds is not None:
        lifecycle.measure("consumer_proof", taken.seconds)
    if taken.refusal is not None:
        raise taken.refusal
    return Holding(**taken.holding._mapping)


def _taken(tx: Transaction, consumer_id: int, report: Report, by: str) -> _Taken:
    consumer = tx.execute(_CONSUMER, {"which": consumer_id}).first()
    its = {"whose": consumer_id, "of_stream": report.stream}
    held = tx.execute(_HOLDING, its).first()
    if consumer is None or held is None:
        raise BadRequest("it does not need this stream", code="not-its-stream", hint="certwright consumer show")
    is_by_hand = by.startswith(BY_HAND)
    if not is_by_hand:
        _refuse_old(held, report)
    refusal = _objection(tx, report)
    outcome, seconds = report.state, None
    if refusal is not None:
        if is_by_hand:  # a slip of the pen, and no news of the consumer
            raise refusal
        outcome = refusal.code
        _hold_another(tx, consumer, held, report, refusal)
    elif report.state == REFUSED:
        _refuse(tx, consumer, report)
    elif report.version < held.held_version:
        _fall_back(tx, consumer, held, report, by)
    else:
        seconds = _improve(tx, consumer_id, report.stream, report.version, by)
    if not is_by_hand:  # that is another clock's time
        tx.execute(update(Holding).where(*_IS_ITS).values(reported_at=report.at), its)
    if consumer.failing_since is not None:  # it is alive: try at once to bring it what it lacks
        work.hurry(tx, spreading.WORK, str(consumer_id))
    return _Taken(tx.execute(_HOLDING, its).first(), outcome, refusal, seconds)


def _refuse_old(held: Any, report: Report) -> None:
    """Time is in whole seconds: a second report in one of them is new only if it says more than was known."""
    says_more = report.state != REFUSED and report.version > held.held_version > 0
    if report.at < held.reported_at or (report.at == held.reported_at and not says_more):
        raise Conflict(
            "this report is not newer than the last one of this consumer",
            code="old-report",
            hint="if it is no replay, the consumer's clock has stepped back",
        )


def _objection(tx: Transaction, report: Report) -> Refusal | None:
    """What is wrong about the version and its hash, if anything is."""
    of = {"of_stream": report.stream, "of_version": report.version}
    found = tx.execute(_PUBLISHED, of).first()
    if found is None:
        return BadRequest(f"there is no version {report.version} of this stream", code="unknown-version")
    if not hmac.compare_digest(found.sha256, report.sha256):
        return BadRequest(f"version {report.version} of this stream has another hash", code="other-hash")
    return None


def _hold_another(tx: Transaction, consumer: Any, held: Any, report: Report, refusal: Refusal) -> None:
    """It says that it has something that is not ours: nothing that it was proved to hold counts any more.

    A version that was ours long ago, and is not kept, is only unknown; one from our future was never ours.
    """
    newest = tx.execute(_NEWEST, {"of_stream": report.stream}).scalar() or 0
    if refusal.code == "unknown-version" and report.version <= newest:
        return
    verb = "was offered" if report.state == REFUSED else "holds"
    message = f"{consumer.name} {verb} {report.stream} version {report.version} with a hash that is not ours"
    hint = f"somebody served it something else, or signs in our name: sha256 {report.sha256}"
    _raise(tx, consumer, report.stream, HOLDS_ANOTHER_ALARM, "critical", message, hint)
    if report.state != REFUSED:
        _lower(tx, consumer, held, 0)
    told = {"stream": report.stream, "version": report.version, "sha256": report.sha256, "state": report.state}
    log.append(tx, "consumer-holds-another", f"consumer:{consumer.name}", consumer.name, **told)


def _refuse(tx: Transaction, consumer: Any, report: Report) -> None:
    why = one_line(report.reason, reporting.LONGEST_REASON) or "it does not say why"
    message = f"{consumer.name} refuses {report.stream} version {report.version}: {why}"
    hint = "it goes on with what it has; mend it there, it is sent the next version anyway"
    _raise(tx, consumer, report.stream, REFUSES_ALARM, "error", message, hint)
    told = {"stream": report.stream, "version": report.version, "reason": why}
    log.append(tx, "consumer-refused", f"consumer:{consumer.name}", consumer.name, **told)


def _fall_back(tx: Transaction, consumer: Any, held: Any, report: Report, by: str) -> None:
    """It holds less than it did: an old backup, another machine. It is brought the newest once more."""
    message = f"{consumer.name} fell back to {report.stream} version {report.version} from {held.held_version}"
    hint = "was it restored from an old copy? it is sent the newest version again"
    _raise(tx, consumer, report.stream, FELL_BACK_ALARM, "error", message, hint)
    _lower(tx, consumer, held, report.version)
    proof = {"proved_at": clock.timestamp(), "proved_by": by}
    of_it = {"whose": consumer.id, "of_stream": report.stream}
    tx.execute(update(Holding).where(*_IS_ITS).values(**proof), of_it)
    told = {"stream": report.stream, "version": report.version, "held": held.held_version, "proved_by": by}
    log.append(tx, "consumer-fell-back", f"consumer:{consumer.name}", consumer.name, **told)


def _lower(tx: Transaction, consumer: Any, held: Any, version: int) -> None:
    """It holds no more than this. Whoever waits for proof looks again; it is sent what is newest."""
    values = {"held_version": version, "held_since": clock.timestamp(), "sent_version": min(held.sent_version, version)}
    tx.execute(update(Holding).where(*_IS_ITS).values(**values), {"whose": consumer.id, "of_stream": held.stream})
    work.schedule(tx, spreading.WORK, str(consumer.id), clock.timestamp())
    holdings.hurry_rotations(tx)


def _improve(tx: Transaction, consumer_id: int, stream: str, version: int, by: str) -> float | None:
    """Seconds from publication to this proof, if it holds more than was known; else None."""
    consumer = tx.execute(_CONSUMER, {"which": consumer_id}).first()
    its = {"whose": consumer_id, "of_stream": stream}
    held = tx.execute(_HOLDING, its).first()
    found = tx.execute(_PUBLISHED, {"of_stream": stream, "of_version": version}).first()
    if consumer is None or held is None or found is None or version < held.held_version:
        return None
    values: dict[str, Any] = {"proved_at": clock.timestamp(), "proved_by": by}
    if version > held.held_version:
        values |= {"held_version": version, "held_since": clock.timestamp()}
    tx.execute(update(Holding).where(*_IS_ITS).values(**values), its)
    if version >= held.sent_version or version > held.held_version:
        subject = f"{consumer.name}/{stream}"
        for kind in tx.execute(_SAID, {"about": subject}).scalars().all():
            alarms.clear_alarm(tx, kind, subject)
    if version == held.held_version:
        return None
    seconds: float = max(clock.exactly() - found.published_at, 0.0)
    latency.record(tx, consumer_id, stream, version, by, seconds)
    if not streams.is_of_lists(stream) or by.startswith(BY_HAND):
        told: dict[str, Any] = {"stream": stream, "version": version, "proved_by": by}
        log.append(tx, "consumer-proved", f"consumer:{consumer.name}", by, **told)
        message = f"{consumer.name} holds {stream} version {version}"
        events.record(tx, "consumer-proved", consumer.name, message, **told, owner=consumer.owner_id)
    holdings.hurry_rotations(tx)
    return seconds


def _raise(tx: Transaction, consumer: Any, stream: str, kind: str, severity: str, message: str, hint: str) -> None:
    alarms.raise_alarm(tx, Trouble(kind, f"{consumer.name}/{stream}", severity, message, hint, consumer.owner_id))
