"""What needs a person now, of everything there is, in the order in which letters say it.

Candidates are found along indexes, so many of each kind at most: the stages in which something is wrong, what ends
first; what alarms although its stage does not; what fails to be renewed or brought. Each is then judged by the very
rules that letters are written by (`renewers/reports/weighing.py`), so that page and letter say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.models import RevocationList
from renewers.answering import acknowledged
from renewers.inventory.ownership import owners_of
from renewers.lifecycle import Lifecycle
from renewers.mailing import silence
from renewers.models import Alarm, Destination, Event, Lineage, Owner, Snapshot, Tracked, Work
from renewers.overview import tallies
from renewers.overview.browsing import IS_SIGNING
from renewers.overview.kept import Kept
from renewers.reports import reading, weighing
from renewers.reports.reading import Known
from renewers.reports.rows import Need, Row
from renewers.telling.events import SEVERITIES
from renewers.timing import judging
from renewers.timing.lead_time import DAY, Stage

EACH = 25
"""How many candidates of each kind are judged."""
SHOWN = 20
"""How many rows of one section, and alarms of one severity, are shown."""
LOOKED_AT = 5000
"""How many of the newest events are looked through for the end of the last alarm."""
WORST_FIRST = tuple(reversed(SEVERITIES))
FAILING = ("delivery-failing", "renewal-failing", "renewal-stopped")


@dataclass(frozen=True, slots=True)
class Needed:
    """One row that needs somebody, and who answers for it."""

    row: Row
    owner: str | None
    is_orphan: bool


@dataclass(frozen=True, slots=True)
class Section:
    """What people must do the same about, the most pressing first; `more` are not shown, if there are more."""

    need: Need
    rows: tuple[Needed, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Now:
    """What needs a person, and how lately all of this was looked at."""

    sections: tuple[Section, ...]
    resting: tuple[Needed, ...]
    """What somebody takes care of until a day."""
    alarms: tuple[tuple[Alarm, str | None], ...]
    """The others, the worst first, each with its owner."""
    counts: Mapping[str, int]
    """Alarms by severity, the worst first."""
    quiet_since: int | None
    """When the last alarm ended; None while one stands, and if that was too long ago to be known."""
    tallies: Kept | None
    last_mail_run: int | None
    last_list: int | None
    """When the oldest of the newest CRLs was signed."""
    lists_end: int | None
    """When the first of them stops being good."""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing at all needs anybody."""
        return not self.sections and not self.counts


def now(lifecycle: Lifecycle, caller: Caller) -> Now:
    """What needs a person at this moment."""
    caller.must(Operation.READ_INVENTORY)
    at = clock.timestamp()
    with lifecycle.store.read(snapshot=True) as connection:
        weighed, said = _weighed(lifecycle, connection, _candidates(connection), at)
        counts = _counts(connection)
        mail = connection.execute(select(col(Snapshot.at)).where(col(Snapshot.name) == silence.RUN)).scalar()
        lists = select(func.min(col(RevocationList.this_update)), func.min(col(RevocationList.next_update)))
        signed, ends = connection.execute(lists.where(col(RevocationList.number) > 0)).one()
        return Now(
            sections=tuple(_sections(connection, weighed)),
            resting=_owned(connection, [pair for pair in weighed if pair[1].is_resting][:SHOWN]),
            alarms=tuple(_alarms(connection, counts, said)),
            counts=counts,
            quiet_since=None if counts else _quiet_since(connection),
            tallies=tallies.find(connection),
            last_mail_run=mail,
            last_list=signed,
            lists_end=ends,
        )


def _candidates(connection: Connection) -> list[tuple[Any, bool]]:
    """Rows that may need somebody, each once, and whether they are over and merely still served."""
    found: dict[int, tuple[Any, bool]] = {}

    def take(rows: Iterable[Any], *, is_over: bool = False) -> None:
        for row in rows:
            over = is_over and row.stage in (Stage.REPLACED, Stage.ENDED)
            if over or row.stage not in (Stage.REPLACED, Stage.ENDED):
                found.setdefault(row.id, (row, over))

    ends, alive = (col(Tracked.not_after), col(Tracked.id)), col(Tracked.replaced_by).is_(None)
    for stage in (Stage.EXPIRED, Stage.CRITICAL, Stage.URGENT, Stage.LATE):
        of_it = select(Tracked).where(col(Tracked.stage) == stage.value, alive)
        take(connection.execute(of_it.order_by(*ends).limit(EACH)))
    for stage in (Stage.EXPIRED, Stage.CRITICAL, Stage.URGENT, Stage.LATE, Stage.DUE):
        signing = select(Tracked).where(IS_SIGNING, col(Tracked.stage) == stage.value)
        take(connection.execute(signing.order_by(*ends).limit(EACH)))
    take(_expiring(connection))
    for kind in (judging.STILL_SERVED, judging.OLD_SERVED):
        take(_served(connection, kind), is_over=True)
    take(_current(connection, _failing_lineages(connection)))
    return list(found.values())


def _expiring(connection: Connection) -> Iterable[Any]:
    """What alarms since it ends, some of each severity, those that have stood longest first."""
    for severity in WORST_FIRST:
        oldest = select(Alarm).where(col(Alarm.severity) == severity).order_by(col(Alarm.since)).limit(LOOKED_AT)
        bounded = oldest.subquery()
        about = select(bounded.c.subject).where(bounded.c.kind == judging.EXPIRING).limit(EACH)
        yield from _of(connection, connection.execute(about).scalars().all())


def _served(connection: Connection, kind: str) -> Iterable[Any]:
    """What is over, and served all the same."""
    about = select(col(Alarm.subject)).where(col(Alarm.kind) == kind).limit(EACH)
    return _of(connection, connection.execute(about).scalars().all())


def _of(connection: Connection, identities: Sequence[str]) -> Sequence[Any]:
    if not identities:
        return ()
    return connection.execute(select(Tracked).where(col(Tracked.identity).in_(identities))).all()


def _failing_lineages(connection: Connection) -> set[int]:
    """Lineages that are not renewed, and those that a place does not get."""
    failing = select(col(Work.subject)).where(col(Work.kind) == "renew", col(Work.failing_since).is_not(None))
    ids = {int(subject) for subject in connection.execute(failing.limit(EACH)).scalars() if subject.isdecimal()}
    names = select(col(Alarm.subject)).where(col(Alarm.kind) == "delivery-failing").limit(EACH)
    places = connection.execute(names).scalars().all()
    of_them = select(col(Destination.lineage_id)).where(col(Destination.name).in_(places))
    return ids | set(connection.execute(of_them).scalars())


def _current(connection: Connection, lineage_ids: Iterable[int]) -> Sequence[Any]:
    query = select(Tracked).join(Lineage, col(Lineage.current_id) == col(Tracked.id))
    return connection.execute(query.where(col(Lineage.id).in_(list(lineage_ids)))).all()


def _weighed(
    lifecycle: Lifecycle, connection: Connection, candidates: Sequence[tuple[Any, bool]], at: int
) -> tuple[list[tuple[Any, Row]], set[str]]:
    """Those that do need somebody, soonest to end first; and the subjects of alarms of which that says all."""
    rows = [row for row, _ in candidates]
    known = reading.learn(connection, rows, Known())
    known.orphans = {row.id for row in rows if row.is_orphan}
    standing = acknowledged.standing(connection, [acknowledged.about_of(row) for row in rows], at)
    found, said = list[tuple[Any, Row]](), set[str]()
    for row, is_over in candidates:
        around = known.around(row, seen_since=at - DAY, is_over=is_over)
        around = replace(around, acknowledged=standing.get(acknowledged.about_of(row)))
        weighed = weighing.weigh(row, around, fraction=lifecycle.policy.fraction, at=at)
        if weighed.need is not Need.NONE:
            found.append((row, weighed))
            said |= {each.name for each in (around.lineage, around.destination) if each is not None}
    return sorted(found, key=lambda pair: (pair[1].ends, pair[1].tracked_id)), said


def _sections(connection: Connection, weighed: Sequence[tuple[Any, Row]]) -> Iterable[Section]:
    for need in Need:
        rows = [(row, judged) for row, judged in weighed if judged.need is need and not judged.is_resting]
        if rows:
            yield Section(need, _owned(connection, rows[:SHOWN]), max(0, len(rows) - SHOWN))


def _owned(connection: Connection, pairs: Sequence[tuple[Any, Row]]) -> tuple[Needed, ...]:
    """Whose these are: asked for what is shown, since the rules may have changed a moment ago."""
    answers = owners_of(connection, [row for row, _ in pairs])
    found = []
    for row, judged in pairs:
        owner = answers[row.id].owner
        found.append(Needed(judged, None if owner is None else owner.name, answers[row.id].is_orphan))
    return tuple(found)


def _counts(connection: Connection) -> Mapping[str, int]:
    query = select(col(Alarm.severity), func.count()).group_by(col(Alarm.severity))
    found = {row.severity: row[1] for row in connection.execute(query)}
    return {severity: found[severity] for severity in WORST_FIRST if severity in found}


def _alarms(connection: Connection, counts: Mapping[str, int], said: set[str]) -> Iterable[tuple[Alarm, str | None]]:
    """Alarms about what no section lists, the worst and oldest first."""
    rows: list[Any] = []
    for severity in counts:
        of_it = select(Alarm).where(col(Alarm.severity) == severity, col(Alarm.kind).not_in(judging.KINDS))
        rows += connection.execute(of_it.order_by(col(Alarm.since)).limit(3 * SHOWN)).all()
    rows = [row for row in rows if row.kind not in FAILING or row.subject not in said][:SHOWN]
    ids = {row.owner_id for row in rows if row.owner_id is not None}
    named = select(col(Owner.id), col(Owner.name)).where(col(Owner.id).in_(ids))
    names = {row.id: row.name for row in connection.execute(named)}
    return [(Alarm(**row._mapping), names.get(row.owner_id)) for row in rows]


def _quiet_since(connection: Connection) -> int | None:
    newest = connection.execute(select(func.max(col(Event.id)))).scalar() or 0
    lately = select(func.max(col(Event.at))).where(col(Event.id) > newest - LOOKED_AT)
    return connection.execute(lately.where(col(Event.kind) == "alarm-cleared")).scalar()
