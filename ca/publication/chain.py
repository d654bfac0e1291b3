"""Whether the signer of a manifest is to be believed: a path from its certificate to an anchor, link by link.

Link by link because `cryptography` verifies paths by the rules of the web, which know neither Ed25519 nor ML-DSA. Two
sets of rules would be worse than one: a stranger could choose by which it is judged. What RFC 5280 section 6.1 asks
for and CAs of this product can have is checked; whatever else is critical makes a certificate unusable. Revocation is
not looked at: this runs where there may be no list yet. Cross-certificates are certificates like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.errors import BadRequest
from ca.keys.algorithms import key_type_of

PUBLICATIONS = "certwright/publications"
MOST_STEPS = 200
"""Steps that the search for one path takes; a path of ours has three."""
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_KNOWN = (
    x509.BasicConstraints,
    x509.NameConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
)
"""What is understood, and so may be critical."""
_IDENTITY = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})
"""What an X.509-SVID with an extended key usage has (SPIFFE X509-SVID section 4.4)."""

Extensions = dict[type[Any], Any]


def signer_name(trust_domain: str) -> str:
    """The one name that a certificate has to have, alone, to sign what this trust domain publishes."""
    return f"spiffe://{trust_domain}/{PUBLICATIONS}"


def must_be_signer(
    chain: Sequence[x509.Certificate], anchors: Sequence[bytes], trust_domain: str, now: datetime
) -> None:
    """`BadRequest` (`untrusted-manifest`) unless the first of `chain` may sign for the trust domain, says an anchor."""
    leaf, *above = chain
    if not anchors:
        raise _untrusted("there is no anchor to judge by")
    try:
        _must_be_leaf(leaf, trust_domain, now)
        known = [x509.load_der_x509_certificate(anchor) for anchor in anchors]
        leads_up = _Search(above, known, trust_domain, now).leads_up(leaf, ())
    except BadRequest:
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise what they like, some of it only when a field is looked at
        raise _untrusted(f"a certificate cannot be parsed ({type(error).__name__})") from None
    if not leads_up:
        raise _untrusted(
            "its signer's certificate does not chain to a given root by valid certificates",
            hint="are these the roots of the trust domain that published it, and is this machine's clock right?",
        )


def _must_be_leaf(leaf: x509.Certificate, trust_domain: str, now: datetime) -> None:
    extensions = _extensions(leaf)
    if extensions is None or not isinstance(leaf.public_key(), ec.EllipticCurvePublicKey):
        raise _untrusted("its signer's certificate has a key or an extension that it cannot have")
    names = extensions.get(x509.SubjectAlternativeName, ())
    if list(names) != [x509.UniformResourceIdentifier(signer_name(trust_domain))]:
        raise _untrusted(f"its signer is not {signer_name(trust_domain)} and nobody else")
    usage, constraints = extensions.get(x509.KeyUsage), extensions.get(x509.BasicConstraints)
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise _untrusted("its signer's certificate is not one for signatures alone")
    if constraints is not None and constraints.ca:
        raise _untrusted("its signer is a CA")
    if not _IDENTITY.issubset(extensions.get(x509.ExtendedKeyUsage, _IDENTITY)):
        raise _untrusted("its signer's certificate is for another purpose")
    if not _is_valid(leaf, now):
        raise _untrusted("its signer's certificate is not valid at this time")


class _Search:
    """The search for a path: each certificate once in a path, each pair's signature looked at once."""

    def __init__(
        self, above: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], host: str, now: datetime
    ) -> None:
        self._above = [one for one in above if _is_authority(one, now)]
        self._anchors = [one for one in anchors if _is_authority(one, now)]
        self._host = host
        self._judged: dict[tuple[x509.Certificate, x509.Certificate], bool] = {}
        self._left = MOST_STEPS

    def leads_up(self, one: x509.Certificate, beneath: tuple[x509.Certificate, ...]) -> bool:
        """Whether an anchor has signed `one`, or what stands above it; `beneath` leads down to the leaf."""
        self._left -= 1
        path = (one, *beneath)
        if self._left < 0:
            return False
        if any(self._carries(anchor, path) for anchor in self._anchors):
            return True
        return any(
            self._carries(issuer, path) and self.leads_up(issuer, path) for issuer in self._above if issuer not in path
        )

    def _carries(self, issuer: x509.Certificate, path: tuple[x509.Certificate, ...]) -> bool:
        if issuer.subject != path[0].issuer or not _allows(issuer, path, self._host):
            return False
        pair = (issuer, path[0])
        if pair not in self._judged:
            self._judged[pair] = _has_signed(*pair)
        return self._judged[pair]


def _is_authority(one: x509.Certificate, now: datetime) -> bool:
    extensions = _extensions(one)
    if extensions is None or not _is_valid(one, now):
        return False
    constraints, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _allows(issuer: x509.Certificate, path: tuple[x509.Certificate, ...], host: str) -> bool:
    """Path length and name constraints (RFC 5280 sections 4.2.1.9 and 4.2.1.10) for a path down to the leaf."""
    extensions = _extensions(issuer) or {}
    length = extensions[x509.BasicConstraints].path_length
    between = sum(one.subject != one.issuer for one in path[:-1])
    if length is not None and between > length:
        return False
    constraints = extensions.get(x509.NameConstraints)
    return constraints is None or _names_allow(constraints, host)


def _names_allow(constraints: x509.NameConstraints, host: str) -> bool:
    """The leaf's one name is a URI; constraints on subjects are not understood, and so exclude it."""
    permitted, excluded = constraints.permitted_subtrees or [], constraints.excluded_subtrees or []
    if any(isinstance(name, x509.DirectoryName | x509.OtherName) for name in (*permitted, *excluded)):
        return False
    inside = [name.value for name in permitted if isinstance(name, x509.UniformResourceIdentifier)]
    outside = [name.value for name in excluded if isinstance(name, x509.UniformResourceIdentifier)]
    return (not inside or any(_covers(one, host) for one in inside)) and not any(_covers(one, host) for one in outside)


def _covers(constraint: str, host: str) -> bool:
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint


def _has_signed(issuer: x509.Certificate, one: x509.Certificate) -> bool:
    try:
        if key_type_of(issuer.public_key()) is None:  # type: ignore[arg-type]
            return False
        digest = one.signature_hash_algorithm
        if digest is not None and not isinstance(digest, _HASHES):
            return False
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _extensions(one: x509.Certificate) -> Extensions | None:
    """The extensions by type; None if one is critical and not understood, or cannot be read."""
    try:
        found = list(one.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None
    if any(e.critical and not isinstance(e.value, _KNOWN) for e in found):
        return None
    return {type(e.value): e.value for e in found}


def _is_valid(one: x509.Certificate, now: datetime) -> bool:
    return one.not_valid_before_utc <= now <= one.not_valid_after_utc


def _untrusted(why: str, hint: str | None = None) -> BadRequest:
    return BadRequest(f"this manifest is not to be trusted: {why}", code="untrusted-manifest", hint=hint)
