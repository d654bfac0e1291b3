"""A real PostgreSQL for tests and campaigns: a cluster of its own in a temporary directory, on a loopback port."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory

from ca.store import open_store
from ca.store.migrate import SCRIPTS
from tests import peer

OPTIONS = (
    *("listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0"),
    *("checkpoint_timeout=1h", "max_wal_size=4GB"),
)
"""Durable enough for processes of ours that are killed; a power cut is another matter (`tests/crash/test_trace.py`)."""


@cache
def head() -> str | None:
    """The newest revision of the tables."""
    return ScriptDirectory(str(SCRIPTS)).get_current_head()


@contextmanager
def cluster() -> Iterator[str]:
    """A private PostgreSQL cluster on a loopback port; yields its URL without a database's name."""
    initdb, server = peer.require("initdb"), peer.require("postgres")
    home = Path(tempfile.mkdtemp(prefix="certwright-postgresql-"))
    data, port = home / "data", peer.free_port()
    as_user = _unprivileged(home)
    init = [*as_user, initdb, "-D", data, "-A", "trust", "-U", "certwright", "-N"]
    subprocess.run(init, check=True, capture_output=True)
    options = [word for option in OPTIONS for word in ("-c", option)]
    argv = [*as_user, server, "-D", str(data), "-p", str(port), "-k", str(home), *options]
    try:
        with peer.running(argv, ready=peer.listens(port), log=home / "log", timeout=120) as process:
            _wait_until_it_answers(port)
            yield f"postgresql://certwright@127.0.0.1:{port}"
            process.send_signal(signal.SIGQUIT)  # nobody needs what a last checkpoint would write
    finally:
        shutil.rmtree(home, ignore_errors=True)


def fresh_database(server: str) -> str:
    """Make a database with a name of its own; returns its URL."""
    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


class Tables:
    """Databases with all tables and nothing in them, on one server. Making one takes long; emptying one does not.

    Each has a name of its own every time it is given: whoever held on to it from before finds it gone.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._free: list[str] = []

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The URL of one, until the block ends."""
        url = self._renamed(self._free.pop()) if self._free else self._made()
        yield url
        if self._empty(url):
            self._free.append(url)

    def _made(self) -> str:
        url = fresh_database(self._server)
        open_store(url).close()
        return url

    def _renamed(self, url: str) -> str:
        import psycopg

        old, new = url.rpartition("/")[2], f"t{secrets.token_hex(6)}"
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            _let_go(connection, old)
            connection.execute(f"ALTER DATABASE {old} RENAME TO {new}")
        return f"{self._server}/{new}"

    def _empty(self, url: str) -> bool:
        """Whether it is as new: not if its tables are no longer ours."""
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            _let_go(connection, url.rpartition("/")[2])
            is_ours = connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(head(),)]
            connection.execute(EMPTY)
        return is_ours


EMPTY = """
DO $$
DECLARE one record; filled boolean; names text[] := '{}';
BEGIN
  FOR one IN SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', one.name) INTO filled;
    IF filled THEN names := names || format('%I', one.name); END IF;
  END LOOP;
  IF names <> '{}' THEN EXECUTE 'TRUNCATE ' || array_to_string(names, ', '); END IF;
  FOR one IN SELECT sequencename AS name, start_value AS first FROM pg_sequences WHERE last_value IS NOT NULL LOOP
    PERFORM setval(quote_ident(one.name)::regclass, one.first, false);
  END LOOP;
END $$
"""


def _let_go(connection: Any, name: str) -> None:
    """End the connections that are left of a database, but for this one."""
    which = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
    connection.execute(which, (name, connection.info.backend_pid))


def _unprivileged(home: Path) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as the user that its package made."""
    if os.getuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        peer.missing("PostgreSQL does not run as root, and there is no user postgres (make peers)")
    os.chown(home, user.pw_uid, user.pw_gid)
    return [peer.require("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def _wait_until_it_answers(port: int) -> None:
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(f"postgresql://certwright@127.0.0.1:{port}/postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("PostgreSQL does not answer", pytrace=False)
