"""What an owner is to be told at a moment: gathered from what is true then, never from what was once announced.

`gather` reads, weighs each row (`weighing.py`) and sorts by what a person must do. It may be asked about any moment:
what it says of a day to come is what would be so, were nothing done until then. It sends nothing and writes nothing; a
message is made of it by `compose`.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca import clock
from ca.errors import NotFound
from renewers.answering import acknowledged
from renewers.lifecycle import Lifecycle
from renewers.mailing import thresholds
from renewers.models import Acknowledged, Owner
from renewers.reports import notices, reading, weighing
from renewers.reports.content import DAILY, DIGEST, Addressee, Digest, Hearer, Over, sections, weeks
from renewers.reports.notices import Notice
from renewers.reports.reading import Known
from renewers.reports.rows import Need, Row
from renewers.timing.lead_time import DAY, HOUR, Stage

REMEMBERED = 60 * DAY
"""For so long after a letter, the next ones say that what stood in it is over."""
SERVED = DAY
"""What was seen so long ago counts as being served now, as for the watch."""


def gather(
    lifecycle: Lifecycle,
    owner_id: int,
    *,
    kind: str,
    at: int,
    step: int = 0,
    crossings: Sequence[Any] | None = None,
) -> Digest:
    """What an owner is to be told at `at`. `crossings` are rows of `Crossing`: what an urgent letter is about.

    Without them an urgent letter is about all that is for now. `NotFound` if there is no such owner.
    """
    with lifecycle.store.read(snapshot=True) as connection:
        return _Gathering(lifecycle, connection, owner_id, at).digest(kind, step, crossings)


class _Gathering:
    """One look at the tables."""

    def __init__(self, lifecycle: Lifecycle, connection: Connection, owner_id: int, at: int) -> None:
        self._lifecycle = lifecycle
        self._connection = connection
        self._at = at
        self._now = clock.timestamp()
        self._owner = _addressee(connection, owner_id)
        self._known = Known()
        self._standing: Mapping[str, Acknowledged] = {}
        self._seen_since = min(at, self._now) - SERVED

    def digest(self, kind: str, step: int, crossings: Sequence[Any] | None) -> Digest:
        """Read, weigh, sort."""
        found, is_cut = reading.alive(self._connection, self._owner.id)
        found = self._theirs([*found, *self._besides(found, crossings or ())])
        old = self._theirs(reading.still_served(self._connection, self._owner.id, self._now, self._seen_since))
        reading.learn(self._connection, [*found, *old], self._known)
        abouts = [acknowledged.about_of(row) for row in (*found, *old)]
        self._standing = acknowledged.standing(self._connection, abouts, self._at)
        weighed = self._weighed(found, old)
        everything = tuple(sorted(weighed, key=lambda row: (row.ends, row.tracked_id)))
        needing = [row for row in everything if row.need is not Need.NONE]
        listed = [row for row in needing if not row.is_resting and _belongs(row, kind, crossings)]
        total = reading.count_alive(self._connection, self._owner.id) if is_cut else len(found)
        changed, over = self._over(needing)
        return Digest(
            kind=kind,
            at=self._at,
            step=step,
            owner=self._owner,
            sections=sections(listed),
            notices=self._notices(kind, crossings, everything),
            resting=tuple(row for row in needing if row.is_resting),
            everything=everything,
            total=total,
            healthy=max(0, total - _needing_somebody(everything)),
            weeks=weeks(everything, self._at),
            last_scan=self._known.last_scan,
            told_before=_told_before(self._connection, crossings or ()),
            over=over,
            changed=changed,
        )

    def _besides(self, found: Sequence[Any], crossings: Sequence[Any]) -> list[Any]:
        """What a letter was opened about, wherever an index says that it belongs; it is asked again whose it is."""
        have = {row.id for row in found}
        ids = {crossing.tracked_id for crossing in crossings if crossing.tracked_id is not None} - have
        lineages = {crossing.lineage_id for crossing in crossings if crossing.lineage_id is not None}
        more = reading.by_ids(self._connection, ids) if ids else []
        more += reading.current_of(self._connection, lineages) if lineages else []
        alive = {row.id: row for row in more if row.replaced_by is None and row.stage in _ALIVE}
        return [row for id_, row in alive.items() if id_ not in have]

    def _theirs(self, found: Sequence[Any]) -> list[Any]:
        return reading.theirs(self._connection, self._owner.id, found, self._known) if found else []

    def _weighed(self, found: Sequence[Any], old: Sequence[Any]) -> list[Row]:
        """Both kinds; where the old one is still served, that says all about what its successor lacks."""
        weighed = [self._weigh(row, is_over=True) for row in old]
        served = [row for row in weighed if row.need is Need.OLD]
        covered = {row.lineage_id for row in served}
        return served + [_covered(self._weigh(row), covered) for row in found]

    def _weigh(self, row: Any, *, is_over: bool = False) -> Row:
        around = self._known.around(row, seen_since=self._seen_since, is_over=is_over)
        around = replace(around, acknowledged=self._standing.get(acknowledged.about_of(row)))
        weighed = weighing.weigh(row, around, fraction=self._lifecycle.policy.fraction, at=self._at)
        if weighed.mode != "renewed" or not self._is_doubtful(row, weighed):
            return weighed
        measured = self._lifecycle.lead_times.seconds(self._connection, row.lineage_id)
        if measured is None:
            return weighed
        around = replace(around, measured_p99=measured)
        return weighing.weigh(row, around, fraction=self._lifecycle.policy.fraction, at=self._at)

    def _is_doubtful(self, row: Any, weighed: Row) -> bool:
        """Whether it matters how long renewals of it take: all is well by far else, as the watch has found as well."""
        return weighed.stage is not Stage.FINE or row.stage != Stage.FINE or self._at > self._now + HOUR

    def _notices(self, kind: str, crossings: Sequence[Any] | None, everything: Sequence[Row]) -> tuple[Notice, ...]:
        if crossings is not None:
            needing = [row for row in everything if row.need is not Need.NONE]
            alive = {row.tracked_id for row in everything}
            told = [crossing for crossing in crossings if _speaks_for_itself(crossing, needing, alive)]
            return notices.soonest_first(map(notices.of_crossing, told))
        found = notices.of_owner(self._connection, self._owner.id)
        return notices.soonest_first(notice for notice in found if kind in (DIGEST, DAILY) or notice.is_now)

    def _over(self, needing: Sequence[Row]) -> tuple[Mapping[int, int], tuple[Over, ...]]:
        """When the lineages of what needs somebody have changed; and what stood in a letter and is over."""
        ended = reading.over_since(self._connection, self._owner.id, self._at - REMEMBERED)
        pending = {(row.lineage_id, row.tracked_id if row.lineage_id is None else None) for row in needing}
        ended = [row for row in ended if (row.lineage_id, row.id if row.lineage_id is None else None) not in pending]
        lineages = {row.lineage_id for row in (*needing, *ended) if row.lineage_id is not None}
        changed = reading.changed_at(self._connection, lineages) if lineages else {}
        newest: dict[tuple[int | None, int | None], Any] = {}
        for row in ended:  # newest first: of a lineage, one is enough
            newest.setdefault((row.lineage_id, row.id if row.lineage_id is None else None), row)
        over = [_over(row, changed) for row in newest.values()]
        return changed, tuple(over)


_ALIVE = frozenset(weighing.ORDER)


def _addressee(connection: Connection, owner_id: int) -> Addressee:
    row = connection.execute(select(Owner).where(col(Owner.id) == owner_id)).first()
    if row is None:
        raise NotFound("there is no such owner", code="unknown-owner")
    path = tuple(json.loads(row.escalation or "[]"))
    return Addressee(row.id, row.name, row.email, row.time_zone, path)


def _belongs(row: Row, kind: str, crossings: Sequence[Any] | None) -> bool:
    """Whether a letter of this kind is about a row that needs somebody."""
    if crossings is not None and kind != DIGEST and _is_among(row, crossings):
        return True
    match kind:
        case "digest":
            return True
        case "daily":
            is_broken = row.need in (Need.BROKEN, Need.OLD)
            return is_broken or row.is_now or thresholds.rank(row.urgency) >= thresholds.rank(thresholds.DAILY)
        case _:
            return crossings is None and row.is_now


def _is_among(row: Row, crossings: Sequence[Any]) -> bool:
    return any(
        crossing.tracked_id == row.tracked_id or (row.lineage_id is not None and crossing.lineage_id == row.lineage_id)
        for crossing in crossings
    )


def _speaks_for_itself(crossing: Any, needing: Sequence[Row], alive: Container[int]) -> bool:
    """Whether no row says what it is about: an alarm, but not about what was replaced or is another's by now."""
    if crossing.about.startswith("tracked:") or any(_is_among(row, [crossing]) for row in needing):
        return False
    return crossing.tracked_id is None or crossing.tracked_id in alive


def _needing_somebody(everything: Iterable[Row]) -> int:
    """How many that the owner answers for are not in order, successors that have not arrived everywhere among them."""
    covered = {row.lineage_id for row in everything if row.need is Need.OLD and row.lineage_id is not None}
    return sum(
        row.need is not Need.OLD and (row.need is not Need.NONE or row.lineage_id in covered) for row in everything
    )


def _covered(row: Row, covered: Iterable[int | None]) -> Row:
    """A row of which the old one's says all: it is in order itself, and has merely not arrived."""
    is_said = row.need is Need.BROKEN and row.stage is Stage.FINE and row.lineage_id in covered
    return replace(row, need=Need.NONE, is_now=False) if is_said and row.lineage_id is not None else row


def _told_before(connection: Connection, crossings: Sequence[Any]) -> tuple[Hearer, ...]:
    ids = [crossing.id for crossing in crossings if crossing.id is not None]
    found = reading.told_of(connection, ids) if ids else ()
    return tuple(Hearer(row.recipient, row.step, row.at) for row in found)


def _over(row: Any, changed: Mapping[int, int]) -> Over:
    since = changed.get(row.lineage_id or 0, row.stage_since)
    return Over(row.id, row.lineage_id, row.shown_as, row.not_after, since)
