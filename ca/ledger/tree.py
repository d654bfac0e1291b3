"""A tree that is read in tiles of 256 hashes (c2sp.org/tlog-tiles), wherever they come from: proofs, and their check.

`tiles.py` reads them from the store, whoever follows the ledger from a mirror. A tree that was given the root of a
signed head believes no tile: each has to come to that root.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ca.errors import BadRequest, NotFound
from ca.ledger.merkle import EMPTY_ROOT, HASH_SIZE, node_hash
from ca.ledger.proofs import Part, consistency_parts, inclusion_parts, subtrees

WIDTH, HEIGHT = 256, 8
MAX_ENTRY = (1 << 16) - 1
Read = Callable[[int, int, int], bytes]
"""Reads the first hashes of a tile: level, number, width."""

_NAME = re.compile(r"((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class Tree:
    """The tree of the first `size` entries. With `root`, what is read is checked against it."""

    def __init__(self, read: Read, size: int, root: bytes | None = None) -> None:
        self._read = read
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._is_checked = root is not None
        self.size = size
        if root is not None and self.root() != root:  # all incomplete tiles, each of their hashes, and nothing else
            raise _bad(f"the tiles are not those of the head of size {size}")

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
            self._tiles[key] = self._taken(level, number, width)
        return self._tiles[key]

    def root(self) -> bytes:
        """The root of the whole tree."""
        return self.part((0, self.size)) if self.size else EMPTY_ROOT

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

    def _taken(self, level: int, number: int, width: int) -> bytes:
        hashes = self._read(level, number, width)
        if len(hashes) != width * HASH_SIZE:
            raise _bad(f"tile {number} of level {level} is not of {width} hashes")
        if self._is_checked and width == WIDTH:  # incomplete ones are what the root was computed from
            place = number % WIDTH * HASH_SIZE
            if self.tile(level + 1, number // WIDTH)[place : place + HASH_SIZE] != folded(hashes):
                raise _bad(f"tile {number} of level {level} is not the one that was signed")
        return hashes

    def _subtree(self, height: int, index: int) -> bytes:
        level, rest = divmod(height, HEIGHT)
        number, place = divmod(index << rest, WIDTH)
        start = place * HASH_SIZE
        return folded(self.tile(level, number)[start : start + (HASH_SIZE << rest)])


def folded(hashes: bytes) -> bytes:
    """The root of a complete subtree from its hashes: a power of two of them."""
    row = [hashes[start : start + HASH_SIZE] for start in range(0, len(hashes), HASH_SIZE)]
    while len(row) > 1:
        row = [node_hash(row[place], row[place + 1]) for place in range(0, len(row), 2)]
    return row[0]


def tile_name(number: int, width: int) -> str:
    """How a tile is named beneath its level: `x001/x234/067`, with `.p/W` if it is incomplete."""
    text = f"{number % 1000:03d}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03d}/{text}"
    return text if width == WIDTH else f"{text}.p/{width}"


def read_tile_name(name: str) -> tuple[int, int]:
    """The number and width that a name means. `NotFound` unless it is the one name of a tile."""
    match = _NAME.fullmatch(name)
    if match is not None and len(name) <= 40:
        number, width = int(re.sub("[x/]", "", match[1])), int(match[2] or WIDTH)
        if tile_name(number, width) == name:
            return number, width
    raise NotFound("this is not the name of a tile", code="unknown-tile")


def pack(entries: list[bytes]) -> bytes:
    """The entries of a tile as they are served: each behind its length in two bytes, the larger half first."""
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise _bad(f"an entry is longer than the {MAX_ENTRY} bytes that tiles have room for")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack(bundle: bytes) -> list[bytes]:
    """What `pack` packed. `BadRequest` if it is cut off."""
    entries, place = [], 0
    while place < len(bundle):
        end = place + 2 + int.from_bytes(bundle[place : place + 2], "big")
        if end > len(bundle) or len(bundle) < place + 2:
            raise _bad("a tile of entries is cut off")
        entries.append(bundle[place + 2 : end])
        place = end
    return entries


def _bad(message: str) -> BadRequest:
    return BadRequest(message, code="bad-tile")
