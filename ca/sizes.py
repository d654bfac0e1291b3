"""What a type of key costs in bytes: a hierarchy of each is made, looked at and thrown away.

Signatures after quantum computers (ML-DSA, RFC 9881) are fifty times as long as those of P-256, and every handshake
carries several. Nothing here is looked up in a table: what is measured is what this product makes.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from ca import clock, signing
from ca.authority import Issuer
from ca.issuance import new_serial
from ca.keys.algorithms import KeyType
from ca.profiles.profile import Profile
from ca.specimen import make_specimen, throwaway_issuer, throwaway_key, throwaway_root
from ca.x509.revocation_list import RevocationReason, ToBeSignedList, entry

ENTRIES = 1000
"""How many certificates the measured CRL revokes."""
DAY = 86400


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a hierarchy whose keys are all of one type."""

    key_type: KeyType
    root: int
    issuing: int
    leaf: int
    signature: int
    """Of one signature."""
    handshake: int
    """What a TLS 1.3 server proves itself with: leaf, issuing CA, and the signature of its CertificateVerify."""
    crl: int
    """A complete CRL of `ENTRIES` certificates."""


def measure(authority: Profile, leaf: Profile, key_type: KeyType) -> Sizes:
    """Make a root, a CA beneath it by `authority`, a leaf by `leaf`. `PolicyRefusal` where a profile forbids it."""
    root = throwaway_root(key_type)
    issuing = make_specimen(authority, key_type, root)
    issuer = throwaway_issuer(issuing, throwaway_key(key_type))
    certificate = make_specimen(leaf, key_type, issuer)
    signature = len(x509.load_der_x509_certificate(certificate).signature)
    return Sizes(
        key_type=key_type,
        root=len(root.der),
        issuing=len(issuing),
        leaf=len(certificate),
        signature=signature,
        handshake=len(certificate) + len(issuing) + signature,
        crl=len(_list_of(issuer)),
    )


def _list_of(issuer: Issuer) -> bytes:
    now, reason = clock.timestamp(), RevocationReason.SUPERSEDED
    tbs = ToBeSignedList(
        algorithm=issuer.scheme.identifier,
        issuer=issuer.subject,
        this_update=now,
        next_update=now + DAY,
        entries=b"".join(entry(new_serial(), now, reason) for _ in range(ENTRIES)),
        number=1,
        key_identifier=issuer.facts.key_identifier,
        distribution_point=None,
    )
    return signing.seal_list(tbs.encode(), issuer)
