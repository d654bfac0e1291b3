"""Appending to the ledger, and giving what was appended its place in the tree.

`append` runs inside the transaction that makes the change and takes no lock: the entry is durable exactly when the
change is. `sequence` runs a moment later, on any one replica, numbers what waits and signs a new head. Until then an
entry is durable but not yet covered by a head: that is the ledger's merge delay, about a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, insert, select, update
from sqlmodel import col

from ca import clock
from ca.ledger import tiles
from ca.ledger.checkpoint import Head, Verifier, sign_head
from ca.ledger.merkle import Edge, leaf_hash
from ca.ledger.tree import WIDTH
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store, Transaction

PAGE = 2000
"""How many entries one pass numbers: about 20 ms of the writer's time."""

_WAITING = (
    select(col(LedgerEntry.id), col(LedgerEntry.leaf_hash))
    .where(col(LedgerEntry.position).is_(None))
    .order_by(col(LedgerEntry.id))
    .limit(PAGE)
)
_LAST_HEAD = select(LedgerHead).order_by(col(LedgerHead.size).desc()).limit(1)
_PLACE = col(LedgerEntry.position)


def append(tx: Transaction, action: str, subject: str, by: str, **details: Any) -> None:
    """Record that `by` did `action` (past tense) to `subject`; `details` are JSON values, never secrets."""
    body = encode({"action": action, "at": clock.timestamp(), "by": by, "subject": subject, **details})
    tx.add(LedgerEntry, {"subject": subject, "leaf_hash": leaf_hash(body), "body": body})


def encode(entry: dict[str, Any]) -> bytes:
    """The bytes of an entry: JSON with sorted keys and no spaces, so that one content has one form."""
    return _ENCODER.encode(entry).encode()


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Ledger:
    """The ledger of one installation: its origin, its signing key and its place in the store."""

    def __init__(self, store: Store, origin: str, key: Ed25519PrivateKey) -> None:
        self._store = store
        self._key = key
        self.origin = origin

    @property
    def verifier(self) -> Verifier:
        """What others need to check our heads with."""
        return Verifier(self.origin, self._key.public_key())

    def sequence(self) -> int:
        """Number everything that waits, sign heads over it, and store the tiles that became complete.

        Returns how many entries were numbered.
        """
        total = 0
        while self._is_waiting():
            numbered = self._store.write(self._sequence_page)
            if not numbered:  # another replica is at it
                break
            total += numbered
        for _ in range(1 + total // (tiles.PAGE * WIDTH)):  # what was numbered, and a page of what is missing
            if tiles.is_behind(self._store):
                self._store.write(tiles.fill)
        return total

    def head(self) -> LedgerHead | None:
        """The newest signed head, or None before the first entry."""
        with self._store.read() as connection:
            row = connection.execute(_LAST_HEAD).first()
        return None if row is None else LedgerHead(**row._mapping)

    def waiting(self) -> int:
        """How many entries no head covers yet."""
        with self._store.read() as connection:
            query = select(func.count()).select_from(LedgerEntry).where(col(LedgerEntry.position).is_(None))
            return connection.execute(query).scalar_one()

    def _is_waiting(self) -> bool:
        with self._store.read() as connection:
            return connection.execute(_WAITING.limit(1)).first() is not None

    def _sequence_page(self, tx: Transaction) -> int:
        if not tx.try_lock("ledger"):
            return 0
        last = tx.execute(_LAST_HEAD).first()
        edge = Edge(last.size, last.edge) if last is not None else Edge()
        waiting = tx.execute(_WAITING).all()
        if not waiting:
            return 0
        ids = col(LedgerEntry.id)
        for low, high, place in _runs([row.id for row in waiting], edge.size):
            numbered = update(LedgerEntry).where(ids >= low, ids <= high, _PLACE.is_(None))
            tx.execute(numbered.values(position=ids - (low - place)))
        for row in waiting:
            edge.append(row.leaf_hash)
        head = Head(self.origin, edge.size, edge.root())
        tx.execute(
            insert(LedgerHead).values(
                size=head.size,
                root=head.root,
                edge=edge.to_bytes(),
                checkpoint=sign_head(head, self._key),
                signed_at=clock.timestamp(),
            )
        )
        return len(waiting)


def _runs(ids: list[int], place: int) -> Iterator[tuple[int, int, int]]:
    """Cut ascending ids into runs without gaps: the first and last of each, and the position of its first."""
    start = 0
    for index in range(1, len(ids) + 1):
        if index == len(ids) or ids[index] != ids[index - 1] + 1:
            yield ids[start], ids[index - 1], place + start
            start = index
