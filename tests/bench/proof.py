"""What a proof of the ledger costs with 1,000,000 entries: made from stored tiles, and checked."""

from __future__ import annotations

import statistics
import time

from sqlalchemy import delete, func, select

from ca.installation import Installation
from ca.ledger import proofs, proving, tiles
from ca.ledger.checkpoint import open_head
from ca.ledger.merkle import leaf_hash
from ca.models import LedgerEntry, LedgerTile
from ca.store import Transaction
from tests.bench.issuing import fresh_installation
from tests.bench.report import Figure, heading, show, wall

PAGE = 20_000


def run(*, quick: bool) -> None:
    """Print the figures."""
    count = 100_000 if quick else 1_000_000
    heading(f"Proofs of a ledger of {count:,} entries")
    with fresh_installation() as installation:
        started = time.perf_counter()
        _fill(installation, count)
        installation.ledger.sequence()
        show(Figure("append and number all of them", time.perf_counter() - started, "s"))
        _measure_tiles(installation)
        _measure(installation, count)


def _measure_tiles(installation: Installation) -> None:
    """Tiles of a ledger that is older than they are: none is there at first."""
    store = installation.store
    store.write(lambda tx: tx.execute(delete(LedgerTile)))
    started, pages = time.perf_counter(), []
    while (page := wall(lambda: store.write(tiles.fill))) and tiles.is_behind(store):
        pages.append(page)
    show(Figure("store the tiles of an older ledger", time.perf_counter() - started, "s"))
    show(Figure("one page of that, the longest that a writer waits", max(pages) * 1e3, "ms"))
    with store.read() as connection:
        query = select(func.count(), func.sum(func.length(LedgerTile.hashes)))
        number, size = connection.execute(query).one()
    show(Figure(f"tiles: {number:,}", size / 1e6, "MB"))


def _measure(installation: Installation, count: int) -> None:
    store = installation.store
    places = [place * 7919 % count for place in range(200)]
    made = [wall(lambda place=place: proving.prove_entry(store, place)) for place in places]  # type: ignore[misc]
    show(Figure("an inclusion proof, median", statistics.median(made) * 1e3, "ms", budget=10))
    show(Figure("an inclusion proof, slowest of 200", max(made) * 1e3, "ms"))
    sizes = [1 + place for place in places]
    consistent = [wall(lambda size=size: proving.prove_consistency(store, size)) for size in sizes]  # type: ignore[misc]
    show(Figure("a consistency proof, median", statistics.median(consistent) * 1e3, "ms", budget=10))
    proof = proving.prove_entry(store, count // 3)
    assert proof.checkpoint is not None
    head = open_head(proof.checkpoint, installation.ledger.verifier)
    leaf = leaf_hash(proof.entry)
    found = proofs.root_from_inclusion(leaf, proof.position, proof.size, proof.inclusion)
    assert found == head.root
    check = statistics.median(
        wall(lambda: proofs.root_from_inclusion(leaf, proof.position, proof.size, proof.inclusion)) for _ in range(200)
    )
    show(Figure(f"check one ({len(proof.inclusion)} hashes)", check * 1e6, "us"))


def _fill(installation: Installation, count: int) -> None:
    for start in range(0, count, PAGE):

        def unit(tx: Transaction, start: int = start) -> None:
            for place in range(start, min(start + PAGE, count)):
                body = b'{"action":"certificate-issued","place":%d,"x":"%s"}' % (place, b"x" * 400)
                tx.add(LedgerEntry, {"subject": f"{place:x}", "leaf_hash": leaf_hash(body), "body": body})

        installation.store.write(unit)
