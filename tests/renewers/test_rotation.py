"""Both rotations from their start to their end, with leaves held and consumers that verify them at every moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca import clock, crossing, hierarchy
from ca.authority import State
from ca.certificates import find
from ca.crl import COMPLETE, load
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.models import Revocation
from ca.publication.opening import open_signed
from ca.x509.revocation_list import RevocationReason
from renewers.distribution import published, publishing
from renewers.models import Replacement
from renewers.rotation import evidence, showing, steering, successors
from renewers.rotation.underway import ORDER
from tests import rig
from tests.renewers.rotating import STREAMS, WHY, Rotating, Template, template, verifies


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A hierarchy to copy."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(made: Template, tmp_path: Path) -> Iterator[Rotating]:
    """A world of its own."""
    with made.world(tmp_path) as found:
        yield found


def test_an_issuing_ca_is_rotated_to_the_end(world: Rotating) -> None:
    """issuing-1 goes, issuing-2 signs; nobody was refused on the way."""
    rotation = world.start("issuing")
    row = world.until(rotation, "done")
    assert row.state == "done"
    assert world.states() == {"root-1": "active", "issuing-1": "retired", "issuing-2": "active"}
    assert [json.loads(row.incoming), json.loads(row.outgoing)] == [["issuing-2"], ["issuing-1"]]


def test_a_root_is_rotated_to_the_end(world: Rotating) -> None:
    """The issuing CA beneath it goes along."""
    rotation = world.start("root")
    row = world.until(rotation, "done")
    assert row.state == "done"
    assert world.states() == {
        "root-1": "retired",
        "issuing-1": "retired",
        "root-2": "active",
        "issuing-2": "active",
    }


def test_each_stage_leaves_evidence(world: Rotating) -> None:
    """In its steps, in the ledger, and as events; what people are shown has it all."""
    rotation = world.start("issuing")
    world.until(rotation, "done")
    course = showing.show(world.lifecycle, rig.AUDITOR, rotation)
    assert [stage.stage for stage in course.stages] == list(ORDER)
    assert {stage.standing for stage in course.stages} == {"over"}
    proved = next(stage for stage in course.stages if stage.stage == "prove")
    assert proved.evidence["passed_by"] == "proof"
    assert set(proved.evidence["versions"]) == set(STREAMS)
    told = [entry for entry in world.ledger("rotation-stage") if entry["what"].startswith("to ")]
    assert [entry["what"] for entry in told] == [f"to {stage}" for stage in ORDER[1:]]
    assert world.ledger("rotation-started")[0]["by"] == rig.ADMIN.identity
    assert course.work is None


def test_a_planned_one_takes_back_what_could_still_sign(world: Rotating) -> None:
    """The root stays, so the old issuing CA's certificate is on its list; its own last list is good until its end."""
    old = world.installation.authorities.get("issuing-1")
    world.until(world.start("issuing"), "done")
    found = find(world.store, old.serial)
    assert (found.state, found.revocation_reason) == ("revoked", RevocationReason.SUPERSEDED)
    last = load(world.installation, "issuing-1", COMPLETE)
    assert last is not None
    assert last.next_update == old.not_after


def test_a_planned_root_rotation_revokes_nothing(world: Rotating) -> None:
    """Nobody who trusts neither needs a list of it."""
    world.until(world.start("root"), "done")
    assert world.rows(Revocation) == []


def test_who_trusts_only_the_old_root_accepts_the_new_chain_until_the_end(world: Rotating) -> None:
    """By the cross-certificate, while the old root is in force."""
    rotation = world.start("root")
    world.until(rotation, "drain")
    fresh = world.hold("new")
    old = x509.load_der_x509_certificate(world.installation.authorities.get("root-1").certificate)
    assert verifies(fresh, [old], set())
    world.until(rotation, "done")
    assert not verifies(world.hold("newer"), [old], set())


def test_a_root_without_cross_certificates(world: Rotating) -> None:
    """Nothing is made that was not asked for; those who have to hold the new root do, before it signs."""
    world.until(world.start("root", cross=False), "done")
    assert crossing.crosses(world.store) == []


def test_a_compromised_ca_is_not_waited_for_long(world: Rotating) -> None:
    """Who was not proved within the patience is written down; what was certified is revoked for what it is."""
    world.parties["broker"].obeys = False
    old = world.installation.authorities.get("issuing-1")
    rotation = world.start("issuing", is_compromise=True, patience=400)
    world.until(rotation, "prove")
    world.until(rotation, "activate", "reissue", "drain", most=6)
    course = showing.show(world.lifecycle, rig.ADMIN, rotation)
    proved = next(stage for stage in course.stages if stage.stage == "prove")
    assert (proved.evidence["passed_by"], proved.evidence["not_proved"]) == ("patience", ["broker"])
    assert world.rows(Replacement)[0].revokes
    assert world.until(rotation, "done").state == "done"
    found = find(world.store, old.serial)
    assert (found.state, found.revocation_reason) == ("revoked", RevocationReason.CA_COMPROMISE)


def test_a_key_that_lay_beside_the_stolen_one_is_not_used(world: Rotating) -> None:
    """A generation that was prepared before the compromise goes, too."""
    with clock.pinned(world.at):
        plan = Plan("issuing", rig.common_name("Prepared before"), KeyType.P256)
        hierarchy.create_subordinate(world.installation, rig.ADMIN, "sub-ca", plan)
    world.at += timedelta(seconds=10)
    world.until(world.start("issuing", is_compromise=True), "done")
    assert world.states() == {
        "root-1": "active",
        "issuing-1": "retired",
        "issuing-2": "retired",
        "issuing-3": "active",
    }


def test_one_that_is_prepared_is_taken(world: Rotating) -> None:
    """Nothing is made twice."""
    with clock.pinned(world.at):
        plan = Plan("issuing", rig.common_name("Prepared before"), KeyType.P256)
        hierarchy.create_subordinate(world.installation, rig.ADMIN, "sub-ca", plan)
    world.until(world.start("issuing"), "done")
    assert world.states() == {"root-1": "active", "issuing-1": "retired", "issuing-2": "active"}


def test_leaves_that_nobody_replaces_are_waited_for(world: Rotating) -> None:
    """Until they end: a day, for these."""
    world.renews = False
    rotation = world.start("issuing")
    world.until(rotation, "drain")
    world.step()
    waits = json.loads(world.row(rotation).waits_for)
    assert any(world.holders["old"].serial in each for each in waits)
    end = int(world.holders["old"].certificate.not_valid_after_utc.timestamp())
    del world.holders["old"]
    world.at = clock.from_timestamp(end + 1)
    assert world.until(rotation, "done").state == "done"


def test_the_renewal_of_one_replica_does_not_count_for_another(world: Rotating) -> None:
    """Two that share a name share a lineage: the leaf of the one that has not renewed is alive, and is waited for."""
    first, second = world.holders.pop("old"), world.hold("old")
    world.holders = {"first": first, "second": second}
    world.renews = False
    rotation = world.start("issuing")
    world.until(rotation, "drain")
    world.renews = True
    renewed = world.holders.pop("first")
    world.step()
    del world.holders["second"]
    world.step()
    assert world.row(rotation).stage == "drain"
    assert first.serial in world.row(rotation).waits_for
    with clock.pinned(world.at):
        steering.override(world.lifecycle, rig.ADMIN, rotation, "drain", renewed.serial, WHY)
    assert world.until(rotation, "done").state == "done"


def test_the_last_ca_that_signs_is_never_taken_away(world: Rotating) -> None:
    """Somebody activates the old one again, by hand, while it drains: it is put right before anything goes."""
    rotation = world.start("issuing")
    world.until(rotation, "drain")
    with clock.pinned(world.at):
        hierarchy.transition(world.installation, rig.ADMIN, "issuing-1", State.ACTIVE)
    assert world.until(rotation, "done").state == "done"
    assert world.states()["issuing-2"] == "active"


@pytest.mark.parametrize("stage", ["introduce", "distrust"])
def test_what_was_not_published_is_waited_for(world: Rotating, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version counts by what is in it, not by being newer than what was asked for."""
    rotation = world.start("root")
    with monkeypatch.context() as patch:
        if stage == "distrust":
            world.until(rotation, "drain")
        patch.setattr(publishing, "publish_due", lambda _lifecycle: [])
        for _ in range(4):
            world.step()
        assert world.row(rotation).stage == stage
        assert "a publication" in world.row(rotation).waits_for
    assert world.until(rotation, "done").state == "done"


def test_nothing_stays_signed_beneath_who_goes(world: Rotating) -> None:
    """Whoever holds the new root alone can check the newest version of every stream."""
    old = [world.installation.authorities.get(name) for name in ("root-1", "issuing-1")]
    assert evidence.is_signed_beneath(world.lifecycle, old)
    rotation = world.start("root")
    world.until(rotation, "done")
    assert not evidence.is_signed_beneath(world.lifecycle, old)
    new = world.installation.authorities.get("root-2").certificate
    with world.store.read() as connection:
        rows = {stream: published.newest(connection, stream) for stream in STREAMS}
    for stream, row in rows.items():
        assert row is not None
        now = int(world.at.timestamp())
        open_signed(bytes(row.signed), [new], trust_domain=rig.DOMAIN, stream=stream, now=now, held=None)


@pytest.mark.parametrize(
    ("text", "generation", "follows"),
    [
        ("Issuing CA", 1, "Issuing CA 2"),
        ("Issuing CA 2", 2, "Issuing CA 3"),
        ("Root G2", 1, "Root G3"),
        ("Root G7", 7, "Root G8"),
        ("Site 12", 3, "Site 12 4"),
        ("Root 1", 1, "Root 2"),
        ("x" * 64, 1, "x" * 62 + " 2"),
    ],
)
def test_a_name_follows_a_name(text: str, generation: int, follows: str) -> None:
    """The number at its end is the generation's, if it is that; no name is longer than X.520 allows."""
    assert successors.next_subject(rig.common_name(text), [], generation) == rig.common_name(follows)


def test_a_name_that_is_taken_is_passed_over() -> None:
    """Also one of a CA that is long gone."""
    taken = [rig.common_name("Issuing CA 2"), rig.common_name("Issuing CA 3")]
    assert successors.next_subject(rig.common_name("Issuing CA"), taken, 1) == rig.common_name("Issuing CA 4")
