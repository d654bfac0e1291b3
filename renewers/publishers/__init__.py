"""Where something is used: the `Publisher` port. Material is put aside there, put into use in one step, taken back.

Material is a certificate with its key for a destination, or trust bundles and CRLs for a consumer: named files under
one version. A publisher is made for one place, from its settings. Every call may be repeated after a crash, by another
process, with the same material; `swap` of what is in use already changes nothing but has it read again. No reader ever
sees a half-written file, a certificate with another's key, or nothing at all.

Secrets are handed to a publisher that says it `keeps_secrets`; others are asked for public files alone. A new adapter
is one file here, one line in `pki/catalog.py`, and `tests/contracts/test_publishers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from ca.secret import Secret


@dataclass(frozen=True, slots=True)
class Material:
    """What a place gets. `version` names it: whose it is, its number, and the start of its hash."""

    subject: str
    """The lineage or the consumer that it is for."""
    version: str
    """Lower-case letters, digits, dashes, dots: it names a directory, an object, a topic."""
    sha256: str
    """What tells it from every other: of the certificate or of the manifests, hex."""
    files: Mapping[str, bytes]
    """What everybody may read, by plain file name."""
    secrets: Mapping[str, Secret] = field(default_factory=lambda: MappingProxyType({}))
    """PEM text with a private key in it, by plain file name."""


class Publisher(Protocol):
    """Brings material to one place."""

    keeps_secrets: bool
    """Whether what it is handed stays with those who may read it."""

    def stage(self, material: Material) -> None:
        """Bring it there, durably, without touching what is in use. `NotDelivered` says what is in the way."""

    def swap(self, material: Material) -> None:
        """Put what was staged into use in one step, and have its user read it. `NotDelivered` if that fails."""


@runtime_checkable
class RollsBack(Protocol):
    """A publisher that knows what was in use before, and can go back to it."""

    def restore(self, material: Material) -> None:
        """Put back what was in use before `material`, and have its user read it. No more, if it is not."""
