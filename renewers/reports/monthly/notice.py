"""What expired in a month, and whether anybody had been told before: the figure that must be nothing.

Read from the events of the month, which say what expired while somebody cared for it: what its holder alone renews,
nobody owns and nobody sees ends silently and is no expiry. Told means a letter about it that a mail server took before
it ended, or, where no mail is set up, an alarm that was raised before. Read `renewers/mailing` for who is told what.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from renewers.inventory import shown
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Crossing, Event, Letter, Told, Tracked
from renewers.reports.monthly.months import Month

PAGE = 500
LISTED = 50
TEXT = 120
SENT = ("sent",)


def expiries(lifecycle: Lifecycle, month: Month) -> dict[str, Any]:
    """How many expired, of how many of these a letter or an alarm had told before, and those of which neither had."""
    found = {"total": 0, "by_letter": 0, "by_alarm": 0, "without": 0}
    silent: list[dict[str, Any]] = []
    has_mail = lifecycle.mailer is not None
    for connection, rows in _expired(lifecycle, month):
        letters = _told(connection, [row["tracked"] for row in rows])
        alarmed = _alarmed(connection, rows)
        names = _names(connection, [row["tracked"] for row in rows])
        for row in rows:
            by_letter = any(at <= row["end"] for at in letters.get(row["tracked"], ()))
            by_alarm = any(at <= row["end"] for at in alarmed.get(row["subject"], ()))
            found["total"] += 1
            found["by_letter"] += by_letter
            found["by_alarm"] += by_alarm
            if not (by_letter if has_mail else by_alarm):
                found["without"] += 1
                name = names.get(row["tracked"], row["subject"])
                silent.append({"name": shown.line(name, TEXT), "end": row["end"], "by_alarm": by_alarm})
    return {**found, "has_mail": has_mail, "silent": silent[:LISTED]}


def _expired(lifecycle: Lifecycle, month: Month) -> Iterator[tuple[Connection, list[dict[str, Any]]]]:
    at, id_ = col(Event.at), col(Event.id)
    within = (at >= month.start, at < month.end, col(Event.kind) == "certificate-expired")
    query = select(id_, at, col(Event.subject), col(Event.body)).where(*within).order_by(at, id_).limit(PAGE)
    last = (month.start, 0)
    while True:
        with lifecycle.store.read() as connection:
            rows = connection.execute(query.where((at > last[0]) | ((at == last[0]) & (id_ > last[1])))).all()
            yield connection, [_row(row) for row in rows]
        if len(rows) < PAGE:
            return
        last = (rows[-1].at, rows[-1].id)


def _row(row: Any) -> dict[str, Any]:
    body = json.loads(row.body)
    return {"tracked": int(body.get("tracked") or 0), "subject": row.subject, "end": int(body.get("not_after", row.at))}


def _told(connection: Connection, tracked_ids: Sequence[int]) -> dict[int, list[int]]:
    """When letters about each were taken by a mail server."""
    query = (
        select(col(Crossing.tracked_id), col(Letter.sent_at))
        .join(Told, col(Told.crossing_id) == col(Crossing.id))
        .join(Letter, col(Letter.id) == col(Told.letter_id))
        .where(col(Crossing.tracked_id).in_(tracked_ids), col(Letter.state).in_(SENT), col(Letter.sent_at).is_not(None))
    )
    found: dict[int, list[int]] = {}
    for tracked_id, sent_at in connection.execute(query):
        if tracked_id is not None and sent_at is not None:
            found.setdefault(tracked_id, []).append(sent_at)
    return found


def _alarmed(connection: Connection, rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """When alarms about each were raised: the one that stands, and those that events remember."""
    subjects = [row["subject"] for row in rows]
    found: dict[str, list[int]] = {}
    standing = select(col(Alarm.subject), col(Alarm.since)).where(
        col(Alarm.kind) == "expiring", col(Alarm.subject).in_(subjects)
    )
    for subject, since in connection.execute(standing):
        found.setdefault(subject, []).append(since)
    raised = select(col(Event.subject), col(Event.at), col(Event.body)).where(
        col(Event.subject).in_(subjects), col(Event.kind) == "alarm-raised"
    )
    for subject, at, body in connection.execute(raised):
        if json.loads(body).get("alarm") == "expiring":
            found.setdefault(subject, []).append(at)
    return found


def _names(connection: Connection, tracked_ids: Sequence[int]) -> dict[int, str]:
    query = select(col(Tracked.id), col(Tracked.shown_as)).where(col(Tracked.id).in_(tracked_ids))
    return {row[0]: row[1] for row in connection.execute(query) if row[0] is not None}
