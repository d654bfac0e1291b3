"""What comes in about mass replacements. As `asked.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from pki.web.asked import PLAIN, DurationText, Word, _In
from pki.web.asked_rotations import Reason

MOST = 1000
Name = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=PLAIN)]


class SelectionRequest(_In):
    """Which certificates; every criterion narrows, and at least one is needed."""

    authorities: list[Word] | None = Field(default=None, max_length=MOST, description="what one of them has issued")
    spki_sha256: list[Word] | None = Field(default=None, max_length=MOST, description="SHA-256 of public keys, hex")
    key_type: Word | None = Field(default=None, description="such as RSA-2048")
    host: Name | None = Field(default=None, description="where it was seen, or a name in it: this one or beneath it")
    profile: Word | None = None
    owner: Name | None = None
    serials: list[Word] | None = Field(default=None, max_length=MOST)
    lineages: list[Name] | None = Field(default=None, max_length=MOST)


class ReplacementRequest(_In):
    """A mass replacement."""

    selection: SelectionRequest
    reason: Reason = Field(description="why, in at least ten characters; it goes to the ledger")
    per_minute: int | None = Field(default=None, ge=1, le=100_000, description="renewals that begin in a minute")
    revokes: bool = Field(default=False, description="whether the old ones are revoked, once the new ones were seen")
    revocation_reason: Word = "superseded"
    deadline: DurationText | None = Field(
        default=None, description="after which what is left is revoked, whether or not it was replaced; null: never"
    )


class DrillRequest(ReplacementRequest):
    """A drill of a mass replacement."""

    count: int | None = Field(default=None, ge=1, le=20_000, description="as many as the selection has if left out")
