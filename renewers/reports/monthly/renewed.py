"""What was renewed in a month and how that went, read from the rows that renewals and deliveries leave behind.

Renewals are counted in the month in which they were issued. Whether one went at the first try is said by its event, and
events are kept for a while only; where there are none it is said not to be known. Rows are walked backwards by their
ids, which grow as they are begun.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlmodel import col

from ca.store import Store
from renewers.inventory import shown
from renewers.models import Delivery, Destination, Event, Lineage, Renewal, Tracked
from renewers.reports.monthly.months import Month
from renewers.reports.monthly.tallying import BOUNDS, Durations, Tally
from renewers.timing.lead_time import DAY, due_by_policy

PAGE = 2000
LONGEST = 120 * DAY
"""A renewal that was begun longer than this before the month is not looked for."""
TEXT = 160
SHOWN = 20
FAILING = ("renewal-failing", "renewal-stopped")
_PLANNED = ("due", "suggested")


class Renewals:
    """The renewals that were issued in a month."""

    def __init__(self, month: Month, fraction: float) -> None:
        self._month, self._fraction = month, fraction
        self._days = [0] * month.days
        self._states: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._waited = Durations()
        self._whole: dict[tuple[str, str], Durations] = {}
        self._unserved = 0

    def gather(self, store: Store) -> None:
        """Walk them."""
        query = (
            select(*_RENEWAL)
            .outerjoin(Lineage, col(Lineage.id) == col(Renewal.lineage_id))
            .outerjoin(Tracked, col(Tracked.id) == col(Renewal.replaces_id))
            .order_by(col(Renewal.id).desc())
            .limit(PAGE)
        )
        for connection, rows in _backwards(store, query, col(Renewal.id), self._is_too_old):
            mine = [row for row in rows if row.issued_at and self._month.start <= row.issued_at < self._month.end]
            served = _served(connection, [row.tracked_id for row in mine]) if mine else {}
            for row in mine:
                self._add(row, served.get(row.tracked_id, []))

    def figures(self) -> dict[str, Any]:
        """As the report keeps it."""
        whole = Durations()
        for one in self._whole.values():
            whole.add_all(one)
        ordered = sorted(self._whole.items(), key=lambda item: (-item[1].count, item[0]))
        groups = [{"issuer": issuer, "profile": profile, **one.figures()} for (issuer, profile), one in ordered]
        return {
            "issued": sum(self._days),
            "by_day": self._days,
            "states": dict(sorted(self._states.items())),
            "reasons": dict(sorted(self._reasons.items())),
            "due_to_done": self._waited.figures(),
            "lead_time": whole.figures(),
            "lead_time_groups": groups[:SHOWN],
            "lead_time_unseen": self._unserved,
            "histogram": {"bounds": list(BOUNDS), "counts": whole.histogram()},
        }

    def _is_too_old(self, row: Any) -> bool:
        return bool(row.started_at < self._month.start - LONGEST)

    def _add(self, row: Any, places: Sequence[Any]) -> None:
        self._days[(row.issued_at - self._month.start) // DAY] += 1
        self._states[row.state] += 1
        self._reasons[row.reason] += 1
        if row.state == "done":
            self._waited.add(row.finished_at - self._due(row))
        mine = [place for place in places if place.created_at <= row.issued_at]
        if any(place.seen_at is None for place in mine):
            self._unserved += 1
            return
        key = (row.issuer, shown.line(row.profile or "", 60))
        if key not in self._whole and len(self._whole) >= 10 * SHOWN:
            key = ("others", "")
        seen_at = max((place.seen_at for place in mine), default=row.issued_at)
        self._whole.setdefault(key, Durations()).add(seen_at - row.started_at)

    def _due(self, row: Any) -> int:
        """When it was due by policy, or asked for; never after it began: a measured lead time makes it earlier."""
        if row.reason not in _PLANNED or row.not_after is None:
            return int(row.started_at)
        seed = f"{row.lineage_id}/{row.replaces_id}"
        return int(
            min(row.started_at, due_by_policy(row.not_before, row.not_after, seed=seed, fraction=self._fraction))
        )


_RENEWAL: tuple[Any, ...] = (
    *(col(Renewal.id), col(Renewal.lineage_id), col(Renewal.state), col(Renewal.reason), col(Renewal.issuer)),
    *(col(Renewal.tracked_id), col(Renewal.replaces_id), col(Renewal.started_at), col(Renewal.issued_at)),
    *(col(Renewal.finished_at), col(Lineage.profile), col(Tracked.not_before), col(Tracked.not_after)),
)


def deliveries(store: Store, month: Month) -> dict[str, Any]:
    """The attempts at bringing certificates to where they are used that were begun in a month, by what became of them.

    With how long each took until its certificate was seen, and why those failed that did.
    """
    outcomes: Counter[str] = Counter()
    took, why = Durations(), Tally()
    query = select(*_DELIVERY).order_by(col(Delivery.id).desc()).limit(PAGE)
    for _, rows in _backwards(store, query, col(Delivery.id), lambda row: row.started_at < month.start - DAY):
        for row in rows:
            if not month.start <= row.started_at < month.end:
                continue
            outcomes[row.outcome] += 1
            if row.seen_at is not None and row.outcome == "seen":
                took.add(row.seen_at - row.started_at)
            elif row.error:
                why.add(shown.line(row.error, TEXT))
    reasons, others = why.top(SHOWN)
    return {
        "attempts": outcomes.total(),
        "outcomes": dict(sorted(outcomes.items())),
        "until_seen": took.figures(),
        "reasons": [{"reason": reason, "count": count} for reason, count in reasons],
        "reasons_other": others,
    }


_DELIVERY: tuple[Any, ...] = (
    *(col(Delivery.id), col(Delivery.started_at), col(Delivery.seen_at)),
    *(col(Delivery.outcome), col(Delivery.error)),
)


def tries(store: Store, month: Month) -> dict[str, Any]:
    """How often renewals of a month were tried, and why those failed that did, as its events say."""
    found: Counter[str] = Counter()
    why = Tally()
    kinds = ("certificate-renewed", "alarm-raised")
    at, id_ = col(Event.at), col(Event.id)
    within = (at >= month.start, at < month.end, col(Event.kind).in_(kinds))
    query = select(id_, at, col(Event.kind), col(Event.subject), col(Event.body)).where(*within)
    query = query.order_by(at, id_).limit(PAGE)
    last = (month.start, 0)
    while True:
        after = (at > last[0]) | ((at == last[0]) & (id_ > last[1]))
        with store.read() as connection:
            rows = connection.execute(query.where(at >= last[0], after)).all()
        for row in rows:
            _count_try(row, json.loads(row.body), found, why)
        if len(rows) < PAGE:
            break
        last = (rows[-1].at, rows[-1].id)
    reasons, others = why.top(SHOWN)
    words = ("renewed", "first_try", "attempts", "unknown", "failing", "stopped")
    return {
        **{word: found[word] for word in words},
        "reasons": [{"reason": reason, "count": count} for reason, count in reasons],
        "reasons_other": others,
    }


def _count_try(row: Any, body: Mapping[str, Any], found: Counter[str], why: Tally) -> None:
    if row.kind == "certificate-renewed":
        found["renewed"] += 1
        attempts = body.get("attempts")
        if attempts is None:
            found["unknown"] += 1
            return
        found["attempts"] += int(attempts)
        found["first_try"] += attempts == 1 and body.get("failed_since") is None
    elif body.get("alarm") in FAILING:
        found["stopped" if body["alarm"] == FAILING[1] else "failing"] += 1
        _, said, reason = str(body.get("message", "")).partition(" cannot be renewed: ")
        why.add(shown.line(reason if said else "no reason is known", TEXT))


def _backwards(
    store: Store, query: Select[Any], key: Any, is_too_old: Callable[[Any], bool]
) -> Iterator[tuple[Connection, Sequence[Any]]]:
    """Pages from the newest row on, until one of which all are too old."""
    cursor = (1 << 62) - 1
    while True:
        with store.read() as connection:
            rows = connection.execute(query.where(key < cursor)).all()
            yield connection, rows
        if len(rows) < PAGE or all(map(is_too_old, rows)):
            return
        cursor = rows[-1].id


def _served(connection: Connection, tracked_ids: Sequence[int]) -> Mapping[int, list[Any]]:
    """By certificate: the destinations that it was brought to, and when it was first seen there."""
    query = (
        select(
            col(Delivery.tracked_id),
            col(Destination.created_at),
            func.min(col(Delivery.seen_at)).label("seen_at"),
        )
        .join(Destination, col(Destination.id) == col(Delivery.destination_id))
        .where(col(Delivery.tracked_id).in_(tracked_ids))
        .group_by(col(Delivery.tracked_id), col(Destination.id), col(Destination.created_at))
    )
    found: dict[int, list[Any]] = {}
    for row in connection.execute(query):
        found.setdefault(row.tracked_id, []).append(row)
    return found
