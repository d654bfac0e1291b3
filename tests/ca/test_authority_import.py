"""Keys and CAs from outside: what is taken over, what is refused, and what happens when a key file is not as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock, hierarchy, revocation
from ca.errors import BadRequest, Conflict, Forbidden, KeyUnavailable, PolicyRefusal
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.keys.memory import MemoryKeyStore
from ca.keys.software import SoftwareKeyStore
from ca.ledger.reconcile import audit
from ca.models import Authority
from ca.secret import Secret
from ca.store import Store
from ca.x509.bundle import read_certificates, read_private_key
from tests import peer, rig
from tests.ca.test_hierarchy import OTHERS
from tests.ca.world import count, entries, listed, publish, replica

PASSPHRASE = Secret("a passphrase for tests")
CA_USES = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")


@dataclass(frozen=True)
class Foreign:
    """A CA that openssl has made: its files, and what they hold."""

    directory: Path
    name: str

    @property
    def certificate(self) -> x509.Certificate:
        return read_certificates((self.directory / f"{self.name}.pem").read_bytes())[0]

    @property
    def key(self) -> PrivateKey:
        return read_private_key((self.directory / f"{self.name}.key").read_bytes(), None)

    def plan(self, line: str) -> Plan:
        """How it shall be called here."""
        return Plan(line, self.certificate.subject, KeyType.P256, crl_shards=2)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Foreign]:
    """Make a certificate with openssl, by default a P-256 CA for a year, signed by itself."""
    openssl = peer.require("openssl")

    def made(
        name: str, *, by: str | None = None, uses: tuple[str, ...] = CA_USES, key: str = "ec ec_paramgen_curve:P-256"
    ) -> Foreign:
        argv: list[str] = ["req", "-x509", "-nodes", "-days", "365", "-subj", f"/O=Elsewhere/CN={name}"]
        algorithm, *options = key.split()
        argv += ["-newkey", algorithm, *(argument for option in options for argument in ("-pkeyopt", option))]
        argv += ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.pem")]
        for extension in uses:
            argv += ["-addext", extension]
        if by is not None:
            argv += ["-CA", str(tmp_path / f"{by}.pem"), "-CAkey", str(tmp_path / f"{by}.key")]
        (tmp_path / "empty.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n")
        done = peer.run(openssl, *argv, "-config", tmp_path / "empty.cnf")
        assert done.returncode == 0, done.stderr
        return Foreign(tmp_path, name)

    return made


@pytest.fixture
def empty(store: Store) -> Installation:
    """An installation without any authority."""
    return rig.make_installation(store, with_hierarchy=False)


def take_over(installation: Installation, foreign: Foreign, line: str) -> Authority:
    """Import a CA as an admin."""
    return hierarchy.import_authority(installation, rig.ADMIN, foreign.plan(line), foreign.certificate, foreign.key)


def nothing_has_changed(installation: Installation) -> bool:
    """Whether an empty installation is still empty, its ledger key apart."""
    assert isinstance(installation.keys, MemoryKeyStore)
    return (count(installation.store, Authority), entries(installation.store), set(installation.keys._keys)) == (
        0,
        [],
        {"ledger"},
    )


def test_a_ca_of_openssl_is_taken_over_and_signs(
    empty: Installation, make: Callable[..., Foreign], tmp_path: Path
) -> None:
    """Root and subordinate keep their certificates; leaves and CRLs that we then sign are good for openssl, too."""
    root, below = make("root"), make("below", by="root")
    rows = [take_over(empty, root, "root"), take_over(empty, below, "issuing")]
    assert [row.certificate for row in rows] == [one.certificate.public_bytes(Encoding.DER) for one in (root, below)]
    assert [row.parent_id for row in rows] == [None, rows[0].id]
    good, bad = rig.issue(empty, "a.example.internal", profile="server"), rig.issue(empty)
    revocation.revoke(empty, rig.ADMIN, bad.serial, revocation.parse_reason("superseded"))
    publish(empty)
    assert good.chain == (rows[1].certificate,)
    assert listed(empty) == {bad.serial}
    (tmp_path / "leaf.pem").write_bytes(rig.parsed(good).public_bytes(Encoding.PEM))
    chain = ["-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "below.pem"]
    done = peer.run(peer.require("openssl"), "verify", "-x509_strict", *chain, tmp_path / "leaf.pem")
    assert done.returncode == 0, done.stderr
    empty.ledger.sequence()
    assert audit(empty.store, empty.ledger.verifier).findings == []


def test_the_key_of_an_imported_ca_is_its_own(empty: Installation, make: Callable[..., Foreign]) -> None:
    """From the import on nobody gets a leaf with that key, and it cannot be revoked by key."""
    foreign = make("root")
    take_over(empty, foreign, "root")
    hierarchy.create_subordinate(empty, rig.ADMIN, "sub-ca", Plan("issuing", rig.common_name("x"), KeyType.P256))
    with pytest.raises(PolicyRefusal):
        rig.issue(empty, key=foreign.key)
    digest = sha256(spki(foreign.key.public_key())).digest()
    with pytest.raises(Forbidden):
        revocation.revoke_key(empty, rig.ADMIN, digest, revocation.parse_reason("key-compromise"))


def test_what_is_not_a_ca_is_refused_with_all_reasons(empty: Installation, make: Callable[..., Foreign]) -> None:
    """A leaf's certificate, a missing right, another's key, a short key, an expired one: each is named, all at once."""
    root = make("root")
    leaf = make("leaf", uses=("basicConstraints=critical,CA:FALSE",))
    bare = make("bare", uses=())
    signer = make("signer", uses=(CA_USES[0], "keyUsage=critical,keyCertSign"))
    short = make("short", key="rsa:2048")
    cases: list[tuple[x509.Certificate, PrivateKey, list[str]]] = [
        (root.certificate, leaf.key, ["does not belong"]),
        (leaf.certificate, leaf.key, ["not a CA's"]),
        (bare.certificate, bare.key, ["not a CA's"]),
        (signer.certificate, signer.key, ["may not sign certificates and CRLs"]),
        (short.certificate, short.key, ["the key is not one of"]),
        (leaf.certificate, short.key, ["not a CA's", "the key is not one of"]),
    ]
    for certificate, key, reasons in cases:
        with pytest.raises(BadRequest) as caught:
            hierarchy.import_authority(empty, rig.ADMIN, root.plan("root"), certificate, key)
        assert caught.value.code == "bad-authority"
        assert all(reason in caught.value.message for reason in reasons)
    with clock.pinned(clock.now() + timedelta(days=366)), pytest.raises(BadRequest, match="has expired"):
        take_over(empty, root, "root")
    assert nothing_has_changed(empty)


def test_weak_keys_are_refused(empty: Installation, make: Callable[..., Foreign]) -> None:
    """A CA with an RSA exponent of 3 is not taken over, however long its modulus is."""
    with pytest.raises(BadRequest, match="exponent"):
        take_over(empty, make("weak", key="rsa:3072 rsa_keygen_pubexp:3"), "root")
    assert nothing_has_changed(empty)


def test_a_ca_without_its_parent_is_refused(empty: Installation, make: Callable[..., Foreign]) -> None:
    """A subordinate comes after the CA that signed it; one with the same name but another key is no parent."""
    make("root")
    below = make("below", by="root")
    with pytest.raises(BadRequest) as caught:
        take_over(empty, below, "issuing")
    assert caught.value.code == "unknown-parent"
    assert nothing_has_changed(empty)
    impostor = make("root")  # the same name once more, with another key
    take_over(empty, impostor, "root")
    with pytest.raises(BadRequest) as caught:
        take_over(empty, below, "issuing")
    assert caught.value.code == "unknown-parent"


@pytest.mark.parametrize("caller", OTHERS, ids=[caller.role for caller in OTHERS])
def test_only_admins_import(empty: Installation, make: Callable[..., Foreign], caller: object) -> None:
    """Nobody else brings a CA here."""
    foreign = make("root")
    with pytest.raises(Forbidden):
        hierarchy.import_authority(empty, caller, foreign.plan("root"), foreign.certificate, foreign.key)  # type: ignore[arg-type]
    assert nothing_has_changed(empty)


def test_a_store_that_takes_no_keys_says_so(empty: Installation, make: Callable[..., Foreign]) -> None:
    """Where keys are made inside (an HSM), an import is refused plainly."""

    class Closed:
        """A key store without `put`."""

        create = load = destroy = None

    foreign = make("root")
    closed = Installation(empty.store, Closed(), empty.profiles, empty.authorities, empty.ledger)  # type: ignore[arg-type]
    with pytest.raises(BadRequest) as caught:
        take_over(closed, foreign, "root")
    assert caught.value.code == "key-import-unsupported"


def test_importing_twice_keeps_no_second_key(empty: Installation, make: Callable[..., Foreign]) -> None:
    """The same CA a second time is a conflict, and no further copy of its private key stays here."""
    foreign = make("root")
    take_over(empty, foreign, "root")
    assert isinstance(empty.keys, MemoryKeyStore)
    before = set(empty.keys._keys)
    with pytest.raises(Conflict):
        take_over(empty, foreign, "root")
    assert set(empty.keys._keys) == before


def test_a_key_that_does_not_fit_is_not_used(store: Store, tmp_path: Path) -> None:
    """Key files exchanged, damaged, gone or locked: no signature is made, and all is well again when they are back."""
    keys = SoftwareKeyStore(tmp_path / "keys", PASSPHRASE)
    installation = rig.make_installation(store, keys=keys)
    path = tmp_path / "keys" / f"{installation.authorities.get('issuing').key_label}.pem"
    other = tmp_path / "keys" / f"{installation.authorities.get('root').key_label}.pem"
    good = path.read_bytes()

    def issue_after_restart(passphrase: Secret = PASSPHRASE) -> str:
        restarted = replica(installation, store)
        restarted.authorities._keys = SoftwareKeyStore(tmp_path / "keys", passphrase)
        return rig.issue(restarted).authority

    for content in (other.read_bytes(), good[: len(good) // 2], b"", None):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(KeyUnavailable):
            issue_after_restart()
        assert rig.issue(installation).authority == "issuing-1", "a process that has the key goes on"
    path.write_bytes(good)
    with pytest.raises(KeyUnavailable):
        issue_after_restart(Secret("another passphrase"))
    assert issue_after_restart() == "issuing-1"


def test_a_process_recovers_when_its_key_comes_back(store: Store, tmp_path: Path) -> None:
    """A key that was missing at first is used as soon as it is there, without a restart (promise 8)."""
    installation = rig.make_installation(store, keys=SoftwareKeyStore(tmp_path / "keys", PASSPHRASE))
    path = tmp_path / "keys" / f"{installation.authorities.get('issuing').key_label}.pem"
    restarted = replica(installation, store)
    restarted.authorities._keys = SoftwareKeyStore(tmp_path / "keys", PASSPHRASE)
    path.rename(hidden := tmp_path / "hidden.pem")
    for _ in range(2):
        with pytest.raises(KeyUnavailable, match=r"issuing-1.*No such file"):
            rig.issue(restarted)
    hidden.rename(path)
    assert rig.issue(restarted).authority == "issuing-1"
