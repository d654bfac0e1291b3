"""What speaks against a clock, and what does not: steps, other machines' clocks, certificates from its future."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from ca import clock, hierarchy
from ca.errors import ClockUnavailable
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.store import open_store
from ca.timekeeping import Timekeeper
from tests import peer, rig
from tests.postgresql import Tables

HOUR = timedelta(hours=1)
STEPS = pytest.mark.parametrize("step", [-HOUR, HOUR, timedelta(days=-1), timedelta(days=36_500)], ids=str)


@pytest.fixture(autouse=True)
def _kept_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's clock is kept by."""
    monkeypatch.setattr(clock, "is_disciplined", lambda: False)


class Machine:
    """A machine whose two clocks a test turns."""

    def __init__(self) -> None:
        self.says, self.since_start = clock.on_machine()

    def passes(self, seconds: float, *, drift: float = 0) -> None:
        """Time goes by, and the clock goes wrong by so many seconds meanwhile."""
        self.says += seconds + drift
        self.since_start += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Read instead of the real one."""
    made = Machine()
    with monkeypatch.context() as patch:
        patch.setattr(clock, "on_machine", lambda: (made.says, made.since_start))
        clock.believe()
        yield made
    clock.believe()


def test_time_that_goes_by_is_no_step(machine: Machine) -> None:
    """Neither a second nor a year, during which the machine may have slept."""
    for seconds in (1, 3600, 365 * 86400):
        machine.passes(seconds)
        assert (clock.exactly(), Timekeeper().objection) == (machine.says, None)


def test_a_clock_that_is_put_right_by_degrees_is_followed(machine: Machine) -> None:
    """However far it goes in the end: chrony moves it by 83 milliseconds a second at most."""
    for _ in range(10_000):
        machine.passes(5, drift=0.4)
        assert (clock.exactly(), clock.step()) == (machine.says, 0)


@pytest.mark.parametrize(("drift", "said"), [(61, "forward by 0:01:01"), (-61, "back by 0:01:01"), (59, None)])
def test_a_step_is_told_by_its_size(machine: Machine, drift: float, said: str | None) -> None:
    """What is small is none, and the sentence has the direction and how far it went."""
    machine.passes(1, drift=drift)
    told = f"the clock was set {said}, and no time service keeps it"
    assert Timekeeper().objection == (told if said else None)


def test_time_goes_on_as_if_nobody_had_touched_it(machine: Machine) -> None:
    """A step is one for as long as the clock stays wrong, however often it is asked, and no longer."""
    began = clock.exactly()
    machine.passes(1, drift=7200)
    for day in range(1, 4):
        machine.passes(86400)
        assert clock.exactly() == pytest.approx(began + 1 + day * 86400)
        assert clock.step() == pytest.approx(7200)
    machine.passes(1, drift=-7199)
    assert (clock.exactly(), clock.step()) == (machine.says, 0)


def test_a_time_service_is_believed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step is right, and what comes after is measured from there."""
    machine.passes(1, drift=7200)
    monkeypatch.setattr(clock, "is_disciplined", lambda: True)
    assert (clock.step(), clock.exactly()) == (0, machine.says)
    monkeypatch.setattr(clock, "is_disciplined", lambda: False)
    assert (clock.exactly(), clock.step()) == (machine.says, 0)
    machine.passes(1, drift=-7200)
    assert clock.step() == pytest.approx(-7200)


@STEPS
def test_nothing_is_dated_by_a_clock_that_was_set(installation: Installation, step: timedelta) -> None:
    """No leaf, no CA and no root, whoever asks: with it right again, all of them."""
    with clock.stepped(step):
        for attempt in (
            lambda: rig.issue(installation),
            lambda: hierarchy.create_root(installation, rig.ADMIN, plan("elsewhere")),
            lambda: hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("factory")),
        ):
            with pytest.raises(ClockUnavailable, match="no date is taken from this machine: the clock was set"):
                attempt()
    rig.issue(installation)
    hierarchy.create_root(installation, rig.ADMIN, plan("elsewhere"))
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("factory"))


def plan(line: str) -> hierarchy.Plan:
    """A CA to be made."""
    return hierarchy.Plan(line, rig.common_name(line), KeyType.P256, crl_shards=0)


def test_a_machine_that_woke_up_in_the_past_is_noticed(installation: Installation) -> None:
    """By the newest certificate, before anything else; and it goes on by itself once its clock is right."""
    rig.issue(installation)
    years = timedelta(days=400)
    with clock.stepped(-years, at_start=True):
        watch = Timekeeper()
        watch.compare(installation.store)
        assert watch.objection is not None
        assert "days" in watch.objection
        assert "behind the newest certificate" in watch.objection
        with clock.stepped(years):
            watch.compare(installation.store)
            assert watch.objection is None
            assert clock.exactly() == pytest.approx(clock.on_machine()[0], abs=5)


def test_a_wider_tolerance_lets_it_pass(installation: Installation) -> None:
    """For a machine without a time service whose certificates came from a wrong future."""
    rig.issue(installation)
    with clock.stepped(timedelta(days=-400), at_start=True):
        watch = Timekeeper(timedelta(days=401))
        watch.compare(installation.store)
        assert watch.objection is None


def test_who_was_right_is_not_made_wrong_by_another(installation: Installation) -> None:
    """A replica whose clock runs ahead records certificates from the future: that is its mistake."""
    watch = Timekeeper()
    watch.compare(installation.store)
    with clock.pinned(clock.now() + timedelta(days=30)):
        rig.issue(installation)
    watch.compare(installation.store)
    assert watch.objection is None
    later = Timekeeper()
    later.compare(installation.store)
    assert later.objection is not None


@pytest.mark.peer("postgresql")
@STEPS
def test_the_databases_clock_is_another_witness(databases: Tables, step: timedelta) -> None:
    """Both ways; and from wherever the clock is set right, that is no step."""
    with databases.lent() as url, closing(open_store(url)) as store:
        with clock.stepped(step, at_start=True):
            watch = Timekeeper()
            watch.compare(store)
            assert watch.objection is not None
            assert "the database's clock is" in watch.objection
        watch.compare(store)
        assert watch.objection is None


@pytest.mark.peer("postgresql")
@STEPS
def test_a_step_beside_a_database_that_is_right_moves_no_time(databases: Tables, step: timedelta) -> None:
    """Two witnesses say the same, and time goes on as before."""
    with databases.lent() as url, closing(open_store(url)) as store:
        watch, began = Timekeeper(), clock.exactly()
        watch.compare(store)
        with clock.stepped(step):
            for _ in range(3):
                watch.compare(store)
                assert watch.objection is not None
                assert 0 <= clock.exactly() - began < 30
        watch.compare(store)
        assert watch.objection is None


class Kernel:
    """A libc whose adjtimex(2) answers as it was told."""

    def __init__(self, status: int, answer: int) -> None:
        self._status, self._answer = status, answer

    def adjtimex(self, state: Any) -> int:
        """Fills in what the kernel would."""
        assert state._obj.modes == 0  # asked, not changed
        state._obj.status = self._status
        return self._answer


@pytest.mark.parametrize(
    ("kernel", "is_kept"),
    [
        (Kernel(0x2001, 0), True),  # chrony, systemd-timesyncd
        (Kernel(0x2041, 5), False),
        (Kernel(0x0040, 5), False),  # nobody has ever looked after it
        (Kernel(0x0000, -1), False),  # not allowed
        (object(), False),  # no Linux
    ],
)
def test_the_kernel_says_whether_a_time_service_keeps_it(
    kernel: object, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STA_UNSYNC, which setting the clock by hand sets again (adjtimex(2))."""
    monkeypatch.undo()
    monkeypatch.setattr(clock, "_libc", kernel)
    assert clock.is_disciplined() is is_kept


def test_the_real_kernel_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says the same as to `adjtimex` of BusyBox."""
    monkeypatch.undo()
    shown = peer.run(peer.require("busybox"), "adjtimex").stdout.decode()
    assert clock.is_disciplined() is ("UNSYNC" not in shown), shown
