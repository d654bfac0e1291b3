"""Consumers as people look at them: what each needs, how it gets it, what it holds, how old that is, who says so."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest, NotFound
from renewers.distribution import holdings, latency
from renewers.distribution.holdings import Age
from renewers.distribution.latency import Percentiles
from renewers.distribution.places import shown_settings
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Holding, Owner
from renewers.plain import one_line

MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class Shown:
    """A consumer, without what is secret about it."""

    id: int
    name: str
    kind: str
    owner: str | None
    needs: Mapping[str, Any]
    publisher: str
    settings: Mapping[str, Any]
    probe: str
    identities: Sequence[str]
    has_secret: bool
    """Whether it may sign its reports with a secret of its own."""
    gates: bool
    fresh_within: int
    state: str
    failing_since: int | None
    last_error: str | None
    created_at: int
    created_by: str
    holds: Sequence[Age]
    alarms: Mapping[str, str]
    """What is wrong about it now, by its kind."""

    @property
    def is_current(self) -> bool:
        """Whether it was proved to hold the newest version of everything that it needs."""
        return all(age.held_version >= age.newest_version > 0 for age in self.holds)

    @property
    def proves_by(self) -> tuple[str, ...]:
        """The ways in which it can prove what it holds; where there is none, a person has to."""
        ways = (("report", bool(self.identities)), ("signed report", self.has_secret), ("probe", bool(self.probe)))
        return tuple(way for way, has in ways if has)


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> Shown:
    """One consumer. `NotFound` (`unknown-consumer`) if there is none of this name."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read(snapshot=True) as connection:
        row = connection.execute(select(Consumer).where(col(Consumer.name) == name)).first()
        if row is None:
            raise unknown(name)
        return _shown(connection, [row])[0]


def page(
    lifecycle: Lifecycle, caller: Caller, *, stream: str | None = None, cursor: str | None = None, limit: int = 50
) -> tuple[list[Shown], str | None]:
    """A page of consumers by name, all or those of one stream, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    statement = select(Consumer).order_by(col(Consumer.name)).limit(limit + 1)
    if stream is not None:
        of_it = select(col(Holding.consumer_id)).where(col(Holding.stream) == stream)
        statement = statement.where(col(Consumer.id).in_(of_it))
    if cursor is not None:
        statement = statement.where(col(Consumer.name) > cursor)
    with lifecycle.store.read(snapshot=True) as connection:
        rows = connection.execute(statement).all()
        shown = _shown(connection, rows[:limit])
    return shown, rows[limit - 1].name if len(rows) > limit else None


def latencies(
    lifecycle: Lifecycle, caller: Caller, *, stream: str | None = None, name: str | None = None, last: int = 1000
) -> Percentiles | None:
    """How long it took until consumers were proved to hold what was published, of one stream or consumer or both."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read() as connection:
        consumer_id = None
        if name is not None:
            consumer_id = connection.execute(select(col(Consumer.id)).where(col(Consumer.name) == name)).scalar()
            if consumer_id is None:
                raise unknown(name)
        return latency.percentiles(connection, stream=stream, consumer_id=consumer_id, last=min(last, latency.KEPT))


def unknown(name: str) -> NotFound:
    """That there is no such consumer."""
    return NotFound(
        f"there is no consumer {one_line(name, 80)!r}", code="unknown-consumer", hint="certwright consumer list"
    )


def _shown(connection: Connection, rows: Sequence[Any]) -> list[Shown]:
    if not rows:
        return []
    ages = holdings.ages(connection, [row.id for row in rows])
    ids = {row.owner_id for row in rows}
    named = select(col(Owner.id), col(Owner.name)).where(col(Owner.id).in_(ids))
    owners = {row.id: row.name for row in connection.execute(named)}
    wrong = _alarms(connection, [row.name for row in rows])
    return [_one(row, owners.get(row.owner_id), ages.get(row.id, []), wrong.get(row.name, {})) for row in rows]


def _one(row: Any, owner: str | None, ages: Sequence[Age], wrong: Mapping[str, str]) -> Shown:
    plain = ("kind", "publisher", "probe", "gates", "fresh_within", "state", "failing_since", "last_error")
    return Shown(
        id=row.id,
        name=row.name,
        owner=owner,
        needs=json.loads(row.needs),
        settings=shown_settings(json.loads(row.settings)),
        identities=tuple(json.loads(row.identities)),
        has_secret=row.sealed_secret is not None,
        created_at=row.created_at,
        created_by=row.created_by,
        holds=tuple(ages),
        alarms=wrong,
        **{name: getattr(row, name) for name in plain},
    )


def _alarms(connection: Connection, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """What is wrong about each, by the consumer's name; an alarm about one stream of it names that, too."""
    found: dict[str, dict[str, str]] = {}
    known = set(names)
    of_consumers = col(Alarm.kind).startswith("consumer-")
    for row in connection.execute(select(Alarm).where(of_consumers).order_by(col(Alarm.kind), col(Alarm.subject))):
        name = row.subject.partition("/")[0]
        if name in known:
            found.setdefault(name, {}).setdefault(row.kind, row.message)
    return found
