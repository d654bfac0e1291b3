"""The tree in tiles of 256 hashes (c2sp.org/tlog-tiles), stored once complete, so that no proof reads the whole ledger.

Level 0 holds the hashes of entries; a hash of level 1 is the root of a tile of level 0, and so on. The right edge of a
tree is never stored: it is read from what lies beneath it. `fill` adds what has become complete since, a page at a
time, and so fills the tiles of a ledger that is older than they are; until then there are no proofs of it.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select
from sqlmodel import col

from ca.errors import NotFound, Unavailable
from ca.ledger.tree import HEIGHT, WIDTH, Tree, folded, pack
from ca.models import LedgerEntry, LedgerHead, LedgerTile
from ca.store import Store, Transaction

PAGE = 32
"""How many tiles of one level a transaction fills."""
FEW = 4
"""How many missing tiles a reader makes up for itself: strangers may ask, and all of them would be the whole ledger."""

_SIZE = select(func.coalesce(func.max(col(LedgerHead.size)), 0))


class StoredTiles:
    """The tiles of a ledger as one reading of the store sees them: what a `Tree` reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, level: int, number: int, width: int) -> bytes:
        """The first `width` hashes of one tile, whether it is stored or has to be gathered."""
        return (self._stored(level, number) if width == WIDTH else None) or self._gathered(level, number, width)

    def _stored(self, level: int, number: int) -> bytes | None:
        query = select(col(LedgerTile.hashes)).where(col(LedgerTile.level) == level, col(LedgerTile.number) == number)
        return self._connection.execute(query).scalar()

    def _gathered(self, level: int, number: int, width: int) -> bytes:
        first = number * WIDTH
        if not level:
            return _leaves(self._connection, first, width)
        roots = _roots(self._connection, level - 1, first, width)
        missing = [below for below in range(first, first + width) if below not in roots]
        if len(missing) > FEW:
            raise Unavailable(
                "the tiles of this ledger are still being made",
                code="tiles-behind",
                hint="once, after an upgrade: about two minutes for each million entries",
            )
        roots |= {below: folded(self(level - 1, below, WIDTH)) for below in missing}
        return b"".join(roots[below] for below in range(first, first + width))


def tree_of(connection: Connection, size: int) -> Tree:
    """The tree of the first `size` entries."""
    return Tree(StoredTiles(connection), size)


def hash_tile(store: Store, level: int, number: int, width: int) -> bytes:
    """The first `width` hashes of a tile. `NotFound` unless a head covers them."""
    with store.read(snapshot=True) as connection:
        _must_cover(connection, level, number, width)
        return StoredTiles(connection)(level, number, width)


def entry_tile(store: Store, number: int, width: int) -> bytes:
    """The first `width` entries of a tile of level 0, packed. `NotFound` unless a head covers them."""
    place, first = col(LedgerEntry.position), number * WIDTH
    query = select(col(LedgerEntry.body)).where(place >= first, place < first + width).order_by(place)
    with store.read(snapshot=True) as connection:
        _must_cover(connection, 0, number, width)
        found = list(connection.execute(query).scalars())
    if len(found) != width:
        raise NotFound(f"entries of the ledger are missing from {first} on", code="ledger-damaged")
    return pack(found)


def _must_cover(connection: Connection, level: int, number: int, width: int) -> None:
    size = connection.execute(_SIZE).scalar_one()
    if (number * WIDTH + width) << HEIGHT * level > size:
        raise NotFound(f"a ledger of {size} entries has no such tile", code="unknown-tile")


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
    row = {"level": level, "number": number, "root": folded(hashes), "hashes": hashes}
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
