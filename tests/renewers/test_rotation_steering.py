"""Starting, gates, and what people may do to a rotation under way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from ca import approval, clock
from ca.access import Caller, Role
from ca.ceremony import answering, asking, leaving, offline
from ca.ceremony.asking import Successor
from ca.ceremony.documents import read_request
from ca.errors import BadRequest, Conflict, Forbidden, NotFound, PolicyRefusal
from ca.founding import Plan
from ca.installation import ApprovalPolicy
from ca.keys.algorithms import KeyType
from ca.profiles.config import LONGEST
from ca.secret import Secret
from ca.x509.bundle import read_private_key
from renewers.models import RotationStep, Work
from renewers.rotation import impact, showing, starting, steering, story, underway
from renewers.rotation.plans import Policy, RotationPlan, policy_of
from renewers.rotation.underway import Done
from tests import rig
from tests.renewers.rotating import NOON, WHY, Rotating, Template, template


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A hierarchy to copy."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(made: Template, tmp_path: Path) -> Iterator[Rotating]:
    """A world of its own, with the clock at hand."""
    with made.world(tmp_path) as found, clock.pinned(NOON):
        yield found


@pytest.fixture
def parting(tmp_path: Path) -> Iterator[Rotating]:
    """The same with a hierarchy of its own, whose keys may leave: they lie in memory, and others have them too."""
    for name in ("template", "world"):
        (tmp_path / name).mkdir()
    with template(tmp_path / "template").world(tmp_path / "world") as found, clock.pinned(NOON):
        yield found


def waits(world: Rotating, rotation: int) -> str:
    """What it waits for, as people read it."""
    return "; ".join(showing.show(world.lifecycle, rig.ADMIN, rotation).waits_for)


def test_one_that_never_acknowledges_is_waited_for_and_named(world: Rotating) -> None:
    """Nothing breaks, however long that is; a person's word lets it pass, in writing."""
    world.parties["broker"].obeys = False
    rotation = world.start("root")
    world.until(rotation, "prove")
    for _ in range(5):
        world.step(7200)
    assert world.row(rotation).stage == "prove"
    assert waits(world, rotation) == "broker: it lies ready to be fetched, and was not acknowledged"
    for subject, reason in (("broker", "too short"), ("broker", ""), ("", WHY), ("a\nb", WHY)):
        with pytest.raises((PolicyRefusal, BadRequest)):
            steering.override(world.lifecycle, rig.ADMIN, rotation, "prove", subject, reason)
    steering.override(world.lifecycle, rig.ADMIN, rotation, "prove", "broker", "it is switched off for good")
    world.until(rotation, "distrust")
    world.step()
    assert waits(world, rotation).startswith("broker: ")
    del world.parties["broker"]
    steering.override(world.lifecycle, rig.ADMIN, rotation, "distrust", "all", "it is switched off for good")
    assert world.until(rotation, "done").state == "done"
    course = showing.show(world.lifecycle, rig.ADMIN, rotation)
    assert {(each.gate, each.subject) for each in course.overrides} == {("prove", "broker"), ("distrust", "all")}
    said = [entry["evidence"] for entry in world.ledger("rotation-stage") if entry["what"] == "overrides prove"]
    assert [each["reason"] for each in said] == ["it is switched off for good"]


def test_a_share_of_consumers_may_be_enough(world: Rotating) -> None:
    """Half of two, if the plan says so; and the other one is in the evidence."""
    world.parties["broker"].obeys = False
    rotation = world.start("issuing", share=0.5)
    world.until(rotation, "drain")
    proved = next(
        stage for stage in showing.show(world.lifecycle, rig.ADMIN, rotation).stages if stage.stage == "prove"
    )
    assert (proved.evidence["passed_by"], proved.evidence["not_proved"]) == ("threshold", ["broker"])


def test_a_pause_holds_it_and_it_goes_on(world: Rotating) -> None:
    """At whatever stage; the work is gone meanwhile, and nobody looks for it."""
    rotation = world.start("issuing")
    steering.pause(world.lifecycle, rig.ADMIN, rotation, WHY)
    with pytest.raises(Conflict):
        steering.pause(world.lifecycle, rig.ADMIN, rotation, WHY)
    for _ in range(3):
        world.step()
    assert world.row(rotation).stage == "prepare"
    assert world.states() == {"root-1": "active", "issuing-1": "active"}
    assert [row for row in world.rows(Work) if row.kind == "rotate"] == []
    steering.resume(world.lifecycle, rig.ADMIN, rotation, WHY)
    assert world.until(rotation, "done").state == "done"


def test_there_is_one_at_a_time(world: Rotating) -> None:
    """Of a line, and of a root and what stands beneath it; the next may begin when it is over."""
    first = world.start("issuing")
    for line in ("issuing", "issuing-1", "root"):
        with pytest.raises(Conflict) as refusal:
            world.start(line)
        assert refusal.value.code == "rotation-open"
    steering.abort(world.lifecycle, rig.ADMIN, first, WHY)
    assert world.until(first, "done").state == "aborted"
    assert world.until(world.start("root"), "done").state == "done"


def test_an_aborted_root_is_vouched_for_by_nobody(world: Rotating) -> None:
    """Its cross-certificate by the root that stays is revoked, as its issuing CA's goes with it."""
    rotation = world.start("root")
    world.until(rotation, "drain")
    steering.abort(world.lifecycle, rig.ADMIN, rotation, WHY)
    with pytest.raises(Conflict) as refusal:
        steering.abort(world.lifecycle, rig.ADMIN, rotation, WHY)
    assert refusal.value.code == "rotation-reverting"
    assert world.until(rotation, "done").state == "aborted"
    assert [entry["reason"] for entry in world.ledger("certificate-revoked")] == ["cessation-of-operation"]
    with pytest.raises(Conflict) as refusal:
        steering.resume(world.lifecycle, rig.ADMIN, rotation, WHY)
    assert refusal.value.code == "rotation-over"


@pytest.mark.parametrize(
    "act",
    [
        lambda lifecycle: starting.start(lifecycle, rig.OPERATOR, RotationPlan("issuing", WHY)),
        lambda lifecycle: starting.plan(lifecycle, rig.REQUESTER, RotationPlan("issuing", WHY)),
        lambda lifecycle: steering.pause(lifecycle, rig.OPERATOR, 1, WHY),
        lambda lifecycle: steering.resume(lifecycle, rig.OPERATOR, 1, WHY),
        lambda lifecycle: steering.hurry(lifecycle, rig.OPERATOR, 1, WHY),
        lambda lifecycle: steering.abort(lifecycle, rig.OPERATOR, 1, WHY),
        lambda lifecycle: steering.override(lifecycle, rig.OPERATOR, 1, "prove", "all", WHY),
        lambda lifecycle: showing.show(lifecycle, rig.CONSUMER, 1),
        lambda lifecycle: showing.page(lifecycle, rig.CONSUMER),
        lambda lifecycle: impact.weigh(lifecycle, rig.CONSUMER, ["root"]),
        lambda lifecycle: impact.page(lifecycle, rig.CONSUMER, ["root"]),
    ],
)
def test_who_may_not_is_refused(world: Rotating, act: object) -> None:
    """Each door asks by itself."""
    with pytest.raises(Forbidden):
        act(world.lifecycle)  # type: ignore[operator]


def test_what_there_is_not(world: Rotating) -> None:
    """No such rotation, no such line, no such gate."""
    with pytest.raises(NotFound):
        steering.pause(world.lifecycle, rig.ADMIN, 7, WHY)
    with pytest.raises(NotFound):
        showing.show(world.lifecycle, rig.ADMIN, 7)
    with pytest.raises(NotFound):
        world.start("elsewhere")
    with pytest.raises(BadRequest):
        steering.override(world.lifecycle, rig.ADMIN, world.start(), "activate", "all", WHY)
    assert [row.kind for row in world.rows(Work) if row.subject == "7"] == []


def test_all_that_cannot_work_is_said_at_once(world: Rotating) -> None:
    """Before anything is written."""
    plan = {"reason": "short", "share": 0, "per_minute": 0, "leaves_left": -1, "key_type": KeyType.RSA2048}
    with pytest.raises(PolicyRefusal) as refusal:
        world.start("issuing", **plan, lifetime=timedelta(days=9000))
    assert len(refusal.value.reasons) >= 6
    with pytest.raises(PolicyRefusal) as refusal:
        world.start("issuing", subject=rig.common_name("Test Root"))
    assert [reason.code for reason in refusal.value.reasons] == ["authority-subject-taken"]
    assert world.rows(RotationStep) == []


def test_a_plan_shows_what_will_be(world: Rotating) -> None:
    """Without changing anything."""
    world.parties["broker"].obeys = False
    world.start("issuing")
    before = world.rows(RotationStep)
    world.until(1, "prove")
    shown = starting.plan(world.lifecycle, rig.AUDITOR, RotationPlan("root", WHY, per_minute=1))
    assert shown.stages[0] == "prepare"
    assert shown.outgoing[:2] == ("root-1", "issuing-1")
    assert [(making.line, making.subject, making.beneath) for making in shown.makes] == [
        ("root", "CN=Test Root 2", None),
        ("issuing", "CN=Test Issuing CA 3", "the next root"),
    ]
    assert (shown.gating, [each.name for each in shown.lacking]) == (2, ["broker"])
    assert shown.impact.by_profile == {"mesh": 1}
    assert shown.impact.unready == ("broker",)
    assert shown.seconds_of_reissue == 60
    assert [reason.code for reason in shown.objections] == ["rotation-open"]
    assert "rotation 1 of issuing" in shown.objections[0].message
    assert len(before) == 1
    refused = starting.plan(world.lifecycle, rig.AUDITOR, RotationPlan("root", "short"))
    assert [reason.code for reason in refused.objections] == ["bad-rotation", "rotation-open"]


def test_it_may_be_activated_later_and_sooner(world: Rotating) -> None:
    """A time that was named to be kind is waited for, unless somebody is in a hurry."""
    at = int(NOON.timestamp()) + 30 * 86400
    rotation = world.start("issuing", activate_at=at)
    world.until(rotation, "prove")
    for _ in range(3):
        world.step()
    assert waits(world, rotation) == "the time that it is to be activated at"
    steering.hurry(world.lifecycle, rig.ADMIN, rotation, WHY)
    world.step(1)
    assert world.row(rotation).stage == "drain"


def test_steering_is_seen_by_who_is_at_it(world: Rotating) -> None:
    """A pause that comes while a stage runs: what the stage found is not recorded, and it rests."""
    world.parties["broker"].obeys = False
    rotation = world.start("issuing")
    world.until(rotation, "prove")
    world.parties["broker"].obeys = True
    world.settle()
    real = world.store.write
    calls: list[int] = []

    def write(unit: object) -> object:
        calls.append(1)
        if len(calls) == 2:  # the first one takes the work
            steering.pause(world.lifecycle, rig.ADMIN, rotation, WHY)
        return real(unit)  # type: ignore[arg-type]

    world.store.write = write  # type: ignore[assignment]
    try:
        world.step()
    finally:
        world.store.write = real
    assert (world.row(rotation).stage, world.row(rotation).is_paused) == ("prove", True)
    assert json.loads(world.rows(RotationStep)[-1].evidence) == {"reason": WHY}


def test_a_policy_is_kept_as_it_was_asked_for() -> None:
    """To the last attribute of the subject."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Issuing, CA 2"),
        ]
    )
    plan = RotationPlan("issuing", WHY, key_type=KeyType.P384, subject=subject, lifetime=timedelta(days=9))
    policy = policy_of(plan)
    assert Policy.decode(policy.encode()) == policy
    hurried = policy_of(RotationPlan("issuing", WHY, is_compromise=True, activate_at=1))
    assert (hurried.patience, hurried.revokes, hurried.activate_at) == (3600, True, None)


def test_where_it_takes_two_persons_a_rotation_does_too(world: Rotating) -> None:
    """Starting, hurrying, passing a gate and turning back; what follows from a start that was granted goes on alone."""
    two = dataclasses.replace(world.installation, approval=ApprovalPolicy(two_persons=True))
    lifecycle = dataclasses.replace(world.lifecycle, installation=two)
    ada, grace = Caller("token:ada", Role.ADMIN), Caller("token:grace", Role.ADMIN)
    plan = RotationPlan("issuing", WHY)

    def granted(do: Callable[[], Any]) -> Any:
        with pytest.raises(Forbidden) as caught:
            do()
        assert caught.value.code == "approval-needed"
        approval.decide(two, grace, approval.listing(two, ada)[0].id, is_granted=True)
        return do()

    with pytest.raises(Forbidden):
        starting.start(lifecycle, ada, dataclasses.replace(plan, is_compromise=True))
    world.lifecycle = lifecycle
    rotation = granted(lambda: starting.start(lifecycle, ada, plan))
    world.parties["broker"].obeys = False
    world.until(rotation, "prove")
    steering.pause(lifecycle, ada, rotation, WHY)
    steering.resume(lifecycle, ada, rotation, WHY)
    granted(lambda: steering.hurry(lifecycle, ada, rotation, WHY))
    granted(lambda: steering.override(lifecycle, ada, rotation, "prove", "broker", "it is switched off for good"))
    granted(lambda: steering.abort(lifecycle, ada, rotation, WHY))
    world.until(rotation, "done")
    assert world.row(rotation).is_reverting
    said = [one.act for one in approval.listing(two, ada) if one.state == "used"]
    acts = ["turn a rotation back", "pass a gate of a rotation", "hurry a rotation", "rotate a CA"]
    assert said == acts, "the steps themselves were asked for"


class Vault:
    """The key of the root, offline, and somebody who walks there."""

    def __init__(self, world: Rotating) -> None:
        self.world, self.words = world, Secret("correct horse battery staple")
        self.pem = leaving.export(world.installation, rig.ADMIN, "root", self.words)
        leaving.leave(world.installation, rig.ADMIN, "root", self.pem, self.words)

    def carry(self, successor: Successor | None = None, **choices: Any) -> None:
        with clock.pinned(self.world.at):
            asked = asking.request(self.world.installation, rig.ADMIN, "root-1", successor, **choices)
            judged = offline.judge(read_request(asked.document))
            answer = offline.answer(judged, read_private_key(self.pem, self.words), present=["Ada"], program="x")
            answering.accept(self.world.installation, rig.ADMIN, answer.encode())


def test_an_offline_root_is_followed_by_one_that_it_certifies(parting: Rotating) -> None:
    """Its rotation says twice what has to be carried: a certificate before anything moves, the last list at the end."""
    world, vault = parting, Vault(parting)
    rotation = world.start("root")
    for _ in range(3):
        world.step()
    wanted = (
        "a certificate of root-2 by root-1, whose key is offline: certwright ceremony request root-1 --cross root-2"
    )
    assert (world.row(rotation).stage, waits(world, rotation)) == ("prepare", wanted)
    vault.carry(crosses="root-2")
    assert len(world.installation.authorities.chain("root-2")) == 1
    world.until(rotation, "retire")
    for _ in range(3):
        world.step()
    ceremony = "certwright ceremony request root-1 --list-lifetime last"
    assert waits(world, rotation) == f"the last CRL of root-1, whose key is offline: {ceremony}"
    vault.carry()
    for _ in range(3):
        world.step()
    assert world.row(rotation).stage == "retire", "a list that ends before its CA is not the last"
    vault.carry(list_lifetime=LONGEST)
    assert world.until(rotation, "done").state == "done"
    rows = {row.name: row.state for row in world.installation.authorities.all()}
    assert (rows["root-1"], rows["root-2"], rows["issuing-2"]) == ("retired", "active", "active")


def test_an_offline_root_that_has_ended_is_let_go_without_a_last_list(parting: Rotating) -> None:
    """Nobody looks at one any more, and nobody has to walk for it."""
    world, vault = parting, Vault(parting)
    rotation = world.start("root")
    for _ in range(3):
        world.step()
    vault.carry(crosses="root-2")
    world.until(rotation, "retire")
    with clock.pinned(clock.from_timestamp(world.installation.authorities.get("root-1").not_after + 60)):
        with world.lifecycle.store.read() as connection:
            found = underway.load(connection, rotation)
        assert found is not None
        assert isinstance(story.retire(world.lifecycle, found), Done)
    assert world.installation.authorities.get("root-1").state == "retired"


def test_beneath_an_offline_root_a_rotation_takes_what_a_ceremony_has_made(parting: Rotating) -> None:
    """Without it, it says what has to be carried to the key; so it does for the list that revokes the old CA."""
    world, vault = parting, Vault(parting)
    rotation = world.start("issuing")
    for _ in range(3):
        world.step()
    assert "certwright ceremony request root-1" in str([getattr(error, "hint", "") for error in world.errors])
    vault.carry(Successor(Plan("issuing", rig.common_name("Carried CA"), KeyType.P256, crl_shards=2)))
    with clock.pinned(world.at):
        steering.resume(world.lifecycle, rig.ADMIN, rotation, WHY)
    world.until(rotation, "distrust")
    for _ in range(5):
        world.step()
    assert waits(world, rotation) == "a CRL of root-1, whose key is offline: certwright ceremony request root-1"
    vault.carry()
    assert world.until(rotation, "done").state == "done"
    states = {row.name: row.state for row in world.installation.authorities.all()}
    assert (states["issuing-1"], states["issuing-2"]) == ("retired", "active")
