"""Processes that die while they write letters, and several that write at once: nothing is lost or told twice.

A process is killed before, or right after, any of its transactions: from then on it can do nothing more. Whoever comes
after it finds what is durable. A message alone may be repeated, under the same Message-ID, where its sender died
between handing it over and writing that down.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import col

from ca.store import Store, Unit, open_store
from renewers.duties import DUTIES
from renewers.mailing import opening
from renewers.models import Crossing, Letter, Told
from renewers.runner import Runner
from renewers.timing import watch
from tests.renewers import tracking
from tests.renewers.mailing_world import DAY, HOUR, MINUTE, Post, post
from tests.renewers.tracking import START

PAYMENTS, PLATFORM = "payments@example.org", "platform@example.org"
NOW = START + 89 * DAY + HOUR


class Killed(Exception):
    """The process is gone."""


class Mortal:
    """A store whose process dies at its n-th transaction, before it is made or right after it was."""

    def __init__(self, store: Store, at: int, *, is_made: bool) -> None:
        self._store, self._at, self._is_made = store, at, is_made
        self._lock = threading.Lock()
        self.writes, self.is_dead = 0, False

    def __getattr__(self, name: str) -> Any:
        if self.is_dead:
            raise Killed
        return getattr(self._store, name)

    def write(self, unit: Unit[Any]) -> Any:
        """Make a change, unless this is the last one."""
        with self._lock:
            if self.is_dead:
                raise Killed
            self.writes += 1
            is_last = self.writes == self._at
            if is_last and not self._is_made:
                self.is_dead = True
                raise Killed
            done = self._store.write(unit)
            if is_last:
                self.is_dead = True
                raise Killed
            return done


def populate(world: Post) -> list[int]:
    """Two owners, with things that are late, urgent and due for a digest; the mailbox of one of them refuses."""
    platform = tracking.add_owner(world.store, "platform")
    world.mailer.refused[PLATFORM] = "550 no such user"
    ids = [world.failing(), world.failing(start=START + 16 * DAY), world.manual(lifetime=140 * DAY)]
    ids += [world.failing(owner=platform), world.manual(lifetime=140 * DAY, owner=platform)]
    world.beat(START)  # so that a digest and a daily are due as well
    return ids


def run(world: Post, store: Any, now: int) -> None:
    """All that one process does: look, open, send; until it dies or nothing is left."""
    installation = replace(world.lifecycle.installation, store=store)
    lifecycle = replace(world.lifecycle, installation=installation)
    runner = Runner(replace(lifecycle, policy=replace(lifecycle.policy, workers=1)), {"mail": DUTIES["mail"]})
    try:
        with world.at(now), suppress(Killed):
            while watch.watch_due(lifecycle):
                continue
            opening.open_due(lifecycle)
            runner.drain()
    finally:
        runner.stop()


def judge(world: Post, ids: list[int]) -> None:
    """Everything was told to somebody, once, and no message has gone to two people or come twice as another one."""
    for id_ in ids:
        states = world.states(id_)
        assert states, id_
        assert set(states.values()) <= {"told", "collapsed"}, states
    assert world.twice() == []
    sent = [row for row in world.rows(Letter) if row.state == "sent"]
    told = Counter(row.crossing_id for row in world.rows(Told) if row.letter_id in {letter.id for letter in sent})
    assert set(told.values()) <= {1}
    assert set(told) == {row.id for row in world.rows(Crossing, col(Crossing.state) == "told")}
    messages = Counter(str(one.message["Message-ID"]) for one in world.mailer.taken)
    assert set(messages) == {row.message_id for row in sent}
    assert sum(messages.values()) <= len(messages) + 1  # the one whose sender died before it wrote that down


DEATHS = [
    pytest.param(at, is_made, id=f"{'after' if is_made else 'before'}-{at}")
    for at in range(1, 24)
    for is_made in (False, True)
]
"""Every transaction of the whole run, before and after it."""


@pytest.mark.parametrize(("at", "is_made"), DEATHS)
def test_a_process_may_die_anywhere(store: Store, at: int, is_made: bool) -> None:
    """Killed at any transaction, whoever comes after it tells what is left, and nothing again."""
    with post(store) as world:
        ids = populate(world)
        mortal = Mortal(store, at, is_made=is_made)
        run(world, mortal, NOW)
        for later in (5 * MINUTE, 20 * MINUTE, 2 * HOUR, 3 * HOUR):
            run(world, store, NOW + later)
        judge(world, ids)


def test_the_deaths_above_are_all_there_are(store: Store) -> None:
    """A run makes no more transactions than the test above kills; else it would not try all of them."""
    with post(store) as world:
        populate(world)
        immortal = Mortal(store, 0, is_made=False)
        run(world, immortal, NOW)
        assert 18 <= immortal.writes < 24


@pytest.mark.parametrize("at", [3, 5, 6, 8, 10])
def test_a_process_may_die_on_a_shared_database(any_store: Store, at: int) -> None:
    """The same on both engines, at some of the transactions."""
    with post(any_store) as world:
        ids = populate(world)
        run(world, Mortal(any_store, at, is_made=at % 2 == 0), NOW)
        for later in (5 * MINUTE, 20 * MINUTE, 2 * HOUR, 3 * HOUR):
            run(world, any_store, NOW + later)
        judge(world, ids)


@pytest.mark.parametrize("trouble", ["down", "forgetful"])
def test_a_mail_server_that_fails_loses_nothing(any_store: Store, trouble: str) -> None:
    """It is away, or takes a message and breaks off before it says so: repeated at most once, as the same message."""
    with post(any_store) as world:
        ids = populate(world)
        world.mailer.is_down = trouble == "down"
        world.mailer.is_forgetful = trouble == "forgetful"
        run(world, any_store, NOW)
        world.mailer.is_down = False
        for later in (5 * MINUTE, 20 * MINUTE, 2 * HOUR, 3 * HOUR):
            run(world, any_store, NOW + later)
        judge(world, ids)


def test_a_notice_that_comes_while_its_letter_leaves_is_told_by_the_next(any_store: Store) -> None:
    """It joined the letter after that was put together: it was not in it, and must not count as told."""
    with post(any_store) as world:
        first = world.failing()
        world.beat(NOW)
        second: list[int] = []
        send = world.mailer.send

        def slow(outgoing: Any) -> str:
            if not second:
                second.append(world.failing(start=START - DAY))
                while watch.watch_due(world.lifecycle):
                    continue
                opening.open_due(world.lifecycle)
            return send(outgoing)

        world.mailer.send = slow  # type: ignore[method-assign]
        world.send(NOW)
        assert "told" in world.states(first).values()
        assert world.states(second[0])["expired"] == "open"
        world.beat(NOW + 60)
        world.send(NOW + 60)
        judge(world, [first, *second])
        assert len(world.mailer.taken) == 2


def test_two_replicas_tell_each_thing_once(fresh_url: str) -> None:
    """Both look, open and send at the same moment, again and again."""
    stores = [open_store(fresh_url) for _ in range(2)]
    try:
        with post(stores[0]) as world:
            ids = populate(world)
            for later in (0, MINUTE, 20 * MINUTE, HOUR, 2 * HOUR):
                with world.at(NOW + later):
                    threads = [threading.Thread(target=at_once, args=(world, store)) for store in stores]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join(60)
                        assert not thread.is_alive()
            judge(world, ids)
            messages = Counter(str(one.message["Message-ID"]) for one in world.mailer.taken)
            assert set(messages.values()) == {1}
    finally:
        for store in stores:
            store.close()


def at_once(world: Post, store: Store) -> None:
    """One replica's round; the clock is held by who started it."""
    lifecycle = replace(world.lifecycle, installation=replace(world.lifecycle.installation, store=store))
    runner = Runner(lifecycle, {"mail": DUTIES["mail"]})
    try:
        while watch.watch_due(lifecycle):
            continue
        opening.open_due(lifecycle)
        runner.drain()
    finally:
        runner.stop()


@pytest.fixture
def fresh_url(postgresql: str) -> str:
    """A database of its own, shared by replicas."""
    from tests.postgresql import fresh_database

    return fresh_database(postgresql)
