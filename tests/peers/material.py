"""What counterparts are shown: one installation for a CA key type, written as the files that operators load.

A root, and beneath it two generations of an issuing CA: the first fell (it was compromised, the root has revoked it),
the second is at work, with four CRL shards. The CAs were made forty days ago, so that leaves could be issued and expire
since then. There is a leaf of every shipped profile, one revoked for every reason, an expired one, an orphan of the
fallen CA, and one of a stranger whose CAs bear the same names. Keys, certificates and lists are the product's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import clock, crl, enrolment, hierarchy, issuance, revocation
from ca.authority import State
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher
from ca.enrolment import Wish
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys.algorithms import KeyType, PrivateKey
from ca.store import open_store
from ca.x509.bundle import pem_certificate, pem_chain, pem_crl
from ca.x509.revocation_list import RevocationReason
from tests import rig

SHARDS = 4
FOUNDED = timedelta(days=40)
"""How long ago the CAs were made."""
LONG_AGO = timedelta(days=35)
"""How long ago the expired leaf was issued, for one day, and the past CRLs, for three."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "client": ("ada@example.internal",),
    "device": ("sensor-17.devices.example.internal", "urn:dev:mac:0024befffe804ff1"),
    "edge": ("*.edge.example.internal", "10.0.0.7"),
    "ephemeral": ("spiffe://example.internal/ns/batch/sa/job",),
    "mesh": (rig.WORKLOAD, "api.payments.svc.example.internal"),
    "server": ("localhost", "127.0.0.1", "::1", "db.eu.example.internal"),
}
"""The shipped leaf profiles, each with names that it allows."""
LEAF_KEYS = {"client": KeyType.P384, "device": KeyType.ED25519, "edge": KeyType.RSA2048}
"""What the leaf of a profile has for a key, where that is not P-256."""
CLIENTS = ("client", "device", "ephemeral", "mesh")
SERVERS = ("device", "edge", "ephemeral", "mesh", "server")
ISSUING = ("Test Issuing CA 1", "Test Issuing CA 2")
"""What the generations of the issuing CA are called. Not the same: some counterparts tell CRLs apart by the issuer's
name alone. GnuTLS then keeps one list of two, and Java may stumble over the wrong one and refuse everybody."""
AUTHORITIES = {"root": "root-1", "fallen": "issuing-1", "issuing": "issuing-2"}


@dataclass(frozen=True)
class Leaf:
    """A certificate and its files: `NAME.pem`, `NAME.der`, `NAME.key`, and `NAME-chain.pem` with the CA above it."""

    name: str
    directory: Path
    issued: Issued

    @property
    def certificate(self) -> Path:
        """The certificate, PEM."""
        return self.directory / f"{self.name}.pem"

    @property
    def der(self) -> Path:
        """The certificate, DER."""
        return self.directory / f"{self.name}.der"

    @property
    def key(self) -> Path:
        """The private key, PKCS #8 in PEM without encryption."""
        return self.directory / f"{self.name}.key"

    @property
    def chain(self) -> Path:
        """The certificate and the CAs above it without the root, PEM."""
        return self.directory / f"{self.name}-chain.pem"

    @property
    def parsed(self) -> x509.Certificate:
        """The certificate as `cryptography` sees it."""
        return rig.parsed(self.issued)

    @property
    def shard(self) -> int:
        """The number of the CRL shard that the certificate names as its distribution point."""
        (point,) = self.parsed.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        (uri,) = point.full_name or ()
        return int(uri.value.rpartition("/")[2].removesuffix(".crl"))


@dataclass
class Material:
    """The files of one installation, all in one directory; a PEM file of one object has its DER form beside it."""

    directory: Path
    key_type: KeyType
    installation: Installation
    leaves: dict[str, Leaf] = field(default_factory=dict)
    stranger: Material | None = None

    def __getitem__(self, leaf: str) -> Leaf:
        return self.leaves[leaf]

    def authority(self, name: str) -> Path:
        """The certificate of `root`, `issuing` or `fallen`."""
        return self.directory / f"{name}.pem"

    @property
    def trusted(self) -> Path:
        """All CA certificates in one file."""
        return self.directory / "trusted.pem"

    def crl(self, name: str, *, past: bool = False) -> Path:
        """The complete CRL of `root`, `issuing` or `fallen`; or of long ago, when the expired leaf was good."""
        return self.directory / f"{_past(past)}{name}-crl.pem"

    def shard_crl(self, number: int, *, past: bool = False) -> Path:
        """One shard of the CRL of the issuing CA that is at work."""
        return self.directory / f"{_past(past)}issuing-{number}-crl.pem"

    @property
    def complete_crls(self) -> Path:
        """The complete CRLs of all CAs in one file."""
        return self.directory / "complete-crls.pem"

    @property
    def past_crls(self) -> Path:
        """The same as they were long ago."""
        return self.directory / "past-complete-crls.pem"

    @property
    def sharded_crls(self) -> Path:
        """The root's complete CRL and all shards of both issuing CAs in one file."""
        return self.directory / "sharded-crls.pem"

    def issue(self, name: str, profile: str = "mesh", lifetime: timedelta | None = None) -> Leaf:
        """Issue a leaf with the names that `NAMES` has for the profile, and write its files."""
        key = LEAF_KEYS.get(name, KeyType.P256).generate()
        issued = rig.issue(self.installation, *NAMES[profile], profile=profile, key=key, lifetime=lifetime)
        return self.keep(name, issued, key)

    def keep(self, name: str, issued: Issued, key: PrivateKey) -> Leaf:
        """Write the files of a leaf."""
        leaf = self.leaves[name] = Leaf(name, self.directory, issued)
        leaf.certificate.write_text(pem_certificate(issued.certificate))
        leaf.der.write_bytes(issued.certificate)
        leaf.chain.write_text(pem_chain([issued.certificate, *issued.chain]))
        leaf.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return leaf

    def revoke(self, name: str, reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
        """Revoke a leaf; the CRL files stay as they are until `publish` is called."""
        revocation.revoke(self.installation, rig.ADMIN, self[name].issued.serial, reason)

    def publish(self, *, past: bool = False) -> None:
        """Make the CRLs that are due, all in one second, and write all CRL files anew."""
        with clock.pinned(clock.now()):
            CrlPublisher(self.installation, CrlPolicy()).publish_due()
        complete, sharded = "", ""
        for name, authority in AUTHORITIES.items():
            shards = range(self.installation.authorities.get(authority).crl_shards)
            whole = self._write_crl(f"{_past(past)}{name}", authority, COMPLETE)
            parts = [self._write_crl(f"{_past(past)}{name}-{shard}", authority, shard) for shard in shards]
            complete += whole
            sharded += "".join(parts) or whole
        (self.directory / f"{_past(past)}complete-crls.pem").write_text(complete)
        (self.directory / f"{_past(past)}sharded-crls.pem").write_text(sharded)

    def write_authorities(self) -> None:
        """Write the certificates of the CAs."""
        certificates = {n: self.installation.authorities.get(a).certificate for n, a in AUTHORITIES.items()}
        for name, certificate in certificates.items():
            self.authority(name).write_text(pem_certificate(certificate))
            (self.directory / f"{name}.der").write_bytes(certificate)
        self.trusted.write_text(pem_chain(certificates.values()))

    def _write_crl(self, name: str, authority: str, shard: int) -> str:
        row = crl.load(self.installation, authority, shard)
        assert row is not None
        (self.directory / f"{name}-crl.der").write_bytes(row.crl)
        text = pem_crl(row.crl)
        (self.directory / f"{name}-crl.pem").write_text(text)
        return text


@contextmanager
def made(directory: Path, key_type: KeyType, names: tuple[str, str] = ISSUING) -> Iterator[Material]:
    """Everything that the module's docstring names, for as long as the `with` block lasts."""
    with _founded(directory, key_type, names) as ours, _founded(directory / "stranger", key_type, names) as stranger:
        for profile in NAMES:
            ours.issue(profile, profile)
            stranger.issue(profile, profile)
        _keep_ocsp_signer(ours)
        for reason in RevocationReason:
            ours.issue(revoked_for(reason))
            ours.revoke(revoked_for(reason), reason)
        ours.leaves["revoked"] = ours[revoked_for(RevocationReason.KEY_COMPROMISE)]
        fallen = ours.installation.authorities.get(AUTHORITIES["fallen"])
        revocation.revoke(ours.installation, rig.ADMIN, fallen.serial, RevocationReason.CA_COMPROMISE)
        ours.publish()
        stranger.publish()
        ours.stranger = stranger
        yield ours


def revoked_for(reason: RevocationReason) -> str:
    """The name of the leaf that was revoked for a reason."""
    return f"revoked-{reason.word}"


@contextmanager
def _founded(directory: Path, key_type: KeyType, names: tuple[str, str]) -> Iterator[Material]:
    """The CAs, the orphan of the one that will fall, and what else is old."""
    directory.mkdir(parents=True)
    store = open_store(f"sqlite:///{directory}/certwright.db")
    try:
        installation = rig.make_installation(store, with_hierarchy=False)
        material = Material(directory, key_type, installation)
        with clock.pinned(clock.now() - FOUNDED):
            hierarchy.create_root(installation, rig.ADMIN, Plan("root", rig.common_name("Test Root"), key_type))
            _create_issuing(installation, names[0], key_type)
            material.issue("orphan", "device", timedelta(days=365))
            _create_issuing(installation, names[1], key_type)
        with clock.pinned(clock.now() - LONG_AGO):
            material.issue("expired")
            material.publish(past=True)
        material.write_authorities()
        yield material
    finally:
        store.close()


def _create_issuing(installation: Installation, name: str, key_type: KeyType) -> None:
    plan = Plan("issuing", rig.common_name(name), key_type, crl_shards=SHARDS)
    created = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan)
    if created.state != State.ACTIVE:
        hierarchy.transition(installation, rig.ADMIN, created.name, State.ACTIVE)


def _keep_ocsp_signer(material: Material) -> None:
    key, wish = KeyType.P256.generate(), Wish(subject=rig.common_name("Test OCSP Responder"))
    request = rig.make_request(key=key)
    decision = enrolment.authorise_issue(material.installation, rig.ADMIN, "ocsp-signer", request, wish)
    material.keep("ocsp-signer", issuance.issue(decision, material.installation), key)


def _past(past: bool) -> str:
    return "past-" if past else ""
