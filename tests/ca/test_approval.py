"""Two persons: what changes the CAs is refused until somebody else has granted exactly that, and is then done once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from sqlalchemy import update

from ca import (
    approval,
    certificates,
    clock,
    enrolment,
    external,
    hierarchy,
    issuance,
    revocation,
    sign_in_links,
    tokens,
)
from ca.access import Caller, Role
from ca.authority import State
from ca.ceremony import answering, asking, leaving, offline
from ca.ceremony.documents import read_request
from ca.enrolment import Wish
from ca.errors import CertwrightError, Conflict, Forbidden
from ca.founding import Plan, self_signed
from ca.installation import ApprovalPolicy, Installation
from ca.keys.algorithms import KeyType
from ca.ledger.reconcile import audit
from ca.models import Approval
from ca.secret import Secret
from ca.tokens import Grant
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.test_hierarchy import labels
from tests.ca.world import entries, outside

ADA, GRACE = Caller("token:ada", Role.ADMIN, is_local=True), Caller("token:grace", Role.ADMIN)
WORDS = Secret("correct horse battery staple")
PLAN = Plan("second", rig.common_name("Second CA"), KeyType.P256)
NEVER = RevocationReason.CESSATION_OF_OPERATION
Act = Callable[[Installation, Caller], object]
ACTS: dict[str, tuple[Callable[[Installation], Act], str]] = {}


@pytest.fixture
def two(installation: Installation) -> Installation:
    """An installation in which it takes two."""
    return dataclasses.replace(installation, approval=ApprovalPolicy(two_persons=True))


def act(says: str) -> Callable[[Callable[[Installation], Act]], None]:
    def keep(make: Callable[[Installation], Act]) -> None:
        ACTS[make.__name__.strip("_")] = (make, says)

    return keep


@act("make a root")
def _root(_: Installation) -> Act:
    return lambda two, by: hierarchy.create_root(two, by, PLAN)


@act("make a CA")
def _subordinate(_: Installation) -> Act:
    return lambda two, by: hierarchy.create_subordinate(two, by, "sub-ca", PLAN)


@act("take over a CA")
def _import(_: Installation) -> Act:
    key = rig.pooled_key(place=30)
    certificate = x509.load_der_x509_certificate(self_signed(key, PLAN))
    return lambda two, by: hierarchy.import_authority(two, by, PLAN, certificate, key)


@act("move a CA to another state")
def _state(_: Installation) -> Act:
    return lambda two, by: hierarchy.transition(two, by, "issuing-1", State.TAINTED)


@act("take in what an offline CA has signed")
def _answer(one: Installation) -> Act:
    row = hierarchy.create_root(one, rig.ADMIN, PLAN)
    key = one.keys.load(row.key_label)
    pem = leaving.export(one, rig.ADMIN, row.name, WORDS)
    leaving.leave(one, rig.ADMIN, row.name, pem, WORDS)
    document = asking.request(one, rig.ADMIN, row.name).document
    answer = offline.answer(offline.judge(read_request(document)), key, present=["Ada"], program="x").encode()
    return lambda two, by: answering.accept(two, by, answer)


@act("have the key of a CA leave")
def _export(one: Installation) -> Act:
    return lambda two, by: leaving.leave(two, by, "root", leaving.export(two, by, "root", WORDS), WORDS)


@act("take the key of a CA in")
def _return(one: Installation) -> Act:
    pem = leaving.export(one, rig.ADMIN, "root", WORDS)
    leaving.leave(one, rig.ADMIN, "root", pem, WORDS)
    return lambda two, by: leaving.come_back(two, by, "root", pem, WORDS)


@act("revoke the certificate of a CA")
def _revoke(one: Installation) -> Act:
    serial = one.authorities.get("issuing").serial
    return lambda two, by: revocation.revoke(two, by, serial, NEVER)


@act("make an admin's token")
def _token(_: Installation) -> Act:
    return lambda two, by: tokens.create_token(two, by, Grant("mallory", Role.ADMIN, timedelta(days=1)))


@act("make a link that signs an admin in")
def _link(_: Installation) -> Act:
    def ask(two: Installation, by: Caller) -> object:
        return sign_in_links.make_link(two, by, role=Role.ADMIN, lifetime=timedelta(minutes=5), name="mallory")

    return ask


@act("certify an OCSP signer")
def _responder(_: Installation) -> Act:
    request, wish = rig.make_request(), Wish(subject=rig.common_name("Responder"))
    return lambda two, by: enrolment.authorise_issue(two, by, "ocsp-signer", request, wish)


@pytest.mark.parametrize("name", ACTS)
def test_it_is_done_once_when_another_one_has_granted_it(two: Installation, name: str) -> None:
    """Not before, not after a refusal, not by who has asked, not by somebody else, and not twice."""
    one = dataclasses.replace(two, approval=ApprovalPolicy())
    make, says = ACTS[name]
    do = make(one)
    before = labels(one)
    with pytest.raises(Forbidden) as caught:
        do(two, ADA)
    assert caught.value.code == "approval-needed"
    assert labels(one) == before, "a key was made for what is not granted"
    (asked,) = approval.listing(two, ADA)
    assert (asked.act, asked.state, asked.asked_by) == (says, "waits", "token:ada")
    with pytest.raises(Forbidden, match=f"approval {asked.id} "):
        do(two, ADA)
    with pytest.raises(Forbidden, match="does not grant it"):
        approval.decide(two, ADA, asked.id, is_granted=True)
    with pytest.raises(Forbidden, match="role"):
        approval.decide(two, rig.OPERATOR, asked.id, is_granted=True)
    approval.decide(two, GRACE, asked.id, is_granted=True)
    with pytest.raises(Forbidden):
        do(two, dataclasses.replace(GRACE, is_local=True))  # a grant is for who has asked
    do(two, ADA)
    assert approval.find(two, ADA, asked.id).state == "used"
    with pytest.raises(CertwrightError):
        do(two, ADA)
    assert audit(one.store, one.ledger.verifier).is_sound


def test_only_what_was_granted_is_done(two: Installation) -> None:
    """Another name, another life, another state: another act."""
    wanted = dataclasses.replace(PLAN, lifetime=timedelta(days=365))
    with pytest.raises(Forbidden):
        hierarchy.create_subordinate(two, ADA, "sub-ca", wanted)
    approval.decide(two, GRACE, 1, is_granted=True)
    for other in (
        dataclasses.replace(wanted, subject=rig.common_name("Third CA")),
        dataclasses.replace(wanted, lifetime=timedelta(days=366)),
        dataclasses.replace(wanted, key_type=KeyType.P384),
        dataclasses.replace(wanted, line="third"),
        dataclasses.replace(wanted, crl_shards=2),
    ):
        with pytest.raises(Forbidden, match="two persons"):
            hierarchy.create_subordinate(two, ADA, "sub-ca", other)
    assert hierarchy.create_subordinate(two, ADA, "sub-ca", wanted).line == "second"
    said = [entry["action"] for entry in entries(two.store) if entry["action"].startswith("approval-")]
    assert said == ["approval-asked", "approval-granted", *["approval-asked"] * 5, "approval-used"]


def test_what_was_refused_or_has_expired_is_asked_anew(two: Installation) -> None:
    """A refusal is the end of it; so is a day."""
    with pytest.raises(Forbidden):
        hierarchy.create_root(two, ADA, PLAN)
    assert approval.undecided(two) == 1
    with clock.pinned(clock.now() + timedelta(hours=25)):
        assert approval.undecided(two) == 0
    approval.decide(two, GRACE, 1, is_granted=False)
    assert approval.undecided(two) == 0
    with pytest.raises(Conflict, match="does not wait any more"):
        approval.decide(two, GRACE, 1, is_granted=True)
    with pytest.raises(Forbidden, match="approval 2 "):
        hierarchy.create_root(two, ADA, PLAN)
    approval.decide(two, GRACE, 2, is_granted=True)
    with clock.pinned(clock.now() + timedelta(hours=25)):
        assert [one.state for one in approval.listing(two, ADA)] == ["expired", "refused"]
        with pytest.raises(Forbidden, match="approval 3 "):
            hierarchy.create_root(two, ADA, PLAN)


def test_a_person_does_not_make_the_second_one(installation: Installation) -> None:
    """Tokens that one has made for the other, however many hands are between them, are one person."""
    for name, by in (("ada", rig.ADMIN), ("between", ADA), ("grace", Caller("token:between", Role.ADMIN))):
        tokens.create_token(installation, by, Grant(name, Role.ADMIN, timedelta(days=1)))
    two = dataclasses.replace(installation, approval=ApprovalPolicy(two_persons=True))
    for asks, grants in ((ADA, GRACE), (GRACE, ADA), (rig.ADMIN, ADA), (rig.ADMIN, GRACE)):
        with pytest.raises(Forbidden) as caught:
            hierarchy.create_root(two, asks, PLAN)
        assert caught.value.code == "approval-needed"
        newest = approval.listing(two, ADA)[0]
        with pytest.raises(Forbidden, match="was made by"):
            approval.decide(two, grants, newest.id, is_granted=True)
    third = Caller("token:joan", Role.ADMIN)
    approval.decide(two, third, newest.id, is_granted=True)


def test_a_person_does_not_certify_the_second_one(two: Installation) -> None:
    """A certificate that makes an admin is whoever asked for it, by whatever token, however often it was renewed."""
    one = dataclasses.replace(two, approval=ApprovalPolicy())
    tokens.create_token(one, ADA, Grant("ci", Role.REQUESTER, timedelta(days=1), profiles=["client"]))
    ci = Caller("token:ci", Role.REQUESTER, profiles=frozenset({"client"}), attributes={"user": "grace"})
    issued = rig.issue(one, "email:grace@example.internal", profile="client", caller=ci)
    for _ in range(3):
        stored = certificates.find(one.store, issued.serial)
        holder = Caller(f"certificate:{issued.serial}", Role.HOLDER, certificate=issued.serial)
        decision = enrolment.authorise_renewal(one, holder, stored, rig.make_request(*map(str, stored.names())), Wish())
        issued = issuance.issue(decision, one)
    grace = Caller(f"certificate:{issued.serial}", Role.ADMIN, certificate=issued.serial)
    with pytest.raises(Forbidden):
        hierarchy.create_root(two, ADA, PLAN)
    with pytest.raises(Forbidden, match="or by what token:ada has made"):
        approval.decide(two, grace, 1, is_granted=True)
    sign_in_links.make_link(one, ADA, role=Role.ADMIN, lifetime=timedelta(minutes=5), name="grace")
    with pytest.raises(Forbidden, match="link:grace was made by token:ada"):
        approval.decide(two, Caller("link:grace", Role.ADMIN), 1, is_granted=True)


def test_a_chain_that_is_too_long_to_follow_is_one_person(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hides behind it."""
    monkeypatch.setattr(approval, "LONGEST_CHAIN", 3)
    by = ADA
    for number in range(5):
        tokens.create_token(installation, by, Grant(f"t{number}", Role.ADMIN, timedelta(days=1)))
        by = Caller(f"token:t{number}", Role.ADMIN)
    two = dataclasses.replace(installation, approval=ApprovalPolicy(two_persons=True))
    with pytest.raises(Forbidden):
        hierarchy.create_root(two, ADA, PLAN)
    with pytest.raises(Forbidden, match="longer story"):
        approval.decide(two, by, 1, is_granted=True)


def test_a_grant_that_is_written_into_the_database_is_seen(two: Installation) -> None:
    """It lets the act through, since the database is believed; the audit says that nobody has granted it."""
    with pytest.raises(Forbidden):
        hierarchy.create_root(two, ADA, PLAN)
    with outside(two.store) as connection:
        connection.execute(update(Approval).values(decision="granted", decided_by="token:grace"))
    hierarchy.create_root(two, ADA, PLAN)
    findings = audit(two.store, two.ledger.verifier).findings
    assert [found.message for found in findings] == ["approval 1 was used by token:ada, and nobody else has granted it"]


def test_one_person_still_does_what_must_not_wait(two: Installation) -> None:
    """Leaves are issued and revoked, keys blocked, lists published, and what the program does by itself goes on."""
    issued = rig.issue(two)
    revocation.revoke(two, ADA, issued.serial, RevocationReason.KEY_COMPROMISE)
    assert certificates.find(two.store, issued.serial).state == "revoked"
    hierarchy.create_subordinate(two, Caller("system:rotation", Role.ADMIN), "sub-ca", PLAN)
    asked = external.request(two, ADA, dataclasses.replace(PLAN, line="third", subject=rig.common_name("Third")))
    external.withdraw(two, ADA, asked.name)
    assert approval.listing(two, ADA) == []
