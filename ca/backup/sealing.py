r"""The envelope of a backup: encrypted to a public key, in chunks that can be neither cut off, swapped nor repeated.

    certwright-backup-1\n | recipient's id, 8 bytes | ephemeral X25519 key, 32 bytes | chunks

X25519 (RFC 7748), HKDF-SHA-256 (RFC 5869) over both keys and the header, AES-256-GCM in chunks of 64 KiB. A chunk's
nonce is its number and whether it is the last (STREAM, eprint 2015/189). Whoever has the public key can write a file:
the envelope keeps secrets, that a backup is ours is told by the signed ledger head inside.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ca.errors import BadRequest, Misconfigured

MAGIC = b"certwright-backup-1\n"
CHUNK, TAG, KEY, ID = 1 << 16, 16, 32, 8
HEADER = len(MAGIC) + ID + KEY
PREFIX = "certwright-recipient-"


def recipient_text(key: X25519PublicKey) -> str:
    """A public key as settings name it; its last four bytes find a slip of the pen."""
    raw = key.public_bytes_raw()
    return PREFIX + base64.urlsafe_b64encode(raw + sha256(raw).digest()[:4]).decode()


def read_recipient(text: str) -> X25519PublicKey:
    """The key in such a text. `Misconfigured` if it is none."""
    try:
        raw = base64.urlsafe_b64decode(text.strip().removeprefix(PREFIX))
    except (binascii.Error, ValueError):
        raw = b""
    is_whole = len(raw) == KEY + 4 and raw[KEY:] == sha256(raw[:KEY]).digest()[:4]
    if not is_whole or not text.strip().startswith(PREFIX):
        raise Misconfigured("this is not the recipient of a backup", hint="certwright backup key makes one")
    return X25519PublicKey.from_public_bytes(raw[:KEY])


class Sealed:
    """Writes what is put into it, sealed, to a file. `close` writes the last chunk: without it nothing opens."""

    def __init__(self, file: BinaryIO, recipient: X25519PublicKey) -> None:
        ephemeral = X25519PrivateKey.generate()
        header = MAGIC + _id(recipient) + ephemeral.public_key().public_bytes_raw()
        self._aead = _aead(ephemeral.exchange(recipient), header, recipient)
        self._file = file
        self._buffer = bytearray()
        self._number = 0
        file.write(header)

    def write(self, content: bytes) -> None:
        """Take bytes; a chunk goes out when it is known that it is not the last."""
        self._buffer += content
        while len(self._buffer) > CHUNK:
            self._put(bytes(self._buffer[:CHUNK]), is_last=False)
            del self._buffer[:CHUNK]

    def close(self) -> None:
        """Write the last chunk, which may be empty."""
        self._put(bytes(self._buffer), is_last=True)

    def _put(self, chunk: bytes, *, is_last: bool) -> None:
        self._file.write(self._aead.encrypt(_nonce(self._number, is_last=is_last), chunk, None))
        self._number += 1


def opened(file: BinaryIO, key: X25519PrivateKey) -> Iterator[bytes]:
    """The clear chunks. `BadRequest` (`bad-backup`) at the first byte that is not as it was written."""
    header = file.read(HEADER)
    if not header.startswith(MAGIC):
        known = header.startswith(b"certwright-backup-")
        what = "a backup of a version that this one does not read" if known else "not a backup"
        raise bad(f"the file is {what}")
    if len(header) < HEADER:
        raise bad("the backup is cut off in its header")
    if header[len(MAGIC) : len(MAGIC) + ID] != _id(key.public_key()):
        raise BadRequest("the backup was made for another key", code="wrong-key", hint="use the key that was made then")
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(header[-KEY:]))
    except ValueError:
        raise bad("the backup's header is damaged") from None
    aead, number = _aead(shared, header, key.public_key()), 0
    chunk = file.read(CHUNK + TAG)
    while True:
        following = file.read(CHUNK + TAG)
        try:
            yield aead.decrypt(_nonce(number, is_last=not following), chunk, None)
        except (InvalidTag, ValueError):
            raise bad(f"chunk {number} of the backup was changed, moved or cut off") from None
        if not following:
            return
        chunk, number = following, number + 1


def bad(message: str) -> BadRequest:
    """A backup that is not as it was written."""
    return BadRequest(message, code="bad-backup", hint="use another backup; nothing was changed")


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _id(key: X25519PublicKey) -> bytes:
    return sha256(key.public_bytes_raw()).digest()[:ID]


def _aead(shared: bytes, header: bytes, recipient: X25519PublicKey) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=recipient.public_bytes_raw(), info=header).derive(shared))
