"""How long it took from publishing something until a consumer was proved to hold it, once a consumer and version.

The rows are written where something is proved (`acknowledging.prove`); here they are read, and the oldest forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers.lifecycle import Lifecycle
from renewers.models import Latency
from renewers.telling.alarms import BY

KEPT = 10_000
"""Rows that are kept, the newest ones."""
LAST = 1000
"""How many of the newest are measured with, unless somebody says otherwise."""

_NEW = insert(Latency).values(
    {name: bindparam(name) for name in ("consumer_id", "stream", "version", "proved_by", "seconds", "at")}
)
_NEW = _NEW.on_conflict_do_nothing(index_elements=["consumer_id", "stream", "version"])


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds from publication to proof: of how many, and how long most, almost all, and the slowest took."""

    count: int
    p50: float
    p99: float
    longest: float


def record(tx: Transaction, consumer_id: int, stream: str, version: int, by: str, seconds: float) -> None:
    """Write down how long it took; the first proof of a version counts, and what comes later does not."""
    named = {"consumer_id": consumer_id, "stream": stream, "version": version, "proved_by": by}
    tx.execute(_NEW, {**named, "seconds": seconds, "at": clock.timestamp()})


def percentiles(
    connection: Connection, *, stream: str | None = None, consumer_id: int | None = None, last: int = LAST
) -> Percentiles | None:
    """Over the newest `last` proofs, of one stream or consumer or both if they are named. None if there are none."""
    query = select(col(Latency.seconds)).order_by(col(Latency.id).desc()).limit(max(last, 1))
    if stream is not None:
        query = query.where(col(Latency.stream) == stream)
    if consumer_id is not None:
        query = query.where(col(Latency.consumer_id) == consumer_id)
    return of(connection.execute(query).scalars().all())


def of(seconds: Iterable[float]) -> Percentiles | None:
    """The percentiles of these seconds, by nearest rank: each is a time that was really measured."""
    found = sorted(seconds)
    if not found:
        return None
    return Percentiles(len(found), found[-(-len(found) // 2) - 1], found[-(-len(found) * 99 // 100) - 1], found[-1])


def prune(lifecycle: Lifecycle, keep: int = KEPT) -> int:
    """Forget all but the newest `keep`. Returns how many were forgotten."""
    oldest = select(col(Latency.id)).order_by(col(Latency.id).desc()).offset(keep).limit(1)
    with lifecycle.store.read() as connection:
        last = connection.execute(oldest).scalar()
    if last is None:
        return 0

    def unit(tx: Transaction) -> int:
        gone = tx.execute(delete(Latency).where(col(Latency.id) <= last)).rowcount
        if gone:
            log.append(tx, "latencies-pruned", "retention", BY, count=gone)
        return gone

    return lifecycle.store.write(unit)
