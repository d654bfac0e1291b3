"""Group commit: concurrent changes share one durable transaction, and none is answered before it.

A *unit* is a function that takes a `Transaction` and makes one caller's change. The writer thread takes all units that
are waiting, runs them in one database transaction and commits; only then do their callers go on. Units that fail
together (a unique key, a vanished row) are rolled back and run again one by one, so that a caller only ever sees its
own error. A unit may therefore run more than once: it changes nothing but the database.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Executable, Select, Table, func, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import SQLModel

from ca.errors import CertwrightError, Conflict, StoreUnavailable
from ca.store.failures import as_ours, is_of_a_statement, is_transient
from ca.store.many import any_row, delete_many, insert_many, table_of

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
MAX_BATCH = 256
TRANSIENT_TRIES = 3


class Unit(Protocol[T_co]):
    """One caller's change. Runs inside the shared transaction, possibly again after a roll-back."""

    def __call__(self, tx: Transaction, /) -> T_co:
        """Make the change; what it returns is handed to the caller once it is durable."""
        ...


class StaleChange(Conflict):
    """A row that a change relied on was no longer as expected when the change was made."""

    code = "changed-meanwhile"


class Transaction:
    """The shared transaction, as a unit sees it.

    `add`, `remove` and `refuse_if_any` are for the many: what all units ask for is done with a few large statements,
    refusals last, so that they see what the batch itself has added. `execute` is for the few: it first does what was
    asked for so far, then runs at once.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._refusals: dict[Select[Any], tuple[set[Any], Callable[[], CertwrightError]]] = {}
        self._removed: dict[tuple[Table, str], list[Any]] = {}
        self._added: dict[Table, list[Mapping[str, Any]]] = {}

    @property
    def connection(self) -> Connection:
        """The connection itself, for functions that read; it sees what was asked for so far."""
        self.flush()
        return self._connection

    def refuse_if_any(self, statement: Select[Any], value: Any, refusal: Callable[[], CertwrightError]) -> None:
        """Fail with `refusal()` if `statement`, whose bind `values` expands to a list, finds a row for `value`."""
        self._refusals.setdefault(statement, (set(), refusal))[0].add(value)

    def remove(self, table: type[SQLModel], key: str, value: Any) -> None:
        """Delete the one row whose `key` is `value`; `StaleChange` if it is not there."""
        self._removed.setdefault((table_of(table), key), []).append(value)

    def add(self, table: type[SQLModel], row: Mapping[str, Any]) -> None:
        """Insert a row; all rows that are added to a table in one transaction have the same keys."""
        self._added.setdefault(table_of(table), []).append(row)

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run now, after everything that was asked for before."""
        self.flush()
        return self._connection.execute(statement, parameters)

    def try_lock(self, name: str) -> bool:
        """Be the only one, among all replicas, to hold `name` until this transaction ends; False if another is."""
        if self._connection.dialect.name == "sqlite":  # one process, one writing thread: we are alone
            return True
        key = int.from_bytes(sha256(name.encode()).digest()[:8], "big", signed=True)
        return bool(self._connection.execute(select(func.pg_try_advisory_xact_lock(key))).scalar_one())

    def flush(self) -> None:
        """Do what was asked for. Raises the first error that it meets."""
        refusals, self._refusals = self._refusals, {}
        removed, self._removed = self._removed, {}
        added, self._added = self._added, {}
        for (table, key), keys in removed.items():
            if delete_many(self._connection, table, key, keys) != len(keys):
                raise StaleChange("what this change relied on has changed meanwhile")
        for table, rows in added.items():
            insert_many(self._connection, table, rows)
        for statement, (values, refusal) in refusals.items():
            if any_row(self._connection, statement, values):
                raise refusal()


class _Ticket(Generic[T]):
    """A caller's place in the queue: the unit, and later its result or its error."""

    __slots__ = ("error", "future", "gate", "result", "unit")

    def __init__(self, unit: Unit[T]) -> None:
        self.unit = unit
        self.result: Any = None
        self.error: BaseException | None = None
        self.gate: threading.Lock | None = None
        self.future: asyncio.Future[None] | None = None

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[no-any-return]


class GroupCommit:
    """The writer: one thread, one connection, a queue of units."""

    def __init__(self, connect: Callable[[], Connection], *, name: str = "store-writer") -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._queue: queue.SimpleQueue[Sequence[_Ticket[Any]] | None] = queue.SimpleQueue()
        self._turns: dict[asyncio.AbstractEventLoop, list[_Ticket[Any]]] = {}
        self._closed = threading.Event()
        self._door = threading.Lock()
        self.batches = 0
        self.units = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def write(self, unit: Unit[T]) -> T:
        """Run `unit` and return its result once it is durable."""
        ticket = _Ticket(unit)
        ticket.gate = threading.Lock()
        ticket.gate.acquire()
        self._put([ticket])
        ticket.gate.acquire()
        return ticket.outcome()

    async def awrite(self, unit: Unit[T]) -> T:
        """The same for coroutines. What one turn of the event loop asks for goes to the writer together."""
        ticket = _Ticket(unit)
        loop = asyncio.get_running_loop()
        ticket.future = loop.create_future()
        turn = self._turns.get(loop)
        if turn is None:
            self._turns[loop] = [ticket]
            loop.call_soon(self._end_turn, loop)
        else:
            turn.append(ticket)
        await ticket.future
        return ticket.outcome()

    def close(self) -> None:
        """Finish what is queued, then stop and close the connection."""
        with self._door:
            if self._closed.is_set():
                return
            self._closed.set()
            self._queue.put(None)
        self._thread.join()
        self._disconnect()

    def _end_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._turns.pop(loop)
        try:
            self._put(turn)
        except StoreUnavailable as error:
            _fail(turn, error)
            _release(turn)

    def _put(self, tickets: Sequence[_Ticket[Any]]) -> None:
        with self._door:  # nobody may be put behind the end, where nobody is taken
            if self._closed.is_set():
                raise StoreUnavailable("the store is closed")
            self._queue.put(tickets)

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._commit(batch)
            except BaseException as error:  # noqa: BLE001 - nobody may wait for ever, whatever happened here
                _fail(batch, error)
            _release(batch)

    def _next_batch(self) -> list[_Ticket[Any]] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = list(first)
        while len(batch) < MAX_BATCH:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            batch += more
        return batch

    def _commit(self, batch: list[_Ticket[Any]]) -> None:
        try:
            self._attempt(batch)
        except SQLAlchemyError as error:
            if not isinstance(error, IntegrityError):
                self._disconnect()
                if not (is_transient(error) or is_of_a_statement(error)):
                    _fail(batch, as_ours(error))
                    return
            self._one_by_one(batch, error)
        except Exception as error:  # noqa: BLE001 - a refusal, or a unit's own defect: find whose it is
            self._one_by_one(batch, error)

    def _one_by_one(self, batch: list[_Ticket[Any]], error: Exception) -> None:
        if len(batch) == 1:
            batch[0].error = as_ours(error)
            return
        for ticket in batch:
            self._commit([ticket])

    def _attempt(self, batch: list[_Ticket[Any]]) -> None:
        for tries_left in reversed(range(TRANSIENT_TRIES)):
            try:
                self._once(batch)
            except SQLAlchemyError as error:
                if not tries_left or not is_transient(error):
                    raise
            else:
                self.batches += 1
                self.units += len(batch)
                return

    def _once(self, batch: list[_Ticket[Any]]) -> None:
        if self._connection is None:
            self._connection = self._connect()
        with self._connection.begin():
            tx = Transaction(self._connection)
            for ticket in batch:
                ticket.result = ticket.unit(tx)
            tx.flush()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
            finally:
                connection.close()


def _fail(batch: Iterable[_Ticket[Any]], error: BaseException) -> None:
    for ticket in batch:
        if ticket.error is None:
            ticket.error = error


def _release(batch: Iterable[_Ticket[Any]]) -> None:
    """Let the callers go on: threads each by their gate, coroutines of one loop in one call."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for ticket in batch:
        if ticket.gate is not None:
            ticket.gate.release()
        elif ticket.future is not None:
            by_loop.setdefault(ticket.future.get_loop(), []).append(ticket.future)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_wake, futures)
        except RuntimeError:  # the loop is gone, and with it everybody who waited
            continue


def _wake(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
