"""What a row needs of a person, how urgently, and in which words. Pure, and the only judge of it.

By the same milestones as the watch (`renewers/timing`) and the same thresholds as the engine that opens letters
(`renewers/mailing/thresholds.py`). What renews itself and is healthy needs nobody: it is counted and never listed.
"""

from __future__ import annotations

from typing import Any

from renewers.mailing import thresholds
from renewers.reports import words
from renewers.reports.rows import Around, Need, Row
from renewers.timing import deadlines, judging, lead_time
from renewers.timing.deadlines import CERTIFICATE
from renewers.timing.judging import Circumstances
from renewers.timing.lead_time import HOUR, Milestones, Stage

ORDER = (Stage.FINE, Stage.DUE, Stage.LATE, Stage.URGENT, Stage.CRITICAL, Stage.EXPIRED)
PATIENCE = HOUR
"""Seconds that a failure may last, and an old certificate be served, before a letter is written of it."""


def weigh(row: Any, around: Around, *, fraction: float, at: int) -> Row:
    """What is to be said of a row of `Tracked` at a moment, as things are, were nothing done until then."""
    marks = deadlines.deadlines(row, around.lineage, fraction=fraction, measured_p99=around.measured_p99)
    stage = lead_time.stage(marks, at)
    need, state, since, error, advice = _need(row, around, marks, stage, at)
    lineage, standing = around.lineage, around.acknowledged
    urgency = thresholds.SILENT if need is Need.NONE else _urgency(row, around, marks, at)
    return Row(
        tracked_id=row.id,
        lineage_id=row.lineage_id,
        need=need,
        urgency=urgency,
        is_now=_is_now(need, urgency, around),
        kind=deadlines.kind_of(row),
        mode=deadlines.mode_of(lineage),
        stage=stage,
        marks=marks,
        begins=row.not_before,
        recorded_at=row.recorded_at,
        at=at,
        name=words.name(row.shown_as) or row.identity[:23],
        header_name=words.ascii_name(row.shown_as, 60) or row.identity[:23],
        names=tuple(words.name(name) for name in around.names),
        more_names=around.more_names,
        places=around.places,
        more_places=around.more_places,
        issuer=words.plain(row.issuer, 120),
        serial=words.plain(row.serial, 64)[-8:],
        key_type=words.plain(row.key_type, 30),
        state=state,
        advice=advice,
        since=since,
        error=words.plain(error),
        explanation=_explanation(row, lineage, at),
        measured=around.measured_p99,
        acknowledged_until=None if standing is None else standing.until,
        acknowledged_by="" if standing is None else words.plain(standing.by, 80),
        reason="" if standing is None else words.plain(standing.reason),
    )


_Said = tuple[Need, str, int | None, str, str]
"""The need, the state in words, since when, the error, and what to do."""
_NOTHING: _Said = (Need.NONE, "in order", None, "", "")


def _need(row: Any, around: Around, marks: Milestones, stage: Stage, at: int) -> _Said:
    if around.is_over:
        return _old(row, around, stage, at)
    kind, mode = deadlines.kind_of(row), deadlines.mode_of(around.lineage)
    if mode == "holder" and _is_silent(row, around, at):
        return Need.NONE, "left to whoever holds its key", None, "", ""
    if kind == CERTIFICATE and mode != "manual":
        return _automatic(around, marks, stage, mode, at)
    if stage is Stage.FINE:
        return _NOTHING
    since = lead_time.began(marks, Stage.DUE, row.not_before)
    if kind != CERTIFICATE:
        return Need.SIGNER, *_signer(kind, stage), since, "", _SIGNER_ADVICE[kind in lead_time.AUTHORITIES]
    state = _over(stage, around, "a person has to renew it")
    return Need.MANUAL, state, since, "", _manual_advice(stage, around)


def _automatic(around: Around, marks: Milestones, stage: Stage, mode: str, at: int) -> _Said:
    """What renews itself: silent unless it fails, and has for a while, or time has run on."""
    work, destination, is_late = around.renewal, around.destination, ORDER.index(stage) >= ORDER.index(Stage.LATE)
    if mode == "holder":
        if not is_late:
            return _NOTHING
        state = _over(stage, around, "whoever holds its key has not renewed it")
        return Need.BROKEN, state, marks.late, "", "See whether the program that holds it runs, and renews."
    if work is not None and (work.state == "stopped" or is_late or at - work.failing_since >= PATIENCE):
        how = "its renewal has stopped" if work.state == "stopped" else "its renewal fails"
        error = _plain_error(work.last_code, work.last_error)
        return Need.BROKEN, _over(stage, around, how), work.failing_since, error, "Mend the cause, then renew it now."
    if destination is not None and at - destination.failing_since >= PATIENCE:
        how = f"renewed, but {words.plain(destination.name, 60)} does not get it"
        error = destination.last_error or ""
        return (
            Need.BROKEN,
            how,
            destination.failing_since,
            error,
            "It is tried again by itself: mend what is in its way.",
        )
    if is_late:
        state = _over(stage, around, "it was to be renewed, and was not")
        return Need.BROKEN, state, marks.due, "", "Renew it now; if that fails, the reason is said."
    return _NOTHING


def _old(row: Any, around: Around, stage: Stage, at: int) -> _Said:
    """Replaced, and still served somewhere. Where many hold one name each by itself, that is as it should be."""
    is_holders = deadlines.mode_of(around.lineage) == "holder"
    is_soon = ORDER.index(stage) >= ORDER.index(Stage.CRITICAL)
    if not _is_served(around) or at - row.stage_since < PATIENCE or (is_holders and not is_soon):
        return _NOTHING
    destination = around.destination
    error = (destination.last_error or "") if destination is not None else ""
    state = "expired, and still served" if stage is Stage.EXPIRED else "renewed, but the old one is still served"
    since = destination.failing_since if destination is not None else row.stage_since
    return Need.OLD, state, since, error, "Bring the new one there, and have the server load it."


def _is_silent(row: Any, around: Around, at: int) -> bool:
    seen = max((place.last_seen or 0 for place in around.places), default=0)
    places = tuple(place.name for place in around.places if (place.last_seen or 0) >= around.seen_since)
    known = Circumstances(lineage=around.lineage, is_orphan=around.is_orphan, last_seen=seen or None, places=places)
    return judging.is_silent(row, known, at)


def _urgency(row: Any, around: Around, marks: Milestones, at: int) -> str:
    """That of the most urgent threshold that it has crossed."""
    found = thresholds.of(row, around.lineage, marks)
    is_served = _is_served(around)
    crossed = [each.urgency for each in found if each.at <= at and (is_served or not each.if_served)]
    return max(crossed, key=thresholds.rank, default=thresholds.SILENT)


def _is_now(need: Need, urgency: str, around: Around) -> bool:
    """Whether it is one for now, and not merely for soon: what cannot wait, or what waits for a person alone."""
    if need in (Need.BROKEN, Need.OLD) and (around.destination is not None or _has_stopped(around)):
        return True
    is_daily = need is Need.MANUAL and thresholds.rank(urgency) >= thresholds.rank(thresholds.DAILY)
    return need is not Need.NONE and (is_daily or urgency == thresholds.IMMEDIATE)


def _has_stopped(around: Around) -> bool:
    return around.renewal is not None and around.renewal.state == "stopped"


def _is_served(around: Around) -> bool:
    return any((place.last_seen or 0) >= around.seen_since for place in around.places)


def _over(stage: Stage, around: Around, how: str) -> str:
    if stage is not Stage.EXPIRED:
        return how
    return f"expired, and still served; {how}" if _is_served(around) else f"expired; {how}"


def _signer(kind: str, stage: Stage) -> tuple[str]:
    what = "its successor has to be prepared" if kind in lead_time.AUTHORITIES else "its publisher has not replaced it"
    return (f"expired; {what}" if stage is Stage.EXPIRED else what,)


_SIGNER_ADVICE = {
    True: "Have its successor prepared and trusted everywhere before it signs.",
    False: "See whether its publisher runs.",
}


def _manual_advice(stage: Stage, around: Around) -> str:
    if stage is Stage.EXPIRED and not around.places:
        return "If it is used no longer, say so; else replace it where it came from."
    return "Get its successor where it came from, put it into use, and import it."


def _explanation(row: Any, lineage: Any | None, at: int) -> str:
    """Only of what its issuer wants renewed by now."""
    if lineage is None or lineage.current_id != row.id or not lineage.ari_explanation:
        return ""
    return words.plain(lineage.ari_explanation) if lineage.ari_start is not None and lineage.ari_start <= at else ""


_IN_WORDS = {
    "issuer-unavailable": "The CA does not answer",
    "issuer-refused": "The CA refuses to sign",
    "rate-limited": "The CA lets us ask no more for now",
    "not-delivered": "It could not be brought to where it is used",
    "policy-refused": "Policy does not allow it",
    "misconfigured": "A setting is wrong",
    "key-unavailable": "The key cannot be used",
}


def _plain_error(code: str | None, detail: str | None) -> str:
    """The last error in words for whoever reads it at three in the morning, and as it was said."""
    said = detail or "no reason is known"
    plain = _IN_WORDS.get(code or "")
    return f"{plain}: {said}" if plain else said
