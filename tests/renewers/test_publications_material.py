"""What a consumer gets: the files of its newest publications, complete, of one moment, and checked by its own means."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import delete, update
from sqlmodel import col

from ca import clock, delta, hierarchy, revocation
from ca.authority import State
from ca.crl import CrlPolicy
from ca.errors import BadRequest, Unavailable
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.models import DeltaList, RevocationListContent
from ca.publication import chain, jws, opening
from ca.publication.manifest import ListKind
from ca.publication.signer import Signer
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.distribution import foreign, formats, material, publishing
from renewers.distribution.material import Brought, material_for
from renewers.distribution.needs import BUNDLE_FORMATS
from renewers.lifecycle import Lifecycle
from tests import peer, rig
from tests.renewers.publications import (
    CRL,
    OWN,
    PARTNER,
    TRUST,
    add_root,
    ca_certificate,
    list_revoked,
    make_lifecycle,
    make_lists,
    move,
    needs,
    published,
    set_state,
)

ALL = {"bundle": list(BUNDLE_FORMATS), "crl_formats": ["pem", "der"]}


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """A root, an issuing CA with two shards, some revoked certificates; nothing published yet."""
    lifecycle = make_lifecycle(store, shards=2)
    signer = Signer(lifecycle.installation, OWN)
    lifecycle = replace(lifecycle, sign_manifest=signer.sign)
    list_revoked(lifecycle, 3)
    return lifecycle


def bring(lifecycle: Lifecycle, **found: Any) -> Brought:
    """Publish what is due and put together what `found` needs."""
    publishing.publish_due(lifecycle)
    return material_for(lifecycle, "Edge proxy 1", needs(**found))


def crls(data: bytes) -> list[x509.CertificateRevocationList]:
    """The lists in PEM text."""
    end = b"-----END X509 CRL-----\n"
    return [x509.load_pem_x509_crl(part + end) for part in data.split(end)[:-1]]


def test_who_says_nothing_gets_pem(lifecycle: Lifecycle) -> None:
    """Anchors, CA certificates, complete lists, and the signed manifests to check them by."""
    brought = bring(lifecycle)
    files = brought.material.files
    assert set(files) == {"bundle.pem", "cas.pem", "crl.pem", "trust.jws", "crl.jws"}
    assert (brought.material.secrets, brought.material.subject) == ({}, "Edge proxy 1")
    assert len(crls(files["crl.pem"])) == 2
    for stream in (TRUST, CRL):
        manifest = published(lifecycle, stream)
        assert (brought.versions[stream], brought.sha256s[stream]) == (manifest.version, manifest.sha256)


def test_a_root_is_all_that_it_takes_to_check_them(lifecycle: Lifecycle) -> None:
    """Offline, with the checking side of `ca/publication`: manifests, files, and each list."""
    brought = bring(lifecycle, crl="shards", **ALL)
    files, now = brought.material.files, clock.timestamp()
    root = lifecycle.installation.authorities.get("root-1").certificate
    found = {}
    for name, stream in (("trust.jws", TRUST), ("crl.jws", CRL)):
        found[stream] = opening.open_signed(files[name], [root], trust_domain=OWN, stream=stream, now=now, held=None)
    named = {item.name for item in found[TRUST].items}
    opening.check_files(found[TRUST], {name: data for name, data in files.items() if name in named}, all_of_them=True)
    above = [entry.certificate for entry in (*found[TRUST].anchors, *found[TRUST].authorities)]
    lists = material.chosen_lists(found[CRL].lists, "shards")
    for entry in lists:
        opening.check_list(found[CRL], entry, files[material.file_of(entry)], None, certificates=above)
    der = {entry: files[material.file_of(entry)] for entry in lists}
    assert [one.public_bytes(Encoding.DER) for one in crls(files["crl.pem"])] == list(der.values())
    assert set(files) == named | {"bundle.p12", "trust.jws", "crl.jws", "crl.pem", *map(material.file_of, lists)}


def test_who_knows_the_old_root_alone_finds_a_way_to_the_new_one(lifecycle: Lifecycle) -> None:
    """After the old one is distrusted, too: the manifest names the certificate that the signer's chain lacks."""
    add_root(lifecycle, cross_by="root-1")
    plan = Plan("issuing", rig.common_name("Second Issuing"), KeyType.P256)
    hierarchy.create_subordinate(lifecycle.installation, rig.ADMIN, "sub-ca", plan, parent="root-2")
    move(lifecycle, "root-2", State.ACTIVE)
    move(lifecycle, "issuing-2", State.ACTIVE)
    move(lifecycle, "root-1", State.DISTRUSTED)
    make_lists(lifecycle)
    files = bring(lifecycle).material.files
    old, new = (lifecycle.installation.authorities.get(f"root-{n}").certificate for n in (1, 2))
    for name, stream in (("trust.jws", TRUST), ("crl.jws", CRL)):
        opening.open_signed(files[name], [new], trust_domain=OWN, stream=stream, now=clock.timestamp(), held=None)
    found = opening.open_signed(
        files["trust.jws"], [old], trust_domain=OWN, stream=TRUST, now=clock.timestamp(), held=None
    )
    assert [entry.certificate for entry in found.anchors] == [new]
    with pytest.raises(BadRequest) as refused:  # without the way that the manifest names there is none
        chain.must_be_signer(jws.read(files["trust.jws"]).chain, [old], OWN, clock.now())
    assert refused.value.code == "untrusted-manifest"
    assert files["cas.pem"].count(b"BEGIN") == 2  # root-2, issuing-2


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", set()),
        ("complete", {"issuing-1.crl", "root-1.crl"}),
        ("shards", {"issuing-1.0.crl", "issuing-1.1.crl", "root-1.crl"}),
        ("delta", {"issuing-1.crl", "root-1.crl", "issuing-1.delta.crl", "root-1.delta.crl"}),
    ],
)
def test_lists_are_those_that_it_needs(lifecycle: Lifecycle, choice: str, expected: set[str]) -> None:
    """A CA without shards has one complete list, whoever asks; a delta is of use beside the complete one alone."""
    delta.publish_due(lifecycle.installation, CrlPolicy())
    files = bring(lifecycle, crl=choice, crl_formats=["der"]).material.files
    assert {name for name in files if name.endswith(".crl")} == expected
    assert ("crl.jws" in files) == (choice != "none")
    assert "crl.pem" not in files
    if choice == "delta":
        listed = {entry.kind for entry in published(lifecycle, CRL).lists}
        assert listed == {ListKind.COMPLETE, ListKind.SHARD, ListKind.DELTA}


def test_openssl_refuses_a_revoked_leaf_with_what_it_was_brought(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """And takes another: with `cas.pem` and `crl.pem` alone, as a proxy would."""
    openssl = peer.require("openssl")
    good, bad = rig.issue(lifecycle.installation), rig.issue(lifecycle.installation)
    revocation.revoke(lifecycle.installation, rig.OPERATOR, bad.serial, RevocationReason.SUPERSEDED)
    make_lists(lifecycle)
    for name, data in bring(lifecycle).material.files.items():
        (tmp_path / name).write_bytes(data)
    outcomes = []
    for issued in (good, bad):
        leaf = tmp_path / f"{issued.serial}.pem"
        leaf.write_bytes(rig.parsed(issued).public_bytes(Encoding.PEM))
        files = ("-CAfile", tmp_path / "cas.pem", "-CRLfile", tmp_path / "crl.pem")
        outcomes.append(peer.run(openssl, "verify", "-crl_check_all", *files, leaf))
    assert outcomes[0].returncode == 0, outcomes[0].stderr
    assert b"certificate revoked" in outcomes[1].stderr


def test_material_is_named_by_what_it_is_made_of(lifecycle: Lifecycle) -> None:
    """The same versions and needs have one name and one hash, a truststore's salt notwithstanding; others another."""
    first = bring(lifecycle, **ALL)
    formats.truststore.cache_clear()
    again = bring(lifecycle, **ALL)
    assert first.material.files["bundle.p12"] != again.material.files["bundle.p12"]
    assert (first.material.version, first.material.sha256) == (again.material.version, again.material.sha256)
    other = bring(lifecycle, crl="none")
    assert other.material.sha256 != first.material.sha256
    list_revoked(lifecycle)
    later = bring(lifecycle, **ALL)
    assert later.material.sha256 not in {first.material.sha256, other.material.sha256}
    trust, crl = (later.versions[stream] for stream in (TRUST, CRL))
    assert later.material.version == f"edge-proxy-1-{trust}-{crl}-{later.material.sha256[:12]}"


def test_a_list_that_was_replaced_waits_for_its_manifest(lifecycle: Lifecycle) -> None:
    """Nothing is brought with a list that the manifest does not name; a second later it is named."""
    before = bring(lifecycle)
    list_revoked(lifecycle)
    assert material_for(lifecycle, "Edge proxy 1", needs()) == before  # whose lists are still at hand
    for choice in ("shards", "delta"):
        with pytest.raises(Unavailable) as caught:
            material_for(lifecycle, "proxy", needs(crl=choice))
        assert caught.value.code == "publication-moving"
    assert bring(lifecycle).versions[CRL] > before.versions[CRL]


def test_a_list_that_is_published_meanwhile_is_found_at_the_second_look(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As happens with many revocations: the publisher is right behind."""
    bring(lifecycle)
    list_revoked(lifecycle)
    read, turns = material._read, iter([True])

    def late(*given: Any) -> Any:
        found = read(*given)
        if next(turns, False):
            publishing.publish_due(lifecycle)
        return found

    monkeypatch.setattr(material, "_read", late)
    brought = material_for(lifecycle, "proxy", needs(crl_formats=["der"]))
    for entry in material.chosen_lists(published(lifecycle, CRL).lists, "complete"):
        assert sha256(brought.material.files[material.file_of(entry)]).hexdigest() == entry.sha256


@pytest.mark.parametrize("table", [RevocationListContent, DeltaList])
def test_no_consumer_gets_some_of_its_lists(lifecycle: Lifecycle, table: Any) -> None:
    """A list whose bytes are gone or damaged is not left out: nothing is brought."""
    delta.publish_due(lifecycle.installation, CrlPolicy())
    publishing.publish_due(lifecycle)
    of = col(table.authority_id) == 2
    lifecycle.store.write(lambda tx: tx.execute(update(table).where(of).values(crl=b"0\x00")) and None)
    with pytest.raises(Unavailable, match="replaced"):
        material_for(lifecycle, "proxy", needs(crl="delta"))
    lifecycle.store.write(lambda tx: tx.execute(delete(table).where(of)) and None)
    with pytest.raises(Unavailable, match="replaced"):
        material_for(lifecycle, "proxy", needs(crl="delta"))


def test_nothing_is_brought_before_all_of_it_was_published(lifecycle: Lifecycle) -> None:
    """And it is said what is missing."""
    publishing.publish_stream(lifecycle, TRUST)
    with pytest.raises(Unavailable, match=CRL) as caught:
        material_for(lifecycle, "proxy", needs())
    assert caught.value.code == "publication-missing"
    assert material_for(lifecycle, "proxy", needs(crl="none")).versions.keys() == {TRUST}


def test_another_release_waits_for_its_own_version(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that the manifest does not fit are not brought; the next version fits them."""
    before = bring(lifecycle, bundle=["spiffe"])
    monkeypatch.setattr(formats, "REFRESH_HINT", 61)
    material._opened.cache_clear()
    with pytest.raises(Unavailable) as caught:
        material_for(lifecycle, "proxy", needs(bundle=["spiffe"]))
    assert caught.value.code == "publication-moving"
    monkeypatch.setattr("renewers.distribution.streams.EDITION", 2)
    after = bring(lifecycle, bundle=["spiffe"])
    assert after.versions[TRUST] > before.versions[TRUST]


def test_bundles_follow_a_root_that_goes(lifecycle: Lifecycle) -> None:
    """At no moment without an anchor."""
    add_root(lifecycle)
    make_lists(lifecycle)
    anchors = []
    for state in (State.ACTIVE, State.TAINTED, State.DISTRUSTED, State.TAINTED):
        set_state(lifecycle, "root-2", state)
        anchors.append(bring(lifecycle).material.files["bundle.pem"].count(b"BEGIN"))
    assert anchors == [2, 2, 1, 2]


def test_a_thousand_consumers_share_the_lists(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read once a version; what is larger than is kept is read each time."""
    reads: list[object] = []
    read = material._read
    monkeypatch.setattr(material, "_read", lambda *given: reads.append(given) or read(*given))
    assert len({id(bring(lifecycle).material.files["crl.pem"]) for _ in range(5)}) == 1
    assert len(reads) == 1
    monkeypatch.setattr(material, "LARGEST_KEPT", 10)
    list_revoked(lifecycle)
    files = [bring(lifecycle).material.files for _ in range(3)]
    assert files[0] == files[1] == files[2]
    assert len(reads) == 4
    assert material._KEPT._size() <= 10


def test_files_of_another_trust_domain_have_its_name_in_front(lifecycle: Lifecycle) -> None:
    """Side by side, each with its own manifest; signed by us, who were given them."""
    given = [ca_certificate(f"Partner Root {n}", place=n) for n in (1, 2)]
    foreign.put(lifecycle, rig.ADMIN, PARTNER, pem_of(given))
    brought = bring(lifecycle, trust_domains=[OWN, PARTNER], bundle=["pem", "der", "pkcs12"])
    files = brought.material.files
    theirs = {name.removeprefix(f"{PARTNER}.") for name in files if name.startswith(f"{PARTNER}.")}
    fingerprints = [sha256(der).hexdigest()[:12] for der in given]
    expected = {f"anchor-{one}.cer" for one in fingerprints}
    assert theirs == {"bundle.pem", "cas.pem", "bundle.p12", "trust.jws", *expected}
    assert x509.load_pem_x509_certificates(files["bundle.pem"])[0].subject.rfc4514_string() == "CN=Test Root"
    assert files[f"{PARTNER}.bundle.pem"].count(b"BEGIN") == 2
    assert brought.versions.keys() == {TRUST, f"trust:{PARTNER}", CRL}
    root = lifecycle.installation.authorities.get("root-1").certificate
    now, stream = clock.timestamp(), f"trust:{PARTNER}"
    signed = files[f"{PARTNER}.trust.jws"]
    manifest = opening.open_signed(signed, [root], trust_domain=OWN, stream=stream, now=now, held=None)
    assert sorted(entry.certificate for entry in manifest.anchors) == sorted(given)


def pem_of(certificates: list[bytes]) -> bytes:
    """PEM text."""
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in certificates)


def test_only_another_trust_domain_is_no_lists(lifecycle: Lifecycle) -> None:
    """Whoever needs nothing of ours gets nothing of ours."""
    foreign.put(lifecycle, rig.ADMIN, PARTNER, pem_of([ca_certificate()]))
    brought = bring(lifecycle, trust_domains=[PARTNER])
    assert brought.versions.keys() == {f"trust:{PARTNER}"}
    assert set(brought.material.files) == {f"{PARTNER}.{name}" for name in ("bundle.pem", "cas.pem", "trust.jws")}
