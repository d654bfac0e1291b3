"""Maintenance windows: when renewals may disturb somebody, and that expiry never waits for one.

A window is written in the local time of a time zone and opens on certain weekdays; one that ends before it begins spans
midnight. A local time that the clocks skip is read with the offset from before they jumped, one that happens twice is
the first (as in RFC 5545 section 3.3.5). A window that cannot be reached in time is reported, never waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from ca.errors import Misconfigured, Reason
from renewers.timing import lead_time
from renewers.timing.lead_time import DAY, HOUR

WEEK = 7 * DAY
SHIFT = 2 * HOUR
"""The furthest that clocks jump twice a year, anywhere (Antarctica/Troll)."""
FAR = 253_000_000_000
"""Beyond this (the year 9987) calendars end: every moment is as good as another."""


@dataclass(frozen=True, slots=True)
class Window:
    """When it opens: weekdays (0 is Monday) and local times. `start` equal to `end` is a whole day."""

    name: str
    days: frozenset[int]
    start: time
    end: time
    time_zone: str

    def __post_init__(self) -> None:
        if not self.days or not self.days <= frozenset(range(7)):
            raise Misconfigured(f"the window {self.name!r} opens on no day of a week", hint="0 is Monday, 6 is Sunday")
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise Misconfigured(f"the times of the window {self.name!r} have a zone of their own")
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise Misconfigured(
                f"the window {self.name!r} is in an unknown time zone", hint="write it like Europe/Berlin, or UTC"
            ) from None


def is_open(window: Window, at: int) -> bool:
    """Whether it is open at this moment."""
    return next_open(window, at) == at


def next_open(window: Window, at: int) -> int:
    """The first moment from `at` on when it is open: `at` itself, if it is now."""
    if at >= FAR:
        return at
    return next(max(at, opening) for opening, closing in _openings(window, at) if closing > at)


def plan(due: int, late: int, window: Window | None, now: int) -> int:
    """When to renew: as soon as the window is open once it is due, and before it is late in any case."""
    earliest = max(due, now)
    if window is None:
        return earliest
    return min(next_open(window, earliest), max(earliest, late))


def check(window: Window, lifetime: int, fraction: float = lead_time.FRACTION) -> list[Reason]:
    """Why renewals of a certificate that lives so long cannot always wait for this window; empty if they can."""
    left = lifetime - int(lifetime * fraction)
    patience = min(int(lifetime * lead_time.GRACE), left // 2)
    closed = longest_closed(window)
    if closed <= patience:
        return []
    message = (
        f"the window {window.name!r} stays closed for up to {_words(closed)}, but a certificate that lives "
        f"{_words(lifetime)} is late {_words(patience)} after it is due: renewals will not always wait for the window"
    )
    return [Reason("window-unreachable", message, "expiry beats every window")]


def longest_closed(window: Window) -> int:
    """The longest time from its closing to its next opening, in seconds; in a week in which the clocks change, too."""
    length, start = _length(window), _seconds(window.start)
    openings = [week * WEEK + day * DAY + start for week in range(3) for day in sorted(window.days)]
    following = (
        openings[2:] if length <= SHIFT else openings[1:]
    )  # clocks that jump may leave nothing of one that short
    gap = max(later - opening - length for opening, later in zip(openings, following, strict=False))
    return gap + SHIFT if gap > 0 else 0


def _openings(window: Window, at: int) -> Iterator[tuple[int, int]]:
    """Openings with their closings in order, from before `at`. One that would close before it opens is none."""
    zone = ZoneInfo(window.time_zone)
    first = datetime.fromtimestamp(at, zone).date() - timedelta(days=2)
    for offset in count():
        day = first + timedelta(days=offset)
        if day.weekday() in window.days:
            opening, closing = _moment(day, window.start, zone), _moment(_last_day(window, day), window.end, zone)
            if closing > opening:
                yield opening, closing


def _last_day(window: Window, day: date) -> date:
    return day if window.end > window.start else day + timedelta(days=1)


def _moment(day: date, at: time, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, at.replace(fold=0), zone).timestamp())


def _length(window: Window) -> int:
    return (_seconds(window.end) - _seconds(window.start) - 1) % DAY + 1


def _seconds(at: time) -> int:
    return at.hour * HOUR + at.minute * 60 + at.second


def _words(seconds: int) -> str:
    days, hours = seconds // DAY, seconds % DAY // HOUR
    return f"{days} d {hours} h" if days else f"{hours} h {seconds % HOUR // 60} min"
