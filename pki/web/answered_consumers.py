"""What goes out about consumers, publications and trust anchors of others. As `answered.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class HoldingView(BaseModel):
    """What a consumer holds of one stream."""

    stream: str
    held_version: int = Field(description="what it was proved to hold; 0 if nothing")
    sent_version: int = Field(description="what it was brought, or could fetch, last")
    proved_by: str
    proved_at: str | None


class AgeView(HoldingView):
    """The same, and how old it is."""

    newest_version: int
    behind: int = Field(description="how many versions were published since the one it holds")
    behind_seconds: int = Field(description="how long ago the first of these was published")
    held_since: str | None
    sent_at: str | None


class ConsumerView(BaseModel):
    """Whoever must hold trust bundles and CRLs."""

    name: str
    kind: str
    owner: str | None
    state: str = Field(description="active, or paused")
    needs: dict[str, Any]
    publisher: str
    settings: dict[str, Any]
    probe: str
    identities: list[str]
    has_secret: bool
    gates: bool = Field(description="whether rotations wait for it")
    fresh_within: str
    is_current: bool = Field(description="whether it was proved to hold the newest of everything that it needs")
    proves_by: list[str] = Field(description="how it can prove what it holds")
    holds: list[AgeView]
    alarms: dict[str, str] = Field(description="what is wrong about it, by kind")
    failing_since: str | None
    error: str | None
    created_at: str
    created_by: str


class ConsumerAdded(ConsumerView):
    """A consumer that was just added; its secret is shown this once."""

    secret: str | None = None


class ConsumerPage(BaseModel):
    """A page of consumers; ask again with `next` as cursor."""

    items: list[ConsumerView]
    next: str | None


class SecretView(BaseModel):
    """A secret that is shown this once."""

    secret: str


class LatencyView(BaseModel):
    """Seconds from publication until consumers were proved to hold it."""

    count: int
    p50: float
    p99: float
    longest: float


class PublicationView(BaseModel):
    """One version of one stream."""

    stream: str
    version: int
    sha256: str = Field(description="of the manifest")
    cause: str
    issued_at: str
    expires_at: str


class PublicationPage(BaseModel):
    """A page of versions, newest first; ask again with `next` as cursor."""

    items: list[PublicationView]
    next: int | None


class StreamView(BaseModel):
    """A stream at its newest version, and how its consumers stand."""

    stream: str
    newest: PublicationView | None
    consumers: int
    current: int = Field(description="consumers that were proved to hold the newest version")
    never: int = Field(description="consumers that were never proved to hold any")
    behind_seconds: int


class StreamList(BaseModel):
    """All streams."""

    items: list[StreamView]


class PublishedView(BaseModel):
    """What was published just now."""

    items: list[PublicationView]


class AnchorView(BaseModel):
    """A trust anchor of another trust domain."""

    trust_domain: str
    subject: str
    sha256: str
    not_after: str
    added_at: str
    added_by: str


class AnchorList(BaseModel):
    """Trust anchors of other trust domains."""

    items: list[AnchorView]


class DomainView(BaseModel):
    """Another trust domain."""

    trust_domain: str


class DomainPage(BaseModel):
    """A page of other trust domains; ask again with `next` as cursor."""

    items: list[DomainView]
    next: str | None
