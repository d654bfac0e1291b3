"""What of a letter still waits for somebody: not acknowledged, not renewed, not over, not another owner's by now.

Asked when a step of escalation has come, and when a letter came back. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca import clock
from renewers.answering import acknowledged
from renewers.inventory.succession import ENDED
from renewers.mailing import recipients, thresholds
from renewers.mailing.crossings import ACKNOWLEDGED, OVERTAKEN
from renewers.models import Alarm, Crossing, Endpoint, Letter, Lineage, Replacement, Told, Tracked

DAY = 86400
SERVED = DAY
"""What was seen in use so long ago counts as in use."""


def of_letter(connection: Connection, letter: Any) -> list[Any]:
    """The rows of `Crossing` that a letter (a row of `Letter`) told of and that still wait, oldest first."""
    told = select(col(Told.crossing_id)).where(col(Told.letter_id) == letter.id)
    query = select(Crossing).where(col(Crossing.id).in_(told)).order_by(col(Crossing.id))
    rows = [row for row in connection.execute(query) if row.state not in (OVERTAKEN, ACKNOWLEDGED)]
    rows = _not_told_anew(connection, letter, rows)
    rows = [row for row in rows if _stands(connection, row)]
    rows = _not_acknowledged(connection, rows)
    whose = recipients.whose(connection, rows) if rows else {}
    return [row for row in rows if (owner := whose.get(row.id)) is not None and owner.id == letter.owner_id]


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
    newest: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)} if abouts else {}
    return [row for row in rows if newest.get(row.about, 0) <= row.id]


def _stands(connection: Connection, row: Any) -> bool:
    """Whether what a crossing is about is still so."""
    kind, _, rest = row.about.partition(":")
    if row.about == f"tracked:{row.tracked_id}":
        return _is_open(connection, row.tracked_id)
    if kind == "urged":
        lineage_id, _, current_id = rest.partition(":")
        current = select(col(Lineage.current_id)).where(col(Lineage.id) == int(lineage_id))
        return str(connection.execute(current).scalar()) == current_id
    if kind == "replacement":
        state = select(Replacement).where(col(Replacement.id) == int(rest.partition(":")[0]))
        found = connection.execute(state).first()
        return found is not None and found.ended_at is None
    return _is_alarming(connection, row.about)


def _is_open(connection: Connection, tracked_id: int) -> bool:
    row = connection.execute(select(Tracked).where(col(Tracked.id) == tracked_id)).first()
    if row is None:
        return False
    if row.replaced_by is None and row.stage != ENDED:
        return True
    since = clock.timestamp() - SERVED
    seen = select(col(Endpoint.id)).where(col(Endpoint.tracked_id) == tracked_id, col(Endpoint.last_seen) >= since)
    return connection.execute(seen.limit(1)).first() is not None


def _is_alarming(connection: Connection, about: str) -> bool:
    """Whether the alarm that a crossing names with when it began stands (`crossings.about_alarm`)."""
    kind, _, rest = about.partition(" ")
    subject, _, since = rest.rpartition(" ")
    named = col(Alarm.kind) == kind, col(Alarm.subject) == subject
    found = connection.execute(select(col(Alarm.since)).where(*named)).scalar()
    return found is not None and str(found) == since


def _not_acknowledged(connection: Connection, rows: Sequence[Any]) -> list[Any]:
    """That something has expired, nobody acknowledges away."""
    about = {row.id: acknowledged.about_of(row) for row in rows if row.tracked_id or row.lineage_id}
    standing = acknowledged.standing(connection, about.values(), clock.timestamp())
    return [row for row in rows if row.threshold in thresholds.ENDS or about.get(row.id) not in standing]
