"""The watch: looks at what may have changed its stage, writes that down, raises alarms and clears them.

It finds its rows by `next_look`, so that a tick costs what has become due and not what is tracked; what was missed is
caught up, since stages are thresholds that were crossed. It renews nothing and depends on nobody who does: it judges by
what is tracked and what is seen. The judgement itself is `renewers/timing/judging.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select, update
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers.inventory import answering, holds
from renewers.inventory.ownership import owners_of
from renewers.lifecycle import Lifecycle
from renewers.mailing import crossings, thresholds
from renewers.mailing.crossings import Looked
from renewers.models import Alarm, Endpoint, Lineage, Tracked, Work
from renewers.telling import alarms, events
from renewers.telling.alarms import BY
from renewers.timing import deadlines, judging, measured
from renewers.timing.judging import Circumstances, Judgement
from renewers.timing.lead_time import DAY, Stage

PAGE = 250
"""How many are looked at in one transaction: others wait for the writer no longer than that takes."""
FRESH = DAY
"""What was seen so long ago counts as being served now."""


def watch_due(lifecycle: Lifecycle, *, limit: int = 1000) -> int:
    """Look at what is due to be looked at, the longest due first; returns how many that were."""
    looked, lead_times = 0, _LeadTimes()
    while looked < limit:
        size = min(PAGE, limit - looked)
        with lifecycle.store.read() as connection:
            lead_times.learn(connection, connection.execute(_due(clock.timestamp(), size)).all())
        if not lead_times.is_waiting:
            break
        count = lifecycle.store.write(_Look(lifecycle.policy.fraction, size, lead_times))
        if not count:
            break
        looked += count
    return looked


def look_at(tx: Transaction, tracked_ids: Iterable[int]) -> None:
    """Have these looked at now: something about them has changed."""
    ids = list(tracked_ids)
    for start in range(0, len(ids), PAGE):
        these = col(Tracked.id).in_(ids[start : start + PAGE])
        tx.execute(update(Tracked).where(these).values(next_look=clock.timestamp()))


def replan(tx: Transaction, lineage_id: int) -> None:
    """Have what is alive of a lineage looked at now: who renews it, whose it is or when it is due has changed."""
    of_it = update(Tracked).where(col(Tracked.lineage_id) == lineage_id, col(Tracked.next_look).is_not(None))
    tx.execute(of_it.values(next_look=clock.timestamp()))


def _due(now: int, limit: int) -> Select[Any]:
    return select(Tracked).where(col(Tracked.next_look) <= now).order_by(col(Tracked.next_look)).limit(limit)


class _LeadTimes:
    """Measured lead times, each read once a run: of each lineage, and of all under None."""

    def __init__(self) -> None:
        self.is_waiting = False
        self._known: dict[int | None, int | None] = {}

    def learn(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Measure what is not known yet, for the lineages of these rows that we renew."""
        self.is_waiting = bool(rows)
        if rows and not self._known:
            self._known[None] = measured.of_all(connection).seconds
        for lineage in _by_id(connection, Lineage, (row.lineage_id for row in rows)).values():
            if lineage.mode == "renewed" and lineage.id not in self._known:
                own = measured.own(connection, lineage.id)
                self._known[lineage.id] = self._known[None] if own is None else own.seconds

    def of(self, lineage: Any | None) -> int | None:
        """The measured lead time of a lineage, if there is one."""
        if lineage is None or lineage.mode != "renewed":
            return None
        return self._known.get(lineage.id, self._known.get(None))


class _Look:
    """The unit that looks at one page."""

    def __init__(self, fraction: float, size: int, lead_times: _LeadTimes) -> None:
        self._fraction = fraction
        self._size = size
        self._lead_times = lead_times

    def __call__(self, tx: Transaction) -> int:
        """Judge, write down, say; returns how many there were."""
        now = clock.timestamp()
        rows = tx.execute(_due(now, self._size).with_for_update(skip_locked=True)).all()
        if not rows:
            return 0
        answering.hold(tx)
        around = _Surroundings(tx.connection, rows, now)
        standing = _standing(tx.connection, rows)
        changes, looked = [], []
        for row in rows:
            found = around.of(row, self._lead_times)
            judgement = judging.judge(row, found, fraction=self._fraction, now=now)
            alarming = standing.get(row.identity, frozenset())
            looked.append(self._looked(row, found, judgement, was_wrong=bool(alarming)))
            moved = {"to": judgement.stage, "at": judgement.since, "next": _next_look(judgement, looked[-1], now)}
            changes.append({"row": row.id, **moved, "who": found.owner_id, "orphan": found.is_orphan})
            _say(tx, row, found, judgement, alarming)
        tx.execute(_MOVE, changes)
        crossings.note(tx, looked)
        return len(rows)

    def _looked(self, row: Any, found: Circumstances, judgement: Judgement, *, was_wrong: bool) -> Looked:
        marks = deadlines.deadlines(row, found.lineage, fraction=self._fraction, measured_p99=found.measured_p99)
        return Looked(row, found.lineage, marks, judgement.troubles, bool(found.places), was_wrong)


def _next_look(judgement: Judgement, looked: Looked, now: int) -> int | None:
    """When its stage or, where somebody has to hear of it, a threshold of its owner's letters is the next to come."""
    if judgement.next_look is None or not judgement.troubles:
        return judgement.next_look
    following = thresholds.next_after(thresholds.of(looked.row, looked.lineage, looked.marks), now)
    return judgement.next_look if following is None else min(judgement.next_look, following)


_MOVE = (
    update(Tracked.__table__)  # type: ignore[attr-defined]  # SQLModel does not type it
    .where(col(Tracked.id) == bindparam("row"))
    .values(stage=bindparam("to"), stage_since=bindparam("at"), next_look=bindparam("next"))
    .values(answering_id=bindparam("who"), is_orphan=bindparam("orphan"))
)


class _Surroundings:
    """What there is to know about the rows of one page, read in a few statements."""

    def __init__(self, connection: Connection, rows: Sequence[Any], now: int) -> None:
        self._lineages = _by_id(connection, Lineage, (row.lineage_id for row in rows))
        self._renewals = _renewals(connection, [row for row in self._lineages.values() if row.mode == "renewed"])
        self._endpoints = _endpoints(connection, [row.id for row in rows])
        self._owners = owners_of(connection, rows)
        self._held = holds.since(connection, rows)
        self._fresh_from = now - FRESH

    def of(self, row: Any, lead_times: _LeadTimes) -> Circumstances:
        """What there is to know about one of them."""
        lineage = self._lineages.get(row.lineage_id)
        endpoints, ownership = self._endpoints.get(row.id, []), self._owners[row.id]
        return Circumstances(
            lineage=lineage,
            owner_id=None if ownership.owner is None else ownership.owner.id,
            is_orphan=ownership.is_orphan,
            last_seen=max((endpoint.last_seen for endpoint in endpoints), default=None),
            places=tuple(endpoint.place for endpoint in endpoints if endpoint.last_seen >= self._fresh_from),
            renewal=None if lineage is None else self._renewals.get(str(lineage.id)),
            measured_p99=lead_times.of(lineage),
            held_since=self._held.get(row.id),
        )


def _by_id(connection: Connection, table: Any, ids: Iterable[int | None]) -> Mapping[int | None, Any]:
    wanted = {found for found in ids if found is not None}
    return {row.id: row for row in connection.execute(select(table).where(col(table.id).in_(wanted)))} if wanted else {}


def _renewals(connection: Connection, lineages: Sequence[Any]) -> Mapping[str, Any]:
    """The work that renews these lineages, by its subject."""
    subjects = [str(lineage.id) for lineage in lineages]
    query = select(Work).where(col(Work.kind) == "renew", col(Work.subject).in_(subjects))
    return {row.subject: row for row in connection.execute(query)} if subjects else {}


def _endpoints(connection: Connection, tracked_ids: Sequence[int]) -> Mapping[int, list[Any]]:
    """Where these were seen last, and nothing else since."""
    found: dict[int, list[Any]] = {}
    query = select(col(Endpoint.tracked_id), col(Endpoint.place), col(Endpoint.last_seen)).where(
        col(Endpoint.tracked_id).in_(tracked_ids), col(Endpoint.last_seen).is_not(None)
    )
    for row in connection.execute(query.order_by(col(Endpoint.place))):
        found.setdefault(row.tracked_id, []).append(row)
    return found


def _standing(connection: Connection, rows: Sequence[Any]) -> Mapping[str, frozenset[str]]:
    """The alarms that stand for these, by the identity that they are about."""
    found: dict[str, frozenset[str]] = {}
    query = select(col(Alarm.kind), col(Alarm.subject)).where(
        col(Alarm.kind).in_(judging.KINDS), col(Alarm.subject).in_([row.identity for row in rows])
    )
    for row in connection.execute(query):
        found[row.subject] = found.get(row.subject, frozenset()) | {row.kind}
    return found


def _say(tx: Transaction, row: Any, found: Circumstances, judgement: Judgement, standing: frozenset[str]) -> None:
    for trouble in judgement.troubles:
        alarms.raise_alarm(tx, trouble)
    for kind in standing - {trouble.kind for trouble in judgement.troubles}:
        alarms.clear_alarm(tx, kind, row.identity)
    if judgement.stage is Stage.EXPIRED and row.stage not in (Stage.EXPIRED, Stage.ENDED):
        kind, name = deadlines.kind_of(row), judging.name_of(row)
        word = f"{kind}-expired" if kind in (deadlines.CRL, deadlines.BUNDLE) else "certificate-expired"
        details = {"not_after": row.not_after, "tracked": row.id, "places": list(found.places[:10])}
        owner = {"owner": found.owner_id}
        events.record(tx, word, row.identity, f"{name} has expired", severity="critical", **details, **owner)
        log.append(tx, word, row.identity, BY, **details)
