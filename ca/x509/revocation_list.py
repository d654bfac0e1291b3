"""Certificate revocation lists as bytes (RFC 5280 section 5): entries, lists, and entries taken out of lists again.

Written by hand because `cryptography` copies all entries for each one that is added: 100,000 of them take it 15 s, a
million would take half an hour. What is built here is parsed back and verified by `cryptography` before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache

from cryptography import x509

from ca import der
from ca.x509.certificate import extension

_VERSION_2 = der.integer(1)
_REASON_CODE = der.oid("2.5.29.21")


class RevocationReason(IntEnum):
    """CRLReason, RFC 5280 section 5.3.1, as far as it says that a certificate is not to be accepted."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    """Not for good: `ca/holding.py` puts a certificate on hold and releases it."""
    PRIVILEGE_WITHDRAWN = 9

    @property
    def word(self) -> str:
        """As users write it: `key-compromise`."""
        return self.name.lower().replace("_", "-")


HOLD = RevocationReason.CERTIFICATE_HOLD
REMOVE_FROM_CRL = 8
"""What a delta says of a certificate that was released; it stands on no other list (RFC 5280 section 5.3.1)."""
REASONS = {reason.word: reason for reason in RevocationReason if reason is not HOLD}
"""The reasons for which a certificate is revoked for good."""


def _reason_extension(reason: int) -> bytes:
    return der.sequence(der.sequence(_REASON_CODE, der.octet_string(der.enumerated(reason))))


_REASON_EXTENSIONS: dict[int, bytes] = {
    int(reason): _reason_extension(reason) if reason else b"" for reason in (*RevocationReason, REMOVE_FROM_CRL)
}


def entry(serial: int, revoked_at: int, reason: int) -> bytes:
    """One element of revokedCertificates. `unspecified` is expressed by saying nothing (RFC 5280 section 5.3.1)."""
    return der.sequence(der.integer(serial), der.time(revoked_at), _REASON_EXTENSIONS[reason])


@dataclass(frozen=True, slots=True)
class ToBeSignedList:
    """The fields of a TBSCertList, version 2; `entries` are encoded and joined, times are seconds since the epoch."""

    algorithm: bytes
    issuer: bytes
    this_update: int
    next_update: int
    entries: bytes
    number: int
    key_identifier: bytes
    distribution_point: str | None
    """The URI that certificates of this shard name; None for the complete list (RFC 5280 section 5.2.5)."""
    base_number: int | None = None
    """What a delta is counted from; None for a list that stands for itself (RFC 5280 section 5.2.4)."""
    freshest: str | None = None
    """The URI of the delta to a complete list: OpenSSL uses no delta that it does not name (section 5.2.6)."""

    def encode(self) -> bytes:
        """DER TBSCertList."""
        parts = [
            extension(x509.AuthorityKeyIdentifier(self.key_identifier, None, None), critical=False),
            extension(x509.CRLNumber(self.number), critical=False),
        ]
        if self.distribution_point is not None:
            parts.append(extension(_issuing_distribution_point(self.distribution_point), critical=True))
        if self.base_number is not None:
            parts.append(extension(x509.DeltaCRLIndicator(self.base_number), critical=True))
        if self.freshest is not None:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(self.freshest)], None, None, None)
            parts.append(extension(x509.FreshestCRL([point]), critical=False))
        return der.sequence(
            _VERSION_2,
            self.algorithm,
            self.issuer,
            der.time(self.this_update),
            der.time(self.next_update),
            der.tagged(0x30, self.entries) if self.entries else b"",
            der.explicit(0, der.sequence(*parts)),
        )


def _issuing_distribution_point(uri: str) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(uri)],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def entries_of(crl: bytes) -> memoryview:
    """The joined entries of a CRL that this product has signed; empty if it has none."""
    view = memoryview(crl)
    _, start, end = der.header(view, 0)
    _, start, end = der.header(view, start)
    for tag, place, content, stop in _after_times(view, start, end):
        if tag == 0x30 and place:
            return view[content:stop]
    return view[:0]


def read_entries(entries: memoryview) -> Iterator[tuple[int, int, int]]:
    """Serial number, time and reason of each entry; whatever cannot be read raises one of Python's own errors."""
    for tag, _, start, end in der.elements(entries, 0, len(entries)):
        parts = list(der.elements(entries, start, end))
        if tag != 0x30 or end > len(entries) or len(parts) not in (2, 3) or parts[0][0] != 0x02:
            raise ValueError("this is not an entry of a list")
        serial = int.from_bytes(entries[parts[0][2] : parts[0][3]], "big")
        reason = _REASONS_READ.get(bytes(entries[parts[2][1] : parts[2][3]]), -1) if len(parts) == 3 else 0
        yield serial, _read_time(bytes(entries[parts[1][1] : parts[1][3]])), reason


_REASONS_READ = {extension: reason for reason, extension in _REASON_EXTENSIONS.items()}


@lru_cache(maxsize=4096)
def _read_time(encoded: bytes) -> int:
    text = encoded[2:].decode("ascii")
    form = "%y%m%d%H%M%SZ" if encoded[0] == 0x17 else "%Y%m%d%H%M%SZ"
    return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())


def _after_times(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """What follows nextUpdate in a TBSCertList: revokedCertificates, if there are any, and the extensions."""
    for index, element in enumerate(der.elements(view, start, end)):
        if index >= 5:
            yield element
