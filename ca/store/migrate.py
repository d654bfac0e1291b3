"""Bringing the tables up to date, by the Alembic scripts in `migrations/`. Several replicas may start at once.

A database that a newer version of this program has changed is refused: going back is a restore, not a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from ca.errors import Misconfigured

SCRIPTS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x43455254  # "CERT": one replica migrates, the others wait


def migrate(engine: Engine) -> None:
    """Run the migrations that the database has not seen."""
    with engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if is_newest(connection):
            return
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_newest(connection: Connection) -> bool:
    """Whether the tables are this version's. `Misconfigured` if they are those of a version that we do not know."""
    current = current_revision(connection)
    if current is not None and current not in _revisions():
        raise Misconfigured(
            f"the database has revision {current}, which this version does not know",
            hint="it was opened by a newer version: upgrade, or restore a backup from before",
        )
    return current == newest_revision()


def newest_revision() -> str | None:
    """The revision that this version brings a database to."""
    return next(iter(_revisions()), None)


@cache
def _revisions() -> Sequence[str]:
    """Those that this version knows, newest first: to find out, all scripts are compiled and run."""
    return tuple(found.revision for found in ScriptDirectory(str(SCRIPTS)).walk_revisions())


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()
