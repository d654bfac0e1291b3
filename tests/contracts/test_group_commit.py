"""Group commit, on SQLite and on PostgreSQL: many callers share a transaction, and none suffers for another."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, text

from ca.errors import Conflict, NotFound, StoreUnavailable
from ca.models import Fact
from ca.store import Store, Transaction
from ca.store.commit import MAX_BATCH
from tests.contracts.units import broken, facts, held, put, refused, together


def test_a_failing_unit_fails_alone(any_store: Store) -> None:
    """Of units that share a batch only the wrong ones fail, each with its own error; threads and coroutines alike."""
    any_store.write(put("taken", "first"))
    good = [put(f"thread-{place}") for place in range(20)]

    async def coroutines() -> list[Any]:
        units = (*(put(f"task-{place}") for place in range(20)), put("taken", "third"), broken)
        return await asyncio.gather(*map(any_store.awrite, units), return_exceptions=True)

    with ThreadPoolExecutor(32) as threads:
        with held(any_store) as until_queued:
            futures = [threads.submit(any_store.write, unit) for unit in (*good, put("taken", "second"), refused)]
            from_tasks = threads.submit(asyncio.run, coroutines())
            until_queued(len(futures) + 1)
        *succeeded, duplicate, refusal = [future.exception() or future.result() for future in futures]
        *answered, late_duplicate, defect = from_tasks.result()

    assert succeeded == [f"thread-{place}" for place in range(20)]
    assert answered == [f"task-{place}" for place in range(20)]
    assert [type(error) for error in (duplicate, late_duplicate)] == [Conflict, Conflict]
    assert duplicate.code == "duplicate"
    assert isinstance(refusal, NotFound)
    assert isinstance(defect, ZeroDivisionError)
    assert facts(any_store) == {"taken": "first", **dict.fromkeys([*succeeded, *answered], "")}


def test_a_programming_error_reaches_only_its_caller(any_store: Store) -> None:
    """A unit that breaks gives its own exception to its own caller, and the writer lives on."""
    for _ in range(3):
        before, mine, after = together(any_store, put("before"), broken, put("after"))
        assert isinstance(mine, ZeroDivisionError)
        assert (before, after) == ("before", "after")
        any_store.write(lambda tx: tx.execute(delete(Fact)))


def test_a_statement_that_the_database_refuses_fails_alone(any_store: Store) -> None:
    """Wrong SQL in one unit is no reason to tell its neighbours that the database is unavailable."""

    def wrong(tx: Transaction) -> None:
        tx.execute(text("SELECT nothing FROM nowhere"))

    before, mine, after = together(any_store, put("before"), wrong, put("after"))
    assert isinstance(mine, StoreUnavailable)
    assert (before, after) == ("before", "after")


def test_many_callers_share_commits(any_store: Store) -> None:
    """64 threads get by with far fewer commits than they make changes."""
    commits = any_store.commits
    units, batches = commits.units, commits.batches
    with ThreadPoolExecutor(64) as threads:
        names = list(threads.map(lambda place: any_store.write(put(f"fact-{place}")), range(1600)))
    assert commits.units - units == 1600
    assert commits.batches - batches < 800
    assert facts(any_store).keys() == set(names)


def test_a_batch_has_an_end(store: Store) -> None:
    """However many wait, one transaction takes about `MAX_BATCH` of them, so that none waits for all."""
    units = [put(f"fact-{place}") for place in range(MAX_BATCH + 40)]
    before = store.commits.batches
    assert together(store, *units) == [f"fact-{place}" for place in range(MAX_BATCH + 40)]
    assert store.commits.batches - before == 3  # the one that held the writer, a full one, the rest


def test_a_cancelled_coroutine_harms_nobody(any_store: Store) -> None:
    """Who stops waiting leaves its neighbours, the writer and its event loop in good order."""

    async def story() -> list[str]:
        with held(any_store) as until_queued:
            tasks = [asyncio.create_task(any_store.awrite(put(f"task-{place}"))) for place in range(20)]
            await asyncio.sleep(0.01)
            until_queued(1)
            for task in tasks[::2]:
                task.cancel()
            at_once = asyncio.create_task(any_store.awrite(put("never-waited-for")))
            at_once.cancel()
        assert all(
            isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks[::2], return_exceptions=True)
        )
        await asyncio.gather(at_once, return_exceptions=True)
        return [*await asyncio.gather(*tasks[1::2]), await any_store.awrite(put("afterwards"))]

    answered = asyncio.run(story())
    assert answered == [*(f"task-{place}" for place in range(1, 20, 2)), "afterwards"]
    assert set(answered) <= facts(any_store).keys()


def test_a_loop_that_ends_harms_nobody(any_store: Store) -> None:
    """A whole event loop may be gone before its changes are made; the threads beside it get their answers."""

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(any_store.awrite(put("impatient")), 0.01)

    with ThreadPoolExecutor(1) as threads:
        with held(any_store) as until_queued:
            asyncio.run(impatient())
            until_queued(1)
            patient = threads.submit(any_store.write, put("patient"))
            until_queued(2)
        assert patient.result() == "patient"
    assert any_store.write(put("afterwards")) == "afterwards"
