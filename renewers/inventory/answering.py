"""Who answers for what, written on each row, so that a million rows can be searched and counted by it.

Whose something is, is worked out by `ownership.owners_of`, and nobody is told anything on the word of a column; these
columns say the same. Whoever writes a row down or looks at it writes its answer, too; assignments and heirs are
written at once; when a rule changes, which any row may fall under, the walk begins again in that same transaction.
Whoever writes an answer holds the rules meanwhile: none is written by rules that the walk knows no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import col

from ca.models import Fact
from ca.store import Transaction
from renewers.inventory.joining import insert_new
from renewers.inventory.ownership import Ownership, owners_of
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked

RULES = "answering:rules"
"""The fact that counts how often the rules have changed: held by who applies them, moved by who changes them."""
WALK = "answering:walk"
"""The fact that says by which rules the walk goes and which row it was at last, or that it has ended: `7:1200`."""
PAGE = 500
PAGES = 20
"""How many pages without a difference are gone through before it is written down how far that is."""
MANY = 2000
"""A lineage with more rows than that is left to the walk: others want the writer, too."""
_END = "end"
_NEEDED = (
    *(col(Tracked.id), col(Tracked.owner_id), col(Tracked.lineage_id), col(Tracked.source), col(Tracked.serial)),
    *(col(Tracked.answering_id), col(Tracked.is_orphan)),
)
_WRITE = (
    update(Tracked.__table__)  # type: ignore[attr-defined]  # SQLModel does not type it
    .where(col(Tracked.id) == bindparam("row"))
    .values(answering_id=bindparam("who"), is_orphan=bindparam("orphan"))
)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What the walk has gone through: the rules it went by, from where to where, and the rows that say otherwise."""

    rules: str
    begin: str
    end: str
    looked: int
    different: Sequence[int]

    def __call__(self, tx: Transaction) -> bool:
        """Write it down, unless the rules have changed or another replica has been here; whether that was so."""
        if hold(tx) != self.rules:
            return False
        moved = update(Fact).where(col(Fact.name) == WALK, col(Fact.value) == self.begin).values(value=self.end)
        if tx.execute(moved).rowcount != 1:
            return False
        settle(tx, self.different)
        return True


def hold(tx: Transaction) -> str:
    """Keep the rules as they are until this transaction ends; returns which they are. Before any of them is read."""
    held = select(col(Fact.value)).where(col(Fact.name) == RULES).with_for_update(read=True)
    found = tx.execute(held).scalar()
    if found is None:
        insert_new(tx, Fact, [{"name": RULES, "value": "0"}])
        found = tx.execute(held).scalar_one()
    return str(found)


def start_over(tx: Transaction) -> None:
    """A rule changes in this transaction: every row is to be asked again. Before the rule is written."""
    insert_new(tx, Fact, [{"name": RULES, "value": "0"}])
    of = col(Fact.name) == RULES
    before = tx.execute(select(col(Fact.value)).where(of).with_for_update()).scalar_one()
    tx.execute(update(Fact).where(of).values(value=str(int(before) + 1)))


def settle(tx: Transaction, tracked_ids: Collection[int]) -> None:
    """Write who answers for these, where that differs from what their rows say."""
    if not tracked_ids:
        return
    hold(tx)
    ids = list(tracked_ids)
    for start in range(0, len(ids), PAGE):
        rows = tx.execute(select(*_NEEDED).where(col(Tracked.id).in_(ids[start : start + PAGE]))).all()
        _write(tx, rows, owners_of(tx.connection, rows))


def settle_lineage(tx: Transaction, lineage_id: int) -> None:
    """The same for all that a lineage has ever had: its owner has changed."""
    of_it = select(col(Tracked.id)).where(col(Tracked.lineage_id) == lineage_id)
    ids = tx.execute(of_it.order_by(col(Tracked.id)).limit(MANY + 1)).scalars().all()
    if len(ids) > MANY:
        start_over(tx)
    settle(tx, ids[:MANY])


def inherit(tx: Transaction, before_id: int, heir_id: int) -> None:
    """What one owner answers for is another's from now on. What the walk has not reached yet, it still asks again."""
    start_over(tx)
    to = update(Tracked).where(col(Tracked.answering_id) == before_id).values(answering_id=heir_id)
    tx.execute(to)


def walk(lifecycle: Lifecycle, *, limit: int = 10_000) -> int:
    """Go on with the walk through all rows; returns how many were looked at: 0 when it has ended."""
    looked = 0
    while looked < limit:
        with lifecycle.store.read() as connection:
            rules, begin = _where(connection)
            has_ended = begin is None or begin == f"{rules}:{_END}"
            stretch = None if begin is None or has_ended else _look(connection, rules, begin)
        if begin is None:
            lifecycle.store.write(_begin)
        elif stretch is None:
            break
        elif lifecycle.store.write(stretch):
            looked += max(stretch.looked, 1)
    return looked


def is_settled(connection: Connection) -> bool:
    """Whether every row says who answers for it, by the rules as they are."""
    rules, place = _where(connection)
    return place == f"{rules}:{_END}"


def _begin(tx: Transaction) -> None:
    hold(tx)
    insert_new(tx, Fact, [{"name": WALK, "value": ""}])


def _where(connection: Connection) -> tuple[str, str | None]:
    found = connection.execute(select(Fact).where(col(Fact.name).in_((RULES, WALK)))).all()
    facts = {row.name: row.value for row in found}
    return facts.get(RULES, ""), facts.get(WALK)


def _look(connection: Connection, rules: str, begin: str) -> _Stretch:
    """Go through pages until enough differs, and say what does."""
    of, _, place = begin.partition(":")
    cursor = int(place) if of == rules and place else 0
    looked, different = 0, list[int]()
    for _ in range(PAGES):
        query = select(*_NEEDED).where(col(Tracked.id) > cursor).order_by(col(Tracked.id)).limit(PAGE)
        rows = connection.execute(query).all()
        looked += len(rows)
        different += [change["row"] for change in _changes(rows, owners_of(connection, rows))]
        if len(rows) < PAGE:
            return _Stretch(rules, begin, f"{rules}:{_END}", looked, different)
        cursor = rows[-1].id
        if len(different) >= PAGE:
            break
    return _Stretch(rules, begin, f"{rules}:{cursor}", looked, different)


def _write(tx: Transaction, rows: Sequence[Any], answers: Mapping[int, Ownership]) -> None:
    changes = sorted(_changes(rows, answers), key=lambda change: int(change["row"]))
    if changes:
        tx.execute(_WRITE, changes)


def _changes(rows: Iterable[Any], answers: Mapping[int, Ownership]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        answer = answers[row.id]
        who = None if answer.owner is None else answer.owner.id
        if (row.answering_id, row.is_orphan) != (who, answer.is_orphan):
            found.append({"row": row.id, "who": who, "orphan": answer.is_orphan})
    return found
