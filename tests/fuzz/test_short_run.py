"""Three thousand requests of the long campaign (`tests/fuzz/csr.py`), damaged alike in every run of the tests."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import der
from ca.keys.algorithms import KeyType
from tests import rig
from tests.fuzz import csr, damage
from tests.fuzz.csr import Report

COUNT = 3000


@pytest.fixture(scope="module")
def report() -> Report:
    """What came of the campaign."""
    return csr.campaign(COUNT, seed=20_261_121)


def test_nothing_but_refusals_is_raised(report: Report) -> None:
    """Whatever a request looks like, the answer is a certificate or a refusal, never another error (row 50)."""
    assert [(what, data.hex()) for what, data in report.escapes] == []


def test_every_certificate_is_sound(report: Report) -> None:
    """No certificate has a name outside its rules, a CA's powers, or another key than was decided (rows 5 and 46)."""
    assert [(what, data.hex()) for what, data in report.unsound] == []


def test_the_campaign_gets_everywhere(report: Report) -> None:
    """The damage is such that every step has something to refuse, and that some of it ends in a certificate."""
    assert report.pushed == COUNT
    for outcome in ("bad-csr", "bad-name", "policy-refused", "unproved", "issued"):
        assert report.outcomes[outcome] >= 10, report.outcomes
    wanted = {
        *("name-not-allowed", "number-of-names", "one-spiffe-id", "asks-for-authority", "common-name-not-a-name"),
        *("unsupported-key", "key-type-not-allowed"),
    }
    assert wanted <= set(report.reasons)


def test_the_judge_is_awake() -> None:
    """A certificate with a foreign name, a CA's powers or another key does not get past the campaign's own judge."""
    with csr.door() as door:
        installation = door._installation
        good = rig.decide(installation, "db.eu.example.internal", profile="server")
        certificate = rig.parsed(rig.issue(installation, "db.eu.example.internal", profile="server"))
        assert csr.faults(certificate, good, good.request) == []
        foreign = rig.decide(installation, "other.example.internal", profile="server", key=rig.pooled_key(place=1))
        assert "another public key" in str(csr.faults(certificate, foreign, foreign.request))
        wide = rig.decide(installation, "db.eu.example.internal", "10.0.0.1", profile="server")
        assert "other names" in str(csr.faults(certificate, wide, wide.request))
        authority = installation.authorities.issuer_for("issuing").certificate
        found = str(csr.faults(authority, good, good.request))
        assert "it is a CA" in found
        assert "no name" in found
        mesh = rig.decide(installation, rig.WORKLOAD)
        assert "mesh for None has" in str(csr.faults(certificate, mesh, mesh.request))


@settings(deadline=None, max_examples=30)
@given(place=st.integers(0, 23))
def test_an_undamaged_tree_is_the_request_itself(place: int) -> None:
    """Taking a request apart and putting it together again changes nothing, and signing it anew keeps it valid."""
    seed = damage.make_seeds()[place]
    assert seed.tree.encoded == seed.data
    csr.read_request(seed.signed(seed.tree.children[0].encoded)).prove_possession()
    assert der.header(seed.data, 0)[2] == len(seed.data)


def test_the_same_seed_does_the_same_damage() -> None:
    """A campaign can be repeated: what is done to the requests depends on the seed alone."""
    seeds = [seed for seed in damage.make_seeds() if seed.key_type is KeyType.ED25519]  # these signatures do not vary
    mutator = damage.Mutator(seeds, random.Random(7))
    before = [mutator.next() for _ in range(50)]
    mutator._chance = random.Random(7)
    assert [mutator.next() for _ in range(50)] == before
