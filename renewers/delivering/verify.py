"""Whether a place really serves what was delivered there: the certificate, its chain, and its own users' trust in it.

A certificate counts as deployed when it was seen, several times in a row, since the workers of a server that reads its
files again overlap for a moment. Nothing is changed here. Handshakes are `handshake.py`; who asks is `delivery.py`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from ca import clock
from ca.errors import BadRequest, NotDelivered
from renewers import handshake
from renewers.addresses import spoken
from renewers.discovery.targets import Target, parse
from renewers.handshake import Presented
from renewers.plain import one_line

TIMES, PAUSE, PATIENCE = 3, 0.1, 10.0
"""Seen so many times in a row, so many seconds apart, within so many seconds."""
LARGEST_BUNDLE = 1 << 20


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be seen: its fingerprint (hex), what is served behind it (None: whatever it is), what it follows."""

    sha256: str
    chain: tuple[bytes, ...] | None
    old_sha256: str | None = None


class _Untrusted(NotDelivered):
    """It is the right one, and looking again would not make it better."""


def read_probe(text: str) -> Target:
    """Read `host:port`, `host:port#server-name`, `smtp://host:25#name`, `[::1]:443`: one endpoint, not several."""
    try:
        return next(iter(parse(text, most=1)))
    except BadRequest as error:
        hint = "host:port, host:port#server-name, or one of smtp:// imap:// postgresql:// before it"
        raise BadRequest(f"this does not say where to look: {error.message}", code="bad-probe", hint=hint) from None


def read_bundle(path: str) -> list[bytes]:
    """The certificates in a PEM file, DER. `NotDelivered` if there are none: a consumer without trust trusts nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_BUNDLE:
                raise NotDelivered(f"the bundle {path} is no file, or larger than {LARGEST_BUNDLE} bytes")
            content = file.read(LARGEST_BUNDLE)
        return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(content)]
    except OSError as error:
        raise NotDelivered(f"the bundle {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise NotDelivered(f"the bundle {path} holds no certificates, or damaged ones") from None


def look_at(
    probe: str, expected: Expected, *, roots: Sequence[bytes] | None = None, patience: float | None = None
) -> None:
    """Return when the place was seen to serve what was expected, `TIMES` in a row.

    `NotDelivered` says what it serves instead, or what is wrong with its chain, once `patience` seconds (`PATIENCE`)
    are over. `roots` are what its own users trust; None asks nobody.
    """
    where, in_a_row = read_probe(probe), 0
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while in_a_row < TIMES:
        try:
            seen = handshake.look(where.host, where.port, protocol=where.protocol, server_name=where.server_name)
            _judge(where, seen, expected, roots)
            in_a_row += 1
        except _Untrusted as error:
            raise NotDelivered(error.message, code=error.code) from None
        except NotDelivered:
            in_a_row = 0
            if time.monotonic() >= deadline:
                raise
        if in_a_row < TIMES:
            time.sleep(PAUSE)


def _judge(where: Target, seen: Presented, expected: Expected, roots: Sequence[bytes] | None) -> None:
    place = spoken(where.host, where.port)
    shown = sha256(seen.chain[0]).hexdigest()
    if shown != expected.sha256:
        if shown == expected.old_sha256:
            raise NotDelivered(f"{place} still serves the old one", code="serves-old")
        raise NotDelivered(f"{place} serves another certificate: sha256 {shown[:16]}", code="serves-another")
    if expected.chain is not None:
        _judge_chain(place, seen.chain[1:], expected.chain)
    if roots is not None and (why := distrust(seen.chain, roots, where.server_name)) is not None:
        raise _Untrusted(f"the users of {place} do not trust this chain: {why}", code="not-trusted")


def _judge_chain(place: str, shown: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """Just what was delivered, in its order; a root at the end does no harm (RFC 8446 section 4.4.2)."""
    if len(shown) == len(expected) + 1 and _is_self_issued(shown[-1]):
        shown = shown[:-1]
    if tuple(shown) == tuple(expected):
        return
    missing = len(set(expected) - set(shown))
    if missing:
        raise _Untrusted(
            f"the chain at {place} is incomplete: {missing} of {len(expected)} certificates are missing",
            code="chain-incomplete",
        )
    raise _Untrusted(f"{place} serves the chain in another order, or more than was delivered", code="wrong-chain")


def distrust(chain: Sequence[bytes], roots: Sequence[bytes], name: str | None) -> str | None:
    """Why those who trust these roots do not trust a chain (DER, leaf first) for a name; None if they do.

    Without a name it is judged for the first one in the certificate, or as a client's if there is none for servers.
    """
    try:
        leaf, *above = map(x509.load_der_x509_certificate, chain)
        anchors = [x509.load_der_x509_certificate(root) for root in roots]
        if not anchors:
            return "its bundle is empty"
        if any(_is_ed25519(one) for one in (*above, *(a for a in anchors if a.subject == (leaf, *above)[-1].issuer))):
            return _distrust_links([leaf, *above], anchors)
        builder = verification.PolicyBuilder().store(verification.Store(anchors)).time(clock.now())
        subject = _subject(leaf, name)
        if subject is None:
            builder.build_client_verifier().verify(leaf, above)
        else:
            builder.build_server_verifier(subject).verify(leaf, above)
    except verification.VerificationError as error:
        return one_line(str(error), 200)
    except (ValueError, UnsupportedAlgorithm) as error:
        return f"it cannot be parsed: {one_line(str(error), 200)}"
    return None


def _distrust_links(chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> str | None:
    """The same link by link, for Ed25519: `cryptography` verifies by the rules of the web, which do not know it."""
    now = clock.now()
    anchors = [anchor for anchor in anchors if _is_valid(anchor, now)]
    for one, above in zip(chain, [*chain[1:], None], strict=True):
        if not _is_valid(one, now):
            return f"{one_line(one.subject.rfc4514_string(), 80)} is not valid at this time"
        if not any(_has_signed(issuer, one) for issuer in ([above] if above is not None else anchors)):
            return f"nobody in it has signed {one_line(one.subject.rfc4514_string(), 80) or 'the certificate'}"
    return None


def _is_valid(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _has_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        is_authority = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return is_authority


def _subject(leaf: x509.Certificate, name: str | None) -> x509.DNSName | x509.IPAddress | None:
    """The name to judge for: the one that is asked for, else the certificate's first; a wildcard's by an example."""
    if name is not None:
        return x509.IPAddress(ip_address(name)) if _is_address(name) else x509.DNSName(name)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    for found in names:
        if isinstance(found, x509.DNSName):
            return x509.DNSName(found.value.replace("*", "any", 1))
        if isinstance(found, x509.IPAddress):
            return found
    return None


def _is_ed25519(certificate: x509.Certificate) -> bool:
    return isinstance(certificate.public_key(), Ed25519PublicKey)


def _is_self_issued(der: bytes) -> bool:
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return False
    return certificate.subject == certificate.issuer


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
