"""A real PostgreSQL for tests and campaigns: a cluster of its own in a temporary directory, on a loopback port."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import peer


@contextmanager
def cluster() -> Iterator[str]:
    """A private PostgreSQL cluster on a loopback port; yields its URL without a database's name."""
    initdb, server = peer.require("initdb"), peer.require("postgres")
    home = Path(tempfile.mkdtemp(prefix="certwright-postgresql-"))
    data, port = home / "data", peer.free_port()
    as_user = _unprivileged(home)
    init = [*as_user, initdb, "-D", data, "-A", "trust", "-U", "certwright", "-N"]
    subprocess.run(init, check=True, capture_output=True)
    argv = [
        *as_user,
        server,
        "-D",
        str(data),
        "-p",
        str(port),
        "-k",
        str(home),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "fsync=off",
    ]
    try:
        with peer.running(argv, ready=peer.listens(port), log=home / "log", timeout=120):
            _wait_until_it_answers(port)
            yield f"postgresql://certwright@127.0.0.1:{port}"
    finally:
        shutil.rmtree(home, ignore_errors=True)


def fresh_database(server: str) -> str:
    """Make a database with a name of its own; returns its URL."""
    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


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
