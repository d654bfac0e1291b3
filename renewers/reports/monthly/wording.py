"""Numbers, times and shares as people read them. Pure. What is not known is said to be so."""

from __future__ import annotations

from datetime import datetime

from ca import clock

UNKNOWN = "not known"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def number(value: float | None) -> str:
    """`1,000,000`; what is an expectation keeps a digit below ten."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int) or value >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}"


def counted(value: int, noun: str) -> str:
    """`1 certificate`, `2,000 certificates`, `2 entries`."""
    if value == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{number(value)} {many}"


def share(part: int, whole: int) -> str:
    """`12 of 200 (6.0 %)`; nothing of nothing has no share."""
    return f"{number(part)} of {number(whole)} ({percent(part, whole)})" if whole else f"{number(part)} of 0"


def percent(part: int, whole: int) -> str:
    """`6.0 %`; never rounded up to all, nor down to nothing."""
    if not whole:
        return UNKNOWN
    found = 100 * part / whole
    if 0 < part < whole:
        found = min(max(found, 0.1), 99.9)
    return f"{found:.1f} %"


def span(seconds: int | None) -> str:
    """`2 d 5 h`, `40 s`: the two largest units."""
    if seconds is None:
        return UNKNOWN
    parts, left = [], max(0, seconds)
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def moment(at: int | None) -> str:
    """`2026-11-30 23:59 UTC`."""
    found = _read(at)
    return UNKNOWN if at is None else "beyond all calendars" if found is None else f"{found:%Y-%m-%d %H:%M} UTC"


def day(at: int | None, otherwise: str = UNKNOWN) -> str:
    """`2026-11-30`."""
    found = _read(at)
    return otherwise if at is None else "beyond all calendars" if found is None else f"{found:%Y-%m-%d}"


def _read(at: int | None) -> datetime | None:
    if at is None:
        return None
    try:
        return clock.from_timestamp(at)
    except (ValueError, OverflowError, OSError):  # a stranger's certificate may say anything
        return None
