"""The signer: whose key it is, when there is a new one, and that publications go out while anything can sign."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509

from ca import certificates, clock, hierarchy, revocation
from ca.authority import State
from ca.errors import BadRequest, CertwrightError, KeyUnavailable, Unavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.keys.memory import MemoryKeyStore
from ca.models import CertificateName
from ca.publication import jws
from ca.publication.manifest import Manifest
from ca.publication.opening import open_signed
from ca.publication.signer import CALLER, Signer
from ca.store import Store, open_store
from ca.x509.certificate import serial_text
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.publishing import DOMAIN, NAME, STREAM, make_manifest
from tests.ca.world import replica, rows
from tests.conftest import fresh_database


def signed(signer: Signer, installation: Installation) -> x509.Certificate:
    """Sign a manifest, check it as a consumer would, and return the certificate that it was signed with."""
    manifest = make_manifest()
    found = signer.sign(manifest.encode())
    anchors = [row.certificate for row in installation.authorities.roots()]
    now = clock.timestamp()
    assert open_signed(found, anchors, trust_domain=DOMAIN, stream=STREAM, now=now, held=None) == manifest
    return jws.read(found).chain[0]


def serials(installation: Installation) -> set[str]:
    """All certificates that a signer ever had."""
    return {row.serial for row in rows(installation.store, CertificateName, name=f"uri:{NAME}")}


def key_labels(installation: Installation) -> set[str]:
    """The keys of publications that are kept."""
    assert isinstance(installation.keys, MemoryKeyStore)
    return {label for label in installation.keys._keys if label.startswith("publication-")}


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.ED25519, KeyType.MLDSA65])
def test_whoever_has_a_root_can_check_it(store: Store, key_type: KeyType) -> None:
    """One certificate through the one door, asked for by the program itself, then used again and again."""
    installation = rig.make_installation(store, key_type=key_type)
    signer = Signer(installation, DOMAIN)
    first = signed(signer, installation)
    assert signed(signer, installation) == first == signed(Signer(installation, DOMAIN), installation)
    (serial,) = serials(installation)
    stored = certificates.find(store, serial)
    assert (stored.requested_by, stored.state) == (CALLER.identity, "valid")
    assert key_labels(installation) == {f"publication-{stored.spki_sha256.hex()[:16]}"}


def test_only_our_own_manifests_are_signed(installation: Installation) -> None:
    """What the checking side would not read does not get a signature."""
    signer = Signer(installation, DOMAIN)
    theirs = make_manifest(stream="trust:other.internal", trust_domain="other.internal")
    for manifest in (theirs.encode(), b"{}", make_manifest().encode() + b" "):
        with pytest.raises(BadRequest):
            signer.sign(manifest)
    assert serials(installation) == set()


def test_it_is_renewed_at_half_of_its_life(installation: Installation) -> None:
    """And the old key goes when its certificate has ended, not before: others may still use it."""
    signer, start = Signer(installation, DOMAIN), clock.now()
    with clock.pinned(start):
        first = signed(signer, installation)
    life = first.not_valid_after_utc - first.not_valid_before_utc
    half = first.not_valid_before_utc + life / 2
    with clock.pinned(half - timedelta(seconds=1)):
        assert signed(signer, installation) == first
    with clock.pinned(half + timedelta(seconds=1)):
        second = signed(signer, installation)
        assert second != first
        assert len(key_labels(installation)) == 2
    with clock.pinned(half + life / 2 + timedelta(days=1)):
        third = signed(signer, installation)
        assert third not in (first, second)
        assert len(key_labels(installation)) == 2, "the first has ended"


def test_a_revoked_one_signs_nothing_more(installation: Installation) -> None:
    """At once, in every replica."""
    signer = Signer(installation, DOMAIN)
    first = signed(signer, installation)
    serial = serial_text(first.serial_number)
    revocation.revoke(installation, rig.ADMIN, serial, RevocationReason.KEY_COMPROMISE)
    assert signed(signer, installation) != first


def test_a_key_that_is_not_here_is_another_replicas(installation: Installation) -> None:
    """Neither a lost key nor one that belongs to another certificate stops the signer."""
    signer = Signer(installation, DOMAIN)
    first = signed(signer, installation)
    (label,) = key_labels(installation)
    installation.keys.destroy(label)
    second = signed(signer, installation)
    assert second != first
    (label,) = key_labels(installation)
    installation.keys.destroy(label)
    installation.keys.create(label, KeyType.P256)
    assert signed(signer, installation) not in (first, second)


def test_a_certificate_of_this_name_for_somebody_else_is_not_used(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the signer itself asked for is its own."""
    signer = Signer(installation, DOMAIN)
    first = signed(signer, installation)
    monkeypatch.setattr("ca.publication.signer.CALLER", type(CALLER)("system:other", CALLER.role))
    assert signed(signer, installation) != first


def test_a_new_generation_signs_as_soon_as_it_is_active(installation: Installation) -> None:
    """The old one's signature would end with the trust in it."""
    signer = Signer(installation, DOMAIN)
    first = signed(signer, installation)
    plan = Plan("issuing", rig.common_name("Next Issuing CA"), KeyType.P256, crl_shards=4)
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan)
    assert signed(signer, installation) == first
    hierarchy.transition(installation, rig.ADMIN, "issuing-2", State.ACTIVE)
    second = signed(signer, installation)
    assert second != first
    assert second.issuer == rig.common_name("Next Issuing CA")
    assert signed(signer, installation) == second


def test_the_old_one_signs_while_no_ca_does(installation: Installation) -> None:
    """A revocation has to get out, whatever is wrong with the CA; what is wrong is kept for an alarm."""
    signer = Signer(installation, DOMAIN)
    first = signed(signer, installation)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    assert signed(signer, installation) == first
    assert isinstance(signer.trouble, Unavailable)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.ACTIVE)
    assert signed(signer, installation) == first
    assert signer.trouble is None


def test_without_any_certificate_the_reason_is_raised(installation: Installation) -> None:
    """Never an unsigned manifest, nor one that is signed by what has ended."""
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    with pytest.raises(Unavailable):
        Signer(installation, DOMAIN).sign(make_manifest().encode())
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.ACTIVE)
    signer = Signer(installation, DOMAIN)
    end = signed(signer, installation).not_valid_after_utc
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    with clock.pinned(end + timedelta(days=1)), pytest.raises(Unavailable):
        signer.sign(make_manifest().encode())


def test_a_key_store_that_fails_leaves_no_key_behind(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate without a key is nobody's; the next attempt makes another."""

    def broken(label: str, key: object) -> None:
        raise KeyUnavailable("the disk is full")

    signer = Signer(installation, DOMAIN)
    with monkeypatch.context() as patch, pytest.raises(KeyUnavailable):
        patch.setattr(installation.keys, "put", broken)
        signer.sign(make_manifest().encode())
    assert key_labels(installation) == set()
    assert serial_text(signed(signer, installation).serial_number) in serials(installation)


def test_threads_share_one_certificate(installation: Installation) -> None:
    """Sixteen at once, at first use."""
    signer = Signer(installation, DOMAIN)
    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(lambda _: signed(signer, installation), range(16)))
    assert len(found) == len(serials(installation)) == 1


def test_two_replicas_at_once_both_sign(postgresql: str) -> None:
    """Each may make a certificate; what either signs is accepted, and later both use one of them."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    try:
        installation = rig.make_installation(stores[0])
        both = [installation, replica(installation, stores[1])]
        signers = [Signer(one, DOMAIN) for one in both]

        def sign(place: int) -> x509.Certificate | CertwrightError:
            return signed(signers[place % 2], both[place % 2])

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(sign, range(8)))
        assert 1 <= len(serials(installation)) <= 2
        assert signed(signers[0], both[0]) == signed(signers[1], both[1])
    finally:
        for store in stores:
            store.close()


def test_what_is_signed_is_what_was_given(installation: Installation) -> None:
    """Byte for byte, its hash included."""
    manifest = make_manifest()
    payload = jws.read(Signer(installation, DOMAIN).sign(manifest.encode())).payload
    assert Manifest.decode(payload).sha256 == manifest.sha256
