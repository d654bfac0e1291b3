"""DKIM signatures (RFC 6376, RFC 8463): that a message comes from our domain as it is, whoever carried it.

Signed with `cryptography`, relaxed over both header and body. The usual library computes RSA with Python's integers,
whose timing tells of the key, and reads a clock of its own; the tests have it verify what is made here. Keys and DNS
records are the operator's affair: `SELECTOR._domainkey.DOMAIN` holds the public key.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ca import clock
from ca.errors import Misconfigured
from ca.secret import Secret

HEADERS = (
    *("from", "to", "subject", "date", "message-id", "reply-to", "references", "in-reply-to", "auto-submitted"),
    *("list-id", "list-unsubscribe", "list-unsubscribe-post", "mime-version", "content-type"),
)
"""What is signed: as it is, and that it stands there no more often (RFC 6376 section 8.15). RFC 8058 section 4 wants
both headers of unsubscribing among it."""
SMALLEST = 2048
"""Bits of an RSA key, RFC 8301 section 3.2."""
_WIDTH = 72


class DkimSigner:
    """Signs messages for one domain. `Misconfigured` if the key is none that they are signed with."""

    def __init__(self, domain: str, selector: str, key: Secret) -> None:
        self._domain = domain
        self._selector = selector
        self._key = _read(key)

    def signed(self, raw: bytes) -> bytes:
        """The message with its signature in front. Its lines end in CRLF; nothing of it may be changed afterwards."""
        head, _, body = raw.partition(b"\r\n\r\n")
        found = _headers(head)
        names = [name for name in HEADERS for _ in range(len(found.get(name, [])) + 1)]
        signature = self._empty(names, b64encode(sha256(relaxed_body(body)).digest()).decode())
        # The last of several is the first that is meant (section 5.4.2); ours has no line end (section 3.7).
        content = b"".join(line + b"\r\n" for name in HEADERS for line in reversed(found.get(name, [])))
        made = b64encode(self._sign(content + relaxed_header(signature))).decode()
        pieces = [made[at : at + _WIDTH] for at in range(0, len(made), _WIDTH)]
        return signature + "\r\n ".join(pieces).encode() + b"\r\n" + raw

    def _empty(self, names: list[str], body: str) -> bytes:
        """The header up to its `b=`."""
        kind = "rsa" if isinstance(self._key, RSAPrivateKey) else "ed25519"
        tags = [
            f"v=1; a={kind}-sha256; c=relaxed/relaxed; d={self._domain};",
            f"s={self._selector}; t={clock.timestamp()};",
            *(f"{'h=' if at == 0 else ''}{':'.join(names[at : at + 4])}:" for at in range(0, len(names), 4)),
        ]
        tags[-1] = tags[-1][:-1] + ";"
        return "\r\n ".join([f"DKIM-Signature: {tags[0]}", *tags[1:], f"bh={body};", "b="]).encode()

    def _sign(self, content: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(content, PKCS1v15(), hashes.SHA256())
        return self._key.sign(sha256(content).digest())  # RFC 8463 section 3


def relaxed_header(line: bytes) -> bytes:
    """Section 3.4.2: name in small letters, one line, one space where there was any, none at the ends."""
    name, _, value = line.partition(b":")
    return name.strip().lower() + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")


def relaxed_body(body: bytes) -> bytes:
    """Section 3.4.4: no space before a line's end, one elsewhere, no empty lines at the end."""
    content = re.sub(rb"[ \t]+", b" ", body).replace(b" \r\n", b"\r\n").rstrip(b" \r\n")
    return content + b"\r\n" if content else b""


def _headers(head: bytes) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for line in re.split(rb"\r\n(?![ \t])", head):
        name = line.partition(b":")[0].strip().lower().decode("ascii")
        found.setdefault(name, []).append(relaxed_header(line))
    return found


def _read(secret: Secret) -> RSAPrivateKey | Ed25519PrivateKey:
    try:
        key = load_pem_private_key(secret.reveal().encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # their messages could show a part of it
        raise Misconfigured("the DKIM key is no private key in PEM without a passphrase", hint=_HINT) from None
    if isinstance(key, Ed25519PrivateKey) or (isinstance(key, RSAPrivateKey) and key.key_size >= SMALLEST):
        return key
    raise Misconfigured(f"the DKIM key is neither RSA of {SMALLEST} bits or more, nor Ed25519", hint=_HINT)


_HINT = "openssl genrsa -out dkim.pem 2048; few receivers check Ed25519"
