"""The texts of a challenge that a CA chooses, checked once more where they become paths, records and answers.

acme.sh ran commands that a CA had sent as a token (CVE-2023-38198), lego wrote files outside of its folder
(CVE-2026-40611): what is not of the one permitted form goes nowhere.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from hashlib import sha256

from ca.errors import BadRequest
from renewers.solvers import Challenge

TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}")
THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


def checked(challenge: Challenge) -> Challenge:
    """The challenge, if its token and its key authorization are what RFC 8555 section 8.1 says."""
    token, _, thumbprint = challenge.authorization.partition(".")
    if not TOKEN.fullmatch(challenge.token) or token != challenge.token or not THUMBPRINT.fullmatch(thumbprint):
        raise BadRequest(f"the challenge for {challenge.name} has no sound token", code="bad-challenge")
    return challenge


def digest(challenge: Challenge) -> bytes:
    """SHA-256 of the key authorization."""
    return sha256(checked(challenge).authorization.encode("ascii")).digest()


def dns_value(challenge: Challenge) -> str:
    """What the TXT record says (RFC 8555 section 8.4)."""
    return urlsafe_b64encode(digest(challenge)).rstrip(b"=").decode()
