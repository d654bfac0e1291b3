"""A known endpoint is looked at again, sooner towards the end, and its failures are said when they last."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlmodel import SQLModel, col

from ca import clock
from ca.store import Store
from ca.store.commit import StaleChange
from renewers import work
from renewers.discovery import looks, pace, record, run
from renewers.inventory.facts import read_certificate
from renewers.inventory.track import track
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Destination, Endpoint, Lineage, Sighting, Tracked, Work
from renewers.timing.lead_time import DAY, HOUR
from tests import peer, rig
from tests.renewers import tracking
from tests.renewers.listeners import Made, listening, make, serving, tls
from tests.renewers.test_handshake import answering


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """The wired parts, over SQLite."""
    return tracking.make_lifecycle(store)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Have a chain shown at a port, for as long as the test lasts."""
    with ExitStack() as stack:

        def start(leaf: Made, *above: Made, port: int = 0) -> int:
            return stack.enter_context(listening(tls(serving(tmp_path, leaf, *above)), port=port)).port

        yield start


def known(lifecycle: Lifecycle, made: Made, port: int, **words: Any) -> int:
    """An endpoint at which this was seen."""

    def unit(tx: Any) -> int:
        tracked_id = track(tx, read_certificate(made.der), source="scanned", **words)
        return record.saw(tx, f"tls:127.0.0.1:{port}", tracked_id, found_by="test", findings=())

    return lifecycle.store.write(unit)


def look(lifecycle: Lifecycle) -> None:
    """What the runner does with the one look that is planned."""

    def hurry(tx: Any) -> None:
        subject = tx.execute(select(col(Work.subject)).where(col(Work.kind) == "look")).scalar_one()
        tx.execute(Work.__table__.update().where(col(Work.subject) == subject).values(due_at=clock.timestamp()))  # type: ignore[attr-defined]

    lifecycle.store.write(hurry)
    (claim,) = work.claim(lifecycle.store, ["look"], limit=9, lease=60)
    looks.look_again(lifecycle, claim)


def rows(lifecycle: Lifecycle, model: type[SQLModel]) -> list[Any]:
    with lifecycle.store.read() as connection:
        return list(connection.execute(select(model)).all())


def test_a_look_records_what_is_there_and_comes_again(lifecycle: Lifecycle, serve: Callable[..., int]) -> None:
    """The same certificate, judged; the next look within hours."""
    made = make("localhost")
    known(lifecycle, made, serve(made))
    look(lifecycle)
    (endpoint,), (planned,), now = rows(lifecycle, Endpoint), rows(lifecycle, Work), clock.timestamp()
    assert endpoint.findings == '["self-signed"]'
    assert endpoint.found_by == "test"
    assert (planned.holder, planned.attempts) == (None, 0)
    assert now + pace.LATEST - 5 <= planned.due_at <= now + pace.LATEST * 1.1


def test_another_certificate_is_tracked_and_said(lifecycle: Lifecycle, serve: Callable[..., int]) -> None:
    """What is served now counts, whoever put it there."""
    port = serve(stranger := make("stranger.example"))
    known(lifecycle, make("localhost"), port)
    look(lifecycle)
    with lifecycle.store.read() as connection:
        identity = connection.execute(select(col(Tracked.identity)).join(Endpoint, Endpoint.tracked_id == Tracked.id))
        assert identity.scalar_one() == read_certificate(stranger.der).identity
    assert len(rows(lifecycle, Sighting)) == 2
    assert ("endpoint-changed-unexpectedly", f"tls:127.0.0.1:{port}", "warning") in tracking.events_of(lifecycle.store)


def test_who_stays_away_is_asked_again_and_announced(lifecycle: Lifecycle, serve: Callable[..., int]) -> None:
    """On the ladder, at most six hours apart; an alarm after an hour and three failures; then it is over."""
    made, port, start = make("localhost"), peer.free_port(), clock.now()
    known(lifecycle, made, port)
    waits = []
    for minutes in (0, 2, 15, 80, 400, 1500):
        with clock.pinned(start + timedelta(minutes=minutes)):
            look(lifecycle)
            waits.append(rows(lifecycle, Work)[0].due_at - clock.timestamp())
            assert [row.kind for row in rows(lifecycle, Alarm)] == (["endpoint-unreachable"] if minutes > 60 else [])
    assert waits == sorted(waits)
    assert 60 <= waits[0] <= 72
    assert waits[-1] <= pace.LATEST
    (alarm,) = rows(lifecycle, Alarm)
    assert (alarm.severity, alarm.since) == ("warning", int(start.timestamp()))
    assert "refuses the connection" in alarm.message
    serve(made, port=port)
    with clock.pinned(start + timedelta(minutes=1501)):
        look(lifecycle)
    assert rows(lifecycle, Alarm) == []
    assert rows(lifecycle, Work)[0].failing_since is None


def test_a_failing_renewer_does_not_hide_what_is_served(lifecycle: Lifecycle, serve: Callable[..., int]) -> None:
    """The renewer believes that it has delivered; the look sees that it has not (Bazel, 2025-12-26)."""
    old = make("localhost", days=3)
    port = serve(old)
    lineage = tracking.add_lineage(lifecycle.store, "renewed", name="bazel")
    known(lifecycle, old, port, lineage_id=lineage)
    new = tracking.add_tracked(lifecycle.store, lineage_id=lineage, recorded_at=clock.timestamp(), source="renewed")
    tracking.change(lifecycle.store, Lineage, lineage, current_id=new)
    with clock.pinned(clock.now() + timedelta(hours=2)):
        look(lifecycle)
        soon = rows(lifecycle, Work)[0].due_at - clock.timestamp()
    assert json.loads(rows(lifecycle, Endpoint)[0].findings) == ["not-the-issued", "self-signed"]
    assert [row.kind for row in rows(lifecycle, Alarm)] == ["endpoint-not-the-issued"]
    assert "bazel" in rows(lifecycle, Alarm)[0].message
    assert soon <= 2 * pace.SOONEST * 1.1


def test_what_drifted_is_delivered_again(lifecycle: Lifecycle, serve: Callable[..., int]) -> None:
    """Somebody put the old one back where the new one was delivered: the destination has to have it again."""
    old = make("localhost")
    port = serve(old)
    lineage = tracking.add_lineage(lifecycle.store, "renewed")
    known(lifecycle, old, port, lineage_id=lineage)
    new = tracking.add_tracked(lifecycle.store, lineage_id=lineage, source="renewed")
    tracking.change(lifecycle.store, Lineage, lineage, current_id=new)
    words = {"name": "edge", "lineage_id": lineage, "publisher": "files", "settings": "{}", "rank": 0, "state": "seen"}
    given = {"wanted_id": new, "delivered_id": new, "changed_at": 0, "created_at": 0, "created_by": "test"}
    destination = tracking.add(lifecycle.store, Destination, **words, **given, probe=f"127.0.0.1:{port}")
    look(lifecycle)
    assert [row.state for row in rows(lifecycle, Destination)] == ["waiting"]
    assert [row.subject for row in rows(lifecycle, Work) if row.kind == "deliver"] == [str(destination)]


def test_looks_come_closer_towards_the_end() -> None:
    """Never more than hours apart, never closer than a quarter of an hour, the same for the same place."""
    now = 1_800_000_000
    lefts = (90 * DAY, 6 * DAY, 3 * DAY, DAY, 6 * HOUR, HOUR, 0, -DAY)
    gaps = [pace.next_look("tls:a:443", now + left, (), now) - now for left in lefts]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] <= pace.LATEST * 1.1
    assert pace.SOONEST <= gaps[-1] <= pace.SOONEST * 1.1
    assert len({pace.next_look(f"tls:a{n}:443", now + DAY, (), now) for n in range(50)}) > 25


def test_what_cannot_be_read_is_a_failure_that_passes(lifecycle: Lifecycle) -> None:
    """And not one that stops the looks for good."""
    with listening(answering(b"nonsense without end")) as server:
        known(lifecycle, make("localhost"), server.port)
        look(lifecycle)
    (planned,) = rows(lifecycle, Work)
    assert (planned.state, planned.last_code, planned.attempts) == (work.WAITING, "no-tls", 1)


def test_a_place_that_is_gone_is_looked_at_no_more(lifecycle: Lifecycle) -> None:
    """Forgotten by a person: its history, its look and its alarms end, the certificate stays."""
    place = f"tls:127.0.0.1:{peer.free_port()}"
    endpoint_id = known(lifecycle, make("localhost"), int(place.rpartition(":")[2]))
    with clock.pinned(clock.now()):
        for _ in range(3):
            look(lifecycle)
    run.forget(lifecycle, rig.ADMIN, place)
    assert [rows(lifecycle, model) for model in (Endpoint, Sighting, Work, Alarm)] == [[], [], [], []]
    assert len(rows(lifecycle, Tracked)) == 1
    lifecycle.store.write(lambda tx: work.schedule(tx, "look", str(endpoint_id), clock.timestamp()))
    look(lifecycle)
    assert rows(lifecycle, Work) == []


def test_files_are_not_ours_to_look_at(lifecycle: Lifecycle) -> None:
    """The work ends; whoever imports directories reads them again."""
    words = {"place": "file:/etc/a.pem", "found_by": "test", "findings": "[]", "last_asked": 0}
    returning = insert(Endpoint).values(**words).returning(col(Endpoint.id))
    endpoint_id = lifecycle.store.write(lambda tx: int(tx.execute(returning).scalar_one()))
    lifecycle.store.write(lambda tx: work.schedule(tx, "look", str(endpoint_id), clock.timestamp()))
    look(lifecycle)
    assert rows(lifecycle, Work) == []


def test_a_look_that_was_taken_over_changes_nothing(lifecycle: Lifecycle, serve: Callable[..., int]) -> None:
    """Its lease has ended, somebody else is at it."""
    made = make("localhost")
    known(lifecycle, make("localhost"), serve(made))
    before = rows(lifecycle, Endpoint)
    with clock.pinned(clock.now() + timedelta(days=1)):
        (claim,) = work.claim(lifecycle.store, ["look"], limit=1, lease=60)
    with clock.pinned(clock.now() + timedelta(days=2)):
        assert work.claim(lifecycle.store, ["look"], limit=1, lease=60)
        with pytest.raises(StaleChange):
            looks.look_again(lifecycle, claim)
    assert rows(lifecycle, Endpoint) == before
