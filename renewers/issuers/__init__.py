"""Who signs: the `Issuer` port. A request goes in, a certificate with its chain comes out.

An issuer may take minutes and may die at any point. What it has to remember to go on instead of beginning again, it
keeps in the `Memory` that it is handed, which is durable when `keep` and `commit` return. The next attempt, perhaps by
another process, gets the same request and the same memory: it has to end in the same order, never in a second one.

Adapters: `internal` (our own CA), `acme` (a public CA, RFC 8555), `memory` (a throwaway CA, for tests and drills). Read
`renewers/renewing/renewal.py` for the story that calls them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ca.keys.algorithms import PrivateKey
from ca.x509.names import Name


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate that is wanted."""

    reference: str
    """What makes this renewal one: the same in every attempt."""
    names: tuple[Name, ...]
    csr: bytes
    """DER PKCS#10 (RFC 2986), the same in every attempt."""
    profile: str
    """A profile of the issuer's; empty for its default."""
    lifetime: int | None
    """Seconds; None leaves it to the issuer."""
    replaces: bytes | None
    """DER of the certificate that this one follows."""
    deadline: float
    """On `ca.clock.monotonic()`: what is not done by then is given back as `IssuerUnavailable`."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """A certificate and what is between it and its root, DER. The caller checks both."""

    certificate: bytes
    chain: tuple[bytes, ...]


class Memory(Protocol):
    """What one renewal remembers of its order; durable when a call returns."""

    @property
    def order_url(self) -> str | None:
        """The order that was begun, if one was."""

    @property
    def is_finalized(self) -> bool:
        """Whether the issuer may have signed: from then on there is no other order and no other issuer."""

    def keep(self, order_url: str | None) -> None:
        """An order was begun there; None: the one that was begun is dead and will never be signed."""

    def commit(self) -> None:
        """The issuer is about to be asked to sign."""


class Issuer(Protocol):
    """Gets certificates signed. Safe to call from several threads."""

    def obtain(self, wanted: Wanted, memory: Memory) -> Obtained:
        """The certificate. `IssuerRefusal` if it never will be, `IssuerUnavailable` if it may be later."""

    def check(self) -> None:
        """Whether it could be asked now, without asking for anything. Raises what `obtain` would."""


@dataclass(frozen=True, slots=True)
class Window:
    """When an issuer would like a certificate renewed (RFC 9773 section 4.2), seconds since the epoch."""

    start: int
    end: int
    explanation: str | None
    poll_after: int
    """Seconds until it wants to be asked again."""


@runtime_checkable
class SuggestsWindow(Protocol):
    """An issuer that has an opinion on when to renew."""

    def window(self, certificate: bytes, issuer: bytes | None) -> Window | None:
        """Its opinion on this certificate (DER) of its own; None if it has none. `IssuerUnavailable` may be raised."""


@runtime_checkable
class RollsItsKey(Protocol):
    """An issuer at which we have an account whose key can be exchanged."""

    def roll_key(self, key: PrivateKey | None = None) -> None:
        """Exchange the account's key, by a new one unless `key` is given (RFC 8555 section 7.3.5)."""
