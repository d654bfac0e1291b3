"""Leaving a recipient alone for a while that keeps its callers waiting, so that it does not hold up everything else.

A recipient that refuses at once costs nothing. One that stalls costs each worker its time-out: with ten thousand events
to tell, renewals would stand in line behind them for hours. While it rests, one caller in `seconds` finds out whether
it answers again; the others fail at once, and are tried again like any failure.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ca import clock
from ca.errors import NotDelivered

SLOW = 1.0
"""Seconds: a failure that took longer than this makes it rest."""


class Rest:
    """The rest of one recipient, as one process sees it."""

    def __init__(self, name: str, seconds: float, *, slow: float = SLOW) -> None:
        self._name = name
        self._seconds = seconds
        self._slow = slow
        self._lock = threading.Lock()
        self._until: float | None = None

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Around one attempt. `NotDelivered` while it rests."""
        start = clock.monotonic()
        with self._lock:
            if self._until is not None:
                if start < self._until:
                    raise NotDelivered(f"{self._name} did not answer a moment ago, and is left alone")
                self._until = start + self._seconds  # we look; nobody else does meanwhile
        try:
            yield
        except NotDelivered:
            now = clock.monotonic()
            with self._lock:
                self._until = now + self._seconds if now - start >= self._slow else None
            raise
        with self._lock:
            self._until = None
