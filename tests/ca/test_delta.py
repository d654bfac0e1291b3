"""Delta CRLs: what is in them whatever clocks say, their numbers, their bases; and what OpenSSL makes of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import text, update

from ca import clock, crl, delta, hierarchy, listdraft, listing, revocation
from ca.authority import State
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher
from ca.errors import KeyUnavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys.algorithms import KeyType
from ca.models import DeltaList, RevocationList
from ca.store import Store, open_store
from ca.store.commit import StaleChange
from ca.x509.bundle import pem_certificate, pem_chain, pem_crl
from ca.x509.revocation_list import RevocationReason
from tests import peer, rig
from tests.ca.world import entries, listed, load_crl, outside, publish, replica, rows
from tests.conftest import fresh_database

POLICY = CrlPolicy()
SUPERSEDED = RevocationReason.SUPERSEDED


def revoke(installation: Installation, issued: Issued) -> str:
    """Revoke a certificate; returns its serial number."""
    return revocation.revoke(installation, rig.OPERATOR, issued.serial, SUPERSEDED).serials[0]


def publish_deltas(installation: Installation) -> dict[str, crl.Published]:
    """Make what is due; by authority."""
    return {one.authority: one for one in delta.publish_due(installation, POLICY)}


def load(installation: Installation, authority: str = "issuing-1") -> x509.CertificateRevocationList:
    """The newest delta as a relying party sees it."""
    row = delta.load(installation, authority)
    assert row is not None
    return x509.load_der_x509_crl(row.crl)


def serials(found: x509.CertificateRevocationList) -> set[str]:
    return {f"{entry.serial_number:x}" for entry in found}


def number_of(found: x509.CertificateRevocationList) -> int:
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def base_of(found: x509.CertificateRevocationList) -> int:
    extension = found.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert extension.critical
    return extension.value.crl_number


def known(complete: x509.CertificateRevocationList, newest: x509.CertificateRevocationList) -> set[str]:
    """What a consumer refuses that holds these two; RFC 5280 section 5.2.4 says when they go together."""
    assert base_of(newest) <= number_of(complete) < number_of(newest)
    return serials(complete) | serials(newest)


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.ED25519, KeyType.MLDSA65])
def test_a_delta_has_what_is_new(any_store: Store, key_type: KeyType) -> None:
    """Signed, dated and numbered; together with its base it says what the complete list says."""
    installation = rig.make_installation(any_store, key_type=key_type)
    publish_deltas(installation)
    old, base = load(installation), load_crl(installation)
    assert serials(old) == set()
    serial = revoke(installation, rig.issue(installation))
    assert publish_deltas(installation).keys() == {"issuing-1"}
    found = load(installation)
    issuer = installation.authorities.issuer_for("issuing")
    assert found.is_signature_valid(issuer.public_key)
    assert known(base, found) == serials(found) == {serial}
    assert number_of(old) < number_of(found)
    assert base_of(found) == number_of(base)
    now = clock.now()
    assert timedelta(0) <= now - found.last_update_utc <= timedelta(minutes=2)
    assert found.next_update_utc is not None
    assert found.next_update_utc <= now + POLICY.lifetime
    extensions = {extension.oid.dotted_string for extension in found.extensions}
    assert extensions == {"2.5.29.35", "2.5.29.20", "2.5.29.27"}, "of the scope of the complete list: no IDP"
    published = entries(any_store, "delta-crl-published", subject="issuing-1")
    assert [entry["number"] for entry in published] == [number_of(old), number_of(found)]


def test_nothing_new_makes_no_delta(installation: Installation) -> None:
    """One for each authority at first, then none until something changes or half a day has gone by."""
    start = clock.now()
    with clock.pinned(start):
        assert publish_deltas(installation).keys() == {"root-1", "issuing-1"}
        assert publish_deltas(installation) == {}
    with clock.pinned(start + POLICY.refresh - timedelta(seconds=1)):
        assert publish_deltas(installation) == {}
    with clock.pinned(start + POLICY.refresh):
        assert publish_deltas(installation).keys() == {"root-1", "issuing-1"}


def test_a_delta_is_newer_than_any_complete_list(installation: Installation) -> None:
    """It is of use with the newest complete one, too, and shares its numbers: none is used twice."""
    seen: list[int] = []
    for _ in range(4):
        revoke(installation, rig.issue(installation))
        made = [*publish(installation), *publish_deltas(installation).values()]
        seen += [one.number for one in made if one.authority == "issuing-1" and one.shard in (COMPLETE, delta.DELTA)]
        assert known(load_crl(installation), load(installation)) == listed(installation)
    assert seen == sorted(set(seen))
    assert len(seen) == 8


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=-400), timedelta(days=2)])
def test_no_clock_leaves_a_revocation_out(installation: Installation, step: timedelta) -> None:
    """Set back after the base was made, for one revocation alone, and right again when the delta is made."""
    start = clock.now()
    with clock.pinned(start):
        publish_deltas(installation)
        base = load_crl(installation)
        issued = [rig.issue(installation) for _ in range(3)]
    revoked = set()
    for turn, one in enumerate(issued):
        with clock.pinned(start + (step if turn == 1 else timedelta(0))):
            revoked |= set(revocation._revoke_all(installation, rig.OPERATOR, [one.serial], SUPERSEDED).serials)
    assert len(revoked) == (3 if step < timedelta(0) else 2), "one had expired by then"
    with clock.pinned(start):
        before = number_of(load(installation))
        publish_deltas(installation)
        assert known(base, load(installation)) == revoked
    with clock.pinned(start + min(step, timedelta(0))):
        revoked.add(revoke(installation, rig.issue(installation)))
        publish_deltas(installation)
    assert number_of(load(installation)) > before
    assert revoked <= serials(load(installation)) | listed(installation)


def test_what_is_revoked_during_a_build_is_on_the_next(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the delta, and of the complete list that becomes its base: not lost between the two."""
    publish_deltas(installation)
    pending = [rig.issue(installation) for _ in range(2)]
    first = revoke(installation, rig.issue(installation))
    revoked = {first}
    write, sign_delta = listdraft._to_be_signed, delta._signed

    def complete(issuer: Any, shard: int, *rest: Any, **more: Any) -> bytes:
        if shard == COMPLETE and pending:
            revoked.add(revoke(installation, pending.pop()))
        return write(issuer, shard, *rest, **more)

    def newest(*rest: Any) -> bytes:
        if pending:
            revoked.add(revoke(installation, pending.pop()))
        return sign_delta(*rest)

    with monkeypatch.context() as patch:
        patch.setattr(listdraft, "_to_be_signed", complete)
        publish(installation)
    assert listed(installation) == {first}
    with monkeypatch.context() as patch:
        patch.setattr(delta, "_signed", newest)
        patch.setattr(delta, "LONGEST_BASE", timedelta(0))
        publish_deltas(installation)
        assert base_of(load(installation)) == number_of(load_crl(installation))
    assert len(revoked) == 3
    assert len(known(load_crl(installation), load(installation))) == 2
    publish_deltas(installation)
    assert known(load_crl(installation), load(installation)) == revoked


def test_a_new_base_is_taken_in_time(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a day has gone by, or when the entries are many against the old one; not for the sake of a few bytes."""
    start = clock.now()
    with clock.pinned(start):
        publish_deltas(installation)
        first = base_of(load(installation))
        revoke(installation, rig.issue(installation))
        publish(installation)
        publish_deltas(installation)
        assert base_of(load(installation)) == first < number_of(load_crl(installation))
    with clock.pinned(start + timedelta(days=1)):
        publish_deltas(installation)
        second = base_of(load(installation))
        assert second == number_of(load_crl(installation))
        assert serials(load(installation)) == set()
        monkeypatch.setattr(delta, "SMALL", 100)
        for _ in range(10):
            revoke(installation, rig.issue(installation))
        publish_deltas(installation)
        assert base_of(load(installation)) == second, "there is no newer one yet"
        publish(installation)
        publish_deltas(installation)
        assert base_of(load(installation)) == number_of(load_crl(installation)) > second
        assert serials(load(installation)) == set()


def test_consumers_with_any_list_since_the_base_are_served(installation: Installation) -> None:
    """Complete lists of several ages, one delta."""
    publish_deltas(installation)
    held = [load_crl(installation)]
    for _ in range(3):
        revoke(installation, rig.issue(installation))
        publish(installation)
        held.append(load_crl(installation))
    last = revoke(installation, rig.issue(installation))
    publish_deltas(installation)
    refused = [known(complete, load(installation)) for complete in held]
    assert last in refused[0]
    assert len(refused[0]) == 4
    assert all(one == refused[0] for one in refused)


def test_a_list_from_before_deltas_is_no_base(installation: Installation) -> None:
    """What it has counted is not known: the next complete list is."""
    unknown = update(RevocationList).values(counted=None)
    installation.store.write(lambda tx: tx.execute(unknown) and None)
    assert publish_deltas(installation) == {}
    assert delta.load(installation, "issuing-1") is None
    with clock.pinned(clock.now() + timedelta(hours=13)):
        publish(installation)
        assert publish_deltas(installation).keys() == {"root-1", "issuing-1"}


def test_retired_authorities_make_none_and_broken_keys_stop_nobody(installation: Installation) -> None:
    """The same rules as for complete lists."""
    with clock.pinned(clock.now() + timedelta(minutes=1)):
        hierarchy.create_root(installation, rig.ADMIN, Plan("later", rig.common_name("Later Root"), KeyType.P256))
        publish(installation)
    installation.keys.destroy(installation.authorities.get("root").key_label)
    locked = replica(installation, installation.store)
    with pytest.raises(KeyUnavailable):
        publish_deltas(locked)
    assert {name for name in ("root-1", "issuing-1", "later-1") if delta.load(locked, name)} == {"issuing-1", "later-1"}
    serial = revoke(installation, rig.issue(installation))
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    with suppress(KeyUnavailable):
        publish_deltas(locked)
    assert serials(load(installation)) == {serial}
    issued = rows(installation.store, DeltaList)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.RETIRED)
    with clock.pinned(clock.now() + timedelta(days=1)), suppress(KeyUnavailable):
        publish_deltas(replica(installation, installation.store))
    after = {row.authority_id: row.number for row in rows(installation.store, DeltaList)}
    changed = {row.authority_id for row in issued if after[row.authority_id] != row.number}
    assert changed == {installation.authorities.get("later").id}


def test_no_delta_outlives_its_authority(installation: Installation) -> None:
    """Near the end of a CA's life it ends with it; after that there is none."""
    end = clock.from_timestamp(installation.authorities.get("issuing").not_after)
    with clock.pinned(end - timedelta(hours=5)):
        publish_deltas(installation)
        assert load(installation).next_update_utc == end
    with clock.pinned(end + timedelta(seconds=1)):
        assert "issuing-1" not in publish_deltas(installation)


def test_a_complete_list_gives_way_to_a_delta(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was built before a delta took its number is dropped and built again."""
    publish_deltas(installation)
    revoke(installation, rig.issue(installation))
    write = listdraft._to_be_signed

    def delta_meanwhile(issuer: Any, shard: int, *rest: Any, **more: Any) -> bytes:
        if shard == COMPLETE:
            publish_deltas(installation)
        return write(issuer, shard, *rest, **more)

    moment = clock.now() + timedelta(minutes=1)
    with clock.pinned(moment):
        before = number_of(load_crl(installation))
        with monkeypatch.context() as patch:
            patch.setattr(listdraft, "_to_be_signed", delta_meanwhile)
            made = publish(installation)
        assert COMPLETE not in {one.shard for one in made}
        assert number_of(load_crl(installation)) == before
        publish(installation)
        assert number_of(load_crl(installation)) > number_of(load(installation))


def test_publishers_race(postgresql: str) -> None:
    """Two replicas that revoke, publish lists and deltas at once: no number twice, nothing left out."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    try:
        installation = rig.make_installation(stores[0])
        both = [installation, replica(installation, stores[1])]
        issued = [rig.issue(installation) for _ in range(80)]
        start = threading.Barrier(4)

        def work(place: int) -> list[int]:
            one, numbers = both[place % 2], []
            publisher = CrlPublisher(one, POLICY)
            start.wait()
            for turn in range(20):
                revoke(one, issued[place * 20 + turn])
                publisher._not_before.clear()
                made = [*publisher.publish_due(), *delta.publish_due(one, POLICY)] if place < 3 else []
                numbers += [m.number for m in made if m.authority == "issuing-1" and m.shard in (COMPLETE, delta.DELTA)]
            return numbers

        with ThreadPoolExecutor(4) as threads:
            numbers = [number for found in threads.map(work, range(4)) for number in found]
        assert len(numbers) == len(set(numbers))
        publish_deltas(installation)
        assert serials(load(installation)) | listed(installation) == {one.serial for one in issued}
        publish(installation)
        publish_deltas(installation)
        assert known(load_crl(installation), load(installation)) == {one.serial for one in issued}
    finally:
        for store in stores:
            store.close()


def test_a_delta_finds_what_is_new_by_an_index(any_store: Store) -> None:
    """Its cost is what is new: the database is asked for that alone, not for all that are revoked."""
    query = f"SELECT serial FROM revocation WHERE authority_id = 2 AND change > 7 -- {listing.__name__}"
    with outside(any_store) as connection:
        if connection.dialect.name == "sqlite":
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
        else:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            plan = connection.execute(text(f"EXPLAIN {query}")).all()
    assert "revocation_change" in str(plan)


def test_a_delta_that_comes_second_is_dropped(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another replica's was stored between our reading and our writing."""
    publish_deltas(installation)
    revoke(installation, rig.issue(installation))
    sign, turns = delta._signed, [publish_deltas]

    def meanwhile(*rest: Any) -> bytes:
        if turns:
            turns.pop()(installation)
        return sign(*rest)

    monkeypatch.setattr(delta, "_signed", meanwhile)
    assert publish_deltas(installation) == {}
    (row,) = rows(installation.store, DeltaList, authority_id=installation.authorities.get("issuing").id)
    assert row.entries == 1
    assert issubclass(StaleChange, Exception)


# OpenSSL, which combines a complete list and a delta by itself.


def verify(directory: Path, installation: Installation, leaf: Issued, lists: Sequence[bytes]) -> str:
    """What `openssl verify` says about a leaf with these lists and deltas in use."""
    files = {
        "root": pem_certificate(installation.authorities.get("root").certificate),
        "chain": pem_chain(leaf.chain),
        "leaf": pem_certificate(leaf.certificate),
        "crls": "".join(map(pem_crl, lists)),
    }
    for name, content in files.items():
        (directory / f"{name}.pem").write_text(content)
    result = peer.run(
        peer.require("openssl"),
        *("verify", "-x509_strict", "-crl_check", "-extended_crl", "-use_deltas", "-CRLfile", directory / "crls.pem"),
        *("-CAfile", directory / "root.pem", "-untrusted", directory / "chain.pem", directory / "leaf.pem"),
    )
    return (result.stdout + result.stderr).decode()


@pytest.mark.peer("openssl")
def test_openssl_refuses_what_a_delta_says(installation: Installation, tmp_path: Path) -> None:
    """Base and delta together refuse it, the base alone does not yet; the delta alone is no evidence for anybody.

    OpenSSL looks at a delta only where the complete list, or the leaf, names one (RFC 5280 section 5.2.6).
    """
    good, bad = rig.issue(installation), rig.issue(installation)
    publish_deltas(installation)
    base = crl.load(installation, "issuing-1", COMPLETE)
    revoke(installation, bad)
    publish_deltas(installation)
    newest = delta.load(installation, "issuing-1")
    assert base is not None
    assert newest is not None
    both = [base.crl, newest.crl]
    assert "leaf.pem: OK" in verify(tmp_path, installation, good, both)
    assert "certificate revoked" in verify(tmp_path, installation, bad, both)
    assert "leaf.pem: OK" in verify(tmp_path, installation, bad, [base.crl])
    for leaf in (good, bad):
        assert "unable to get certificate CRL" in verify(tmp_path, installation, leaf, [newest.crl])
    publish(installation)
    complete = crl.load(installation, "issuing-1", COMPLETE)
    publish_deltas(installation)
    newest = delta.load(installation, "issuing-1")
    assert complete is not None
    assert newest is not None
    assert "leaf.pem: OK" in verify(tmp_path, installation, good, [complete.crl, newest.crl])
    assert "certificate revoked" in verify(tmp_path, installation, bad, [complete.crl, newest.crl])
