"""Signed heads in the C2SP checkpoint format (c2sp.org/tlog-checkpoint, c2sp.org/signed-note), with Ed25519.

    certwright.example/ledger
    1234
    <root hash, base64>

    — certwright.example/ledger <key id and signature, base64>

Anyone who kept one such text can tell later whether the ledger still contains what it contained then.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ca.errors import BadRequest
from ca.ledger.merkle import HASH_SIZE

_ED25519 = b"\x01"
_TEXT = re.compile(r"([^\s+]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]+=*)\n(?:[^\n]+\n)*")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+=*)")
_VERIFIER = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)")


@dataclass(frozen=True, slots=True)
class Head:
    """The state of the ledger at one size."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """Who may sign heads: a name and a public key, written `name+hash+key` as in c2sp.org/signed-note."""

    name: str
    key: Ed25519PublicKey

    @property
    def key_id(self) -> bytes:
        """The four bytes that a signature names its key with."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.key.public_bytes_raw()).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.key.public_bytes_raw()).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read a verifier key. `BadRequest` unless name, hash and key agree."""
        match = _VERIFIER.fullmatch(text.strip())
        raw = _decode(match[3]) if match is not None else None
        if match is None or raw is None or len(raw) != 1 + 32:
            raise _bad("the verifier key is not of the form name+hash+key")
        verifier = cls(match[1], Ed25519PublicKey.from_public_bytes(raw[1:]))
        if raw[:1] != _ED25519 or verifier.key_id.hex() != match[2]:
            raise _bad("the verifier key is damaged: its hash does not fit")
        return verifier


def sign_head(head: Head, key: Ed25519PrivateKey) -> str:
    """The checkpoint: the head's text and one signature line."""
    text = head.text()
    verifier = Verifier(head.origin, key.public_key())
    signature = base64.b64encode(verifier.key_id + key.sign(text.encode())).decode()
    return f"{text}\n— {head.origin} {signature}\n"


def open_head(checkpoint: str, verifier: Verifier) -> Head:
    """The head in a checkpoint, if `verifier` signed it. Signatures by others are passed over, as the format wants."""
    text, blank, signatures = checkpoint.rpartition("\n\n")  # the last empty line: what is before it is signed
    fields = _TEXT.fullmatch(text + "\n")
    if not blank or fields is None or not signatures.endswith("\n"):
        raise _bad("this is not a checkpoint: three lines, an empty line, signature lines")
    if not any(_is_signed(text + "\n", line, verifier) for line in signatures[:-1].split("\n")):
        raise _bad(f"the checkpoint has no valid signature by {verifier.name}")
    origin, size, root = fields.groups()
    if origin != verifier.name:
        raise _bad(f"the checkpoint is of the ledger {origin}, not of {verifier.name}")
    decoded = _decode(root)
    if decoded is None or len(decoded) != HASH_SIZE:
        raise _bad("the root hash is not the base64 of 32 bytes")
    return Head(origin, int(size), decoded)


def claimed_size(checkpoint: str) -> int:
    """The size that a checkpoint says it is of. Nobody has checked it: only for asking a server about it."""
    fields = _TEXT.match(checkpoint)
    if fields is None:
        raise _bad("this is not a checkpoint: three lines, an empty line, signature lines")
    return int(fields[2])


def _is_signed(text: str, line: str, verifier: Verifier) -> bool:
    match = _SIGNATURE.fullmatch(line)
    if match is None or match[1] != verifier.name:
        return False
    raw = _decode(match[2])
    if raw is None or raw[:4] != verifier.key_id:
        return False
    try:
        verifier.key.verify(raw[4:], text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _decode(text: str) -> bytes | None:
    """Canonical base64, or None: two texts for one signature would be two checkpoints for one head."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def _bad(message: str) -> BadRequest:
    return BadRequest(message, code="bad-checkpoint")
