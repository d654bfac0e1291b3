"""Measured lead time: how long issuing, delivering and verifying really took, of a lineage or of all.

Read from the last renewals and their deliveries, a bounded number of them. A renewal has taken until the last of the
destinations that waited for it was first seen serving it; one that was added later, or mended later, says nothing about
it. What is measured moves milestones in `renewers/timing/lead_time`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca import clock
from renewers.models import Delivery, Destination, Renewal

OF_A_LINEAGE = 20
"""How many of its last renewals speak for a lineage."""
OF_ALL = 200
ENOUGH = 3
"""With fewer of its own, a lineage is taken for as slow as all are."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How long one step took, in seconds; None where nothing was measured."""

    samples: int
    p50: int | None
    p99: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """How long renewals took, as a whole and step by step."""

    whole: Spread
    issue: Spread
    deliver: Spread
    verify: Spread
    is_own: bool
    """Whether it is the lineage's own; else it is that of all."""

    @property
    def seconds(self) -> int | None:
        """The measured lead time: what 99 of 100 renewals did not exceed."""
        return self.whole.p99


class LeadTimes:
    """Measured lead times, each read again after a while: they move slowly, and every plan asks for one."""

    def __init__(self, keep: float = 600, most: int = 20_000) -> None:
        self._keep = keep
        self._most = most
        self._known: dict[int | None, tuple[float, int | None]] = {}

    def seconds(self, connection: Connection, lineage_id: int) -> int | None:
        """The measured lead time of a lineage, or that of all where it has too few renewals; None where nothing is."""
        return self._own(connection, lineage_id) or self._read(None, lambda: of_all(connection).seconds)

    def _own(self, connection: Connection, lineage_id: int) -> int | None:
        def read() -> int | None:
            found = own(connection, lineage_id)
            return None if found is None else found.seconds

        return self._read(lineage_id, read)

    def _read(self, which: int | None, read: Callable[[], int | None]) -> int | None:
        now = clock.monotonic()
        at, seconds = self._known.get(which, (0.0, None))
        if at + self._keep < now or not at:
            if len(self._known) >= self._most:
                self._known.clear()
            seconds = read()
            self._known[which] = now, seconds
        return seconds


def p99(connection: Connection, lineage_id: int | None = None) -> Measured:
    """The measured lead time of a lineage, or of all where it has too few renewals, or where none is given."""
    return (None if lineage_id is None else own(connection, lineage_id)) or of_all(connection)


def own(connection: Connection, lineage_id: int) -> Measured | None:
    """The measured lead time of a lineage; None where it has too few renewals."""
    last = _NEWEST.where(col(Renewal.lineage_id) == lineage_id).limit(OF_A_LINEAGE)
    found = _measure(connection, connection.execute(last).all(), is_own=True)
    return found if found.whole.samples >= ENOUGH else None


def of_all(connection: Connection) -> Measured:
    """The measured lead time of the last renewals, whichever lineages they were of."""
    return _measure(connection, connection.execute(_NEWEST.limit(OF_ALL)).all(), is_own=False)


def spread(seconds: Iterable[int]) -> Spread:
    """The median and the 99th percentile, by nearest rank: with few samples that is the longest."""
    ordered = sorted(seconds)
    count = len(ordered)
    if not count:
        return Spread(0, None, None)
    return Spread(count, ordered[(count - 1) // 2], ordered[(99 * count - 1) // 100])


_NEWEST = select(
    col(Renewal.lineage_id), col(Renewal.tracked_id), col(Renewal.started_at), col(Renewal.issued_at)
).order_by(col(Renewal.id).desc())


def _measure(connection: Connection, newest: Sequence[Any], *, is_own: bool) -> Measured:
    renewals = [row for row in newest if row.issued_at is not None]
    served = _served(connection, [row.tracked_id for row in renewals]) if renewals else {}
    issue, deliver, verify, whole = [], [], [], []
    for row in renewals:
        issue.append(max(0, row.issued_at - row.started_at))
        places = [place for place in served.get(row.tracked_id, []) if place.created_at <= row.issued_at]
        if any(place.seen_at is None for place in places):
            continue
        seen_at = max((place.seen_at for place in places), default=row.issued_at)
        whole.append(max(0, seen_at - row.started_at))
        deliver += [max(0, place.swapped_at - row.issued_at) for place in places if place.swapped_at is not None]
        verify += [max(0, place.seen_at - place.swapped_at) for place in places if place.swapped_at is not None]
    return Measured(spread(whole), spread(issue), spread(deliver), spread(verify), is_own)


def _served(connection: Connection, tracked_ids: list[int]) -> Mapping[int, list[Any]]:
    """By certificate: the destinations it was brought to, when it was first in use there, and when first seen."""
    query = (
        select(
            col(Delivery.tracked_id),
            col(Destination.created_at),
            func.min(col(Delivery.swapped_at)).label("swapped_at"),
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
