"""Pages of the inventory in the order in which things end, narrowed by whatever a filter says.

A page is merged from one walk along an index for each stage: a row that a filter leaves out costs a look, and no more
than `MOST` are looked at for one page; it may then be short and still have a next one. What somebody typed is looked up
first, by indexes of names, serial numbers and keys, and is then a small set that is sorted where it is. The column that
says who answers narrows; whose a row truly is, is asked for the rows that are shown.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, or_, select, text
from sqlmodel import col

from ca.errors import BadRequest
from ca.store import Store
from renewers.inventory.facts import CERTIFICATE
from renewers.inventory.finding import find_owner
from renewers.inventory.ownership import Ownership, owners_of
from renewers.inventory.shown import line
from renewers.models import Lineage, Tracked
from renewers.overview import typed
from renewers.overview.tallies import ALIVE, TROUBLED
from renewers.timing.lead_time import Stage

MOST = 6000
"""Rows that are looked at for one page."""
STEPS = (60, 300, 1500)
"""How many rows of one stage are read at once: more, when the first were left out."""
OVER = (Stage.REPLACED.value, Stage.ENDED.value)
IS_ORPHAN = text("tracked.is_orphan")
IS_SIGNING = text("tracked.kind != 'certificate'")
"""As the indexes of these rows say it: in other words they are not used."""
GROUPS = {"alive": ALIVE, "attention": TROUBLED, "over": OVER, "all": (*ALIVE, *OVER)}
"""Words for several stages."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to list; every field narrows."""

    text: str = ""
    """A name, the beginning of one, a serial number, the SHA-256 of a certificate or of a key, `#12`."""
    stage: str = "alive"
    """One stage, or a word of `GROUPS`."""
    mode: str | None = None
    owner: str | None = None
    orphan: bool = False
    issuer: str | None = None
    kind: str | None = None
    source: str | None = None
    ends_from: int | None = None
    ends_before: int | None = None
    backwards: bool = False
    """Whether what ends last comes first."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the list, with its lineage and whose it is."""

    tracked: Tracked
    lineage: str | None
    mode: str | None
    ownership: Ownership


@dataclass(frozen=True, slots=True)
class Listed:
    """One page. `next` is where the following one starts; `is_cut` says that not everything was looked at yet."""

    lines: tuple[Line, ...]
    next: str | None
    is_cut: bool = False
    is_many: bool = False
    """Whether more was found for what was typed than is listed."""


def page(store: Store, wish: Wish, *, cursor: str | None = None, limit: int = 50) -> Listed:
    """One page of what is wished. `NotFound` if there is no such owner."""
    with store.read(snapshot=True) as connection:
        walk = _Walk(connection, wish, None if cursor is None else _read(cursor))
        ids, following, is_cut = walk.take(limit)
        return Listed(_lines(connection, ids), following, is_cut, walk.is_many)


class _Walk:
    """One look for one page."""

    def __init__(self, connection: Connection, wish: Wish, place: tuple[int, int] | None) -> None:
        self._connection = connection
        self._wish = wish
        self._place = place
        self._looked = 0
        self.is_many = False
        self._stages = stages_of(wish)
        self._owner = None if wish.owner is None else find_owner(connection, wish.owner)
        self._issuer = None if wish.issuer is None else line(wish.issuer)

    def take(self, limit: int) -> tuple[list[int], str | None, bool]:
        """The ids of one page, where the next one starts, and whether that is because enough was looked at."""
        narrow = self._narrow()
        found: list[int] = []
        last: tuple[int, int] | None = None
        for key, row in self._everything() if narrow is None else self._sorted(narrow):
            if row is None:  # enough was looked at: the rest is for the next page
                return found, _written(key), True
            if len(found) == limit:
                return found, None if last is None else _written(last), False
            last = key
            found.append(row)
        return found, None, False

    def _narrow(self) -> list[Any] | None:
        """The few rows that an index gives, where what is asked for is that rare; None where it is not."""
        if self._wish.text:
            ids = typed.find(self._connection, self._wish.text)
            self.is_many = len(ids) >= typed.MOST
            return self._rows(ids)
        if self._issuer is not None:
            query = _COLUMNS.where(col(Tracked.issuer) == self._issuer).limit(typed.MOST + 1)
            rows = list(self._connection.execute(query))
            return rows if len(rows) <= typed.MOST else None
        return None

    def _rows(self, ids: Sequence[int]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(ids), 500):
            found += self._connection.execute(_COLUMNS.where(col(Tracked.id).in_(ids[start : start + 500])))
        return found

    def _sorted(self, rows: Iterable[Any]) -> Iterator[tuple[tuple[int, int], int | None]]:
        kept = [row for row in self._kept(list(rows)) if row.stage in self._stages and self._is_theirs(row)]
        for row in sorted(kept, key=self._key, reverse=self._wish.backwards):
            if self._place is None or self._is_after(row, self._place):
                yield self._key(row), row.id

    def _everything(self) -> Iterator[tuple[tuple[int, int], int | None]]:
        walks = [self._stage(stage) for stage in self._stages]
        sign = -1 if self._wish.backwards else 1
        merged = heapq.merge(*walks, key=lambda found: (sign * found[0][0], sign * found[0][1]))
        for key, id_ in merged:
            yield key, id_
            if id_ is None:
                return

    def _stage(self, stage: str) -> Iterator[tuple[tuple[int, int], int | None]]:
        """The rows of one stage, in their order; None instead of an id where no more are looked at."""
        place, steps = self._place, iter(STEPS)
        size = next(steps)
        while True:
            rows = self._connection.execute(self._statement(stage, place).limit(size)).all()
            self._looked += len(rows)
            for row in self._kept(rows):
                yield self._key(row), row.id
            if len(rows) < size:
                return
            place, size = self._key(rows[-1]), next(steps, STEPS[-1])
            if self._looked >= MOST:
                yield place, None
                return

    def _statement(self, stage: str, place: tuple[int, int] | None) -> Any:
        wish, ends, id_ = self._wish, col(Tracked.not_after), col(Tracked.id)
        statement = _COLUMNS.where(col(Tracked.stage) == stage)
        if self._owner is not None:
            statement = statement.where(col(Tracked.answering_id) == self._owner.id)
        if wish.orphan:
            statement = statement.where(IS_ORPHAN)
        if wish.kind not in (None, CERTIFICATE):
            statement = statement.where(IS_SIGNING)
        if wish.ends_from is not None:
            statement = statement.where(ends >= wish.ends_from)
        if wish.ends_before is not None:
            statement = statement.where(ends < wish.ends_before)
        if wish.backwards:
            if place is not None:
                statement = statement.where(ends <= place[0], or_(ends < place[0], id_ < place[1]))
            return statement.order_by(ends.desc(), id_.desc())
        if place is not None:
            statement = statement.where(ends >= place[0], or_(ends > place[0], id_ > place[1]))
        return statement.order_by(ends, id_)

    def _kept(self, rows: Sequence[Any]) -> list[Any]:
        """Those that the filters without an index leave."""
        wish = self._wish
        kept = [
            row
            for row in rows
            if (wish.kind is None or row.kind == wish.kind)
            and (wish.source is None or row.source == wish.source)
            and (self._issuer is None or row.issuer == self._issuer)
        ]
        if wish.mode is None or not kept:
            return kept
        modes = _modes(self._connection, [row.lineage_id for row in kept if row.lineage_id is not None])
        return [row for row in kept if _mode(row, modes) == wish.mode]

    def _is_theirs(self, row: Any) -> bool:
        """What an index does for the many, for the few."""
        wish = self._wish
        return (
            (self._owner is None or row.answering_id == self._owner.id)
            and (not wish.orphan or row.is_orphan)
            and (wish.ends_from is None or row.not_after >= wish.ends_from)
            and (wish.ends_before is None or row.not_after < wish.ends_before)
        )

    def _is_after(self, row: Any, place: tuple[int, int]) -> bool:
        return self._key(row) < place if self._wish.backwards else self._key(row) > place

    @staticmethod
    def _key(row: Any) -> tuple[int, int]:
        return row.not_after, row.id


_COLUMNS = select(
    *(col(Tracked.id), col(Tracked.not_after), col(Tracked.kind), col(Tracked.source), col(Tracked.issuer)),
    *(col(Tracked.lineage_id), col(Tracked.stage), col(Tracked.answering_id), col(Tracked.is_orphan)),
)


def stages_of(wish: Wish) -> tuple[str, ...]:
    """The stages that are listed. What was typed is looked for in all, unless a stage was asked for."""
    if wish.stage in GROUPS:
        return GROUPS["all"] if wish.text and wish.stage == "alive" else GROUPS[wish.stage]
    if wish.stage in set(Stage):
        return (wish.stage,)
    raise BadRequest("there is no such stage", code="bad-stage", hint=", ".join((*GROUPS, *Stage)))


def _modes(connection: Connection, lineage_ids: Sequence[int]) -> dict[int | None, str]:
    found: dict[int | None, str] = {}
    for start in range(0, len(lineage_ids), 500):
        part = select(col(Lineage.id), col(Lineage.mode)).where(col(Lineage.id).in_(lineage_ids[start : start + 500]))
        found |= {row.id: row.mode for row in connection.execute(part)}
    return found


def _mode(row: Any, modes: dict[int | None, str]) -> str | None:
    """Who renews it; what belongs to no lineage is a person's affair, if it is a certificate at all."""
    return modes.get(row.lineage_id, "manual") if row.kind == CERTIFICATE else None


def _lines(connection: Connection, ids: Sequence[int]) -> tuple[Line, ...]:
    """The rows of a page in its order, each with its lineage and its owner as they truly are."""
    columns: Any = (col(Lineage.name).label("lineage_name"), col(Lineage.mode).label("lineage_mode"))
    joined = and_(col(Lineage.id) == col(Tracked.lineage_id))
    query: Any = select(Tracked, *columns).outerjoin(Lineage, joined).where(col(Tracked.id).in_(ids))
    rows = {row.id: row for row in connection.execute(query)}
    answers = owners_of(connection, list(rows.values()))
    return tuple(_line(rows[id_], answers[id_]) for id_ in ids if id_ in rows)


def _line(row: Any, ownership: Ownership) -> Line:
    values = {name: row._mapping[name] for name in Tracked.model_fields}
    return Line(Tracked(**values), row.lineage_name, row.lineage_mode, ownership)


def _written(place: tuple[int, int]) -> str:
    return f"{place[0]}:{place[1]}"


def _read(cursor: str) -> tuple[int, int]:
    ends, _, id_ = cursor.partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (ends.removeprefix("-"), id_)):
        raise BadRequest("this cursor is not one that we gave out", code="bad-cursor")
    return int(ends), int(id_)
