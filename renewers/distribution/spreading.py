"""Bringing consumers what was published: stage, swap, written down as sent; retried without end, and never backward.

A new version is due work of kind `spread` for every consumer that needs the stream; whoever fetches by himself is only
marked as offered it. Who fails keeps his place on the ladder whatever is published meanwhile: those that are gone must
not hold up those that are there. That something was sent proves nothing (`acknowledging.py` does). Every transaction
takes the consumer's row first, and then its work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Text, bindparam, cast, exists, or_, select, update
from sqlmodel import col

from ca import clock
from ca.errors import IssuerUnavailable, NotDelivered, Unavailable
from ca.ledger import log
from ca.store import Transaction
from ca.store.commit import StaleChange
from renewers import work
from renewers.delivering.delivery import publisher_of
from renewers.distribution import holdings, material, published, streams
from renewers.distribution.holdings import ACTIVE, UNREACHABLE_ALARM
from renewers.distribution.material import Brought
from renewers.distribution.needs import read_needs
from renewers.distribution.places import PULL
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Holding, Work
from renewers.publishers import Publisher, RollsBack
from renewers.telling import alarms
from renewers.telling.alarms import BY, Trouble
from renewers.work import Claim, Failed

WORK = "spread"
SOON = 5
"""Seconds until what failed for the first time is tried again: a broker that starts anew is back by then."""
FIRST_WAIT, LONGEST_WAIT, PATIENCE = 60, 900, 600
"""Seconds between attempts: at most the first in the first `PATIENCE` seconds, at most the second from then on."""
SAID_AFTER, SAID_SINCE = 2, 60
"""Failures in a row, or seconds of failing, from which on it is an alarm."""

# Made once: every publication asks for these, and to put a statement together costs more than to run it.
_OF_STREAM = col(Holding.stream) == bindparam("of_stream")
_IS_OLDER = col(Holding.sent_version) < bindparam("to_version")
_FETCHING = select(col(Consumer.id)).where(col(Consumer.publisher) == PULL, col(Consumer.state) == ACTIVE)
_OFFER = (
    update(Holding)
    .where(_OF_STREAM, _IS_OLDER, col(Holding.consumer_id).in_(_FETCHING))
    .values(sent_version=bindparam("to_version"), sent_at=bindparam("now"))
)
_TO_BRING = (
    select(col(Holding.consumer_id))
    .join(Consumer, col(Consumer.id) == col(Holding.consumer_id))
    .where(_OF_STREAM, _IS_OLDER, col(Consumer.state) == ACTIVE, col(Consumer.publisher) != PULL)
)
_IS_PLANNED = exists().where(col(Work.kind) == WORK, col(Work.subject) == cast(col(Holding.consumer_id), Text))
_MISSED = (
    select(col(Holding.consumer_id))
    .join(Consumer, col(Consumer.id) == col(Holding.consumer_id))
    .where(_OF_STREAM, _IS_OLDER, col(Consumer.state) == ACTIVE, or_(col(Consumer.publisher) == PULL, ~_IS_PLANNED))
    .limit(1)
)
_CONSUMER = select(Consumer).where(col(Consumer.id) == bindparam("which"))


def wanted(tx: Transaction, stream: str, version: int) -> int:
    """Have every consumer that needs a stream get this version of it. Returns how many those are."""
    which = {"of_stream": stream, "to_version": version}
    offered = tx.execute(_OFFER, {**which, "now": clock.timestamp()}).rowcount
    ids = tx.execute(_TO_BRING, which).scalars().all()
    work.schedule_all(tx, WORK, [str(one) for one in ids], clock.timestamp())
    return int(offered) + len(ids)


def catch_up(lifecycle: Lifecycle) -> int:
    """Plan what nobody has planned: a consumer that was added just while something was published. Returns how many."""
    planned = 0
    with lifecycle.store.read() as connection:
        known = connection.execute(select(col(Holding.stream)).distinct()).scalars().all()
        heads = published.heads(connection, known)
        missed = [
            (stream, head.version)
            for stream, head in heads.items()
            if connection.execute(_MISSED, {"of_stream": stream, "to_version": head.version}).first() is not None
        ]
    for stream, version in missed:
        planned += lifecycle.store.write(lambda tx, which=(stream, version): wanted(tx, *which))
    return planned


def spread(lifecycle: Lifecycle, claim: Claim) -> None:
    """Bring one consumer what is newest: the handler of `spread` work."""
    # 1. Look again: it may be gone, paused, or have it; whoever fetches for himself is only told of it.
    with lifecycle.store.read(snapshot=True) as connection:
        consumer: Any = connection.execute(_CONSUMER, {"which": int(claim.subject)}).first()
        heads = {} if consumer is None else _heads(connection, consumer.id)
        is_owed = consumer is not None and _is_owed(connection, consumer, heads)
    if not is_owed:
        lifecycle.store.write(lambda tx: _settle(tx, claim))
        return
    if consumer.publisher == PULL:
        lifecycle.store.write(lambda tx: _record(tx, claim, consumer, heads))
        lifecycle.count("spreads", PULL, "offered")
        return
    try:
        is_done = _bring(lifecycle, claim, consumer)
    except StaleChange:  # somebody else has taken over: whatever is to be put right is theirs
        raise
    except Unavailable as error:
        if error.code == "publication-moving":  # the next version is about to be there
            lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=clock.timestamp() + 1))
            return
        lifecycle.count("spreads", consumer.publisher, "failed")
        raise
    except Exception:
        lifecycle.count("spreads", consumer.publisher, "failed")
        raise
    lifecycle.count("spreads", consumer.publisher, "sent" if is_done else "overtaken")


def failed(_lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """Put it on the ladder, whatever the error: no failure stops it for good, since the other side may mend it."""
    consumer = _locked(tx, int(claim.subject))
    now = clock.timestamp()
    since = claim.failing_since or now
    longest = FIRST_WAIT if now - since < PATIENCE else LONGEST_WAIT
    outcome = work.fail(tx, claim, _unreached(error, claim.attempts), longest=longest)
    if consumer is None:
        return outcome
    reason = work.describe(error)
    values = {"failing_since": consumer.failing_since or since, "last_error": reason}
    tx.execute(update(Consumer).where(col(Consumer.id) == consumer.id).values(**values))
    if outcome.attempts >= SAID_AFTER or now - since >= SAID_SINCE:
        say_unreachable(tx, consumer, reason, since)
    return outcome


def say_unreachable(tx: Transaction, consumer: Any, reason: str, since: int) -> bool:
    """Raise the alarm that a consumer is not reached. True if it is said for the first time."""
    severity = "warning" if clock.timestamp() - since < PATIENCE else "error"
    message = f"{consumer.name} is not brought what it needs: {reason}"
    hint = "it is tried again by itself until it works; certwright consumer show says what it lacks"
    trouble = Trouble(UNREACHABLE_ALARM, consumer.name, severity, message, hint, consumer.owner_id, since)
    return alarms.raise_alarm(tx, trouble)


def _bring(lifecycle: Lifecycle, claim: Claim, consumer: Any) -> bool:
    # 2. Put together what is newest now, and stage it. Nothing of what is in use is touched.
    needs = read_needs(json.loads(consumer.needs), lifecycle.trust_domain)
    brought = material.material_for(lifecycle, consumer.name, needs)
    publisher = publisher_of(lifecycle, consumer)
    publisher.stage(brought.material)

    # 3. Make sure that it is still ours to do, goes to the same place, and that nobody has brought anything newer.
    if not lifecycle.store.write(lambda tx: _may_swap(tx, claim, consumer, brought)):
        return False

    # 4. Swap, and have it read.
    try:
        publisher.swap(brought.material)
    except Exception as error:
        _take_back(lifecycle, claim, publisher, brought, error)
        raise

    # 5. Write down that it was sent. Whatever was published or changed meanwhile makes it due again at once.
    try:
        lifecycle.store.write(lambda tx: _record(tx, claim, consumer, brought.versions))
    except StaleChange:
        # We were too slow, and what we have just put into use may be older than what is there by somebody else.
        lifecycle.store.write(lambda tx: _send_anew(tx, consumer.id))
        raise
    return True


def _may_swap(tx: Transaction, claim: Claim, before: Any, brought: Brought) -> bool:
    consumer = _locked(tx, before.id)
    work.check(tx, claim)
    sent = _sent(tx.connection, before.id)
    is_overtaken = any(sent.get(stream, 0) > version for stream, version in brought.versions.items())
    if consumer is None or is_overtaken or not _is_same(consumer, before):
        work.settle(tx, claim, again_at=None if consumer is None else clock.timestamp() + is_overtaken)
        return False
    return True


def _record(tx: Transaction, claim: Claim, before: Any, versions: Mapping[str, int]) -> None:
    """It was sent these versions. One that was changed meanwhile is sent them again, in its new place."""
    consumer = _locked(tx, before.id)
    work.check(tx, claim)
    if consumer is not None and _is_same(consumer, before):
        _tell(tx, consumer, versions)
        holdings.mark_sent(tx, consumer.id, versions)
        if consumer.failing_since is not None:
            over = {"failing_since": None, "last_error": None}
            tx.execute(update(Consumer).where(col(Consumer.id) == consumer.id).values(**over))
        alarms.clear_alarm(tx, UNREACHABLE_ALARM, consumer.name)
        _settle(tx, claim)
    else:
        work.settle(tx, claim, again_at=None if consumer is None else clock.timestamp())


def _tell(tx: Transaction, consumer: Any, versions: Mapping[str, int]) -> None:
    """Say that it was sent new trust. Lists go out with every revocation: of these the rows alone tell."""
    sent = _sent(tx.connection, consumer.id)
    news = {one: version for one, version in versions.items() if sent.get(one, version) < version}
    trust = {stream: version for stream, version in news.items() if not streams.is_of_lists(stream)}
    if trust:
        told = {"versions": trust, "publisher": consumer.publisher}
        log.append(tx, "publication-sent", f"consumer:{consumer.name}", BY, **told)


def _settle(tx: Transaction, claim: Claim) -> None:
    """It is done, unless something was published meanwhile, or it is no longer left alone."""
    consumer = _locked(tx, int(claim.subject))
    work.check(tx, claim)
    is_due = consumer is not None and _is_owed(tx.connection, consumer, _heads(tx.connection, consumer.id))
    work.settle(tx, claim, again_at=clock.timestamp() if is_due else None)


def _take_back(lifecycle: Lifecycle, claim: Claim, publisher: Publisher, brought: Brought, error: Exception) -> None:
    """Put back what was in use, where the publisher can. That it failed, too, is said beside the first failure."""
    if not isinstance(publisher, RollsBack):
        return
    lifecycle.store.write(lambda tx: work.check(tx, claim))
    try:
        publisher.restore(brought.material)
    except Exception as second:  # noqa: BLE001 - see above
        first = work.describe(error)
        raise NotDelivered(f"{first}; the old one cannot be put back: {work.describe(second)}") from error


def _send_anew(tx: Transaction, consumer_id: int) -> None:
    """Have it brought once more, though it was: what is in use there may be ours, which is older."""
    if _locked(tx, consumer_id) is not None:
        holdings.forget_sent(tx, consumer_id, with_proof=False)
        work.schedule(tx, WORK, str(consumer_id), clock.timestamp())


def _unreached(error: Exception, attempts: int) -> Exception:
    """The failure as the ladder takes it: never one that stops it, and soon again the first time."""
    code = getattr(error, "code", "internal")
    return IssuerUnavailable(work.describe(error), code=code, retry_after=SOON if attempts == 0 else None)


def _locked(tx: Transaction, consumer_id: int) -> Any | None:
    """The consumer's row, ours until the transaction ends."""
    return tx.execute(_CONSUMER.with_for_update(), {"which": consumer_id}).first()


def _sent(connection: Any, consumer_id: int) -> Mapping[str, int]:
    return {row.stream: row.sent_version for row in holdings.of(connection, consumer_id)}


def _is_owed(connection: Any, consumer: Any, heads: Mapping[str, int]) -> bool:
    """Whether it lacks something of what was published; while one of its streams has no version, nothing is brought."""
    sent = _sent(connection, consumer.id)
    return consumer.state == ACTIVE and set(sent) == set(heads) and any(sent[one] < heads[one] for one in heads)


def _heads(connection: Any, consumer_id: int) -> Mapping[str, int]:
    """The newest version of each stream that it needs, of those that have one."""
    needed = [row.stream for row in holdings.of(connection, consumer_id)]
    return {stream: head.version for stream, head in published.heads(connection, needed).items()}


def _is_same(now: Any, before: Any) -> bool:
    """Whether it still gets the same in the same place."""
    return all(getattr(now, name) == getattr(before, name) for name in ("publisher", "settings", "needs", "state"))
