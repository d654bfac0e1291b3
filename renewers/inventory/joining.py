"""Which lineage a certificate belongs to: the one that is named, its predecessor's, one with the same names, a new one.

Two replicas may find the same certificate at once. What each would make has the same, derived name, so that the second
finds what the first has made: names that are taken are read first, lineages second, and only then is one made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import SQLModel, col

from ca import clock
from ca.store import Transaction
from renewers.inventory.facts import CERTIFICATE, Facts, successor_key
from renewers.models import Lineage, Tracked

RENEWED, MANUAL, HOLDER = "renewed", "manual", "holder"
"""Who renews a lineage: we do, a person does, whoever holds its key does."""
SCANNED, IMPORTED, ISSUED, OWN, BY_US = "scanned", "imported", "issued", "authority", "renewed"
"""Where something tracked comes from; what is known of it twice keeps the better of two sources."""
RANKS = {SCANNED: 0, IMPORTED: 1, ISSUED: 2, OWN: 3, BY_US: 4}
MAX_LINEAGE_NAME = 120


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be tracked."""

    facts: Facts
    source: str
    lineage_id: int | None = None
    owner_id: int | None = None
    chain: str = ""
    """PEM, from its issuer upwards."""
    follows: str | None = None
    """The identity of the certificate that it renews."""
    is_over: bool = False
    """Whether it was revoked or never handed out: part of the story, but nobody waits for its end."""


def insert_new(tx: Transaction, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those rows whose keys nobody has, or has used meanwhile."""
    if rows:
        tx.execute(insert(table).on_conflict_do_nothing(), list(rows))


def join(tx: Transaction, entries: Sequence[Entry]) -> list[int | None]:
    """The lineage of each entry; made where there is none. CAs, CRLs and bundles have none."""
    places: dict[str, int | str] = dict(
        _followed(tx, [entry.follows for entry in entries if entry.follows is not None])
    )
    found: list[int | str | None] = []
    for entry in entries:  # a place is a lineage, or the key of one that is yet to be found or made
        key = None if _is_settled(entry) else successor_key(entry.facts)
        place = entry.lineage_id if key is None else places.get(entry.follows or "", key)
        if place is not None:
            places[entry.facts.identity] = place
        found.append(place)
    first = dict(zip(reversed(found), reversed(entries), strict=True))
    made = _find_or_make(tx, {place: entry for place, entry in first.items() if isinstance(place, str)})
    return [made[place] if isinstance(place, str) else place for place in found]


def _is_settled(entry: Entry) -> bool:
    return entry.lineage_id is not None or entry.facts.kind != CERTIFICATE


def _followed(tx: Transaction, identities: Sequence[str]) -> dict[str, int]:
    """The lineages of these certificates."""
    if not identities:
        return {}
    query = select(col(Tracked.identity), col(Tracked.lineage_id)).where(col(Tracked.identity).in_(identities))
    return {row.identity: row.lineage_id for row in tx.execute(query) if row.lineage_id is not None}


def _find_or_make(tx: Transaction, wanted: Mapping[str, Entry]) -> dict[str, int]:
    if not wanted:
        return {}
    names = {key: _readable(entry.facts) for key, entry in wanted.items()}
    taken = _taken(tx, names.values())
    found = _by_key(tx, wanted)
    for _ in range(2):  # a name may be taken between the two looks; the second one nobody else wants
        missing = sorted(set(wanted) - set(found), key=lambda key: names[key])
        if not missing:
            break
        rows = []
        for key in missing:
            name = names[key] if names[key] not in taken else f"{names[key]} ({key[:16]})"
            taken.add(names[key])
            rows.append(_row(name, key, wanted[key]))
        insert_new(tx, Lineage, sorted(rows, key=lambda row: str(row["name"])))
        found |= _by_key(tx, missing)
    return found


def _taken(tx: Transaction, names: Iterable[str]) -> set[str]:
    return set(tx.execute(select(col(Lineage.name)).where(col(Lineage.name).in_(set(names)))).scalars())


def _by_key(tx: Transaction, keys: Iterable[str]) -> dict[str, int]:
    """The oldest lineage for each set of names; what we renew ourselves comes first."""
    columns = select(col(Lineage.names_key), col(Lineage.id), col(Lineage.mode))
    rows = tx.execute(columns.where(col(Lineage.names_key).in_(list(keys)))).all()
    ordered = sorted(rows, key=lambda row: (row.mode != RENEWED, row.id), reverse=True)
    return {row.names_key: row.id for row in ordered}


def _readable(facts: Facts) -> str:
    name = " ".join(facts.shown_as.split())
    return name if len(name) <= MAX_LINEAGE_NAME else name[: MAX_LINEAGE_NAME - 3] + "..."


def _row(name: str, key: str, entry: Entry) -> dict[str, Any]:
    return {
        "name": name,
        "owner_id": entry.owner_id,
        "mode": HOLDER if entry.source == ISSUED else MANUAL,
        "names": json.dumps(entry.facts.names),
        "names_key": key,
        "issuers": "[]",
        "profile": "",
        "key_type": "",
        "key_age": 0,
        "window": "",
        "may_shrink": False,
        "created_at": clock.timestamp(),
        "created_by": "system:inventory",
    }
