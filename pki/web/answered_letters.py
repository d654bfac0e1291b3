"""What goes out about letters to owners, and why they were (not) sent. As `answered.py`."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LetterView(BaseModel):
    """One letter to one recipient."""

    id: int
    kind: str = Field(description="`digest`, `daily`, `urgent`, `escalation` or `monthly`")
    owner: str | None = Field(description="null if the owner was removed since")
    recipient: str
    step: int = Field(description="the recipient's place on the owner's escalation path; 0 is the owner's own mailbox")
    state: str = Field(
        description="`open`, `sent`, `refused`, `bounced`, or `overtaken`: there was nothing left to say"
    )
    subject: str
    reason: str = Field(description="why this mailbox gets it")
    rows: int = Field(description="how many things it says")
    opened_at: str
    sent_at: str | None
    error: str | None = Field(description="why it was not sent, or not yet")
    message_id: str


class CrossingView(BaseModel):
    """A threshold that was crossed, or something that is wrong, of which somebody is told."""

    id: int
    about: str
    threshold: str
    urgency: str
    certificate: str | None = Field(description="as `#12`")
    subject: str
    message: str
    hint: str | None
    crossed_at: str
    noted_at: str
    state: str = Field(description="`open`, `told`, `collapsed`, `overtaken` or `acknowledged`")
    why: str


class LetterShown(LetterView):
    """The same with what it tells of."""

    crossings: list[CrossingView]


class LetterPage(BaseModel):
    """A page of letters, newest first; ask again with `next` as cursor."""

    items: list[LetterView]
    next: str | None


class StepView(BaseModel):
    """One threshold, or one thing that was wrong, and what was said of it."""

    threshold: str
    urgency: str
    at: str
    state: str = Field(description="`ahead`, `quiet`, or the state of its crossing")
    sentence: str
    crossing: int | None
    letters: list[int]


class ExplanationView(BaseModel):
    """Why somebody was told of a certificate, or was not, as of a moment."""

    certificate: str
    identity: str
    subject: str
    lineage: str | None
    owner: str | None
    at: str
    summary: list[str]
    steps: list[StepView] = Field(description="its thresholds in their order")
    others: list[StepView] = Field(description="what else was wrong with it")
