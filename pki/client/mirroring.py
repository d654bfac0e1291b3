"""A copy of the ledger in a directory that any web server can serve as static files (c2sp.org/tlog-tiles).

Everything is checked against the signed head before it is written, and the head is written last: who reads the
directory sees the old ledger or the new one. A head that goes back or forks from the one that is there is refused, and
nothing is written. What a run leaves behind that was cut off, the next one writes again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ca import files
from ca.errors import BadRequest, Conflict
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash
from ca.ledger.proofs import check_consistency
from ca.ledger.tree import HEIGHT, WIDTH, Tree, tile_name, unpack

PREFIX = "/ledger"
Fetch = Callable[[str], bytes]
"""Fetches a path of the server."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What the directory holds now, and how many files were written for it."""

    size: int
    before: int
    files: int


class Mirror:
    """A directory that follows one ledger."""

    def __init__(self, directory: Path, verifier: Verifier, fetch: Fetch, *, with_entries: bool) -> None:
        self._directory = directory
        self._verifier = verifier
        self._fetch = fetch
        self._with_entries = with_entries

    def follow(self, checkpoint: str) -> Mirrored:
        """Bring the directory to a newer head. `BadRequest` or `Conflict` if it does not continue what is there."""
        head, held = open_head(checkpoint, self._verifier), self._held()
        if head.size < held.size:
            raise Conflict(
                f"the ledger has gone back: {held.size} entries are here, and {head.size} there",
                code="ledger-went-back",
            )
        tree = Tree(self._read, head.size, head.root)
        check_consistency(held.size, held.root, head.size, head.root, tree.consistency(held.size))
        written = 0
        for level, number in self._missing(held.size, tree):
            written += self._write(tree, level, number)
        if written or head.size != held.size:
            files.replace(self._path("checkpoint"), checkpoint.encode())
            self._tidy(held.size, tree)
        return Mirrored(head.size, held.size, written)

    def _held(self) -> Head:
        """The head that the directory has; an empty one where there is none."""
        path = self._path("checkpoint")
        if not path.exists():
            return Head(self._verifier.name, 0, EMPTY_ROOT)
        return open_head(path.read_text(), self._verifier)

    def _read(self, level: int, number: int, width: int) -> bytes:
        return self._fetch(f"{PREFIX}/tile/{level}/{tile_name(number, width)}")

    def _missing(self, size: int, tree: Tree) -> list[tuple[int, int]]:
        """The tiles that have become longer since `size`, or were never written."""
        found, level = [], 0
        while tree.size >> HEIGHT * level:
            number = (size >> HEIGHT * level) // WIDTH
            while width := tree.width(level, number):
                if not self._is_there(level, number, width):
                    found.append((level, number))
                number += 1
            level += 1
        return found

    def _is_there(self, level: int, number: int, width: int) -> bool:
        names = [str(level), "entries"] if self._with_entries and level == 0 else [str(level)]
        return self._path("checkpoint").exists() and all(
            self._path("tile", name, tile_name(number, width)).exists() for name in names
        )

    def _write(self, tree: Tree, level: int, number: int) -> int:
        hashes, width = tree.tile(level, number), tree.width(level, number)
        self._put(hashes, str(level), tile_name(number, width))
        if level or not self._with_entries:
            return 1
        bundle = self._fetch(f"{PREFIX}/tile/entries/{tile_name(number, width)}")
        leaves = b"".join(map(leaf_hash, unpack(bundle)))
        if leaves != hashes or len(leaves) != width * HASH_SIZE:
            raise BadRequest(f"the entries of tile {number} are not those that were signed", code="bad-tile")
        self._put(bundle, "entries", tile_name(number, width))
        return 2

    def _put(self, content: bytes, level: str, name: str) -> None:
        path = self._path("tile", level, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, content)

    def _tidy(self, size: int, tree: Tree) -> None:
        """Incomplete tiles that are complete by now go, as the format allows once the newer head is there."""
        level = 0
        while size >> HEIGHT * level:
            number = (size >> HEIGHT * level) // WIDTH
            if tree.width(level, number) == WIDTH:
                for name in (str(level), "entries") if level == 0 else (str(level),):
                    shutil.rmtree(self._path("tile", name, tile_name(number, WIDTH) + ".p"), ignore_errors=True)
            level += 1

    def _path(self, *parts: str) -> Path:
        return self._directory.joinpath(*parts)
