"""Judging one tracked thing: its stage, what is wrong with it in words for people, when to look again. Pure.

What was replaced or given up is over, unless it is still seen in use; `renewers/inventory` says what that is, since no
stranger may. What only its holder renews, nobody owns and nobody sees ends silently: pods vanish. Everything else is
alarming once its stage is, and never before. Names and errors come from strangers (`renewers/plain`). What is judged is
read, and written down, by `renewers/timing/watch.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ca import clock
from renewers.plain import one_line
from renewers.telling.alarms import Trouble
from renewers.timing import deadlines, lead_time
from renewers.timing.deadlines import CERTIFICATE
from renewers.timing.lead_time import DAY, HOUR, Milestones, Stage

EXPIRING = "expiring"
STILL_SERVED = "expired-still-served"
OLD_SERVED = "replaced-still-served"
KINDS = (EXPIRING, STILL_SERVED, OLD_SERVED)
"""The alarms that a judgement raises and clears."""

SEVERITY = MappingProxyType(
    {
        Stage.DUE: "info",
        Stage.LATE: "warning",
        Stage.URGENT: "error",
        Stage.CRITICAL: "critical",
        Stage.EXPIRED: "critical",
    }
)
_ORDER = (Stage.FINE, *SEVERITY)
FORGET = 30 * DAY
"""An expired certificate that nobody was seen to use for so long has ended."""
LOOKS, SOONEST, LATEST = 48, 60, 6 * HOUR
"""While an alarm lasts, what is left is looked at so many times, within these bounds: recovery is to be seen soon."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What there is to know about a tracked thing besides its own row."""

    lineage: Any | None = None
    owner_id: int | None = None
    """Who is told: its owner, or the fallback for orphans."""
    is_orphan: bool = False
    last_seen: int | None = None
    """When it was last seen at a place that showed nothing else since."""
    places: tuple[str, ...] = ()
    """Where it was seen within a day."""
    renewal: Any | None = None
    """The row of the work that renews its lineage."""
    measured_p99: int | None = None
    held_since: int | None = None
    """Since when our CA has it on hold."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be written down. `troubles` are all that is wrong with it now."""

    stage: Stage
    since: int
    next_look: int | None
    troubles: tuple[Trouble, ...] = ()


def judge(row: Any, found: Circumstances, *, fraction: float, now: int) -> Judgement:
    """How one tracked thing stands at `now`."""
    marks = deadlines.deadlines(row, found.lineage, fraction=fraction, measured_p99=found.measured_p99)
    if row.stage == Stage.ENDED or row.replaced_by is not None:
        return _over(row, found, marks, now)
    stage = lead_time.stage(marks, now)
    if stage is Stage.EXPIRED and _is_forgotten(row, found, now):
        return Judgement(Stage.ENDED, marks.end + 1, None)
    since = lead_time.began(marks, stage, row.not_before)
    troubles = () if is_silent(row, found, now) else _troubles(row, found, marks, stage, now)
    return Judgement(stage, since, _next_look(marks, now, is_alarming=bool(troubles)), troubles)


def is_silent(row: Any, found: Circumstances, now: int) -> bool:
    """Whether nobody would miss it: only its holder renews it, nobody owns it, nobody has seen it lately."""
    if deadlines.kind_of(row) != CERTIFICATE or deadlines.mode_of(found.lineage) != "holder":
        return False
    lately = max(HOUR, (row.not_after - row.not_before) // 10)
    return found.is_orphan and not found.places and (found.last_seen or 0) < now - lately


def _is_forgotten(row: Any, found: Circumstances, now: int) -> bool:
    """Whether what has expired is of no interest any more. CAs, CRLs and bundles are until somebody says otherwise."""
    if deadlines.kind_of(row) != CERTIFICATE:
        return False
    return is_silent(row, found, now) or max(row.not_after, found.last_seen or 0) < now - FORGET


def _over(row: Any, found: Circumstances, marks: Milestones, now: int) -> Judgement:
    """Replaced, revoked or given up: nobody waits for its end, except where it is still in use.

    That a place does not serve what it should is said by `renewers/discovery`; but where many hold one name each by
    itself, that one has been replaced says nothing of another, and its end has to be announced like any.
    """
    over = Stage.ENDED if row.stage == Stage.ENDED else Stage.REPLACED
    since = row.stage_since if row.stage == over else now
    if found.last_seen is None or found.last_seen < now - FORGET:
        return Judgement(over, since, None)
    stage = lead_time.stage(marks, now)
    troubles: tuple[Trouble, ...] = ()
    if found.places and stage is Stage.EXPIRED:
        troubles = (_still_served(row, found),)
    elif found.places and stage is Stage.CRITICAL and deadlines.mode_of(found.lineage) == "holder":
        message = (
            f"{_places(found)} still serves {name_of(row)}, which was replaced elsewhere; it ends {_left(marks, now)}"
        )
        hint = "see whether its holder there runs"
        troubles = (Trouble(OLD_SERVED, row.identity, "critical", message, hint, found.owner_id),)
    return Judgement(over, since, _next_look(marks, now, is_alarming=bool(troubles)), troubles)


def _next_look(marks: Milestones, now: int, *, is_alarming: bool) -> int:
    change = lead_time.next_change(marks, now)
    if change is None:
        return now + HOUR
    return min(change, now + min(max((marks.end - now) // LOOKS, SOONEST), LATEST)) if is_alarming else change


def _troubles(row: Any, found: Circumstances, marks: Milestones, stage: Stage, now: int) -> tuple[Trouble, ...]:
    first = deadlines.alarming_from(row, found.lineage)
    if _ORDER.index(stage) < _ORDER.index(first):
        return ()
    over = "has expired on" if stage is Stage.EXPIRED else "ends"
    when = _date(marks.end) if stage is Stage.EXPIRED else _left(marks, now)
    who, hint = _who(row, found, marks)
    since = lead_time.began(marks, first, row.not_before)
    message = f"{name_of(row)} {over} {when}; {who}"
    expiring = Trouble(EXPIRING, row.identity, SEVERITY[stage], message, hint, found.owner_id, since)
    return (expiring, _still_served(row, found)) if stage is Stage.EXPIRED and found.places else (expiring,)


def _still_served(row: Any, found: Circumstances) -> Trouble:
    message = f"{_places(found)} still serves {name_of(row)}, which has expired on {_date(row.not_after)}"
    hint = "whoever connects there is turned away: bring a valid certificate there now"
    return Trouble(STILL_SERVED, row.identity, "critical", message, hint, found.owner_id, row.not_after + 1)


def _who(row: Any, found: Circumstances, marks: Milestones) -> tuple[str, str]:
    """Who is to replace it and how that goes, and what to do."""
    kind, mode = deadlines.kind_of(row), deadlines.mode_of(found.lineage)
    if found.held_since is not None:
        who = f"it is on hold since {_date(found.held_since)}, and is not renewed until that is over"
        return who, f"certwright cert release {row.serial}, or certwright cert revoke it for good"
    if kind in lead_time.AUTHORITIES:
        return "its successor has to be prepared", "certwright ca create, then certwright ca activate"
    if kind != CERTIFICATE:
        return "its publisher has not replaced it", "see whether its publisher runs"
    if mode == "holder":
        return "whoever holds its key renews it, and has not", "see whether its holder runs"
    if mode != "renewed":
        return "a person renews it", "renew it where it came from, then certwright track import"
    return _automatic(found, marks), "certwright renew now, once the cause is mended"


def _automatic(found: Circumstances, marks: Milestones) -> str:
    renewal = found.renewal
    if renewal is None:
        return "no renewal of it is planned"
    if renewal.failing_since is None:
        return f"it was to be renewed by {_date(marks.due)}"
    how = "has stopped, failing" if renewal.state == "stopped" else "fails"
    reason = one_line(renewal.last_error or "no reason is known", 300)
    return f"its renewal {how} since {_date(renewal.failing_since)}: {reason}"


def name_of(row: Any) -> str:
    """What people call it, safe to print and of bounded length."""
    return one_line(row.shown_as, 120) or row.identity[:23]


def _places(found: Circumstances) -> str:
    shown, more = [one_line(place, 100) for place in found.places[:3]], len(found.places) - 3
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _left(marks: Milestones, now: int) -> str:
    left = max(0, marks.end + 1 - now)
    days, hours, minutes = left // DAY, left % DAY // HOUR, left % HOUR // 60
    words = f"{days} d {hours} h" if days else f"{hours} h {minutes} min"
    return f"in {words}, on {_date(marks.end)}"


def _date(moment: int) -> str:
    try:
        return f"{clock.from_timestamp(moment):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # a stranger's certificate may say anything
        return "a day beyond all calendars"
