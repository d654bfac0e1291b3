"""Telling others what happened: pending events become one piece of `notify` work a recipient, and each is told.

`fan_out` runs on every tick; `tell` does one piece of work, `failed` is what becomes of its failure. Everything
is told at least once, or given up after three days, which is an alarm. An alarm about a recipient is never told to that
recipient: it would feed itself. Read `renewers/notifiers` for who is told, `renewers/work.py` for retries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select, text, update
from sqlmodel import col

from ca import clock
from ca.errors import NotDelivered
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Event, Owner, Work
from renewers.notifiers import Notice, Notifier
from renewers.telling import alarms
from renewers.telling.alarms import BY, Trouble
from renewers.work import Claim, Failed

NOTIFY, FAILING = "notify", "webhook-failing"
GIVE_UP = 3 * 86400
"""An event that is older than this and could not be told is given up."""
LONGEST_WAIT = 3600
"""Seconds between two attempts at most: a recipient that is back has everything within about an hour."""
SAID_AFTER = 3
"""Failures in a row of one piece, about a quarter of an hour, after which it is said that a recipient fails."""
PAGE = 1000

_PENDING = select(Event).where(text("is_pending")).order_by(col(Event.id))
"""As the index says it: SQLite would not know `is_pending = 1` for the same."""


def fan_out(lifecycle: Lifecycle, *, limit: int = 500) -> int:
    """Turn up to `limit` pending events into work, and say how many those were. Whoever gets `limit` calls again."""
    with lifecycle.store.read() as connection:  # look first: an empty look costs the writer nothing
        if connection.execute(_PENDING.limit(1)).first() is None:
            return 0

    def unit(tx: Transaction) -> int:
        notices = [_notice(row) for row in tx.execute(_PENDING.limit(limit).with_for_update(skip_locked=True))]
        if notices:
            _assign(tx, notices, lifecycle.notifiers)
            told = update(Event).where(col(Event.id).in_([notice.id for notice in notices]))
            tx.execute(told.values(is_pending=False))
            _forget_removed(tx, lifecycle.notifiers)
        return len(notices)

    return lifecycle.store.write(unit)


def tell(lifecycle: Lifecycle, claim: Claim) -> None:
    """Tell one recipient of one event: the handler of `notify` work. `NotDelivered` if it does not take it now.

    A recipient that we do not know may be one of a replica with newer settings: its events wait.
    """
    channel, event_id = _read(claim)
    notifier = lifecycle.notifiers.get(channel)
    if notifier is None:
        raise NotDelivered(f"there is no recipient {channel!r}")
    with lifecycle.store.read() as connection:
        row = connection.execute(select(Event).where(col(Event.id) == event_id)).first()
        notice = None if row is None else _addressed(connection, _notice(row))
    if notice is not None:
        try:
            notifier.tell(notice)
        except Exception:
            lifecycle.count("notices", channel, "failed")
            raise
    lifecycle.store.write(lambda tx: _settle(tx, claim, channel))
    lifecycle.count("notices", channel, "told")


def failed(lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """What becomes of `notify` work that failed: another attempt within about an hour, or none when it is too old.

    No failure stops it for good: what a recipient refuses today it may take tomorrow.
    """
    channel, event_id = _read(claim)
    reason = NotDelivered(work.describe(error))
    row = tx.execute(select(Event).where(col(Event.id) == event_id)).first()
    if row is None or row.at + GIVE_UP < clock.timestamp():
        return _give_up(tx, claim, channel if channel in lifecycle.notifiers else None, reason)
    result = work.fail(tx, claim, reason, longest=LONGEST_WAIT)
    if result.attempts >= SAID_AFTER and channel in lifecycle.notifiers:
        _say(tx, channel, "warning", f"{channel} does not take events: {reason.message}", result.since)
    return result


def prune(lifecycle: Lifecycle, older_than: timedelta) -> int:
    """Forget one page of events that are older. Returns how many; 0 when done. What may still be told stays."""
    keep = max(int(older_than.total_seconds()), GIVE_UP + 86400)
    horizon = clock.timestamp() - keep
    old = select(col(Event.id)).where(col(Event.at) < horizon, ~col(Event.is_pending)).order_by(col(Event.at))

    def unit(tx: Transaction) -> int:
        ids = tx.execute(old.limit(PAGE).with_for_update(skip_locked=True)).scalars().all()
        if ids:
            tx.execute(delete(Event).where(col(Event.id).in_(ids)))
            log.append(tx, "events-pruned", "retention", BY, count=len(ids), before=horizon)
        return len(ids)

    return lifecycle.store.write(unit)


def _assign(tx: Transaction, notices: list[Notice], notifiers: Mapping[str, Notifier]) -> None:
    """One piece of work for each recipient of each."""
    subjects = [
        f"{channel}/{notice.id}"
        for notice in notices
        for channel, notifier in notifiers.items()
        if notifier.wants(notice) and not _is_about(notice, channel)
    ]
    work.schedule_all(tx, NOTIFY, subjects, clock.timestamp())


def _forget_removed(tx: Transaction, notifiers: Mapping[str, Notifier]) -> None:
    """Nobody is left to clear the alarm of a recipient that is in no replica's settings any more."""
    old = col(Alarm.since) < clock.timestamp() - GIVE_UP
    for row in tx.execute(select(Alarm).where(col(Alarm.kind) == FAILING, old)).all():
        if row.subject not in notifiers:
            alarms.clear_alarm(tx, FAILING, row.subject)


def _is_about(notice: Notice, channel: str) -> bool:
    return notice.body.get("alarm") == FAILING and notice.subject == channel


def _settle(tx: Transaction, claim: Claim, channel: str) -> None:
    """It is told. The recipient has recovered when nothing that was long in coming is left."""
    work.settle(tx, claim, again_at=None)
    alarm = select(Alarm).where(col(Alarm.kind) == FAILING, col(Alarm.subject) == channel)
    if tx.execute(alarm).first() is not None and not _is_owed(tx, channel):
        alarms.clear_alarm(tx, FAILING, channel)


def _is_owed(tx: Transaction, channel: str) -> bool:
    """Whether something else fails there for so long that it was said."""
    is_of_it = col(Work.subject).startswith(f"{channel}/", autoescape=True)
    failing = select(col(Work.id)).where(col(Work.kind) == NOTIFY, col(Work.failing_since).is_not(None), is_of_it)
    return tx.execute(failing.where(col(Work.attempts) >= SAID_AFTER).limit(1)).first() is not None


def _give_up(tx: Transaction, claim: Claim, channel: str | None, reason: NotDelivered) -> Failed:
    work.settle(tx, claim, again_at=None)
    since = claim.failing_since or clock.timestamp()
    log.append(tx, "notice-given-up", claim.subject, BY, since=since, attempts=claim.attempts + 1)
    if channel is not None:
        _say(tx, channel, "error", f"{channel} was not told of events, which are given up: {reason.message}", since)
    return Failed(None, claim.attempts + 1, since)


def _say(tx: Transaction, channel: str, severity: str, message: str, since: int) -> None:
    hint = "what it missed is in the list of events; see whether the receiver answers with a 2xx, and its secret"
    alarms.raise_alarm(tx, Trouble(FAILING, channel, severity, message, hint, since=since))


def _read(claim: Claim) -> tuple[str, int]:
    channel, _, number = claim.subject.rpartition("/")
    return channel, int(number) if number.isdecimal() else 0


def _addressed(connection: Connection, notice: Notice) -> Notice:
    """The same with whose it is by name and mailbox, so that a recipient can pass it on; orphans are the fallback's."""
    if "owner" not in notice.body:
        return notice
    owner_id = notice.body["owner"]
    whose = col(Owner.is_fallback) if owner_id is None else col(Owner.id) == owner_id
    row = connection.execute(select(Owner).where(whose)).first()
    owner = None
    if row is not None:
        owner = {"name": row.name, "email": row.email, "escalation": json.loads(row.escalation)}
    return replace(notice, body={**notice.body, "owner": owner, "is_orphan": owner_id is None})


def _notice(row: Row[Any]) -> Notice:
    return Notice(row.id, row.kind, row.subject, row.severity, row.at, json.loads(row.body))
