"""Gathering all figures of a month: once over what is tracked, once over what was renewed, and some short looks.

What is counted of a moment (who owns what, which keys there are, what comes) is as of when it is gathered, and is only
gathered while that says something about the month's end; what happened is counted from what is kept of it. The result
is JSON: `snapshots.py` keeps it, `chapters.py` says it.
"""

from __future__ import annotations

from typing import Any

from ca import clock
from renewers.lifecycle import Lifecycle
from renewers.reports.monthly import keys, notice, renewed, trust, walking
from renewers.reports.monthly.ahead import Ahead
from renewers.reports.monthly.keys import Keys
from renewers.reports.monthly.months import Month
from renewers.reports.monthly.owned import Ownership
from renewers.reports.monthly.readiness import Readiness
from renewers.reports.monthly.renewed import Renewals
from renewers.reports.monthly.signers import Signers
from renewers.reports.monthly.trust import Milestones

FORMAT = 1
"""Grows with every change that makes older figures read otherwise."""


def gather(lifecycle: Lifecycle, month: Month) -> dict[str, Any]:
    """The figures of a month as they are known now. What is not known is None, or is not there."""
    now = clock.timestamp()
    return {
        "format": FORMAT,
        "month": str(month),
        "from": month.start,
        "until": min(month.end, now),
        "taken_at": now,
        "is_over": now >= month.end,
        "trust_domain": lifecycle.trust_domain,
        "moment": moment(lifecycle, now) if _says_something(month, now) else None,
        **happened(lifecycle, month, now),
    }


def moment(lifecycle: Lifecycle, now: int) -> dict[str, Any]:
    """What is counted of a moment, on one pass over what is tracked."""
    fraction = lifecycle.policy.fraction
    found_keys, ownership, signers = Keys(lifecycle), Ownership(now), Signers()
    readiness, ahead, milestones = Readiness(lifecycle), Ahead(lifecycle, now), Milestones(now, fraction)
    counted = walking.walk(lifecycle.store, (found_keys, ownership, signers, readiness, ahead, milestones))
    return {
        "tracked": counted,
        "ownership": ownership.figures(lifecycle.store),
        "keys": {**found_keys.figures(), **keys.reuse(lifecycle.store, now)},
        "signers": signers.figures(lifecycle),
        "readiness": readiness.figures(),
        "forecast": ahead.figures(),
        "milestones": milestones.figures(),
    }


def happened(lifecycle: Lifecycle, month: Month, now: int) -> dict[str, Any]:
    """What happened in a month."""
    renewals = Renewals(month, lifecycle.policy.fraction)
    renewals.gather(lifecycle.store)
    return {
        "renewals": renewals.figures(),
        "tries": renewed.tries(lifecycle.store, month),
        "deliveries": renewed.deliveries(lifecycle.store, month),
        "expiries": notice.expiries(lifecycle, month),
        "revocations": trust.revocations(lifecycle.store, month),
        "changes": trust.changes(lifecycle, month),
        "head": trust.head(lifecycle, month, now + 1),
    }


def _says_something(month: Month, now: int) -> bool:
    """A month later, what there is says nothing about what there was."""
    return now < month.after.end
