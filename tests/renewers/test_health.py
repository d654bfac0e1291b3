"""Issuers that do not answer rest, longer each time; that is said once it lasts, and they come back by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ca import clock
from ca.errors import IssuerRefusal, IssuerUnavailable, Misconfigured
from ca.store import Store
from renewers.models import IssuerHealth
from renewers.renewing import health
from tests.renewers.world import NOON, World, world

DOWN = IssuerUnavailable("connection refused")


@pytest.fixture
def here(any_store: Store) -> Iterator[World]:
    """A world on each engine."""
    with world(any_store) as made:
        yield made


def test_who_failed_comes_last_until_it_has_rested(here: World) -> None:
    """The order is that of the lineage but for those that rest, the soonest ready first."""
    with clock.pinned(NOON):
        health.failed(here.store, "a", DOWN)
        health.failed(here.store, "a", DOWN)
        health.failed(here.store, "b", DOWN)
        assert health.in_order(here.store, ["a", "b", "c", "d"]) == ["c", "d", "b", "a"]
    with clock.pinned(NOON + timedelta(seconds=31)):
        assert health.in_order(here.store, ["a", "b", "c"]) == ["b", "c", "a"]
    with clock.pinned(NOON + timedelta(seconds=61)):
        assert health.in_order(here.store, ["a", "b", "c"]) == ["a", "b", "c"]


def test_the_rest_grows_and_has_an_end(here: World) -> None:
    """Doubled with each failure in a row, a quarter of an hour at most; one success ends it."""
    rests = []
    with clock.pinned(NOON):
        for _ in range(12):
            health.failed(here.store, "a", DOWN)
            rests.append(here.rows(IssuerHealth)[0].not_before - clock.timestamp())
        assert rests == [30, 60, 120, 240, 480, 900, 900, 900, 900, 900, 900, 900]
        health.succeeded(here.store, "a")
        health.failed(here.store, "a", DOWN)
        assert here.rows(IssuerHealth)[0].not_before - clock.timestamp() == 30


def test_what_is_about_a_name_says_nothing_about_its_issuer(here: World) -> None:
    """A failed validation, a limit: the issuer answers."""
    health.failed(here.store, "a", IssuerUnavailable("no such record", code="validation-failed"))
    health.failed(here.store, "a", IssuerUnavailable("too many", code="rate-limited", retry_after=3600))
    assert here.rows(IssuerHealth) == []


def test_it_is_said_once_it_has_lasted_and_once_when_it_is_over(here: World) -> None:
    """With its age; a short failure is an event and no alarm."""
    for minutes in range(0, 60, 5):
        with clock.pinned(NOON + timedelta(minutes=minutes)):
            health.failed(here.store, "a", DOWN)
    assert here.alarms() == {"issuer-unreachable": "error"}
    assert here.events() == ["issuer-failed", "alarm-raised"]
    with clock.pinned(NOON + timedelta(hours=1)):
        health.succeeded(here.store, "a")
    assert here.alarms() == {}
    assert here.events()[-1] == "alarm-cleared"


def test_issuers_are_asked_whether_they_are_there(here: World) -> None:
    """Those that are away rest; one that answers with a refusal is there; an error of one does not touch the others."""

    def check(name: str, error: Exception) -> None:
        def refuse() -> None:
            raise error

        here.issuers[name].check = refuse  # type: ignore[method-assign]

    check("first", DOWN)
    check("second", IssuerRefusal("the account is closed"))
    with clock.pinned(NOON):
        health.check_all(here.lifecycle)
    rows = {row.issuer: row for row in here.rows(IssuerHealth)}
    assert rows["first"].failing_since is not None
    assert rows["second"].failing_since is None
    check("second", Misconfigured("another directory"))
    with clock.pinned(NOON):
        health.check_all(here.lifecycle)
    assert {row.issuer: row.failing_since is None for row in here.rows(IssuerHealth)} == {
        "first": False,
        "second": True,
    }
