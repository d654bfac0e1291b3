"""In which order certificates are replaced: those first whose loss would hurt most. Pure.

What was seen at the most places goes first, then what serves the most names, then keys that several certificates share,
then what has the shortest time left. The four are one number, so that a turn is known as soon as a certificate is
listed, however many follow it: the lowest goes first.
"""

from __future__ import annotations

from dataclasses import dataclass

ENDPOINTS, NAMES, SHARING, HOURS = (1 << 8) - 1, (1 << 6) - 1, (1 << 4) - 1, (1 << 12) - 1
"""What each is counted up to: what is beyond is as urgent as this (or, of time left, as patient)."""
OTHERS = 1 << 30
"""Added to the place of what somebody else replaces: it comes after everything that we do."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What hangs on one certificate."""

    endpoints: int
    """At how many places it was seen last."""
    names: int
    sharing: int
    """How many other certificates have the same key."""
    seconds_left: int


def place(weight: Weight) -> int:
    """Its turn, below `OTHERS`: the lower, the sooner."""
    turn = ENDPOINTS - _capped(weight.endpoints, ENDPOINTS)
    turn = turn << 6 | NAMES - _capped(weight.names, NAMES)
    turn = turn << 4 | SHARING - _capped(weight.sharing, SHARING)
    return turn << 12 | _capped(weight.seconds_left // 3600, HOURS)


def _capped(value: int, most: int) -> int:
    return min(max(value, 0), most)
