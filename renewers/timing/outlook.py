"""The forecast of this installation: what `forecast.py` computes, from the certificates that are really there.

Counted are the current certificates of lineages that we renew; or with `everything` of all of them, for whoever wants
to know what taking them over would bring. The tables are read in pages, by the way of their keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, NotFound
from ca.store import Store
from renewers.inventory.joining import RENEWED
from renewers.issuers.budget import Limit
from renewers.issuers.standing import limits_of
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Tracked
from renewers.timing import forecast
from renewers.timing.forecast import Forecast, Stretch

PAGE = 5000
MOST_DAYS, MOST_LIFETIMES = 400, 8


def look_ahead(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    lifetimes: Sequence[int | None] = forecast.LIFETIMES,
    days: int = 90,
    issuer: str | None = None,
    everything: bool = False,
) -> tuple[Forecast, ...]:
    """One forecast for each longest lifetime, in days; None is as it is today. `issuer`: only what is its to sign."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= days <= MOST_DAYS:
        raise BadRequest(f"days are not between 1 and {MOST_DAYS}", code="bad-days")
    if not 0 < len(lifetimes) <= MOST_LIFETIMES or any(one is not None and not 1 <= one <= 3650 for one in lifetimes):
        raise BadRequest(
            f"a forecast looks at 1 to {MOST_LIFETIMES} lifetimes, each of 1 to 3650 days", code="bad-lifetimes"
        )
    limits: Sequence[Limit] = ()
    if issuer is not None:
        if issuer not in lifecycle.issuers:
            hint = ", ".join(lifecycle.issuers)
            raise NotFound(f"there is no issuer {issuer[:60]!r}", code="unknown-issuer", hint=hint)
        limits = limits_of(lifecycle.issuers[issuer])
    policy = lifecycle.policy
    return forecast.under_each(
        _stretches(lifecycle.store, issuer, policy.issuers, everything=everything),
        now=clock.timestamp(),
        days=days,
        lifetimes=lifetimes,
        fraction=policy.fraction,
        limits=limits,
    )


def _stretches(store: Store, issuer: str | None, usual: Sequence[str], *, everything: bool) -> Iterator[Stretch]:
    """Every current certificate of a lineage, and the seed of its jitter, page after page."""
    found: tuple[Any, ...] = (col(Tracked.id).label("tracked_id"), col(Tracked.not_before), col(Tracked.not_after))
    current = select(col(Lineage.id), col(Lineage.issuers), *found)
    current = current.join(Tracked, col(Tracked.id) == col(Lineage.current_id))
    if not everything:
        current = current.where(col(Lineage.mode) == RENEWED)
    cursor = 0
    while True:
        with store.read() as connection:
            rows = connection.execute(
                current.where(col(Lineage.id) > cursor).order_by(col(Lineage.id)).limit(PAGE)
            ).all()
        for row in rows:
            if issuer is None or issuer == next(iter(json.loads(row.issuers) or usual), None):
                yield row.not_before, row.not_after, f"{row.id}/{row.tracked_id}"
        if len(rows) < PAGE:
            return
        cursor = rows[-1].id
