"""Alarms that stand, the worst first, as a page shows them; and an event in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Event, Owner, Tracked
from renewers.telling.events import SEVERITIES

PAGE = 50
LOOKED_AT = 5000
"""Alarms of one severity that are looked through for those of one kind."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An alarm, whose it is, and the number of the tracked thing that it is about, if that is one."""

    alarm: Alarm
    owner: str | None
    tracked_id: int | None


@dataclass(frozen=True, slots=True)
class Alarms:
    """A page, where the next one starts, and how many there are by severity and by kind."""

    rows: tuple[Standing, ...]
    next: str | None
    severities: Mapping[str, int]
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Told:
    """One event in words."""

    id: int
    at: int
    kind: str
    subject: str
    severity: str
    message: str


def alarms(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    severity: str | None = None,
    kind: str | None = None,
    cursor: str | None = None,
) -> Alarms:
    """What is wrong now: of each severity what has stood longest first."""
    caller.must(Operation.READ_INVENTORY)
    if severity is not None and severity not in SEVERITIES:
        raise BadRequest("that is not a severity", code="bad-severity", hint=", ".join(SEVERITIES))
    place = _read(cursor)
    with lifecycle.store.read(snapshot=True) as connection:
        groups = select(col(Alarm.severity), col(Alarm.kind), func.count()).group_by(
            col(Alarm.severity), col(Alarm.kind)
        )
        counts = connection.execute(groups).all()
        rows: list[Any] = []
        for name in reversed(SEVERITIES) if severity is None else (severity,):
            rank = SEVERITIES.index(name)
            if place is not None and rank > place[0]:
                continue
            query = (
                select(Alarm)
                .where(col(Alarm.severity) == name)
                .order_by(col(Alarm.since), col(Alarm.kind), col(Alarm.subject))
            )
            query = query if kind is None else query.where(col(Alarm.kind) == kind)
            skip = place[1] if place is not None and rank == place[0] else 0
            rows += [
                (rank, skip + at, row)
                for at, row in enumerate(connection.execute(query.offset(skip).limit(PAGE + 1 - len(rows))), 1)
            ]
            if len(rows) > PAGE:
                break
        shown = [row for _, _, row in rows[:PAGE]]
        owners = _by_id(connection, Owner, {row.owner_id for row in shown})
        tracked = select(col(Tracked.identity), col(Tracked.id)).where(
            col(Tracked.identity).in_([row.subject for row in shown])
        )
        ids = {row.identity: row.id for row in connection.execute(tracked)}
    severities, kinds = dict[str, int](), dict[str, int]()
    for name, of_kind, count in counts:
        severities[name] = severities.get(name, 0) + count
        kinds[of_kind] = kinds.get(of_kind, 0) + count
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    return Alarms(
        rows=tuple(Standing(Alarm(**row._mapping), owners.get(row.owner_id), ids.get(row.subject)) for row in shown),
        next=None if last is None else f"{last[0]}:{last[1]}",
        severities=severities,
        kinds=dict(sorted(kinds.items())),
    )


def told(event: Event) -> Told:
    """An event as one sentence."""
    said = json.loads(event.body)
    message = said.get("message") if isinstance(said.get("message"), str) else event.kind
    return Told(event.id or 0, event.at, event.kind, event.subject, event.severity, str(message))


def _by_id(connection: Any, table: Any, ids: set[int | None]) -> dict[int | None, str]:
    wanted = [one for one in ids if one is not None]
    query = select(col(table.id), col(table.name)).where(col(table.id).in_(wanted))
    return {row.id: row.name for row in connection.execute(query)}


def _read(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    rank, _, skip = cursor.partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in (rank, skip)) or int(rank) >= len(
        SEVERITIES
    ):
        raise BadRequest("this cursor is not one that we gave out", code="bad-cursor")
    return int(rank), int(skip)
