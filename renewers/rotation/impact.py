"""What breaks if a CA is distrusted now: what is alive beneath it, whose it is, where it is seen, where it is brought.

Counts are made by the database; of what is listed, a page is read at a time. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca import clock, crossing
from ca.access import Caller, Operation
from ca.errors import BadRequest
from ca.models import Authority, Certificate
from renewers.inventory.ownership import owners_of
from renewers.lifecycle import Lifecycle
from renewers.models import Destination, Endpoint, Tracked
from renewers.rotation import evidence, leaves, underway
from renewers.rotation.underway import Stage

MAX_PAGE = 500
OWNERS_AMONG = 2000
"""Of how many leaves the owners are looked up for the counts: to know whose one is costs several queries."""
SHOWN = 20
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Impact:
    """What hangs on some CAs."""

    authorities: tuple[str, ...]
    leaves: int
    by_profile: Mapping[str, int]
    by_owner: Mapping[str, int]
    """Among the first `OWNERS_AMONG`; "nobody" for what has none."""
    first: tuple[str, ...]
    last_end: int | None
    """When the longest-lived of them ends."""
    endpoints: int
    endpoints_first: tuple[str, ...]
    destinations: int
    destinations_first: tuple[str, ...]
    unready: tuple[str, ...]
    """Consumers that were not proved to hold what follows these CAs: all of them, while nothing follows."""


@dataclass(frozen=True, slots=True)
class Affected:
    """One live leaf, whose it is and where it was seen."""

    serial: str
    shown_as: str
    profile: str
    owner: str | None
    not_after: int
    places: tuple[str, ...]


def weigh(lifecycle: Lifecycle, caller: Caller, names: Sequence[str]) -> Impact:
    """What breaks if these CAs, with everything beneath them, are distrusted now."""
    caller.must(Operation.READ_INVENTORY, Operation.MANAGE_AUTHORITIES)
    rows = _with_beneath(lifecycle, names)
    issuers = leaves.issuers_of(rows)
    with lifecycle.store.read(snapshot=True) as connection:
        profiles, last_end = _by_profile(connection, issuers)
        some = connection.execute(_leaves(issuers, 0, OWNERS_AMONG)).all()
        owners = owners_of(connection, some)
        endpoints, places = _endpoints(connection, issuers)
        destinations, targets = _destinations(connection, issuers)
    counts: dict[str, int] = {}
    for row in some:
        owner = owners[row.id].owner
        name = "nobody" if owner is None else owner.name
        counts[name] = counts.get(name, 0) + 1
    return Impact(
        authorities=tuple(row.name for row in rows),
        leaves=sum(profiles.values()),
        by_profile=profiles,
        by_owner=counts,
        first=tuple(row.shown_as for row in some[:SHOWN]),
        last_end=last_end,
        endpoints=endpoints,
        endpoints_first=places,
        destinations=destinations,
        destinations_first=targets,
        unready=_unready(lifecycle, rows),
    )


def page(
    lifecycle: Lifecycle, caller: Caller, names: Sequence[str], *, cursor: int = 0, limit: int = 50
) -> tuple[list[Affected], int | None]:
    """A page of the live leaves beneath some CAs, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    issuers = leaves.issuers_of(_with_beneath(lifecycle, names))
    with lifecycle.store.read(snapshot=True) as connection:
        rows = connection.execute(_leaves(issuers, cursor, limit + 1)).all()
        shown = rows[:limit]
        owners = owners_of(connection, shown)
        places = _places(connection, [row.id for row in shown])
    found = []
    for row in shown:
        owner = owners[row.id].owner
        name = None if owner is None else owner.name
        seen = tuple(places.get(row.id, ()))
        found.append(Affected(row.serial, row.shown_as, row.profile or UNKNOWN, name, row.not_after, seen))
    return found, rows[limit - 1].id if len(rows) > limit else None


def longest_leaf(lifecycle: Lifecycle, line: str) -> int:
    """For how many seconds what a line issues may live: as long as a profile lets a leaf, or usually makes a CA."""
    profiles = [each for each in lifecycle.installation.profiles if each.config.issuer == line]
    profiles = [each for each in profiles if each.name != crossing.PROFILE]  # lives as long as the root that it is for
    return max((each.lifetime if each.config.kind == "authority" else each.longest for each in profiles), default=0)


def _with_beneath(lifecycle: Lifecycle, names: Sequence[str]) -> list[Authority]:
    authorities = lifecycle.installation.authorities
    named = {authorities.get(name).id for name in names}
    return [
        row
        for row in authorities.all()
        if row.id in named or named & {above.id for above in authorities.ancestors(row)}
    ]


def _unready(lifecycle: Lifecycle, rows: Sequence[Authority]) -> tuple[str, ...]:
    """Who was not proved to hold what a rotation has introduced for them."""
    names = {row.name for row in rows}
    with lifecycle.store.read() as connection:
        about = [one for one in underway.load_open(connection) if names & set(one.outgoing) and not one.is_reverting]
    versions = about[0].versions(Stage.INTRODUCE) if about else {}
    found = sorted(evidence.lacking(lifecycle, versions)) if versions else evidence.gating_names(lifecycle, SHOWN)
    return tuple(found[:SHOWN])


def _leaves(issuers: Sequence[str], after: int, limit: int) -> Any:
    query = leaves.joined(Tracked, col(Certificate.profile)).where(
        leaves.is_alive(issuers, clock.timestamp()), col(Tracked.id) > after
    )
    return query.order_by(col(Tracked.id)).limit(limit)


def _by_profile(connection: Connection, issuers: Sequence[str]) -> tuple[dict[str, int], int | None]:
    columns = (col(Certificate.profile), func.count(), func.max(col(Tracked.not_after)))
    query = leaves.joined(*columns).where(leaves.is_alive(issuers, clock.timestamp()))
    rows = connection.execute(query.group_by(col(Certificate.profile))).all()
    return {name or UNKNOWN: count for name, count, _ in rows}, max((end for _, _, end in rows), default=None)


def _endpoints(connection: Connection, issuers: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    query = select(func.count()).select_from(Endpoint).join(Tracked, col(Tracked.id) == col(Endpoint.tracked_id))
    alive = col(Tracked.issuer).in_(issuers), col(Tracked.not_after) >= clock.timestamp()
    return connection.execute(query.where(*alive)).scalar_one(), tuple(leaves.still_served(connection, issuers, SHOWN))


def _destinations(connection: Connection, issuers: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    query = (
        select(func.count()).select_from(Destination).join(Tracked, col(Tracked.id) == col(Destination.delivered_id))
    )
    alive = col(Tracked.issuer).in_(issuers), col(Tracked.not_after) >= clock.timestamp()
    return connection.execute(query.where(*alive)).scalar_one(), tuple(leaves.undelivered(connection, issuers, SHOWN))


def _places(connection: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    query = select(col(Endpoint.tracked_id), col(Endpoint.place)).where(col(Endpoint.tracked_id).in_(ids))
    for tracked_id, place in connection.execute(query.order_by(col(Endpoint.place))):
        if tracked_id is not None:
            found.setdefault(tracked_id, []).append(place)
    return found
