"""What is wrong with a chain is found, and nothing is found where nothing is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ca import clock
from renewers.discovery.findings import Known, is_for, is_weak, judge
from renewers.inventory.facts import Facts, read_certificate
from tests.renewers.listeners import Made, make, weak_key

ROOT = make(subject="Root", is_ca=True, days=4000)
ABOVE = make(subject="Intermediate", issuer=ROOT, is_ca=True, days=2000)
LEAF = make("api.example", "*.apps.example", issuer=ABOVE)
BESIDE = make(subject="Somebody else", is_ca=True)


def found(*chain: Made, now: int | None = None, **words: Any) -> list[str]:
    facts = [read_certificate(one.der) for one in chain]
    return judge(facts, now=clock.timestamp() if now is None else now, **words)


def facts(made: Made) -> Facts:
    return read_certificate(made.der)


@pytest.mark.parametrize("chain", [(LEAF, ABOVE), (LEAF, ABOVE, ROOT)])
def test_a_chain_that_is_whole_is_let_be(chain: tuple[Made, ...]) -> None:
    """With its root or without, by the version of today, under a name that it has."""
    assert found(*chain, server_name="api.example", version="TLSv1.3") == []


def test_time_is_judged_to_the_second() -> None:
    """The last second is valid, and so is the first."""
    leaf = facts(LEAF)
    assert found(LEAF, ABOVE, now=leaf.not_after) == []
    assert found(LEAF, ABOVE, now=leaf.not_after + 1) == ["expired"]
    assert found(LEAF, ABOVE, now=leaf.not_before) == []
    assert found(LEAF, ABOVE, now=leaf.not_before - 1) == ["not-yet-valid"]


def test_what_is_missing_or_out_of_order_is_told_apart() -> None:
    """A missing intermediate, a wrong order, and somebody else's certificate in between."""
    assert found(LEAF) == ["incomplete-chain"]
    assert found(LEAF, BESIDE) == ["incomplete-chain"]
    assert found(LEAF, ROOT, ABOVE) == ["wrong-order"]
    assert found(LEAF, BESIDE, ABOVE) == ["wrong-order"]
    assert found(LEAF, LEAF, ABOVE) == ["wrong-order"]


def test_what_the_inventory_knows_of_authorities_counts() -> None:
    """A leaf beneath a known root is whole; a chain that ends beneath a known intermediate is not."""
    direct, lower = make("a.example", issuer=ROOT), make(subject="Lower", issuer=ABOVE, is_ca=True, days=500)
    assert found(direct, known=Known(roots={facts(ROOT).subject})) == []
    deep = make("b.example", issuer=lower)
    assert found(deep, lower) == []
    assert found(deep, lower, known=Known(intermediates={facts(ABOVE).subject})) == ["incomplete-chain"]


def test_an_old_intermediate_is_noticed() -> None:
    """One that ends before the leaf, one that was replaced, and one that is not what the leaf was issued with."""
    short = make(subject="Short", issuer=ROOT, is_ca=True, days=10)
    assert found(make("a.example", issuer=short), short) == ["old-intermediate"]
    assert found(LEAF, ABOVE, known=Known(replaced={facts(ABOVE).identity})) == ["old-intermediate"]
    renewed = make(subject="Intermediate", issuer=ROOT, is_ca=True, days=2500, key=ABOVE.key)
    assert found(LEAF, ABOVE, known=Known(issued_with=frozenset({facts(renewed).identity}))) == ["old-intermediate"]
    assert found(LEAF, ABOVE, known=Known(issued_with=frozenset({facts(ABOVE).identity}))) == []


def test_self_signed_means_signed_by_its_own_key() -> None:
    """A certificate that only says so is not."""
    alone = make("alone.example")
    assert found(alone, server_name="alone.example") == ["self-signed"]
    pretending = make("alone.example", issuer=Made(alone.certificate, BESIDE.key))
    assert found(pretending) == []


def test_old_protocols_and_weak_keys_are_noticed() -> None:
    """Anywhere in the chain."""
    for version in ("SSLv3", "TLSv1", "TLSv1.1"):
        assert found(LEAF, ABOVE, version=version) == ["old-protocol"]
    feeble = make(subject="Feeble", is_ca=True, key=weak_key(), days=300)
    assert found(make("a.example", issuer=feeble), feeble) == ["weak-key"]
    weak = {"RSA-1024", "RSA-2047", "DSA-1024", "secp192r1", "sect163k1", "brainpoolP160r1"}
    fine = {"RSA-2048", "DSA-2048", "P-256", "secp224r1", "secp256k1", "sect233k1", "Ed25519", "ML-DSA-44", "1.2.3", ""}
    assert {key_type for key_type in weak | fine if is_weak(key_type)} == weak


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("api.example", True),
        ("API.example.", True),
        ("a.apps.example", True),
        ("b.a.apps.example", False),
        ("apps.example", False),
        ("example", False),
        ("*.apps.example", True),
        ("10.0.0.7", True),
        ("10.0.0.8", False),
        ("2001:db8:0::1", True),
        ("evil.example", False),
    ],
)
def test_names_cover_hosts_as_clients_see_it(host: str, covered: bool) -> None:
    """A wildcard stands for one label, an address for itself alone."""
    names = ("dns:api.example", "dns:*.apps.example", "ip:10.0.0.7", "ip:2001:db8::1", "uri:spiffe://evil.example")
    assert is_for(names, host) is covered
    assert ("wrong-name" in found(LEAF, ABOVE, server_name="other.example")) is True


def test_several_things_may_be_wrong_at_once() -> None:
    """All of them are said, in alphabetical order."""
    bad = make("old.example", key=weak_key(), start=clock.now() - timedelta(days=100), days=9)
    expected = ["expired", "old-protocol", "self-signed", "weak-key", "wrong-name"]
    assert found(bad, server_name="new.example", version="TLSv1") == expected
