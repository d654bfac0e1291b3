"""What is read of one owner's certificates: a handful of statements, whichever number they are.

Rows are found by an index that says who answers for them (`Tracked.answering_id`) and asked again, by the rules
themselves, before anybody is told of them. Whoever answers for more than `MOST` gets those that need somebody, and of
the others those that end first. Nothing here judges: that is `weighing.py`. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, case, func, or_, select
from sqlmodel import col

from renewers.inventory.ownership import owners_of
from renewers.models import Crossing, Destination, Endpoint, Letter, Lineage, Told, Tracked, TrackedName, Work
from renewers.reports import words
from renewers.reports.rows import Around, Place
from renewers.timing.judging import FORGET
from renewers.timing.lead_time import Stage

MOST = 5000
"""How many rows are looked at for one letter, its table included."""
PAGE = 500
NAMES, PLACES = 5, 3
"""How many names and places of one row are read; the others are counted."""


@dataclass(slots=True)
class Known:
    """What there is to know about some rows, by their ids, lineages' ids, or subjects of work."""

    lineages: dict[int, Any] = field(default_factory=dict)
    names: dict[int, list[Any]] = field(default_factory=dict)
    places: dict[int, list[Any]] = field(default_factory=dict)
    renewals: dict[str, Any] = field(default_factory=dict)
    destinations: dict[int, Any] = field(default_factory=dict)
    orphans: set[int] = field(default_factory=set)
    last_scan: int | None = None
    """When one of their places was looked at last."""

    def around(self, row: Any, *, seen_since: int, is_over: bool = False) -> Around:
        """What is known about one of them. What was measured, and who takes care of it, is added by who asks."""
        names, places = self.names.get(row.id, []), self.places.get(row.id, [])
        return Around(
            lineage=self.lineages.get(row.lineage_id),
            names=tuple(found.name.partition(":")[2] for found in names),
            more_names=max(0, names[0].total - len(names)) if names else 0,
            places=tuple(Place(words.plain(found.place, 120), found.last_seen) for found in places),
            more_places=max(0, places[0].total - len(places)) if places else 0,
            renewal=self.renewals.get(str(row.lineage_id)),
            destination=self.destinations.get(row.lineage_id),
            is_orphan=row.id in self.orphans,
            is_over=is_over,
            seen_since=seen_since,
        )


def alive(connection: Connection, owner_id: int) -> tuple[list[Any], bool]:
    """Rows that an owner answers for and that are on the way to their end, what has begun to need somebody first.

    Also whether there are more of them than are looked at.
    """
    of, found = {"who": owner_id}, list[Any]()
    for stages in (_BEGUN, (Stage.FINE.value,)):
        room = MOST + 1 - len(found)
        if room > 0:
            found += connection.execute(_ALIVE, {**of, "stages": stages, "room": room}).all()
    return found[:MOST], len(found) > MOST


def count_alive(connection: Connection, owner_id: int) -> int:
    """How many they are, by the index alone."""
    return int(connection.execute(_COUNT, {"who": owner_id, "stages": (*_BEGUN, Stage.FINE.value)}).scalar_one())


def still_served(connection: Connection, owner_id: int, now: int, seen_since: int) -> Sequence[Any]:
    """Rows that were replaced or given up, have not ended for long, and were seen since then."""
    of = {"who": owner_id, "stages": (Stage.REPLACED.value, Stage.ENDED.value), "recent": now - FORGET}
    return connection.execute(_STILL_SERVED, {**of, "seen": seen_since, "room": MOST}).all()


def by_ids(connection: Connection, ids: Iterable[int]) -> list[Any]:
    """Rows by their ids: those that a letter was opened about."""
    return [row for part in _parts(sorted(set(ids))) for row in connection.execute(_BY_ID, {"ids": part})]


def current_of(connection: Connection, lineage_ids: Iterable[int]) -> list[Any]:
    """The current certificates of lineages."""
    return [row for part in _parts(sorted(set(lineage_ids))) for row in connection.execute(_CURRENT, {"ids": part})]


def theirs(connection: Connection, owner_id: int, rows: Sequence[Any], known: Known) -> list[Any]:
    """Those that are this owner's by the rules as they are now; `known` learns which of them nobody claims."""
    found = []
    for part in _parts(rows):
        answers = owners_of(connection, part)
        for row in part:
            owner = answers[row.id].owner
            if owner is not None and owner.id == owner_id:
                found.append(row)
                if answers[row.id].is_orphan:
                    known.orphans.add(row.id)
    return found


def learn(connection: Connection, rows: Sequence[Any], known: Known) -> Known:
    """Read what there is to know about these rows."""
    ids = sorted({row.id for row in rows})
    for part in _parts(ids):
        for row in connection.execute(_NAMES, {"ids": part}):
            known.names.setdefault(row.tracked_id, []).append(row)
        for row in connection.execute(_PLACES, {"ids": part}):
            known.places.setdefault(row.tracked_id, []).append(row)
            known.last_scan = max(known.last_scan or 0, row.newest)
    lineage_ids = sorted({row.lineage_id for row in rows if row.lineage_id is not None} - set(known.lineages))
    for part in _parts(lineage_ids):
        known.lineages |= {row.id: row for row in connection.execute(_LINEAGES, {"ids": part})}
        subjects = [str(id_) for id_ in part]
        known.renewals |= {row.subject: row for row in connection.execute(_FAILING_RENEWALS, {"ids": subjects})}
        for row in connection.execute(_FAILING_DESTINATIONS, {"ids": part}):
            known.destinations.setdefault(row.lineage_id, row)
    return known


def wanted_in_vain(connection: Connection, owner_id: int) -> list[tuple[str, Any]]:
    """Lineages of an owner that have no certificate yet, by name, each with the work that fails to get its first."""
    lineages = {str(row.id): row for row in connection.execute(_EMPTY, {"who": owner_id})}
    failing = connection.execute(_FAILING_RENEWALS, {"ids": sorted(lineages)}).all() if lineages else ()
    return [(lineages[row.subject].name, row) for row in failing]


def over_since(connection: Connection, owner_id: int, since: int) -> Sequence[Any]:
    """Rows that this owner was told of in a letter since then, and that are over now: replaced, or given up."""
    return connection.execute(_TOLD_AND_OVER, {"who": owner_id, "since": since, "room": PAGE}).all()


def changed_at(connection: Connection, lineage_ids: Iterable[int]) -> dict[int, int]:
    """When the last certificate came to each of these lineages, or one of them was given up."""
    found = {}
    for part in _parts(sorted(set(lineage_ids))):
        for row in connection.execute(_CHANGED, {"ids": part}):
            found[row.lineage_id] = max(row.came, row.given_up or 0)
    return found


def told_of(connection: Connection, crossing_ids: Iterable[int]) -> Sequence[Any]:
    """The letters in which people were told of these, in their order."""
    return connection.execute(_TOLD_OF, {"ids": sorted(set(crossing_ids))[:PAGE], "room": PAGE}).all()


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + PAGE] for start in range(0, len(items), PAGE))


# Made once: every letter asks for these, and to put a statement together costs more than to run it.
_BEGUN = tuple(stage.value for stage in (Stage.DUE, Stage.LATE, Stage.URGENT, Stage.CRITICAL, Stage.EXPIRED))
_WHO: BindParameter[int] = bindparam("who")
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_STAGES: BindParameter[Any] = bindparam("stages", expanding=True)
_ROW: Any = (
    *(Tracked.id, Tracked.identity, Tracked.kind, Tracked.source, Tracked.shown_as, Tracked.subject, Tracked.issuer),
    *(Tracked.serial, Tracked.key_type, Tracked.not_before, Tracked.not_after, Tracked.lineage_id, Tracked.owner_id),
    *(Tracked.replaced_by, Tracked.stage, Tracked.stage_since, Tracked.recorded_at),
)
_ALIVE = (
    select(*_ROW)
    .where(col(Tracked.answering_id) == _WHO, col(Tracked.stage).in_(_STAGES), col(Tracked.replaced_by).is_(None))
    .order_by(col(Tracked.not_after), col(Tracked.id))
    .limit(bindparam("room"))
)
_COUNT = select(func.count()).where(
    col(Tracked.answering_id) == _WHO, col(Tracked.stage).in_(_STAGES), col(Tracked.replaced_by).is_(None)
)
_STILL_SERVED = (
    select(*_ROW)
    .where(col(Tracked.answering_id) == _WHO, col(Tracked.stage).in_(_STAGES))
    .where(col(Tracked.not_after) > bindparam("recent"))
    .where(
        select(col(Endpoint.id))
        .where(col(Endpoint.tracked_id) == col(Tracked.id), col(Endpoint.last_seen) >= bindparam("seen"))
        .exists()
    )
    .order_by(col(Tracked.not_after), col(Tracked.id))
    .limit(bindparam("room"))
)
_BY_ID = select(*_ROW).where(col(Tracked.id).in_(_IDS)).order_by(col(Tracked.id))
_CURRENT = select(*_ROW).join(Lineage, col(Lineage.current_id) == col(Tracked.id)).where(col(Lineage.id).in_(_IDS))
_LINEAGES = select(
    *(col(Lineage.id), col(Lineage.name), col(Lineage.mode), col(Lineage.current_id)),
    *(col(Lineage.ari_start), col(Lineage.ari_chosen), col(Lineage.ari_explanation)),
).where(col(Lineage.id).in_(_IDS))
_EMPTY = (
    select(col(Lineage.id), col(Lineage.name))
    .where(col(Lineage.owner_id) == _WHO, col(Lineage.current_id).is_(None), col(Lineage.mode) == "renewed")
    .limit(PAGE)
)
_FAILING_RENEWALS = select(Work).where(
    col(Work.kind) == "renew", col(Work.subject).in_(_IDS), col(Work.failing_since).is_not(None)
)
_FAILING_DESTINATIONS = (
    select(
        *(col(Destination.lineage_id), col(Destination.name)),
        *(col(Destination.failing_since), col(Destination.last_error)),
    )
    .where(col(Destination.lineage_id).in_(_IDS), col(Destination.failing_since).is_not(None))
    .order_by(col(Destination.failing_since), col(Destination.id))
)
_TOLD_AND_OVER = (
    select(*_ROW)
    .join(Crossing, col(Crossing.tracked_id) == col(Tracked.id))
    .join(Told, col(Told.crossing_id) == col(Crossing.id))
    .join(Letter, col(Letter.id) == col(Told.letter_id))
    .where(col(Letter.owner_id) == _WHO, col(Letter.sent_at) >= bindparam("since"))
    .where(or_(col(Tracked.replaced_by).is_not(None), col(Tracked.stage).in_(("replaced", "ended"))))
    .distinct()
    .order_by(col(Tracked.id).desc())
    .limit(bindparam("room"))
)
_CHANGED = (
    select(
        col(Tracked.lineage_id),
        func.max(col(Tracked.recorded_at)).label("came"),
        func.max(case((col(Tracked.stage) == "ended", col(Tracked.stage_since)))).label("given_up"),
    )
    .where(col(Tracked.lineage_id).in_(_IDS))
    .group_by(col(Tracked.lineage_id))
)
_TOLD_OF = (
    select(col(Letter.recipient), col(Letter.step), func.min(col(Letter.sent_at)).label("at"))
    .join(Told, col(Told.letter_id) == col(Letter.id))
    .where(col(Told.crossing_id).in_(_IDS), col(Letter.sent_at).is_not(None))
    .group_by(col(Letter.recipient), col(Letter.step))
    .order_by(func.min(col(Letter.sent_at)))
    .limit(bindparam("room"))
)


def _first(numbered: Any, most: int) -> Select[Any]:
    return select(numbered).where(numbered.c.number <= most).order_by(numbered.c.tracked_id, numbered.c.number)


_NAMES = _first(
    select(
        *(col(TrackedName.tracked_id), col(TrackedName.name)),
        func.row_number()
        .over(partition_by=col(TrackedName.tracked_id), order_by=col(TrackedName.name))
        .label("number"),
        func.count().over(partition_by=col(TrackedName.tracked_id)).label("total"),
    )
    .where(col(TrackedName.tracked_id).in_(_IDS))
    .subquery(),
    NAMES,
)
_PLACES = _first(
    select(
        *(col(Endpoint.tracked_id), col(Endpoint.place), col(Endpoint.last_seen)),
        func.row_number()
        .over(partition_by=col(Endpoint.tracked_id), order_by=(col(Endpoint.last_seen).desc(), col(Endpoint.place)))
        .label("number"),
        func.count().over(partition_by=col(Endpoint.tracked_id)).label("total"),
        func.max(col(Endpoint.last_asked)).over(partition_by=col(Endpoint.tracked_id)).label("newest"),
    )
    .where(col(Endpoint.tracked_id).in_(_IDS), col(Endpoint.last_seen).is_not(None))
    .subquery(),
    PLACES,
)
