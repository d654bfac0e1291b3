"""Where a certificate is used: the `Publisher` port. Material is put aside there, put into use in one step, taken back.

A publisher is made for one destination, from its settings. Every call may be repeated after a crash, by another
process, with the same material; `swap` of what is in use already changes nothing, so that `restore` always goes back to
what was there before. No reader ever sees a half-written file, a certificate with another's key, or nothing at all.

Adapters: `files` (a directory on this machine, with a command that makes its user read it again), `memory` (tests and
drills). A new one is one file here, one line in `pki/catalog.py`, and `tests/contracts/test_publishers.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ca.secret import Secret


@dataclass(frozen=True, slots=True)
class Material:
    """What a destination gets. `version` names it: the lineage, its number, and the start of its fingerprint."""

    lineage: str
    version: str
    sha256: str
    """Of the certificate, hex."""
    certificate: str
    """PEM, the leaf alone."""
    chain: str
    """PEM, from its issuer up to and without the root; may be empty."""
    key: Secret | None
    """PEM PKCS#8, or None where the destination made its own."""


class Publisher(Protocol):
    """Brings material to one destination."""

    def stage(self, material: Material) -> None:
        """Bring it there, durably, without touching what is in use. `NotDelivered` says what is in the way."""

    def swap(self, material: Material) -> None:
        """Put what was staged into use in one step, and have its user read it. `NotDelivered` if that fails."""

    def restore(self, material: Material) -> None:
        """Put back what was in use before `material`, and have its user read it. No more, if it is not."""
