"""What an authority's lists are made of, read from the tables: a shard, all of them, or what is new since a list.

Reading only. Who signs it and when is `crl` and `delta`; how entries look as bytes is `x509/revocation_list`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, select
from sqlmodel import col

from ca.models import DeltaList, Released, Revocation, RevocationList, RevocationListContent, UnrecordedRevocation
from ca.x509.revocation_list import REMOVE_FROM_CRL, entries_of, entry

COMPLETE = -1
"""The shard number under which an authority's complete list is stored."""

TABLES: tuple[type[Any], ...] = (Revocation, UnrecordedRevocation)
"""What stands on lists: certificates of ours, and those that we do not know and our key has signed."""
CHANGES: tuple[type[Any], ...] = (*TABLES, Released)
"""What an authority's count of changes stands on."""
CONTENT_OF_LIST = and_(
    col(RevocationListContent.authority_id) == col(RevocationList.authority_id),
    col(RevocationListContent.shard) == col(RevocationList.shard),
)
"""How a list's row and its bytes belong together."""


def listed(authority_id: int, table: type[Any] = Revocation) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Which revocations of an authority stand on its lists at present."""
    return col(table.authority_id) == authority_id, col(table.last_listed).is_(None)


def shard_entries(connection: Connection, authority_id: int, shard: int | None) -> tuple[bytes, int]:
    """The entries of one shard, or of what has none, encoded, and how many."""
    encoded: list[bytes] = []
    for table in TABLES:
        within = col(table.shard).is_(None) if shard is None else col(table.shard) == shard
        query = _entry(table).where(*listed(authority_id, table), within)
        encoded += _encode(connection.execute(query.order_by(col(table.serial))))
    return b"".join(encoded), len(encoded)


def complete_entries(connection: Connection, authority_id: int) -> tuple[bytes, int] | None:
    """All entries: those of the shards as they were just published, and those without a shard.

    None while a shard is being rebuilt: the complete list has to wait for it.
    """
    own, count = shard_entries(connection, authority_id, None)
    parts: list[bytes | memoryview] = [own]
    shards = col(RevocationList.authority_id) == authority_id, col(RevocationList.shard) != COMPLETE
    waiting = select(col(RevocationList.shard)).where(*shards, col(RevocationList.due_at) == 0).limit(1)
    if connection.execute(waiting).first() is not None:
        return None
    content = select(col(RevocationList.entries), col(RevocationListContent.crl))
    joined = content.join(RevocationListContent, CONTENT_OF_LIST).order_by(col(RevocationList.shard))
    for row in connection.execute(joined.where(*shards)):
        parts.append(entries_of(row.crl))
        count += row.entries
    return b"".join(parts), count


def entries_after(connection: Connection, authority_id: int, counted: int) -> tuple[bytes, int]:
    """What was revoked or released since a list that had counted so many changes: all that, whatever any clock said."""
    encoded: list[bytes] = []
    for table in CHANGES:
        query = _entry(table).where(col(table.authority_id) == authority_id, col(table.change) > counted)
        encoded += _encode(connection.execute(query.order_by(col(table.change), col(table.serial))))
    return b"".join(encoded), len(encoded)


def delta_number(connection: Connection, authority_id: int) -> int:
    """The number of an authority's newest delta, 0 without one: complete lists share its numbers (RFC 5280 5.2.4)."""
    query = select(func.max(col(DeltaList.number))).where(col(DeltaList.authority_id) == authority_id)
    return connection.execute(query).scalar_one() or 0


def _entry(table: type[Any]) -> Select[Any]:
    """What an entry says: whose it is, since when, why. What was released says so since it was."""
    if table is Released:
        lifted: Any = select(col(Released.serial), col(Released.released_at), literal(REMOVE_FROM_CRL))
        return lifted  # type: ignore[no-any-return]
    return select(col(table.serial), col(table.revoked_at), col(table.reason))


def _encode(rows: Iterable[Any]) -> list[bytes]:
    return [entry(int(serial, 16), at, reason) for serial, at, reason in rows]
