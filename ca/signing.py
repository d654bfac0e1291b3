"""From an order to a certificate, in three pure steps: `build`, `check`, `seal`. No state, no clock, no store.

`build` writes the to-be-signed bytes from the order alone; nothing of a request but its public key gets here. `check`
parses them as a stranger would and holds them against the order, the lint and the profile. `seal` signs and verifies.
`ca/issuance.py` puts the durable steps between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from ca import der, policy
from ca.access import Role
from ca.authority import Issuer
from ca.errors import Defect, PolicyRefusal
from ca.keys.algorithms import KeyType
from ca.profiles.profile import Profile
from ca.profiles.rules import Attributes
from ca.x509 import constraints
from ca.x509.certificate import assemble, encode_tbs, extension, key_identifier, preview, raw_extension
from ca.x509.constraints import Limits
from ca.x509.deeplint import deep_lint
from ca.x509.lint import NO_REV_AVAIL, lint
from ca.x509.names import Kind, Name, encode_all

EMPTY_SUBJECT = der.sequence()
_SAN = x509.SubjectAlternativeName.oid.dotted_string
_SKI = x509.SubjectKeyIdentifier.oid.dotted_string
MAX_COMMON_NAME = 64

_EXTENDED = {
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "email_protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "code_signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "ocsp_signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


class Order(NamedTuple):
    """Everything that a certificate will say, and on whose word it was decided."""

    profile: Profile
    serial: int
    spki: bytes
    key_type: KeyType
    names: tuple[Name, ...]
    subject: bytes | None
    """DER Name of a CA or OCSP signer; None where the profile makes the subject."""
    not_before: int
    not_after: int
    path_length: int | None
    shard: int | None
    role: Role
    attributes: Attributes
    limits: Limits | None = None
    """The names that a CA may certify, and all that is beneath it; None for any, and for a leaf."""


def build(order: Order, issuer: Issuer) -> bytes:
    """The to-be-signed bytes."""
    subject = order.subject if order.subject is not None else _subject(order)
    return encode_tbs(
        serial=order.serial,
        algorithm=issuer.scheme.identifier,
        issuer=issuer.subject,
        not_before=order.not_before,
        not_after=order.not_after,
        subject=subject,
        spki=order.spki,
        extensions=tuple(_extensions(order, issuer, is_nameless=subject == EMPTY_SUBJECT)),
    )


def check(tbs: bytes, order: Order, issuer: Issuer) -> None:
    """Read the to-be-signed bytes back and hold them against order, lint and policy.

    `PolicyRefusal` carries what the profile forbids. `Defect` means that we built something other than was ordered.
    """
    try:
        certificate = preview(tbs, issuer.scheme.identifier)
        reasons = lint(certificate, issuer.facts)
        begins = int(certificate.not_valid_before_utc.timestamp())
        ends = int(certificate.not_valid_after_utc.timestamp())
        is_as_decided = (
            tbs == build(order, issuer)
            and _names_in(certificate) == [_GENERAL[name.kind](name) for name in order.names]
            and certificate.serial_number == order.serial
            and (begins, ends) == (order.not_before, order.not_after)
        )
    except Exception as error:
        raise Defect(f"what was built cannot be read back ({type(error).__name__}); nothing was signed") from error
    if not is_as_decided:
        raise Defect("what was built is not what was decided; nothing was signed")
    # From here on the order's typed names are known to be the certificate's, and nothing else is in it.
    subject = policy.Subject(order.names, order.key_type, ends - begins + 1, order.role, order.attributes)
    reasons += policy.judge(order.profile, subject)
    reasons += constraints.objections(issuer.limits, certificate)
    if order.profile.config.lint.pkilint == "always":
        reasons += deep_lint(assemble(tbs, issuer.scheme.identifier, b""))
    if reasons:
        raise PolicyRefusal(reasons)


def seal(tbs: bytes, issuer: Issuer) -> tuple[bytes, bytes]:
    """Sign, read back, verify; returns the signature and the certificate. `Defect` if they do not hold."""
    signature = issuer.scheme.sign(issuer.key, tbs)
    if (certificate := join(tbs, signature, issuer)) is None:
        raise Defect("the signature that was made does not verify; the certificate was not released")
    return signature, certificate


def seal_list(tbs: bytes, issuer: Issuer) -> bytes:
    """The same for a CRL; returns the list."""
    if (crl := join_list(tbs, issuer.scheme.sign(issuer.key, tbs), issuer)) is None:
        raise Defect(f"the CRL that was made for {issuer.name} does not verify; it was not published")
    return crl


def join(tbs: bytes, signature: bytes, issuer: Issuer) -> bytes | None:
    """The certificate of these bytes and this signature, made here or elsewhere; None unless it reads and verifies."""
    certificate = assemble(tbs, issuer.scheme.identifier, signature)
    parsed = x509.load_der_x509_certificate(certificate)
    is_whole = (parsed.tbs_certificate_bytes, parsed.signature) == (tbs, signature)
    return certificate if is_whole and issuer.scheme.verify(issuer.public_key, signature, tbs) else None


def join_list(tbs: bytes, signature: bytes, issuer: Issuer) -> bytes | None:
    """The same for a CRL."""
    crl = assemble(tbs, issuer.scheme.identifier, signature)
    parsed = x509.load_der_x509_crl(crl)
    is_whole = (parsed.tbs_certlist_bytes, parsed.signature) == (tbs, signature)
    return crl if is_whole and issuer.scheme.verify(issuer.public_key, signature, tbs) else None


def _names_in(certificate: x509.Certificate) -> list[tuple[type[x509.GeneralName], object]]:
    """The alternative names as they were encoded: kind and value."""
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [(type(name), name.value) for name in san]


_GENERAL: Mapping[Kind, Callable[[Name], tuple[type[x509.GeneralName], object]]] = {
    Kind.DNS: lambda name: (x509.DNSName, name.value),
    Kind.URI: lambda name: (x509.UniformResourceIdentifier, name.value),
    Kind.EMAIL: lambda name: (x509.RFC822Name, name.value),
    Kind.IP: lambda name: (x509.IPAddress, ip_address(name.value)),
}


def _subject(order: Order) -> bytes:
    match order.profile.config.subject.common_name:
        case "first-dns":
            candidates = [name.value for name in order.names if name.kind is Kind.DNS]
        case "first-name":
            candidates = [name.value for name in order.names]
        case _:
            return EMPTY_SUBJECT
    if not candidates or len(candidates[0]) > MAX_COMMON_NAME:
        return EMPTY_SUBJECT
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, candidates[0])]).public_bytes()


def _extensions(order: Order, issuer: Issuer, *, is_nameless: bool) -> Iterator[bytes]:
    yield _usages(order.profile, order.key_type, order.path_length)
    if order.limits is not None:
        yield extension(order.limits.extension(), critical=True)
    if order.names:
        yield raw_extension(_SAN, encode_all(order.names), critical=is_nameless)
    yield raw_extension(_SKI, der.octet_string(key_identifier(order.spki)), critical=False)
    yield _pointers(issuer, order.profile.config.revocation.check, order.profile.config.kind, order.shard)


@lru_cache(maxsize=1024)
def _usages(profile: Profile, key_type: KeyType, path_length: int | None) -> bytes:
    """What the key may be used for: the same for every certificate of a profile and key type."""
    config = profile.config
    is_authority = config.kind == "authority"
    wanted = set(config.usage.key)
    usage = x509.KeyUsage(
        digital_signature="digital_signature" in wanted or config.kind != "leaf",
        content_commitment="content_commitment" in wanted,
        key_encipherment="key_encipherment" in wanted and key_type.is_rsa,
        data_encipherment=False,
        key_agreement="key_agreement" in wanted and key_type in (KeyType.P256, KeyType.P384),
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    parts = [
        extension(x509.BasicConstraints(ca=is_authority, path_length=path_length), critical=True),
        extension(usage, critical=True),
    ]
    extended = ["ocsp_signing"] if config.kind == "ocsp" else list(config.usage.extended)
    if extended:
        parts.append(extension(x509.ExtendedKeyUsage([_EXTENDED[name] for name in extended]), critical=False))
    if config.kind == "ocsp":
        parts.append(extension(x509.OCSPNoCheck(), critical=False))
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _pointers(issuer: Issuer, revocation: str, kind: str, shard: int | None) -> bytes:
    """Where the issuer's certificate and the revocation information are found: the same for a whole shard."""
    places = [(AuthorityInformationAccessOID.CA_ISSUERS, issuer.urls.certificate(issuer.name))]
    if revocation == "crl+ocsp" and kind != "ocsp":
        places.insert(0, (AuthorityInformationAccessOID.OCSP, f"{issuer.urls.base}/ocsp"))
    access = [x509.AccessDescription(method, x509.UniformResourceIdentifier(place)) for method, place in places]
    parts = [
        extension(x509.AuthorityKeyIdentifier(issuer.facts.key_identifier, None, None), critical=False),
        extension(x509.AuthorityInformationAccess(access), critical=False),
    ]
    if kind == "ocsp":  # ocsp-nocheck stands in for revocation information, RFC 6960 section 4.2.2.2.1
        return b"".join(parts)
    if revocation == "none":
        parts.append(raw_extension(NO_REV_AVAIL.dotted_string, der.NULL, critical=False))
    else:
        uri = x509.UniformResourceIdentifier(issuer.urls.crl(issuer.name, shard))
        point = x509.DistributionPoint([uri], None, None, None)
        parts.append(extension(x509.CRLDistributionPoints([point]), critical=False))
    return b"".join(parts)
