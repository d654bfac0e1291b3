"""Both rotations on PostgreSQL, with two replicas at it at once; and one replica that is too slow."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from ca import clock
from ca.errors import Conflict
from ca.keys.algorithms import KeyType
from ca.keys.memory import MemoryKeyStore
from ca.store import Store, open_store
from ca.store.commit import StaleChange
from renewers import work
from renewers.models import Replacement, RotationStep
from renewers.rotation import starting, story
from renewers.rotation.plans import RotationPlan
from tests import rig
from tests.postgresql import fresh_database
from tests.renewers.rotating import NOON, WHY, Rotating, make


@pytest.fixture(scope="module")
def stores(postgresql: str) -> Iterator[tuple[Store, Store]]:
    """One database, opened twice."""
    url = fresh_database(postgresql)
    first, second = open_store(url), open_store(url)
    yield first, second
    first.close()
    second.close()


@pytest.fixture(scope="module")
def replicas(stores: tuple[Store, Store]) -> tuple[Rotating, Rotating]:
    """Two processes of one installation."""
    keys = MemoryKeyStore()
    ledger_key = keys.create("ledger-key", KeyType.ED25519)
    installations = [make(store, keys, ledger_key) for store in stores]
    with clock.pinned(NOON - timedelta(hours=1)):
        rig.make_hierarchy(installations[0], shards=2)
    return Rotating(installations[0]), Rotating(installations[1], ())


def together(replicas: tuple[Rotating, Rotating], rotation: int) -> None:
    """Both do what is due, at the same time, to the end."""
    first, second = replicas
    second.at = first.at
    with ThreadPoolExecutor(2) as pool:
        for _ in range(60):
            if first.row(rotation).state != "open":
                return
            first.at += timedelta(seconds=130)
            with clock.pinned(first.at):
                list(pool.map(do_due, replicas))
            first.settle()
            first.check()
    raise AssertionError(f"still at {first.row(rotation).stage}: {first.row(rotation).waits_for}")


def do_due(replica: Rotating) -> None:
    """Whatever one replica finds to do."""
    for claim in work.claim(replica.store, ("rotate",), limit=10, lease=120):
        replica.work(claim)


def start(replica: Rotating, line: str) -> int | None:
    """Start a rotation; None if another is in the way."""
    try:
        return starting.start(replica.lifecycle, rig.ADMIN, RotationPlan(line, WHY))
    except Conflict:
        return None


def test_two_replicas_rotate_each_line_once(replicas: tuple[Rotating, Rotating]) -> None:
    """Both start at the same moment, of lines that belong together: one of them wins; then the other line."""
    first, second = replicas
    with clock.pinned(first.at), ThreadPoolExecutor(2) as pool:
        found = list(pool.map(start, replicas, ("root", "issuing")))
    assert sum(each is not None for each in found) == 1
    together(replicas, next(each for each in found if each is not None))
    assert len(first.rows(Replacement)) == 1
    assert first.errors == second.errors == []
    before = first.states()
    last = first.start("issuing" if before.get("root-2") is None else "root")
    together(replicas, last)
    states = first.states()
    assert sorted(state for state in states.values() if state != "retired") == ["active", "active"]
    assert first.row(last).state == "done"
    moves = [step.what for step in first.rows(RotationStep) if step.rotation_id == last]
    assert len([what for what in moves if what.startswith("to ")]) == 8


def test_who_was_too_slow_changes_nothing(replicas: tuple[Rotating, Rotating]) -> None:
    """Its lease has ended, and the other has gone on: it is refused, and the row is as the other left it."""
    first, second = replicas
    first.parties["broker"].obeys = False
    rotation = first.start("issuing")
    first.until(rotation, "prove")
    first.at += timedelta(seconds=130)
    with clock.pinned(first.at):
        slow = work.claim(second.store, ("rotate",), limit=1, lease=120)[0]
    first.at += timedelta(seconds=130)
    with clock.pinned(first.at):
        do_due(first)
        steps = len(first.rows(RotationStep))
        with pytest.raises(StaleChange):
            story.rotate(second.lifecycle, slow)
    assert len(first.rows(RotationStep)) == steps
    first.parties["broker"].obeys = True
    first.settle()
    first.at += timedelta(seconds=130)
    with clock.pinned(first.at):
        slow = work.claim(second.store, ("rotate",), limit=1, lease=120)[0]
    first.at += timedelta(seconds=130)
    with clock.pinned(first.at):
        assert work.claim(first.store, ("rotate",), limit=1, lease=120)
        with pytest.raises(StaleChange):  # what it has found is true, and not for it to say
            story.rotate(second.lifecycle, slow)
    assert len(first.rows(RotationStep)) == steps
