"""Something is wrong, said once, with its age; and said once more when it is over.

An alarm is a row while its cause lasts. Whoever finds the cause raises it, as often as it looks; only the first time,
and when it has become more severe, is an event and a ledger entry made of it, and its owner to be told by mail where
`renewers/mailing/crossings.py` says so. Whoever finds the cause gone clears it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Store, Transaction
from renewers.mailing import crossings
from renewers.models import Alarm
from renewers.plain import one_line
from renewers.telling import events

BY = "system:renewers"
_KEY = (col(Alarm.kind), col(Alarm.subject))


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
    lineage_id: int | None = None
    tracked_id: int | None = None
    """What it is about, if that is one: whose it is can then be asked when somebody is told of it."""


def raise_alarm(tx: Transaction, trouble: Trouble) -> bool:
    """Make sure that this is known. True if it is said for the first time, or more severely than before."""
    named, now = _is(trouble.kind, trouble.subject), clock.timestamp()
    words = {"message": one_line(trouble.message, 1000), "hint": trouble.hint, "owner_id": trouble.owner_id}
    found = _find(tx, trouble)
    if found is None:
        since = min(trouble.since or now, now)
        if not _is_new(tx, trouble, {"severity": trouble.severity, "since": since, **words}):
            return raise_alarm(tx, trouble)  # another replica said it at this very moment: see how severely
    elif events.rank(found.severity) < events.rank(trouble.severity):
        since = found.since
        tx.execute(update(Alarm).where(named).values(severity=trouble.severity, **words))
    else:
        if any(getattr(found, name) != value for name, value in words.items()):
            tx.execute(update(Alarm).where(named).values(**words))
        return False
    _say_raised(tx, trouble, since, now - since)
    crossings.note_alarm(tx, trouble, since)
    return True


def clear_alarm(tx: Transaction, kind: str, subject: str) -> bool:
    """Make sure that this is over. True if there was an alarm."""
    found = tx.execute(_GONE, {"of_kind": kind, "about": one_line(subject)}).first()
    if found is None:
        return False
    details = {"alarm": kind, "since": found.since, "age": clock.timestamp() - found.since, "owner": found.owner_id}
    events.record(tx, "alarm-cleared", subject, f"over: {found.message}", **details)
    log.append(tx, "alarm-cleared", one_line(subject), BY, alarm=kind, since=found.since)
    crossings.overtake_alarm(tx, kind, subject, found.since)
    return True


def page(
    store: Store, *, cursor: tuple[str, str] | None = None, limit: int = 50
) -> tuple[list[Alarm], tuple[str, str] | None]:
    """A page of what is wrong now, by kind and subject, and where the next one starts."""
    statement = select(Alarm).order_by(*_KEY).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(tuple_(*_KEY) > cursor)
    with store.read() as connection:
        rows = [Alarm(**row._mapping) for row in connection.execute(statement)]
    return rows[:limit], (rows[limit - 1].kind, rows[limit - 1].subject) if len(rows) > limit else None


def counts(store: Store) -> Mapping[tuple[str, str], int]:
    """How many things are wrong, by kind and severity."""
    groups = (col(Alarm.kind), col(Alarm.severity))
    with store.read() as connection:
        rows = connection.execute(select(*groups, func.count()).group_by(*groups)).all()
    return {(kind, severity): count for kind, severity, count in rows}


def _find(tx: Transaction, trouble: Trouble) -> Row[Alarm] | None:
    statement = select(Alarm).where(_is(trouble.kind, trouble.subject)).with_for_update()
    return tx.execute(statement).first()


def _is_new(tx: Transaction, trouble: Trouble, values: Mapping[str, object]) -> bool:
    """Whether we were the one to write it down."""
    row = insert(Alarm).values(kind=trouble.kind, subject=one_line(trouble.subject), **values)
    written = tx.execute(row.on_conflict_do_nothing(index_elements=["kind", "subject"]).returning(col(Alarm.kind)))
    return written.first() is not None


def _say_raised(tx: Transaction, trouble: Trouble, since: int, age: int) -> None:
    details = {"alarm": trouble.kind, "since": since, "age": age, "hint": trouble.hint, "owner": trouble.owner_id}
    events.record(tx, "alarm-raised", trouble.subject, trouble.message, severity=trouble.severity, **details)
    told = {"alarm": trouble.kind, "severity": trouble.severity, "since": since}
    log.append(tx, "alarm-raised", one_line(trouble.subject), BY, **told)


_GONE = (
    delete(Alarm)
    .where(col(Alarm.kind) == bindparam("of_kind"), col(Alarm.subject) == bindparam("about"))
    .returning(Alarm)
)
"""Made once: whatever goes well clears the alarm that is not there."""


def _is(kind: str, subject: str) -> ColumnElement[bool]:
    return and_(col(Alarm.kind) == kind, col(Alarm.subject) == one_line(subject))
