"""How scheduled work goes in this process: when each piece last succeeded, and why it fails if it does.

The schedule writes it down, metrics and the doctor read it. A process without a schedule has none: what another one
does is not known here, and shows in the tables alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ca import clock


@dataclass(slots=True)
class Pulse:
    """One piece of work; times are of the monotonic clock. Until it has succeeded once, the start counts."""

    every: int
    succeeded_at: float
    trouble: str | None = None
    """Why it failed the last time it was tried."""
    hint: str | None = None

    @property
    def age(self) -> float:
        """Seconds since it last succeeded."""
        return clock.monotonic() - self.succeeded_at


class Pulses:
    """Of all pieces, by their names. Each is written by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, Pulse] = {}

    @property
    def known(self) -> Mapping[str, Pulse]:
        """What runs here, in the order in which it was begun."""
        return dict(self._known)

    def begin(self, name: str, every: int) -> Pulse:
        """A piece of work that is to run every so many seconds from now on."""
        pulse = self._known[name] = Pulse(every, clock.monotonic())
        return pulse

    def succeeded(self, name: str) -> bool:
        """It has just been done. True if it failed before."""
        pulse = self._known[name]
        had_failed, pulse.trouble, pulse.hint = pulse.trouble is not None, None, None
        pulse.succeeded_at = clock.monotonic()
        return had_failed

    def failed(self, name: str, why: str, hint: str | None) -> bool:
        """It has just failed. True if that is new."""
        pulse = self._known[name]
        is_new, pulse.trouble, pulse.hint = pulse.trouble is None, why, hint
        return is_new
