"""`python -m tests.flows.worlds [CERTIFICATES [DAYS]]`: the simulated years, half of the certificates on each core.

A module apart from `tests/flows/years.py`, since the processes that are started run this one's top again.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from typing import Any

from tests.flows import letterbox, years
from tests.flows.years import Report


def main(arguments: list[str]) -> int:
    """Run it, print what became of it."""
    count, days = (*map(int, arguments), *(10_000, 730)[len(arguments) :])
    worlds = max(1, min(os.cpu_count() or 1, count))
    before, whole = time.perf_counter(), Report(0, days)
    parts = [(len(part), days, part.start) for part in _cut(count, worlds)]
    with multiprocessing.get_context("spawn").Pool(worlds) as pool:
        for report in pool.starmap(years.simulate, parts):
            whole.add(report)
    seconds = time.perf_counter() - before
    print(
        f"{whole.lineages:,} certificates over {days} days in {seconds:,.0f} s, on {worlds} cores: "
        f"{whole.renewed:,} renewals, {whole.attempts:,} attempts, {whole.broken} lineages that never validated again"
    )
    print(f"  {letterbox.summary(whole.letters)}")
    for what in ("untold", "repeated", "stuck"):
        missed: list[str] = getattr(whole.letters, what)
        print(f"  {what:<12} {len(missed):,} {missed[:3] if missed else ''}")
    for what in ("expired", "unannounced", "twice", "early"):
        found: list[Any] = getattr(whole, what)
        print(f"  {what:<12} {len(found):,} {found[:3] if found else ''}")
    return 0 if whole.is_sound else 1


def _cut(count: int, parts: int) -> list[range]:
    """`count` places in so many runs."""
    return [range(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
