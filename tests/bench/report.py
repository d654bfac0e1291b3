"""What a benchmark prints: one line a figure, with its floor, its ratio and its budget."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

console = Console(highlight=False, width=132)


@dataclass(frozen=True)
class Figure:
    """One measured figure. `budget` is an upper bound for `value`, in the same unit."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    note: str = ""
    at_least: bool = False


def heading(text: str) -> None:
    """A title above the figures that follow."""
    console.print(f"\n[bold]{text}[/]")


def show(figure: Figure) -> None:
    """Print one figure, and whether it is within its budget."""
    budget, verdict = "", ""
    if figure.budget is not None:
        holds = figure.value >= figure.budget if figure.at_least else figure.value <= figure.budget
        budget = f"{'>=' if figure.at_least else '<='} {figure.budget:g} {figure.unit}"
        verdict = "[green]within[/]" if holds else "[red]OVER[/]"
    console.print(
        f"  {figure.name:<58} {figure.value:>10,.2f} {figure.unit:<8} {budget:<16} {verdict:<8} {figure.note}"
    )


def cpu() -> float:
    """CPU seconds of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of(pid: int) -> float:
    """CPU seconds of another process so far, its threads and the children that it waited for included."""
    from pathlib import Path

    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


def cpu_per_call(function: Callable[[], object], *, calls: int, rounds: int = 5) -> float:
    """Median over rounds of the CPU seconds that one call takes."""
    found = []
    for _ in range(rounds):
        before = cpu()
        for _ in range(calls):
            function()
        found.append((cpu() - before) / calls)
    return statistics.median(found)


def wall(function: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    before = time.perf_counter()
    function()
    return time.perf_counter() - before
