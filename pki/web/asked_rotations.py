"""What comes in about rotations and mass replacements. As `asked.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from pki.web.asked import PLAIN, DurationText, Text, Word, _In

Reason = Annotated[str, StringConstraints(max_length=500, pattern=PLAIN)]
Subject = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=PLAIN)]


class RotationRequest(_In):
    """A CA that is to be followed by its next generation."""

    line: Word = Field(description="a line such as `root` or `issuing`; a root takes the CAs beneath it along")
    reason: Reason = Field(description="why, in at least ten characters; it goes to the ledger")
    compromised: bool = Field(default=False, description="waits for proof for an hour at most, and revokes in the end")
    key_type: Word | None = None
    subject: Text | None = Field(default=None, description="RFC 4514; the old one's with the next number if left out")
    lifetime: DurationText | None = None
    cross: bool = Field(default=True, description="whether an old root certifies the new one")
    patience: DurationText | None = Field(default=None, description="how long a stage waits for proof; null: for ever")
    drain_patience: DurationText | None = Field(default=None, description="how long leaves are waited for")
    per_minute: int | None = Field(default=None, ge=1, le=100_000, description="replaced certificates a minute")
    revokes: bool | None = Field(default=None, description="whether replaced certificates are revoked")
    consumers: float | None = Field(default=None, gt=0, le=1, description="the part that has to prove what it holds")
    leaves_left: int | None = Field(default=None, ge=0, le=1 << 31)


class SteerRequest(_In):
    """Why somebody steers a rotation, in writing."""

    reason: Reason


class OverrideRequest(_In):
    """A gate that a rotation may pass without one consumer, certificate or place, in writing."""

    gate: Word = Field(description="prove, drain or distrust")
    subject: Subject = Field(description="a consumer, a certificate's serial number, a place, or `all`")
    reason: Reason
