"""The runner: takes what is due, keeps what it holds, loses nothing, and lets no failure pass in silence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from ca import clock
from ca.errors import IssuerRefusal, NotDelivered
from ca.store import Store, Transaction
from ca.timekeeping import Timekeeper
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Work
from renewers.runner import Duty, Runner
from renewers.work import Claim
from tests.renewers.world import NOON, World, world


@pytest.fixture
def here(any_store: Store) -> Iterator[World]:
    """A world on each engine."""
    with world(any_store) as made:
        yield made


def plan(here: World, count: int) -> None:
    """So many pieces of work that are due."""
    here.store.write(lambda tx: work.schedule_all(tx, "job", [str(place) for place in range(count)], clock.timestamp()))


class Doing:
    """A duty that writes down what it did, and fails where it is told to."""

    def __init__(self, here: World, *, errors: dict[str, list[Exception]] | None = None) -> None:
        self.done: list[str] = []
        self.seen: list[tuple[Claim, Exception]] = []
        self._errors = errors or {}
        self.runner = Runner(here.lifecycle, {"job": Duty(self._run)})
        self.runner.on_error = lambda claim, error: self.seen.append((claim, error))

    def _run(self, lifecycle: Lifecycle, claim: Claim) -> None:
        if errors := self._errors.get(claim.subject):
            raise errors.pop(0)
        self.done.append(claim.subject)
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))


def test_what_goes_by_a_date_waits_for_a_clock(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While something speaks against it; what only carries what is published does not wait."""
    done: list[str] = []

    def run(lifecycle: Lifecycle, claim: Claim) -> None:
        done.append(claim.kind)
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))

    runner = Runner(here.lifecycle, {"job": Duty(run), "carry": Duty(run, goes_by_date=False)})
    for kind in ("job", "carry"):
        here.store.write(lambda tx, kind=kind: work.schedule_all(tx, kind, ["x"], clock.timestamp()))  # type: ignore[misc]
    with monkeypatch.context() as patch:
        patch.setattr(Timekeeper, "objection", "it is said to be wrong")
        assert (runner.drain(), done) == (1, ["carry"])
    assert (runner.drain(), done) == (1, ["carry", "job"])
    runner.stop()


def test_everything_that_is_due_is_done_once(here: World) -> None:
    """However many more there are than workers."""
    doing = Doing(here)
    plan(here, 40)
    assert doing.runner.drain() == 40
    assert sorted(doing.done, key=int) == [str(place) for place in range(40)]
    assert here.rows(Work) == []
    doing.runner.stop()


def test_a_failure_is_recorded_and_does_not_touch_the_others(here: World) -> None:
    """Of our tree or not: it is on the ladder, told, and the rest is done."""
    doing = Doing(here, errors={"1": [NotDelivered("not now")], "2": [ZeroDivisionError()], "3": [IssuerRefusal("no")]})
    with clock.pinned(NOON):
        plan(here, 5)
        doing.runner.drain()
    rows = {row.subject: row for row in here.rows(Work)}
    assert sorted(doing.done) == ["0", "4"]
    assert {subject: row.state for subject, row in rows.items()} == {"1": "waiting", "2": "waiting", "3": "stopped"}
    assert rows["1"].last_error == "not now"
    assert "ZeroDivisionError" in rows["2"].last_error
    assert {claim.subject for claim, _ in doing.seen} == {"1", "2", "3"}
    with clock.pinned(NOON + timedelta(hours=1)):
        doing.runner.drain()
    assert sorted(doing.done) == ["0", "1", "2", "4"]
    doing.runner.stop()


def test_what_lasts_longer_than_its_lease_is_kept(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A living holder extends it as long as it ticks, second after second; nobody else gets it meanwhile."""
    passed = 0
    monkeypatch.setattr(clock, "monotonic", lambda: float(passed))
    with world(any_store, lease=3) as here:
        go_on = threading.Event()
        runs = []

        def run(lifecycle: Lifecycle, claim: Claim) -> None:
            runs.append(claim.fence)
            go_on.wait(60)
            lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))

        runner = Runner(here.lifecycle, {"job": Duty(run)})
        with clock.pinned(NOON):
            plan(here, 1)
            runner.tick()
        for passed in range(1, 10):
            with clock.pinned(NOON + timedelta(seconds=passed)):
                runner.tick()
                assert work.claim(here.store, ["job"], limit=1, lease=3) == []
        go_on.set()
        runner.stop()
        assert runs == [1]
        assert here.rows(Work) == []


def test_a_tick_does_not_wait(here: World) -> None:
    """It begins as much as there are free workers, and returns."""
    go_on = threading.Event()

    def run(lifecycle: Lifecycle, claim: Claim) -> None:
        go_on.wait(20)
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))

    runner = Runner(here.lifecycle, {"job": Duty(run)})
    plan(here, 10)
    assert [runner.tick() for _ in range(3)] == [4, 0, 0]
    go_on.set()
    runner.stop()
    assert len(here.rows(Work)) == 6


def test_a_failure_that_cannot_be_recorded_is_told(here: World) -> None:
    """An error in what records an error reaches the log, too."""

    def run(_lifecycle: Lifecycle, _claim: Claim) -> None:
        raise NotDelivered("not now")

    def failed(_lifecycle: Lifecycle, _tx: Transaction, _claim: Claim, _error: Exception) -> work.Failed:
        raise KeyError("a defect of ours")

    seen: list[Exception] = []
    runner = Runner(here.lifecycle, {"job": Duty(run, failed)})
    runner.on_error = lambda _claim, error: seen.append(error)
    plan(here, 1)
    runner.tick()
    runner.stop()
    assert [type(error).__name__ for error in seen] == ["NotDelivered", "KeyError"]
