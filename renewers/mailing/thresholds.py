"""The thresholds of one tracked thing: when somebody is to hear of it, and how urgently. Pure.

A threshold is crossed, never met: whoever looks late finds the same ones crossed as whoever looked all along. What
renews itself is silent while it is healthy. A life of ten days or less knows no digests and no dailies, which would
come too late: only what is urgent is said, at once. `renewers/timing/deadlines` has the milestones that these are made
of; `crossings.py` writes down which were crossed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from renewers.timing import deadlines, lead_time
from renewers.timing.deadlines import CERTIFICATE
from renewers.timing.lead_time import DAY, Milestones, Stage

SILENT, DIGEST, DAILY, IMMEDIATE = "silent", "digest", "daily", "immediate"
URGENCIES = (SILENT, DIGEST, DAILY, IMMEDIATE)
"""From what nobody is told of to what cannot wait. Silent ones exist to be explained, and are never written down."""
SHORT = 10 * DAY
"""The longest life in which a weekly or a daily letter is of no use."""

EXPIRED, DAY_AFTER, WEEK_AFTER = "expired", "expired+1d", "expired+7d"
OLD_SERVED = "replaced-still-served"
URGED, COMPROMISE, REVOKED = "urged", "compromise", "revoked"
ENDS = frozenset({EXPIRED, DAY_AFTER, WEEK_AFTER})
"""Thresholds at and after the end: they are told whatever somebody has acknowledged."""
CRITICAL = frozenset({"critical", "1d", OLD_SERVED, URGED, COMPROMISE, REVOKED}) | ENDS
"""Those that no pace holds up: a letter about one leaves at once, however lately the last one left."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A moment on the way to an end. `at` is when it is crossed, in seconds since the epoch."""

    name: str
    urgency: str
    at: int
    if_served: bool = False
    """Whether it counts only where the thing is still seen in use."""


def of(row: Any, lineage: Any | None, marks: Milestones) -> tuple[Threshold, ...]:
    """All thresholds of a row of `Tracked`, the least bad first. `marks` are its milestones."""
    if row.replaced_by is not None or row.stage == Stage.ENDED:
        served = Threshold(OLD_SERVED, IMMEDIATE, marks.critical, if_served=True)
        return (served, Threshold(EXPIRED, IMMEDIATE, marks.end + 1, if_served=True), *_after(marks))
    return (*_before(row, lineage, marks), Threshold(EXPIRED, IMMEDIATE, marks.end + 1), *_after(marks))


def next_after(found: tuple[Threshold, ...], now: int) -> int | None:
    """When the next one of these is crossed; None if none is to come."""
    return min((one.at for one in found if one.at > now), default=None)


def rank(urgency: str) -> int:
    """How urgent that is, to compare with; a word that we do not know counts as the most."""
    return URGENCIES.index(urgency) if urgency in URGENCIES else len(URGENCIES)


def _before(row: Any, lineage: Any | None, marks: Milestones) -> tuple[Threshold, ...]:
    kind, mode = deadlines.kind_of(row), deadlines.mode_of(lineage)
    lifetime = max(0, row.not_after - row.not_before)
    if kind in lead_time.AUTHORITIES and lifetime >= 2 * lead_time.AUTHORITIES[kind][0]:
        return _fixed(row, lead_time.AUTHORITIES[kind], (DIGEST, DIGEST, IMMEDIATE, IMMEDIATE))
    if kind == CERTIFICATE and mode == "manual" and lifetime >= lead_time.MANUAL_FROM:
        return _fixed(row, lead_time.MANUAL, (DIGEST, DIGEST, DIGEST, DAILY, IMMEDIATE, IMMEDIATE))
    due, late = SILENT, DAILY
    if kind in lead_time.AUTHORITIES or (kind == CERTIFICATE and mode == "manual"):
        due = DIGEST
    if kind == CERTIFICATE and lifetime <= SHORT:
        due, late = SILENT, SILENT
    return (
        Threshold("due", due, marks.due),
        Threshold("late", late, marks.late),
        Threshold("urgent", IMMEDIATE, marks.urgent),
        Threshold("critical", IMMEDIATE, marks.critical),
    )


def _fixed(row: Any, lefts: tuple[int, ...], urgencies: tuple[str, ...]) -> tuple[Threshold, ...]:
    """Thresholds at so many seconds before the end, named after their days."""
    start = min(row.not_before, row.not_after)
    return tuple(
        Threshold(f"{left // DAY}d", urgency, max(start, row.not_after - left))
        for left, urgency in zip(lefts, urgencies, strict=True)
    )


def _after(marks: Milestones) -> tuple[Threshold, Threshold]:
    end = marks.end + 1
    return (
        Threshold(DAY_AFTER, IMMEDIATE, end + DAY, if_served=True),
        Threshold(WEEK_AFTER, IMMEDIATE, end + 7 * DAY, if_served=True),
    )
