"""Discovery from beginning to end: read the targets, scan, record, and write in the ledger who had it done.

The certificates that it finds are tracked; what answers is kept as an endpoint and looked at again from then on
(`looks.py`). What never answered is counted and forgotten. Results are written in small transactions, so that what was
found is kept when the scan is ended early.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import NotDelivered, NotFound
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.discovery import observing, record, trouble
from renewers.discovery.observing import Observation
from renewers.discovery.recorder import BATCH, Recorder
from renewers.discovery.scan import Seen, Unseen, scan
from renewers.discovery.targets import MOST, Targets, parse
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint, Sighting
from renewers.plain import one_line
from renewers.telling import alarms


@dataclass(frozen=True, slots=True)
class Pace:
    """How much of a burden a scan may be; see `scan`."""

    sockets: int = 200
    per_host: int = 2
    timeout: float = 3.0
    a_second: float = 500.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is, told after each endpoint: how many there are, how many are done, how many were seen."""

    total: int
    done: int
    seen: int
    place: str
    problem: str | None
    """Why nothing was seen at `place`."""


def discover(
    lifecycle: Lifecycle,
    caller: Caller,
    targets_text: str,
    *,
    owner_id: int | None = None,
    most: int = MOST,
    pace: Pace | None = None,
) -> Iterator[Progress]:
    """Scan what the text names (`targets.parse`) and record what is there. It runs while it is iterated over."""
    caller.must(Operation.MANAGE_INVENTORY)
    targets = parse(targets_text, most=most)
    scanning = _Scan(Recorder(lifecycle, caller.identity, owner_id), one_line(targets_text, 200))
    return scanning.run(targets, pace or Pace())


def forget(lifecycle: Lifecycle, caller: Caller, place: str) -> None:
    """Look no longer at an endpoint, and forget what was seen there; the certificates stay tracked."""
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> None:
        at = col(Endpoint.place) == record.stored(place)
        row = tx.execute(select(Endpoint).where(at).with_for_update()).first()
        if row is None:
            raise NotFound(f"there is no endpoint {one_line(place, 200)!r}")
        work.cancel(tx, "look", str(row.id))
        for kind in (trouble.UNREACHABLE, trouble.NOT_ISSUED):
            alarms.clear_alarm(tx, kind, row.place)
        tx.execute(delete(Sighting).where(col(Sighting.endpoint_id) == row.id))
        tx.execute(delete(Endpoint).where(col(Endpoint.id) == row.id))
        log.append(tx, "endpoint-forgotten", one_line(place), caller.identity)

    lifecycle.store.write(unit)


@dataclass(slots=True)
class _Scan:
    """One scan: what it is called in the ledger, and what it has come to so far."""

    recorder: Recorder
    subject: str
    counts: Counter[str] = field(default_factory=Counter)
    waiting: list[Seen | Unseen] = field(default_factory=list)

    def run(self, targets: Targets, pace: Pace) -> Iterator[Progress]:
        """Scan and record; whatever ends it, what was found until then is kept, and the ledger says how far it came."""
        self.recorder.say("scan-started", self.subject, total=targets.total)
        found = scan(
            targets,
            sockets=pace.sockets,
            per_host=pace.per_host,
            timeout=pace.timeout,
            a_second=pace.a_second,
        )
        done = 0
        try:
            for done, result in enumerate(found, start=1):
                problem = self._take(result)
                yield Progress(targets.total, done, self.counts["seen"], result.target.place, problem)
        finally:
            found.close()
            self._write()
            self.recorder.lifecycle.count("scans")
            self.recorder.say("scan-finished", self.subject, total=targets.total, done=done, **self.counts)

    def _take(self, result: Seen | Unseen) -> str | None:
        self.waiting.append(result)
        if len(self.waiting) >= BATCH:
            self._write()
        if isinstance(result, Seen):
            self.counts["seen"] += 1
            return None
        self.counts[result.code] += 1
        return result.reason

    def _write(self) -> None:
        results, self.waiting = self.waiting, []
        self.counts["unrecorded"] += self.recorder.write(*self._read(results))

    def _read(self, results: Sequence[Seen | Unseen]) -> tuple[list[Observation], list[tuple[str, str]]]:
        observations, problems = [], []
        for result in results:
            try:
                if isinstance(result, Unseen):
                    raise NotDelivered(result.reason)
                observations.append(observing.read(result.target, result.presented))
            except NotDelivered as error:
                problems.append((result.target.place, error.message))
        return observations, problems
