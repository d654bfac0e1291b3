"""Leases, on SQLite and on PostgreSQL: one holder at a time, an end by the clock, a fence that only grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from ca import clock
from ca.store import Store, open_store
from ca.store.lease import Held, give_back, leased, take
from tests.conftest import fresh_database

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
THREADS = 16
TURNS = 20


def race(stores: list[Store], name: str) -> list[Held | None]:
    """What 16 threads get that all try to take a lease at the same moment."""
    start = threading.Barrier(THREADS)

    def attempt(place: int) -> Held | None:
        start.wait()
        return take(stores[place % len(stores)], name, 60)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(attempt, range(THREADS)))


def work_in_turns(stores: list[Store]) -> tuple[int, int, list[int]]:
    """Threads that take the lease over and over: how often it was held, by how many at most, under which fences.

    They go on for half a second, and until it has changed hands often enough to judge, however slow the disk is.
    """
    inside, most = 0, 0
    fences: list[int] = []
    begun = time.monotonic()

    def goes_on() -> bool:
        spent = time.monotonic() - begun
        return spent < 0.5 or (len(fences) < TURNS and spent < 60)

    def worker(place: int) -> None:
        nonlocal inside, most
        while goes_on():
            with leased(stores[place % len(stores)], "work", 60) as held:
                if held is not None:
                    inside += 1
                    most = max(most, inside)
                    fences.append(held.fence)
                    time.sleep(0.001)
                    inside -= 1

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(worker, range(THREADS)))
    return len(fences), most, fences


def test_one_of_many_gets_it(any_store: Store) -> None:
    """Of 16 threads that want a lease at once exactly one holds it, whether its row exists already or not."""
    for turn in range(1, 11):
        winners = [held for held in race([any_store], "job") if held is not None]
        assert [(held.name, held.fence) for held in winners] == [("job", turn)]
        give_back(any_store, winners[0])


def test_holders_never_overlap(any_store: Store) -> None:
    """At no moment do two hold one lease, and every holder has a larger fence than the one before."""
    turns, most, fences = work_in_turns([any_store])
    assert turns >= TURNS
    assert most == 1
    assert fences == sorted(set(fences))


def test_two_replicas_never_overlap(replicas: list[Store]) -> None:
    """The same is true of two processes' stores on one PostgreSQL database."""
    for turn in range(1, 6):
        winners = [held for held in race(replicas, "first") if held is not None]
        assert [held.fence for held in winners] == [turn]
        give_back(replicas[turn % 2], winners[0])
    turns, most, fences = work_in_turns(replicas)
    assert turns >= TURNS
    assert most == 1
    assert fences == sorted(set(fences))


def test_a_lease_ends_by_the_clock(any_store: Store) -> None:
    """A dead holder is followed once its time is over, and not one second earlier."""
    with clock.pinned(NOON):
        assert take(any_store, "job", 30) is not None
    with clock.pinned(NOON + timedelta(seconds=29)):
        assert take(any_store, "job", 30) is None
    with clock.pinned(NOON + timedelta(seconds=30)):
        follower = take(any_store, "job", 30)
    assert follower is not None
    assert follower.fence == 2


def test_the_fence_outlives_its_holders(any_store: Store) -> None:
    """Given back or run out, every later lease of a name has a larger fence."""
    fences = []
    for turn in range(6):
        with clock.pinned(NOON + timedelta(hours=turn)):
            held = take(any_store, "job", 60)
            assert held is not None
            fences.append(held.fence)
            if turn % 2:
                give_back(any_store, held)
    assert fences == [1, 2, 3, 4, 5, 6]


def test_only_the_holder_gives_back(any_store: Store) -> None:
    """Whoever was too slow and lost the lease cannot end it for the one who has it now."""
    with clock.pinned(NOON):
        slow = take(any_store, "job", 10)
    with clock.pinned(NOON + timedelta(seconds=10)):
        current = take(any_store, "job", 10)
        assert slow is not None
        assert current is not None
        give_back(any_store, slow)
        assert take(any_store, "job", 10) is None
        give_back(any_store, current)
        give_back(any_store, current)
        assert take(any_store, "job", 10) is not None


def test_names_are_apart(any_store: Store) -> None:
    """A lease stands in nobody's way but that of others who want the same name."""
    held = [take(any_store, f"shard-{place}", 60) for place in range(5)]
    assert [lease.fence for lease in held if lease is not None] == [1] * 5
    assert len({lease.holder for lease in held if lease is not None}) == 5


def test_a_block_gives_back_whatever_happens(any_store: Store) -> None:
    """`leased` ends the lease after an error, too; who finds it taken is told so and ends nothing."""
    with leased(any_store, "job", 60) as held:
        assert held is not None
        with leased(any_store, "job", 60) as second:
            assert second is None
        assert take(any_store, "job", 60) is None
    with pytest.raises(ZeroDivisionError), leased(any_store, "job", 60):
        raise ZeroDivisionError
    assert take(any_store, "job", 60) is not None


@pytest.fixture
def replicas(postgresql: str) -> Iterator[list[Store]]:
    """Two stores on one PostgreSQL database, as two processes would have them."""
    url = fresh_database(postgresql)
    stores = [open_store(url), open_store(url)]
    yield stores
    for store in stores:
        store.close()
