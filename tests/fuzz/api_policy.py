"""What a profile allows, read from its file by code that shares nothing with the product's judge but the file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests import rig

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
USAGES = {
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "ocsp_signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}
KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign"),
)


@dataclass(frozen=True)
class Asker:
    """Who asked for a certificate: its role, the profiles it may ask for (None for all), what it is bound to."""

    role: str
    profiles: frozenset[str] | None
    attributes: Mapping[str, str]


def read_profiles() -> dict[str, dict[str, Any]]:
    """The shipped profiles, as their files have them."""
    files = (path for path in (rig.CONFIG / "profiles").glob("*.toml") if not path.name.endswith(".examples.toml"))
    return {path.stem: tomllib.loads(path.read_text()) for path in files}


def leaf_faults(
    certificate: x509.Certificate, profile: Mapping[str, Any], asker: Asker, before: x509.Certificate | None
) -> list[str]:
    """Everything about a leaf that its profile does not allow whoever asked; `before` is what it renews."""
    values = {type(e.value): e.value for e in certificate.extensions}
    names: list[x509.GeneralName] = list(values.get(x509.SubjectAlternativeName, ()))
    found = [*_shape(certificate, profile, values, names)]
    limits = profile.get("names", {})
    if not limits.get("minimum", 1) <= len(names) <= limits.get("maximum", 10) or len(set(names)) != len(names):
        found.append(f"it has {len(names)} names, or one twice")
    if before is not None:
        known = set(before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        found += [f"{name} is not in the certificate that it renews" for name in names if name not in known]
    if before is None or asker.role == "requester":
        found += [f"{asker.role} {dict(asker.attributes)} got {n}" for n in names if not _is_allowed(n, profile, asker)]
    return found


def _shape(
    certificate: x509.Certificate,
    profile: Mapping[str, Any],
    values: Mapping[type, Any],
    names: Iterable[x509.GeneralName],
) -> Iterable[str]:
    """Life, key, powers and subject."""
    lived = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    longest = int(profile["longest"][:-1]) * SECONDS[profile["longest"][-1]]
    if not 0 <= lived.total_seconds() <= longest - 1:
        yield f"it lives for {lived}, which is longer than {profile['longest']}"
    if key_name(certificate.public_key()) not in profile["keys"]:
        yield f"its key is {key_name(certificate.public_key())}"
    constraints = values[x509.BasicConstraints]
    if constraints.ca or constraints.path_length is not None:
        yield "it is a CA"
    is_ocsp = profile.get("kind") == "ocsp"
    usage = profile.get("usage", {})
    allowed_bits = set(usage.get("key", ["digital_signature"]))
    bits = {name for name in KEY_USAGES if getattr(values[x509.KeyUsage], name)}
    if not bits or not bits <= allowed_bits:
        yield f"its key is good for {bits}"
    extended = ["ocsp_signing"] if is_ocsp else usage["extended"]
    if set(values[x509.ExtendedKeyUsage]) != {USAGES[name] for name in extended}:
        yield f"it is good for {[usage.dotted_string for usage in values[x509.ExtendedKeyUsage]]}"
    own = {str(name.value) for name in names}
    for attribute in [] if is_ocsp else certificate.subject:
        if attribute.oid != NameOID.COMMON_NAME or attribute.value not in own:
            yield f"its subject is {certificate.subject.rfc4514_string()}"
    extra = set(values) - _KNOWN_EXTENSIONS
    if extra:
        yield f"it has {extra}"


_KNOWN_EXTENSIONS = {
    *(x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.OCSPNoCheck),
    *(x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier, x509.AuthorityInformationAccess),
    *(x509.CRLDistributionPoints, x509.UnrecognizedExtension),
}
"""The last of them is noRevAvail, which `cryptography` does not know."""


def key_name(key: Any) -> str:
    """A public key's kind as profiles write it."""
    match key:
        case ec.EllipticCurvePublicKey():
            return {"secp256r1": "P-256", "secp384r1": "P-384"}.get(key.curve.name, key.curve.name)
        case rsa.RSAPublicKey():
            return f"RSA-{key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
    return type(key).__name__.replace("MLDSA", "ML-DSA-").replace("PublicKey", "").replace("_", "")


def _is_allowed(name: x509.GeneralName, profile: Mapping[str, Any], asker: Asker) -> bool:
    """Whether one block of the asker's role allows the name."""
    role = "operator" if asker.role == "admin" else asker.role
    blocks = [block for block in profile.get("allow", ()) if role in block["roles"]]
    match name:
        case x509.DNSName(value=value):
            return any(_dns(value, block.get("dns", {}), asker) for block in blocks)
        case x509.IPAddress(value=value):
            return any(value in ip_network(net) for block in blocks for net in block.get("ip", {}).get("within", ()))
        case x509.UniformResourceIdentifier(value=value):
            return any(_uri(value, like, asker) for block in blocks for like in block.get("uri", {}).get("like", ()))
        case x509.RFC822Name(value=value):
            return any(_email(value, block.get("email", {}), asker) for block in blocks)
    return False


def _filled(text: str, asker: Asker) -> str | None:
    """A rule with its variables' values in it; None where one is missing, or is more than a plain word."""
    for name in re.findall(r"\{caller\.(\w+)\}", text):
        value = asker.attributes.get(name, "")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
            return None
        text = text.replace("{caller." + name + "}", value)
    return text.replace("{domain}", rig.DOMAIN).replace("{trust_domain}", rig.DOMAIN)


def _dns(value: str, rules: Mapping[str, Any], asker: Asker) -> bool:
    if value in [_filled(text, asker) for text in rules.get("exact", ())]:
        return True
    if rules.get("wildcard", False):
        value = value.removeprefix("*.") if value.count("*") == 1 else value
        if value in [_filled(text, asker) for text in rules.get("under", ())]:  # `*.edge.example.internal`
            return True
    for text in rules.get("under", ()):
        domain = (_filled(text, asker) or "\0").lower()
        above = value.removesuffix(f".{domain}")
        if above != value and all(re.fullmatch(r"[a-z0-9-]{1,63}", label) for label in above.split(".")):
            return True
    return False


def _uri(value: str, like: str, asker: Asker) -> bool:
    pattern = _filled(like, asker)
    if pattern is None or "**" in pattern:
        return False
    wanted, parts = re.split(r"([/:])", pattern), re.split(r"([/:])", value)
    return len(wanted) == len(parts) and all(
        part == want or (want == "*" and part not in ("", ".", "..") and re.fullmatch(r"[\w.~-]+", part, re.ASCII))
        for want, part in zip(wanted, parts, strict=True)
    )


def _email(value: str, rules: Mapping[str, Any], asker: Asker) -> bool:
    local, _, domain = value.rpartition("@")
    at = [_filled(text, asker) for text in rules.get("at", ())]
    return value in [_filled(text, asker) for text in rules.get("exact", ())] or (bool(local) and domain in at)
