"""Figures that take long to work out, kept as rows of `Snapshot` with their moment, so that a page only reads them.

Whoever makes them does it under a lease, page by page: a look at a million rows is many short ones. Whoever shows them
says how old they are. Read `tallies.py` and `ahead.py` for what they say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.store import Store
from renewers.models import Snapshot

SMALL = 50_000


@dataclass(frozen=True, slots=True)
class Kept:
    """Figures as they were at a moment."""

    at: int
    body: Any


def keep(store: Store, name: str, body: Any) -> None:
    """Put these in the place of those before."""
    row = {"name": name, "at": clock.timestamp(), "body": json.dumps(body, separators=(",", ":"))}
    new = insert(Snapshot).values(**row)
    store.write(lambda tx: tx.execute(new.on_conflict_do_update(index_elements=["name"], set_=row)) and None)


def find(connection: Connection, name: str) -> Kept | None:
    """The newest, or None if there are none yet."""
    row = connection.execute(select(Snapshot).where(col(Snapshot.name) == name)).first()
    return None if row is None else Kept(row.at, json.loads(row.body))


def is_fresh(store: Store, name: str, seconds: int) -> bool:
    """Whether they were made within so many seconds: by whichever replica."""
    with store.read() as connection:
        at = connection.execute(select(col(Snapshot.at)).where(col(Snapshot.name) == name)).scalar()
    return at is not None and 0 <= clock.timestamp() - int(at) < seconds


def is_quick(store: Store, key: Any) -> bool:
    """Whether a table is so small that to go through it keeps nobody waiting."""
    with store.read() as connection:
        return (connection.execute(select(func.max(key))).scalar() or 0) < SMALL
