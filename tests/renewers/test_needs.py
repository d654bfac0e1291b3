"""What a consumer needs is read strictly, and what is wrong with it is said all at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import BadRequest
from renewers.distribution.needs import BUNDLE_FORMATS, CRL_CHOICES, CRL_FORMATS, Needs, read_needs

OWN = "example.internal"
DOMAINS = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True)


def test_who_says_nothing_needs_our_bundle_and_complete_lists() -> None:
    """The defaults."""
    needs = read_needs({}, OWN)
    assert needs == Needs((OWN,), ("pem",), "complete", ("pem",))
    assert needs.streams(OWN) == (f"trust:{OWN}", f"crl:{OWN}")


def test_who_needs_another_trust_domain_alone_gets_no_lists_of_ours() -> None:
    """Its lists are its own CA's to bring, and ours say nothing about it."""
    needs = read_needs({"trust_domains": ["partner.example"]}, OWN)
    assert (needs.crl, needs.streams(OWN)) == ("none", ("trust:partner.example",))


def test_who_wants_no_lists_is_not_told_of_any() -> None:
    """One stream for each trust domain, and no other."""
    needs = read_needs({"trust_domains": [OWN, "partner.example"], "crl": "none"}, OWN)
    assert needs.streams(OWN) == (f"trust:{OWN}", "trust:partner.example")


@given(
    st.lists(DOMAINS, max_size=5, unique=True),
    st.lists(st.sampled_from(BUNDLE_FORMATS), min_size=1, unique=True),
    st.sampled_from(CRL_CHOICES),
    st.lists(st.sampled_from(CRL_FORMATS), min_size=1, unique=True),
)
def test_what_was_read_is_read_again_as_the_same(
    domains: list[str], bundle: list[str], crl: str, formats: list[str]
) -> None:
    """Whatever the order of its words: no order is meant."""
    found = {"trust_domains": list({OWN: 0, **dict.fromkeys(domains)}), "bundle": bundle, "crl": crl}
    needs = read_needs({**found, "crl_formats": formats}, OWN)
    assert read_needs(needs.as_json(), OWN) == needs
    assert needs == read_needs({**found, "bundle": bundle[::-1], "crl_formats": formats[::-1]}, OWN)
    assert set(needs.bundle) == set(bundle)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"trust_domains": []}, "trust_domains is not a list"),
        ({"trust_domains": OWN}, "trust_domains is not a list"),
        ({"trust_domains": [1]}, "trust_domains is not a list"),
        ({"trust_domains": [OWN, OWN]}, "twice"),
        ({"trust_domains": ["../etc"]}, "no trust domain"),
        ({"trust_domains": ["Example.Internal"]}, "no trust domain"),
        ({"trust_domains": [".hidden"]}, "no trust domain"),
        ({"trust_domains": ["a\nb"]}, "no trust domain"),
        ({"trust_domains": [OWN, *(f"d{n}.example" for n in range(60))]}, "more than 50"),
        ({"bundle": []}, "bundle is not a list"),
        ({"bundle": ["jks"]}, "'jks' in bundle is not one of"),
        ({"crl": "all"}, "crl is not one of"),
        ({"crl": ["complete"]}, "crl is not one of"),
        ({"crl": None}, "crl is not one of"),
        ({"crl_formats": ["txt"]}, "'txt' in crl_formats"),
        ({"trust_domains": ["partner.example"], "crl": "delta"}, "does not name example.internal"),
        ({"bundels": ["pem"]}, "bundels, which nobody reads"),
    ],
)
def test_what_cannot_be_meant_is_refused(found: dict[str, Any], said: str) -> None:
    """And the rule is named."""
    with pytest.raises(BadRequest, match=said) as caught:
        read_needs(found, OWN)
    assert caught.value.code == "bad-needs"


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """So that a person mends it in one go; and a stranger's text stays short and on one line."""
    found = {"trust_domains": ["UP" + "x" * 5000, "a\x1b[2Jb"], "bundle": ["jks", "pem", "pem"], "crl": 7, "z\n": 1}
    with pytest.raises(BadRequest) as caught:
        read_needs(found, OWN)
    message = caught.value.message
    assert all(part in message for part in ("which nobody reads", "no trust domain", "'jks'", "twice", "crl is not"))
    assert message.isprintable()
    assert len(message) < 600
