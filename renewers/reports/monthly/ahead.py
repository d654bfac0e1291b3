"""The forecast of the report: 13 weeks and 12 months, as it is today and with lives of 100 and of 47 days.

Counted on the pass over what is tracked, from the current certificates of lineages that we renew; the arithmetic is
`renewers/timing/forecast.py`. What is renewed by others and what will be added are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ca import clock
from renewers.inventory.joining import RENEWED
from renewers.issuers.standing import limits_of
from renewers.lifecycle import Lifecycle
from renewers.reports.monthly.months import month_of
from renewers.reports.monthly.walking import Owned
from renewers.timing.forecast import Coming, Forecast
from renewers.timing.lead_time import DAY

LIFETIMES = (None, 100, 47)
WEEKS, MONTHS = 13, 12
DAYS = 397
"""Enough for twelve whole months after one that has begun."""


class Ahead:
    """Counts what comes due: of all, and for each issuer that has limits."""

    def __init__(self, lifecycle: Lifecycle, now: int) -> None:
        policy = lifecycle.policy
        self._now = now
        self._limits = {name: limits for name, one in lifecycle.issuers.items() if (limits := limits_of(one))}
        self._all = Coming(now=now, days=DAYS, fraction=policy.fraction)
        self._each = {name: Coming(now=now, days=DAYS, fraction=policy.fraction) for name in self._limits}
        self._usual = next(iter(policy.issuers), "")

    def add(self, row: Any, owned: Owned) -> None:
        """One more; only the current certificate of a lineage that we renew counts."""
        del owned
        if row.mode != RENEWED or row.current_id != row.id:
            return
        stretch = (row.not_before, row.not_after, f"{row.lineage_id}/{row.id}")
        self._all.add(stretch)
        if self._each:
            first = self._usual if row.issuers == "[]" else json.loads(row.issuers)[0]
            if first in self._each:
                self._each[first].add(stretch)

    def figures(self) -> dict[str, Any]:
        """As the report keeps it."""
        found = self._all.under_each(LIFETIMES)
        starts = [self._now + day * DAY for day in range(DAYS)]
        months = [str(month_of(start)) for start in starts]
        names = list(dict.fromkeys(months))[:MONTHS]
        return {
            "certificates": self._all.count,
            "start": self._now,
            "weeks": [_day(self._now + place * 7 * DAY) for place in range(WEEKS)],
            "months": names,
            "under": [_under(one, months, names) for one in found],
            "limits": [self._held(name, coming) for name, coming in self._each.items()],
        }

    def _held(self, name: str, coming: Coming) -> dict[str, Any]:
        """Which limits of one issuer would break, when first, under each lifetime."""
        limits = self._limits[name]
        under = coming.under_each(LIFETIMES, limits=limits)
        breaks = [{"lifetime": one.lifetime_days, "breaks": _first_breaks(one)} for one in under]
        judged = [limit.name for limit in limits if limit.name not in under[0].unjudged]
        return {
            "issuer": name,
            "certificates": coming.count,
            "judged": judged,
            "unjudged": list(under[0].unjudged),
            "under": breaks,
        }


def _under(one: Forecast, months: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    year = one.renewals[:365]
    by_month = dict.fromkeys(names, 0.0)
    for month, count in zip(months, one.renewals, strict=True):
        if month in by_month:
            by_month[month] += count
    peak = max(range(len(year)), key=year.__getitem__, default=0)
    return {
        "lifetime": one.lifetime_days,
        "weeks": [round(sum(one.renewals[place * 7 : place * 7 + 7]), 1) for place in range(WEEKS)],
        "months": [round(count, 1) for count in by_month.values()],
        "a_day": round(sum(year) / len(year), 2),
        "peak": round(year[peak], 1),
        "peak_day": _day(one.start + peak * DAY),
        "smoothed_peak": round(max(one.smoothed[:365], default=0.0), 1),
    }


def _first_breaks(one: Forecast) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for broken in one.breaks:
        day = _day(one.start + broken.day * DAY)
        words = {"limit": broken.limit, "day": day, "expected": round(broken.expected, 1)}
        found.setdefault(broken.limit, {**words, "allowed": round(broken.allowed, 1)})
    return list(found.values())


def _day(moment: int) -> str:
    return f"{clock.from_timestamp(moment):%Y-%m-%d}"
