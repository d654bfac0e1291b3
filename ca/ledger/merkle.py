"""The Merkle tree of RFC 9162 section 2.1, as its right edge: enough to append for ever and to name the root.

Leaf and node hashes differ in their first byte, so that an inner node can never pass for an entry.
"""

from __future__ import annotations

from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(body: bytes) -> bytes:
    """SHA-256(0x00 || entry), RFC 9162 section 2.1.1."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


class Edge:
    """The roots of the largest complete subtrees of a tree, left to right: one a bit that is set in `size`."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: bytes = b"") -> None:
        if len(peaks) != size.bit_count() * HASH_SIZE:
            raise ValueError(f"a tree of {size} entries has {size.bit_count()} peaks")
        self.size = size
        self._peaks = [peaks[start : start + HASH_SIZE] for start in range(0, len(peaks), HASH_SIZE)]

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash on the right."""
        peak, size = leaf, self.size
        while size & 1:
            peak = node_hash(self._peaks.pop(), peak)
            size >>= 1
        self._peaks.append(peak)
        self.size += 1

    def root(self) -> bytes:
        """The tree's root hash, MTH of RFC 9162 section 2.1.1."""
        if not self._peaks:
            return EMPTY_ROOT
        *rest, root = self._peaks
        for peak in reversed(rest):
            root = node_hash(peak, root)
        return root

    def to_bytes(self) -> bytes:
        """The peaks, to be stored beside `size`."""
        return b"".join(self._peaks)
