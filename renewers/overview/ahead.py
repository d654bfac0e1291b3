"""The forecast under shorter lifetimes, and the limits of CAs that it would break, worked out by a beat.

What it says is `renewers/timing/outlook.py`; this keeps it ready, since it goes through every lineage.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlmodel import col

from ca.access import Caller, Role
from ca.store.lease import leased
from renewers.issuers.standing import limits_of
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage
from renewers.overview import kept
from renewers.overview.kept import Kept
from renewers.timing import outlook
from renewers.timing.forecast import Forecast

NAME = "ahead"
LEASE = 1800
FRESH = 3000
"""Seconds for which a forecast is not made again."""
DAYS = 7 * 13
SYSTEM = Caller("system:overview", Role.AUDITOR)


def take_due(lifecycle: Lifecycle, *, is_start: bool = False) -> bool:
    """Look ahead, unless that was done within the hour; a start does not wait for a million lineages."""
    store = lifecycle.store
    if kept.is_fresh(store, NAME, FRESH) or (is_start and not kept.is_quick(store, col(Lineage.id))):
        return False
    return take(lifecycle)


def take(lifecycle: Lifecycle) -> bool:
    """Look ahead once. False while another replica does."""
    with leased(lifecycle.store, NAME, LEASE) as held:
        if held is None:
            return False
        everywhere = outlook.look_ahead(lifecycle, SYSTEM, days=DAYS)
        breaks = {
            name: [_breaks(found) for found in outlook.look_ahead(lifecycle, SYSTEM, days=DAYS, issuer=name)]
            for name, issuer in lifecycle.issuers.items()
            if limits_of(issuer)
        }
        kept.keep(lifecycle.store, NAME, {"under": [_curve(found) for found in everywhere], "breaks": breaks})
        return True


def find(connection: Connection) -> Kept | None:
    """The newest forecast."""
    return kept.find(connection, NAME)


def _curve(found: Forecast) -> dict[str, Any]:
    return {
        "lifetime": found.lifetime_days,
        "begin": found.start,
        "renewals": [round(count, 1) for count in found.renewals],
        "smoothed": [round(count, 1) for count in found.smoothed],
        "pile_ups": list(found.pile_ups),
    }


def _breaks(found: Forecast) -> dict[str, Any]:
    """Each limit with the first day that breaks it, how many do, and the worst."""
    limits: dict[str, dict[str, Any]] = {}
    for broken in found.breaks:
        known = limits.setdefault(
            broken.limit, {"first": broken.day, "days": 0, "expected": 0.0, "allowed": broken.allowed}
        )
        known["days"] += 1
        known["expected"] = max(known["expected"], round(broken.expected, 1))
    return {"lifetime": found.lifetime_days, "limits": limits, "unjudged": list(found.unjudged)}
