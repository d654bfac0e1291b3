"""Crossings: that a threshold was crossed, or that something is wrong, written down once for whoever is to be told.

They are written in the transaction of whoever saw it: the watch, and `alarms.raise_alarm`. Of several that were crossed
the worst is told and the others collapse into it; what is over before anybody was told is overtaken. Nobody is asked
here whose it is, since that may change before a letter leaves: `recipients.py`. Nothing here sends anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers.mailing import thresholds
from renewers.mailing.thresholds import DAILY, IMMEDIATE, SILENT, Threshold
from renewers.models import Crossing
from renewers.plain import one_line
from renewers.telling import events
from renewers.timing.lead_time import Milestones

OPEN, TOLD, COLLAPSED, OVERTAKEN, ACKNOWLEDGED = "open", "told", "collapsed", "overtaken", "acknowledged"
UNSAID = frozenset({"3d", "1d", thresholds.DAY_AFTER, thresholds.WEEK_AFTER})
"""Thresholds at which no stage begins: no alarm makes an event of them, so that is done here, for webhooks."""
RENEWAL_FAILING = "renewal-failing"
_STAGES = {"error": ("urgent",), "critical": ("urgent", "critical")}
_ALARMS: Mapping[str, Mapping[str, str]] = {
    "delivery-failing": {"error": IMMEDIATE, "critical": IMMEDIATE},
    "renewal-stopped": {"error": IMMEDIATE, "critical": IMMEDIATE},
    "mailbox-dead": {"warning": IMMEDIATE, "error": IMMEDIATE, "critical": IMMEDIATE},
    "ownership-refused": {"warning": IMMEDIATE, "error": IMMEDIATE, "critical": IMMEDIATE},
    "replacement-waits": {"warning": DAILY, "error": IMMEDIATE, "critical": IMMEDIATE},
    "endpoint-not-the-issued": {"error": DAILY, "critical": IMMEDIATE},
    "consumer-stale": {"error": DAILY, "critical": IMMEDIATE},
    "consumer-refuses": {"error": DAILY, "critical": IMMEDIATE},
    "consumer-holds-another": {"error": DAILY, "critical": IMMEDIATE},
    "consumer-lets-in": {"error": DAILY, "critical": IMMEDIATE},
    "consumer-keeps-out": {"error": DAILY, "critical": IMMEDIATE},
}
"""Alarms that an owner is to hear of by mail, from which severity on and how urgently. That mail fails is not among
them: it would have to tell itself. All of them are events for webhooks as well."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the watch has found of one row: its lineage, its milestones, what is wrong, and where it was seen lately."""

    row: Any
    lineage: Any | None
    marks: Milestones
    troubles: tuple[Any, ...]
    """Of `alarms.Trouble`; empty if nobody has to hear of it."""
    is_served: bool
    was_wrong: bool
    """Whether an alarm about it stands from before."""


def note(tx: Transaction, looked: Sequence[Looked]) -> None:
    """Write down what was crossed by these; what was wrong and is not any more is overtaken."""
    wrong = [one for one in looked if one.troubles]
    known = _known(tx, [one.row.id for one in wrong])
    rows, late = list[dict[str, Any]](), list[dict[str, Any]]()
    for one in wrong:
        crossed = _crossed(one)
        have = known.get(one.row.id, frozenset())
        last = max((place for place, each in enumerate(crossed) if each.name in have), default=-1)
        rows += [_about_tracked(one, each) for each in crossed[last + 1 :]]
        milder = [_about_tracked(one, each) for each in crossed[: max(last, 0)] if each.name not in have]
        late += [_collapsed(row, crossed[last].name) for row in milder]
        if crossed[last + 1 :] and crossed[-1].name in UNSAID:
            _say(tx, one, crossed[-1])
    _put(tx, rows)
    if late:  # something worse was seen before they were: whoever is told of that knows
        tx.execute(_NEW, late)
    over = [one.row.id for one in looked if one.was_wrong and not one.troubles]
    if over:
        overtake(tx, col(Crossing.about).in_([f"tracked:{id_}" for id_ in over]), "it is over")


def note_alarm(tx: Transaction, trouble: Any, since: int) -> None:
    """An alarm (`alarms.Trouble`) was raised, or is worse than before: whoever it belongs to is to hear of it."""
    if trouble.kind == RENEWAL_FAILING and trouble.tracked_id is not None:
        _note_failing(tx, trouble, since)
        return
    urgency = _ALARMS.get(trouble.kind, {}).get(trouble.severity)
    if urgency is not None:
        row = _about_alarm(trouble, since, trouble.severity, urgency)
        _put(tx, [{**row, "about": about_alarm(trouble.kind, trouble.subject, since)}])


def note_urged(tx: Transaction, lineage: Any, explanation: str | None) -> None:
    """A CA wants a certificate replaced at once (RFC 9773 section 4.2: its window is in the past)."""
    message = f"the issuer of {lineage.name} wants it replaced at once"
    more = f"the issuer explains: {one_line(explanation, 300)}" if explanation else "the issuer gives no explanation"
    _put(
        tx,
        [
            {
                **_row(f"urged:{lineage.id}:{lineage.current_id}", thresholds.URGED, IMMEDIATE, clock.timestamp()),
                **_whose(lineage.current_id, lineage.id, lineage.owner_id),
                **_words(lineage.name, message, more),
            }
        ],
    )


def note_compromise(tx: Transaction, about: str, owner_id: int | None, subject: str, message: str, hint: str) -> bool:
    """One owner's certificates are replaced since a key is not secret any more. False if that is known."""
    return _note_affected(tx, f"{about}:owner:{owner_id or 0}", thresholds.COMPROMISE, owner_id, subject, message, hint)


def note_taken_back(tx: Transaction, about: str, owner_id: int | None, subject: str, message: str, hint: str) -> bool:
    """One owner's certificates were revoked, and nothing has taken their place. False if that is known."""
    return _note_affected(tx, about, thresholds.REVOKED, owner_id, subject, message, hint)


def _note_affected(
    tx: Transaction, about: str, threshold: str, owner_id: int | None, subject: str, message: str, hint: str
) -> bool:
    row = {
        **_row(about, threshold, IMMEDIATE, clock.timestamp()),
        **_whose(None, None, owner_id),
        **_words(subject, message, hint),
    }
    if not _put(tx, [row]):
        return False
    events.record(tx, "owner-affected", subject, message, severity="critical", hint=hint, owner=owner_id)
    return True


def overtake(tx: Transaction, which: Any, why: str) -> None:
    """Nobody needs to be told of these any more, if nobody was."""
    values = {"state": OVERTAKEN, "why": why, "settled_at": clock.timestamp()}
    tx.execute(update(Crossing).where(which, col(Crossing.settled_at).is_(None)).values(**values))


def overtake_alarm(tx: Transaction, kind: str, subject: str, since: int) -> None:
    """An alarm is cleared."""
    if kind in _ALARMS:
        overtake(tx, col(Crossing.about) == about_alarm(kind, subject, since), "it is over")


def about_alarm(kind: str, subject: str, since: int) -> str:
    """What a crossing of an alarm is about: the alarm, and when it began."""
    return f"{kind} {one_line(subject)} {since}"


def _note_failing(tx: Transaction, trouble: Any, since: int) -> None:
    """Renewal fails, and by now that is urgent: the thresholds of the certificate say the same. Told once, as these."""
    now = clock.timestamp()
    row = {**_about_alarm(trouble, since, "", IMMEDIATE), "about": f"tracked:{trouble.tracked_id}", "crossed_at": now}
    _put(tx, [{**row, "threshold": name} for name in _STAGES.get(trouble.severity, ())])


def _crossed(one: Looked) -> list[Threshold]:
    """The thresholds that lie behind it and are told, the worst last."""
    now = clock.timestamp()
    told = [each for each in thresholds.of(one.row, one.lineage, one.marks) if each.urgency != SILENT]
    return [each for each in told if each.at <= now and (one.is_served or not each.if_served)]


def _about_tracked(one: Looked, threshold: Threshold) -> dict[str, Any]:
    row, said = one.row, one.troubles[-1 if threshold.if_served else 0]
    return {
        **_row(f"tracked:{row.id}", threshold.name, threshold.urgency, threshold.at),
        **_whose(row.id, row.lineage_id, said.owner_id),
        **_words(one_line(row.shown_as, 120) or row.identity[:23], said.message, said.hint),
    }


def _about_alarm(trouble: Any, since: int, threshold: str, urgency: str) -> dict[str, Any]:
    return {
        **_row("", threshold, urgency, since),
        **_whose(trouble.tracked_id, trouble.lineage_id, trouble.owner_id),
        **_words(trouble.subject, trouble.message, trouble.hint),
    }


def _row(about: str, threshold: str, urgency: str, crossed_at: int) -> dict[str, Any]:
    now = clock.timestamp()
    named = {"about": about, "threshold": threshold, "urgency": urgency}
    return {**named, "crossed_at": crossed_at, "noted_at": now, "state": OPEN, "why": "", "settled_at": None}


def _whose(tracked_id: int | None, lineage_id: int | None, owner_id: int | None) -> dict[str, Any]:
    return {"tracked_id": tracked_id, "lineage_id": lineage_id, "owner_id": owner_id}


def _words(subject: str, message: str, hint: str | None) -> dict[str, Any]:
    hint = None if hint is None else one_line(hint)
    return {"subject": one_line(subject), "message": one_line(message, 1000), "hint": hint}


def _known(tx: Transaction, tracked_ids: Sequence[int]) -> Mapping[int, frozenset[str]]:
    """The thresholds of these that were written down before."""
    found: dict[int, frozenset[str]] = {}
    if not tracked_ids:
        return found
    abouts = [f"tracked:{id_}" for id_ in tracked_ids]
    query = select(col(Crossing.tracked_id), col(Crossing.threshold)).where(col(Crossing.about).in_(abouts))
    for row in tx.execute(query):
        found[row.tracked_id] = found.get(row.tracked_id, frozenset()) | {row.threshold}
    return found


def _put(tx: Transaction, rows: Sequence[dict[str, Any]]) -> bool:
    """Write new ones down, the worst of each last: the others, and those that nobody was told of yet, collapse into it.

    False if all are known. Two replicas may come to this at once; whoever is second writes nothing.
    """
    if not rows:
        return False
    worst = {row["about"]: row for row in rows}
    values = [row if row is worst[row["about"]] else _collapsed(row, worst[row["about"]]["threshold"]) for row in rows]
    new = {row.about for row in tx.execute(_NEW, values) if worst[row.about]["threshold"] == row.threshold}
    for about in sorted(new):
        _collapse(tx, worst[about])
    return bool(new)


_NEW = (
    insert(Crossing)
    .on_conflict_do_nothing(index_elements=["about", "threshold"])
    .returning(col(Crossing.about), col(Crossing.threshold))
)


def _collapse(tx: Transaction, worst: Mapping[str, Any]) -> None:
    """What nobody was told of yet, and is not more urgent, goes into the one that was just written down."""
    milder = [one for one in thresholds.URGENCIES if thresholds.rank(one) <= thresholds.rank(worst["urgency"])]
    earlier = col(Crossing.about) == worst["about"], col(Crossing.threshold) != worst["threshold"]
    values = {"state": COLLAPSED, "why": _into(worst["threshold"]), "settled_at": worst["noted_at"]}
    unsettled = update(Crossing).where(*earlier, col(Crossing.settled_at).is_(None))
    tx.execute(unsettled.where(col(Crossing.urgency).in_(milder)).values(**values))


def _collapsed(row: dict[str, Any], into: str) -> dict[str, Any]:
    """A row as it is written down if something worse is told."""
    return {**row, "state": COLLAPSED, "why": _into(into), "settled_at": row["noted_at"]}


def _into(threshold: str) -> str:
    return f"told together with what is worse: {threshold}"


def _say(tx: Transaction, one: Looked, threshold: Threshold) -> None:
    """An event of its own, for webhooks: at this threshold no stage begins."""
    said = one.troubles[-1 if threshold.if_served else 0]
    details = {"threshold": threshold.name, "not_after": one.row.not_after, "owner": said.owner_id}
    severity = "critical" if threshold.name in thresholds.CRITICAL else said.severity
    events.record(tx, "threshold-crossed", one.row.identity, said.message, severity=severity, hint=said.hint, **details)
