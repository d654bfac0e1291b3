"""What a generation that is not the active one may sign: CAs and probes, while it is prepared; a leaf, never."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlmodel import col

from ca import enrolment, hierarchy, issuance
from ca.access import Caller, Role
from ca.authority import State
from ca.enrolment import Decision, Wish
from ca.errors import CertwrightError, Defect, PolicyRefusal, Unavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued, Story, issuing
from ca.keys.algorithms import KeyType
from ca.models import Authority, Certificate, Intent
from ca.store import Store, open_store
from tests import rig
from tests.ca.world import count, outside, replica

SYSTEM = Caller("system:probes", Role.ADMIN)
LEAVES = ("mesh", "server", "client", "device", "edge", "ephemeral")
NAME_OF = {
    "client": "ada@example.internal",
    "device": "s1.devices.example.internal",
    "edge": "shop.edge.example.internal",
    "ephemeral": rig.WORKLOAD,
    "mesh": rig.WORKLOAD,
    "server": "db.example.internal",
}
ROADS = {
    State.PREPARED: [],
    State.ACTIVE: [State.ACTIVE],
    State.TAINTED: [State.ACTIVE, State.TAINTED],
    State.DISTRUSTED: [State.ACTIVE, State.TAINTED, State.DISTRUSTED],
    State.RETIRED: [State.RETIRED],
}
NOT_SIGNING = (State.TAINTED, State.DISTRUSTED, State.RETIRED)


def second(installation: Installation, state: State, line: str = "issuing") -> str:
    """A second generation of a line, brought to a state; the line's first is active again where that can be."""
    if line == "root":
        row = hierarchy.create_root(installation, rig.ADMIN, Plan("root", rig.common_name("Root 2"), KeyType.P256))
    else:
        plan = Plan(line, rig.common_name("Issuing 2"), KeyType.P256, crl_shards=2)
        row = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan)
    for step in ROADS[state]:
        hierarchy.transition(installation, rig.ADMIN, row.name, step)
    if state is not State.ACTIVE:
        with suppress(CertwrightError):
            hierarchy.transition(installation, rig.ADMIN, f"{line}-1", State.ACTIVE)
    return row.name


def leaf(installation: Installation, profile: str = "mesh", wish: Wish | None = None) -> Decision:
    """A decision about an ordinary leaf."""
    request = rig.make_request(NAME_OF[profile])
    return enrolment.authorise_issue(installation, rig.ADMIN, profile, request, wish or Wish())


def probe(installation: Installation, authority: str) -> Decision:
    """A decision about a probe."""
    return enrolment.authorise_probe(installation, SYSTEM, rig.make_request(), authority=authority)


def sub_ca(installation: Installation, authority: str) -> Decision:
    """A decision about a CA beneath a root that is named."""
    wish = Wish(subject=rig.common_name("Deep"), path_length=0, authority=authority)
    return enrolment.authorise_authority(installation, rig.ADMIN, "sub-ca", rig.make_request(), wish)


def forged(decision: Decision, authority: str) -> Decision:
    """The decision as a bug would have it: past the authoriser, and past the class's own check."""
    object.__setattr__(decision, "authority", authority)
    return decision


def written(store: Store) -> tuple[int, int]:
    """How many intents and certificates there are."""
    return count(store, Intent), count(store, Certificate)


@pytest.mark.parametrize("state", State)
def test_no_wish_of_a_leaf_names_who_signs(installation: Installation, state: State) -> None:
    """Refused by the authoriser with the reason, even where it names the active one: for leaves there is no choice."""
    name = second(installation, state)
    before = written(installation.store)
    for profile, chosen in itertools.product(LEAVES, (name, "issuing-1", "issuing", "root-1", "nonsense")):
        with pytest.raises(PolicyRefusal) as caught:
            leaf(installation, profile, Wish(authority=chosen))
        assert [reason.code for reason in caught.value.reasons] == ["authority-not-chosen"]
    assert written(installation.store) == before


def test_a_forged_decision_of_a_leaf_is_a_defect(installation: Installation) -> None:
    """Were a leaf's decision to name a generation all the same, be it the active one, nothing is signed."""
    before = written(installation.store)
    for name in ("issuing-1", "root-1", second(installation, State.PREPARED)):
        with pytest.raises(Defect):
            issuance.issue(forged(leaf(installation), name), installation)
    assert written(installation.store) == (before[0], before[1] + 1), "the second generation's own certificate"


def test_the_tables_refuse_what_another_generation_would_sign(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the wrong issuer to get as far as the intent, it is not recorded, and so the key does nothing."""
    installation = rig.make_installation(any_store)
    name = second(installation, State.PREPARED)
    monkeypatch.setattr(issuance, "_issuer", lambda *_: installation.authorities.issuer(name))
    before = written(any_store)
    for state in (State.PREPARED, *NOT_SIGNING):
        set_state(any_store, name, state)
        installation.authorities.forget()
        for decision in (leaf(installation), forged(leaf(installation), name)):
            with pytest.raises(Unavailable) as caught:
                issuance.issue(decision, installation)
            assert caught.value.code == "no-active-authority"
        if state in NOT_SIGNING:
            with pytest.raises(Unavailable):
                issuance.issue(probe(installation, name), installation)
    assert written(any_store) == before


def test_the_last_step_of_a_leaf_has_the_strict_guard(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At completion, too, a leaf's CA has to be active, whatever its decision says: prepared is not enough."""
    name = second(installation, State.ACTIVE)
    monkeypatch.setattr(issuance, "_issuer", lambda *_: installation.authorities.issuer(name))
    story = issuing(forged(leaf(installation), name), installation)
    intend(story, installation)
    set_state(installation.store, name, State.PREPARED)  # no transition leads there
    certificates = count(installation.store, Certificate)
    with pytest.raises(Unavailable):
        complete(story, installation)
    assert written(installation.store) == (1, certificates)


def set_state(store: Store, name: str, state: State) -> None:
    """Change a state behind everybody's back."""
    with outside(store) as connection:
        connection.execute(update(Authority).where(col(Authority.name) == name).values(state=state.value))


def intend(story: Story, installation: Installation) -> None:
    """Make the first step of a story durable."""
    installation.store.write(next(story))  # type: ignore[arg-type]


def complete(story: Story, installation: Installation) -> Issued:
    """Make its last step durable; returns the answer."""
    installation.store.write(story.send(None))  # type: ignore[arg-type]
    with pytest.raises(StopIteration) as end:
        story.send(None)
    return end.value.value  # type: ignore[no-any-return]


def test_the_class_itself_refuses_a_leaf_that_chose(installation: Installation) -> None:
    """Whoever holds the seal cannot make one, either."""
    made = leaf(installation)
    fields = {name: getattr(made, name) for name in type(made).__dataclass_fields__ if name != "seal"}
    with pytest.raises(Defect):
        Decision(**{**fields, "authority": "issuing-1"}, seal=enrolment._SEAL)


@pytest.mark.parametrize("state", State)
def test_probes_come_from_prepared_and_active_generations(installation: Installation, state: State) -> None:
    """Those that a rotation has to ask consumers about; no other."""
    name = second(installation, state)
    before = written(installation.store)
    if state in NOT_SIGNING:
        with pytest.raises(Unavailable):
            issuance.issue(probe(installation, name), installation)
        assert written(installation.store) == before
        return
    issued = issuance.issue(probe(installation, name), installation)
    assert issued.authority == name
    assert issued.chain == installation.authorities.chain(name)
    rig.parsed(issued).verify_directly_issued_by(installation.authorities.issuer(name).certificate)
    if state is State.PREPARED:
        assert rig.issue(installation).authority == "issuing-1", "ordinary leaves come from the active one as before"


@pytest.mark.parametrize("state", NOT_SIGNING)
def test_nobody_gets_ready_to_sign_who_may_not(installation: Installation, state: State) -> None:
    """Refused before a key is made or loaded, and not only by the tables."""
    name = second(installation, state)
    with pytest.raises(Unavailable) as caught:
        installation.authorities.signer(name)
    assert caught.value.code == "no-active-authority"


@pytest.mark.parametrize("state", State)
def test_cas_are_made_beneath_prepared_and_active_roots(installation: Installation, state: State) -> None:
    """`parent` names the generation; its row, its certificate and its chain say so."""
    name = second(installation, state, "root")
    plan = Plan("issuing", rig.common_name("Issuing under 2"), KeyType.P256)
    before = written(installation.store)
    if state in NOT_SIGNING:
        with pytest.raises(Unavailable):
            hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan, parent=name)
        with pytest.raises(Unavailable):
            issuance.issue(sub_ca(installation, name), installation)
        assert written(installation.store) == before
        return
    row = hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan, parent=name)
    assert (row.state, row.parent_id) == ("prepared", installation.authorities.get(name).id)
    certificate, above = (installation.authorities.issuer(each).certificate for each in (row.name, name))
    certificate.verify_directly_issued_by(above)


@pytest.mark.parametrize("kind", ["probe", "sub-ca"])
@pytest.mark.parametrize("last", NOT_SIGNING)
def test_who_stops_signing_between_intent_and_completion_is_refused(
    installation: Installation, kind: str, last: State
) -> None:
    """Row 55's pattern for chosen generations: the certificate is never recorded, and its intent can be given up."""
    name = second(installation, State.PREPARED, "issuing" if kind == "probe" else "root")
    decision = (probe if kind == "probe" else sub_ca)(installation, name)
    story = issuing(decision, installation)
    intend(story, installation)
    for step in ROADS[last]:
        hierarchy.transition(installation, rig.ADMIN, name, step)
    before = count(installation.store, Certificate)
    with pytest.raises(Unavailable):
        complete(story, installation)
    assert written(installation.store) == (1, before)


@pytest.mark.parametrize("kind", ["probe", "sub-ca"])
def test_who_begins_signing_meanwhile_is_no_obstacle(installation: Installation, kind: str) -> None:
    """A generation that is activated between the two steps was allowed before and is so after."""
    name = second(installation, State.PREPARED, "issuing" if kind == "probe" else "root")
    story = issuing((probe if kind == "probe" else sub_ca)(installation, name), installation)
    intend(story, installation)
    hierarchy.transition(installation, rig.ADMIN, name, State.ACTIVE)
    assert complete(story, installation).authority == name


def test_another_replica_that_has_not_heard_is_refused(installation: Installation) -> None:
    """It may still think that the generation is prepared; the tables know better."""
    name = second(installation, State.PREPARED)
    other = replica(installation, installation.store)
    assert other.authorities.get(name).state == "prepared"
    hierarchy.transition(installation, rig.ADMIN, name, State.RETIRED)
    with pytest.raises(Unavailable):
        issuance.issue(probe(other, name), other)


def test_the_name_of_a_line_means_its_active_generation(installation: Installation) -> None:
    """For a probe as everywhere."""
    second(installation, State.PREPARED)
    assert issuance.issue(probe(installation, "issuing"), installation).authority == "issuing-1"


def test_the_chosen_generation_is_part_of_the_question(installation: Installation) -> None:
    """Under one idempotency key another generation is another request; without one the digest is what it always was."""
    name = second(installation, State.PREPARED)
    assert probe(installation, name).digest != probe(installation, "issuing-1").digest
    assert leaf(installation).digest == leaf(installation).digest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_wished_an_ordinary_leaf_is_of_the_active_one(house: Installation, data: st.DataObject) -> None:
    """Any walk of states, any wish, any profile, forged or not: what is issued is signed by who was active then."""
    generations = [row.name for row in house.authorities.all() if row.line == "issuing"]
    for _ in range(data.draw(st.integers(0, 3))):
        with suppress(CertwrightError):
            name, state = data.draw(st.sampled_from(generations)), data.draw(st.sampled_from(State))
            hierarchy.transition(house, rig.ADMIN, name, state)
    active = [row.name for row in house.authorities.all() if (row.line, row.state) == ("issuing", "active")]
    profile = data.draw(st.sampled_from(LEAVES))
    chosen = data.draw(st.sampled_from([None, "issuing", "root", *generations]))
    try:
        if data.draw(st.booleans()):
            decision = leaf(house, profile, Wish(authority=chosen))
        else:
            decision = forged(leaf(house, profile), chosen) if chosen else leaf(house, profile)
        issued = issuance.issue(decision, house)
    except CertwrightError:
        return
    assert issued.authority in active


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One installation with four generations of the issuing CA."""
    made = rig.make_installation(open_store(f"sqlite:///{tmp_path_factory.mktemp('chosen')}/certwright.db"))
    for number in range(2, 5):
        plan = Plan("issuing", rig.common_name(f"Issuing {number}"), KeyType.P256, crl_shards=2)
        hierarchy.create_subordinate(made, rig.ADMIN, "sub-ca", plan)
    return made
