"""One tracked thing's whole story as moments in one line: from who asked for it to who was told of its end, and why.

What is known of it stands in many tables; here it is put in one order, the newest first. Every list is cut to its
newest part before it is put together. Nothing here changes anything; `renewers/inventory/story.py` has the facts that
are no moments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, or_, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.models import Certificate, LedgerEntry, Revocation
from ca.x509.revocation_list import HOLD, RevocationReason
from renewers.answering import acknowledged
from renewers.inventory import search
from renewers.inventory.joining import ISSUED
from renewers.inventory.story import Story
from renewers.lifecycle import Lifecycle
from renewers.models import (
    Acknowledged,
    Alarm,
    Crossing,
    Delivery,
    Destination,
    Endpoint,
    Event,
    Letter,
    Lineage,
    Renewal,
    Sighting,
    Told,
    Tracked,
)

MOST = 60
"""How many moments of one kind are shown, the newest."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened with it. `what` is a word for the kind, `tone` a stage or a severity or empty."""

    at: int
    what: str
    text: str
    tone: str = ""
    detail: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked our own CA for it, under which profile, and where the ledger says so."""

    requested_by: str
    profile: str
    serial: str
    authority_id: int
    position: int | None
    revoked_at: int | None = None
    revoked_because: str = ""

    @property
    def standing(self) -> str:
        """`valid`, `held`, or empty for what is revoked for good."""
        if self.revoked_at is None:
            return "valid"
        return "held" if self.revoked_because == HOLD.word else ""


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything about one tracked thing."""

    story: Story
    origin: Origin | None
    alarms: tuple[Alarm, ...]
    acknowledged: Acknowledged | None
    moments: tuple[Moment, ...]
    siblings: tuple[Any, ...] = field(default=())
    """Others of its lineage, the newest first: id, what it is shown as, stage, end."""


def whole(lifecycle: Lifecycle, caller: Caller, tracked_id: int) -> Whole:
    """The story of the row of this id. `NotFound` if there is none."""
    caller.must(Operation.READ_INVENTORY)
    story = search.show(lifecycle.store, f"#{tracked_id}")
    with lifecycle.store.read(snapshot=True) as connection:
        row, lineage = story.tracked, story.lineage
        origin = _origin(connection, row)
        moments = [
            *_recorded(row, origin),
            *_events(connection, [row.identity, *([lineage.name] if lineage is not None else [])]),
            *_renewals(connection, tracked_id, lineage),
            *_deliveries(connection, tracked_id),
            *_sightings(connection, tracked_id),
            *_told(connection, tracked_id, None if lineage is None else lineage.id),
        ]
        return Whole(
            story=story,
            origin=origin,
            alarms=tuple(_alarms(connection, row, lineage)),
            acknowledged=acknowledged.of_tracked(connection, row),
            moments=_newest_first(moments),
            siblings=tuple(_siblings(connection, row)),
        )


def _origin(connection: Connection, row: Tracked) -> Origin | None:
    if row.source != ISSUED and not row.serial:
        return None
    columns = (Certificate.requested_by, Certificate.profile, Certificate.serial, Certificate.authority_id)
    of_it = select(*map(col, columns)).where(col(Certificate.serial) == row.serial)
    found = connection.execute(of_it.where(col(Certificate.spki_sha256) == row.spki_sha256)).first()
    if found is None:
        return None
    entry = select(col(LedgerEntry.position)).where(col(LedgerEntry.subject) == row.serial)
    position = connection.execute(entry.order_by(col(LedgerEntry.id)).limit(1)).scalar()
    gone = connection.execute(select(Revocation).where(col(Revocation.serial) == row.serial)).first()
    asked = (found.requested_by, found.profile, found.serial, found.authority_id)
    if gone is None:
        return Origin(*asked, position)
    return Origin(*asked, position, gone.revoked_at, RevocationReason(gone.reason).word)


def _recorded(row: Tracked, origin: Origin | None) -> Iterator[Moment]:
    words = {
        "issued": "issued by our own CA",
        "renewed": "renewed by us",
        "imported": "imported",
        "scanned": "found by a scan",
        "authority": "part of this installation",
    }
    yield Moment(row.recorded_at, "tracked", f"Tracked from now on: {words.get(row.source, row.source)}")
    yield Moment(row.not_before, "validity", "Its validity begins")
    if origin is not None:
        text = f"Asked for by {origin.requested_by} under the profile {origin.profile}"
        yield Moment(max(row.not_before, 0), "issued", text, detail=f"serial number {origin.serial}")
        if origin.revoked_at is not None:
            is_held = origin.standing == "held"
            said, tone = ("Put on hold", "held") if is_held else (f"Revoked: {origin.revoked_because}", "revoked")
            yield Moment(origin.revoked_at, tone, said, tone)


def _events(connection: Connection, subjects: Sequence[str]) -> Iterator[Moment]:
    for subject in subjects:
        of_it = select(Event).where(col(Event.subject) == subject).order_by(col(Event.id).desc()).limit(MOST)
        for row in connection.execute(of_it):
            body = json.loads(row.body)
            hint = body.get("hint") if isinstance(body.get("hint"), str) else ""
            yield Moment(row.at, row.kind, str(body.get("message", row.kind)), row.severity, detail=hint or "")


def _renewals(connection: Connection, tracked_id: int, lineage: Lineage | None) -> Iterator[Moment]:
    columns = (Renewal.state, Renewal.reason, Renewal.issuer, Renewal.started_at, Renewal.finished_at, Renewal.error)
    query = select(*map(col, columns), col(Renewal.tracked_id), col(Renewal.replaces_id))
    if lineage is None:
        query = query.where(col(Renewal.tracked_id) == tracked_id)
    else:
        about = or_(col(Renewal.tracked_id) == tracked_id, col(Renewal.replaces_id) == tracked_id)
        query = query.where(col(Renewal.lineage_id) == lineage.id, about)
    for row in connection.execute(query.order_by(col(Renewal.id).desc()).limit(MOST)):
        is_origin = row.tracked_id == tracked_id
        what = "The renewal that it comes from began" if is_origin else "Its renewal began"
        other = row.replaces_id if is_origin else row.tracked_id
        href = "" if other is None else f"/inventory/{other}"
        yield Moment(
            row.started_at,
            "renewal",
            f"{what}: {row.reason}",
            detail=f"asked {row.issuer}" if row.issuer else "",
            href=href,
        )
        if row.finished_at is not None:
            text = f"Renewal {row.state}"
            yield Moment(
                row.finished_at, "renewal", text, "done" if row.error is None else "failing", row.error or "", href
            )


def _deliveries(connection: Connection, tracked_id: int) -> Iterator[Moment]:
    columns = (col(Destination.name), col(Delivery.outcome), col(Delivery.started_at), col(Delivery.swapped_at))
    query = select(*columns, col(Delivery.seen_at), col(Delivery.error))
    query = query.join(Destination, col(Destination.id) == col(Delivery.destination_id))
    for row in connection.execute(
        query.where(col(Delivery.tracked_id) == tracked_id).order_by(col(Delivery.id).desc()).limit(MOST)
    ):
        tone = "failing" if row.error else "delivered"
        yield Moment(row.started_at, "delivery", f"Brought to {row.name}: {row.outcome}", tone, row.error or "")
        if row.seen_at is not None:
            yield Moment(row.seen_at, "delivery", f"Seen in use at {row.name}", "seen")


def _sightings(connection: Connection, tracked_id: int) -> Iterator[Moment]:
    columns = (col(Endpoint.place), col(Sighting.first_seen), col(Sighting.last_seen), col(Endpoint.tracked_id))
    query = select(*columns).join(Endpoint, col(Endpoint.id) == col(Sighting.endpoint_id))
    of_it = query.where(col(Sighting.tracked_id) == tracked_id).order_by(col(Sighting.last_seen).desc())
    for row in connection.execute(of_it.limit(MOST)):
        yield Moment(row.first_seen, "seen", f"First seen at {row.place}")
        if row.tracked_id != tracked_id:
            yield Moment(row.last_seen, "seen", f"Last seen at {row.place}, which shows another one since")


def _told(connection: Connection, tracked_id: int, lineage_id: int | None) -> Iterator[Moment]:
    """Thresholds that it has crossed, alarms about its lineage that somebody is told of, and who was told."""
    queries = [select(Crossing).where(col(Crossing.tracked_id) == tracked_id)]
    if lineage_id is not None:
        alarms = col(Crossing.lineage_id) == lineage_id, col(Crossing.tracked_id).is_(None)
        queries.append(select(Crossing).where(*alarms))
    crossings: dict[int, Any] = {}
    for query in queries:
        crossings |= {row.id: row for row in connection.execute(query.order_by(col(Crossing.id).desc()).limit(MOST))}
    for row in crossings.values():
        is_own = row.about.startswith("tracked:")
        text = f"The threshold {row.threshold} was crossed" if is_own else row.message
        yield Moment(row.crossed_at, "threshold" if is_own else "told of", text, row.threshold, row.why)
    letters: dict[tuple[int, str], int] = {}
    columns = (Told.letter_id, Told.recipient, Told.at, Letter.kind, Letter.state, Letter.sent_at)
    told = select(*map(col, columns)).join(Letter, col(Letter.id) == col(Told.letter_id))
    for row in connection.execute(told.where(col(Told.crossing_id).in_(crossings)).order_by(col(Told.at))):
        if letters.setdefault((row.letter_id, row.recipient), row.at) == row.at:
            text = f"{row.recipient} is told, in a letter of the kind {row.kind}"
            yield Moment(row.sent_at or row.at, "mail", text, row.state, href=f"/letters/{row.letter_id}")


def _alarms(connection: Connection, row: Tracked, lineage: Lineage | None) -> Iterator[Alarm]:
    subjects = [row.identity, *([lineage.name] if lineage is not None else [])]
    if lineage is not None:
        places = select(col(Destination.name)).where(col(Destination.lineage_id) == lineage.id).limit(MOST)
        subjects += connection.execute(places).scalars()
    seen = select(col(Endpoint.place)).where(col(Endpoint.tracked_id) == row.id).limit(MOST)
    subjects += connection.execute(seen).scalars()
    for found in connection.execute(select(Alarm).where(col(Alarm.kind).in_(KINDS), col(Alarm.subject).in_(subjects))):
        yield Alarm(**found._mapping)


KINDS = (
    *("expiring", "expired-still-served", "replaced-still-served", "renewal-failing", "renewal-stopped"),
    *("renewal-urged", "delivery-failing", "endpoint-unreachable", "endpoint-not-the-issued", "ownership-refused"),
    *("certificate-held",),
)
"""The alarms that may be about one certificate: with them, the key of the table leads to its rows."""


def _siblings(connection: Connection, row: Tracked) -> Sequence[Any]:
    if row.lineage_id is None:
        return ()
    columns = (Tracked.id, Tracked.shown_as, Tracked.stage, Tracked.not_before, Tracked.not_after, Tracked.serial)
    of_it = select(*map(col, columns)).where(col(Tracked.lineage_id) == row.lineage_id, col(Tracked.id) != row.id)
    return connection.execute(of_it.order_by(col(Tracked.id).desc()).limit(MOST)).all()


def _newest_first(moments: list[Moment]) -> tuple[Moment, ...]:
    """Of one second, what was put together last comes first: it began with how the thing came to be."""
    moments.reverse()
    return tuple(sorted(moments, key=lambda moment: -moment.at))
