"""Writing down which certificates a replacement is about: once, a page at a time, each page durable with its place.

The inventory is read in windows of a bounded number of rows along an index, whoever many there are; whoever continues
after a crash goes on where the last durable page has ended. What comes late (issued by an outgoing CA while it was
being stopped, a leaked key that is tracked only now) is found by reading on from there before the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlmodel import col

from ca import clock
from ca.models import Certificate
from ca.store import Transaction
from renewers import work
from renewers.inventory.joining import HOLDER, RENEWED, insert_new
from renewers.inventory.ownership import Ownership, owners_of
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint, Lineage, Replacement, ReplacementItem, Tracked, TrackedName
from renewers.replacing import order, selection
from renewers.replacing.order import OTHERS, Weight
from renewers.replacing.selection import Resolved
from renewers.replacing.underway import WAITING, Underway
from renewers.rotation import leaves
from renewers.work import Claim

WINDOW = 1000
"""Rows of the inventory that one page looks at."""
OWN = "system"
"""Who renews what our own machinery holds, beside the modes of a lineage."""
_COLUMNS = (
    *(col(Tracked.id), col(Tracked.serial), col(Tracked.shown_as), col(Tracked.spki_sha256), col(Tracked.not_after)),
    *(col(Tracked.lineage_id), col(Tracked.owner_id), col(Tracked.source), col(Lineage.mode)),
    col(Certificate.requested_by),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One certificate that is to be replaced."""

    id: int
    serial: str
    shown_as: str
    lineage_id: int | None
    renewer: str
    """Who renews it: a mode of lineages, or `OWN`."""
    place: int


@dataclass(frozen=True, slots=True)
class Page:
    """What one window of the inventory has, and where the next one starts."""

    candidates: Sequence[Candidate]
    last: int


def pages(connection: Connection, resolved: Resolved) -> Iterator[Page]:
    """Everything that is selected now, a window at a time."""
    for road in resolved.roads:
        after = 0
        while (page := read(connection, resolved, road, after)) is not None:
            yield page
            after = page.last


def read(connection: Connection, resolved: Resolved, road: str, after: int, until: int | None = None) -> Page | None:
    """The next window along a road; None at its end."""
    window = select(col(Tracked.id)).where(resolved.roads[road], col(Tracked.id) > after)
    if until is not None:
        window = window.where(col(Tracked.id) <= until)
    ids = connection.execute(window.order_by(col(Tracked.id)).limit(WINDOW)).scalars().all()
    last = ids[-1] if ids else None
    if last is None:
        return None
    within = col(Tracked.id) > after, col(Tracked.id) <= last
    query = leaves.joined(*_COLUMNS).where(resolved.roads[road], *within, *resolved.filters())
    rows = connection.execute(query.where(leaves.is_standing(clock.timestamp()))).all()
    if resolved.owner_id is not None:
        answers = owners_of(connection, rows)
        rows = [row for row in rows if _is_theirs(answers[row.id], resolved.owner_id)]
    return Page(list(_weighed(connection, rows)), last)


def renewer(mode: str | None, requested_by: str | None) -> str:
    """Who renews a certificate, by the mode of its lineage and who asked our CA for it."""
    if mode == RENEWED:
        return RENEWED
    return OWN if (requested_by or "").startswith(leaves.OURS) else mode or HOLDER


def write_down(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> Underway:
    """List what is selected and not listed yet; returns how the replacement stands then."""
    with lifecycle.store.read() as connection:
        resolved = selection.resolve(lifecycle, connection, replacing.selection)
    for road in resolved.roads:
        while True:
            after = int(replacing.found.get("roads", {}).get(road, 0))
            until = None if resolved.is_open else int(replacing.found["until"])
            with lifecycle.store.read(snapshot=True) as connection:
                page = read(connection, resolved, road, after, until)
            if page is None:
                break
            roads = {**replacing.found.get("roads", {}), road: page.last}
            replacing = keep(lifecycle, claim, replacing, {"roads": roads}, page.candidates)
    if "listed_at" not in replacing.found:
        replacing = keep(lifecycle, claim, replacing, {"listed_at": clock.timestamp()}, ())
    return replacing


def keep(
    lifecycle: Lifecycle, claim: Claim, replacing: Underway, more: Mapping[str, Any], candidates: Sequence[Candidate]
) -> Underway:
    """Write down how far it is, and what was found on the way."""
    found = {**replacing.found, **more}
    rows = [_row(replacing.id, candidate) for candidate in candidates]

    def unit(tx: Transaction) -> None:
        work.check(tx, claim)
        insert_new(tx, ReplacementItem, rows)
        put_down(tx, replacing.id, found)

    lifecycle.store.write(unit)
    return replace(replacing, found=found)


def put_down(tx: Transaction, replacement_id: int, found: Mapping[str, Any]) -> None:
    """How far it is, in a transaction that does more."""
    values = {"found": json.dumps(found, sort_keys=True)}
    tx.execute(update(Replacement).where(col(Replacement.id) == replacement_id).values(**values))


def _row(replacement_id: int, candidate: Candidate) -> dict[str, Any]:
    is_ours = candidate.renewer == RENEWED
    return {
        "replacement_id": replacement_id,
        "tracked_id": candidate.id,
        "place": candidate.place if is_ours else candidate.place + OTHERS,
        "lineage_id": candidate.lineage_id,
        "serial": candidate.serial,
        "shown_as": candidate.shown_as,
        "state": WAITING,
        "changed_at": clock.timestamp(),
        "note": "" if is_ours else NOTES.get(candidate.renewer, NOTES[HOLDER]),
    }


NOTES = {
    HOLDER: "whoever holds its key renews it",
    "manual": "its owner renews it by hand",
    OWN: "our own machinery renews it by itself",
}
"""Whom those wait for that we do not renew."""


def _is_theirs(ownership: Ownership, owner_id: int) -> bool:
    return ownership.owner is not None and ownership.owner.id == owner_id


def _weighed(connection: Connection, rows: Sequence[Any]) -> Iterator[Candidate]:
    ids, now = [row.id for row in rows], clock.timestamp()
    places = _counted(connection, col(Endpoint.tracked_id), ids)
    names = _counted(connection, col(TrackedName.tracked_id), ids)
    keys = {row.spki_sha256 for row in rows if row.spki_sha256 is not None}
    sharing = _counted(connection, col(Tracked.spki_sha256), keys, col(Tracked.not_after) >= now)
    for row in rows:
        shared = sharing.get(row.spki_sha256, 1) - 1
        weight = Weight(places.get(row.id, 0), names.get(row.id, 0), shared, row.not_after - now)
        who = renewer(row.mode, row.requested_by)
        yield Candidate(row.id, row.serial, row.shown_as, row.lineage_id, who, order.place(weight))


def _counted(connection: Connection, column: Any, values: Any, *where: Any) -> dict[Any, int]:
    """How many rows have each of these values."""
    if not values:
        return {}
    query = select(column, func.count()).where(column.in_(list(values)), *where).group_by(column)
    return {row[0]: row[1] for row in connection.execute(query)}
