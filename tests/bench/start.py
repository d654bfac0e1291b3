"""How long the command line takes to say something, and a server to answer."""

from __future__ import annotations

import statistics
import subprocess
import sys

from tests.bench.report import Figure, heading, show, wall

HELP_BUDGET = 300.0


def run(*, quick: bool) -> None:
    """Print the figures."""
    heading("Starting")
    argv = [sys.executable, "-c", "from pki.cli import main; main()", "--help"]
    bare = [sys.executable, "-c", "pass"]
    rounds = 5 if quick else 15
    times = [wall(lambda: subprocess.run(argv, check=True, capture_output=True)) for _ in range(rounds)]
    floor = [wall(lambda: subprocess.run(bare, check=True)) for _ in range(rounds)]
    show(Figure("floor: Python itself", statistics.median(floor) * 1e3, "ms"))
    show(Figure("certwright --help", statistics.median(times) * 1e3, "ms", HELP_BUDGET))
