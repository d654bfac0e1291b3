"""Certificates and CRLs in what people bring: PEM bundles, DER, PKCS#7, PKCS#12. Keys in it are never kept.

All of it is hostile: sizes and counts are bounded, one odd part spoils no other, and a PKCS#12 file that would keep us
deriving keys for hours is refused before that begins.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from ca.errors import BadRequest, TooLarge
from ca.secret import Secret
from ca.x509.bundle import MAX_CHAIN, pem_chain
from renewers.inventory import shown
from renewers.inventory.elements import INTEGER, OCTETS, OID, SEQUENCE, SET, Element, dotted, elements, inside

MAX_BYTES = 16 * 1024 * 1024
MAX_PARTS = 2000
MAX_ITERATIONS = 1_000_000
MAX_DEPTH = 16
SIGNED_DATA = "1.2.840.113549.1.7.2"

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")
_CERTIFICATES = {"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"}
_LISTS, _MESSAGES = {"X509 CRL", "CRL"}, {"PKCS7", "CMS", "PKCS #7 SIGNED DATA"}


@dataclass(frozen=True, slots=True)
class Refused:
    """A part that could not be taken, and why."""

    what: str
    why: str


@dataclass(slots=True)
class Brought:
    """What was found in it, DER."""

    certificates: list[bytes] = field(default_factory=list)
    lists: list[bytes] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing that could be taken or refused."""
        return not (self.certificates or self.lists or self.refused)


def read_any(data: bytes) -> Brought:
    """Everything in PEM text, or in one DER certificate, CRL or PKCS#7 message."""
    if len(data) > MAX_BYTES:
        raise TooLarge(f"it is larger than {MAX_BYTES} bytes")
    found = Brought()
    if data[:1] == b"\x30":
        _take(found, data)
    else:
        _take_blocks(found, data)
    return found


def read_pkcs12(data: bytes, passphrase: Secret | None) -> Brought:
    """The certificates in a PKCS#12 file (RFC 7292). `BadRequest` if it cannot be opened."""
    if len(data) > MAX_BYTES:
        raise TooLarge(f"it is larger than {MAX_BYTES} bytes")
    if _iterations(data) > MAX_ITERATIONS:
        raise BadRequest(f"it wants more than {MAX_ITERATIONS} rounds of key derivation", code="bad-pkcs12")
    try:
        opened = pkcs12.load_pkcs12(data, None if passphrase is None else passphrase.reveal().encode())
        holders = ([opened.cert] if opened.cert is not None else []) + list(opened.additional_certs)
        certificates = [holder.certificate.public_bytes(Encoding.DER) for holder in holders]
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        hint = "is its passphrase right?"
        raise BadRequest(
            f"the PKCS#12 file cannot be opened ({type(error).__name__})", code="bad-pkcs12", hint=hint
        ) from None
    if len(certificates) > MAX_PARTS:
        raise TooLarge(f"there are more than {MAX_PARTS} certificates in it")
    return Brought(certificates=certificates)


def is_pkcs12(data: bytes) -> bool:
    """Whether it has the outer form of a PKCS#12 file: a version and an authenticated safe."""
    try:
        parts = inside(data)
    except ValueError:
        return False
    return len(parts) >= 2 and parts[0].tag == INTEGER and parts[0].content == b"\x03" and parts[1].tag == SEQUENCE


def chain_of(certificate: bytes, others: Sequence[bytes]) -> str:
    """PEM of the certificates among `others` that lead up from one, without the root. By names alone: a hint."""
    by_subject: dict[bytes, bytes] = {}
    for other in others:
        if (ends := _ends(other)) is not None and ends[0] != ends[1]:
            by_subject.setdefault(ends[1], other)
    chain: list[bytes] = []
    place = _ends(certificate)
    while place is not None and len(chain) < MAX_CHAIN:
        above = by_subject.pop(place[0], None)
        if above is None or above == certificate:
            break
        chain.append(above)
        place = _ends(above)
    return pem_chain(chain)


def _ends(der: bytes) -> tuple[bytes, bytes] | None:
    """The encoded issuer and subject of a certificate."""
    try:
        fields = inside(inside(der)[0].whole)
        place = 1 if fields[0].tag == 0xA0 else 0
        return fields[place + 2].whole, fields[place + 4].whole
    except (ValueError, IndexError):
        return None


def _take_blocks(found: Brought, data: bytes) -> None:
    for number, match in enumerate(_BLOCK.finditer(data), start=1):
        label = match[1].decode("ascii")
        if label not in _CERTIFICATES | _LISTS | _MESSAGES:
            continue
        if number > MAX_PARTS:
            found.refused.append(Refused(f"part {number}", f"there are more than {MAX_PARTS} parts"))
            return
        try:
            der = base64.b64decode(b"".join(match[2].split()), validate=True)
        except (binascii.Error, ValueError):
            found.refused.append(Refused(f"part {number}", "it is no base64 text"))
            continue
        if label == "TRUSTED CERTIFICATE":  # OpenSSL's own: what follows the certificate is its opinion of it
            der = _first(der)
        _take(found, der, f"part {number}")


def _first(der: bytes) -> bytes:
    try:
        return next(elements(der)).whole
    except (ValueError, StopIteration):
        return der


def _take(found: Brought, der: bytes, what: str = "it") -> None:
    """Sort one DER element by its outer form. What it is then is for `facts` to say."""
    try:
        parts = inside(der)
        if parts[0].tag == OID:
            _take_message(found, parts, what)
        elif is_pkcs12(der):
            found.refused.append(Refused(what, "it is a PKCS#12 file, which needs its passphrase: import it by itself"))
        elif _is_list(parts[0]):
            found.lists.append(der)
        else:
            found.certificates.append(der)
    except (ValueError, IndexError):
        found.refused.append(Refused(what, "it is no DER that X.509 has"))


def _is_list(body: Element) -> bool:
    """A TBSCertList has a time where a TBSCertificate has the validity or the subject."""
    fields = inside(body.whole)
    return any(field.tag in (0x17, 0x18) for field in fields[2:5])


def _take_message(found: Brought, parts: Sequence[Element], what: str) -> None:
    """Certificates and CRLs of a PKCS#7 SignedData (RFC 2315 section 9.1)."""
    if dotted(parts[0].content) != SIGNED_DATA:
        found.refused.append(Refused(what, f"a PKCS#7 message of the type {shown.line(dotted(parts[0].content), 60)}"))
        return
    for part in inside(inside(parts[1].whole)[0].whole):
        if part.tag == 0xA0:
            found.certificates += [element.whole for element in elements(part.content) if element.tag == SEQUENCE]
        elif part.tag == 0xA1:
            found.lists += [element.whole for element in elements(part.content) if element.tag == SEQUENCE]
    if len(found.certificates) > MAX_PARTS:
        del found.certificates[MAX_PARTS:]
        found.refused.append(Refused(what, f"there are more than {MAX_PARTS} certificates in it"))


def _iterations(data: bytes) -> int:
    """The largest number that follows a salt anywhere in it: how often a key derivation is told to go round."""
    return max(_counts(data, 0), default=0)


def _counts(data: bytes, depth: int) -> Iterator[int]:
    if depth > MAX_DEPTH:
        return
    before = None
    try:
        for element in elements(data):
            if element.tag == INTEGER and before == OCTETS:
                yield int.from_bytes(element.content, "big")
            elif element.tag in (SEQUENCE, SET, OCTETS) or element.tag & 0xE0 == 0xA0:
                yield from _counts(element.content, depth + 1)
            before = element.tag
    except ValueError:
        return
