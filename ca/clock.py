"""The only clock: aware UTC, whole seconds.

Everything that needs the time calls `now()`; arithmetic on expiry is pure functions that take it as an argument.
Tests hold or move time with `pinned()`; nothing else in the product may read a clock (a test scans for it).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

_source = time.time


def now() -> datetime:
    """The present, truncated to the second (RFC 5280 times have no fractions)."""
    return datetime.fromtimestamp(int(_source()), UTC)


def timestamp() -> int:
    """The present as whole seconds since the epoch, as the tables store it."""
    return int(_source())


def exactly() -> float:
    """The present with its fraction, seconds since the epoch: for how long things take across processes."""
    return _source()


def from_timestamp(seconds: int) -> datetime:
    """The moment that `seconds` since the epoch names."""
    return datetime.fromtimestamp(seconds, UTC)


@contextmanager
def pinned(moment: datetime) -> Iterator[None]:
    """Hold the clock at `moment` (in this process, all threads) for the length of a `with` block."""
    global _source
    before, fixed = _source, moment.timestamp()
    _source = lambda: fixed  # noqa: E731 - a one-word function reads best here
    try:
        yield
    finally:
        _source = before


def monotonic() -> float:
    """Seconds that only grow, for caches and time-outs; says nothing about the date."""
    return time.monotonic()
