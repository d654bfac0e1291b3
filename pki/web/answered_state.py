"""What goes out about past moments. As `answered.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class CertificateThenView(BaseModel):
    """What a certificate was."""

    serial: str
    state: str = Field(description="unknown, valid, held, revoked, expired or abandoned")
    facts: dict[str, Any] = Field(description="what the ledger says of it up to then")
    positions: list[int] = Field(description="the entries that say so: `certwright ledger prove` proves each")


class AuthorityThenView(BaseModel):
    """What a CA was."""

    name: str
    state: str
    since: str
    not_after: str


class ProfileThenView(BaseModel):
    """Which version of a profile was in force."""

    name: str
    sha256: str
    since: str
    content: str = Field(description="its file; empty if that is not kept")


class CountsThenView(BaseModel):
    """How many certificates there were."""

    issued: int
    valid: int
    held: int
    revoked: int
    expired: int
    unrecorded: int = Field(description="revoked without a record of their issuance")
    by_authority: dict[str, int] = Field(description="the valid ones")
    by_profile: dict[str, int] = Field(description="the valid ones")
    entries: int = Field(description="entries that were made up to then")
    disordered: int = Field(description="those among them behind a younger one: the clock was set back")


class StateView(BaseModel):
    """What was so at a moment, and the signed head that it rests on."""

    at: str
    size: int
    signed_at: str
    checkpoint: str
    certificate: CertificateThenView | None = None
    authorities: list[AuthorityThenView] | None = None
    profiles: list[ProfileThenView] | None = None
    counts: CountsThenView | None = None
