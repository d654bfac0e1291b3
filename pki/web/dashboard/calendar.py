"""When what ends: every day of the next thirteen weeks, and what shorter lifetimes would make of the renewals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ca import clock
from ca.access import Operation
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from renewers.overview import ahead, tallies
from renewers.overview.kept import Kept

router = routes.pages()
DAY = 86400
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Day:
    """One day: how many end on it, by who renews them; none of the counts before the figures begin."""

    at: int
    automatic: int
    manual: int
    failing: int
    href: str

    @property
    def total(self) -> int:
        """All of them."""
        return self.automatic + self.manual + self.failing


@dataclass(frozen=True, slots=True)
class Curve:
    """The renewals of the coming weeks under one longest lifetime."""

    lifetime: int | None
    weeks: tuple[tuple[str, int], ...]
    peak: float
    peak_at: int
    smoothed_peak: float
    pile_ups: tuple[int, ...]
    """The moments at which days begin that pile up."""
    breaks: tuple[dict[str, Any], ...]


@router.get("/calendar")
def calendar(request: Request) -> Response:
    """The expiry calendar and the forecast."""
    page.signed_in(request).must(Operation.READ_INVENTORY)
    with product_of(request).installation.store.read() as connection:
        counted, forecast = tallies.find(connection), ahead.find(connection)
    return page.page(
        request,
        "calendar.html",
        title="Calendar",
        weekdays=WEEKDAYS,
        weeks=[] if counted is None else _weeks(counted),
        most=0 if counted is None else max((day.total for week in _weeks(counted) for day in week if day), default=0),
        counted=counted,
        forecast=forecast,
        curves=[] if forecast is None else list(_curves(forecast)),
    )


def _weeks(counted: Kept) -> list[list[Day | None]]:
    """Weeks of seven days from Monday; None where the figures do not reach."""
    begin = counted.body["begin"]
    days = [_day(begin + place * DAY, counts) for place, counts in enumerate(counted.body["days"])]
    cells: list[Day | None] = [None] * clock.from_timestamp(begin).weekday()
    cells += days
    cells += [None] * (-len(cells) % 7)
    return [cells[start : start + 7] for start in range(0, len(cells), 7)]


def _day(at: int, counts: dict[str, int]) -> Day:
    named = f"{clock.from_timestamp(at):%Y-%m-%d}"
    automatic, manual, failing = (counts.get(name, 0) for name in ("automatic", "manual", "failing"))
    return Day(at, automatic, manual, failing, href("/inventory", on=named))


def _curves(forecast: Kept) -> Iterator[Curve]:
    for place, under in enumerate(forecast.body["under"]):
        renewals, begin = under["renewals"], under["begin"]
        peak = max(renewals, default=0.0)
        weeks = [
            (f"{clock.from_timestamp(begin + start * DAY):%d %b}", round(sum(renewals[start : start + 7])))
            for start in range(0, len(renewals), 7)
        ]
        yield Curve(
            lifetime=under["lifetime"],
            weeks=tuple(weeks),
            peak=peak,
            peak_at=begin + (renewals.index(peak) if renewals else 0) * DAY,
            smoothed_peak=max(under["smoothed"], default=0.0),
            pile_ups=tuple(begin + day * DAY for day in under["pile_ups"]),
            breaks=tuple(_breaks(forecast.body["breaks"], place, begin)),
        )


def _breaks(found: dict[str, Any], place: int, begin: int) -> Iterator[dict[str, Any]]:
    for issuer, under in found.items():
        for limit, broken in under[place]["limits"].items() if place < len(under) else ():
            yield {"issuer": issuer, "limit": limit, **broken, "first_at": begin + broken["first"] * DAY}
