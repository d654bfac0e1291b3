"""The migrations: they make what the models say, refuse what they do not know, and may run twice at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel

import renewers.models  # noqa: F401 - its tables belong to the one history
from ca.errors import Misconfigured
from ca.store import Store, migrate, open_store
from tests.conftest import fresh_database
from tests.contracts.units import facts_from_outside, put


def test_migrations_make_the_tables_of_the_models(any_store: Store) -> None:
    """Upgrading an empty database gives exactly what the models say, column by column, on both engines."""
    assert differences(any_store) == []


def test_the_tables_that_tests_remember_are_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by Alembic and made from memory (`tests/cheap.py`), they are the same to the letter."""
    statements = []
    for name, made_by in (("real", command), ("remembered", migrate.command)):
        monkeypatch.setattr(migrate, "command", made_by)
        store = open_store(f"sqlite:///{tmp_path / name}")
        assert differences(store) == []
        with store.read() as connection:
            found = connection.execute(text("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")).all()
            revision = connection.execute(text("SELECT * FROM alembic_version")).all()
        statements.append((found, revision))
        store.close()
    assert statements[0] == statements[1]


def differences(store: Store) -> Any:
    """Between the tables of a store and the models."""
    with store.read() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata)


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
