"""The migrations: they make what the models say, refuse what they do not know, and may run twice at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel

import renewers.models  # noqa: F401 - its tables belong to the one history
from ca.errors import Misconfigured
from ca.store import Store, open_store
from tests.conftest import fresh_database
from tests.contracts.units import facts_from_outside, put


def test_migrations_make_the_tables_of_the_models(any_store: Store) -> None:
    """Upgrading an empty database gives exactly what the models say, column by column, on both engines."""
    with any_store.read() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, SQLModel.metadata) == []


def test_a_database_from_the_future_is_refused(store_url: str) -> None:
    """A newer version's database is left alone, and the refusal says what to do."""
    store = open_store(store_url)
    store.write(put("kept"))
    store.write(lambda tx: tx.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    store.close()
    with pytest.raises(Misconfigured, match="9999") as caught:
        open_store(store_url)
    assert "backup" in (caught.value.hint or "")
    assert facts_from_outside(store_url) == {"kept": ""}


_MIGRATOR = """
import sys
from ca.store import open_store

print("ready", flush=True)
sys.stdin.read()
open_store(sys.argv[1]).close()
"""


def test_two_processes_may_migrate_at_once(postgresql: str) -> None:
    """Replicas that start together on an empty PostgreSQL database all come up."""
    url = fresh_database(postgresql)
    argv = [sys.executable, "-c", _MIGRATOR, url]
    started = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.stdout.readline() for process in started if process.stdout] == [b"ready\n"] * 2
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    for process in started:
        with process:
            assert process.wait(120) == 0
    open_store(url).close()
