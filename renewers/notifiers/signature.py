"""Signatures of webhooks after the Standard Webhooks specification, made here and checked by whoever receives one.

It needs nothing but Python's own library: a receiver may copy the file as it is and call `verify` before it reads a
body. The secret is `whsec_` and 24 to 64 random bytes in base64. https://www.standardwebhooks.com
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PREFIX = "whsec_"
TOLERANCE = 300
"""Seconds by which the clocks of both sides may differ: what is older is refused, since it may be a replay."""


def key_of(secret: str) -> bytes:
    """The bytes that a secret stands for. `ValueError` if it is none, or too short to be one."""
    try:
        key = b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except ValueError:  # its message could show a part of the secret
        raise ValueError("a webhook's secret is whsec_ and base64") from None
    if not 24 <= len(key) <= 64:
        raise ValueError("a webhook's secret has 24 to 64 bytes")
    return key


def signature_of(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """What stands in the signature's header: HMAC-SHA256 over id, time and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(key_of(secret), signed, "sha256")).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float, tolerance: int = TOLERANCE) -> str:
    """The id of a message that was signed with `secret` about `now`. `ValueError` says why it is not to be believed.

    Call it on the bytes as they came, before they are parsed. Remember the ids for longer than `tolerance`, and pass
    over one that comes again: the same event may be told twice.
    """
    found = {name.lower(): value for name, value in headers.items()}
    message_id, written, offered = (found.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if not message_id or not (written.isascii() and written.isdecimal() and len(written) <= 12):
        raise ValueError("the message has no id, or no time")
    expected = signature_of(secret, message_id, int(written), body).encode()
    # Several signatures stand side by side while a secret is replaced. None is compared in less time than another.
    matching = [hmac.compare_digest(expected, one.encode()) for one in offered.split(" ")]
    if not any(matching):
        raise ValueError("the signature is not of this message")
    if abs(now - int(written)) > tolerance:
        raise ValueError("the message is too old, or from the future")
    return message_id
