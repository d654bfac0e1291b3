"""Subject alternative names, typed from end to end: a DNS name is never compared with, or taken for, a URI.

A `Name` can only hold text that is valid for its kind and in canonical form, so every later step compares plain
strings. Refused on sight: control characters, non-ASCII, empty or long labels, trailing dots, user information in
URIs, zones in addresses. Kinds outside `Kind` (otherName, directoryName, registeredID...) do not exist here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from ca import der
from ca.errors import BadRequest

MAX_DNS_LABELS = 10


class Kind(StrEnum):
    """The kinds of name that a certificate of ours can carry (RFC 5280 section 4.2.1.6)."""

    DNS = "dns"
    IP = "ip"
    URI = "uri"
    EMAIL = "email"


class Name(NamedTuple):
    """One subject alternative name. Make it with `parse`, `guess` or `from_general_name`, which check it."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.value}"

    @property
    def is_wildcard(self) -> bool:
        """A DNS name whose leftmost label is `*`."""
        return self.kind is Kind.DNS and self.value.startswith("*.")

    @property
    def is_spiffe(self) -> bool:
        """A URI of the scheme `spiffe`."""
        return self.kind is Kind.URI and self.value.startswith("spiffe://")

    def encode(self) -> bytes:
        """DER GeneralName (RFC 5280 section 4.2.1.6)."""
        content = ip_address(self.value).packed if self.kind is Kind.IP else self.value.encode("ascii")
        return der.tagged(_TAGS[self.kind], content)


def encode_all(names: Iterable[Name]) -> bytes:
    """DER SubjectAltName: a SEQUENCE of general names."""
    return der.sequence(*(name.encode() for name in names))


def make(kind: Kind, value: str) -> Name:
    """A checked name in canonical form. `BadRequest` says what is wrong with it."""
    return Name(kind, _CANONICAL[kind](value))


def parse(text: str) -> Name:
    """Read `dns:api.example`, `ip:10.0.0.1`, `uri:spiffe://...`, `email:a@b.example`, or guess the kind."""
    kind, colon, value = text.partition(":")
    if colon and kind in _KINDS:
        return make(Kind(kind), value)
    return guess(text)


def guess(text: str) -> Name:
    """Read a name without a kind as people write it: a URI has `://` or is a URN, mail an `@`, else address or DNS."""
    if "://" in text or text.startswith("urn:"):
        return make(Kind.URI, text)
    if "@" in text:
        return make(Kind.EMAIL, text)
    try:
        ip_address(text)
    except ValueError:
        return make(Kind.DNS, text)
    return make(Kind.IP, text)


def from_general_name(name: x509.GeneralName) -> Name:
    """Read a name out of a parsed extension."""
    kind = _GENERAL_NAMES.get(type(name))
    if kind is None:
        raise _bad("a name of this kind", f"{type(name).__name__} is not supported", "RFC 5280 4.2.1.6")
    return Name(kind, _CANONICAL[kind](str(name.value)))


def to_general_name(name: Name) -> x509.GeneralName:
    """The same for an extension that is to be built."""
    match name.kind:
        case Kind.DNS:
            return x509.DNSName(name.value)
        case Kind.IP:
            return x509.IPAddress(ip_address(name.value))
        case Kind.URI:
            return x509.UniformResourceIdentifier(name.value)
        case Kind.EMAIL:
            return x509.RFC822Name(name.value)


_GENERAL_NAMES: dict[type, Kind] = {
    x509.DNSName: Kind.DNS,
    x509.IPAddress: Kind.IP,
    x509.UniformResourceIdentifier: Kind.URI,
    x509.RFC822Name: Kind.EMAIL,
}
_TAGS = {Kind.EMAIL: 0x81, Kind.DNS: 0x82, Kind.URI: 0x86, Kind.IP: 0x87}


def spiffe_parts(value: str) -> tuple[str, tuple[str, ...]]:
    """Trust domain and path segments of a canonical SPIFFE ID."""
    domain, *segments = value.removeprefix("spiffe://").split("/")
    return domain, tuple(segments)


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}")
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SPIFFE_SEGMENT = r"/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+"
_SPIFFE = re.compile(rf"spiffe://[a-z0-9._-]{{1,255}}(?:{_SPIFFE_SEGMENT})*")


def _bad(value: str, why: str, rule: str) -> BadRequest:
    shown = value if len(value) <= 80 else value[:77] + "..."
    return BadRequest(f"{shown!r} is not a usable name: {why} [{rule}]", code="bad-name")


def _dns(value: str) -> str:
    name = value.lower()
    if len(name) > 253 or not value.isascii():  # of the value: there are letters that become ASCII in lower case
        raise _bad(value, "longer than 253 characters or not ASCII (use the punycode form)", "RFC 1034 3.1, RFC 5890")
    if not _DNS.fullmatch(name):
        raise _bad(value, "labels are 1 to 63 letters, digits and inner hyphens", "RFC 5280 4.2.1.6, RFC 1123 2.1")
    if name.count(".") >= MAX_DNS_LABELS:
        raise _bad(value, f"more than {MAX_DNS_LABELS} labels", "as in Boulder's policy authority")
    if name.rpartition(".")[2].isdigit():
        raise _bad(value, "the last label is a number, as in an address", "RFC 3696 2")
    if "--" in name and any(label[2:4] == "--" and label[:4] != "xn--" for label in name.split(".")):
        raise _bad(value, "hyphens in the third and fourth place are reserved", "RFC 5891 4.2.3.1")
    return name


def _ip(value: str) -> str:
    try:
        address = ip_address(value)
    except ValueError:
        raise _bad(value, "not an IPv4 or IPv6 address", "RFC 5280 4.2.1.6") from None
    if "%" in value:
        raise _bad(value, "a zone means nothing to others", "RFC 4007 11")
    return str(address)


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or local.startswith(".") or local.endswith(".") or ".." in local:
        raise _bad(value, "not a plain ASCII mail address", "RFC 5321 4.1.2")
    domain = _dns(domain)
    if domain.startswith("*."):
        raise _bad(value, "a wildcard cannot receive mail", "RFC 5280 4.2.1.6")
    return f"{local}@{domain}"


def _uri(value: str) -> str:
    if len(value) > 2048:
        raise _bad(value, "longer than 2048 characters", "SPIFFE-ID 2.3, and our limit for all URIs")
    scheme = value.partition(":")[0].lower()
    if scheme == "spiffe":
        return _spiffe(value)
    if not _URI.fullmatch(value):
        raise _bad(value, "not an absolute ASCII URI", "RFC 3986 4.3")
    try:
        parts = urlsplit(value)
        if parts.username is not None or parts.password is not None or "#" in value:
            raise _bad(value, "user information and fragments are not part of an identity", "RFC 5280 4.2.1.6")
    except ValueError:
        raise _bad(value, "its authority part cannot be read", "RFC 3986 3.2") from None
    return scheme + value[len(scheme) :]


def _spiffe(value: str) -> str:
    if _SPIFFE.fullmatch(value):
        return value
    if not value.startswith("spiffe://"):
        raise _bad(value, "a SPIFFE ID starts with spiffe://", "SPIFFE-ID 2")
    if not _TRUST_DOMAIN.fullmatch(spiffe_parts(value)[0]):
        raise _bad(value, "the trust domain is 1 to 255 of a-z, 0-9, dot, hyphen, underscore", "SPIFFE-ID 2.1")
    raise _bad(value, "path segments are non-empty, of A-Z, a-z, 0-9, dot, hyphen, underscore", "SPIFFE-ID 2.2")


_CANONICAL = {Kind.DNS: _dns, Kind.IP: _ip, Kind.URI: _uri, Kind.EMAIL: _email}
_KINDS = frozenset(kind.value for kind in Kind)
