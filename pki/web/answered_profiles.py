"""What is answered about a changed profile before it is in force."""

from __future__ import annotations

from pydantic import BaseModel

from ca.profiles.comparing import Effect
from pki.web.answered import ExampleView, FindingView


class DifferenceView(BaseModel):
    """One field that is not what it was."""

    field: str
    before: str
    after: str
    effect: Effect


class ChangedView(BaseModel):
    """A certificate that the two decide differently about."""

    serial: str
    requested_by: str
    names: list[str]
    reasons: list[FindingView]


class ReplayView(BaseModel):
    """What the changed profile says to those who were issued certificates; lists hold the newest hundred."""

    looked: int
    unknown: int
    refused: int
    allowed: int
    newly_refused: list[ChangedView]
    newly_allowed: list[ChangedView]


class ComparisonView(BaseModel):
    """Everything that is known about a change before it is made."""

    profile: str
    differences: list[DifferenceView]
    examples: list[ExampleView]
    """Those of the profile in force that come out otherwise."""
    replay: ReplayView
