"""Reading a whole store at one moment into a backup, table by table, with some hundred rows in memory.

Tables are taken as the database has them, not as models say: those of all floors come with it, and a backup can be
filled into either kind of database at the revision that it was made at.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, LargeBinary, MetaData, Select, Table, func, select
from sqlmodel import col

from ca import clock
from ca.backup.packing import BEGIN, FILE, ROWS, TABLE, Packer
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store
from ca.store.migrate import current_revision

PAGE = 250
VERSIONS = "alembic_version"
Progress = Callable[[int, int], None]


def tables_of(connection: Connection) -> list[Table]:
    """Every table of this database but that of the migrations, by name."""
    known = MetaData()
    known.reflect(connection, resolve_fks=False)
    return [table for name, table in sorted(known.tables.items()) if name != VERSIONS]


def is_bytes(table: Table) -> list[bool]:
    """Which columns hold bytes."""
    return [isinstance(column.type, LargeBinary) for column in table.columns]


def pack(
    store: Store,
    files: Callable[[], Iterable[tuple[str, bytes]]],
    packer: Packer,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write all of it; returns the manifest. `files` is asked behind the tables: a key is older than what names it."""
    counts: dict[str, int] = {}
    with store.read(snapshot=True) as connection:
        begin = {"revision": current_revision(connection), "dialect": store.dialect, "made_at": clock.timestamp()}
        packer.put_json(BEGIN, begin)
        tables = tables_of(connection)
        total = sum(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
        newest = select(LedgerHead).order_by(col(LedgerHead.size).desc()).limit(1)
        head = connection.execute(newest).first()
        for table in tables:
            kinds = ["b" if each else "v" for each in is_bytes(table)]
            columns = [list(pair) for pair in zip(table.columns.keys(), kinds, strict=True)]
            packer.put_json(TABLE, {"name": table.name, "columns": columns})
            counts[table.name] = 0
            for rows in _pages(connection, table):
                packer.put_json(ROWS, rows)
                counts[table.name] += len(rows)
                if progress is not None:
                    progress(sum(counts.values()), total)
    hashes: dict[str, str] = {}
    for name, content in files():
        packer.put(FILE, name.encode() + b"\n" + content)
        hashes[name] = sha256(content).hexdigest()
    manifest = {**begin, "tables": counts, "files": hashes, "head": None if head is None else head.checkpoint}
    packer.finish(manifest)
    return manifest


def _pages(connection: Connection, table: Table) -> Iterator[list[list[Any]]]:
    places = [place for place, each in enumerate(is_bytes(table)) if each]
    streamed = connection.execution_options(stream_results=True, yield_per=PAGE)
    for rows in streamed.execute(_ordered(table)).partitions(PAGE):
        yield [_row(row, places) for row in rows]


def _ordered(table: Table) -> Select[Any]:
    if table.name == LedgerEntry.__tablename__:  # in the order of the tree, so that whoever reads can follow it
        place = table.c.position
        return select(table).order_by(place.is_(None), place, table.c.id)
    return select(table).order_by(*table.primary_key.columns)


def _row(row: Sequence[Any], places: Sequence[int]) -> list[Any]:
    values = list(row)
    for place in places:
        if values[place] is not None:
            values[place] = base64.b64encode(values[place]).decode()
    return values
