"""Units to write with, ways to make several of them share a batch, and ways to look at the result."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from sqlalchemy import select

from ca.errors import NotFound
from ca.models import Fact
from ca.store import Store, Transaction


def put(name: str, value: str = "") -> Callable[[Transaction], str]:
    """A unit that adds one fact and answers with its name."""

    def unit(tx: Transaction) -> str:
        tx.add(Fact, {"name": name, "value": value})
        return name

    return unit


def facts(store: Store) -> dict[str, str]:
    """Everything that is committed."""
    with store.read() as connection:
        return {row.name: row.value for row in connection.execute(select(Fact))}


def facts_from_outside(url: str) -> dict[str, str]:
    """The same, through a connection of our own that knows nothing of the store."""
    query = "SELECT name, value FROM fact"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return dict(connection.execute(query).fetchall())
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query).fetchall())


@contextmanager
def held(store: Store) -> Iterator[Callable[[int], None]]:
    """Keep the writer busy, so that what is written meanwhile waits and is then taken together.

    Yields a function that waits until so many callers are in the queue.
    """
    is_busy, go_on = threading.Event(), threading.Event()

    def unit(_tx: Transaction) -> None:
        is_busy.set()
        go_on.wait(120)

    def until_queued(callers: int) -> None:
        deadline = time.monotonic() + 60
        while store.commits._queue.qsize() < callers:
            assert time.monotonic() < deadline, "the callers did not queue"
            time.sleep(0.001)

    blocker = threading.Thread(target=store.write, args=(unit,))
    blocker.start()
    assert is_busy.wait(60)
    try:
        yield until_queued
    finally:
        go_on.set()
        blocker.join()


def together(store: Store, *units: Callable[[Transaction], Any]) -> list[Any]:
    """Results, or errors, of units that the writer took as one batch."""
    with ThreadPoolExecutor(len(units)) as threads:
        with held(store) as until_queued:
            futures: list[Future[Any]] = [threads.submit(store.write, unit) for unit in units]
            until_queued(len(units))
        return [future.exception() or future.result() for future in futures]


def refused(tx: Transaction) -> None:
    """A unit that adds something and then thinks better of it."""
    tx.add(Fact, {"name": "half", "value": "done"})
    raise NotFound("not here")


def broken(tx: Transaction) -> None:
    """A unit with a programming error."""
    tx.add(Fact, {"name": "broken", "value": ""})
    raise ZeroDivisionError
