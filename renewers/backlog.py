"""Looking at due work without doing it: what waits, what fails, what has stopped, for people and for metrics.

Nothing here changes anything, and nothing reads the whole table: what fails and what is due have indexes of their own,
and pages follow the one of kinds and subjects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest
from ca.store import Store
from renewers.models import Work
from renewers.work import IS_WAITING, STOPPED

MAX_PAGE = 500
Place = tuple[str, str]
"""Where a page starts: after this kind and subject."""
_KEY = (col(Work.kind), col(Work.subject))
_IS_FAILING = col(Work.failing_since).is_not(None)
"""True of what has stopped, too: the index of this is a small one."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one kind: what is due and nobody is at, what failed and is tried again, what only a person can mend."""

    waiting: int = 0
    failing: int = 0
    stopped: int = 0


def page(
    store: Store,
    *,
    kind: str | None = None,
    state: str | None = None,
    failing: bool | None = None,
    cursor: Place | None = None,
    limit: int = 50,
) -> tuple[list[Work], Place | None]:
    """A page of work by kind and subject, and where the next one starts."""
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    statement = select(Work).order_by(*_KEY).limit(limit + 1)
    if kind is not None:
        statement = statement.where(col(Work.kind) == kind)
    if failing or state == STOPPED:
        statement = statement.where(_IS_FAILING)
    if failing is False:
        statement = statement.where(~_IS_FAILING)
    if state is not None:
        statement = statement.where(col(Work.state) == state)
    if cursor is not None:
        statement = statement.where(tuple_(*_KEY) > cursor)
    with store.read() as connection:
        rows = [Work(**row._mapping) for row in connection.execute(statement)]
    return rows[:limit], (rows[limit - 1].kind, rows[limit - 1].subject) if len(rows) > limit else None


def stopped(store: Store, *, limit: int = MAX_PAGE) -> list[Work]:
    """What nothing but a person gets going again: the first so many."""
    return page(store, state=STOPPED, limit=limit)[0]


def oldest_due(store: Store) -> int | None:
    """For how many seconds the longest due piece has waited for somebody to take it; None if nothing is due."""
    now = clock.timestamp()
    first = select(col(Work.due_at)).where(IS_WAITING, col(Work.due_at) <= now).order_by(col(Work.due_at)).limit(1)
    with store.read() as connection:
        due_at = connection.execute(first).scalar()
    return None if due_at is None else now - int(due_at)


def counts(store: Store) -> Mapping[str, Counts]:
    """How much of each kind there is that somebody should know of; what is merely planned is not counted."""
    kind = func.coalesce(col(Work.kind), "")  # by its name alone SQLite goes through all that is planned, kind by kind
    due = select(kind, func.count()).where(IS_WAITING, col(Work.due_at) <= clock.timestamp())
    failing = select(col(Work.kind), col(Work.state), func.count()).where(_IS_FAILING)
    found: dict[str, dict[str, int]] = {}
    with store.read() as connection:
        for name, count in connection.execute(due.group_by(kind)):
            found.setdefault(name, {})["waiting"] = count
        for name, state, count in connection.execute(failing.group_by(col(Work.kind), col(Work.state))):
            found.setdefault(name, {})[STOPPED if state == STOPPED else "failing"] = count
    return {kind: Counts(**numbers) for kind, numbers in found.items()}
