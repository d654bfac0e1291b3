"""Putting the rows of a backup into an empty database, and making them safe to go on from.

The tables are made at the revision that the backup has, filled, and then brought up to date as any older database.
What could go back is moved forward in `go_forward`: see there for each thing and why.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Table, delete, insert, inspect, select, text, update
from sqlmodel import col

from ca import clock
from ca.backup.reading import Taker
from ca.backup.sealing import bad
from ca.backup.snapshot import tables_of
from ca.errors import Conflict
from ca.facts import LINKS_ERA
from ca.ledger import log
from ca.models import BrowserSession, DeltaList, Fact, Lease, RevocationList, SignInLink
from ca.store import Transaction
from ca.store.migrate import SCRIPTS

JUMP = 1_000_000
"""How far list numbers go beyond the present second: eleven days of a list a second, made after the backup."""


class Filler(Taker):
    """Fills the database behind a connection, in its transaction."""

    def __init__(self, connection: Connection) -> None:
        if inspect(connection).get_table_names():
            raise Conflict("the database is not empty", code="not-empty", hint="restore into a new, empty database")
        self._connection = connection
        self._tables: dict[str, Table] = {}
        self._table: Table | None = None

    def begin(self, begin: Mapping[str, Any]) -> None:
        """Make the tables as they were."""
        if begin["revision"] not in {each.revision for each in ScriptDirectory(str(SCRIPTS)).walk_revisions()}:
            raise bad(f"the backup was made by a newer version (revision {begin['revision']})")
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = self._connection
        command.upgrade(config, begin["revision"])
        self._tables = {table.name: table for table in tables_of(self._connection)}

    def table(self, name: str, columns: list[str]) -> None:
        """Take the next table."""
        self._table = self._tables.get(name)
        if self._table is None or set(columns) != set(self._table.columns.keys()):
            raise bad(f"the backup's table {name} is not one of its version")
        self._connection.execute(delete(self._table))

    def rows(self, rows: list[dict[str, Any]]) -> None:
        """Insert."""
        if self._table is not None and rows:
            self._connection.execute(insert(self._table), rows)

    def finish(self) -> None:
        """Have PostgreSQL count ids on from the largest; SQLite does by itself."""
        if self._connection.dialect.name != "postgresql":
            return
        for table in self._tables.values():
            if "id" in table.columns and table.columns["id"].autoincrement is not False:
                named = text("SELECT pg_get_serial_sequence(:table, 'id')")
                if sequence := self._connection.execute(named, {"table": table.name}).scalar():
                    last = self._connection.execute(text(f"SELECT max(id) FROM {table.name}")).scalar()  # noqa: S608
                    if last is not None:
                        counted = text("SELECT setval(CAST(:sequence AS regclass), :last)")
                        self._connection.execute(counted, {"sequence": sequence, "last": last})


def go_forward(engine: Engine, known_number: int, details: Mapping[str, Any], by: str) -> int:
    """Make a restored database safe; returns the number that every list is larger than from now on.

    List numbers jump beyond all that can have been published since. Deltas begin anew: their counts of changes are
    taken again by other revocations. Sign-in links, answer links and browser sessions end, for what was spent or ended
    after the backup would be good again. Leases are released, their fences grown. Intents are given up and work is
    released by whoever opens the installation (`pki/restoring.py`).
    """
    now = clock.timestamp()
    with engine.begin() as connection:
        tx = Transaction(connection)
        numbers = [now, known_number]
        for table in (RevocationList, DeltaList):
            numbers += tx.execute(select(col(table.number))).scalars()
        number = max(numbers) + JUMP
        tx.execute(update(RevocationList).values(number=number, due_at=0))
        tx.execute(delete(DeltaList))
        tx.execute(delete(BrowserSession))
        tx.execute(update(SignInLink).where(col(SignInLink.used_at).is_(None)).values(used_at=now))
        tx.execute(delete(Fact).where(col(Fact.name) == LINKS_ERA))
        tx.execute(insert(Fact).values(name=LINKS_ERA, value=secrets.token_hex(8)))
        tx.execute(update(Lease).values(leased_until=0, fence=col(Lease.fence) + JUMP))
        log.append(tx, "restored", "installation", by, **details, list_numbers_after=number)
        tx.flush()
    return number
