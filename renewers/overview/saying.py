"""Alarms that stand, the worst first, as a page shows them; and an event in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Event, Owner, Tracked
from renewers.telling.events import SEVERITIES

PAGE = 50


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
    tracked_id: int | None


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
    with lifecycle.store.read(snapshot=True) as connection:
        found = list(_page(connection, severity, kind, _read(cursor)))
        shown = [row for _, _, row in found[:PAGE]]
        owners = _by_id(connection, Owner, {row.owner_id for row in shown})
        ids = _tracked(connection, [row.subject for row in shown])
        severities, kinds = _counts(connection)
    last = found[PAGE - 1] if len(found) > PAGE else None
    return Alarms(
        rows=tuple(Standing(Alarm(**row._mapping), owners.get(row.owner_id), ids.get(row.subject)) for row in shown),
        next=None if last is None else f"{last[0]}:{last[1]}",
        severities=severities,
        kinds=kinds,
    )


def _page(
    connection: Connection, severity: str | None, kind: str | None, place: tuple[int, int] | None
) -> Iterator[tuple[int, int, Any]]:
    """One row more than a page has, each with the rank of its severity and its number there."""
    left = PAGE + 1
    for name in reversed(SEVERITIES) if severity is None else (severity,):
        rank = SEVERITIES.index(name)
        if place is not None and rank > place[0]:
            continue
        query = select(Alarm).where(col(Alarm.severity) == name)
        query = query if kind is None else query.where(col(Alarm.kind) == kind)
        skip = place[1] if place is not None and rank == place[0] else 0
        ordered = query.order_by(col(Alarm.since), col(Alarm.kind), col(Alarm.subject)).offset(skip).limit(left)
        for number, row in enumerate(connection.execute(ordered).all(), skip + 1):
            left -= 1
            yield rank, number, row
        if left <= 0:
            return


def _counts(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    """How many there are by severity, and by kind."""
    groups = (col(Alarm.severity), col(Alarm.kind))
    severities, kinds = Counter[str](), Counter[str]()
    for severity, kind, count in connection.execute(select(*groups, func.count()).group_by(*groups)):
        severities[severity] += count
        kinds[kind] += count
    return dict(severities), dict(sorted(kinds.items()))


def told(lifecycle: Lifecycle, events: Sequence[Event]) -> list[Told]:
    """Events as sentences, each with the number of the tracked thing that it is about, if that is one."""
    with lifecycle.store.read() as connection:
        ids = _tracked(connection, [event.subject for event in events])
    return [_told(event, ids) for event in events]


def _told(event: Event, ids: Mapping[str, int]) -> Told:
    said = json.loads(event.body)
    message = said.get("message") if isinstance(said.get("message"), str) else event.kind
    named = (event.id or 0, event.at, event.kind, event.subject, event.severity)
    return Told(*named, str(message), ids.get(event.subject))


def _tracked(connection: Connection, identities: Sequence[str]) -> dict[str, int]:
    query = select(col(Tracked.identity), col(Tracked.id)).where(col(Tracked.identity).in_(identities))
    return {row.identity: row.id for row in connection.execute(query)}


def _by_id(connection: Connection, table: Any, ids: set[int | None]) -> dict[int | None, str]:
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
