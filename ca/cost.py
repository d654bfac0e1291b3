"""What a mass revocation comes to, before anything is revoked: lists, their entries and bytes, and how long it takes.

Sizes follow from how an entry is encoded. Seconds are worked out from what this machine does now: the largest list is
read and encoded once for nothing, and signed with a key of the same kind that is thrown away; a key in hardware takes
longer. Writing down what is revoked costs what it was measured to (`ROW`). Nothing here changes anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca import clock, listing
from ca.authority import State
from ca.certificates import Stored
from ca.founding import Plan, self_signed
from ca.installation import Installation
from ca.keys.algorithms import key_type_of
from ca.listing import COMPLETE, CONTENT_OF_LIST
from ca.models import Authority, RevocationList, RevocationListContent
from ca.x509.revocation_list import RevocationReason, entry

ROW = 0.0001
"""Seconds to record one revocation with its ledger entry, many in a transaction: measured with 3,000 on SQLite."""
SAMPLE = 1000
READING = 3
"""How much longer it takes to read an entry and encode it than to encode it alone."""
_SERIAL = (1 << 158) + 1
"""As long as ours are."""


@dataclass(frozen=True, slots=True)
class ListCost:
    """One list that is made anew; sizes in bytes. `shard` is None for the complete list."""

    authority: str
    shard: int | None
    entries: int
    entries_after: int
    size: int
    size_after: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What it comes to. `held` of the certificates are on hold, and so on the lists already."""

    certificates: int
    held: int
    lists: tuple[ListCost, ...]
    delta_bytes: int
    seconds: float


def estimate(installation: Installation, pages: Iterable[Sequence[Stored]], reason: RevocationReason) -> Cost:
    """What revoking these would come to."""
    fresh: Counter[tuple[str, int | None]] = Counter()
    touched: set[tuple[str, int | None]] = set()
    total = 0
    for page in pages:
        for stored in page:
            places = {(stored.authority, stored.shard), (stored.authority, None)}
            touched |= places
            fresh.update(places if stored.state != "held" else ())
            total += 1
    added = sum(count for (_, shard), count in fresh.items() if shard is None)
    width = len(entry(_SERIAL, clock.timestamp(), reason))
    with installation.store.read(snapshot=True) as connection:
        lists = [
            ListCost(name, shard, row.entries, row.entries + fresh[name, shard], row.size, row.size)
            for name, shard, row in _rows(connection, touched)
        ]
        lists = [_grown(one, width) for one in lists]
        seconds = total * ROW + _seconds(installation, connection, lists)
    return Cost(total, total - added, tuple(lists), width * total, seconds)


def _grown(one: ListCost, width: int) -> ListCost:
    size = one.size + (one.entries_after - one.entries) * width
    return ListCost(one.authority, one.shard, one.entries, one.entries_after, one.size, size)


def _rows(connection: Connection, touched: set[tuple[str, int | None]]) -> Iterator[tuple[str, int | None, Any]]:
    """The lists that there are of those, each with its size; a retired CA makes none."""
    names = sorted({name for name, _ in touched})
    columns = (col(Authority.name), col(RevocationList.shard), col(RevocationList.entries))
    query = (
        select(*columns, func.length(col(RevocationListContent.crl)).label("size"))
        .join(RevocationList, col(RevocationList.authority_id) == col(Authority.id))
        .join(RevocationListContent, CONTENT_OF_LIST)
        .where(col(Authority.name).in_(names), col(Authority.state) != State.RETIRED)
        .order_by(col(Authority.id), col(RevocationList.shard) == COMPLETE, col(RevocationList.shard))
    )
    for row in connection.execute(query):
        shard = None if row.shard == COMPLETE else row.shard
        if (row.name, shard) in touched:
            yield row.name, shard, row


def _seconds(installation: Installation, connection: Connection, lists: Sequence[ListCost]) -> float:
    if not lists:
        return 0.0
    largest = max(lists, key=lambda one: (one.shard is not None, one.entries))
    shards = [one for one in lists if one.shard is not None]
    whole = sum(one.entries_after for one in lists if one.shard is None) / 10  # made of shards that are there already
    encoding = (sum(one.entries_after for one in shards) + whole) * _per_entry(installation, connection, largest)
    return encoding + sum(_signing(installation, name, lists) for name in {one.authority for one in lists})


def _per_entry(installation: Installation, connection: Connection, largest: ListCost) -> float:
    started = clock.monotonic()
    if largest.shard is not None and largest.entries >= SAMPLE:
        authority_id = installation.authorities.get(largest.authority).id or 0
        _, count = listing.shard_entries(connection, authority_id, largest.shard)
        return (clock.monotonic() - started) / max(1, count)
    for place in range(SAMPLE):
        entry(_SERIAL + place, 1_900_000_000, 4)
    return READING * (clock.monotonic() - started) / SAMPLE


def _signing(installation: Installation, name: str, lists: Sequence[ListCost]) -> float:
    """Signing and verifying the lists of one CA, by a key that is made for it."""
    certificate = x509.load_der_x509_certificate(installation.authorities.get(name).certificate)
    key_type = key_type_of(certificate.public_key())  # type: ignore[arg-type]
    if key_type is None:
        return 0.0
    own = [one for one in lists if one.authority == name]
    data = bytes(min(1 << 20, max(one.size_after for one in own)))
    key, plan = key_type.generate(), Plan("x", certificate.subject, key_type)
    started = clock.monotonic()
    self_signed(key, plan)
    sha256(data + sha256(data).digest())
    return (clock.monotonic() - started) * len(own)
