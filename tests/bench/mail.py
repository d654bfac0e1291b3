"""Digests for 100,000 certificates of 1,000 owners: gathered, composed and handed over, in one pass.

The floor is Python's email library alone, making messages of the same parts: whatever a letter says, it has to become
those bytes.
"""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

from ca import clock
from ca.secret import Secret
from ca.store import open_store
from renewers.duties import DUTIES
from renewers.lifecycle import Lifecycle
from renewers.mailers import Outgoing
from renewers.mailers.envelope import bytes_of, checked
from renewers.mailers.server import Server
from renewers.mailers.smtp import SmtpMailer
from renewers.mailing import opening
from renewers.runner import Runner
from tests.bench.report import Figure, cpu, cpu_of, heading, show
from tests.flows.letters import DUE, PASSWORD, USER, wired
from tests.flows.mailing import DAY, NOW, Population
from tests.mailserver import CONNECT, Wanted, serving_mail

EACH, OWNERS, FEW = 100, 1000, 100
BUDGET = 60.0
SAMPLE = 100


@dataclass(frozen=True)
class Pass:
    """What one pass took: seconds on the clock and of our CPU, and how much memory at most."""

    wall: float
    cpu: float
    mebibytes: float


class Counted:
    """A `Mailer` that makes the bytes and keeps none but a sample: what it held would be counted as ours."""

    def __init__(self) -> None:
        self.letters = self.octets = 0
        self.sample: list[EmailMessage] = []
        self._lock = threading.Lock()

    def send(self, outgoing: Outgoing) -> str:
        """Count it."""
        checked(outgoing)
        size = len(bytes_of(outgoing.message))
        with self._lock:
            self.letters, self.octets = self.letters + 1, self.octets + size
            if len(self.sample) < SAMPLE:
                self.sample.append(outgoing.message)
        return "counted"

    def close(self) -> None:
        """Nothing is held."""


def run(*, quick: bool) -> None:
    """Print the figures."""
    population = Population(FEW if quick else OWNERS, EACH)
    size = f"{population.owners:,} owners, {population.owners * EACH:,} certificates"
    heading(f"Digests of {size}: opened, gathered, composed and handed over (SQLite, one process)")
    with (
        tempfile.TemporaryDirectory(prefix="certwright-bench-") as home,
        closing(open_store(f"sqlite:///{home}/certwright.db")) as store,
    ):
        population.settle(store)
        counted = Counted()
        lifecycle = wired(store, counted)
        with at(NOW):
            for _ in range(3):
                opening.open_due(lifecycle)
        found = _pass(lifecycle, DUE, population)
        _tell(population, "in memory", found, counted.letters)
        _floor(counted, found.cpu / population.owners)
        _over_smtp(lifecycle, population, Path(home) / "mail")


def _over_smtp(lifecycle: Lifecycle, population: Population, directory: Path) -> None:
    """The same a week later, to a real server."""
    with serving_mail(directory, Wanted(user=USER, password=PASSWORD)) as server:
        place = Server("localhost", server.port, "starttls", server.ca_file, USER, Secret(PASSWORD))
        mailer = SmtpMailer(place)
        before = cpu_of(server.process.pid)
        found = _pass(replace(lifecycle, mailer=mailer), DUE + 7 * DAY, population)
        mailer.close()
        theirs = (cpu_of(server.process.pid) - before) / population.owners
        _tell(population, "to an SMTP server, in TLS", found, server.counted())
        note = f"{theirs * 1e3:.1f} ms of its CPU each"
        show(
            Figure(
                f"letters that the server took, over {server.done(CONNECT)} connections",
                population.owners / found.wall,
                "/s",
                note=note,
            )
        )


@contextmanager
def at(moment: int) -> Iterator[None]:
    """Hold the clock there."""
    with clock.pinned(datetime.fromtimestamp(moment, UTC)):
        yield


def _pass(lifecycle: Lifecycle, moment: int, population: Population) -> Pass:
    """Open what is due at a moment, and send all of it."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    runner = Runner(lifecycle, {"mail": DUTIES["mail"]})
    before, spent = time.perf_counter(), cpu()
    with at(moment):
        opened = opening.open_due(lifecycle)
        runner.drain()
    taken, spent = time.perf_counter() - before, cpu() - spent
    runner.stop()
    assert opened == population.owners, opened
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return Pass(taken, spent, int(peak[1]) / 1024)


def _tell(population: Population, how: str, found: Pass, arrived: int) -> None:
    lost = f"; {population.owners - arrived} LOST" if arrived != population.owners else ""
    budget = BUDGET if population.owners == OWNERS else None
    each = found.cpu / population.owners * 1e3
    show(
        Figure(
            f"one pass {how}", found.wall, "s", budget, f"{each:.0f} ms of CPU each, {found.mebibytes:.0f} MiB{lost}"
        )
    )


def _floor(counted: Counted, ours: float) -> None:
    """The library alone, with everything that a letter says at hand."""
    parts = [_parts(message) for message in counted.sample]
    before = cpu()
    for one in parts:
        _bare(one)
    floor = (cpu() - before) / len(parts)
    size = counted.octets / counted.letters / 1024
    show(Figure("the email library alone, of the same parts", floor * 1e3, "ms", note=f"{size:.0f} KiB a letter"))
    show(Figure("a letter from its rows, to that", ours / floor, "x"))


def _parts(message: EmailMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"headers": list(message.items())}
    for part in message.walk():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            is_text = part.get_content_maintype() == "text"
            found.setdefault(part.get_content_type(), []).append(content.decode() if is_text else content)
    return found


def _bare(parts: dict[str, Any]) -> bytes:
    message = EmailMessage(SMTP)
    for name, value in parts["headers"]:
        if name not in ("Content-Type", "MIME-Version"):
            message[name] = str(value)
    message.set_content(parts["text/plain"][0])
    message.add_alternative(parts["text/html"][0], subtype="html")
    html: Callable[..., None] = list(message.iter_parts())[1].add_related  # type: ignore[attr-defined]
    for picture in parts.get("image/png", ()):
        html(picture, "image", "png", cid="<x@y>")
    for kind in ("calendar", "csv"):
        for text in parts.get(f"text/{kind}", ()):
            message.add_attachment(text, subtype=kind, filename=kind)
    return message.as_bytes()
