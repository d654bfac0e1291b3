"""The tree in tiles of 256 hashes (c2sp.org/tlog-tiles), stored once complete, so that no proof reads the whole ledger.

Level 0 holds the hashes of entries; a hash of level 1 is the root of a tile of level 0, and so on. The right edge of a
tree is never stored: it is read from what lies beneath it. `fill` adds what has become complete since, a page at a
time, and so fills the tiles of a ledger that is older than they are; until then its proofs are right, and slow.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select
from sqlmodel import col

from ca.errors import NotFound
from ca.ledger.merkle import HASH_SIZE, node_hash
from ca.ledger.proofs import Part, consistency_parts, inclusion_parts, subtrees
from ca.models import LedgerEntry, LedgerHead, LedgerTile
from ca.store import Store, Transaction

WIDTH, HEIGHT = 256, 8
PAGE = 64
"""How many tiles of one level a transaction fills."""

_SIZE = select(func.coalesce(func.max(col(LedgerHead.size)), 0))


class Tree:
    """The tree of the first `size` entries, as one reading of the store sees it."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self._tiles: dict[tuple[int, int], bytes] = {}
        self.size = size

    def width(self, level: int, number: int) -> int:
        """How many hashes of this tile the tree has: 256 if it is complete, 0 if there is none."""
        return max(0, min(WIDTH, (self.size >> HEIGHT * level) - number * WIDTH))

    def tile(self, level: int, number: int) -> bytes:
        """The hashes of one tile, one after the other. `NotFound` unless the tree has any of them."""
        width = self.width(level, number)
        if not width:
            raise NotFound(f"a ledger of {self.size} entries has no such tile", code="unknown-tile")
        key = (level, number)
        if key not in self._tiles:
            self._tiles[key] = (self._stored(*key) if width == WIDTH else None) or self._gathered(*key, width)
        return self._tiles[key]

    def root(self) -> bytes:
        """The root of the whole tree; it has at least one entry."""
        return self.part((0, self.size))

    def part(self, part: Part) -> bytes:
        """The root of one part of the tree that a proof names."""
        *left, root = [self._subtree(height, index) for height, index in subtrees(part)]
        for peak in reversed(left):
            root = node_hash(peak, root)
        return root

    def inclusion(self, position: int) -> list[bytes]:
        """The proof that the entry at `position` is in this tree (RFC 9162 section 2.1.3)."""
        return [self.part(part) for part in inclusion_parts(position, self.size)]

    def consistency(self, old: int) -> list[bytes]:
        """The proof that this tree begins with that of `old` entries (RFC 9162 section 2.1.4)."""
        return [self.part(part) for part in consistency_parts(old, self.size)]

    def _subtree(self, height: int, index: int) -> bytes:
        level, rest = divmod(height, HEIGHT)
        number, place = divmod(index << rest, WIDTH)
        start = place * HASH_SIZE
        return _folded(self.tile(level, number)[start : start + (HASH_SIZE << rest)])

    def _stored(self, level: int, number: int) -> bytes | None:
        query = select(col(LedgerTile.hashes)).where(col(LedgerTile.level) == level, col(LedgerTile.number) == number)
        return self._connection.execute(query).scalar()

    def _gathered(self, level: int, number: int, width: int) -> bytes:
        first = number * WIDTH
        if level:
            roots = _roots(self._connection, level - 1, first, width)
            return b"".join(
                roots.get(below) or _folded(self.tile(level - 1, below)) for below in range(first, first + width)
            )
        return _leaves(self._connection, first, width)


def is_behind(store: Store) -> bool:
    """Whether a tile has become complete that is not stored."""
    with store.read() as connection:
        size = connection.execute(_SIZE).scalar_one()
        return (_next(connection, 0) + 1) * WIDTH <= size


def fill(tx: Transaction) -> int:
    """Store a page of tiles that have become complete. Returns how many; 0 if another replica is at it."""
    if not tx.try_lock("ledger"):
        return 0
    complete, level, stored = tx.execute(_SIZE).scalar_one(), 0, 0
    while complete >= WIDTH:
        first = _next(tx.connection, level)
        last = max(first, min(first + PAGE, complete // WIDTH))
        for number in range(first, last):
            _store(tx, level, number)
        stored += last - first
        complete, level = last, level + 1
    return stored


def _store(tx: Transaction, level: int, number: int) -> None:
    """Add one tile; what it is made of is there, since tiles are stored from left to right and from below."""
    first = number * WIDTH
    if level:
        roots = _roots(tx.connection, level - 1, first, WIDTH)
        hashes = b"".join(roots[below] for below in range(first, first + WIDTH))
    else:
        hashes = _leaves(tx.connection, first, WIDTH)
    row = {"level": level, "number": number, "root": _folded(hashes), "hashes": hashes}
    tx.execute(insert(LedgerTile).values(row))


def _next(connection: Connection, level: int) -> int:
    """The number of the first tile of a level that is not stored."""
    last = connection.execute(select(func.max(col(LedgerTile.number))).where(col(LedgerTile.level) == level)).scalar()
    return 0 if last is None else last + 1


def _leaves(connection: Connection, first: int, count: int) -> bytes:
    place = col(LedgerEntry.position)
    query = select(col(LedgerEntry.leaf_hash)).where(place >= first, place < first + count).order_by(place)
    found = connection.execute(query).scalars().all()
    if len(found) != count:
        raise NotFound(f"entries of the ledger are missing from {first} on", code="ledger-damaged")
    return b"".join(found)


def _roots(connection: Connection, level: int, first: int, count: int) -> dict[int, bytes]:
    number = col(LedgerTile.number)
    query = select(number, col(LedgerTile.root)).where(col(LedgerTile.level) == level)
    query = query.where(number >= first, number < first + count)
    return {row.number: row.root for row in connection.execute(query)}


def _folded(hashes: bytes) -> bytes:
    """The root of a complete subtree from its hashes: a power of two of them."""
    row = [hashes[start : start + HASH_SIZE] for start in range(0, len(hashes), HASH_SIZE)]
    while len(row) > 1:
        row = [node_hash(row[place], row[place + 1]) for place in range(0, len(row), 2)]
    return row[0]
