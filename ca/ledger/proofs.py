"""Inclusion and consistency proofs of RFC 9162 (sections 2.1.3 and 2.1.4): which hashes one is made of, and its check.

Nothing here reads a store: a plan names parts of the tree, `tiles.py` knows their hashes. The checks are for somebody
who trusts nobody: they take what a stranger sent, and raise unless it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ca.errors import BadRequest
from ca.ledger.merkle import EMPTY_ROOT, HASH_SIZE, node_hash

MAX_SIZE = 1 << 62
Part = tuple[int, int]
"""The leaves from the first to before the second, whose root stands in a proof."""


def inclusion_parts(position: int, size: int) -> list[Part]:
    """PATH(position, D[size]) of RFC 9162 section 2.1.3.1: the parts whose roots prove one entry, bottom up."""
    if not 0 <= position < size:
        raise _bad(f"a tree of {size} entries has no entry {position}")
    parts: list[Part] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if position < middle:
            parts.append((middle, high))
            high = middle
        else:
            parts.append((low, middle))
            low = middle
    return parts[::-1]


def consistency_parts(old: int, new: int) -> list[Part]:
    """PROOF(old, D[new]) of RFC 9162 section 2.1.4.1. Nothing for the empty tree and for equal sizes."""
    if not 0 <= old <= new:
        raise _bad(f"a tree of {new} entries does not continue one of {old}")
    if old in (0, new):
        return []
    parts: list[Part] = []
    low, high, is_whole = 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            parts.append((middle, high))
            high = middle
        else:
            parts.append((low, middle))
            low, is_whole = middle, False
    if not is_whole:
        parts.append((low, high))
    return parts[::-1]


def subtrees(part: Part) -> Iterator[tuple[int, int]]:
    """The complete subtrees that a part of the tree consists of, left to right: the height and index of each."""
    low, high = part
    while low < high:
        height = (high - low).bit_length() - 1
        yield height, low >> height
        low += 1 << height


def root_from_inclusion(leaf: bytes, position: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` entries that has `leaf` at `position` (RFC 9162 section 2.1.3.2).

    `BadRequest` unless the proof has the form that this place needs. Compare the root with one that was signed.
    """
    if not 0 <= position < size <= MAX_SIZE:
        raise _bad(f"a tree of {size} entries has no entry {position}")
    found, last, root = position, size - 1, _hash(leaf)
    for other in proof:
        if last == 0:
            raise _bad("the inclusion proof has too many hashes")
        if found & 1 or found == last:
            root = node_hash(_hash(other), root)
            while not found & 1 and found:
                found, last = found >> 1, last >> 1
        else:
            root = node_hash(root, _hash(other))
        found, last = found >> 1, last >> 1
    if last:
        raise _bad("the inclusion proof has too few hashes")
    return root


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """`BadRequest` unless the tree of `new` entries begins with the tree of `old` (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old <= new <= MAX_SIZE:
        raise _bad(f"a tree of {new} entries does not continue one of {old}")
    if old in (0, new):
        if proof:
            raise _bad("the consistency proof has hashes where none are needed")
        if old_root != (new_root if old == new else EMPTY_ROOT):
            raise _bad("the two heads are of different trees")
        return
    if _roots_from_consistency(old, old_root, new, proof) != (old_root, new_root):
        raise _bad("the consistency proof does not lead from one head to the other")


def _roots_from_consistency(old: int, old_root: bytes, new: int, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    hashes = [_hash(one) for one in (old_root, *proof)] if old & (old - 1) == 0 else [_hash(one) for one in proof]
    if not hashes:
        raise _bad("the consistency proof has no hashes")
    found, last = old - 1, new - 1
    while found & 1:
        found, last = found >> 1, last >> 1
    first = second = hashes[0]
    for other in hashes[1:]:
        if last == 0:
            raise _bad("the consistency proof has too many hashes")
        if found & 1 or found == last:
            first, second = node_hash(other, first), node_hash(other, second)
            while not found & 1 and found:
                found, last = found >> 1, last >> 1
        else:
            second = node_hash(second, other)
        found, last = found >> 1, last >> 1
    if last:
        raise _bad("the consistency proof has too few hashes")
    return first, second


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _hash(raw: bytes) -> bytes:
    if len(raw) != HASH_SIZE:
        raise _bad("a hash in the proof is not of 32 bytes")
    return raw


def _bad(message: str) -> BadRequest:
    return BadRequest(message, code="bad-proof")
