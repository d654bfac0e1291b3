"""All that is known of one tracked thing: where it comes from, what it replaced, where it is, how it got there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.models import Certificate
from ca.store import Store
from ca.x509.bundle import pem_certificate
from ca.x509.certificate import algorithm_of, assemble
from renewers.answering import acknowledged
from renewers.inventory.facts import AUTHORITY, CERTIFICATE
from renewers.inventory.finding import find_tracked
from renewers.inventory.joining import ISSUED
from renewers.inventory.ownership import Ownership, owner_of
from renewers.models import (
    Acknowledged,
    Delivery,
    Destination,
    Endpoint,
    Lineage,
    Renewal,
    Sighting,
    Tracked,
    TrackedContent,
    TrackedName,
)

SHOWN = 50
"""How much of each list is shown, the newest."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A place where it was seen, from when to when, and whether that place still shows it."""

    place: str
    first_seen: int
    last_seen: int
    is_there: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """An attempt to bring it somewhere."""

    destination: str
    outcome: str
    started_at: int
    seen_at: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Renewed:
    """A renewal in which it was replaced, or from which it came."""

    state: str
    reason: str
    issuer: str
    started_at: int
    finished_at: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Story:
    """One tracked thing and all that hangs on it. `certificate` and `chain` are PEM, where there are such."""

    tracked: Tracked
    names: tuple[str, ...]
    lineage: Lineage | None
    is_current: bool
    ownership: Ownership
    acknowledged: Acknowledged | None
    """That somebody takes care of it, if that stands."""
    replaced_by: str | None
    replaced: tuple[str, ...]
    places: tuple[Seen, ...]
    deliveries: tuple[Delivered, ...]
    renewals: tuple[Renewed, ...]
    certificate: str | None
    chain: str


def show(store: Store, what: str) -> Story:
    """The story of what an identity, a SHA-256, a serial number or #id names. `NotFound` if it is not tracked."""
    with store.read(snapshot=True) as connection:
        row = find_tracked(connection, what)
        of = select(Lineage).where(col(Lineage.id) == row.lineage_id)
        lineage = connection.execute(of).first()
        successor = select(col(Tracked.identity)).where(col(Tracked.id) == row.replaced_by)
        certificate, chain = _content(connection, row)
        return Story(
            tracked=Tracked(**row._mapping),
            names=_names(connection, row.id),
            lineage=None if lineage is None else Lineage(**lineage._mapping),
            is_current=lineage is not None and lineage.current_id == row.id,
            ownership=owner_of(connection, row),
            acknowledged=acknowledged.of_tracked(connection, row),
            replaced_by=connection.execute(successor).scalar(),
            replaced=_replaced(connection, row),
            places=_places(connection, row.id),
            deliveries=_deliveries(connection, row.id),
            renewals=_renewals(connection, row),
            certificate=certificate,
            chain=chain,
        )


def _names(connection: Connection, tracked_id: int) -> tuple[str, ...]:
    query = select(col(TrackedName.name)).where(col(TrackedName.tracked_id) == tracked_id)
    return tuple(connection.execute(query.order_by(col(TrackedName.name))).scalars())


def _replaced(connection: Connection, row: Any) -> tuple[str, ...]:
    if row.lineage_id is None:
        return ()
    of = col(Tracked.lineage_id) == row.lineage_id, col(Tracked.replaced_by) == row.id
    query = select(col(Tracked.identity)).where(*of).order_by(col(Tracked.id).desc()).limit(SHOWN)
    return tuple(connection.execute(query).scalars())


def _places(connection: Connection, tracked_id: int) -> tuple[Seen, ...]:
    columns = (col(Endpoint.place), col(Sighting.first_seen), col(Sighting.last_seen), col(Endpoint.tracked_id))
    query = select(*columns).join(Endpoint, col(Endpoint.id) == col(Sighting.endpoint_id))
    newest = query.where(col(Sighting.tracked_id) == tracked_id).order_by(col(Sighting.last_seen).desc()).limit(SHOWN)
    return tuple(
        Seen(row.place, row.first_seen, row.last_seen, row.tracked_id == tracked_id)
        for row in connection.execute(newest)
    )


def _deliveries(connection: Connection, tracked_id: int) -> tuple[Delivered, ...]:
    columns = (col(Destination.name), col(Delivery.outcome), col(Delivery.started_at), col(Delivery.seen_at))
    query = select(*columns, col(Delivery.error)).join(Destination, col(Destination.id) == col(Delivery.destination_id))
    newest = query.where(col(Delivery.tracked_id) == tracked_id).order_by(col(Delivery.id).desc()).limit(SHOWN)
    return tuple(Delivered(*row) for row in connection.execute(newest))


def _renewals(connection: Connection, row: Any) -> tuple[Renewed, ...]:
    columns = (col(Renewal.state), col(Renewal.reason), col(Renewal.issuer), col(Renewal.started_at))
    about = (col(Renewal.tracked_id) == row.id) | (col(Renewal.replaces_id) == row.id)
    query = select(*columns, col(Renewal.finished_at), col(Renewal.error))
    if row.lineage_id is None:
        query = query.where(col(Renewal.tracked_id) == row.id)
    else:
        query = query.where(col(Renewal.lineage_id) == row.lineage_id, about)
    return tuple(Renewed(*found) for found in connection.execute(query.order_by(col(Renewal.id).desc()).limit(SHOWN)))


def _content(connection: Connection, row: Any) -> tuple[str | None, str]:
    """PEM of a certificate and of what came with it; of our own CA's, which keeps them itself, without a chain."""
    if row.kind not in (CERTIFICATE, AUTHORITY):
        return None, ""
    kept = connection.execute(select(TrackedContent).where(col(TrackedContent.tracked_id) == row.id)).first()
    if kept is not None:
        return pem_certificate(kept.der), kept.chain
    if row.source == ISSUED:
        columns = (col(Certificate.tbs), col(Certificate.signature))
        ours = connection.execute(select(*columns).where(col(Certificate.serial) == row.serial)).first()
        if ours is not None and ours.signature is not None:
            return pem_certificate(assemble(ours.tbs, algorithm_of(ours.tbs), ours.signature)), ""
    return None, ""
