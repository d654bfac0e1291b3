"""Revocation lists: which shard carries what, numbers that only grow, and nothing revoked is ever left out."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from ca import clock, crl, hierarchy, listdraft, revocation
from ca.authority import State
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher
from ca.errors import KeyUnavailable, NotFound
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys.algorithms import KeyType
from ca.models import Revocation, RevocationList
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import listed, load_crl, publish, replica, rows

SHARDS = range(4)
SUPERSEDED = RevocationReason.SUPERSEDED


def revoke(installation: Installation, issued: Issued) -> str:
    """Revoke a certificate; returns its serial number."""
    return revocation.revoke(installation, rig.OPERATOR, issued.serial, SUPERSEDED).serials[0]


def shard_of(issued: Issued) -> int:
    """The shard that a certificate names in its CRL distribution point."""
    points = rig.parsed(issued).extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    (uri,) = [name.value for point in points for name in point.full_name or ()]
    assert uri.startswith(f"{rig.PUBLIC_URL}/crl/issuing-1/")
    return int(uri.rpartition("/")[2].removesuffix(".crl"))


def issue_in(installation: Installation, shard: int) -> Issued:
    """A certificate of one shard."""
    while shard_of(issued := rig.issue(installation)) != shard:
        continue
    return issued


def test_a_revoked_certificate_is_on_the_list_that_it_names(installation: Installation) -> None:
    """Stored shard, CDP of the certificate and IDP (critical) of the one shard list that carries it are the same."""
    issued = [rig.issue(installation) for _ in range(40)]
    for one in issued:
        revoke(installation, one)
    publish(installation)
    assert {shard_of(one) for one in issued} == set(SHARDS)
    for shard in SHARDS:
        point = load_crl(installation, shard=shard).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        assert [name.value for name in point.value.full_name or ()] == [f"{rig.PUBLIC_URL}/crl/issuing-1/{shard}.crl"]
        assert listed(installation, shard=shard) == {one.serial for one in issued if shard_of(one) == shard}
        from_table = {row.serial for row in rows(installation.store, Revocation, shard=shard)}
        assert from_table == listed(installation, shard=shard)


def test_the_complete_list_is_the_union(installation: Installation) -> None:
    """It carries what the shards carry, and what has no shard, once each, and says nothing of a part (no IDP)."""
    serials = {revoke(installation, rig.issue(installation)) for _ in range(30)}
    serials.add(revoke(installation, rig.issue(installation, profile="ephemeral")))
    publish(installation)
    complete = load_crl(installation)
    assert len(complete) == len(serials)
    assert listed(installation) == serials
    with pytest.raises(x509.ExtensionNotFound):
        complete.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    in_shards = [entry for shard in SHARDS for entry in load_crl(installation, shard=shard)]
    dates = {entry.serial_number: entry.revocation_date_utc for entry in complete}
    assert all(dates[entry.serial_number] == entry.revocation_date_utc for entry in in_shards)
    (status,) = [s for s in crl.statuses(installation) if (s.authority, s.shard) == ("issuing-1", COMPLETE)]
    assert status.entries == len(serials) == crl.count_entries(installation)


def test_only_what_was_touched_is_rebuilt(installation: Installation) -> None:
    """One revocation makes two lists: its shard's and the complete one. Nothing revoked makes none."""
    issued = rig.issue(installation)
    assert publish(installation) == []
    before = {row.shard: row for row in rows(installation.store, RevocationList)}
    revoke(installation, issued)
    made = publish(installation)
    assert [(one.authority, one.shard, one.entries) for one in made] == [
        ("issuing-1", shard_of(issued), 1),
        ("issuing-1", COMPLETE, 1),
    ]
    after = {row.shard: row for row in rows(installation.store, RevocationList)}
    untouched = [shard for shard in SHARDS if shard != shard_of(issued)]
    assert [after[shard] for shard in untouched] == [before[shard] for shard in untouched]
    assert publish(installation) == []


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.ED25519, KeyType.MLDSA65])
def test_lists_are_signed_numbered_and_dated(store: Store, key_type: KeyType) -> None:
    """`cryptography` verifies the signature; number, issuer, key identifier, reason and dates are as they ought."""
    installation = rig.make_installation(store, key_type=key_type)
    serial = revoke(installation, rig.issue(installation))
    with clock.pinned(clock.now() + timedelta(hours=1)):
        revocation.revoke(installation, rig.OPERATOR, rig.issue(installation).serial, RevocationReason.UNSPECIFIED)
        publish(installation)
        now = clock.now()
        published = {s.shard: s for s in crl.statuses(installation) if s.authority == "issuing-1"}
    issuer = installation.authorities.issuer_for("issuing")
    found = load_crl(installation)
    assert found.is_signature_valid(issuer.public_key)
    assert found.issuer == issuer.certificate.subject
    assert found.last_update_utc == now - timedelta(seconds=60)
    assert found.next_update_utc == now + timedelta(hours=72)
    number = found.extensions.get_extension_for_class(x509.CRLNumber)
    assert (number.value.crl_number, number.critical) == (published[COMPLETE].number, False)
    identifier = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier.key_identifier == issuer.facts.key_identifier
    reasons = {f"{entry.serial_number:x}": list(entry.extensions) for entry in found}
    assert [extension.value.reason for extension in reasons.pop(serial)] == [x509.ReasonFlags.superseded]
    assert list(reasons.values()) == [[]], "unspecified is expressed by saying nothing"


def test_a_list_ends_with_its_authority(installation: Installation) -> None:
    """Near the end of a CA's life its lists end with it, however long the policy would let them be good."""
    end = clock.from_timestamp(installation.authorities.get("issuing").not_after)
    with clock.pinned(end - timedelta(hours=5)):
        publish(installation)
    assert {load_crl(installation, shard=shard).next_update_utc for shard in (COMPLETE, *SHARDS)} == {end}


def test_no_list_ends_before_it_begins(installation: Installation) -> None:
    """Whenever a list is made, it is good for some time, or it is not made at all."""
    end = clock.from_timestamp(installation.authorities.get("issuing").not_after)
    with clock.pinned(end + timedelta(days=1)):
        publish(installation)
    found = load_crl(installation)
    assert found.next_update_utc is not None
    assert found.last_update_utc <= found.next_update_utc


def test_lists_are_refreshed_and_alarmed_in_time(installation: Installation) -> None:
    """Without any revocation a new list comes every 12 hours; one that ends, or never was, is overdue."""
    start = clock.now() + timedelta(minutes=1)
    with clock.pinned(start + timedelta(hours=13)):
        assert len(publish(installation)) == 6
        made = clock.timestamp()
    with clock.pinned(start + timedelta(hours=24)):
        assert publish(installation) == []
    with clock.pinned(start + timedelta(hours=25, seconds=1)):
        assert len(publish(installation)) == 6
        made = clock.timestamp()
    statuses = crl.statuses(installation)
    assert len(statuses) == 6
    assert {(s.due_at - made, s.next_update - made) for s in statuses} == {(12 * 3600, 72 * 3600)}
    assert not any(crl.overdue(status, status.next_update - 1) for status in statuses)
    assert all(crl.overdue(status, status.next_update) for status in statuses)
    hierarchy.create_root(installation, rig.ADMIN, Plan("other", rig.common_name("Other Root"), KeyType.P256))
    (never_made,) = [status for status in crl.statuses(installation) if status.authority == "other-1"]
    assert crl.overdue(never_made, 0)
    assert crl.load(installation, "other-1", COMPLETE) is None
    with pytest.raises(NotFound):
        crl.load(installation, "nobody", COMPLETE)


def test_tainted_authorities_still_publish_and_retired_do_not(installation: Installation) -> None:
    """As long as a CA is trusted its revocations reach the world, also when it signs nothing else any more."""
    first, second = rig.issue(installation), rig.issue(installation)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    serial = revoke(installation, first)
    publish(installation)
    assert listed(installation) == {serial}
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.RETIRED)
    revoke(installation, second)
    assert publish(installation) == []
    assert {status.authority for status in crl.statuses(installation)} == {"root-1"}


def test_one_broken_key_does_not_stop_the_other_lists(installation: Installation) -> None:
    """A root whose key is locked away keeps nobody else's lists from being refreshed (shape 5: silent failure)."""
    with clock.pinned(clock.now() + timedelta(minutes=1)):
        hierarchy.create_root(installation, rig.ADMIN, Plan("later", rig.common_name("Later Root"), KeyType.P256))
        publish(installation)
    before = load_crl(installation, "later-1")
    installation.keys.destroy(installation.authorities.get("root").key_label)
    locked = replica(installation, installation.store)
    with clock.pinned(clock.now() + timedelta(hours=13)), suppress(KeyUnavailable):
        publish(locked)
    assert load_crl(installation, "later-1").last_update_utc > before.last_update_utc


@pytest.mark.parametrize("building", ["shard", "complete"])
def test_a_revocation_during_a_build_is_on_the_next_list(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, building: str
) -> None:
    """What is revoked after a build has read and before it stores is not lost: the list stays due."""
    first = rig.issue(installation)
    second = issue_in(installation, shard_of(first))
    pending = [second]
    write = listdraft._to_be_signed

    def revoke_meanwhile(issuer: Any, shard: int, *rest: Any, **more: Any) -> bytes:
        if pending and (shard == COMPLETE) == (building == "complete"):
            revoke(installation, pending.pop())
        return write(issuer, shard, *rest, **more)

    monkeypatch.setattr(listdraft, "_to_be_signed", revoke_meanwhile)
    revoke(installation, first)
    publish(installation)
    assert pending == []
    assert second.serial not in listed(installation)
    publish(installation)
    assert listed(installation, shard=shard_of(first)) == listed(installation) == {first.serial, second.serial}


def test_the_complete_list_waits_for_its_shards(installation: Installation) -> None:
    """A pass too short for the shards leaves the complete list for the next: it never lacks what a shard has."""
    serials = {revoke(installation, issue_in(installation, shard)) for shard in SHARDS}
    publisher = CrlPublisher(installation, CrlPolicy())
    seen = []
    for _ in range(5):
        seen += [one.shard for one in publisher.publish_due(limit=1)]
    assert sorted(seen[:4]) == list(SHARDS)
    assert seen[4] == COMPLETE
    assert listed(installation) == serials


def test_complete_lists_are_not_built_without_a_pause(installation: Installation) -> None:
    """Under a stream of revocations shards follow at once, the large complete list with a pause after each build."""
    publisher = CrlPublisher(installation, CrlPolicy())
    publisher._not_before["issuing-1"] = clock.monotonic() + 3600
    issued = rig.issue(installation)
    serial = revoke(installation, issued)
    assert [one.shard for one in publisher.publish_due()] == [shard_of(issued)]
    publisher._not_before["issuing-1"] = before = clock.monotonic()
    assert [one.shard for one in publisher.publish_due()] == [COMPLETE]
    assert listed(installation) == {serial}
    assert publisher._not_before["issuing-1"] > before
