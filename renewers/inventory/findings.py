"""What does not fit together: one key in several places, and what is served, current and wanted where they differ.

Both are answered in pages and look at a bounded number of rows a page; a page may be empty and still have a next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.errors import BadRequest
from ca.store import Store
from renewers.inventory.ownership import owners_of
from renewers.inventory.succession import ENDED
from renewers.models import Destination, Endpoint, Lineage, Tracked

PAGE = 2000


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key that stands in more than one place: in several lineages, at several endpoints, with several owners."""

    spki_sha256: str
    tracked: tuple[str, ...]
    """Identities."""
    lineages: tuple[str, ...]
    places: tuple[str, ...]
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A place or a destination that does not have what it shall. Identities; None where nothing is known."""

    where: str
    lineage: str
    what: str
    """`served`: the place shows another than the current one. `wanted`: nobody has asked for the current one to be
    brought there. `delivered`: what was asked for has not been committed there."""
    there: str | None
    wanted: str | None


def same_keys(store: Store, cursor: str | None = None) -> tuple[list[SharedKey], str | None]:
    """A page of keys that stand in more than one place, and where the next one starts. What is over is left out."""
    after = _read_key(cursor)
    standing = col(Tracked.replaced_by).is_(None), col(Tracked.stage) != ENDED
    query = select(Tracked).where(col(Tracked.spki_sha256) > after, *standing).order_by(col(Tracked.spki_sha256))
    with store.read() as connection:
        rows = connection.execute(query.limit(PAGE)).all()
        more = len(rows) == PAGE
        last = rows[-1].spki_sha256 if more else None
        if more and rows[0].spki_sha256 != last:  # the last key may go on behind the page
            rows = [row for row in rows if row.spki_sha256 != last]
        found = _shared(connection, rows)
    return found, rows[-1].spki_sha256.hex() if more else None


def differences(store: Store, cursor: str | None = None) -> tuple[list[Difference], str | None]:
    """A page of places and destinations that do not have what they shall, and where the next one starts."""
    kind, after = _read_place(cursor)
    with store.read() as connection:
        rows = connection.execute((_endpoints if kind == "e" else _destinations)(after)).all()
        found = [difference for row in rows for difference in (_served(row) if kind == "e" else _intended(row))]
        named = _identities(connection, found)
    shown = [Difference(one.where, one.lineage, one.what, named.get(one.there), named.get(one.wanted)) for one in found]
    if len(rows) == PAGE:
        return shown, f"{kind}-{rows[-1].id}"
    return shown, "d-0" if kind == "e" else None


@dataclass(frozen=True, slots=True)
class _Found:
    where: str
    lineage: str
    what: str
    there: int | None
    wanted: int | None


def _endpoints(after: int) -> Any:
    columns = (
        col(Endpoint.id),
        col(Endpoint.place),
        col(Endpoint.tracked_id),
        col(Lineage.name),
        col(Lineage.current_id),
    )
    query = select(*columns).join(Lineage, col(Lineage.id) == col(Endpoint.lineage_id))
    return query.where(col(Endpoint.id) > after).order_by(col(Endpoint.id)).limit(PAGE)


def _destinations(after: int) -> Any:
    columns: tuple[Any, ...] = (col(Destination.id), col(Destination.name).label("destination"), col(Lineage.name))
    ids = (col(Lineage.current_id), col(Destination.wanted_id), col(Destination.delivered_id))
    query = select(*columns, *ids).join(Lineage, col(Lineage.id) == col(Destination.lineage_id))
    return query.where(col(Destination.id) > after).order_by(col(Destination.id)).limit(PAGE)


def _served(row: Any) -> list[_Found]:
    if row.tracked_id is None or row.current_id is None or row.tracked_id == row.current_id:
        return []
    return [_Found(row.place, row.name, "served", row.tracked_id, row.current_id)]


def _intended(row: Any) -> list[_Found]:
    found = []
    if row.current_id is not None and row.wanted_id != row.current_id:
        found.append(_Found(row.destination, row.name, "wanted", row.wanted_id, row.current_id))
    if row.wanted_id is not None and row.delivered_id != row.wanted_id:
        found.append(_Found(row.destination, row.name, "delivered", row.delivered_id, row.wanted_id))
    return found


def _identities(connection: Connection, found: list[_Found]) -> dict[int | None, str]:
    ids = {id_ for one in found for id_ in (one.there, one.wanted) if id_ is not None}
    query = select(col(Tracked.id), col(Tracked.identity)).where(col(Tracked.id).in_(ids))
    return {row.id: row.identity for row in connection.execute(query)} if ids else {}


def _shared(connection: Connection, rows: Any) -> list[SharedKey]:
    several = [(key, list(group)) for key, group in groupby(rows, key=lambda row: row.spki_sha256)]
    ids = [row.id for row in rows]
    places: dict[int, list[str]] = {}
    seen = select(col(Endpoint.tracked_id), col(Endpoint.place)).where(col(Endpoint.tracked_id).in_(ids))
    for row in connection.execute(seen.order_by(col(Endpoint.place))) if ids else ():
        places.setdefault(row.tracked_id, []).append(row.place)
    candidates = [
        (key, group)
        for key, group in several
        if len(group) > 1 or sum(len(places.get(row.id, ())) for row in group) > 1
    ]
    lineages = _lineages(connection, {row.lineage_id for _, group in candidates for row in group})
    owners = owners_of(connection, [row for _, group in candidates for row in group])
    found = []
    for key, group in candidates:
        names = sorted({lineages[row.lineage_id] for row in group if row.lineage_id in lineages})
        where = sorted({place for row in group for place in places.get(row.id, ())})
        whose = sorted({owner.name for row in group if (owner := owners[row.id].owner) is not None})
        if max(len(names), len(where), len(whose)) > 1:
            identities = tuple(row.identity for row in group)
            found.append(SharedKey(key.hex(), identities, tuple(names), tuple(where), tuple(whose)))
    return found


def _lineages(connection: Connection, ids: set[int | None]) -> dict[int | None, str]:
    query = select(col(Lineage.id), col(Lineage.name)).where(col(Lineage.id).in_(ids - {None}))
    return {row.id: row.name for row in connection.execute(query)}


def _read_key(cursor: str | None) -> bytes:
    try:
        return b"" if cursor is None else bytes.fromhex(cursor)
    except ValueError:
        raise _bad_cursor() from None


def _read_place(cursor: str | None) -> tuple[str, int]:
    kind, _, after = (cursor or "e-0").partition("-")
    if kind not in ("e", "d") or not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise _bad_cursor()
    return kind, int(after)


def _bad_cursor() -> BadRequest:
    return BadRequest("this cursor is not one that we gave out", code="bad-cursor")
