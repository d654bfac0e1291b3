"""Counting many things in little memory: how often each word came, how long each thing took. Pure.

Words are strangers' (names of issuers, reasons of failures), so that only so many different ones are told apart.
Seconds are counted and not kept one by one; percentiles are by nearest rank: each is a time that was really measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

MOST_WORDS = 5000
"""How many different words one tally tells apart; what comes after them is counted together."""
BOUNDS = (10, 60, 600, 3600, 6 * 3600, 86400, 3 * 86400, 7 * 86400)
"""Where the bars of a histogram end, in seconds; the last one has no end."""


class Tally:
    """How often each word came."""

    def __init__(self, most: int = MOST_WORDS) -> None:
        self._counts: Counter[str] = Counter()
        self._most = most
        self.others = 0
        """How often a word came that was new when there were too many already."""

    def add(self, word: str, count: int = 1) -> None:
        """It came, so many times."""
        if word in self._counts or len(self._counts) < self._most:
            self._counts[word] += count
        else:
            self.others += count

    def total(self) -> int:
        """How often any came."""
        return self._counts.total() + self.others

    def top(self, most: int) -> tuple[list[tuple[str, int]], int]:
        """The most frequent words, the first in the alphabet first among equals, and how many came besides."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return ordered[:most], sum(count for _, count in ordered[most:]) + self.others


class Durations:
    """How long things took, in whole seconds."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: int) -> None:
        """One more took so long; less than nothing is nothing."""
        self._counts[max(0, seconds)] += 1

    def add_all(self, other: Durations) -> None:
        """All that another one has counted."""
        self._counts.update(other._counts)

    @property
    def count(self) -> int:
        """How many there were."""
        return self._counts.total()

    def at(self, *percents: int) -> list[int | None]:
        """What so many of a hundred did not exceed, for each of `percents`; None where nothing was measured."""
        total, seen = self.count, 0
        ranks = sorted((-(-percent * total // 100), place) for place, percent in enumerate(percents))
        found: list[int | None] = [None] * len(percents)
        if not total:
            return found
        walk = iter(sorted(self._counts.items()))
        seconds = 0
        for rank, place in ranks:
            while seen < max(rank, 1):
                seconds, count = next(walk)
                seen += count
            found[place] = seconds
        return found

    def histogram(self, bounds: Sequence[int] = BOUNDS) -> list[int]:
        """How many took at most each bound and more than the one before it; the last is how many took longer."""
        bars = [0] * (len(bounds) + 1)
        for seconds, count in self._counts.items():
            bars[next((place for place, bound in enumerate(bounds) if seconds <= bound), len(bounds))] += count
        return bars

    def figures(self) -> dict[str, Any]:
        """As a report keeps it."""
        p50, p90, p99, longest = self.at(50, 90, 99, 100)
        return {"count": self.count, "p50": p50, "p90": p90, "p99": p99, "longest": longest}


def share(part: int, whole: int) -> float | None:
    """`part` of `whole`; None where there is no whole."""
    return part / whole if whole else None


class First:
    """The rows that end first, so many of any number."""

    def __init__(self, most: int) -> None:
        self._rows: list[tuple[int, int, dict[str, Any]]] = []
        self._most = most
        self._bound: tuple[int, int] | None = None
        self.count = 0

    def add(self, not_after: int, id_: int, make: Callable[[], dict[str, Any]]) -> None:
        """One more; it is only made if it may be among the first."""
        self.count += 1
        if self._bound is not None and (not_after, id_) > self._bound:
            return
        self._rows.append((not_after, id_, make()))
        if len(self._rows) >= 2 * self._most:
            self._rows = self._ordered()
            self._bound = self._rows[-1][:2]

    def rows(self) -> list[dict[str, Any]]:
        """Those, the first to end first."""
        return [row for _, _, row in self._ordered()]

    def _ordered(self) -> list[tuple[int, int, dict[str, Any]]]:
        return sorted(self._rows, key=lambda row: row[:2])[: self._most]
