"""The store's contract, on SQLite and on PostgreSQL: durable before answered, all or nothing, one error to each."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlmodel import col

from ca.errors import Conflict, NotFound, StoreUnavailable
from ca.models import Fact
from ca.store import Store, Transaction, open_store
from ca.store.commit import StaleChange
from tests.contracts.units import facts, facts_from_outside, held, put, together

FORBIDDEN = select(col(Fact.name)).where(col(Fact.name).in_(bindparam("values", expanding=True)))


def test_a_written_change_is_read_back(any_store: Store) -> None:
    """What `write` returned from can be read by anybody."""

    def unit(tx: Transaction) -> str:
        tx.add(Fact, {"name": "colour", "value": "green"})
        return "done"

    assert any_store.write(unit) == "done"
    with any_store.read() as connection:
        assert connection.execute(select(Fact).where(col(Fact.name) == "colour")).one().value == "green"


def test_an_answer_comes_after_the_commit(any_store: Store, store_url: str) -> None:
    """The moment a caller goes on, a stranger's connection sees its change, also among many callers."""

    def write_and_look(place: int) -> bool:
        return any_store.write(put(f"fact-{place}")) in facts_from_outside(store_url)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write_and_look, range(80)))


_WRITER = """
import sys
from ca.models import Fact
from ca.store import open_store

store = open_store(sys.argv[1])
for place in range(1_000_000):
    store.write(lambda tx: tx.add(Fact, {"name": f"fact-{place}", "value": "kept"}))
    print(place, flush=True)
"""


def test_what_was_answered_survives_a_kill(store_url: str) -> None:
    """A process that is killed with -9 in the middle of its writes has lost nothing that it was answered."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, store_url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        answered = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        answered += [int(line) for line in process.stdout if line.endswith(b"\n")]
    store = open_store(store_url)
    try:
        kept = facts(store)
    finally:
        store.close()
    assert {f"fact-{place}" for place in answered} <= kept.keys()
    assert len(kept) <= len(answered) + 1


def test_removing_what_is_gone_is_stale(any_store: Store) -> None:
    """A row that has to be removed and is not there is `StaleChange`, and its unit leaves nothing; one of many wins."""
    any_store.write(put("there"))
    numbers = count()

    def take(tx: Transaction) -> str:
        tx.add(Fact, {"name": f"taken-{next(numbers)}", "value": ""})
        tx.remove(Fact, "name", "there")
        return "taken"

    with pytest.raises(StaleChange) as caught:
        any_store.write(lambda tx: tx.remove(Fact, "name", "elsewhere"))
    assert caught.value.code == "changed-meanwhile"
    outcomes = together(any_store, *[take] * 8)
    assert outcomes.count("taken") == 1
    assert sum(isinstance(outcome, StaleChange) for outcome in outcomes) == 7
    assert len(facts(any_store)) == 1


@pytest.mark.parametrize("amount", [2, 3, 4, 63, 64, 65, 200])
def test_many_rows_at_once(any_store: Store, amount: int) -> None:
    """However many rows one unit adds and removes, all of them are added and removed, each with its own values."""
    names = [f"fact-{place}" for place in range(amount)]

    def add(tx: Transaction) -> None:
        for name in names:
            tx.add(Fact, {"name": name, "value": f"value of {name}"})

    def remove(tx: Transaction) -> None:
        for name in names[::2]:
            tx.remove(Fact, "name", name)

    any_store.write(add)
    assert facts(any_store) == {name: f"value of {name}" for name in names}
    any_store.write(remove)
    assert facts(any_store).keys() == set(names[1::2])
    with pytest.raises(StaleChange):
        any_store.write(remove)
    with pytest.raises(Conflict):
        any_store.write(add)
    assert facts(any_store).keys() == set(names[1::2])


def test_rows_keep_their_values_whatever_their_order(any_store: Store) -> None:
    """Units that name a row's columns in another order share a statement and mix nothing up."""

    def other_way_round(tx: Transaction) -> None:
        tx.add(Fact, {"value": "x", "name": "second"})

    together(any_store, put("first", "a"), other_way_round, put("third", "c"))
    assert facts(any_store) == {"first": "a", "second": "x", "third": "c"}


def test_refuse_if_any_guards_the_change(any_store: Store) -> None:
    """A guard that finds its row refuses its own unit with its own refusal; others with the same guard go on."""
    any_store.write(put("blocked"))

    def guarded(name: str) -> Callable[[Transaction], str]:
        def unit(tx: Transaction) -> str:
            tx.refuse_if_any(FORBIDDEN, name, lambda: NotFound(f"{name} is blocked"))
            return put(f"made-of-{name}")(tx)

        return unit

    free, refusal, also_free = together(any_store, guarded("free"), guarded("blocked"), guarded("spare"))
    assert (free, also_free) == ("made-of-free", "made-of-spare")
    assert isinstance(refusal, NotFound)
    assert facts(any_store).keys() == {"blocked", "made-of-free", "made-of-spare"}


def test_a_guard_sees_what_an_earlier_unit_of_the_batch_executed(any_store: Store) -> None:
    """Sharing a transaction hides nothing: who blocks first has blocked for everybody behind."""

    def block(tx: Transaction) -> None:
        tx.execute(insert(Fact), {"name": "key", "value": "blocked"})

    def use(tx: Transaction) -> None:
        tx.refuse_if_any(FORBIDDEN, "key", lambda: NotFound("blocked"))
        tx.add(Fact, {"name": "used", "value": ""})

    with ThreadPoolExecutor(2) as threads:
        with held(any_store) as until_queued:
            first = threads.submit(any_store.write, block)
            until_queued(1)
            second = threads.submit(any_store.write, use)
            until_queued(2)
        first.result()
        assert isinstance(second.exception(), NotFound)
    assert facts(any_store) == {"key": "blocked"}


def test_a_unit_happens_in_its_order(any_store: Store) -> None:
    """What was asked for is there for what is executed after it, which sees nothing of what comes later."""

    def unit(tx: Transaction) -> list[str]:
        names = lambda: [row.name for row in tx.execute(select(Fact).order_by(col(Fact.name)))]  # noqa: E731
        seen = [",".join(names())]
        tx.add(Fact, {"name": "a", "value": "1"})
        seen.append(",".join(names()))
        tx.execute(update(Fact).where(col(Fact.name) == "a").values(value="2"))
        tx.add(Fact, {"name": "b", "value": "1"})
        tx.remove(Fact, "name", "a")
        seen.append(",".join(names()))
        tx.remove(Fact, "name", "b")
        tx.add(Fact, {"name": "b", "value": "2"})  # removals come first
        return seen

    assert any_store.write(unit) == ["", "a", "b"]
    assert facts(any_store) == {"b": "2"}


def test_readers_cannot_write(any_store: Store) -> None:
    """A connection for reading refuses every change, plain or in a snapshot."""
    any_store.write(put("kept"))
    for statement in (insert(Fact).values(name="x", value=""), delete(Fact), text("DROP TABLE fact")):
        for snapshot in (False, True):
            with pytest.raises(StoreUnavailable), any_store.read(snapshot=snapshot) as connection:
                connection.execute(statement)
                connection.commit()
    assert facts(any_store) == {"kept": ""}


def test_a_snapshot_sees_one_moment(any_store: Store) -> None:
    """All queries of a snapshot agree with each other while a writer goes on."""
    any_store.write(put("left", "0"))
    any_store.write(put("right", "0"))
    stop = threading.Event()

    def keep_writing() -> int:
        turns = 0
        while not stop.is_set():
            turns += 1
            any_store.write(lambda tx: tx.execute(update(Fact).values(value=str(turns))))  # noqa: B023
        return turns

    seen, deadline = set(), time.monotonic() + 60
    with ThreadPoolExecutor(1) as threads:
        writer = threads.submit(keep_writing)
        try:  # until the writer was seen at work, however slow this machine's disk is
            while len(seen) < 12 and time.monotonic() < deadline and not writer.done():
                with any_store.read(snapshot=True) as connection:
                    left, again, right = (
                        connection.execute(select(col(Fact.value)).where(col(Fact.name) == name)).scalar_one()
                        for name in ("left", "left", "right")
                    )
                assert left == again == right
                seen.add(left)
        finally:
            stop.set()
        assert writer.result() >= len(seen) - 1  # and whatever it failed by is raised here
    assert len(seen) >= 12, "the writer did not go on meanwhile"
