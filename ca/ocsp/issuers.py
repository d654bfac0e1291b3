"""For whom we answer: our CAs, found by the hashes of their name and key that a request has (RFC 6960 section 4.1.1).

SHA-1 here is a name and not a proof: the RFC wants it, most clients know nothing else, and whoever made two keys with
one hash would be answered about serial numbers of ours. Nobody asks about CAs that are retired, ended or others'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha1, sha256

from cryptography import x509

from ca import clock, der
from ca.authority import ABSENT, State
from ca.keys.algorithms import spki
from ca.models import Authority
from ca.ocsp.asked import SHA1, SHA256, CertId
from ca.x509.certificate import subject_of

_HASHES: dict[bytes, Callable[[bytes], bytes]] = {
    SHA1: lambda data: sha1(data, usedforsecurity=False).digest(),
    SHA256: lambda data: sha256(data).digest(),
}


class Issuers:
    """Our CAs at one moment."""

    def __init__(self, rows: Iterable[Authority]) -> None:
        self._found: dict[tuple[bytes, bytes, bytes], Authority] = {}
        for row in rows:
            if row.state == State.RETIRED or row.key_label in ABSENT:
                continue
            parsed = x509.load_der_x509_certificate(row.certificate)
            name = subject_of(parsed.tbs_certificate_bytes)
            key = key_of(spki(parsed.public_key()))  # type: ignore[arg-type]
            for algorithm, hashed in _HASHES.items():
                self._found[algorithm, hashed(name), hashed(key)] = row

    def of(self, certificates: Iterable[CertId]) -> Authority | None:
        """The one CA that all of these are of; None if there is none, or several, or its time is over."""
        rows = [self._found.get((one.algorithm, one.name_hash, one.key_hash)) for one in certificates]
        first = rows[0]
        if first is None or any(row is not first for row in rows) or first.not_after <= clock.timestamp():
            return None
        return first


def key_of(public_key: bytes) -> bytes:
    """What of a SubjectPublicKeyInfo is hashed: the BIT STRING's content, without its count of unused bits."""
    _, start, _ = der.header(public_key, 0)
    _, _, place = der.header(public_key, start)
    _, content, end = der.header(public_key, place)
    return public_key[content + 1 : end]


def key_hash(public_key: bytes) -> bytes:
    """How an answer names who has signed it: KeyHash, SHA-1 (RFC 6960 section 4.2.1)."""
    return _HASHES[SHA1](key_of(public_key))
