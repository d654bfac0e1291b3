"""The entries of a list as its bytes have them, held against what the tables say. Lists may have a million.

What is as it should be is found by its encoding, which is made anew and compared; only the rest is taken apart. Part of
`completeness`, which says what has to be there.
"""

from __future__ import annotations

from collections.abc import Iterator

from ca.x509.revocation_list import entries_of, entry, read_entries

LONGEST = 1 << 160
"""Larger serial numbers are none (RFC 5280 section 4.1.2.2)."""


class Served:
    """What a list says, and of that, what nobody has asked about yet."""

    def __init__(self, crl: bytes) -> None:
        self._left: set[bytes] = set()
        self.count = 0
        for encoded in _cut(bytes(entries_of(crl))):
            self._left.add(encoded)
            self.count += 1
        self.twice = self.count - len(self._left)
        """How many entries say what another says already."""

    def says(self, serial: str, at: int, reason: int) -> bool:
        """Whether it says exactly this, which has been asked about from now on."""
        encoded = entry(int(serial, 16), at, reason)
        if encoded not in self._left:
            return False
        self._left.discard(encoded)
        return True

    def rest(self) -> list[tuple[str, int, int]]:
        """What nobody has asked about: serial numbers, times and reasons, sorted."""
        found = []
        for serial, at, reason in read_entries(memoryview(b"".join(sorted(self._left)))):
            if not 0 <= serial < LONGEST:
                raise ValueError("a serial number is longer than 20 octets")
            found.append((f"{serial:x}", at, reason))
        return sorted(found)


def _cut(entries: bytes) -> Iterator[bytes]:
    """Each entry's encoding. They are short: a serial number, a time, a reason."""
    place, end = 0, len(entries)
    while place < end:
        following = place + 2 + entries[place + 1]
        if entries[place] != 0x30 or entries[place + 1] >= 0x80 or following > end:
            raise ValueError("this is not an entry of a list")
        yield entries[place:following]
        place = following
