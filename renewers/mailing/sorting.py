"""What of the open crossings is to be told to whom now: which are over, which are taken care of, and whose each is.

Only read here. What was decided is written down by `opening.py`, and decided again when a letter is sent: a
certificate may be renewed, handed over or acknowledged at any moment in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlmodel import col

from ca import clock
from renewers.answering import acknowledged
from renewers.inventory.succession import ENDED
from renewers.mailing import recipients, thresholds
from renewers.mailing.crossings import ACKNOWLEDGED, OPEN
from renewers.models import Acknowledged, Alarm, Crossing, Owner, Tracked

PAGE, PAGES = 500, 20
"""How many are looked at in one statement, and how many statements one run makes."""
NEVER_SILENT = thresholds.ENDS | {thresholds.URGED, thresholds.COMPROMISE, thresholds.REVOKED}
"""What is told though somebody takes care: it was not known when that was said."""
_SERVED = ("expired-still-served", "replaced-still-served")
"""The alarms that stand for what was replaced and is in use all the same; `renewers/timing/judging` raises them."""


@dataclass
class Sorted:
    """What is to become of so many crossings, by their rows."""

    theirs: dict[int, list[Any]] = field(default_factory=dict)
    """By the id of the owner who is to be told."""
    owners: dict[int, Owner] = field(default_factory=dict)
    over: list[Any] = field(default_factory=list)
    resting: list[tuple[Any, Acknowledged]] = field(default_factory=list)
    """Those that somebody takes care of."""
    nobodys: list[Any] = field(default_factory=list)


def waiting(connection: Connection, state: str, urgency: str) -> Iterator[Sequence[Any]]:
    """Pages of crossings that nobody was told of, the oldest first."""
    last = 0
    for _ in range(PAGES):
        rows = connection.execute(_WAITING, {"of_state": state, "of_urgency": urgency, "after": last}).all()
        if rows:
            last = rows[-1].id
            yield rows
        if len(rows) < PAGE:
            return


# Made once: each tick asks for these, and mostly finds nothing.
_UNSETTLED = (col(Crossing.settled_at).is_(None), col(Crossing.state) == bindparam("of_state"))
_WAITING = (
    select(Crossing)
    .where(*_UNSETTLED, col(Crossing.urgency) == bindparam("of_urgency"), col(Crossing.id) > bindparam("after"))
    .order_by(col(Crossing.id))
    .limit(PAGE)
)
_ANY = select(col(Crossing.id)).where(*_UNSETTLED).limit(1)


def sort(connection: Connection, rows: Sequence[Any], into: Sorted | None = None) -> Sorted:
    """Decide about these, in a handful of statements."""
    found = Sorted() if into is None else into
    over, resting = _over(connection, rows), _resting(connection, rows)
    left = []
    for row in rows:
        if row.id in over:
            found.over.append(row)
        elif row.id in resting:
            found.resting.append((row, resting[row.id]))
        else:
            left.append(row)
    for row, owner in zip(left, _whose(connection, left), strict=True):
        if owner is None or owner.id is None:
            found.nobodys.append(row)
        else:
            found.owners[owner.id] = owner
            found.theirs.setdefault(owner.id, []).append(row)
    return found


def open_ones(connection: Connection, *urgencies: str) -> Sorted:
    """All that are open and of these urgencies, decided about."""
    found = Sorted()
    for urgency in urgencies:
        for page in waiting(connection, OPEN, urgency):
            sort(connection, page, found)
    return found


def woken(connection: Connection) -> list[Any]:
    """Those that were left out since somebody took care, which is over."""
    found: list[Any] = []
    if connection.execute(_ANY, {"of_state": ACKNOWLEDGED}).first() is None:
        return found
    for urgency in thresholds.URGENCIES:
        for page in waiting(connection, ACKNOWLEDGED, urgency):
            resting = _resting(connection, page)
            found += [row for row in page if row.id not in resting]
    return found


def _whose(connection: Connection, rows: Sequence[Any]) -> list[Owner | None]:
    answers = recipients.whose(connection, rows)
    return [answers[row.id] for row in rows]


def _over(connection: Connection, rows: Sequence[Any]) -> set[int]:
    """Those about something that was replaced or has ended, unless it is in use all the same."""
    about = {row.id: row.tracked_id for row in rows if row.about.startswith(("tracked:", "urged:"))}
    columns = (col(Tracked.id), col(Tracked.identity), col(Tracked.replaced_by), col(Tracked.stage))
    query = select(*columns).where(col(Tracked.id).in_(set(about.values())))
    tracked = {row.id: row for row in connection.execute(query)} if about else {}
    gone = {id_: row for id_, row in tracked.items() if row.replaced_by is not None or row.stage == ENDED}
    served = _served(connection, gone)
    return {id_ for id_, of in about.items() if of not in tracked or (of in gone and of not in served)}


def _served(connection: Connection, gone: Mapping[int, Any]) -> set[int]:
    if not gone:
        return set()
    by_identity = {row.identity: id_ for id_, row in gone.items()}
    stands = col(Alarm.kind).in_(_SERVED), col(Alarm.subject).in_(list(by_identity))
    return {by_identity[subject] for subject in connection.execute(select(col(Alarm.subject)).where(*stands)).scalars()}


def _resting(connection: Connection, rows: Sequence[Any]) -> dict[int, Acknowledged]:
    abouts = {
        row.id: acknowledged.about_of(row)
        for row in rows
        if row.threshold not in NEVER_SILENT and (row.lineage_id is not None or row.tracked_id is not None)
    }
    standing = acknowledged.standing(connection, abouts.values(), clock.timestamp()) if abouts else {}
    return {id_: standing[about] for id_, about in abouts.items() if about in standing}
