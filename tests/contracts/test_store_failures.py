"""The store in trouble: it says who may come in, fails closed, and recovers by itself."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select, text, update
from sqlmodel import col

from ca.errors import BadRequest, CertwrightError, StateLocked, StoreUnavailable
from ca.models import Fact
from ca.store import Store, Transaction, open_store
from tests.conftest import fresh_database
from tests.contracts.units import facts, held, put


@pytest.fixture
def postgresql_store(postgresql: str) -> Iterator[Store]:
    """An empty store on PostgreSQL."""
    opened = open_store(fresh_database(postgresql))
    yield opened
    opened.close()


def test_after_close_there_is_no_writing(store_url: str) -> None:
    """`close` finishes what is queued; who comes later is told that the store is closed, in threads and coroutines."""
    store = open_store(store_url)
    with ThreadPoolExecutor(9) as threads:
        with held(store) as until_queued:
            queued = [threads.submit(store.write, put(f"fact-{place}")) for place in range(8)]
            until_queued(8)
            closing_store = threads.submit(store.close)
        assert [future.result() for future in queued] == [f"fact-{place}" for place in range(8)]
        closing_store.result()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.write(put("late"))
    with pytest.raises(StoreUnavailable, match="closed"):
        asyncio.run(store.awrite(put("late")))


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """A second `close` does nothing; above all it does not close a file that somebody has opened meanwhile."""
    store = open_store(f"sqlite:///{tmp_path}/certwright.db")
    store.close()
    with (tmp_path / "unrelated").open("wb") as unrelated:
        store.close()
        unrelated.write(b"still open")
    assert (tmp_path / "unrelated").read_bytes() == b"still open"


def test_closing_leaves_nobody_waiting(store: Store) -> None:
    """Who writes at the very moment of `close` gets an answer or an error, but is not left to wait for ever."""
    commits = store.commits

    class ClosedBetween(threading.Event):
        """Closes the store between the late writer's look at whether it is closed and its next step."""

        def is_set(self) -> bool:
            was_set = super().is_set()
            if threading.current_thread() is writer and not was_set:
                closer = threading.Thread(target=commits.close)
                closer.start()
                closer.join(0.3)
            return was_set

    def write() -> None:
        with suppress(StoreUnavailable):
            store.write(put("late"))

    commits._closed = ClosedBetween()
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(30)
    assert not writer.is_alive()


def test_the_writer_recovers_when_postgresql_drops_it(postgresql_store: Store) -> None:
    """After the server ended every connection, the first change may fail; then all is as before, without a restart."""
    store = postgresql_store
    store.write(put("before"))
    with psycopg.connect(store._readers.url.set(drivername="postgresql").render_as_string()) as stranger:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'certwright%'"
        assert all(row[0] for row in stranger.execute(query).fetchall())
    with pytest.raises(StoreUnavailable):
        store.write(put("lost"))
    assert store.write(put("after")) == "after"
    assert facts(store).keys() == {"before", "after"}


def test_a_connection_lost_inside_a_unit_changes_nothing(postgresql_store: Store) -> None:
    """A unit whose connection dies half-way is told so, and nothing of it remains."""

    def suicidal(tx: Transaction) -> None:
        tx.execute(insert(Fact), {"name": "half", "value": ""})
        tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(StoreUnavailable):
        postgresql_store.write(suicidal)
    assert postgresql_store.write(put("after")) == "after"
    assert facts(postgresql_store) == {"after": ""}


def test_transactions_that_block_each_other_are_tried_again(postgresql_store: Store) -> None:
    """When PostgreSQL gives up one of two replicas that wait for each other, its caller never hears of it."""
    other = open_store(postgresql_store._readers.url.render_as_string())
    for name in ("a", "b"):
        other.write(put(name, "0"))
    meeting = threading.Barrier(2, timeout=60)

    def crossing(*names: str) -> Callable[[Transaction], None]:
        has_met = threading.Event()

        def unit(tx: Transaction) -> None:
            for name in names:
                tx.execute(update(Fact).where(col(Fact.name) == name).values(value=str(names)))
                if not has_met.is_set():
                    has_met.set()
                    meeting.wait()

        return unit

    try:
        with ThreadPoolExecutor(2) as threads:
            one = threads.submit(other.write, crossing("a", "b"))
            two = threads.submit(postgresql_store.write, crossing("b", "a"))
            assert (one.result(), two.result()) == (None, None)
    finally:
        other.close()


def test_one_replica_at_a_time_holds_a_lock(postgresql_store: Store) -> None:
    """`try_lock` is true for one of two replicas until its transaction ends, and for different names in both."""
    other = open_store(postgresql_store._readers.url.render_as_string())

    def inside(tx: Transaction) -> tuple[bool, bool, bool]:
        return (
            tx.try_lock("work"),
            other.write(lambda tx: tx.try_lock("work")),
            other.write(lambda tx: tx.try_lock("x")),
        )

    try:
        assert postgresql_store.write(inside) == (True, False, True)
        assert other.write(lambda tx: tx.try_lock("work"))
    finally:
        other.close()


def test_the_writer_recovers_from_a_full_disk(store: Store) -> None:
    """A full disk refuses the change, with the reason; with room again the same store takes the same change."""

    def too_much(tx: Transaction) -> None:
        pages = tx.execute(text("PRAGMA page_count")).scalar_one()
        tx.execute(text(f"PRAGMA max_page_count={pages + 5}"))
        tx.execute(insert(Fact), {"name": "large", "value": "x" * 1_000_000})

    with pytest.raises(StoreUnavailable, match="full"):
        store.write(too_much)
    assert facts(store) == {}
    assert store.write(put("large", "x" * 1_000_000)) == "large"


def test_the_writer_recovers_when_a_table_comes_back(any_store: Store) -> None:
    """While a table is missing changes fail, with the reason; they work again when it is there, without a restart."""
    any_store.write(lambda tx: tx.execute(text("ALTER TABLE fact RENAME TO hidden")))
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="fact"):
            any_store.write(put("lost"))
    any_store.write(lambda tx: tx.execute(text("ALTER TABLE hidden RENAME TO fact")))
    assert any_store.write(put("after")) == "after"
    assert facts(any_store).keys() == {"after"}


_HOLDER = """
import sys, time
from ca.store import open_store

store = open_store(sys.argv[1])
store.write(lambda tx: None)
print("open", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    """While a process has the SQLite database another is refused with its pid, and let in once that one was killed."""
    url = f"sqlite:///{tmp_path}/certwright.db"
    with subprocess.Popen([sys.executable, "-c", _HOLDER, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"open\n"
            with pytest.raises(StateLocked, match=rf"certwright\.db is in use by process {process.pid};"):
                open_store(url)
        finally:
            process.kill()
    store = open_store(url)
    with pytest.raises(StateLocked):
        open_store(url)
    store.close()
    open_store(url).close()


def test_sqlite_is_set_up_to_be_durable(store: Store) -> None:
    """The writer syncs every commit of its write-ahead log and alone checkpoints; readers are query-only."""

    def pragma(connection: Any, name: str) -> Any:
        return connection.execute(text(f"PRAGMA {name}")).scalar_one()

    names = ("journal_mode", "synchronous", "wal_autocheckpoint", "query_only", "busy_timeout")
    assert store.write(lambda tx: [pragma(tx, name) for name in names]) == ["wal", 2, 4000, 0, 10000]
    with store.read() as connection:
        assert [pragma(connection, name) for name in names if name != "synchronous"] == ["wal", 0, 1, 10000]


def test_the_database_is_private(tmp_path: Path) -> None:
    """Nobody but the owner may read the database, its log or its lock, whatever the umask."""
    script = f"import os; os.umask(0)\n{_HOLDER}"
    url = f"sqlite:///{tmp_path}/certwright.db"
    with subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"open\n"
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        finally:
            process.kill()
    assert modes == dict.fromkeys(
        ["certwright.db", "certwright.db-shm", "certwright.db-wal", "certwright.db.lock"], 0o600
    )


@pytest.mark.parametrize(
    "url",
    ["", "::", "sqlite://", "sqlite:///:memory:", "mysql://a/b", "postgresql://nobody@127.0.0.1:1/x"],
)
def test_an_unusable_url_is_refused_plainly(url: str) -> None:
    """What cannot be opened is an error of ours that says why, never a traceback of a driver."""
    with pytest.raises(CertwrightError):
        open_store(url)


@pytest.mark.parametrize("place", ["nowhere/certwright.db", "linked.db", "../../../../../../../../.."])
def test_an_unusable_place_is_refused_plainly(tmp_path: Path, place: str) -> None:
    """A missing directory, a lock file that points elsewhere, or no file at all is an error of ours, too."""
    (tmp_path / "linked.db.lock").symlink_to("/dev/null")
    with pytest.raises(CertwrightError):
        open_store(f"sqlite:///{(tmp_path / place).resolve()}")


def test_a_value_that_no_database_takes_is_the_askers_mistake(any_store: Store) -> None:
    """A NUL in a text is found nowhere or refused as bad input; the database is not called unavailable for it."""
    with suppress(BadRequest), any_store.read() as connection:
        assert connection.execute(select(Fact).where(col(Fact.name) == "a\0b")).first() is None
    with suppress(BadRequest):
        any_store.write(put("a\0b"))
    assert any_store.write(put("after")) == "after"
