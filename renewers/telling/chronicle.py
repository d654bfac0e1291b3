"""Looking at what has happened and at what is wrong: pages of events, newest first, and of alarms that stand.

What is kept of the past is bounded by `[events] keep`; one page looks at a bounded part of it, so that a rare kind is
not searched for in all of it at once. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Event, Owner
from renewers.plain import one_line
from renewers.telling import alarms
from renewers.telling.events import SEVERITIES

MAX_PAGE = 500
LOOKED_AT = 10_000
"""Events that one page goes through at most; it may be short, or empty, and still have a next one."""


def events(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    kind: str | None = None,
    subject: str | None = None,
    severity: str | None = None,
    cursor: int | None = None,
    limit: int = 50,
) -> tuple[list[Event], int | None]:
    """A page of events, newest first, at least as severe as `severity`; and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    _check(limit, severity)
    wanted = []
    if kind is not None:
        wanted.append(col(Event.kind) == kind)
    if subject is not None:
        wanted.append(col(Event.subject) == one_line(subject))
    if severity is not None:
        wanted.append(col(Event.severity).in_(SEVERITIES[SEVERITIES.index(severity) :]))
    with lifecycle.store.read() as connection:
        newest = connection.execute(select(func.max(col(Event.id)))).scalar() or 0
        start = newest + 1 if cursor is None else min(cursor, newest + 1)
        # Everything about one subject has an index of its own; anything else is looked for in a part.
        end = 0 if subject is not None else max(0, start - 1 - LOOKED_AT)
        part = select(Event).where(col(Event.id) < start, col(Event.id) > end, *wanted)
        rows = connection.execute(part.order_by(col(Event.id).desc()).limit(limit + 1)).all()
    found = [Event(**row._mapping) for row in rows[:limit]]
    if len(rows) > limit:
        return found, found[-1].id
    return found, end + 1 if end > 0 else None


def standing(
    lifecycle: Lifecycle, caller: Caller, *, cursor: tuple[str, str] | None = None, limit: int = 50
) -> tuple[list[tuple[Alarm, str | None]], tuple[str, str] | None]:
    """A page of alarms that stand, each with the name of whose it is, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    _check(limit, None)
    rows, following = alarms.page(lifecycle.store, cursor=cursor, limit=limit)
    owners = _owners(lifecycle, [row.owner_id for row in rows if row.owner_id is not None])
    return [(row, owners.get(row.owner_id)) for row in rows], following


def _owners(lifecycle: Lifecycle, ids: Sequence[int]) -> dict[int | None, str]:
    if not ids:
        return {}
    query = select(col(Owner.id), col(Owner.name)).where(col(Owner.id).in_(ids))
    with lifecycle.store.read() as connection:
        return {row.id: row.name for row in connection.execute(query)}


def _check(limit: int, severity: str | None) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    if severity is not None and severity not in SEVERITIES:
        raise BadRequest("that is not a severity", code="bad-severity", hint=", ".join(SEVERITIES))
