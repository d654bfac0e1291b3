"""A few hundred requests of the long campaign (`tests/fuzz/api.py`), and whether its judges are awake."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from ca import access, policy
from pki.web.api import owners, tokens
from tests.fuzz import api
from tests.fuzz.api import Report
from tests.fuzz.api_cases import make_corpus
from tests.fuzz.api_damage import damaged
from tests.fuzz.api_wire import Ask

COUNT = 850
KINDS = {
    "nothing fails": ("escaped", "status"),
    "a refusal is a problem document": ("problem",),
    "nothing is given away": ("leak",),
    "nobody does what the table does not give": ("right", "revocation"),
    "a success is what is described": ("success", "undescribed", "schema", "material", "redirect"),
    "no certificate is against policy": ("unsound", "blocked"),
    "nothing is unrecorded": ("unrecorded",),
    "the ledger is sound": ("ledger", "audit"),
    "everything was reached, and answers at the end": ("unseen", "silent"),
}
"""The kinds of violation, by what each of them breaks."""


ONE_CAMPAIGN = pytest.mark.xdist_group("fuzz-api")
"""Those that look at it are in one process, so that it is run once."""


@pytest.fixture(scope="module")
def report() -> Report:
    """What came of the campaign."""
    return api.campaign(COUNT, seed=20_261_123)


@ONE_CAMPAIGN
@pytest.mark.parametrize("promise", KINDS)
def test_no_request_breaks(report: Report, promise: str) -> None:
    """Whatever is asked by whomever, the promise holds; a violation says how it was provoked."""
    assert [found for found in report.violations if found.partition(":")[0] in KINDS[promise]] == []


@ONE_CAMPAIGN
def test_there_is_no_other_kind_of_violation(report: Report) -> None:
    """Nothing that the campaign finds is left out above."""
    known = {kind for kinds in KINDS.values() for kind in kinds}
    assert {found.partition(":")[0] for found in report.violations} <= known


@ONE_CAMPAIGN
def test_the_campaign_gets_everywhere(report: Report) -> None:
    """Every operation was asked and had a success, every kind of request and of refusal is there."""
    assert report.asked == COUNT == sum(sum(counter.values()) for counter in report.statuses.values())
    assert min(sum(counter.values()) for counter in report.statuses.values()) > 0
    assert set(report.kinds) == set(api.KINDS)
    assert set(report.callers) >= set(api.CALLERS)
    assert {200, 201, 400, 401, 403, 404, 405, 422} <= {c for all_ in report.statuses.values() for c in all_}
    assert {"bad-request", "bad-csr", "policy-refused", "forbidden", "unauthenticated"} <= set(report.codes)
    assert report.certificates >= 20
    assert len(report.issued_by_profile) >= 4


def _raise(*_arguments: Any) -> Any:
    raise RuntimeError("broken on purpose: Traceback")


@pytest.mark.parametrize(
    ("about", "count", "target", "name", "broken", "expected"),
    [
        ("me", 20, tokens, "caller_view", _raise, "escaped: RuntimeError"),
        ("owners", 20, owners, "owner_view", _raise, "escaped: RuntimeError"),
        ("certificates", 400, policy, "judge", lambda *_arguments: [], "unsound: "),
        ("tokens", 60, access.Caller, "must", lambda *_arguments: None, "right: "),
    ],
    ids=["handler", "inventory", "policy", "rights"],
)
def test_the_campaign_is_awake(
    monkeypatch: pytest.MonkeyPatch,
    about: str,
    count: int,
    target: Any,
    name: str,
    broken: Callable[..., Any],
    expected: str,
) -> None:
    """It finds a handler that fails, a policy that says yes to every name, and callers of whom nothing is asked."""
    monkeypatch.setattr(target, name, broken)
    report = api.campaign(count, seed=1, about=f"{api.API}/{about}")
    assert any(found.startswith(expected) for found in report.violations)


def test_the_same_seed_makes_the_same_cases() -> None:
    """What is drawn from the description depends on the seed alone, and so does the damage."""
    document = {
        "openapi": "3.1.0",
        "info": {"title": "x", "version": "1"},
        "paths": {
            "/x": {
                "post": {
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"type": "object", "properties": {"a": {}}}}},
                    },
                    "responses": {"200": {"description": "yes"}},
                }
            }
        },
    }
    assert make_corpus(document, 5, 7) == make_corpus(document, 5, 7) != make_corpus(document, 5, 8)
    ask = Ask("POST /x", "nobody", "living", "POST", "/x", body=b'{"a": 1}')
    first, second = ([damaged(ask, random.Random(7)) for _ in range(50)] for _ in range(2))
    assert first == second
