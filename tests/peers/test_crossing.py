"""A rotation of the root as counterparts see it: with the cross-certificate a new leaf is good for whoever trusts what.

OpenSSL checks the lists of the whole chain, GnuTLS and Python's `cryptography` build their own paths. Without the
cross-certificate, as served when the old root is distrusted, only those get there who hold the new root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import verification

from ca import clock, crossing, hierarchy, revocation
from ca.authority import State
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher, load
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys.algorithms import KeyType
from ca.store import open_store
from ca.x509.bundle import pem_certificate, pem_chain, pem_crl
from ca.x509.revocation_list import RevocationReason
from tests import peer, rig

HOST = "db.eu.example.internal"
TRUST = {"old": ("root-1",), "new": ("root-2",), "both": ("root-1", "root-2"), "both-new-first": ("root-2", "root-1")}
KEY_TYPES = (KeyType.P256, KeyType.RSA3072, KeyType.ED25519)
every_trust = pytest.mark.parametrize("trust", TRUST)


@dataclass(frozen=True)
class Rotation:
    """Two roots, the issuing CAs beneath them, leaves of both, and the chain of the new leaf with and without cross."""

    directory: Path
    installation: Installation
    old_leaf: Issued
    leaf: Issued
    with_cross: tuple[bytes, ...]
    without: tuple[bytes, ...]

    def file(self, name: str, content: str) -> Path:
        """A file with this content."""
        path = self.directory / name
        path.write_text(content)
        return path

    def trusted(self, trust: str) -> tuple[bytes, ...]:
        """The roots that somebody trusts."""
        return tuple(self.installation.authorities.get(name).certificate for name in TRUST[trust])

    def crls(self) -> Path:
        """The complete list of every CA."""
        found = [load(self.installation, row.name, COMPLETE) for row in self.installation.authorities.all()]
        return self.file("crls.pem", "".join(pem_crl(each.crl) for each in found if each is not None))


def rotated(directory: Path, key_type: KeyType) -> Iterator[Rotation]:
    """An installation whose root and issuing CA were rotated up to the activation of the new ones."""
    directory.mkdir(parents=True)
    store = open_store(f"sqlite:///{directory}/certwright.db")
    installation = rig.make_installation(store, key_type=key_type)
    old_leaf = server(installation)
    root = Plan("root", rig.common_name("Test Root 2"), key_type)
    hierarchy.create_root(installation, rig.ADMIN, root, cross_by="root-1")
    issuing = Plan("issuing", rig.common_name("Test Issuing CA 2"), key_type, crl_shards=4)
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", issuing, parent="root-2")
    for name in ("issuing-2", "root-2"):
        hierarchy.transition(installation, rig.ADMIN, name, State.ACTIVE)
    leaf = server(installation)
    CrlPublisher(installation, CrlPolicy()).publish_due()
    with_cross = installation.authorities.chain("issuing-2")
    hierarchy.transition(installation, rig.ADMIN, "root-1", State.DISTRUSTED)
    without = installation.authorities.chain("issuing-2")
    hierarchy.transition(installation, rig.ADMIN, "root-1", State.TAINTED)
    yield Rotation(directory, installation, old_leaf, leaf, with_cross, without)
    store.close()


def server(installation: Installation) -> Issued:
    """A TLS server's leaf."""
    return rig.issue(installation, HOST, profile="server")


@pytest.fixture(scope="module", params=KEY_TYPES, ids=str)
def rotation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotation]:
    """One for each key type of the CAs."""
    yield from rotated(tmp_path_factory.mktemp("crossing") / request.param, request.param)


def openssl(rotation: Rotation, leaf: Issued, chain: tuple[bytes, ...], trust: str) -> bool:
    """Whether `openssl verify` accepts a leaf, strictly, with the lists of the whole chain."""
    anchors = rotation.file("anchors.pem", pem_chain(rotation.trusted(trust)))
    between = rotation.file("chain.pem", pem_chain(chain))
    certificate = rotation.file("leaf.pem", pem_certificate(leaf.certificate))
    lists = ("-crl_check", "-crl_check_all", "-CRLfile", rotation.crls())
    argv = ("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", HOST, *lists)
    files = ("-no-CApath", "-no-CAstore", "-CAfile", anchors, "-untrusted", between, certificate)
    return peer.run(peer.require("openssl"), *argv, *files).returncode == 0


def gnutls(rotation: Rotation, leaf: Issued, chain: tuple[bytes, ...], trust: str) -> bool:
    """Whether `certtool --verify` accepts it, with the complete lists."""
    anchors = rotation.file("anchors.pem", pem_chain(rotation.trusted(trust)))
    served = rotation.file("served.pem", pem_chain((leaf.certificate, *chain)))
    files = ("--load-ca-certificate", anchors, "--load-crl", rotation.crls(), "--infile", served)
    options = ("--verify-hostname", HOST, "--verify-purpose", "1.3.6.1.5.5.7.3.1")
    return peer.run(peer.require("certtool"), "--verify", *files, *options).returncode == 0


def python(rotation: Rotation, leaf: Issued, chain: tuple[bytes, ...], trust: str) -> bool:
    """Whether Python's `cryptography` builds a path; it knows no CRLs."""
    anchors = verification.Store(list(map(x509.load_der_x509_certificate, rotation.trusted(trust))))
    builder = verification.PolicyBuilder().store(anchors).time(clock.now())
    try:
        verifier = builder.build_server_verifier(x509.DNSName(HOST))
        verifier.verify(rig.parsed(leaf), list(map(x509.load_der_x509_certificate, chain)))
    except verification.VerificationError:
        return False
    return True


VERIFIERS = [
    pytest.param(openssl, marks=pytest.mark.peer("openssl")),
    pytest.param(gnutls, marks=pytest.mark.peer("gnutls")),
    python,
]
every_verifier = pytest.mark.parametrize("accepts", VERIFIERS, ids=["openssl", "gnutls", "python"])


def speaks(accepts: object, rotation: Rotation) -> bool:
    """Whether a verifier knows the CAs' algorithm: `cryptography` builds no paths of Ed25519."""
    return accepts is not python or rotation.installation.authorities.issuer("root-1").key_type is not KeyType.ED25519


@every_trust
@every_verifier
def test_with_the_cross_certificate_everybody_accepts(rotation: Rotation, accepts, trust: str) -> None:  # type: ignore[no-untyped-def]
    """Who trusts the old root only, the new one only, or both, in whatever order."""
    if not speaks(accepts, rotation):
        return
    assert len(rotation.with_cross) == 2
    assert accepts(rotation, rotation.leaf, rotation.with_cross, trust)


@every_trust
@every_verifier
def test_without_it_the_new_root_is_needed(rotation: Rotation, accepts, trust: str) -> None:  # type: ignore[no-untyped-def]
    """As served once the old root is distrusted: for all but those who have never heard of the new one."""
    if not speaks(accepts, rotation):
        return
    assert len(rotation.without) == 1
    assert accepts(rotation, rotation.leaf, rotation.without, trust) is (trust != "old")


@every_trust
@every_verifier
def test_the_leaves_of_the_old_root_need_the_old_root(rotation: Rotation, accepts, trust: str) -> None:  # type: ignore[no-untyped-def]
    """The cross-certificate goes one way: who trusts the new root alone does not accept what the old one has issued."""
    if not speaks(accepts, rotation):
        return
    chain = rotation.installation.authorities.chain("issuing-1")
    assert accepts(rotation, rotation.old_leaf, chain, trust) is (trust != "new")


@pytest.mark.peer("openssl")
def test_a_revoked_cross_certificate_leads_nowhere(tmp_path: Path) -> None:
    """Who trusts the old root alone, and checks its list, is kept out; who trusts the new one does not care."""
    for rotation in rotated(tmp_path / "own", KeyType.P256):
        (cross,) = crossing.crosses(rotation.installation.store)
        assert openssl(rotation, rotation.leaf, rotation.with_cross, "old")
        revocation.revoke(rotation.installation, rig.ADMIN, cross.serial, RevocationReason.SUPERSEDED)
        CrlPublisher(rotation.installation, CrlPolicy()).publish_due()
        assert not openssl(rotation, rotation.leaf, rotation.with_cross, "old")
        for trust in ("new", "both"):
            assert openssl(rotation, rotation.leaf, rotation.with_cross, trust)


@pytest.mark.peer("openssl")
def test_beneath_the_cross_certificate_there_is_one_ca(tmp_path: Path) -> None:
    """Its path length holds: a second CA beneath the new root's is refused by those who come from the old one."""
    for rotation in rotated(tmp_path / "own", KeyType.P256):
        (cross,) = crossing.crosses(rotation.installation.store)
        constraints = x509.load_der_x509_certificate(cross.certificate).extensions
        assert constraints.get_extension_for_class(x509.BasicConstraints).value.path_length == 1
        again = Plan("root", rig.common_name("Test Root 3"), KeyType.P256)
        hierarchy.create_root(rotation.installation, rig.ADMIN, again, cross_by="root-2")
        below = Plan("issuing", rig.common_name("Test Issuing CA 3"), KeyType.P256)
        hierarchy.create_subordinate(rotation.installation, rig.ADMIN, "sub-ca", below, parent="root-3")
        hierarchy.transition(rotation.installation, rig.ADMIN, "issuing-3", State.ACTIVE)
        CrlPublisher(rotation.installation, CrlPolicy()).publish_due()
        leaf = server(rotation.installation)
        assert openssl(rotation, leaf, leaf.chain, "new")
        assert not openssl(rotation, leaf, (*leaf.chain, cross.certificate), "old")
