"""Whole rotations of a living mesh: 0 failed handshakes, whoever is killed meanwhile.

`python -m tests.flows.rotations [CLIENTS] [--kill]` prints what was done and how many handshakes were made.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.flows.mesh import Mesh, Place, mesh, tally, until
from tests.flows.watchman import PACE, Watch, watching

LINES = ("issuing", "root")
ROOMS = 4
"""Places of each kind that the watchman looks at: all servers, and as many clients."""


@dataclass
class Report:
    """What was done, and what came of it."""

    handshakes: int = 0
    acknowledged: int = 0
    looks: int = 0
    pairs: int = 0
    kills: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    waited: dict[str, list[str]] = field(default_factory=dict)
    """In which stages the rotation of a line waited for the silent consumer alone."""
    wrong: list[str] = field(default_factory=list)
    issuers: set[str] = field(default_factory=set)


def campaign(
    home: Path,
    *,
    clients: int = 20,
    pace: float = 0.05,
    lines: tuple[str, ...] = LINES,
    kills: tuple[str, ...] = (),
    silent: tuple[str, ...] = (),
    look_every: float = PACE,
) -> Report:
    """Rotate each line to its end under traffic.

    In the rotation of a line among `kills` the server dies at every stage; in one among `silent` there is a consumer
    that never says what it holds, until a person lets the rotation pass without it.
    """
    report = Report()
    with mesh(home, clients=clients, pace=pace) as found:
        servers = [place for place in found.places if place.protocol]
        some = [*servers, *[place for place in found.places if not place.protocol][:ROOMS]]
        certificates, trusts = [one.certificate for one in some], [one.trust for one in some]
        with watching(certificates, trusts, home / "scratch", look_every) as watch:
            until_current(found)
            for line in lines:
                begun = time.monotonic()
                waived = stubborn(found).name if line in silent else ""
                _rotate(found, line, report, kills=line in kills, waived=waived)
                report.seconds[line] = time.monotonic() - begun
            time.sleep(2)
        _close(found, watch, report)
    return report


def until_current(found: Mesh, *, but: tuple[str, ...] = (), seconds: float = 180) -> None:
    """Wait until every consumer was proved to hold the newest of everything."""

    def lacking() -> list[str]:
        rows = found.ask("GET", "/consumers?limit=200")["items"]
        return [row["name"] for row in rows if not row["is_current"] and row["name"] not in but]

    until(lambda: not lacking(), lambda: f"current: {lacking()}\n{found.said()}", seconds)


def stubborn(found: Mesh) -> Place:
    """A consumer that is brought everything and never says that it holds it."""
    place = Place("silent-1", found.home / "silent-1")
    place.home.mkdir()
    settings = {"directory": str(place.trust)}
    found.ask("POST", "/consumers", {"name": place.name, "kind": "host", "publisher": "files", "settings": settings})
    return place


def _rotate(found: Mesh, line: str, report: Report, *, kills: bool, waived: str) -> None:
    identity, seen, deadline = found.rotate(line), "", time.monotonic() + 600
    while True:
        row = found.rotation(identity)
        if row["state"] != "open":
            break
        if row["stage"] != seen:
            seen = row["stage"]
            if kills:
                found.kill()
                report.kills.append(f"{line}: {seen}")
                found.start()
        if waived and _waits_for_nobody_else(row, waived) and seen not in report.waited.get(line, ()):
            report.waited.setdefault(line, []).append(seen)
            override = {"gate": seen, "subject": waived, "reason": "it is a printer, and nobody minds"}
            found.ask("POST", f"/rotations/{identity}/override", override)
        assert time.monotonic() < deadline, f"{line} does not end: {_state(row)}\n{found.said()}"
        time.sleep(0.05)
    if row["state"] != "done":
        report.wrong.append(f"the rotation of {line} ended as {row['state']}")


def _waits_for_nobody_else(row: Mapping[str, Any], name: str) -> bool:
    return len(row["waits_for"]) == 1 and row["waits_for"][0].startswith(name)


def _state(row: Mapping[str, Any]) -> str:
    return f"{row['stage']} waits for {row['waits_for']}; {row['error']}"


def _close(found: Mesh, watch: Watch, report: Report) -> None:
    last = tally(found)
    report.handshakes, report.acknowledged, report.issuers = last.handshakes, last.acknowledged, last.seen
    report.looks, report.pairs = watch.looks, len(watch.pairs)
    report.wrong += [f"handshake: {one}" for one in last.failures]
    report.wrong += [f"refused: {one}" for one in last.refused]
    report.wrong += [f"watchman: {one}" for one in watch.wrong]


def main() -> None:
    """The full campaign."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    clients, kills = int(words[0]) if words else 20, "--kill" in sys.argv
    with tempfile.TemporaryDirectory() as home:
        report = campaign(Path(home), clients=clients, kills=LINES if kills else (), silent=("root",))
    took = ", ".join(f"{line} in {seconds:.0f} s" for line, seconds in report.seconds.items())
    print(f"rotated {took}: {report.handshakes} handshakes, {len(report.wrong)} wrong, {len(report.kills)} kill -9")
    for line, stages in report.waited.items():
        print(f"{line} waited for the silent consumer at {', '.join(stages)}, until it was waived in writing")
    print(f"{report.looks} looks at {report.pairs} pairs by OpenSSL, GnuTLS and Python; {report.acknowledged} reports")
    print(f"servers were seen with certificates of {', '.join(sorted(report.issuers))}")
    for one in report.wrong[:20]:
        print(one)
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
