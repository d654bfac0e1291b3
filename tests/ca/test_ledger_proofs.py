"""Proofs of the ledger: what the RFC defines, from stored tiles, and nothing else passes for one."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlmodel import col

from ca.errors import BadRequest, NotFound, Unavailable
from ca.installation import Installation
from ca.ledger import log, proofs, tiles
from ca.ledger.merkle import EMPTY_ROOT, leaf_hash
from ca.models import LedgerEntry, LedgerTile
from ca.store import Store, Transaction
from tests import rig
from tests.ca.test_merkle import mth

SIZES = st.integers(1, 70)


def path(place: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) as RFC 9162 section 2.1.3.1 writes it."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if place < k:
        return [*path(place, leaves[:k]), mth(leaves[k:])]
    return [*path(place - k, leaves[k:]), mth(leaves[:k])]


def subproof(old: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) as RFC 9162 section 2.1.4.1 writes it."""
    if old == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*subproof(old, leaves[:k], whole=whole), mth(leaves[k:])]
    return [*subproof(old - k, leaves[k:], whole=False), mth(leaves[:k])]


def split(count: int) -> int:
    """The largest power of two below `count`."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def entries(count: int) -> list[bytes]:
    """Different entries."""
    return [f"entry {place}".encode() for place in range(count)]


def hashed(leaves: Sequence[bytes], parts: list[proofs.Part]) -> list[bytes]:
    """The roots of the parts that a plan names, by the definition."""
    return [mth(leaves[low:high]) for low, high in parts]


@given(SIZES, st.data())
@settings(deadline=None)
def test_an_inclusion_proof_is_the_one_that_is_defined(size: int, data: st.DataObject) -> None:
    """The plan names the hashes of PATH, and the check comes to the root."""
    leaves, place = entries(size), data.draw(st.integers(0, size - 1))
    proof = hashed(leaves, proofs.inclusion_parts(place, size))
    assert proof == path(place, leaves)
    assert proofs.root_from_inclusion(leaf_hash(leaves[place]), place, size, proof) == mth(leaves)


@given(SIZES, st.data())
@settings(deadline=None)
def test_a_consistency_proof_is_the_one_that_is_defined(new: int, data: st.DataObject) -> None:
    """The plan names the hashes of PROOF, and the check accepts it."""
    leaves, old = entries(new), data.draw(st.integers(1, new))
    proof = hashed(leaves, proofs.consistency_parts(old, new))
    assert proof == subproof(old, leaves, whole=True)
    proofs.check_consistency(old, mth(leaves[:old]), new, mth(leaves), proof)


@given(SIZES, st.data())
@settings(deadline=None, max_examples=60)
def test_every_bit_of_an_inclusion_proof_matters(size: int, data: st.DataObject) -> None:
    """No bit of leaf or hashes, no other place, no hash more or less comes to the root."""
    leaves, place = entries(size), data.draw(st.integers(0, size - 1))
    leaf, proof, root = leaf_hash(leaves[place]), path(place, leaves), mth(leaves)
    for row in every_flip([leaf, *proof]):
        assert root_or_none(row[0], place, size, row[1:]) != root
    for wrong in ([*proof, root], proof[:-1] if proof else [root], [*proof, b""]):
        assert root_or_none(leaf, place, size, wrong) is None
    for other in range(size):
        if other != place:
            assert root_or_none(leaf, other, size, proof) != root


@given(st.integers(2, 40), st.data())
@settings(deadline=None, max_examples=60)
def test_every_bit_of_a_consistency_proof_matters(new: int, data: st.DataObject) -> None:
    """No bit of hashes or roots, no other size of the older tree, no hash more or less is accepted."""
    leaves, old = entries(new), data.draw(st.integers(1, new - 1))
    before, after, proof = mth(leaves[:old]), mth(leaves), subproof(old, leaves, whole=True)
    for row in every_flip([before, after, *proof]):
        assert not is_consistent(old, row[0], new, row[1], row[2:])
    for wrong in ([*proof, after], proof[:-1], [*proof[:-1], b""]):
        assert not is_consistent(old, before, new, after, wrong)
    assert not is_consistent(new, before, new, after, [])
    assert not is_consistent(new, after, old, before, proof)


def every_flip(hashes: list[bytes]) -> list[list[bytes]]:
    """The same hashes with one bit changed: every bit of each, in turn."""
    found = []
    for place, one in enumerate(hashes):
        for bit in range(len(one) * 8):
            changed = bytearray(one)
            changed[bit // 8] ^= 1 << bit % 8
            found.append([*hashes[:place], bytes(changed), *hashes[place + 1 :]])
    return found


def root_or_none(leaf: bytes, place: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that a proof comes to, or None where it is refused."""
    try:
        return proofs.root_from_inclusion(leaf, place, size, proof)
    except BadRequest:
        return None


def is_consistent(old: int, before: bytes, new: int, after: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the check lets it pass."""
    try:
        proofs.check_consistency(old, before, new, after, proof)
    except BadRequest:
        return False
    return True


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    """Without a hash, and under its own root alone; equal sizes need equal roots."""
    root = sha256(b"some").digest()
    assert is_consistent(0, EMPTY_ROOT, 5, root, [])
    assert not is_consistent(0, root, 5, root, [])
    assert is_consistent(5, root, 5, root, [])
    assert not is_consistent(5, EMPTY_ROOT, 5, root, [])
    assert not is_consistent(5, root, 5, root, [root])


@pytest.mark.parametrize(("place", "size"), [(-1, 3), (3, 3), (0, 0), (0, -1)])
def test_a_place_outside_the_tree_has_no_proof(place: int, size: int) -> None:
    """Neither to be made nor to be checked."""
    with pytest.raises(BadRequest):
        proofs.inclusion_parts(place, size)
    with pytest.raises(BadRequest):
        proofs.root_from_inclusion(EMPTY_ROOT, place, size, [])


COUNT = 256 * 259 + 77
"""More than 256 complete tiles: three levels, each with a right edge."""


def filled(store: Store, count: int) -> tuple[Installation, list[bytes]]:
    """An installation whose ledger has `count` small entries, numbered, and their bodies."""
    installation = rig.make_installation(store, with_hierarchy=False)
    bodies = entries(count)

    def unit(tx: Transaction) -> None:
        for body in bodies:
            tx.add(LedgerEntry, {"subject": "x", "leaf_hash": leaf_hash(body), "body": body})

    store.write(unit)
    installation.ledger.sequence()
    return installation, bodies


def held(store: Store) -> dict[tuple[int, int], bytes]:
    """The stored tiles."""
    with store.read() as connection:
        return {(row.level, row.number): row.hashes for row in connection.execute(select(LedgerTile))}


def check_proofs(store: Store, bodies: list[bytes], sizes: Sequence[int]) -> None:
    """For some sizes and places: the root is the head's, proofs hold, and consistency from size to size."""
    roots = {}
    for size in sizes:
        with store.read() as connection:
            found = tiles.tree_of(connection, size)
            roots[size] = found.root()
            assert roots[size] == mth(bodies[:size])
            for place in {0, 1, 255, 256, size // 2, size - 1} & set(range(size)):
                proof = found.inclusion(place)
                root = proofs.root_from_inclusion(leaf_hash(bodies[place]), place, size, proof)
                assert root == roots[size]
            for old in roots:
                proofs.check_consistency(old, roots[old], size, roots[size], found.consistency(old))


def test_proofs_from_tiles_are_those_of_the_tree(any_store: Store) -> None:
    """At the edges of tiles and beyond, and while some that are complete are not stored yet."""
    sizes = [1, 2, 255, 256, 257, 511, 513, 65_535, 65_536, 65_537, COUNT]
    _, bodies = filled(any_store, COUNT)
    stored = held(any_store)
    assert set(stored) == {(0, number) for number in range(259)} | {(1, 0)}
    check_proofs(any_store, bodies, sizes)
    last = (col(LedgerTile.level) == 1) | (col(LedgerTile.number) > 255)
    any_store.write(lambda tx: tx.execute(delete(LedgerTile).where(last)))
    assert tiles.is_behind(any_store)
    check_proofs(any_store, bodies, sizes[-2:])
    any_store.write(tiles.fill)
    assert held(any_store) == stored


def test_the_tiles_of_an_older_ledger_are_made_page_by_page(store: Store) -> None:
    """Until they are, a proof is refused for now instead of reading everything; afterwards they are the same tiles."""
    installation, bodies = filled(store, 256 * 40)
    stored = held(store)
    store.write(lambda tx: tx.execute(delete(LedgerTile)))
    with store.read() as connection, pytest.raises(Unavailable, match="still being made"):
        tiles.tree_of(connection, len(bodies)).root()
    assert installation.ledger.sequence() == 0
    assert len(held(store)) == tiles.PAGE
    assert installation.ledger.sequence() == 0
    assert held(store) == stored
    assert not tiles.is_behind(store)


def test_the_sequencer_stores_a_tile_when_it_is_complete(store: Store) -> None:
    """255 entries have none, one more has one, and it holds their hashes in order."""
    installation, bodies = filled(store, 255)
    assert held(store) == {}
    store.write(lambda tx: log.append(tx, "noted", "y", "test"))
    installation.ledger.sequence()
    with store.read() as connection:
        last = connection.execute(
            select(col(LedgerEntry.leaf_hash)).where(col(LedgerEntry.position) == 255)
        ).scalar_one()
    assert held(store) == {(0, 0): b"".join([*map(leaf_hash, bodies), last])}


def test_a_proof_of_a_large_tree_reads_few_rows(store: Store) -> None:
    """From stored tiles alone: with every entry beneath them gone, proofs of what they cover still hold."""
    _, bodies = filled(store, 1024)
    store.write(lambda tx: tx.execute(delete(LedgerEntry).where(col(LedgerEntry.position) < 1024)))
    check_proofs(store, bodies, [1024])
    with store.read() as connection, pytest.raises(NotFound, match="missing"):
        tiles.tree_of(connection, 1023).root()


def test_a_tile_beyond_the_tree_is_not_known(store: Store) -> None:
    """Neither a level nor a number that the tree does not reach."""
    filled(store, 300)
    with store.read() as connection:
        found = tiles.tree_of(connection, 300)
        assert [found.width(*key) for key in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0))] == [256, 44, 0, 1, 0, 0]
        for key in ((0, 2), (1, 1), (2, 0)):
            with pytest.raises(NotFound):
                found.tile(*key)
