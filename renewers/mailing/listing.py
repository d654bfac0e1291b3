"""Looking at letters: pages of them, the newest first, and one with all that it tells of. Nothing here sends any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest, NotFound
from renewers.inventory.finding import find_owner
from renewers.lifecycle import Lifecycle
from renewers.mailing import letters
from renewers.models import Crossing, Letter, Owner, Told

MAX_PAGE = 500
KINDS = (letters.DIGEST, letters.DAILY, letters.URGENT, letters.ESCALATION, letters.MONTHLY)
STATES = (letters.OPEN, letters.SENT, letters.REFUSED, letters.BOUNCED, letters.OVERTAKEN)
SHOWN = tuple(state for state in STATES if state != letters.OVERTAKEN)
"""Letters that a list shows if nobody asks for a state: a digest that had nothing to say was never written."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A letter, and the name of the owner that it is about; of one that was removed, none."""

    letter: Letter
    owner: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """The same with what it tells of, oldest first."""

    letter: Letter
    owner: str | None
    crossings: tuple[Crossing, ...]


def page(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    owner: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    cursor: int | None = None,
    limit: int = 50,
) -> tuple[list[Listed], int | None]:
    """A page of letters, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    if kind is not None and kind not in KINDS:
        raise BadRequest("there are no letters of that kind", code="bad-kind", hint=", ".join(KINDS))
    if state is not None and state not in STATES:
        raise BadRequest("letters do not stand like that", code="bad-state", hint=", ".join(STATES))
    wanted = [col(Letter.state).in_(SHOWN) if state is None else col(Letter.state) == state]
    if kind is not None:
        wanted.append(col(Letter.kind) == kind)
    if cursor is not None:
        wanted.append(col(Letter.id) < cursor)
    with lifecycle.store.read() as connection:
        if owner is not None:
            wanted.append(col(Letter.owner_id) == find_owner(connection, owner).id)
        query = select(Letter).where(*wanted).order_by(col(Letter.id).desc()).limit(limit + 1)
        rows = [Letter(**row._mapping) for row in connection.execute(query)]
        names = _names(connection, rows[:limit])
    found = [Listed(row, names.get(row.owner_id)) for row in rows[:limit]]
    return found, rows[limit - 1].id if len(rows) > limit else None


def show(lifecycle: Lifecycle, caller: Caller, letter_id: int) -> Shown:
    """One letter. `NotFound` if there is none."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read(snapshot=True) as connection:
        row = connection.execute(select(Letter).where(col(Letter.id) == letter_id)).first()
        if row is None:
            raise NotFound(f"there is no letter {letter_id}", code="unknown-letter", hint="certwright report list")
        letter = Letter(**row._mapping)
        of_it = select(Crossing).join(Told, col(Told.crossing_id) == col(Crossing.id))
        told = connection.execute(of_it.where(col(Told.letter_id) == letter_id).order_by(col(Crossing.id)))
        crossings = tuple(Crossing(**each._mapping) for each in told)
        return Shown(letter, _names(connection, [letter]).get(letter.owner_id), crossings)


def waiting(lifecycle: Lifecycle) -> list[int]:
    """The ids of letters that have not left yet, the oldest first: a page of them."""
    query = select(col(Letter.id)).where(col(Letter.state) == letters.OPEN).order_by(col(Letter.id)).limit(MAX_PAGE)
    with lifecycle.store.read() as connection:
        return [int(id_ or 0) for id_ in connection.execute(query).scalars()]


def count_sent(lifecycle: Lifecycle, ids: Sequence[int]) -> int:
    """How many of these, and of those that were opened after them, have left."""
    recent = or_(col(Letter.id).in_(ids), col(Letter.id) > max(ids, default=0))
    query = select(func.count()).where(col(Letter.state) == letters.SENT, recent)
    with lifecycle.store.read() as connection:
        return int(connection.execute(query).scalar_one()) if ids else 0


def _names(connection: Connection, rows: Sequence[Letter]) -> dict[int, str]:
    ids = {row.owner_id for row in rows}
    query = select(col(Owner.id), col(Owner.name)).where(col(Owner.id).in_(ids))
    return {row.id: row.name for row in connection.execute(query)}
