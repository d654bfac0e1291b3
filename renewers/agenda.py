"""What is to be done, as people read it: each piece of due work with the name of what it is about.

`backlog.py` counts the same rows for metrics; here they are listed, without ever reading all that is merely planned to
find what needs somebody. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Select, select, union
from sqlmodel import SQLModel, col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest
from renewers.lifecycle import Lifecycle
from renewers.models import Destination, Endpoint, Letter, Lineage, Work
from renewers.work import IS_WAITING, STOPPED

MAX_PAGE = 500
_IS_FAILING = col(Work.failing_since).is_not(None)
_NAMES: Mapping[str, tuple[type[SQLModel], str]] = {
    "renew": (Lineage, "name"),
    "ask-window": (Lineage, "name"),
    "deliver": (Destination, "name"),
    "look": (Endpoint, "place"),
    "mail": (Letter, "recipient"),
}
"""Where the name of a subject stands; others are their own names."""


class Standing(StrEnum):
    """How a piece of work stands."""

    PLANNED = "planned"
    DUE = "due"
    HELD = "held"
    """Somebody is at it this very moment."""
    FAILING = "failing"
    STOPPED = "stopped"
    """Nothing but a person gets it going again."""


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of work, what it is about as people call it, and how it stands."""

    work: Work
    about: str
    standing: Standing


def page(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    standing: str | None = None,
    kind: str | None = None,
    cursor: int = 0,
    limit: int = 50,
) -> tuple[list[Item], int | None]:
    """A page in the order in which work was first planned, and where the next one starts.

    Without a standing: what is due, failing or stopped. `held` work is listed as what it was before.
    """
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    statement = _chosen(standing).where(col(Work.id) > cursor).order_by(col(Work.id)).limit(limit + 1)
    if kind is not None:
        statement = statement.where(col(Work.kind) == kind)
    with lifecycle.store.read() as connection:
        rows = [Work(**row._mapping) for row in connection.execute(statement)]
        names = _names(connection, rows[:limit])
    items = [item(row, names.get((row.kind, row.subject), row.subject)) for row in rows[:limit]]
    return items, rows[limit - 1].id if len(rows) > limit else None


def item(row: Work, about: str) -> Item:
    """A piece of work that somebody has at hand, as it stands now."""
    return Item(row, about, _standing(row, clock.timestamp()))


def _chosen(standing: str | None) -> Select[Work]:
    due = select(col(Work.id)).where(IS_WAITING, col(Work.due_at) <= clock.timestamp())
    failing = select(col(Work.id)).where(_IS_FAILING)
    match standing:
        case None:  # two small indexes, instead of one look at everything
            return select(Work).where(col(Work.id).in_(union(due, failing).scalar_subquery()))
        case Standing.PLANNED:
            return select(Work).where(IS_WAITING, ~_IS_FAILING)
        case Standing.DUE:
            return select(Work).where(col(Work.id).in_(due))
        case Standing.FAILING:
            return select(Work).where(col(Work.id).in_(failing), IS_WAITING)
        case Standing.STOPPED:
            return select(Work).where(col(Work.id).in_(failing), col(Work.state) == STOPPED)
    hint = ", ".join(one for one in Standing if one is not Standing.HELD)
    raise BadRequest("work does not stand like that", code="bad-standing", hint=hint)


def _standing(row: Work, now: int) -> Standing:
    if row.state == STOPPED:
        return Standing.STOPPED
    if row.holder is not None and row.due_at > now:
        return Standing.HELD
    if row.failing_since is not None:
        return Standing.FAILING
    return Standing.DUE if row.due_at <= now else Standing.PLANNED


def _names(connection: Connection, rows: Sequence[Work]) -> dict[tuple[str, str], str]:
    """What people call the subjects of these rows; one that is gone has no name any more."""
    found: dict[tuple[str, str], str] = {}
    for kind, (table, column) in _NAMES.items():
        ids = [int(row.subject) for row in rows if row.kind == kind and row.subject.isdecimal()]
        if ids:
            key, name = table.__table__.c.id, table.__table__.c[column]  # type: ignore[attr-defined]
            query = select(key, name).where(key.in_(ids))
            found |= {(kind, str(row[0])): row[1] for row in connection.execute(query)}
    return found
