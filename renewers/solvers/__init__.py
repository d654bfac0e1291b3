"""Proof that a name is ours: the `Solver` port. A challenge is made answerable, answered, and cleaned up.

A solver is used as a context: within it, whoever asks finds the answer. It says that all is in place only when it has
seen that for itself (each authoritative server, the listener), since a failed validation costs one of few tries.

Adapters: `http01` (a listener of ours, a webroot), `dns01` (through a `DnsWriter`), `tls_alpn01`, `dns_persist01`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ca.x509.names import Name


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge for one name (RFC 8555 section 8). All text comes from the CA and is checked before it is here."""

    kind: str
    """`http-01`, `dns-01`, `tls-alpn-01` or `dns-persist-01`."""
    name: Name
    """A DNS name without its `*.`, or an address."""
    is_wildcard: bool
    token: str
    """Letters, digits, hyphen and underscore, 22 to 128 of them; empty for dns-persist-01."""
    authorization: str
    """The key authorization: token, dot, thumbprint of the account key."""
    issuers: tuple[str, ...] = ()
    """dns-persist-01: the issuer domain names that the CA takes."""
    account: str = ""
    """The URL of our account there."""


class Solver(Protocol):
    """Answers challenges of its `kind`. Safe to call from several threads, for the same name too."""

    kind: str

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """Whether it could answer for this name at all: no addresses over DNS, no wildcards over HTTP."""

    def answer(self, challenge: Challenge, *, deadline: float) -> AbstractContextManager[None]:
        """Within the context, the answer is where the CA looks. `NotDelivered` if it could not be put there in time."""


class DnsWriter(Protocol):
    """Writes TXT records into somebody's zone."""

    def add(self, name: str, value: str, *, deadline: float) -> None:
        """Add one TXT record, beside those that are there. Again: nothing changes."""

    def remove(self, name: str, value: str, *, deadline: float) -> None:
        """Remove that very record, and no other. Silent if it is not there."""
