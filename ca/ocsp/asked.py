"""Reads OCSP requests (RFC 6960 section 4.1): bytes of strangers, so strictly DER, bounded, and refused in one way.

Nothing is looked up and nothing is remembered here. A signature of the requestor is passed over, as is its name: what
is answered is public. `issuers` says whom a request is about.
"""

from __future__ import annotations

from typing import NamedTuple

from ca import der
from ca.errors import BadRequest

MOST_OCTETS = 8192
MOST_CERTIFICATES = 16
LONGEST_NONCE = 128
"""RFC 9654 section 2.1."""
SHA1, SHA256 = der.oid("1.3.14.3.2.26"), der.oid("2.16.840.1.101.3.4.2.1")
"""The algorithms by which a certificate's issuer may be named; of others we are not the responder."""
NONCE = der.oid("1.3.6.1.5.5.7.48.1.2")
_SEQUENCE, _INTEGER, _OCTETS, _OID, _BOOLEAN = 0x30, 0x02, 0x04, 0x06, 0x01


class CertId(NamedTuple):
    """Which certificate is asked about: its issuer by two hashes, and its serial number."""

    encoded: bytes
    """The whole CertID as it came, which an answer repeats byte for byte."""
    algorithm: bytes
    name_hash: bytes
    key_hash: bytes
    serial: int
    """As it came: it may be negative, or larger than any of ours."""


class Asked(NamedTuple):
    """A request that could be read."""

    certificates: tuple[CertId, ...]
    nonce: bytes | None
    """The OCTET STRING, encoded, as an answer repeats it."""


class _Reader:
    """Takes one element after the other, and nothing that is not DER (X.690 sections 8.1 and 10.1)."""

    __slots__ = ("_data", "_end", "_place")

    def __init__(self, data: bytes, place: int, end: int) -> None:
        self._data = data
        self._place = place
        self._end = end

    def is_next(self, tag: int) -> bool:
        return self._place < self._end and self._data[self._place] == tag

    def is_over(self) -> bool:
        return self._place >= self._end

    def take(self, tag: int) -> _Reader:
        """The content of the next element."""
        if not self.is_next(tag) or self._place + 2 > self._end:
            raise _malformed()
        length, start = self._data[self._place + 1], self._place + 2
        if length >= 0x80:
            octets = length & 0x7F
            length = int.from_bytes(self._data[start : start + octets], "big")
            start += octets
            if not 1 <= octets <= 3 or length < 0x80 or length >> 8 * (octets - 1) == 0:
                raise _malformed()
        if start + length > self._end:
            raise _malformed()
        self._place = start + length
        return _Reader(self._data, start, self._place)

    def bytes_of(self, tag: int) -> bytes:
        """The same as bytes, header and all."""
        start = self._place
        self.take(tag)
        return self._data[start : self._place]

    def content(self) -> bytes:
        """What has not been taken."""
        return self._data[self._place : self._end]

    def finish(self) -> None:
        """Nothing follows."""
        if not self.is_over():
            raise _malformed()


def read_request(data: bytes) -> Asked:
    """Read a DER OCSPRequest. `BadRequest`, whatever is wrong with it."""
    if len(data) > MOST_OCTETS:
        raise _malformed()
    outer = _Reader(data, 0, len(data))
    request = outer.take(_SEQUENCE)
    outer.finish()
    tbs = request.take(_SEQUENCE)
    if request.is_next(0xA0):
        request.take(0xA0)
    request.finish()
    if tbs.is_next(0xA0):
        _read_version(tbs.take(0xA0))
    if tbs.is_next(0xA1):
        tbs.take(0xA1)
    listed = tbs.take(_SEQUENCE)
    found: list[CertId] = []
    while not listed.is_over() and len(found) <= MOST_CERTIFICATES:
        found.append(_read_single(listed.take(_SEQUENCE)))
    nonce = _read_extensions(tbs.take(0xA2)) if tbs.is_next(0xA2) else None
    tbs.finish()
    if not 1 <= len(found) <= MOST_CERTIFICATES:
        raise _malformed()
    return Asked(tuple(found), nonce)


def plain_request(certificate: CertId) -> bytes:
    """The request that asks for this certificate and says nothing else (RFC 5019 section 2.1.1)."""
    return der.sequence(der.sequence(der.sequence(der.sequence(certificate.encoded))))


def _read_version(reader: _Reader) -> None:
    if reader.take(_INTEGER).content() != b"\x00":
        raise _malformed()
    reader.finish()


def _read_single(reader: _Reader) -> CertId:
    encoded = reader.bytes_of(_SEQUENCE)
    if reader.is_next(0xA0):
        _read_extensions(reader.take(0xA0))
    reader.finish()
    fields = _Reader(encoded, 0, len(encoded)).take(_SEQUENCE)
    algorithm = fields.take(_SEQUENCE)
    oid = _read_oid(algorithm)
    if algorithm.content() not in (b"", der.NULL):
        raise _malformed()
    name_hash, key_hash = fields.take(_OCTETS).content(), fields.take(_OCTETS).content()
    serial = _read_integer(fields.take(_INTEGER).content())
    fields.finish()
    return CertId(encoded, oid, name_hash, key_hash, serial)


def _read_integer(content: bytes) -> int:
    is_long = len(content) > 1 and (content[0], content[1] >> 7) in ((0x00, 0), (0xFF, 1))
    if not content or is_long:
        raise _malformed()
    return int.from_bytes(content, "big", signed=True)


def _read_oid(reader: _Reader) -> bytes:
    """An object identifier as bytes, header and all: each arc in as few octets as it takes (X.690 section 8.19)."""
    encoded = reader.bytes_of(_OID)
    arcs = _Reader(encoded, 0, len(encoded)).take(_OID).content()
    if not arcs or arcs[-1] & 0x80:
        raise _malformed()
    if any(octet == 0x80 and (place == 0 or not arcs[place - 1] & 0x80) for place, octet in enumerate(arcs)):
        raise _malformed()
    return encoded


def _read_extensions(reader: _Reader) -> bytes | None:
    """The nonce among extensions, if there is one; others may be there as long as they are not critical."""
    extensions = reader.take(_SEQUENCE)
    reader.finish()
    nonce = None
    while not extensions.is_over():
        extension = extensions.take(_SEQUENCE)
        oid = _read_oid(extension)
        is_critical = extension.is_next(_BOOLEAN)
        if is_critical and extension.take(_BOOLEAN).content() != b"\xff":
            raise _malformed()  # DER knows one TRUE, and leaves FALSE away where it is the default
        value = extension.take(_OCTETS).content()
        extension.finish()
        if oid != NONCE and is_critical:
            raise _malformed()
        if oid == NONCE:
            if nonce is not None:
                raise _malformed()
            nonce = _read_nonce(value)
    return nonce


def _read_nonce(value: bytes) -> bytes:
    reader = _Reader(value, 0, len(value))
    if not 1 <= len(reader.take(_OCTETS).content()) <= LONGEST_NONCE:
        raise _malformed()
    reader.finish()
    return value


def _malformed() -> BadRequest:
    return BadRequest("this is not an OCSP request (RFC 6960 section 4.1)", code="bad-ocsp-request")
