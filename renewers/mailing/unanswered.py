"""What of a letter still waits for somebody: not acknowledged, not renewed, not over, not another owner's by now.

Asked when a step of escalation has come. Nothing here changes anything. `sorting.py` decides the same about what nobody
was told of yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from renewers.mailing import sorting, thresholds
from renewers.mailing.crossings import OVERTAKEN
from renewers.models import Alarm, Crossing, Letter, Lineage, Replacement, Told, Tracked


def of_letter(connection: Connection, letter: Any) -> list[Any]:
    """The rows of `Crossing` that a letter (a row of `Letter`) told of and that still wait, oldest first."""
    told = select(col(Told.crossing_id)).where(col(Told.letter_id) == letter.id)
    query = select(Crossing).where(col(Crossing.id).in_(told), col(Crossing.state) != OVERTAKEN)
    rows = connection.execute(query.order_by(col(Crossing.id))).all()
    rows = [row for row in _not_told_anew(connection, letter, rows) if _stands(connection, row)]
    return sorting.sort(connection, rows).theirs.get(letter.owner_id, []) if rows else []


def ends(connection: Connection, rows: Sequence[Any]) -> list[int]:
    """When the certificates that these crossings are about end, in seconds since the epoch; of some it is not known."""
    lineages = {row.lineage_id for row in rows if row.tracked_id is None and row.lineage_id is not None}
    current = select(col(Lineage.current_id)).where(col(Lineage.id).in_(lineages))
    tracked = {row.tracked_id for row in rows if row.tracked_id is not None}
    tracked |= set(connection.execute(current).scalars()) if lineages else set()
    query = select(col(Tracked.not_after)).where(col(Tracked.id).in_([id_ for id_ in tracked if id_ is not None]))
    return list(connection.execute(query).scalars())


def _not_told_anew(connection: Connection, letter: Any, rows: Sequence[Any]) -> list[Any]:
    """Without those about which something worse was told since: that letter escalates for itself."""
    abouts = sorted({row.about for row in rows})
    query = (
        select(col(Crossing.about), func.max(col(Crossing.id)))
        .join(Told, col(Told.crossing_id) == col(Crossing.id))
        .join(Letter, col(Letter.id) == col(Told.letter_id))
        .where(col(Crossing.about).in_(abouts), col(Crossing.urgency) == thresholds.IMMEDIATE)
        .where(col(Letter.id) > letter.id, col(Letter.owner_id) == letter.owner_id)
        .group_by(col(Crossing.about))
    )
    newest = {row[0]: row[1] or 0 for row in connection.execute(query)} if abouts else {}
    return [row for row in rows if newest.get(row.about, 0) <= row.id]


def _stands(connection: Connection, row: Any) -> bool:
    """Whether what a crossing is about is still so, for what is no certificate: an alarm, a wish, a replacement."""
    kind, _, rest = row.about.partition(":")
    if kind == "tracked":
        return True
    if kind == "urged":
        lineage_id, _, current_id = rest.partition(":")
        current = select(col(Lineage.current_id)).where(col(Lineage.id) == int(lineage_id))
        return bool(str(connection.execute(current).scalar()) == current_id)
    if kind == "replacement":
        of_it = col(Replacement.id) == int(rest.partition(":")[0]), col(Replacement.ended_at).is_(None)
        return connection.execute(select(col(Replacement.id)).where(*of_it)).first() is not None
    return _is_alarming(connection, row.about)


def _is_alarming(connection: Connection, about: str) -> bool:
    """Whether the alarm that a crossing names with when it began stands (`crossings.about_alarm`)."""
    kind, _, rest = about.partition(" ")
    subject, _, since = rest.rpartition(" ")
    named = col(Alarm.kind) == kind, col(Alarm.subject) == subject
    found = connection.execute(select(col(Alarm.since)).where(*named)).scalar()
    return found is not None and str(found) == since
