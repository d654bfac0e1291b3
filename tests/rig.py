"""What tests build with: an installation in a temporary directory, callers of every role, requests, and judges.

The pieces are the product's own; only keys are pooled, since making them is the slow part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca import enrolment, hierarchy, issuance
from ca.access import Caller, Role
from ca.authority import Authorities, PublicUrls
from ca.crl import CrlPolicy, CrlPublisher
from ca.enrolment import Decision, Wish
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys import KeyStore
from ca.keys.algorithms import KeyType, PrivateKey
from ca.keys.memory import MemoryKeyStore
from ca.ledger.log import Ledger
from ca.profiles.collection import Profiles
from ca.store import Store
from ca.x509.names import Name, parse
from ca.x509.request import Request, read_request

CONFIG = Path(__file__).parent.parent / "config"
DOMAIN = "example.internal"
VARIABLES = {"domain": DOMAIN, "trust_domain": DOMAIN}
PUBLIC_URL = "http://ca.example.internal:8080"

ADMIN = Caller("local:test", Role.ADMIN, is_local=True)
OPERATOR = Caller("token:operator", Role.OPERATOR)
REQUESTER = Caller(
    "token:requester", Role.REQUESTER, profiles=frozenset({"mesh", "server"}), attributes={"namespace": "payments"}
)
CONSUMER = Caller("token:consumer", Role.CONSUMER)
AUDITOR = Caller("token:auditor", Role.AUDITOR)

WORKLOAD = "spiffe://example.internal/ns/payments/sa/api"


def pooled_key(key_type: KeyType = KeyType.P256, place: int = 0) -> PrivateKey:
    """A key that all tests share; `place` tells several of one type apart."""
    return _pooled_key(key_type, place)


@cache
def _pooled_key(key_type: KeyType, place: int) -> PrivateKey:
    return key_type.generate()


def common_name(text: str) -> x509.Name:
    """A subject with a common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_csr(
    *names: str,
    key: PrivateKey | None = None,
    subject: x509.Name | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """A DER request for these names, signed by `key` (a pooled P-256 key by default)."""
    key = key or pooled_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    if names:
        san = x509.SubjectAlternativeName([general_name(parse(name)) for name in names])
        builder = builder.add_extension(san, critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    digest = None if type(key).__name__.startswith(("Ed", "MLDSA")) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def general_name(name: Name) -> x509.GeneralName:
    """A typed name as `cryptography` has it."""
    from ipaddress import ip_address

    match name.kind.value:
        case "dns":
            return x509.DNSName(name.value)
        case "ip":
            return x509.IPAddress(ip_address(name.value))
        case "uri":
            return x509.UniformResourceIdentifier(name.value)
        case _:
            return x509.RFC822Name(name.value)


def make_request(*names: str, key: PrivateKey | None = None) -> Request:
    """The same, read."""
    return read_request(make_csr(*names, key=key))


def make_installation(
    store: Store,
    *,
    keys: KeyStore | None = None,
    profiles: Path = CONFIG / "profiles",
    shards: int = 4,
    key_type: KeyType = KeyType.P256,
    with_hierarchy: bool = True,
) -> Installation:
    """An installation over an open store, by default with a root and an issuing CA and their first CRLs."""
    keys = keys or MemoryKeyStore()
    ledger_key = keys.create("ledger", KeyType.ED25519)
    installation = Installation(
        store=store,
        keys=keys,
        profiles=Profiles(profiles, VARIABLES),
        authorities=Authorities(store, keys, PublicUrls(PUBLIC_URL)),
        ledger=Ledger(store, "example.internal/ledger", ledger_key),
    )
    if with_hierarchy:
        make_hierarchy(installation, shards=shards, key_type=key_type)
    return installation


def make_hierarchy(installation: Installation, *, shards: int = 4, key_type: KeyType = KeyType.P256) -> None:
    """A root, an issuing CA beneath it, and their CRLs."""
    hierarchy.create_root(installation, ADMIN, Plan("root", common_name("Test Root"), key_type))
    issuing = Plan("issuing", common_name("Test Issuing CA"), key_type, crl_shards=shards)
    hierarchy.create_subordinate(installation, ADMIN, "sub-ca", issuing)
    CrlPublisher(installation, CrlPolicy()).publish_due()


def decide(
    installation: Installation,
    *names: str,
    profile: str = "mesh",
    caller: Caller = OPERATOR,
    key: PrivateKey | None = None,
    lifetime: timedelta | None = None,
    idempotency_key: str | None = None,
) -> Decision:
    """A decision to issue, through the authoriser."""
    request = make_request(*(names or (WORKLOAD,)), key=key)
    wish = Wish(lifetime=lifetime, idempotency_key=idempotency_key)
    return enrolment.authorise_issue(installation, caller, profile, request, wish)


def issue(installation: Installation, *names: str, **choices: object) -> Issued:
    """Issue one certificate, by default a mesh workload's."""
    return issuance.issue(decide(installation, *names, **choices), installation)  # type: ignore[arg-type]


def parsed(issued: Issued) -> x509.Certificate:
    """An issued certificate as `cryptography` sees it."""
    return x509.load_der_x509_certificate(issued.certificate)


@dataclass(frozen=True)
class Pair:
    """A certificate with the key it was issued for."""

    issued: Issued
    key: PrivateKey


def issue_pairs(installation: Installation, count: int, *names: str, **choices: object) -> Sequence[Pair]:
    """Several certificates, each with a fresh P-256 key."""
    keys = [KeyType.P256.generate() for _ in range(count)]
    return [Pair(issue(installation, *names, key=key, **choices), key) for key in keys]
