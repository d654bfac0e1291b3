"""What tests would pay thousands of times is paid once: in their own process alone, never in those that they start.

Key files are made with a cheap scrypt, and whoever opens one reads in it how dear it was; the scrypt that seals, the
same in all processes, is remembered, and so is what a profile's text says; the tables of an empty SQLite database are
those that Alembic made the first time.

What is shipped is seen by `tests/ca/test_software_keys.py` and `tests/contracts/test_migrations.py`.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any

from alembic import command
from sqlalchemy import Connection

from ca.keys import pkcs8, sealed
from ca.profiles import collection
from ca.profiles.profile import Profile, read_profile
from ca.store import migrate

SHIPPED = pkcs8.SCRYPT_N
"""What a key file costs in earnest."""
CHEAP = 1 << 4
RARELY = (20_000, 20, 20)
"""Objects until garbage is looked for: the usual 700 took a third of the time that collecting the tests takes."""
_made: dict[str, list[str]] = {}


def make() -> None:
    """From now on."""
    gc.set_threshold(*RARELY)
    pkcs8.SCRYPT_N = CHEAP
    sealed.hashlib = SimpleNamespace(scrypt=cache(sealed.hashlib.scrypt))  # type: ignore[attr-defined]
    collection.read_profile = _profile
    migrate.command = SimpleNamespace(upgrade=_upgrade)  # type: ignore[attr-defined]


def _profile(name: str, text: str, variables: Mapping[str, str]) -> Profile:
    return _remembered(name, text, tuple(sorted(variables.items())))


@lru_cache(512)
def _remembered(name: str, text: str, variables: tuple[tuple[str, str], ...]) -> Profile:
    return read_profile(name, text, dict(variables))


def _upgrade(config: Any, revision: str) -> None:
    connection: Connection = config.attributes["connection"]
    if connection.dialect.name != "sqlite" or migrate.current_revision(connection) is not None:
        command.upgrade(config, revision)
        return
    if revision not in _made:
        command.upgrade(config, revision)
        ours = "sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        found = connection.exec_driver_sql(f"SELECT sql FROM sqlite_master WHERE {ours} ORDER BY rowid")
        reached = f"INSERT INTO alembic_version VALUES ('{migrate.current_revision(connection)}')"
        _made[revision] = [*found.scalars(), reached]
        return
    for statement in _made[revision]:
        connection.exec_driver_sql(statement)
