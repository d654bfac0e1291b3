"""What the API answers about ceremonies of offline CAs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class CeremonyView(BaseModel):
    """What an offline CA was asked to sign."""

    name: str
    authority: str
    asks_for: str
    state: str = Field(description="waits, completed or withdrawn")
    sha256: str = Field(description="of the request's file, to be read aloud")
    created_at: str
    created_by: str
    ended_at: str | None
    ended_by: str | None
    transcript: dict[str, Any] | None = Field(description="what was said at the offline machine; nobody has signed it")
    document: str | None = Field(description="the file to carry; left out of lists")


class CrossCertificateView(BaseModel):
    """A certificate of one of our roots for the key of another."""

    authority: str
    by: str
    serial: str
    created_at: str
    not_after: str
    is_served: bool = Field(description="it stands in the chains of what is beneath the root")
    certificate: str


class KeyFileView(BaseModel):
    """The key of a CA, to be written where it shall be kept."""

    authority: str
    key: str = Field(description="PEM, encrypted with the passphrase that was given (PKCS#8, scrypt, AES-256)")
