"""What an authority's lists are made of, read from the tables: a shard, all of them, or what is new since a list.

Reading only. Who signs it and when is `crl` and `delta`; how entries look as bytes is `x509/revocation_list`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select
from sqlmodel import col

from ca.models import DeltaList, Revocation, RevocationList, RevocationListContent
from ca.x509.revocation_list import entries_of, entry

COMPLETE = -1
"""The shard number under which an authority's complete list is stored."""

_ENTRY = select(col(Revocation.serial), col(Revocation.revoked_at), col(Revocation.reason))
CONTENT_OF_LIST = and_(
    col(RevocationListContent.authority_id) == col(RevocationList.authority_id),
    col(RevocationListContent.shard) == col(RevocationList.shard),
)
"""How a list's row and its bytes belong together."""


def listed(authority_id: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Which revocations of an authority stand on its lists at present."""
    return col(Revocation.authority_id) == authority_id, col(Revocation.last_listed).is_(None)


def shard_entries(connection: Connection, authority_id: int, shard: int) -> tuple[bytes, int]:
    """The entries of one shard, encoded, and how many."""
    query = _ENTRY.where(*listed(authority_id), col(Revocation.shard) == shard).order_by(col(Revocation.serial))
    return _encode(connection.execute(query))


def complete_entries(connection: Connection, authority_id: int) -> tuple[bytes, int] | None:
    """All entries: those of the shards as they were just published, and those without a shard.

    None while a shard is being rebuilt: the complete list has to wait for it.
    """
    own, count = _encode(connection.execute(_ENTRY.where(*listed(authority_id), col(Revocation.shard).is_(None))))
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
    """What was revoked since a list that had counted so many changes: exactly that, whatever any clock said."""
    query = _ENTRY.where(col(Revocation.authority_id) == authority_id, col(Revocation.change) > counted)
    return _encode(connection.execute(query.order_by(col(Revocation.change), col(Revocation.serial))))


def delta_number(connection: Connection, authority_id: int) -> int:
    """The number of an authority's newest delta, 0 without one: complete lists share its numbers (RFC 5280 5.2.4)."""
    query = select(func.max(col(DeltaList.number))).where(col(DeltaList.authority_id) == authority_id)
    return connection.execute(query).scalar_one() or 0


def _encode(rows: Iterable[Row[str, int, int]]) -> tuple[bytes, int]:
    encoded = [entry(int(serial, 16), at, reason) for serial, at, reason in rows]
    return b"".join(encoded), len(encoded)
