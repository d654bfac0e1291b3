"""Something is wrong, said once, with its age; and said once more when it is over.

An alarm is a row while its cause lasts. Whoever finds the cause raises it, as often as it looks; only the first time,
and when it has become more severe, is an event and a ledger entry made of it. Whoever finds the cause gone clears it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers import events
from renewers.models import Alarm

BY = "system:renewers"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with what: `kind` and `subject` name the alarm, `message` and `hint` are for people."""

    kind: str
    subject: str
    severity: str
    message: str
    hint: str | None = None
    owner_id: int | None = None
    since: int | None = None
    """When it began, if that is known to be earlier than now."""


def raise_alarm(tx: Transaction, trouble: Trouble) -> bool:
    """Make sure that this is known. True if it is said for the first time, or more severely than before."""
    now = clock.timestamp()
    found = tx.execute(select(Alarm).where(_is(trouble.kind, trouble.subject)).with_for_update()).first()
    if found is not None and _rank(found.severity) >= _rank(trouble.severity):
        if found.message != trouble.message:
            tx.execute(update(Alarm).where(_is(trouble.kind, trouble.subject)).values(message=trouble.message))
        return False
    since = min(trouble.since or now, now) if found is None else found.since
    values = {"severity": trouble.severity, "message": trouble.message, "hint": trouble.hint}
    if found is None:
        named = {"kind": trouble.kind, "subject": trouble.subject, "since": since, "owner_id": trouble.owner_id}
        tx.execute(insert(Alarm).values(**named, **values))
    else:
        tx.execute(update(Alarm).where(_is(trouble.kind, trouble.subject)).values(**values))
    details = {"alarm": trouble.kind, "since": since, "age": now - since, "hint": trouble.hint}
    events.record(
        tx,
        "alarm-raised",
        trouble.subject,
        trouble.message,
        severity=trouble.severity,
        **details,
        owner=trouble.owner_id,
    )
    log.append(tx, "alarm-raised", trouble.subject, BY, alarm=trouble.kind, severity=trouble.severity, since=since)
    return True


def clear_alarm(tx: Transaction, kind: str, subject: str) -> bool:
    """Make sure that this is over. True if there was an alarm."""
    found = tx.execute(select(Alarm).where(_is(kind, subject)).with_for_update()).first()
    if found is None:
        return False
    tx.execute(delete(Alarm).where(_is(kind, subject)))
    age = clock.timestamp() - found.since
    events.record(
        tx,
        "alarm-cleared",
        subject,
        f"over: {found.message}",
        alarm=kind,
        since=found.since,
        age=age,
        owner=found.owner_id,
    )
    log.append(tx, "alarm-cleared", subject, BY, alarm=kind, since=found.since)
    return True


def _is(kind: str, subject: str) -> ColumnElement[bool]:
    return and_(col(Alarm.kind) == kind, col(Alarm.subject) == subject)


def _rank(severity: str) -> int:
    return events.SEVERITIES.index(severity)
