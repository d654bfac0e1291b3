"""The lean structural lint that runs on every certificate before it is signed: RFC 5280, RFC 9608, SPIFFE, our rules.

It looks at the certificate that is about to be, as a relying party would parse it, and at its issuer; it knows no
profile. What a profile allows is judged by `ca/policy`; the deep lint (pkilint) is `ca/x509/deeplint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from ca.errors import Reason
from ca.keys.algorithms import spki
from ca.x509.certificate import issuer_of, key_identifier, subject_of

NO_REV_AVAIL = x509.ObjectIdentifier("2.5.29.56")
MAX_SERIAL = 1 << 159

Extensions = Mapping[type[x509.ExtensionType], x509.Extension[Any]]

_CRITICAL: Mapping[type[x509.ExtensionType], bool | None] = {
    x509.BasicConstraints: True,
    x509.KeyUsage: True,
    x509.NameConstraints: True,
    x509.SubjectAlternativeName: None,  # critical exactly when the subject is empty
    x509.ExtendedKeyUsage: False,
    x509.SubjectKeyIdentifier: False,
    x509.AuthorityKeyIdentifier: False,
    x509.CRLDistributionPoints: False,
    x509.AuthorityInformationAccess: False,
    x509.OCSPNoCheck: False,
    x509.UnrecognizedExtension: False,
}
"""The extensions that we issue, and whether each is critical."""


@dataclass(frozen=True, slots=True)
class IssuerFacts:
    """What the lint needs to know about the issuer: its DER Name, times in seconds since the epoch, the rest."""

    subject: bytes
    key_identifier: bytes
    not_before: int
    not_after: int
    path_length: int | None
    extended_usages: frozenset[x509.ObjectIdentifier] | None


def facts_of(certificate: x509.Certificate) -> IssuerFacts:
    """What lint has to know about an issuing certificate, ours or imported."""
    values = {type(e.value): e.value for e in certificate.extensions}
    identifier, constraints = values.get(x509.SubjectKeyIdentifier), values.get(x509.BasicConstraints)
    usages = values.get(x509.ExtendedKeyUsage)
    return IssuerFacts(
        subject=subject_of(certificate.tbs_certificate_bytes),
        key_identifier=(
            identifier.digest
            if isinstance(identifier, x509.SubjectKeyIdentifier)
            else key_identifier(spki(certificate.public_key()))  # type: ignore[arg-type]
        ),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        path_length=constraints.path_length if isinstance(constraints, x509.BasicConstraints) else None,
        extended_usages=frozenset(usages) if isinstance(usages, x509.ExtendedKeyUsage) else None,
    )


def lint(certificate: x509.Certificate, issuer: IssuerFacts | None) -> list[Reason]:
    """Everything that is wrong with the structure of a certificate (`issuer` None: a root); empty if nothing is."""
    parsed = certificate.extensions
    extensions: Extensions = {type(e.value): e for e in parsed}
    found: list[Reason] = []
    if len(extensions) != len(parsed):
        _note(found, "it has two unknown extensions", "ca/README: extensions")
    _fields(found, certificate, extensions)
    _usages(found, extensions)
    _names(found, certificate, extensions)
    _revocation(found, extensions)
    if issuer is not None:
        _fits_issuer(found, certificate, extensions, issuer)
    return found


def _note(found: list[Reason], message: str, rule: str) -> None:
    found.append(Reason("lint", message, rule))


def _fields(found: list[Reason], certificate: x509.Certificate, extensions: Extensions) -> None:
    if not 0 < certificate.serial_number < MAX_SERIAL:
        _note(found, "the serial number is not positive with at most 20 octets", "RFC 5280 4.1.2.2")
    if certificate.not_valid_before_utc > certificate.not_valid_after_utc:
        _note(found, "it ends before it begins", "RFC 5280 4.1.2.5")
    is_nameless = not certificate.subject.rdns
    for kind, extension in extensions.items():
        wanted = _CRITICAL.get(kind, ...)
        if wanted is ...:
            name = extension.oid.dotted_string
            _note(found, f"it has an extension that we never issue: {name}", "ca/README: extensions")
        elif extension.critical is not (is_nameless if wanted is None else wanted):
            _note(found, f"{kind.__name__} is critical where it must not be, or the reverse", "RFC 5280 4.2.1")


def _usages(found: list[Reason], extensions: Extensions) -> None:
    constraints, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.KeyUsage)
    if constraints is None or usage is None or x509.SubjectKeyIdentifier not in extensions:
        _note(found, "basic constraints, key usage and subject key identifier have to be there", "RFC 5280 4.2.1")
    elif constraints.value.ca and not usage.value.key_cert_sign:
        _note(found, "a CA has to have keyCertSign", "RFC 5280 4.2.1.3")
    elif not constraints.value.ca and (usage.value.key_cert_sign or usage.value.crl_sign):
        _note(found, "only a CA may have keyCertSign or cRLSign", "RFC 5280 4.2.1.3")
    if x509.NameConstraints in extensions and (constraints is None or not constraints.value.ca):
        _note(found, "only a CA may have name constraints", "RFC 5280 4.2.1.10")


def _names(found: list[Reason], certificate: x509.Certificate, extensions: Extensions) -> None:
    san = extensions.get(x509.SubjectAlternativeName)
    if san is None:
        if not certificate.subject.rdns:
            _note(found, "it names nobody: no subject and no alternative name", "RFC 5280 4.1.2.6")
        return
    values = [(type(name), name.value) for name in san.value]
    if len(set(values)) != len(values):
        _note(found, "a name is there twice", "ca/README: names")
    uris = [value for kind, value in values if kind is x509.UniformResourceIdentifier]
    if any(uri.startswith("spiffe://") for uri in uris):
        _spiffe(found, uris, extensions)


def _spiffe(found: list[Reason], uris: list[str], extensions: Extensions) -> None:
    constraints, usages = extensions.get(x509.BasicConstraints), extensions.get(x509.ExtendedKeyUsage)
    is_authority = constraints is not None and constraints.value.ca
    if len(uris) != 1:
        _note(found, "an X.509-SVID has exactly one URI name", "SPIFFE X509-SVID 2")
    if ("/" in uris[0].removeprefix("spiffe://")) is is_authority:
        _note(found, "a leaf's SPIFFE ID has a path, a CA's has none", "SPIFFE X509-SVID 3")
    if usages is not None and not is_authority:
        both = ExtendedKeyUsageOID.SERVER_AUTH in usages.value and ExtendedKeyUsageOID.CLIENT_AUTH in usages.value
        if not both:
            _note(found, "an X.509-SVID is for servers and clients alike", "SPIFFE X509-SVID 4.4")


def _revocation(found: list[Reason], extensions: Extensions) -> None:
    unknown = extensions.get(x509.UnrecognizedExtension)
    if unknown is None:
        return
    if unknown.oid != NO_REV_AVAIL:
        name = unknown.oid.dotted_string
        _note(found, f"it has an extension that we never issue: {name}", "ca/README: extensions")
    if x509.CRLDistributionPoints in extensions:
        _note(found, "noRevAvail and a CRL distribution point exclude each other", "RFC 9608 3")
    access = extensions.get(x509.AuthorityInformationAccess)
    if access is not None and any(one.access_method == AuthorityInformationAccessOID.OCSP for one in access.value):
        _note(found, "noRevAvail and the place of an OCSP responder exclude each other", "RFC 9608 3")


def _fits_issuer(
    found: list[Reason], certificate: x509.Certificate, extensions: Extensions, issuer: IssuerFacts
) -> None:
    if issuer_of(certificate.tbs_certificate_bytes) != issuer.subject:
        _note(found, "its issuer is not the subject of the issuing CA", "RFC 5280 4.1.2.4")
    begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    if begins < issuer.not_before or ends > issuer.not_after:
        _note(found, "its life is not inside its issuer's", "ca/README: lifetimes")
    identifier = extensions.get(x509.AuthorityKeyIdentifier)
    if identifier is None or identifier.value.key_identifier != issuer.key_identifier:
        _note(found, "its authority key identifier is not its issuer's key identifier", "RFC 5280 4.2.1.1")
    constraints, usages = extensions.get(x509.BasicConstraints), extensions.get(x509.ExtendedKeyUsage)
    if constraints is not None and constraints.value.ca and issuer.path_length is not None:
        length = constraints.value.path_length
        if length is None or length >= issuer.path_length:
            _note(found, f"its issuer allows {issuer.path_length} CAs beneath itself", "RFC 5280 4.2.1.9")
    if usages is not None and issuer.extended_usages is not None:
        if not issuer.extended_usages.issuperset(usages.value):
            _note(found, "it has an extended key usage that its issuer lacks", "RFC 5280 4.2.1.12")
