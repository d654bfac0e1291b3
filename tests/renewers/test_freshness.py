"""The watch over consumers: what is stale, not reached or about to end is said, with why, and is over when it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import update

from ca import clock
from ca.errors import CertwrightError, Unavailable
from ca.store import Store
from renewers.distribution import consumers, freshness, holdings, showing
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Holding
from tests import rig
from tests.renewers.consuming import (
    CRL,
    DOMAIN,
    TRUST,
    add,
    alarms,
    consumer,
    drain,
    holding,
    make_lifecycle,
    material_without_files,
    moment,
    publish,
    report,
)

__all__ = ["material_without_files"]
STALE = ("consumer-stale", f"edge-1/{TRUST}")


@pytest.fixture(autouse=True)
def _material(material: None) -> None:
    """Nothing here needs files."""


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """Publishers in memory, and nothing published."""
    return make_lifecycle(store)


@contextmanager
def at(seconds: float) -> Iterator[None]:
    """So many seconds after noon."""
    with clock.pinned(moment(seconds)):
        yield


def test_who_does_not_hold_it_in_time_is_stale(any_store: Store) -> None:
    """Within what it may take nothing is said; then once, with why; more severely later; and it is over with proof."""
    lifecycle = make_lifecycle(any_store)
    with at(0):
        add(lifecycle, needs={"crl": "none"}, fresh_within=600, identities=("token:edge-1",))
        first = publish(lifecycle)
        drain(lifecycle)
    with at(599):
        assert freshness.watch(lifecycle) == 0
    with at(600):
        assert freshness.watch(lifecycle) == 1
        row = alarms(lifecycle)[STALE]
        assert row.severity == "warning"
        assert row.message.endswith("it was brought there, and nothing was ever acknowledged")
        assert row.since == int(moment(0).timestamp())
        assert freshness.watch(lifecycle) == 0
    with at(6001):
        assert freshness.watch(lifecycle) == 1
        assert alarms(lifecycle)[STALE].severity == "error"
        report(lifecycle, first)
        second = publish(lifecycle)
        assert freshness.watch(lifecycle) == 1
        assert alarms(lifecycle) == {}
    with at(6100):
        publish(lifecycle)  # what counts is the first that it lacks
    with at(6601):
        assert freshness.watch(lifecycle) == 1
        assert "was not brought there yet" in alarms(lifecycle)[STALE].message
        report(lifecycle, second)
        assert freshness.watch(lifecycle) == 1
    with at(6701):
        assert freshness.watch(lifecycle) == 1
        assert STALE in alarms(lifecycle)


def test_who_is_new_is_given_time(lifecycle: Lifecycle) -> None:
    """What is published may be old; so is who was moved."""
    with at(0):
        publish(lifecycle)
    with at(100_000):
        add(lifecycle, needs={"crl": "none"}, fresh_within=600)
        drain(lifecycle)
        freshness.watch(lifecycle)
        assert STALE not in alarms(lifecycle)
        lifecycle.store.write(
            lambda tx: tx.execute(update(Holding).values(held_since=int(moment(100_300).timestamp())))
        )
    with at(100_700):
        freshness.watch(lifecycle)
        assert STALE not in alarms(lifecycle)
    with at(100_900):
        freshness.watch(lifecycle)
        assert STALE in alarms(lifecycle)


@pytest.mark.parametrize(
    ("why", "expected"),
    [("paused", "it is paused"), ("away", "it is not reached: stage fails on order"), ("refused", "too large")],
)
def test_it_says_why(lifecycle: Lifecycle, why: str, expected: str) -> None:
    """As far as it is known; and so does whoever waits for it."""
    with at(0):
        settings = {"place": f"why-{why}", "fail_stage": -1 if why == "away" else 0}
        add(lifecycle, needs={"crl": "none"}, fresh_within=600, settings=settings, identities=("token:edge-1",))
        version = publish(lifecycle)
        if why == "paused":
            consumers.pause(lifecycle, rig.ADMIN, "edge-1")
        drain(lifecycle)
        if why == "refused":
            report(lifecycle, version, state="refused", reason="too large")
    with at(700):
        freshness.watch(lifecycle)
        assert expected in alarms(lifecycle)[STALE].message
        (lacking,) = holdings.lacking(lifecycle, TRUST, version)
        assert expected in lacking.why
        assert (lacking.held_version, lacking.since) == (0, int(moment(0).timestamp()))


def test_one_that_gates_nothing_is_stale_and_not_waited_for(lifecycle: Lifecycle) -> None:
    """It is shown all the same."""
    with at(0):
        add(lifecycle, gates=False, fresh_within=600)
        version = publish(lifecycle)
    with at(700):
        freshness.watch(lifecycle)
        assert STALE in alarms(lifecycle)
        assert holdings.lacking(lifecycle, TRUST, version) == []


def test_who_is_away_is_said_after_a_minute(lifecycle: Lifecycle) -> None:
    """Also where no second attempt has failed; over once it is reached, paused or gone."""
    alarm = ("consumer-unreachable", "edge-1")
    with at(0):
        add(lifecycle, needs={"crl": "none"})
        failing = {"failing_since": clock.timestamp(), "last_error": "no route"}
        lifecycle.store.write(lambda tx: tx.execute(update(Consumer).values(**failing)))
    with at(59):
        assert freshness.watch(lifecycle) == 0
    with at(60):
        assert freshness.watch(lifecycle) == 1
        assert "no route" in alarms(lifecycle)[alarm].message
        assert freshness.watch(lifecycle) == 0
        lifecycle.store.write(lambda tx: tx.execute(update(Consumer).values(failing_since=None)))
        assert freshness.watch(lifecycle) == 1
        assert alarms(lifecycle) == {}


def test_a_manifest_that_ends_is_said(lifecycle: Lifecycle) -> None:
    """Late once a quarter of its life is left, critical once it is over; the next version clears it."""
    alarm = ("publication-late", CRL)
    with at(0):
        publish(lifecycle, CRL, lives=1000)
    with at(749):
        assert freshness.watch(lifecycle) == 0
    with at(751):
        assert freshness.watch(lifecycle) == 1
        assert alarms(lifecycle)[alarm].severity == "warning"
        assert freshness.watch(lifecycle) == 0
    with at(1000):
        assert freshness.watch(lifecycle) == 1
        assert alarms(lifecycle)[alarm].severity == "critical"
        publish(lifecycle, CRL, lives=1000)
        assert freshness.watch(lifecycle) == 1
        assert alarms(lifecycle) == {}


def test_ages_and_counts(any_store: Store) -> None:
    """By how many versions and seconds somebody is behind, and how those of a stream stand together."""
    lifecycle = make_lifecycle(any_store)
    with at(0):
        for name in ("edge-1", "edge-2", "edge-3"):
            add(lifecycle, name, needs={"crl": "none"}, identities=(f"token:{name}",))
        first = publish(lifecycle)
    with at(10):
        publish(lifecycle)
    with at(30):
        third = publish(lifecycle)
        report(lifecycle, first, "edge-1")
        report(lifecycle, third, "edge-2")
    with at(50):
        (age,) = showing.show(lifecycle, rig.OPERATOR, "edge-1").holds
        assert (age.newest_version, age.held_version, age.behind, age.behind_seconds) == (third, first, 2, 40)
        (age,) = showing.show(lifecycle, rig.OPERATOR, "edge-2").holds
        assert (age.behind, age.behind_seconds, age.proved_by) == (0, 0, "token:edge-2")
        (age,) = showing.show(lifecycle, rig.OPERATOR, "edge-3").holds
        assert (age.held_version, age.behind, age.behind_seconds) == (0, 3, 50)
        found = holdings.counts(lifecycle.store)[TRUST]
        assert (found.consumers, found.current, found.never, found.behind_seconds) == (3, 1, 1, 40)
        shown = showing.latencies(lifecycle, rig.OPERATOR, stream=TRUST)
        assert shown is not None
        assert (shown.count, shown.longest) == (2, 30.0)
        assert showing.latencies(lifecycle, rig.OPERATOR, name="edge-3") is None
        assert holding(lifecycle).consumer_id == consumer(lifecycle).id


def test_a_responder_whose_signer_cannot_be_made_is_an_alarm(any_store: Store) -> None:
    """One for each CA, cleared once it is over."""
    trouble: dict[str, CertwrightError] = {"issuing-1": Unavailable("the disk is full"), "root-1": Unavailable("away")}
    lifecycle = make_lifecycle(any_store, status_trouble=lambda: dict(trouble))

    def standing() -> list[str]:
        return sorted(subject for kind, subject in alarms(lifecycle) if kind == freshness.RESPONDER_ALARM)

    with at(0):
        assert [freshness.watch(lifecycle) for _ in range(2)] == [2, 0]
        assert standing() == ["issuing-1", "root-1"]
        del trouble["root-1"]
        assert [freshness.watch(lifecycle) for _ in range(2)] == [1, 0]
        assert standing() == ["issuing-1"]
        trouble.clear()
        assert [freshness.watch(lifecycle) for _ in range(2)] == [1, 0]
        assert standing() == []


def test_a_signer_that_cannot_be_renewed_is_an_alarm(any_store: Store) -> None:
    """Its old certificate still signs: said while there is time, once, and over when it is mended."""
    trouble: list[CertwrightError] = [Unavailable("no generation of issuing is active", hint="certwright ca list")]
    lifecycle = make_lifecycle(any_store, signing_trouble=lambda: trouble[0] if trouble else None)
    with at(0):
        assert [freshness.watch(lifecycle) for _ in range(2)] == [1, 0]
        assert "no generation of issuing is active" in alarms(lifecycle)[freshness.SIGNER_ALARM, DOMAIN].message
        trouble.clear()
        assert [freshness.watch(lifecycle) for _ in range(2)] == [1, 0]
        assert alarms(lifecycle) == {}
