"""Publishers that race, on both databases, and a clock that jumps: versions never go back, and no chain forks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from ca import clock
from ca.authority import State
from ca.models import RevocationList
from ca.store import Store, open_store
from renewers.distribution import publishing, spreading, streams
from renewers.lifecycle import Lifecycle
from tests.ca.world import replica, url_of
from tests.renewers.publications import (
    CRL,
    TRUST,
    add_root,
    check_chain,
    make_lifecycle,
    published,
    set_state,
    versions,
)

ROUNDS = 200


@pytest.fixture
def rivals(any_store: Store) -> Iterator[tuple[Lifecycle, Lifecycle]]:
    """Two publishers: on PostgreSQL each with a database connection of its own, as two replicas have."""
    first = make_lifecycle(any_store)
    if not any_store.is_shared:
        yield first, first
        return
    other = open_store(url_of(any_store))
    yield first, replace(first, installation=replica(first.installation, other))
    other.close()


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is somewhere within half a minute of the right time at each look."""
    draw = random.Random(7)
    monkeypatch.setattr(clock, "_source", lambda: time.time() + draw.uniform(-30, 30))


def change(lifecycle: Lifecycle) -> None:
    """A list that is another one, as far as a publication can tell."""
    of = col(RevocationList.authority_id) == 2, col(RevocationList.shard) == 0

    def unit(tx: Any) -> None:
        more = update(RevocationList).where(*of).values(number=col(RevocationList.number) + 1)
        number = tx.execute(more.returning(col(RevocationList.number))).scalar_one()
        tx.execute(update(RevocationList).where(*of).values(sha256=number.to_bytes(32, "big")))

    lifecycle.store.write(unit)


def together(*jobs: Callable[[], None]) -> None:
    """Do all of these at once; the first that fails fails the test."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result(timeout=120)


@pytest.mark.usefixtures("jumping")
def test_two_publishers_and_a_clock_that_jumps_make_one_chain(rivals: tuple[Lifecycle, Lifecycle]) -> None:
    """Every version is larger than the one before and names it; the newest is about what there is in the end."""

    def race(lifecycle: Lifecycle) -> None:
        for _ in range(ROUNDS // 2):
            change(lifecycle)
            publishing.publish_stream(lifecycle, CRL)

    together(*(lambda one=one: race(one) for one in rivals))
    publishing.publish_stream(rivals[0], CRL)
    chain = check_chain(rivals[0], CRL)
    assert len(chain) > ROUNDS // 4
    assert versions(rivals[1], CRL)[-1].digest == streams.compose(rivals[1], CRL).digest
    assert [row.version for row in versions(rivals[0], CRL)] == chain


def test_the_first_version_is_made_once(rivals: tuple[Lifecycle, Lifecycle]) -> None:
    """There is no row yet that the two could lock."""
    for stream in (TRUST, CRL):
        start = threading.Barrier(4)

        def first(one: Lifecycle, stream: str = stream, start: threading.Barrier = start) -> None:
            start.wait(timeout=60)
            publishing.publish_stream(one, stream)

        together(*(lambda one=one: first(one) for one in (*rivals, *rivals)))
        assert len(check_chain(rivals[0], stream)) == 1


def test_a_first_version_that_is_being_made_is_waited_for(
    rivals: tuple[Lifecycle, Lifecycle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rival that comes between its row and its commit, in another second, makes none of its own."""
    quick, slow = rivals
    if quick is slow:
        pytest.skip("SQLite has one writer: nobody can come between")
    seconds = count(int(time.time()))
    monkeypatch.setattr(clock, "_source", lambda: float(next(seconds)))
    is_inside, may_go_on = threading.Event(), threading.Event()
    wanted = spreading.wanted

    def held_up(tx: Any, stream: str, version: int) -> int:
        if not is_inside.is_set():
            is_inside.set()
            assert may_go_on.wait(timeout=60)
        return wanted(tx, stream, version)

    def late() -> None:
        assert is_inside.wait(timeout=60)
        try:
            publishing.publish_stream(quick, TRUST)
        finally:
            may_go_on.set()

    monkeypatch.setattr(spreading, "wanted", held_up)
    together(lambda: publishing.publish_stream(slow, TRUST) and None, late)
    assert len(check_chain(slow, TRUST)) == 1


def test_who_was_slow_does_not_publish_what_was_true_before(
    rivals: tuple[Lifecycle, Lifecycle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root is distrusted, and that published, between a rival's look and its version: it looks again."""
    quick, slow = rivals
    add_root(quick)
    publishing.publish_stream(quick, TRUST)
    set_state(quick, "root-2", State.TAINTED)
    add_root(quick, "Third Root")
    compose, turns = streams.compose, iter([True])

    def overtaken(lifecycle: Lifecycle, stream: str) -> streams.Content:
        content = compose(lifecycle, stream)
        if next(turns, False):
            set_state(quick, "root-2", State.DISTRUSTED)
            assert publishing.publish_stream(quick, stream) is not None
        return content

    monkeypatch.setattr(streams, "compose", overtaken)
    assert publishing.publish_stream(slow, TRUST) is None
    assert [entry.name for entry in published(slow, TRUST).anchors] == ["root-1", "root-3"]
    assert len(check_chain(slow, TRUST)) == 2


def test_what_another_replica_has_distrusted_is_not_published_from_a_cache(
    rivals: tuple[Lifecycle, Lifecycle],
) -> None:
    """Authorities are cached for two seconds; a bundle is made of what is in the database."""
    here, there = rivals
    add_root(here)
    for one in rivals:
        assert len(one.installation.authorities.roots()) == 2
    publishing.publish_stream(here, TRUST)
    set_state(here, "root-2", State.DISTRUSTED)
    assert publishing.publish_stream(here, TRUST) is not None
    assert publishing.publish_stream(there, TRUST) is None
    assert [entry.name for entry in published(there, TRUST).anchors] == ["root-1"]


def test_who_is_always_overtaken_gives_up_for_now(
    rivals: tuple[Lifecycle, Lifecycle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look finds what is left to do."""
    quick, slow = rivals
    publishing.publish_stream(quick, CRL)
    compose, own = streams.compose, threading.local()

    def overtaken(lifecycle: Lifecycle, stream: str) -> streams.Content:
        if getattr(own, "is_inside", False):
            return compose(lifecycle, stream)
        own.is_inside = True
        content = compose(lifecycle, stream)
        change(quick)
        publishing.publish_stream(quick, stream)
        own.is_inside = False
        return replace(content, digest="other")

    monkeypatch.setattr(streams, "compose", overtaken)
    assert publishing.publish_stream(slow, CRL) is None
    check_chain(slow, CRL)
