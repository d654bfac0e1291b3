"""Whose what is, counted: for each owner what a person of theirs signs for, and what nobody owns.

Owners are those that were written down when each row was last looked at; where nobody has looked yet, they are asked
for (`renewers/inventory/ownership.py`). Texts of owners are made harmless here, before they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca.store import Store
from renewers.inventory import shown
from renewers.models import Acknowledged, Letter, Lineage, Mailbox, Owner, Tracked
from renewers.reports.monthly.tallying import First
from renewers.reports.monthly.walking import PERSON, PROGRAM, Owned, is_leaf, who_renews
from renewers.timing.lead_time import DAY, Stage

SOON = 90 * DAY
ORPHANS = 50
"""How many of what nobody owns are listed, those that end first."""
PAGE = 500
TEXT = 120
_ALARMING = frozenset({Stage.LATE, Stage.URGENT, Stage.CRITICAL, Stage.EXPIRED})


@dataclass(slots=True)
class _Count:
    certificates: int = 0
    program: int = 0
    person: int = 0
    holder: int = 0
    others: int = 0
    soon: int = 0
    alarming: int = 0
    first_end: int | None = None


class Ownership:
    """Counts by owner, and lists orphans."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._by_owner: dict[int | None, _Count] = {}
        self._orphans = First(ORPHANS)

    def add(self, row: Any, owned: Owned) -> None:
        """One more: an orphan counts as nobody's, though the fallback owner hears of it."""
        owner_id = None if owned.is_orphan else owned.owner_id
        count = self._by_owner.get(owner_id)
        if count is None:
            count = self._by_owner[owner_id] = _Count()
        if is_leaf(row):
            who = who_renews(row)
            count.certificates += 1
            count.program += who == PROGRAM
            count.person += who == PERSON
            count.holder += who not in (PROGRAM, PERSON)
            count.soon += who == PERSON and row.not_after < self._now + SOON
        else:
            count.others += 1
        count.alarming += row.stage in _ALARMING
        if count.first_end is None or row.not_after < count.first_end:
            count.first_end = row.not_after
        if owned.is_orphan:
            self._orphans.add(row.not_after, row.id, lambda: _orphan(row))

    def figures(self, store: Store) -> dict[str, Any]:
        """As the report keeps it: every owner by name, then what belongs to nobody."""
        nobody = self._by_owner.get(None, _Count())
        return {
            "owners": _owners(store, self._by_owner),
            "nobody": _counted(nobody),
            "orphans": self._orphans.count,
            "orphans_first": self._orphans.rows(),
        }


def _orphan(row: Any) -> dict[str, Any]:
    found = {"name": shown.line(row.shown_as, TEXT), "kind": row.kind, "issuer": shown.line(row.issuer, TEXT)}
    return {**found, "not_after": row.not_after, "renewed_by": who_renews(row)}


def _counted(count: _Count) -> dict[str, Any]:
    return {name: getattr(count, name) for name in _Count.__dataclass_fields__}


def _owners(store: Store, counts: Mapping[int | None, _Count]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor, acknowledged = 0, _acknowledged(store)
    while True:
        with store.read() as connection:
            query = select(Owner).where(col(Owner.id) > cursor).order_by(col(Owner.id)).limit(PAGE)
            rows = connection.execute(query).all()
            mailboxes = _mailboxes(connection, [row.email for row in rows])
            written = _written(connection, [row.id for row in rows])
        for row in rows:
            named = {"name": shown.line(row.name, TEXT), "email": shown.line(row.email, TEXT)}
            state = {"is_fallback": row.is_fallback, **mailboxes.get(row.email, _UNKNOWN_MAILBOX)}
            last = {"last_letter": written.get(row.id), "last_acknowledged": acknowledged.get(row.id)}
            found.append({**named, **state, **last, **_counted(counts.get(row.id, _Count()))})
        if len(rows) < PAGE:
            return sorted(found, key=lambda row: str(row["name"]))
        cursor = rows[-1].id


_UNKNOWN_MAILBOX: Mapping[str, Any] = {"dead_since": None, "digests_off_at": None}


def _mailboxes(connection: Connection, addresses: list[str]) -> dict[str, dict[str, Any]]:
    query = select(Mailbox).where(col(Mailbox.address).in_(addresses))
    return {
        row.address: {"dead_since": row.dead_since, "digests_off_at": row.digests_off_at}
        for row in connection.execute(query)
    }


def _written(connection: Connection, owner_ids: list[int]) -> dict[int, int]:
    """When a mail server last took a letter to each."""
    of = col(Letter.owner_id).in_(owner_ids), col(Letter.sent_at).is_not(None), col(Letter.kind) != "monthly"
    query = select(col(Letter.owner_id), func.max(col(Letter.sent_at))).where(*of).group_by(col(Letter.owner_id))
    return {row[0]: row[1] for row in connection.execute(query) if row[1] is not None}


def _acknowledged(store: Store) -> dict[int, int]:
    """When each owner's things were last acknowledged, among the acknowledgements that are kept."""
    found: dict[int, int] = {}
    cursor = ""
    while True:
        with store.read() as connection:
            kept = select(Acknowledged).where(col(Acknowledged.about) > cursor).order_by(col(Acknowledged.about))
            rows = connection.execute(kept.limit(PAGE)).all()
            answering = _answering(connection, [row.about for row in rows])
        for row in rows:
            owner_id = answering.get(row.about)
            if owner_id is not None:
                found[owner_id] = max(found.get(owner_id, 0), row.at)
        if len(rows) < PAGE:
            return found
        cursor = rows[-1].about


def _answering(connection: Connection, abouts: list[str]) -> dict[str, int | None]:
    """Who answers for what was acknowledged."""
    who, owned = col(Tracked.answering_id), col(Tracked.is_orphan).is_(False)
    tracked = select(col(Tracked.id), who).where(col(Tracked.id).in_(_ids(abouts, "tracked")), owned)
    lineages = select(col(Lineage.id), who).join(Tracked, col(Tracked.id) == col(Lineage.current_id))
    lineages = lineages.where(col(Lineage.id).in_(_ids(abouts, "lineage")), owned)
    found = {f"tracked:{row[0]}": row[1] for row in connection.execute(tracked)}
    return found | {f"lineage:{row[0]}": row[1] for row in connection.execute(lineages)}


def _ids(abouts: list[str], kind: str) -> list[int]:
    parts = [about.partition(":") for about in abouts]
    return [int(number) for word, _, number in parts if word == kind and number.isdigit()]
