"""Discovery from end to end: what is there is tracked, who had it done is in the ledger, and nothing is half done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel, col

from ca import clock
from ca.errors import BadRequest, Conflict, Forbidden, NotFound
from ca.models import LedgerEntry
from ca.store import Store
from renewers.discovery import record, run
from renewers.discovery.run import Progress, discover, forget
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint, Tracked, Work
from tests import peer, rig
from tests.renewers import tracking
from tests.renewers.listeners import Listener, listening_all, make, serving, tls
from tests.renewers.test_handshake import resets_at_once


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """The wired parts, over SQLite."""
    return tracking.make_lifecycle(store)


PORT = peer.free_port()
HOSTS = tuple(f"127.1.9.{n}" for n in range(1, 9))


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Listener]]:
    """Eight hosts: seven with certificates of their own, one that resets."""
    contexts = {host: tls(serving(tmp_path, make(f"n{n}.example"))) for n, host in enumerate(HOSTS[1:])}

    def handle(connection: Any, stop: Any) -> None:
        contexts.get(connection.getsockname()[0], resets_at_once)(connection, stop)

    with listening_all([(host, PORT) for host in HOSTS], handle) as listeners:
        yield listeners


TARGETS = " ".join(f"{host}:{PORT}" for host in HOSTS)


def rows(lifecycle: Lifecycle, model: type[SQLModel]) -> list[Any]:
    with lifecycle.store.read() as connection:
        return list(connection.execute(select(model)).all())


def ledger(lifecycle: Lifecycle) -> list[dict[str, Any]]:
    with lifecycle.store.read() as connection:
        bodies = connection.execute(select(col(LedgerEntry.body)).order_by(col(LedgerEntry.id))).scalars()
        return [entry for body in bodies if (entry := json.loads(body))["action"].startswith(("scan", "endpoint"))]


def test_what_answers_is_tracked_and_watched_from_then_on(lifecycle: Lifecycle, servers: list[Listener]) -> None:
    """Each once, with its owner, a look planned; progress is told all along."""
    owner = tracking.add_owner(lifecycle.store)
    told = list(discover(lifecycle, rig.ADMIN, TARGETS, owner_id=owner))
    assert [(one.done, one.total) for one in told] == [(n, 8) for n in range(1, 9)]
    assert told[-1].seen == 7
    assert [one.place for one in told if one.problem is not None] == [f"tls:{HOSTS[0]}:{PORT}"]
    tracked, endpoints = rows(lifecycle, Tracked), rows(lifecycle, Endpoint)
    assert {(row.source, row.owner_id) for row in tracked} == {("scanned", owner)}
    assert sorted(row.shown_as for row in tracked) == sorted(f"n{n}.example" for n in range(7))
    assert {row.place for row in endpoints} == {f"tls:{host}:{PORT}" for host in HOSTS[1:]}
    assert {row.found_by for row in endpoints} == {rig.ADMIN.identity}
    assert len(rows(lifecycle, Work)) == 7
    assert {server.connections for server in servers} == {1}


def test_the_ledger_says_who_scanned_what_and_what_came_of_it(lifecycle: Lifecycle, servers: list[Listener]) -> None:
    """Before the first connection, and after the last."""
    list(discover(lifecycle, rig.OPERATOR, TARGETS))
    started, finished = ledger(lifecycle)
    assert (started["action"], started["by"], started["total"]) == ("scan-started", "token:operator", 8)
    assert (finished["action"], finished["done"], finished["seen"]) == ("scan-finished", 8, 7)
    assert finished["subject"].startswith(f"{HOSTS[0]}:{PORT}")
    assert [kind for kind, *_ in tracking.events_of(lifecycle.store)] == ["scan-started", "scan-finished"]
    assert servers


def test_a_scan_that_is_ended_early_keeps_what_it_found(lifecycle: Lifecycle, servers: list[Listener]) -> None:
    """And says how far it came."""
    running = discover(lifecycle, rig.ADMIN, TARGETS, pace=run.Pace(sockets=1))
    told: list[Progress] = [next(running) for _ in range(4)]
    running.close()
    assert len(rows(lifecycle, Endpoint)) == told[-1].seen == 3
    assert (ledger(lifecycle)[-1]["done"], ledger(lifecycle)[-1]["total"]) == (4, 8)
    assert sum(server.connections for server in servers) <= 5


def test_who_answered_before_is_missed(lifecycle: Lifecycle, servers: list[Listener]) -> None:
    """Who never did is not."""
    place = f"tls:{HOSTS[0]}:{PORT}"
    seen = tracking.add_tracked(lifecycle.store)
    lifecycle.store.write(lambda tx: record.saw(tx, place, seen, found_by="test", findings=()))
    list(discover(lifecycle, rig.ADMIN, f"{TARGETS} 127.1.9.99:{PORT}"))
    failing = {row.place: row.last_error for row in rows(lifecycle, Endpoint) if row.failing_since is not None}
    assert list(failing) == [place]
    assert len(rows(lifecycle, Endpoint)) == 8
    assert servers


def test_to_scan_again_changes_nothing_but_the_time(lifecycle: Lifecycle, servers: list[Listener]) -> None:
    """The same rows, seen later."""
    start = clock.now()
    for minutes in (0, 5):
        with clock.pinned(start + timedelta(minutes=minutes)):
            list(discover(lifecycle, rig.ADMIN, TARGETS))
    assert (len(rows(lifecycle, Tracked)), len(rows(lifecycle, Endpoint)), len(rows(lifecycle, Work))) == (7, 7, 7)
    assert {row.last_seen for row in rows(lifecycle, Endpoint)} == {int(start.timestamp()) + 300}
    assert {server.connections for server in servers} == {2}


def test_one_that_cannot_be_written_down_does_not_take_the_others_along(
    lifecycle: Lifecycle, servers: list[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted."""
    saw = record.saw

    def failing(tx: Any, place: str, *arguments: Any, **words: Any) -> int:
        if place == f"tls:{HOSTS[3]}:{PORT}":
            raise Conflict("of all things")
        return saw(tx, place, *arguments, **words)

    monkeypatch.setattr(record, "saw", failing)
    list(discover(lifecycle, rig.ADMIN, TARGETS))
    assert len(rows(lifecycle, Endpoint)) == 6
    assert ledger(lifecycle)[-1]["unrecorded"] == 1
    assert servers


def test_names_of_strangers_are_made_harmless(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """Control characters, NULs and what turns text around: escaped in every table, and the certificate is kept."""
    evil = make(subject="a\x00\x1b[2J\u202egnp.exe")
    with listening_all([("127.1.9.50", PORT)], tls(serving(tmp_path, evil))):
        (told,) = discover(lifecycle, rig.ADMIN, f"127.1.9.50:{PORT}")
    assert told.problem is None
    (row,) = rows(lifecycle, Tracked)
    assert all(text.isprintable() for text in (row.shown_as, row.subject, row.issuer))


@pytest.mark.parametrize("caller", [rig.REQUESTER, rig.CONSUMER, rig.AUDITOR])
def test_not_everybody_may_have_others_looked_at(lifecycle: Lifecycle, caller: Any) -> None:
    """Refused at once, before anything is iterated over."""
    with pytest.raises(Forbidden):
        discover(lifecycle, caller, TARGETS)
    with pytest.raises(Forbidden):
        forget(lifecycle, caller, "tls:a:443")


def test_nonsense_is_refused_at_once(lifecycle: Lifecycle) -> None:
    """Nothing has begun, and nothing is in the ledger."""
    with pytest.raises(BadRequest):
        discover(lifecycle, rig.ADMIN, "10.0.0.0/8")
    with pytest.raises(NotFound):
        forget(lifecycle, rig.ADMIN, "tls:nobody.example:443")
    assert ledger(lifecycle) == []


def test_on_postgresql_it_is_the_same(postgresql: str, servers: list[Listener]) -> None:
    """Every statement of it."""
    from ca.store import open_store
    from tests.postgresql import fresh_database

    opened = open_store(fresh_database(postgresql))
    try:
        lifecycle = tracking.make_lifecycle(opened)
        list(discover(lifecycle, rig.ADMIN, TARGETS))
        assert len(rows(lifecycle, Endpoint)) == len(rows(lifecycle, Tracked)) == 7
        assert servers
    finally:
        opened.close()
