"""Name constraints (RFC 5280 section 4.2.1.10): the names that a CA, and whatever is beneath it, may certify.

Relying parties judge by the whole chain; here a leaf is judged by it before anything is signed, so that nobody gets a
certificate that will be refused. Where relying parties differ (a common name that looks like a host, a wildcard that
reaches into what is excluded) the stricter reading holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca.errors import BadRequest, Reason
from ca.x509.names import Kind, Name, from_general_name

RULE = "RFC 5280 4.2.1.10"
MOST = 100
"""How many of each sort one CA is made with."""
_DOMAIN = re.compile(r"\.?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_READ = {x509.DNSName: Kind.DNS, x509.RFC822Name: Kind.EMAIL, x509.UniformResourceIdentifier: Kind.URI}


class Subtree(NamedTuple):
    """One subtree: a domain, a host or a mailbox, a network in CIDR notation. What a leading dot means is its kind's.

    `dns`: the domain and all beneath it; with a dot only what is beneath. `uri` and `email`: this host; with a dot all
    hosts beneath it; with an `@` this mailbox.
    """

    kind: Kind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.value}"

    def covers(self, name: Name) -> bool:
        """Whether a name of its kind is in the subtree."""
        match self.kind:
            case Kind.IP:
                network, address = ip_network(self.value), ip_address(name.value)
                return network.version == address.version and address in network
            case Kind.DNS:
                domain = self.value.removeprefix(".")
                return not domain or name.value.endswith(f".{domain}") or self.value == name.value
            case Kind.URI:
                return self._covers_host(host_of(name) or "")
            case Kind.EMAIL:
                local, _, host = name.value.rpartition("@")
                if "@" in self.value:
                    return self.value == f"{local}@{host}"
                return self._covers_host(host)

    def touches(self, name: Name) -> bool:
        """Whether it covers the name, or any that the name stands for: `*.example` reaches into `a.example`."""
        if name.is_wildcard and f".{self.value.removeprefix('.')}".endswith(name.value[1:]):
            return True
        return self.covers(name)

    def _covers_host(self, host: str) -> bool:
        return host.endswith(self.value) if self.value.startswith(".") else host == self.value

    def encode(self) -> x509.GeneralName:
        """As it stands in the extension."""
        match self.kind:
            case Kind.IP:
                return x509.IPAddress(ip_network(self.value))
            case Kind.DNS:
                return x509.DNSName(self.value)
            case Kind.URI:
                return x509.UniformResourceIdentifier(self.value)
            case Kind.EMAIL:
                return x509.RFC822Name(self.value)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one CA certificate permits and excludes. Kinds that `permitted` does not name are not limited by it."""

    permitted: tuple[Subtree, ...] = ()
    excluded: tuple[Subtree, ...] = ()
    directories_permitted: tuple[x509.Name, ...] = ()
    """Of CAs that were made elsewhere; what we make limits alternative names alone."""
    directories_excluded: tuple[x509.Name, ...] = ()

    def extension(self) -> x509.NameConstraints:
        """The extension's value; there has to be something to say (RFC 5280 section 4.2.1.10)."""
        permitted, excluded = (
            [subtree.encode() for subtree in subtrees] for subtrees in (self.permitted, self.excluded)
        )
        return x509.NameConstraints(permitted or None, excluded or None)


def parse_limits(permit: Sequence[str], exclude: Sequence[str]) -> Limits | None:
    """Read `dns:internal.example`, `ip:10.0.0.0/8`, `uri:.mesh.example`, `email:example.org`. None if both are empty.

    `BadRequest` for anything else.
    """
    if max(len(permit), len(exclude)) > MOST:
        raise BadRequest(f"a CA is made with {MOST} constraints of a sort at most", code="bad-constraint")
    permitted, excluded = (tuple(dict.fromkeys(map(_parse, texts))) for texts in (permit, exclude))
    return Limits(permitted, excluded) if permitted or excluded else None


def limits_of(certificate: x509.Certificate) -> Limits | None:
    """What a CA certificate says, ours or not; None if nothing. Kinds of name that we never issue are left out."""
    try:
        value = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    permitted, excluded = list(value.permitted_subtrees or ()), list(value.excluded_subtrees or ())
    return Limits(
        tuple(_subtrees(permitted)),
        tuple(_subtrees(excluded)),
        tuple(one.value for one in permitted if isinstance(one, x509.DirectoryName)),
        tuple(one.value for one in excluded if isinstance(one, x509.DirectoryName)),
    )


def objections(limits: Iterable[Limits], certificate: x509.Certificate) -> list[Reason]:
    """Why the CAs of a chain, each with its limits, may not certify what a certificate names; empty if they may."""
    return [reason for each in limits for reason in _objections(each, list(_names(certificate)), certificate.subject)]


def host_of(name: Name) -> str | None:
    """The host of a URI; None if it has none, or an address, which no constraint can speak of."""
    host = urlsplit(name.value).hostname
    if host is None:
        return None
    try:
        ip_address(host)
    except ValueError:
        return host
    return None


def _objections(limits: Limits, names: Sequence[Name], subject: x509.Name) -> Iterator[Reason]:
    for name in names:
        permitted = [subtree for subtree in limits.permitted if subtree.kind is name.kind]
        excluded = [subtree for subtree in limits.excluded if subtree.kind is name.kind]
        if (permitted or excluded) and name.kind is Kind.URI and host_of(name) is None:
            yield _reason(f"{name} has no host, and its CA is limited to hosts")
        elif hit := next((subtree for subtree in excluded if subtree.touches(name)), None):
            yield _reason(f"{name} is excluded for its CA ({hit})")
        elif permitted and not any(subtree.covers(name) for subtree in permitted):
            yield _reason(f"{name} is not among what its CA may certify: {', '.join(map(str, permitted[:5]))}")
    if subject.rdns:
        if any(_is_beneath(subject, one) for one in limits.directories_excluded):
            yield _reason("its subject is excluded for its CA")
        if limits.directories_permitted and not any(_is_beneath(subject, one) for one in limits.directories_permitted):
            yield _reason("its subject is not among what its CA may certify")


def _reason(message: str) -> Reason:
    return Reason("name-constrained", message, RULE)


def _names(certificate: x509.Certificate) -> Iterator[Name]:
    """Its alternative names; and a common name that looks like a host, if no DNS name says more (as OpenSSL does)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = []
    else:
        names = [from_general_name(one) for one in found]
    yield from names
    if _is_authority(certificate) or any(name.kind is Kind.DNS for name in names):
        return
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if _HOST.fullmatch(text := str(attribute.value).lower()):
            yield Name(Kind.DNS, text)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_beneath(subject: x509.Name, subtree: x509.Name) -> bool:
    """Whether a subject begins with all that the subtree has, in any case of letters."""
    return [_plain(rdn) for rdn in subject.rdns[: len(subtree.rdns)]] == [_plain(rdn) for rdn in subtree.rdns]


def _plain(rdn: x509.RelativeDistinguishedName) -> frozenset[tuple[str, str]]:
    return frozenset((one.oid.dotted_string, " ".join(str(one.value).lower().split())) for one in rdn)


def _subtrees(names: Iterable[x509.GeneralName]) -> Iterator[Subtree]:
    for name in names:
        if isinstance(name, x509.IPAddress):
            yield Subtree(Kind.IP, str(name.value))
        elif (kind := _READ.get(type(name))) is not None:
            local, at, domain = str(name.value).rpartition("@")
            yield Subtree(kind, f"{local}{at}{domain.lower()}")


def _parse(text: str) -> Subtree:
    word, colon, value = text.partition(":")
    if not colon or word not in {kind.value for kind in Kind}:
        raise _bad(text, "say its kind first: dns:, ip:, uri: or email:")
    kind = Kind(word)
    if kind is Kind.IP:
        try:
            return Subtree(kind, str(ip_network(value)))
        except ValueError as error:
            raise _bad(text, f"not a network: {error}") from None
    local, at, domain = value.rpartition("@")
    if at and (kind is not Kind.EMAIL or not re.fullmatch(r"[!-?A-~]{1,64}", local) or domain.startswith(".")):
        raise _bad(text, "an @ is for one mailbox, email:ada@example.org")
    if len(domain) > 253 or not _DOMAIN.fullmatch(domain.lower()):
        raise _bad(text, "a domain or host, without scheme, port and wildcard")
    return Subtree(kind, f"{local}{at}{domain.lower()}")


def _bad(text: str, why: str) -> BadRequest:
    return BadRequest(
        f"{text[:80]!r} cannot constrain names: {why} [{RULE}]",
        code="bad-constraint",
        hint="such as dns:internal.example, ip:10.0.0.0/8, uri:.mesh.example, email:example.org",
    )
