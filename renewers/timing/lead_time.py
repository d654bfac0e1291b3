"""When a renewal is due, when it is late, and how bad it has become: pure functions of time.

All times are whole seconds since the epoch and `now` is always an argument: this reads no clock and no table. Chance is
drawn from a hash of a seed, so that two processes, or one before and after a crash, always come to the same moment. A
stage is a threshold that was crossed, never an equality: whoever looks late sees the same as whoever looked all along.
`renewers/timing/watch.py` is who looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

HOUR = 3600
DAY = 24 * HOUR
MONTH = 30 * DAY

FRACTION = 2 / 3
"""The part of a life after which it is time to renew, where nobody says otherwise."""
JITTER = 0.2
"""How much of the lead time renewals are spread over: what was issued in one second does not come due in one."""
GRACE = 0.1
"""The part of a life that a renewal may take before it is late."""
LAST_CALL = 48 * HOUR
LEAD_TIMES = 4
"""How many measured lead times are left when a renewal is due; half of them are when it becomes urgent."""
EARLIEST = 1 / 2
"""The part of a life before which no measured lead time asks for a renewal: one slow day must not start a circle."""
MANUAL_FROM = 100 * DAY
MANUAL = (60 * DAY, 30 * DAY, 14 * DAY, 7 * DAY, 3 * DAY, DAY)
"""When a person hears of what only a person can renew, in seconds before its end."""
AUTHORITIES = {
    "intermediate": (180 * DAY, 90 * DAY, 60 * DAY, 30 * DAY),
    "root": (24 * MONTH, 18 * MONTH, 12 * MONTH, 6 * MONTH),
}
"""The same for what signs: replacing it means reaching everybody who relies on it."""
PUBLICATIONS = (1 / 3, 1 / 4, 1 / 6, 1 / 12)
"""The same for CRLs and bundles, in parts of their lives: a healthy publisher has replaced them by then."""


class Stage(StrEnum):
    """A place on the way to the end. The last two are the watch's own: what is over without having expired in use."""

    FINE = "fine"
    DUE = "due"
    LATE = "late"
    URGENT = "urgent"
    CRITICAL = "critical"
    EXPIRED = "expired"
    REPLACED = "replaced"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Milestones:
    """Where the stages begin, in this order; `end` is the last second that is still valid."""

    due: int
    late: int
    urgent: int
    critical: int
    end: int


def milestones(
    not_before: int,
    not_after: int,
    *,
    seed: str,
    fraction: float = FRACTION,
    chosen: int | None = None,
    measured_p99: int | None = None,
) -> Milestones:
    """The milestones of something that is renewed by a program.

    `chosen` is a moment in the window that the issuer suggests: it goes before policy, but is never waited for beyond
    the moment that would be late by policy. A long measured lead time makes everything earlier, within reason.
    """
    start, end = min(not_before, not_after), not_after
    lifetime, p99 = end - start, max(0, measured_p99 or 0)
    due = due_by_policy(start, end, seed=seed, fraction=fraction, p99=p99)
    if chosen is not None:
        due = max(start, min(chosen, _late(due, lifetime, end)))
    urgent = _halfway(due, end)
    critical = max(urgent, end - max(LAST_CALL, 2 * p99))
    return Milestones(due, _late(due, lifetime, end), urgent, critical, end)


def due_by_policy(start: int, end: int, *, seed: str, fraction: float = FRACTION, p99: int = 0) -> int:
    """When a renewal is due, where no issuer suggests anything."""
    lifetime = max(0, end - start)
    due = start + int(lifetime * min(max(fraction, 0.0), 1.0))
    if p99:
        due = min(due, max(end - LEAD_TIMES * p99, start + int(lifetime * EARLIEST)))
    return max(start, due - int((end - due) * JITTER * draw(seed)))


def before_the_end(not_before: int, not_after: int, thresholds: Sequence[int]) -> Milestones:
    """The milestones of something that a person replaces: the first four thresholds, in seconds before its end."""
    start = min(not_before, not_after)
    due, late, urgent, critical = (max(start, not_after - left) for left in thresholds[:4])
    return Milestones(due, late, urgent, critical, not_after)


def thresholds(kind: str, mode: str, lifetime: int) -> tuple[int, ...]:
    """How long before its end somebody is to hear of it, in seconds, the longest first; never fewer than four.

    Fixed times are for long lives. In a life that is too short for them they are a part of it.
    """
    lifetime = max(0, lifetime)
    if kind in AUTHORITIES:
        fixed = AUTHORITIES[kind]
        return fixed if lifetime >= 2 * fixed[0] else tuple(lifetime * left // (2 * fixed[0]) for left in fixed)
    if kind in ("crl", "bundle"):
        ends_with_root = zip(PUBLICATIONS, AUTHORITIES["root"], strict=True)  # a third of a century is no news
        return tuple(min(int(lifetime * part), left) for part, left in ends_with_root)
    if mode == "manual" and lifetime >= MANUAL_FROM:
        return MANUAL
    due = lifetime - int(lifetime * FRACTION)
    urgent = due // 2
    return (due, max(urgent, due - int(lifetime * GRACE)), urgent, min(urgent, LAST_CALL))


def stage(milestones: Milestones, now: int) -> Stage:
    """Where it is on its way."""
    if now > milestones.end:
        return Stage.EXPIRED
    for begin, name in (
        (milestones.critical, Stage.CRITICAL),
        (milestones.urgent, Stage.URGENT),
        (milestones.late, Stage.LATE),
        (milestones.due, Stage.DUE),
    ):
        if now >= begin:
            return name
    return Stage.FINE


def next_change(milestones: Milestones, now: int) -> int | None:
    """When the stage will be another one; None once it has expired."""
    begins = (milestones.due, milestones.late, milestones.urgent, milestones.critical, milestones.end + 1)
    return min((begin for begin in begins if begin > now), default=None)


def began(milestones: Milestones, stage: Stage, start: int) -> int:
    """When a stage began; `start` is when its life did."""
    match stage:
        case Stage.DUE:
            return milestones.due
        case Stage.LATE:
            return milestones.late
        case Stage.URGENT:
            return milestones.urgent
        case Stage.CRITICAL:
            return milestones.critical
        case Stage.EXPIRED:
            return milestones.end + 1
        case _:
            return start


def choose_in_window(start: int, end: int, *, seed: str, now: int) -> int:
    """A moment in a suggested window, the same for the same seed; now, if it has passed (RFC 9773 section 4.2)."""
    return max(now, start + int(max(0, end - start) * draw(seed)))


def draw(seed: str) -> float:
    """A number from 0 to below 1 that looks like chance and is always the same for one seed."""
    return (int.from_bytes(sha256(seed.encode()).digest()[:8], "big") >> 11) / (1 << 53)


def _late(due: int, lifetime: int, end: int) -> int:
    return min(due + int(lifetime * GRACE), _halfway(due, end))


def _halfway(due: int, end: int) -> int:
    return due + (end - due) // 2
