"""The only clock: aware UTC, whole seconds.

Everything that needs the time calls `now()`; arithmetic on expiry is pure functions that take it as an argument.
Tests hold time with `pinned()` and set the machine's clock with `stepped()`; nothing else in the product may read a
clock (a test scans for it).

A clock that is set under a running process goes on here as if nobody had touched it, by the seconds since the machine
was started, which nobody can set: until it is where it was, or a time service keeps it. So nothing expires, is due or
is forgotten because somebody mistyped a date. `step()` says that it is so, `timekeeping.py` what is refused meanwhile.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

SMALLEST_STEP = 60.0
"""Seconds that a clock may move at once. Time services that put it right by degrees move it far less between looks."""
_SINCE_START = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_UNSYNCHRONISED = 0x40
"""STA_UNSYNC of adjtimex(2): nothing disciplines the clock, or somebody has set it since."""
_libc = ctypes.CDLL(None)
_machine = time.time


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`; the rest is of no interest here, and has room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def is_disciplined() -> bool:
    """Whether the kernel says that a time service keeps this machine's clock (adjtimex(2), asked without changing it).

    Whoever sets the clock by hand takes that back, until the service has looked at it again.
    """
    ask = getattr(_libc, "adjtimex", None)
    state = _Timex()
    return ask is not None and ask(ctypes.byref(state)) >= 0 and not state.status & _UNSYNCHRONISED


def on_machine() -> tuple[float, float]:
    """What the machine's clock says, and the seconds since it was started, asleep or not."""
    return _machine(), time.clock_gettime(_SINCE_START)


_believed = on_machine()
"""Both, when they were last in step."""


def believe() -> None:
    """Take the machine's clock as it is, as a process does that begins."""
    global _believed
    _believed = on_machine()


def step() -> float:
    """By how many seconds the machine's clock was set while this process ran and nobody vouched for it; else 0."""
    return _away(*on_machine())


def _away(now: float, since_start: float) -> float:
    then, then_since_start = _believed
    away = (now - then) - (since_start - then_since_start)
    return away if abs(away) > SMALLEST_STEP and not is_disciplined() else 0.0


def _continuous() -> float:
    global _believed
    here = on_machine()
    if away := _away(*here):
        return here[0] - away
    _believed = here
    return here[0]


_source = _continuous


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


@contextmanager
def stepped(by: timedelta, *, at_start: bool = False) -> Iterator[None]:
    """Set the machine's clock wrong by this much (in this process, all threads) for the length of a `with` block.

    `at_start`: it has been so since the process began, which cannot know any better.
    """
    global _machine
    before, seconds = _machine, by.total_seconds()
    _machine = lambda: before() + seconds  # noqa: E731
    try:
        if at_start:
            believe()
        yield
    finally:
        _machine = before
        if at_start:
            believe()


def monotonic() -> float:
    """Seconds that only grow, for caches and time-outs; says nothing about the date."""
    return time.monotonic()
