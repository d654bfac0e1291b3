"""The tree of RFC 9162 against its own recursive definition and the reference vectors of Certificate Transparency."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.ledger.merkle import EMPTY_ROOT, HASH_SIZE, Edge, leaf_hash, node_hash

LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""What the reference implementation of RFC 6962 computes for the first 0 to 8 of these leaves (its own test data)."""

BODIES = st.lists(st.binary(max_size=8), max_size=70)


def mth(bodies: Sequence[bytes]) -> bytes:
    """MTH(D[n]) as RFC 9162 section 2.1.1 defines it: split at the largest power of two below n."""
    if not bodies:
        return sha256().digest()
    if len(bodies) == 1:
        return sha256(b"\x00" + bodies[0]).digest()
    k = 1
    while k * 2 < len(bodies):
        k *= 2
    return sha256(b"\x01" + mth(bodies[:k]) + mth(bodies[k:])).digest()


def edge_of(bodies: Sequence[bytes]) -> Edge:
    """The edge of a tree of these entries."""
    edge = Edge()
    for body in bodies:
        edge.append(leaf_hash(body))
    return edge


@pytest.mark.parametrize("size", range(9))
def test_the_reference_roots_are_found(size: int) -> None:
    """The roots of the reference implementation, by our edge and by the definition alike."""
    assert mth(LEAVES[:size]).hex() == ROOTS[size]
    assert edge_of(LEAVES[:size]).root().hex() == ROOTS[size]


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    """No entry, no peak, and the root that the RFC gives it."""
    assert Edge().root() == EMPTY_ROOT == sha256().digest()
    assert Edge().to_bytes() == b""


@given(BODIES)
@settings(deadline=None, max_examples=80)
def test_the_root_is_the_one_that_is_defined(bodies: list[bytes]) -> None:
    """For any entries, after each one that is appended, the root is MTH of all so far."""
    edge = Edge()
    for size, body in enumerate(bodies, start=1):
        edge.append(leaf_hash(body))
        if size in (1, 2, 3, len(bodies) // 2, len(bodies) - 1, len(bodies)):
            assert edge.root() == mth(bodies[:size])
    assert edge.size == len(bodies)


@given(BODIES, st.integers(0, 70))
@settings(deadline=None, max_examples=80)
def test_an_edge_can_be_stored_and_continued(bodies: list[bytes], cut: int) -> None:
    """Size and peaks are all that the tree needs: read back at any point, it goes on as if nothing had happened."""
    before = edge_of(bodies[:cut])
    stored = Edge(before.size, before.to_bytes())
    assert (stored.size, stored.root(), stored.to_bytes()) == (before.size, before.root(), before.to_bytes())
    assert len(stored.to_bytes()) == before.size.bit_count() * HASH_SIZE
    for body in bodies[cut:]:
        stored.append(leaf_hash(body))
    assert stored.root() == mth(bodies)


@given(st.integers(0, 2**62), st.binary(max_size=200))
@settings(deadline=None)
def test_an_edge_of_another_size_is_refused(size: int, peaks: bytes) -> None:
    """There is one peak for each bit of the size; anything else is not the edge of such a tree."""
    if len(peaks) == size.bit_count() * HASH_SIZE:
        assert Edge(size, peaks).to_bytes() == peaks
        return
    with pytest.raises(ValueError, match="peaks"):
        Edge(size, peaks)


def test_a_tree_of_millions_is_as_small_as_its_edge() -> None:
    """Appending to a tree of 2^40 - 1 entries folds forty peaks into one."""
    peak = sha256(b"peak").digest()
    edge = Edge((1 << 40) - 1, peak * 40)
    edge.append(peak)
    assert edge.size == 1 << 40
    expected = peak
    for _ in range(40):
        expected = node_hash(peak, expected)
    assert edge.to_bytes() == edge.root() == expected


@given(st.binary(max_size=100), st.binary(max_size=100))
@settings(deadline=None)
def test_an_entry_never_passes_for_a_node(left: bytes, right: bytes) -> None:
    """The first byte of what is hashed differs, so that no entry can be written that has an inner node's hash."""
    assert leaf_hash(left) == sha256(b"\x00" + left).digest()
    assert node_hash(left, right) == sha256(b"\x01" + left + right).digest()
    assert leaf_hash(left + right) != node_hash(left, right)


@given(st.lists(st.binary(max_size=4), min_size=2, max_size=20), st.data())
@settings(deadline=None, max_examples=100)
def test_every_change_of_an_entry_changes_the_root(bodies: list[bytes], data: st.DataObject) -> None:
    """An edit, an exchange of two different entries, a deletion and a cut tail all have another root (promise 7)."""
    place = data.draw(st.integers(0, len(bodies) - 2))
    root = edge_of(bodies).root()
    edited = [*bodies[:place], bodies[place] + b"x", *bodies[place + 1 :]]
    exchanged = [*bodies[:place], bodies[place + 1], bodies[place], *bodies[place + 2 :]]
    for other in (edited, [*bodies[:place], *bodies[place + 1 :]], bodies[:-1], [*bodies, b""]):
        assert edge_of(other).root() != root
    assert (edge_of(exchanged).root() == root) == (bodies == exchanged)
