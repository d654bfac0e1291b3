"""Endpoints as people look at them: where, what is shown there now, what is wrong with it. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest
from renewers.discovery.record import stored
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint, Tracked

MAX_PAGE = 500
LOOKED_AT = 10_000
"""Endpoints that one page goes through at most; it may be short, or empty, and still have a next one."""


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint, and of the certificate that it shows what it is shown as and when it ends."""

    endpoint: Endpoint
    shown_as: str | None
    not_after: int | None


def page(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    finding: str | None = None,
    failing: bool | None = None,
    cursor: int = 0,
    limit: int = 50,
) -> tuple[list[Place], int | None]:
    """A page in the order in which they were found, and where the next one starts. `finding`: a code, or any."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    if finding is not None and not (finding.isascii() and finding.replace("-", "").isalpha()):
        raise BadRequest("that is not a finding", code="bad-finding", hint="such as expired, wrong-name; or any")
    wanted = []
    if finding == "any":
        wanted.append(col(Endpoint.findings) != "[]")
    elif finding is not None:
        wanted.append(col(Endpoint.findings).contains(f'"{finding}"'))
    if failing is not None:
        wanted.append(col(Endpoint.failing_since).is_not(None) if failing else col(Endpoint.failing_since).is_(None))
    with lifecycle.store.read() as connection:
        beyond = select(col(Endpoint.id)).where(col(Endpoint.id) > cursor).order_by(col(Endpoint.id))
        end = connection.execute(beyond.offset(LOOKED_AT).limit(1)).scalar()
        part = [col(Endpoint.id) > cursor, *([] if end is None else [col(Endpoint.id) < end])]
        rows = connection.execute(_QUERY.where(*part, *wanted).order_by(col(Endpoint.id)).limit(limit + 1)).all()
    found = [_place(row) for row in rows[:limit]]
    if len(rows) > limit:
        return found, found[-1].endpoint.id
    return found, None if end is None else end - 1


def at(lifecycle: Lifecycle, places: Sequence[str]) -> list[Place]:
    """What is known of these places."""
    wanted = [stored(place) for place in places]
    found: list[Place] = []
    for start in range(0, len(wanted), MAX_PAGE):
        of = _QUERY.where(col(Endpoint.place).in_(wanted[start : start + MAX_PAGE])).order_by(col(Endpoint.id))
        with lifecycle.store.read() as connection:
            found += [_place(row) for row in connection.execute(of)]
    return found


_QUERY: Any = select(
    Endpoint, col(Tracked.shown_as).label("tracked_shown_as"), col(Tracked.not_after).label("tracked_not_after")
).outerjoin(Tracked, col(Tracked.id) == col(Endpoint.tracked_id))


def _place(row: Any) -> Place:
    values = {name: row._mapping[name] for name in Endpoint.model_fields}
    return Place(Endpoint(**values), row.tracked_shown_as, row.tracked_not_after)
