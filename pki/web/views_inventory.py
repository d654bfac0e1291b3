"""How answers about the inventory are made from what the floor below returns. As `views.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ca.profiles.config import format_seconds
from pki.web.answered_inventory import (
    CareView,
    ClaimView,
    DeliveredView,
    DifferenceView,
    EndpointView,
    ImportedView,
    LineageView,
    OwnerShown,
    OwnerView,
    RefusedView,
    RenewedView,
    SeenView,
    SharedKeyView,
    TrackedShown,
    TrackedView,
)
from pki.web.views import moment
from renewers.discovery.listing import Place
from renewers.inventory.findings import Difference, SharedKey
from renewers.inventory.imports import Imported
from renewers.inventory.ownership import Ownership
from renewers.inventory.search import Found
from renewers.inventory.story import Delivered, Renewed, Seen, Story
from renewers.models import Acknowledged, Lineage, Owner, Tracked


def maybe(seconds: int | None) -> str | None:
    """RFC 3339, or null where there is no such moment."""
    return None if seconds is None else moment(seconds)


def reference(tracked_id: int | None) -> str | None:
    """How something tracked is named in short."""
    return None if tracked_id is None else f"#{tracked_id}"


def duration(seconds: int | None) -> str | None:
    """A duration as a request writes it; null for none."""
    return format_seconds(seconds) if seconds else None


def owner_view(row: Owner) -> OwnerView:
    """An owner."""
    return OwnerView(**_owner(row))


def owner_shown(row: Owner, claims: Sequence[tuple[str, str]]) -> OwnerShown:
    """An owner with its rules."""
    return OwnerShown(**_owner(row), claims=[ClaimView(kind=kind, pattern=pattern) for kind, pattern in claims])


def _owner(row: Owner) -> dict[str, Any]:
    return {
        "name": row.name,
        "email": row.email,
        "escalation": json.loads(row.escalation),
        "time_zone": row.time_zone,
        "is_fallback": row.is_fallback,
        "created_at": moment(row.created_at),
        "created_by": row.created_by,
    }


def lineage_fields(row: Lineage) -> dict[str, Any]:
    """The fields of a `LineageView`."""
    return {
        "name": row.name,
        "mode": row.mode,
        "names": json.loads(row.names),
        "issuers": json.loads(row.issuers),
        "profile": row.profile,
        "key_type": row.key_type,
        "key_age": duration(row.key_age),
        "lifetime": duration(row.lifetime),
        "window": row.window,
        "may_shrink": bool(row.may_shrink),
        "current": reference(row.current_id),
        "suggested_at": maybe(row.ari_chosen),
        "created_at": moment(row.created_at),
        "created_by": row.created_by,
    }


def lineage_view(row: Lineage) -> LineageView:
    """A lineage."""
    return LineageView(**lineage_fields(row))


def tracked_view(found: Found) -> TrackedView:
    """Something tracked, as lists have it."""
    return TrackedView(**_tracked(found.tracked, found.lineage, found.mode, found.ownership))


def tracked_shown(story: Story) -> TrackedShown:
    """Something tracked, with all that is known of it."""
    lineage = story.lineage
    name, mode = (None, None) if lineage is None else (lineage.name, lineage.mode)
    return TrackedShown(
        **_tracked(story.tracked, name, mode, story.ownership),
        names=list(story.names),
        acknowledged=care_view(story.acknowledged),
        is_current=story.is_current,
        replaced_by=story.replaced_by,
        replaced=list(story.replaced),
        places=[_seen(one) for one in story.places],
        deliveries=[_delivered(one) for one in story.deliveries],
        renewals=[_renewed(one) for one in story.renewals],
        certificate=story.certificate,
        chain=story.chain,
    )


def care_view(row: Acknowledged | None) -> CareView | None:
    """That somebody takes care of it, if that stands."""
    return None if row is None else CareView(until=moment(row.until), reason=row.reason, by=row.by, at=moment(row.at))


def _seen(one: Seen) -> SeenView:
    times = {"first_seen": moment(one.first_seen), "last_seen": moment(one.last_seen)}
    return SeenView(place=one.place, **times, is_there=one.is_there)


def _delivered(one: Delivered) -> DeliveredView:
    times = {"started_at": moment(one.started_at), "seen_at": maybe(one.seen_at)}
    return DeliveredView.model_validate({**asdict(one), **times})


def _renewed(one: Renewed) -> RenewedView:
    times = {"started_at": moment(one.started_at), "finished_at": maybe(one.finished_at)}
    return RenewedView.model_validate({**asdict(one), **times})


def _tracked(row: Tracked, lineage: str | None, mode: str | None, ownership: Ownership) -> dict[str, Any]:
    return {
        "id": f"#{row.id}",
        "identity": row.identity,
        "kind": row.kind,
        "source": row.source,
        "shown_as": row.shown_as,
        "subject": row.subject,
        "issuer": row.issuer,
        "serial": row.serial,
        "key_type": row.key_type,
        "spki_sha256": None if row.spki_sha256 is None else row.spki_sha256.hex(),
        "not_before": moment(row.not_before),
        "not_after": moment(row.not_after),
        "stage": row.stage,
        "lineage": lineage,
        "mode": mode,
        "owner": None if ownership.owner is None else ownership.owner.name,
        "owner_because": ownership.why,
        "is_orphan": ownership.is_orphan,
        "recorded_at": moment(row.recorded_at),
    }


def endpoint_view(place: Place) -> EndpointView:
    """A place where a certificate is seen."""
    row = place.endpoint
    return EndpointView(
        place=row.place,
        certificate=reference(row.tracked_id),
        shown_as=place.shown_as,
        not_after=maybe(place.not_after),
        findings=json.loads(row.findings),
        last_seen=maybe(row.last_seen),
        last_asked=moment(row.last_asked),
        failing_since=maybe(row.failing_since),
        last_error=row.last_error,
    )


def imported_view(name: str, imported: Imported) -> ImportedView:
    """What became of one item that was imported."""
    refused = [RefusedView(what=part.what, why=part.why) for part in imported.refused]
    return ImportedView(name=name, tracked=list(imported.tracked), known=list(imported.known), refused=refused)


def shared_key_view(shared: SharedKey) -> SharedKeyView:
    """A key in several places."""
    return SharedKeyView(**{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(shared).items()})


def difference_view(difference: Difference) -> DifferenceView:
    """Something that is not where it shall be."""
    return DifferenceView(**asdict(difference))
