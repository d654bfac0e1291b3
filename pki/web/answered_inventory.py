"""What goes out about the inventory: owners, lineages, what is tracked, where it is seen. As `answered.py`."""

from __future__ import annotations

from pydantic import BaseModel, Field


class OwnerView(BaseModel):
    """Somebody who answers for certificates."""

    name: str
    email: str
    escalation: list[str]
    time_zone: str
    is_fallback: bool = Field(description="whether orphans fall to it")
    created_at: str
    created_by: str


class ClaimView(BaseModel):
    """A rule by which certificates are an owner's."""

    kind: str
    pattern: str


class OwnerShown(OwnerView):
    """The same with its rules."""

    claims: list[ClaimView]


class RemovedView(BaseModel):
    """Something that is no more."""

    removed: str


class ReleasedView(BaseModel):
    """Whether there was such a rule."""

    was_there: bool


class LineageView(BaseModel):
    """A certificate through all its renewals."""

    name: str
    mode: str = Field(description="who renews it: `renewed` (we do), `manual` (a person), `holder` of its key")
    names: list[str]
    issuers: list[str] = Field(description="empty for those of the settings")
    profile: str
    key_type: str
    key_age: str | None
    lifetime: str | None
    window: str
    may_shrink: bool
    current: str | None = Field(description="what is current, as `#12`")
    suggested_at: str | None = Field(description="when its issuer would like it renewed (RFC 9773)")
    created_at: str
    created_by: str


class LineagePage(BaseModel):
    """A page of lineages; ask again with `next` as cursor."""

    items: list[LineageView]
    next: str | None


class EndpointView(BaseModel):
    """A place where a certificate is seen."""

    place: str
    certificate: str | None = Field(description="what it shows now, as `#12`")
    shown_as: str | None
    not_after: str | None
    findings: list[str]
    last_seen: str | None
    last_asked: str
    failing_since: str | None
    last_error: str | None


class EndpointPage(BaseModel):
    """A page of endpoints; ask again with `next` as cursor."""

    items: list[EndpointView]
    next: str | None


class RefusedView(BaseModel):
    """A part of what was imported that could not be taken, and why."""

    what: str
    why: str


class ImportedView(BaseModel):
    """What became of one item: identities that are new, that were tracked already, and what was refused."""

    name: str
    tracked: list[str]
    known: list[str]
    refused: list[RefusedView]


class TrackedView(BaseModel):
    """Something that ends: a certificate, an authority's, a CRL, a bundle."""

    id: str = Field(description="such as `#12`")
    identity: str
    kind: str
    source: str = Field(description="scanned, imported, issued (by our CA), authority (our own), renewed (by us)")
    shown_as: str
    subject: str
    issuer: str
    serial: str
    key_type: str
    spki_sha256: str | None
    not_before: str
    not_after: str
    stage: str = Field(description="fine, due, late, urgent, critical, expired; replaced, ended")
    lineage: str | None
    mode: str | None
    owner: str | None
    owner_because: str
    is_orphan: bool
    recorded_at: str


class TrackedPage(BaseModel):
    """A page of what is tracked; ask again with `next` as cursor. It may be short, or empty, and still have a next."""

    items: list[TrackedView]
    next: str | None


class SeenView(BaseModel):
    """A place where it was seen, and whether that place still shows it."""

    place: str
    first_seen: str
    last_seen: str
    is_there: bool


class DeliveredView(BaseModel):
    """An attempt to bring it somewhere."""

    destination: str
    outcome: str
    started_at: str
    seen_at: str | None
    error: str | None


class RenewedView(BaseModel):
    """A renewal from which it came, or in which it was replaced."""

    state: str
    reason: str
    issuer: str
    started_at: str
    finished_at: str | None
    error: str | None


class CareView(BaseModel):
    """That somebody takes care of it until a moment, and why."""

    until: str
    reason: str
    by: str
    at: str


class TrackedShown(TrackedView):
    """The same with its whole story."""

    names: list[str]
    acknowledged: CareView | None
    is_current: bool
    replaced_by: str | None
    replaced: list[str]
    places: list[SeenView]
    deliveries: list[DeliveredView]
    renewals: list[RenewedView]
    certificate: str | None = Field(description="PEM")
    chain: str


class SharedKeyView(BaseModel):
    """A key that stands in more than one place."""

    spki_sha256: str
    tracked: list[str]
    lineages: list[str]
    places: list[str]
    owners: list[str]


class SharedKeyPage(BaseModel):
    """A page of keys; ask again with `next` as cursor."""

    items: list[SharedKeyView]
    next: str | None


class DifferenceView(BaseModel):
    """A place or a destination that does not have what it shall."""

    where: str
    lineage: str
    what: str = Field(description="`served`: it shows another than the current one; `wanted`, `delivered`: not there")
    there: str | None
    wanted: str | None


class DifferencePage(BaseModel):
    """A page of differences; ask again with `next` as cursor."""

    items: list[DifferenceView]
    next: str | None
