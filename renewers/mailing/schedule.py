"""The moments of regular letters: an hour of the day, or of one day a week, in somebody's own time zone. Pure.

An hour that a clock skips in spring is the moment after the gap, one that it shows twice in autumn is the first of the
two: nobody gets two letters that day, and nobody none. `enrolled.py` keeps when each owner's next ones are due.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY, WEEK = 86400, 7 * 86400


def next_daily(time_zone: str, hour: int, after: int) -> int:
    """The first moment after `after` (seconds since the epoch) at which it is that hour there."""
    return next(_hours(time_zone, hour, after))


def next_weekly(time_zone: str, day: int, hour: int, after: int) -> int:
    """The same on that day of the week alone; 0 is Monday."""
    zone = zone_of(time_zone)
    return next(at for at in _hours(time_zone, hour, after) if _local(at, zone).weekday() == day)


def zone_of(name: str) -> tzinfo:
    """A time zone by its name; UTC if this machine does not know it, so that letters go out all the same."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _hours(time_zone: str, hour: int, after: int) -> Iterator[int]:
    zone = zone_of(time_zone)
    today = _local(after, zone).date()
    for days in range(-1, 16):
        at = _moment(today + timedelta(days=days), hour, zone)
        if at > after:
            yield at


def _moment(day: date, hour: int, zone: tzinfo) -> int:
    """That hour of that day. `fold` is 0: of two the first; in a gap the offset before it counts, which is after it."""
    return int(datetime.combine(day, time(hour), zone).timestamp())


def _local(moment: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone)
