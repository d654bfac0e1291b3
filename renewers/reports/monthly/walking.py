"""The one pass over what is tracked: everything that stands, page after page, each row handed to all that count.

Memory does not grow with what is tracked. Pages are read one after the other while work goes on, so that a certificate
that is replaced meanwhile may count as either. Who counts what: `keys.py`, `owned.py`, `readiness.py`, `ahead.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.store import Store
from renewers.inventory.ownership import owners_of
from renewers.inventory.succession import ENDED
from renewers.models import Lineage, Tracked
from renewers.timing import deadlines
from renewers.timing.deadlines import CERTIFICATE
from renewers.timing.lead_time import Stage

PAGE = 5000
ASKED_AT_ONCE = 500
PROGRAM, HOLDER, PERSON = "program", "holder", "person"
"""Who renews a certificate: we do; whoever holds its key, as we are not told how; somebody by hand."""
_WHO = {"renewed": PROGRAM, "holder": HOLDER}

_COLUMNS: tuple[Any, ...] = (
    *(col(Tracked.id), col(Tracked.identity), col(Tracked.kind), col(Tracked.source), col(Tracked.shown_as)),
    *(col(Tracked.subject), col(Tracked.issuer), col(Tracked.serial), col(Tracked.key_type), col(Tracked.stage)),
    *(col(Tracked.not_before), col(Tracked.not_after), col(Tracked.lineage_id), col(Tracked.owner_id)),
    *(col(Tracked.answering_id), col(Tracked.is_orphan)),
    *(col(Lineage.mode), col(Lineage.issuers), col(Lineage.profile), col(Lineage.current_id)),
    col(Lineage.ari_chosen),
)
_STANDING = (
    select(*_COLUMNS)
    .outerjoin(Lineage, col(Lineage.id) == col(Tracked.lineage_id))
    .where(col(Tracked.replaced_by).is_(None), col(Tracked.stage).not_in((ENDED, Stage.REPLACED.value)))
    .order_by(col(Tracked.id))
    .limit(PAGE)
)


@dataclass(frozen=True, slots=True)
class Owned:
    """Who answers for a row: an owner's id, None where there is not even a fallback owner."""

    owner_id: int | None
    is_orphan: bool


class Counts(Protocol):
    """Whoever counts something on the pass."""

    def add(self, row: Any, owned: Owned) -> None:
        """One more thing that stands."""


def walk(store: Store, counting: Sequence[Counts]) -> int:
    """Hand every row that stands to all of them. Returns how many rows there were."""
    total = 0
    for rows, owners in _pages(store):
        for row in rows:
            owned = owners.get(row.id)
            if owned is None:
                owned = Owned(row.answering_id, row.is_orphan)
            for one in counting:
                one.add(row, owned)
        total += len(rows)
    return total


def who_renews(row: Any) -> str:
    """Who renews it."""
    return _WHO.get(row.mode, PERSON)


def is_leaf(row: Any) -> bool:
    """Whether it is the certificate of an end entity."""
    return bool(row.kind == CERTIFICATE)


def lifetime(row: Any) -> int:
    """How long it lives from beginning to end, seconds."""
    return int(max(1, row.not_after - row.not_before + 1))


def kind_of(row: Any) -> str:
    """`certificate`, `root`, `intermediate`, `crl` or `bundle`."""
    return deadlines.kind_of(row)


def _pages(store: Store) -> Iterator[tuple[Sequence[Any], dict[int, Owned]]]:
    cursor = 0
    while True:
        with store.read() as connection:
            rows = connection.execute(_STANDING.where(col(Tracked.id) > cursor)).all()
            owners = _asked(connection, [row for row in rows if row.answering_id is None])
        yield rows, owners
        if len(rows) < PAGE:
            return
        cursor = rows[-1].id


def _asked(connection: Connection, rows: Sequence[Any]) -> dict[int, Owned]:
    """Who answers for what nobody has looked at yet."""
    found: dict[int, Owned] = {}
    for start in range(0, len(rows), ASKED_AT_ONCE):
        for id_, answer in owners_of(connection, rows[start : start + ASKED_AT_ONCE]).items():
            found[id_] = Owned(None if answer.owner is None else answer.owner.id, answer.is_orphan)
    return found
