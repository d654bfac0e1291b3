"""Opening a database: SQLite for one process, PostgreSQL for many, and what each needs to be durable.

SQLite runs in WAL mode with `synchronous=FULL`, one writing connection and query-only readers. Only the writer
checkpoints: two connections that checkpoint can corrupt a WAL database before SQLite 3.51.3. A lock file beside the
database keeps a second process out, with the reason.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ca.errors import Misconfigured, StateLocked, StoreUnavailable
from ca.store.commit import GroupCommit
from ca.store.failures import as_ours
from ca.store.many import STATEMENTS
from ca.store.migrate import migrate

T = TypeVar("T")
WAL_CHECKPOINT_PAGES = 4000
CACHE_KIB = 64 * 1024


class Store:
    """An open database. `write` and `awrite` return when the change is durable; `read` sees what is committed."""

    def __init__(self, engine: Engine, writing: Engine, lock: ProcessLock | None) -> None:
        self._readers = engine
        self._writing = writing
        self._lock = lock
        self._moment: Connection | None = None
        self._commits = GroupCommit(writing.connect)
        self.write = self._commits.write
        self.awrite = self._commits.awrite

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._readers.dialect.name

    @property
    def is_shared(self) -> bool:
        """Whether other processes may change this database."""
        return self.dialect != "sqlite"

    @property
    def writing_engine(self) -> Engine:
        """For a restore, which is alone with a database that is nobody's yet."""
        return self._writing

    @property
    def commits(self) -> GroupCommit:
        """The writer, for its counters."""
        return self._commits

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A connection that cannot write; with `snapshot`, all its queries see the same moment (SQLite's always do).

        Keep it short: a long read holds back the clean-up of the write-ahead log.
        """
        if self._moment is not None:
            yield self._moment
            return
        try:
            with self._readers.connect() as connection:
                if snapshot and self.is_shared:
                    connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection
        except DataError as error:
            raise as_ours(error) from error
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the database does not answer: {type(error).__name__}") from error

    @contextmanager
    def at_one_moment(self) -> Iterator[Store]:
        """The same store, all of whose reads see it as it is now, whoever writes meanwhile; for one thread."""
        with self.read(snapshot=True) as connection:
            held = copy(self)
            held._moment = connection
            yield held

    def close(self) -> None:
        """Finish what is queued and let go of the database."""
        self._readers.dispose()
        self._commits.close()
        self._writing.dispose()
        if self._lock is not None:
            self._lock.release()


class ProcessLock:
    """An advisory lock on a file that says who holds it."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StateLocked(
                f"{path.with_suffix('')} is in use by process {holder}; SQLite serves one process only",
                hint="stop that process, talk to it with --server or its socket, or move to PostgreSQL",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let others in. The file stays: removing it would let two processes lock two different files."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def open_store(url: str) -> Store:
    """Open the database, bring its tables up to date and start its writer."""
    try:
        dialect = make_url(url).get_backend_name()
    except (SQLAlchemyError, ValueError):
        raise Misconfigured(
            "the database URL cannot be read", hint="sqlite:////path/to/file or postgresql://..."
        ) from None
    match dialect:
        case "sqlite":
            return _open_sqlite(url)
        case "postgresql":
            return _open_postgresql(url)
        case other:
            raise Misconfigured(f"databases of the kind {other!r} are not supported", hint="use sqlite or postgresql")


def _open_sqlite(url: str) -> Store:
    path = make_url(url).database
    if not path or path == ":memory:":
        raise Misconfigured("an SQLite database needs a file")
    try:
        lock = ProcessLock(Path(path).with_name(Path(path).name + ".lock"))
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    try:
        if not Path(path).exists():
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
        arguments = {"check_same_thread": False, "cached_statements": STATEMENTS}
        writing = create_engine(url, poolclass=NullPool, connect_args=arguments)
        _on_connect(writing, f"PRAGMA wal_autocheckpoint={WAL_CHECKPOINT_PAGES}", "PRAGMA synchronous=FULL")
        reading = create_engine(url, pool_size=8, max_overflow=32, connect_args={"check_same_thread": False})
        _on_connect(reading, "PRAGMA wal_autocheckpoint=0", "PRAGMA query_only=ON")
        _migrate(writing)
    except BaseException as error:
        lock.release()
        if isinstance(error, OSError):
            raise _unusable(path, error) from error
        raise
    return Store(reading, writing, lock)


def _unusable(path: str, error: OSError | ValueError) -> Misconfigured:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Misconfigured(f"{path} cannot be a database: {reason}", hint="name a file in a directory that is ours")


def _open_postgresql(url: str) -> Store:
    target = make_url(url).set(drivername="postgresql+psycopg")
    writing = create_engine(target, poolclass=NullPool, connect_args={"application_name": "certwright"})
    reading = create_engine(
        target,
        pool_size=8,
        max_overflow=32,
        pool_pre_ping=True,
        connect_args={"application_name": "certwright-read", "options": "-c default_transaction_read_only=on"},
    )
    _migrate(writing)
    return Store(reading, writing, None)


def _migrate(engine: Engine) -> None:
    try:
        migrate(engine)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise StoreUnavailable(f"the database cannot be opened: {reason}") from error


def _on_connect(engine: Engine, *pragmas: str) -> None:
    """Set up every SQLite connection, and begin write transactions at once instead of at the first write."""
    immediate = not any("query_only" in pragma for pragma in pragmas)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        for pragma in (f"PRAGMA cache_size=-{CACHE_KIB}", "PRAGMA busy_timeout=10000", *pragmas):
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.connection.cursor().execute("BEGIN IMMEDIATE" if immediate else "BEGIN")
