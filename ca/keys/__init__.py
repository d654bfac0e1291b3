"""Where private keys live: the `KeyStore` port.

A key store hands out objects that act as `cryptography` private keys, so that code which signs cannot tell a file from
a hardware module. Keys are addressed by a label (see `LABEL`), which the authority's row remembers; a store never
gives a key a second label and never overwrites one.

Adapters: `memory` (tests), `software` (encrypted PKCS#8 files), `pkcs11` (hardware), `divided` (hardware for the CAs,
software for what signs beside them). `algorithms` says which keys and signatures exist,
`weak` which ones nobody should trust.
"""

from __future__ import annotations

import re
from typing import Protocol, runtime_checkable

from ca.errors import BadRequest
from ca.keys.algorithms import KeyType, PrivateKey

LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class KeyStore(Protocol):
    """Makes, keeps and hands out signing keys. Safe to call from several threads."""

    def create(self, label: str, key_type: KeyType) -> PrivateKey:
        """Make a key that is durable before this returns. `Conflict` if the label is taken."""

    def load(self, label: str) -> PrivateKey:
        """The key, ready to sign. `KeyUnavailable` if it is missing, locked or damaged; the message says which."""

    def destroy(self, label: str) -> None:
        """Make the key unusable for ever. Silent if there is none: the aim is reached."""


@runtime_checkable
class KeyImport(Protocol):
    """What a store can do besides, if private keys can be brought to it from outside."""

    def put(self, label: str, key: PrivateKey) -> None:
        """Keep an existing key under a new label, durably. `Conflict` if the label is taken."""


def check_reachable(key: PrivateKey) -> None:
    """`KeyUnavailable` if a device holds the key and is away: asked before anything is written for its signature."""
    check = getattr(key, "check_reachable", None)
    if check is not None:
        check()


def check_label(label: str) -> str:
    """Return `label` if it is a plain lower-case name that is safe as a file name and as a PKCS#11 label."""
    if not LABEL.fullmatch(label):
        raise BadRequest(
            f"{label!r} cannot name a key",
            code="bad-key-label",
            hint="use 1 to 64 of a-z, 0-9, dot, hyphen and underscore, starting with a letter or digit",
        )
    return label
