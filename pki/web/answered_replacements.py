"""What goes out about mass replacements. As `answered.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from pki.web.answered import RevocationCostView


class ProgressView(BaseModel):
    """The account: how many certificates are in which state."""

    total: int
    waiting: int = Field(description="for their turn, or for whoever holds their keys")
    renewing: int
    replaced: int = Field(description="there is a new one, which was not seen everywhere yet")
    verified: int
    revoked: int
    ended: int = Field(description="expired, or revoked by somebody else")
    left: int = Field(description="those that have not come to their end")
    unaccounted: int = Field(description="none, ever")


class ReplacementView(BaseModel):
    """One mass replacement."""

    id: int
    rotation: int | None = Field(description="the rotation that it belongs to")
    state: str = Field(description="open, done or stopped")
    selection: dict[str, Any]
    reason: str
    per_minute: int
    revokes: bool
    revocation_reason: str
    deadline_at: str | None
    progress: ProgressView
    started_at: str
    started_by: str
    ended_at: str | None


class ReplacementPage(BaseModel):
    """A page of replacements, newest first; ask again with `next` as cursor."""

    items: list[ReplacementView]
    next: int | None


class ReplacementShown(ReplacementView):
    """A replacement, and when it is looked at next."""

    next_look: str | None
    error: str | None


class ItemView(BaseModel):
    """One certificate of a replacement."""

    tracked: int
    serial: str
    shown_as: str
    state: str
    successor: int | None
    changed_at: str
    note: str


class ItemPage(BaseModel):
    """A page of certificates; ask again with `next` as cursor."""

    items: list[ItemView]
    next: int | None


class ReplacementPreview(BaseModel):
    """What a replacement would do."""

    total: int
    ours: int = Field(description="those that we renew, and so replace")
    own: int = Field(description="those of our own machinery, which renews them by itself")
    others: int = Field(description="those that somebody else has to replace")
    others_by_owner: dict[str, int]
    seconds: int = Field(description="how long ours take at the pace of the plan, at least")
    first: list[str] = Field(description="whose turn comes first")
    objections: list[str] = Field(description="why it cannot begin; empty if it can")
    cost: RevocationCostView | None = Field(description="what revoking ours in the end comes to; null if it does not")


class TimesView(BaseModel):
    """Seconds from the beginning until certificates came to their end."""

    first: int | None
    median: int | None
    p99: int | None
    last: int | None


class OfOwnerView(BaseModel):
    """How far an owner's certificates are."""

    owner: str
    total: int
    left: int


class RemainingView(BaseModel):
    """A certificate that has not come to its end, and why."""

    serial: str
    shown_as: str
    state: str
    note: str


class ProofView(BaseModel):
    """An entry of the ledger."""

    position: int | None
    sha256: str = Field(description="its leaf hash (RFC 9162 section 2.1.1)")
    action: str
    at: str
    by: str


class ReplacementReport(BaseModel):
    """The evidence of a replacement, in between or at the end."""

    replacement: ReplacementView
    made_at: str
    times: TimesView
    owners: list[OfOwnerView]
    left: list[RemainingView]
    notes: dict[str, int]
    proof: list[ProofView]
    tree_size: int | None
    tree_root: str | None
    text: str = Field(description="the same for people")


class DrillView(BaseModel):
    """What a drill has shown."""

    lineages: int
    real: int = Field(description="how many the selection has in reality that we renew")
    progress: ProgressView
    founded_in: float
    seconds: float
    per_minute: float = Field(description="the pace that this machine made, without a throttle")
    real_seconds: float = Field(description="what the real number takes, at that pace or the plan's")
    left: list[str]
