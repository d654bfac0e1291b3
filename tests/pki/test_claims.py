"""Claims and patterns: a star stops where a part ends, a variable is one plain label, a pointer leads where it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.claims import compile_pattern, is_label, look_up

BRANCH = "repo:acme/{app}:ref:refs/heads/*"


@pytest.mark.parametrize(
    ("pattern", "said", "expected"),
    [
        ("system:serviceaccount:*:*", "system:serviceaccount:payments:api", {}),
        ("system:serviceaccount:*:*", "system:serviceaccount:payments:api:more", None),
        ("system:serviceaccount:*:*", "system:serviceaccount:payments", None),
        ("system:serviceaccount:*:*", "system:serviceaccount::api", None),
        ("system:serviceaccount:*:*", "system:serviceaccount:pay/ments:api", None),
        ("system:serviceaccount:*:*", "system:serviceaccount:payments:api\n", None),
        ("system:serviceaccount:*:*", "xsystem:serviceaccount:payments:api", None),
        (BRANCH, "repo:acme/shop:ref:refs/heads/main", {"app": "shop"}),
        (BRANCH, "repo:acme/shop:ref:refs/heads/a/b", None),
        (BRANCH, "repo:acme/evil/shop:ref:refs/heads/main", None),
        (BRANCH, "repo:acme/shop.js:ref:refs/heads/main", None),
        (BRANCH, "repo:acme/-shop:ref:refs/heads/main", None),
        (BRANCH, f"repo:acme/{'a' * 64}:ref:refs/heads/main", None),
        (BRANCH, "repo:acme/shöp:ref:refs/heads/main", None),
        ("repo:acme/**", "repo:acme/shop:ref:refs/heads/a/b", {}),
        ("repo:acme/**", "repo:acme/", None),
        ("release-*", "release-1.2", {}),
        ("a.b", "axb", None),
        ("true", True, {}),
        ("true", "true", {}),
        ("1", True, None),
        ("7", 7, {}),
        ("7", 7.0, None),
        ("ops", ["dev", "ops"], {}),
        ("ops", ["dev", ["ops"]], None),
        ("ops", {"ops": 1}, None),
        ("ops", None, None),
        ("a**", "a" * 1025, None),
    ],
)
def test_a_pattern_fits_what_it_says(pattern: str, said: Any, expected: dict[str, str] | None) -> None:
    """And nothing that only looks like it."""
    assert compile_pattern(pattern).match(said) == expected


@given(st.text(alphabet="ab:/*{}-.", max_size=24), st.text(alphabet="ab:/-.\n", max_size=24))
def test_a_star_never_crosses_a_border(pattern: str, said: str) -> None:
    """Whatever fits a pattern has as many parts as it, and is the same wherever the pattern is written out."""
    try:
        compiled = compile_pattern(pattern)
    except ValueError:
        return
    if compiled.match(said) is None:
        return
    wanted, found = re.split("[:/]", pattern), re.split("[:/]", said)
    if wanted[-1].endswith("**"):
        found[len(wanted) - 1 :] = ["/".join(found[len(wanted) - 1 :])]
    assert len(wanted) == len(found)
    assert all("*" in one or "{" in one or one == other for one, other in zip(wanted, found, strict=True))
    assert "\n" not in said


def test_a_pointer_leads_where_it_says() -> None:
    """RFC 6901; a name without a slash before it is a claim's own, dots and slashes in it included."""
    claims = {"kubernetes.io": {"namespace": "payments"}, "kubernetes": {"io": {"namespace": "evil"}}, "a/b": {"~": 1}}
    claims |= {"https://idp.example/groups": ["x"], "list": [{"a": 1}]}
    assert look_up(claims, "/kubernetes.io/namespace") == "payments"
    assert look_up(claims, "kubernetes.io.namespace") is None
    assert look_up(claims, "https://idp.example/groups") == ["x"]
    assert look_up(claims, "/a~1b/~0") == 1
    assert look_up(claims, "/list/0/a") is None
    assert look_up(claims, "/kubernetes.io/namespace/more") is None


@pytest.mark.parametrize(
    "odd", ["", "*", "a/b", "a.b", "..", "a\n", "-a", "a" * 64, "é", 7, None, ["a"], {"a": 1}, True]
)
def test_only_a_plain_label_is_a_variable(odd: Any) -> None:
    """What a rule would not take stands for nothing from the start."""
    assert not is_label(odd)
