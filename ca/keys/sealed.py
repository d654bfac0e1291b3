"""Private keys that we made for others, kept until they are where they are used: sealed, so that a table may hold them.

AES-256-GCM under a key that scrypt derives once from the installation's passphrase. What a key is for is authenticated
with it, so that a sealed key cannot be moved to another row. This is not a `KeyStore`: the keys of our own CAs are
never here, and nothing is signed with what is opened but requests for its own certificate.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from ca.errors import KeyUnavailable
from ca.keys.algorithms import PrivateKey
from ca.keys.passphrase import CREDENTIAL, VARIABLE
from ca.secret import Secret

SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 5
"""As in `software`, where the choice is explained."""
NONCE = 12


class Sealer:
    """Seals and opens keys. `salt` is a fact of the installation, the same in every replica."""

    def __init__(self, passphrase: Secret, salt: bytes) -> None:
        self._passphrase = passphrase
        self._salt = salt

    @cached_property
    def _root(self) -> bytes:
        """Derived when the first key is sealed or opened: most processes never do either."""
        secret, cost = self._passphrase.reveal().encode(), {"n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}
        return hashlib.scrypt(secret, salt=self._salt, dklen=32, maxmem=1 << 26, **cost)

    @cached_property
    def _aead(self) -> AESGCM:
        return AESGCM(self._root)

    def mac_key(self, purpose: str) -> bytes:
        """32 bytes to authenticate what we ourselves gave out, the same in every replica: HKDF (RFC 5869)."""
        return HKDF(SHA256(), 32, salt=None, info=f"certwright {purpose}".encode()).derive(self._root)

    def wrap(self, key: PrivateKey, purpose: str) -> bytes:
        """The sealed key; only with the same `purpose` can it be opened."""
        return self._seal(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), purpose)

    def unwrap(self, sealed: bytes, purpose: str) -> PrivateKey:
        """The key. `KeyUnavailable` if it was sealed for something else, under another passphrase, or is damaged."""
        return load_der_private_key(self._open(sealed, purpose), None)  # type: ignore[return-value]  # sealed by us

    def wrap_text(self, secret: Secret, purpose: str) -> bytes:
        """The same for a secret that somebody shares with us."""
        return self._seal(secret.reveal().encode(), purpose)

    def unwrap_text(self, sealed: bytes, purpose: str) -> Secret:
        """The secret. `KeyUnavailable` as for a key."""
        return Secret(self._open(sealed, purpose).decode())

    def _seal(self, clear: bytes, purpose: str) -> bytes:
        nonce = secrets.token_bytes(NONCE)
        return nonce + self._aead.encrypt(nonce, clear, purpose.encode())

    def _open(self, sealed: bytes, purpose: str) -> bytes:
        try:
            return self._aead.decrypt(sealed[:NONCE], sealed[NONCE:], purpose.encode())
        except (InvalidTag, ValueError):
            raise KeyUnavailable(
                f"what is sealed for {purpose} cannot be opened: another passphrase, or it is damaged",
                hint=f"the passphrase comes from {VARIABLE}, else the systemd credential {CREDENTIAL}, else a file",
            ) from None
