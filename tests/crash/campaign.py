"""Kill a worker with -9 again and again, at random moments and at every step, and let the judge look each time.

    python -m tests.crash.campaign CYCLES [--url URL] [--seed N]

Without a URL the database is SQLite in a temporary directory. Prints a table, and stops at the first thing that is
wrong, leaving the directory as it is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.judge import Judge
from tests.crash.worker import STEPS

ROOT = Path(__file__).parent.parent.parent
START_LIMIT = 5.0
"""Seconds from the start of a process to its first answer, recovery included."""
MUCH_LONGER = 10
"""Where a start takes seconds anyway: how many times as long as the quickest one it may take."""


@dataclass
class Life:
    """One process: what it said, and how long it took to its first answer."""

    lines: list[str] = field(default_factory=list)
    seconds_to_answer: float | None = None


@dataclass
class Campaign:
    """One database, its judge, and the processes that live and die over it."""

    url: str
    home: Path
    chance: random.Random
    judge: Judge = field(init=False)
    starts: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.judge = Judge(self.url, self.home)

    def kill_at_random(self, cycle: int) -> Counter[str]:
        """Let a worker run for 20 to 400 ms, one of five from its very start, the others from their first answer."""
        delay = self.chance.uniform(0.02, 0.4)
        mode = ("threads", "tasks")[cycle % 2]
        life = self._live(mode, delay, wait_for="ready" if cycle % 5 == 4 else "issued")
        if life.seconds_to_answer is not None:
            self.starts.append(life.seconds_to_answer)
            limit = max(START_LIMIT, MUCH_LONGER * min(self.starts))
            assert life.seconds_to_answer < limit, f"{life.seconds_to_answer:.1f} s to the first answer"
        return self.judge.after_death(life.lines)

    def kill_at_every_step(self) -> dict[str, Counter[str]]:
        """Let workers end themselves, each at another step of an issuance; what each of them left."""
        argv = self._argv("breed")
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            try:
                return {step: self._kill_at(step, process) for step in STEPS}
            finally:
                process.kill()

    def _kill_at(self, step: str, breeder: subprocess.Popen[str]) -> Counter[str]:
        assert breeder.stdin is not None
        assert breeder.stdout is not None
        breeder.stdin.write(f"{step}\n")
        breeder.stdin.flush()
        lines = []
        while not (line := breeder.stdout.readline()).startswith("ended"):
            assert line, f"{step}: the workers' parent has died"
            lines.append(line)
        assert line.split() == ["ended", str(-signal.SIGKILL)], f"{step}: the worker ended by itself, {line}"
        intents, unanswered = STEPS[step]
        gained = self.judge.after_death(lines)
        assert gained["answered"] == 3, f"{step}: the worker did not get there: {lines}"
        assert len(self.judge.open_intents) == intents, f"{step}: {len(self.judge.open_intents)} intents are left"
        assert gained["recorded, not answered"] == unanswered, f"{step}: {gained}"
        assert self.judge.ask_again(step) is bool(unanswered), f"{step}: the same request got another answer"
        return gained

    def _argv(self, mode: str) -> list[str]:
        return [sys.executable, "-m", "tests.crash.worker", self.url, str(self.home), mode]

    def _live(self, mode: str, delay: float, wait_for: str) -> Life:
        """Start a worker and end it `delay` seconds after it first said a word."""
        life, heard = Life(), threading.Event()
        started = time.monotonic()
        with subprocess.Popen(self._argv(mode), stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:

            def listen() -> None:
                for line in process.stdout or ():
                    life.lines.append(line)
                    if life.seconds_to_answer is None and line.startswith("issued"):
                        life.seconds_to_answer = time.monotonic() - started
                    if line.startswith(wait_for):
                        heard.set()

            listener = threading.Thread(target=listen)
            listener.start()
            try:
                assert heard.wait(120), f"the worker never said {wait_for}: {life.lines}"
                time.sleep(delay)
                assert process.poll() is None, f"the worker ended by itself: {process.returncode}"
            finally:
                process.kill()
                listener.join()
        return life


def summary(campaign: Campaign, steps: dict[str, Counter[str]], seconds: float) -> str:
    """The table."""
    lines = [f"{'killed at step':32} {'answered':>8} {'intents left':>12} {'recorded, not answered':>22}"]
    for step, gained in steps.items():
        lines.append(
            f"{step:32} {gained['answered']:8} {gained['intents left']:12} {gained['recorded, not answered']:22}"
        )
    lines += ["", *(f"{name:24} {value:8}" for name, value in campaign.judge.totals.items())]
    if campaign.starts:
        median, largest = statistics.median(campaign.starts), max(campaign.starts)
        lines.append(f"from start to first answer: median {median:.2f} s, max {largest:.2f} s")
    lines.append(f"{len(campaign.judge.answered)} answered, none lost, none different; {seconds:.0f} s")
    return "\n".join(lines)


def main() -> None:
    """The long campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cycles", type=int)
    parser.add_argument("--url", help="an empty database; default: SQLite")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="certwright-crash-"))
    started = time.monotonic()
    campaign = Campaign(options.url or f"sqlite:///{home}/certwright.db", home, random.Random(options.seed))
    steps = campaign.kill_at_every_step()
    for cycle in range(options.cycles):
        gained = campaign.kill_at_random(cycle)
        print(f"{cycle + 1:5} {dict(gained)}", flush=True)
    campaign.judge.at_the_end()
    print(summary(campaign, steps, time.monotonic() - started))
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
