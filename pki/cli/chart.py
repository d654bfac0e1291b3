"""A forecast drawn in a terminal: a row a week, a column a lifetime, a bar in each; beneath, what would break.

With a month or less, a row is a day. Bars of all columns have one scale, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

BLOCKS = " ▏▎▍▌▋▊▉█"
WIDTH = 8
"""Characters of the longest bar."""
DAYS = 31
"""Up to so many days, a row is a day; beyond, a week."""
NAMED = 5
"""Up to so many days are named on which renewals pile up."""


def draw(forecasts: Sequence[dict[str, Any]]) -> None:
    """Print the chart, a summary of each lifetime, and every limit that would be broken."""
    import typer

    from pki.cli.output import table

    step = 1 if len(forecasts[0]["renewals"]) <= DAYS else 7
    names = ["now" if one["lifetime_days"] is None else f"{one['lifetime_days']} d" for one in forecasts]
    columns = [summed(one["renewals"], step) for one in forecasts]
    most = max((max(column, default=0.0) for column in columns), default=0.0)
    widest = max((len(number(value)) for column in columns for value in column), default=0)
    start = datetime.strptime(forecasts[0]["start"][:10], "%Y-%m-%d")  # noqa: DTZ007 - a date, to count on from
    rows = [
        [f"{start + timedelta(days=row * step):%Y-%m-%d}", *(_cell(column[row], most, widest) for column in columns)]
        for row in range(len(columns[0]))
    ]
    table(("day" if step == 1 else "week of", *names), rows, empty="there is nothing to look ahead at")
    typer.echo("")
    summary = [_summary(name, one) for name, one in zip(names, forecasts, strict=True)]
    table(("under", "renewals", "peak a day", "if smoothed", "days that pile up", "limits broken"), summary, empty="")
    _warn(forecasts, names)


def summed(days: Sequence[float], step: int) -> list[float]:
    """The same by weeks, or whatever `step` days are; the last may be a short one."""
    return [sum(days[place : place + step]) for place in range(0, len(days), step)]


def bar(value: float, most: float, width: int = WIDTH) -> str:
    """A bar of at most `width` characters, exact to an eighth of one; what is not nothing is seen."""
    eighths = round(value / most * width * 8) if most > 0 else 0
    if value > 0:
        eighths = max(1, eighths)
    return BLOCKS[8] * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")


def number(value: float) -> str:
    """A count that is an expectation: whole from ten up."""
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _cell(value: float, most: float, widest: int) -> str:
    return f"{number(value).rjust(widest)} {bar(value, most)}".rstrip()


def _summary(name: str, one: dict[str, Any]) -> list[object]:
    smoothed = max(one["smoothed"], default=0.0)
    broken = sorted({found["limit"] for found in one["breaks"]})
    totals = [number(sum(one["renewals"])), number(one["peak"]), number(smoothed)]
    return [name, *totals, len(one["pile_ups"]) or None, broken or None]


def _warn(forecasts: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Every limit that breaks, and when first; every day on which renewals pile up. What is the same is said once."""
    from pki.cli.output import say

    under: dict[str, list[str]] = {}
    for name, one in zip(names, forecasts, strict=True):
        for text in [*_breaks(one), *_pile_ups(one)]:
            under.setdefault(text, []).append(name)
    for text, those in under.items():
        say(f"under {', '.join(those)}: {text}")
    if unjudged := sorted({limit for one in forecasts for limit in one["unjudged"]}):
        say(f"not judged, since they count apart: {', '.join(unjudged)}")


def _breaks(one: dict[str, Any]) -> list[str]:
    found: dict[str, dict[str, Any]] = {}
    for broken in one["breaks"]:
        found.setdefault(broken["limit"], broken)
    return [
        f"{limit} breaks on {first['day'][:10]}, {number(first['expected'])} where {number(first['allowed'])} may be"
        for limit, first in sorted(found.items())
    ]


def _pile_ups(one: dict[str, Any]) -> list[str]:
    days = [day[:10] for day in one["pile_ups"]]
    if not days:
        return []
    more = f" and {len(days) - NAMED} more days" if len(days) > NAMED else ""
    return [f"renewals pile up on {', '.join(days[:NAMED])}{more}"]
