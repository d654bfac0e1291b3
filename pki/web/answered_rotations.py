"""What goes out about rotations and mass replacements. As `answered.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class RotationView(BaseModel):
    """One rotation of one line of authorities."""

    id: int
    line: str
    state: str = Field(description="open, done or aborted")
    stage: str
    stage_since: str
    is_compromise: bool
    is_paused: bool
    is_reverting: bool = Field(description="whether it was aborted after activation and is on its way back")
    outgoing: list[str]
    incoming: list[str]
    waits_for: list[str] = Field(description="what keeps it in its stage, in words")
    reason: str
    started_at: str
    started_by: str
    ended_at: str | None


class RotationPage(BaseModel):
    """A page of rotations, newest first; ask again with `next` as cursor."""

    items: list[RotationView]
    next: int | None


class StageView(BaseModel):
    """One stage."""

    stage: str
    standing: str = Field(description="over, now or to come")
    entered_at: str | None
    left_at: str | None
    evidence: dict[str, Any]


class StepView(BaseModel):
    """One thing that happened in a rotation."""

    stage: str
    what: str
    at: str
    by: str
    evidence: dict[str, Any]


class OverrideView(BaseModel):
    """What somebody waived in writing."""

    gate: str
    subject: str
    reason: str
    at: str
    by: str


class ReplacementProgress(BaseModel):
    """How far the certificates are replaced."""

    state: str
    total: int
    pending: int


class RotationShown(RotationView):
    """A rotation with its course."""

    stages: list[StageView]
    steps: list[StepView]
    overrides: list[OverrideView]
    replacement: ReplacementProgress | None
    next_look: str | None
    error: str | None


class MakingView(BaseModel):
    """A CA that a rotation would make, or take since it is prepared already."""

    line: str
    follows: str
    takes: str | None
    subject: str
    key_type: str
    lifetime: str
    beneath: str | None


class LackingView(BaseModel):
    """A consumer that is waited for, and why."""

    name: str
    stream: str
    held_version: int
    sent_version: int
    since: str
    why: str


class ImpactView(BaseModel):
    """What breaks if these authorities are distrusted now."""

    authorities: list[str]
    leaves: int
    by_profile: dict[str, int]
    by_owner: dict[str, int]
    first: list[str]
    last_end: str | None
    endpoints: int
    endpoints_first: list[str]
    destinations: int
    destinations_first: list[str]
    unready: list[str] = Field(description="consumers that were not proved to hold what follows these authorities")


class PreviewView(BaseModel):
    """What a rotation would do, and what it would wait for."""

    line: str
    stages: list[str]
    outgoing: list[str]
    makes: list[MakingView]
    gates: list[str]
    gating: int = Field(description="consumers that it waits for")
    lacking: list[LackingView] = Field(description="those not even proved to hold what is published now")
    impact: ImpactView
    seconds_of_reissue: int
    objections: list[str] = Field(description="why it cannot start; empty if it can")


class AffectedView(BaseModel):
    """One live leaf beneath an authority."""

    serial: str
    shown_as: str
    profile: str
    owner: str | None
    not_after: str
    places: list[str]


class AffectedPage(BaseModel):
    """A page of live leaves; ask again with `next` as cursor."""

    items: list[AffectedView]
    next: int | None
