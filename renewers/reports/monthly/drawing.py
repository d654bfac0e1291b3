"""Where the parts of a bar chart are, for whoever draws it: pure geometry, the origin at the upper left.

The scale begins at nothing and ends at a round number, so that bars can be compared by eye; what is not nothing is
seen. `html.py` draws SVG from it, `paper_charts.py` PDF.
"""

from __future__ import annotations

from dataclasses import dataclass

from renewers.reports.monthly.blocks import Bars
from renewers.reports.monthly.wording import number

TICKS = 4
THINNEST = 0.6


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, and which series it belongs to."""

    x: float
    y: float
    width: float
    height: float
    series: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at a place along an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """All of it, within `width` and `height`; `left` is where the bars begin, `bottom` where they stand."""

    width: float
    height: float
    left: float
    bottom: float
    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    labels: tuple[Mark, ...]


def plot(bars: Bars, width: float, height: float, *, left: float, below: float, above: float) -> Plot:
    """The geometry of a chart: `left` is kept for the scale's numbers, `below` for labels, `above` for nothing."""
    bottom, count = height - below, max(1, len(bars.labels))
    most = _round_up(max((value for one in bars.series for value in one.values), default=0.0))
    slot, series = (width - left) / count, max(1, len(bars.series))
    gap = slot * (0.18 if series > 1 else 0.22)
    each = (slot - 2 * gap) / series
    found = []
    for which, one in enumerate(bars.series):
        for place, value in enumerate(one.values):
            tall = (bottom - above) * value / most
            if value > 0:
                tall = max(tall, THINNEST * (bottom - above) / 100)
                found.append(Bar(left + place * slot + gap + which * each, bottom - tall, each * 0.94, tall, which))
    steps = [most * step / TICKS for step in range(TICKS + 1)]
    ticks = tuple(Mark(bottom - (bottom - above) * step / most, number(step)) for step in steps)
    labels = tuple(
        Mark(left + (place + 0.5) * slot, label) for place, label in enumerate(bars.labels) if place % bars.every == 0
    )
    return Plot(width, height, left, bottom, tuple(found), ticks, labels)


def _round_up(most: float) -> float:
    """The next number of which a quarter is round, too."""
    if most <= 0:
        return float(TICKS)
    size = 10.0 ** (len(str(int(most))) - 1) if most >= 1 else 1.0
    return next(step * size for step in (1, 2, 4, 6, 8, 10, 12) if step * size >= most) if most > 4 else float(TICKS)
