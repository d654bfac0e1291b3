"""Certificates as bytes: what is signed, put together from parts that `cryptography` encoded (RFC 5280 section 4.1).

The to-be-signed bytes exist before any key has touched them. That is why they can be linted, judged and durably
recorded first, and why one signature by the real key is all that an issuance needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509

from ca import der

_VERSION_3 = der.explicit(0, der.integer(2))
_CRITICAL = der.BOOLEAN_TRUE


def extension(value: x509.ExtensionType, *, critical: bool) -> bytes:
    """One encoded Extension (RFC 5280 section 4.1)."""
    return raw_extension(value.oid.dotted_string, value.public_bytes(), critical=critical)


def raw_extension(oid: str, value: bytes, *, critical: bool) -> bytes:
    """One encoded Extension from an already encoded value."""
    return der.sequence(der.oid(oid), _CRITICAL if critical else b"", der.octet_string(value))


def encode_tbs(
    *,
    serial: int,
    algorithm: bytes,
    issuer: bytes,
    not_before: int,
    not_after: int,
    subject: bytes,
    spki: bytes,
    extensions: Sequence[bytes],
) -> bytes:
    """DER TBSCertificate, version 3. Times are seconds since the epoch; everything else comes encoded."""
    return der.sequence(
        _VERSION_3,
        der.integer(serial),
        algorithm,
        issuer,
        der.sequence(der.time(not_before), der.time(not_after)),
        subject,
        spki,
        der.explicit(3, der.sequence(*extensions)),
    )


def assemble(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """A signed structure from what was signed, how, and the signature: Certificate and CertificateList alike."""
    return der.sequence(tbs, algorithm, der.bit_string(signature))


def algorithm_of(tbs: bytes) -> bytes:
    """The AlgorithmIdentifier inside a TBSCertificate that `cryptography` has parsed or we have built."""
    return _field(tbs, 2)


def issuer_of(tbs: bytes) -> bytes:
    """The issuer's Name, as encoded."""
    return _field(tbs, 3)


def subject_of(tbs: bytes) -> bytes:
    """The subject's Name, as encoded: certificates beneath it repeat it byte for byte as their issuer."""
    return _field(tbs, 5)


def spki_of(tbs: bytes) -> bytes:
    """The SubjectPublicKeyInfo, as encoded."""
    return _field(tbs, 6)


def _field(tbs: bytes, place: int) -> bytes:
    _, end, _ = der.header(tbs, 0)
    for _ in range(place + 1):
        start = end
        _, _, end = der.header(tbs, start)
    return tbs[start:end]


def preview(tbs: bytes, algorithm: bytes) -> x509.Certificate:
    """The certificate as it will be, with an empty signature: to be linted, never handed out (compare RFC 9925)."""
    return x509.load_der_x509_certificate(assemble(tbs, algorithm, b""))


def key_identifier(spki: bytes) -> bytes:
    """A subject key identifier without SHA-1: RFC 7093 section 2, method 1, over the BIT STRING's content."""
    _, algorithm, _ = der.header(spki, 0)
    _, _, key = der.header(spki, algorithm)
    _, content, end = der.header(spki, key)
    return hashlib.sha256(spki[content + 1 : end]).digest()[:20]


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of the DER certificate, hex: how a certificate is recognised."""
    return hashlib.sha256(certificate).hexdigest()


def serial_text(serial: int) -> str:
    """A serial number as this product writes it: lower-case hex, no leading zeros."""
    return f"{serial:x}"
