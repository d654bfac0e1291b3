"""The entries of a list as its bytes have them, held against what the tables say: compact, since they may be a million.

Part of `completeness`, which says what has to be there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from ca.x509.revocation_list import entries_of, read_entries

_WIDTH = 20
LONGEST = 1 << 8 * _WIDTH
"""Larger serial numbers are none (RFC 5280 section 4.1.2.2)."""


class Served:
    """What a list says, each entry in 29 bytes, sorted; and which of it has been explained."""

    def __init__(self, crl: bytes) -> None:
        self._records = sorted(_records(crl))
        self._explained = bytearray(len(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def take(self, serial: str) -> tuple[int, int] | None:
        """When and why it says that a certificate is revoked, which is explained from now on; None if it does not."""
        prefix = int(serial, 16).to_bytes(_WIDTH, "big")
        place = bisect_left(self._records, prefix)
        if place == len(self._records) or self._records[place][:_WIDTH] != prefix:
            return None
        self._explained[place] = 1
        record = self._records[place]
        return int.from_bytes(record[_WIDTH:-1], "big"), record[-1]

    def left(self) -> list[str]:
        """The serial numbers of what nobody has asked about."""
        found = (place for place, is_known in enumerate(self._explained) if not is_known and not self._is_again(place))
        return [f"{int.from_bytes(self._records[place][:_WIDTH], 'big'):x}" for place in found]

    def twice(self) -> int:
        """How many entries are about a certificate that another entry is about."""
        return sum(map(self._is_again, range(len(self._records))))

    def _is_again(self, place: int) -> bool:
        return place > 0 and self._records[place - 1][:_WIDTH] == self._records[place][:_WIDTH]


def _records(crl: bytes) -> Iterator[bytes]:
    for serial, at, reason in read_entries(entries_of(crl)):
        if not 0 <= serial < LONGEST:
            raise ValueError("a serial number is longer than 20 octets")
        yield serial.to_bytes(_WIDTH, "big") + at.to_bytes(8, "big") + bytes((reason & 0xFF,))
