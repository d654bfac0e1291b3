"""Mass replacements as people read them: a page of all, one with its account, a page of its items. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, tuple_
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest, NotFound
from renewers.lifecycle import Lifecycle
from renewers.models import Replacement, ReplacementItem, Work
from renewers.replacing import underway
from renewers.replacing.underway import KIND, STATES, Progress, Underway

MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Course:
    """One replacement, its account, and when it is looked at next."""

    row: Replacement
    replacing: Underway
    progress: Progress
    work: Work | None


def show(lifecycle: Lifecycle, caller: Caller, replacement_id: int) -> Course:
    """One replacement. `NotFound` if there is none."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read(snapshot=True) as connection:
        return course(connection, replacement_id)


def course(connection: Connection, replacement_id: int) -> Course:
    """The same, for who may."""
    row = connection.execute(select(Replacement).where(col(Replacement.id) == replacement_id)).first()
    if row is None:
        raise NotFound(
            f"there is no replacement {replacement_id}",
            code="unknown-replacement",
            hint="certwright replace list",
        )
    planned = select(Work).where(col(Work.kind) == KIND, col(Work.subject) == str(replacement_id))
    due = connection.execute(planned).first()
    return Course(
        row=Replacement(**row._mapping),
        replacing=underway.read(row),
        progress=underway.progress(connection, replacement_id),
        work=None if due is None else Work(**due._mapping),
    )


def page(
    lifecycle: Lifecycle, caller: Caller, *, state: str | None = None, cursor: int | None = None, limit: int = 50
) -> tuple[list[Course], int | None]:
    """A page of replacements, newest first, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    _check(limit)
    query = select(col(Replacement.id)).order_by(col(Replacement.id).desc()).limit(limit + 1)
    if state is not None:
        query = query.where(col(Replacement.state) == state)
    if cursor is not None:
        query = query.where(col(Replacement.id) < cursor)
    with lifecycle.store.read(snapshot=True) as connection:
        ids = [id_ for id_ in connection.execute(query).scalars() if id_ is not None]
        found = [course(connection, id_) for id_ in ids[:limit]]
    return found, ids[limit - 1] if len(ids) > limit else None


def items(
    lifecycle: Lifecycle,
    caller: Caller,
    replacement_id: int,
    *,
    state: str | None = None,
    cursor: int = 0,
    limit: int = 50,
) -> tuple[list[ReplacementItem], int | None]:
    """A page of the certificates of a replacement, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    _check(limit)
    if state is not None and state not in STATES:
        raise BadRequest(f"{state[:40]!r} is not a state", code="bad-state", hint=f"states are {', '.join(STATES)}")
    key = (col(ReplacementItem.replacement_id), col(ReplacementItem.tracked_id))
    query = select(ReplacementItem).where(col(ReplacementItem.replacement_id) == replacement_id)
    query = query.where(tuple_(*key) > (replacement_id, cursor)).order_by(*key)
    if state is not None:
        query = query.where(col(ReplacementItem.state) == state)
    with lifecycle.store.read(snapshot=True) as connection:
        course(connection, replacement_id)
        rows = [ReplacementItem(**row._mapping) for row in connection.execute(query.limit(limit + 1))]
    return rows[:limit], rows[limit - 1].tracked_id if len(rows) > limit else None


def _check(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
