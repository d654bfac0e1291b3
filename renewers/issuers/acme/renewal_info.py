"""When a CA would like a certificate renewed (ARI, RFC 9773)."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from cryptography import x509

from renewers.issuers import Window
from renewers.issuers.acme.conversation import Conversation
from renewers.issuers.acme.problems import plain
from renewers.issuers.acme.replies import Reply

SOONEST, USUAL, LATEST = 60, 6 * 3600, 86400
"""Seconds until a CA is asked again: at the soonest, where it says nothing, and at the latest (section 4.3)."""
LONGEST_EXPLANATION = 500


def certificate_id(certificate: bytes) -> str | None:
    """What a CA knows a certificate (DER) by (section 4.1); None if it does not say which key signed it."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        authority = parsed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (ValueError, x509.ExtensionNotFound):
        return None
    if authority is None:
        return None
    serial = parsed.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)
    return f"{_base64url(authority)}.{_base64url(octets)}"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def ask_window(ca: Conversation, certificate: bytes) -> Window | None:
    """Ask for the window of a certificate; None if the CA has none for it, or one that makes no sense."""
    known_as, url = certificate_id(certificate), ca.directory.renewal_info
    if known_as is None or url is None:
        return None
    reply = ca.network.fetch(f"{url.rstrip('/')}/{known_as}", "a renewal window")
    if 400 <= reply.status < 500 and reply.status not in (408, 425, 429):
        return None
    end_of_life = int(x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp())
    return _read(reply, end_of_life)


def _read(reply: Reply, end_of_life: int) -> Window | None:
    found = reply.document()
    window = found.document("suggestedWindow")
    start, end = window.time("start"), window.time("end")
    if start is None or end is None or end <= start or start >= end_of_life:
        return None
    asked = reply.retry_after
    poll_after = USUAL if asked is None else min(max(asked, SOONEST), LATEST)
    return Window(start, end, _explanation(found.fields.get("explanationURL")), poll_after)


def _explanation(url: object) -> str | None:
    """A link for people to follow: http or https, of bounded length; nothing else."""
    if not isinstance(url, str) or len(url) > LONGEST_EXPLANATION or plain(url, LONGEST_EXPLANATION) != url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.hostname and " " not in url else None
