"""Beats come in their time wherever the machine's clock is set: back by a day, or ahead by ten years, and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from ca import clock
from pki.ticking import Beating, SteadyScheduler
from tests import peer

NOW = datetime(2026, 11, 27, tzinfo=UTC)


class Beats:
    """A scheduler with one beat a second, by a machine's clock that a test sets."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.scheduler = SteadyScheduler()
        self.scheduler.add_job(lambda: self.seen.append(time.monotonic()), Beating(1), id="beat")

    def come(self, count: int = 2) -> bool:
        """Whether so many more come, and soon."""
        wanted = len(self.seen) + count
        peer.until(lambda: len(self.seen) >= wanted, "beats", timeout=15)
        return True


class SetDatetime(datetime):
    """What APScheduler asks for the time, by the machine's clock as the test has set it."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> SetDatetime:
        """As `datetime.now`."""
        return cls.fromtimestamp(clock.on_machine()[0], tz)


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Iterator[Beats]:
    """Running."""
    monkeypatch.setattr("apscheduler.schedulers.base.datetime", SetDatetime)
    made = Beats()
    made.scheduler.start()
    yield made
    made.scheduler.shutdown()


@pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(seconds=-20), timedelta(days=3650)], ids=str)
def test_beats_go_on(beats: Beats, step: timedelta) -> None:
    """During the step, and after the clock was set right."""
    assert beats.come()
    with clock.stepped(step):
        assert beats.come()
    assert beats.come()


def test_it_looks_at_the_clock_every_second(beats: Beats) -> None:
    """Whatever it waits for: the clock may be set in the middle of its reckoning."""
    beats.scheduler.remove_job("beat")
    beats.scheduler.add_job(lambda: None, Beating(3600))
    assert beats.scheduler._process_jobs() <= 1


def test_a_step_forward_is_not_counted_out() -> None:
    """Ten years of seconds would be 315,000,000 moments, kept one by one."""
    beat = Beating(1)
    assert beat.get_next_fire_time(NOW, NOW + timedelta(days=3650)) == NOW + timedelta(days=3650, seconds=1)


def test_a_beat_follows_the_one_before() -> None:
    """Not the moment at which it was looked at, so that it does not drift."""
    beat = Beating(5)
    assert beat.get_next_fire_time(None, NOW) == NOW + timedelta(seconds=5)
    assert beat.get_next_fire_time(NOW, NOW + timedelta(seconds=0.2)) == NOW + timedelta(seconds=5)
