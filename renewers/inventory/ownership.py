"""Whose something is: set on it, set on its lineage, claimed by a name or by who asked for it; else it is an orphan.

An orphan falls to the fallback owner, so that somebody hears of it, and is listed until somebody takes it. So is what
its owner refused (`refusing.py`): no claim gives it back. The answer is worked out each time, since claims change; for
many rows at once it costs a handful of statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, tuple_
from sqlmodel import col

from ca.models import Certificate
from ca.store import Store
from renewers.inventory.claims import ClaimKind, Match, matches
from renewers.inventory.joining import ISSUED, OWN
from renewers.inventory.succession import ENDED
from renewers.models import Lineage, Owner, OwnerClaim, Refused, Tracked, TrackedName

PAGE = 500
PAGES = 20
"""How many pages are looked through for one answer."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who answers for something, and why. `owner` is None only where there is no fallback owner either."""

    owner: Owner | None
    why: str
    is_orphan: bool = False


def owner_of(connection: Connection, tracked: Any) -> Ownership:
    """Whose one row of `Tracked` is."""
    return owners_of(connection, [tracked])[tracked.id]


def owners_of(connection: Connection, rows: Sequence[Any]) -> dict[int, Ownership]:
    """Whose many rows are, by their ids."""
    found: dict[int, tuple[int | None, str]] = {row.id: (row.owner_id, "set on it") for row in rows if row.owner_id}
    left = [row for row in rows if row.id not in found]
    found |= _by_lineage(connection, left)
    refused = _refused(connection, [row for row in left if row.id not in found])
    left = [row for row in left if row.id not in found and row.id not in refused and row.source != OWN]
    found |= _by_name(connection, [row.id for row in left])
    found |= _by_requester(connection, [row for row in left if row.id not in found and row.source == ISSUED])
    owners = _owners(connection, {owner_id for owner_id, _ in found.values() if owner_id is not None})
    fallback = next((owner for owner in owners.values() if owner.is_fallback), None)
    answers = {}
    for row in rows:
        owner_id, why = found.get(row.id, (None, ""))
        if owner_id in owners:
            answers[row.id] = Ownership(owners[owner_id], why)
        elif row.source == OWN:
            answers[row.id] = Ownership(fallback, "part of this installation")
        else:
            answers[row.id] = Ownership(fallback, refused.get(row.id, "nobody claims it"), is_orphan=True)
    return answers


def orphans(store: Store, *, cursor: int = 0, limit: int = 100) -> tuple[list[Any], int | None]:
    """A page of rows that nobody owns, in the order of their ids, and where the next page starts.

    A page may be short, or empty, and still have a next one: not more than a bounded number of rows is looked at.
    """
    found: list[Any] = []
    with store.read() as connection:
        for _ in range(PAGES):
            rows = connection.execute(_UNOWNED.where(col(Tracked.id) > cursor)).all()
            answers = owners_of(connection, rows)
            for row in rows:
                cursor = row.id
                if answers[row.id].is_orphan:
                    found.append(row)
                    if len(found) == limit:
                        return found, cursor
            if len(rows) < PAGE:
                return found, None
    return found, cursor


_UNOWNED = (
    select(Tracked)
    .outerjoin(Lineage, col(Lineage.id) == col(Tracked.lineage_id))
    .where(col(Tracked.owner_id).is_(None), col(Lineage.owner_id).is_(None), col(Tracked.replaced_by).is_(None))
    .where(col(Tracked.stage) != ENDED, col(Tracked.source) != OWN)
    .order_by(col(Tracked.id))
    .limit(PAGE)
)


def _by_lineage(connection: Connection, rows: Sequence[Any]) -> dict[int, tuple[int | None, str]]:
    ids = {row.lineage_id for row in rows if row.lineage_id is not None}
    if not ids:
        return {}
    query = select(col(Lineage.id), col(Lineage.owner_id), col(Lineage.name))
    lineages = {row.id: row for row in connection.execute(query.where(col(Lineage.id).in_(ids))) if row.owner_id}
    return {
        row.id: (lineages[row.lineage_id].owner_id, f"set on its lineage {lineages[row.lineage_id].name}")
        for row in rows
        if row.lineage_id in lineages
    }


def _refused(connection: Connection, rows: Sequence[Any]) -> dict[int, str]:
    """Those of these that their owner says are not its, with who said so."""
    if not rows or connection.execute(select(col(Refused.about)).limit(1)).first() is None:
        return {}
    abouts = {f"lineage:{row.lineage_id}" for row in rows} | {f"tracked:{row.id}" for row in rows}
    query = select(col(Refused.about), col(Refused.by)).where(col(Refused.about).in_(sorted(abouts)))
    found = {row.about: f"{row.by} says that it is not theirs" for row in connection.execute(query)}
    of_both = {row.id: found.get(f"lineage:{row.lineage_id}") or found.get(f"tracked:{row.id}") for row in rows}
    return {id_: why for id_, why in of_both.items() if why is not None}


def _by_name(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[int | None, str]]:
    """By the claim that fits one of its names most closely; of two that fit alike, by the first in the alphabet."""
    if not ids:
        return {}
    if connection.execute(select(OwnerClaim).where(col(OwnerClaim.kind) == ClaimKind.NAME).limit(1)).first() is None:
        return {}
    candidates: dict[int, list[Match]] = {}
    query = select(col(TrackedName.tracked_id), col(TrackedName.name)).where(col(TrackedName.tracked_id).in_(ids))
    for row in connection.execute(query):
        candidates.setdefault(row.tracked_id, []).extend(matches(row.name))
    claimed = _claims(connection, ClaimKind.NAME, {match.pattern for found in candidates.values() for match in found})
    answers: dict[int, tuple[int | None, str]] = {}
    for tracked_id, found in candidates.items():
        fitting = [match for match in found if match.pattern in claimed]
        if fitting:
            best = min(fitting, key=lambda match: (not match.rank[0], -match.rank[1], match.pattern))
            answers[tracked_id] = (claimed[best.pattern], f"claims {best.pattern}")
    return answers


def _by_requester(connection: Connection, rows: Sequence[Any]) -> dict[int, tuple[int | None, str]]:
    if not rows:
        return {}
    query = select(col(Certificate.serial), col(Certificate.requested_by))
    asked = connection.execute(query.where(col(Certificate.serial).in_([row.serial for row in rows]))).all()
    requesters = {row.serial: row.requested_by for row in asked}
    claimed = _claims(connection, ClaimKind.REQUESTER, set(requesters.values()))
    return {
        row.id: (claimed[requester], f"asked for by {requester}")
        for row in rows
        if (requester := requesters.get(row.serial, "")) in claimed
    }


def _claims(connection: Connection, kind: ClaimKind, patterns: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    wanted = sorted(patterns)
    for start in range(0, len(wanted), PAGE):
        keys = [(kind.value, pattern) for pattern in wanted[start : start + PAGE]]
        query = select(OwnerClaim).where(tuple_(col(OwnerClaim.kind), col(OwnerClaim.pattern)).in_(keys))
        found |= {row.pattern: row.owner_id for row in connection.execute(query)}
    return found


def _owners(connection: Connection, ids: Iterable[int]) -> dict[int, Owner]:
    """These owners, and the fallback."""
    query = select(Owner).where(col(Owner.id).in_(list(ids)) | col(Owner.is_fallback))
    return {row.id: Owner(**row._mapping) for row in connection.execute(query)}
