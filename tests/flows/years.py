"""Two years of renewals in minutes: the product's own code and tables, with the clock, the CA and chance in our hands.

Lineages with lives of 6 to 200 days, one in ten with a destination. A tenth of all attempts fails; one lineage in
a hundred never succeeds again from some day on; the CA is away for a day, twice; the clock jumps ahead and back. At
the end: nothing expired in use that could have been renewed; whatever did expire had been announced long before. What
owners are written, and what people renew by hand, is `letterbox.py`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

from sqlalchemy import func, select
from sqlmodel import col

from ca import clock
from ca.errors import IssuerUnavailable
from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store, open_store
from ca.x509 import names
from renewers.delivering.destinations import DestinationPlan, add
from renewers.duties import DUTIES
from renewers.inventory.lineages import LineagePlan, create
from renewers.issuers import Wanted
from renewers.issuers.memory import MemoryIssuer
from renewers.lifecycle import Lifecycle, MailPolicy, Policy
from renewers.mailing import opening
from renewers.models import Event, Lineage, Renewal, Tracked, Work
from renewers.publishers import memory
from renewers.runner import Runner
from renewers.timing import watch
from tests import rig
from tests.flows.chance import chance
from tests.flows.letterbox import Found, People, Server

START = datetime(2027, 1, 4, 6, tzinfo=UTC)
DAY = 86400
LIVES = {6: 0.002, 45: 0.1, 64: 0.2, 90: 0.4, 200: 0.298}
"""Lives in days, and the part of all certificates that have such."""
OUTAGES = ((200, 201), (500, 501))
"""Days from the start when the CA does not answer."""
JUMPS = {320: 2 * DAY, 400: -DAY // 2}
"""On that day the clock jumps by so many seconds."""
STEP = 3600


def _life(place: int) -> int:
    """The life of one certificate, in days."""
    up_to = accumulate(LIVES.values())
    drawn = chance("life", place)
    return next((life for life, end in zip(LIVES, up_to, strict=True) if drawn < end), max(LIVES))


@dataclass
class Report:
    """What became of it."""

    lineages: int
    days: int
    seconds: float = 0
    renewed: int = 0
    attempts: int = 0
    expired: list[str] = field(default_factory=list)
    unannounced: list[str] = field(default_factory=list)
    broken: int = 0
    twice: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    letters: Found = field(default_factory=Found)

    def add(self, other: Report) -> None:
        """Count another world's in."""
        for name in ("lineages", "renewed", "attempts", "broken", "expired", "unannounced", "twice", "early"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.letters.add(other.letters)

    @property
    def is_sound(self) -> bool:
        """Whether every promise held."""
        found = self.letters
        mailed = not (found.untold or found.repeated or found.stuck)
        return mailed and not (self.expired or self.unannounced or self.twice or self.early)


class World:
    """A CA that fails as it is told, and the installation that renews from it."""

    def __init__(self, store: Store, places: range, days: int) -> None:
        self.store, self.places, self.days = store, places, days
        self.started = int(START.timestamp())
        self.tries: Counter[str] = Counter()
        self.renewed = [place for place in places if not People.is_manual(place)]
        self.broken = {f"www{place}.example.org" for place in self.renewed if chance("broken", place) < 0.01}
        self.breaks = {
            name: self.started + int((0.2 + 0.5 * chance("when", name)) * days * DAY) for name in self.broken
        }
        self.issuers = {f"ca-{life}": self._issuer(life) for life in LIVES}
        self.lifecycle = Lifecycle(
            installation=rig.make_installation(store, with_hierarchy=False),
            sealer=Sealer(Secret("only for the simulation"), bytes(16)),
            issuers=self.issuers,
            publishers={"memory": memory.make_memory},
            policy=Policy(workers=8, lease=600),
            mailer=(server := Server(self.started)),
            mail=MailPolicy(sender="Certwright <certwright@example.org>"),
        )
        self.people = People(self.lifecycle, server, places, self.started)
        self.runner = Runner(self.lifecycle, DUTIES)

    def _issuer(self, life: int) -> MemoryIssuer:
        return MemoryIssuer(lifetime=timedelta(days=life), trouble=self._trouble)

    def _trouble(self, wanted: Wanted) -> None:
        """A day of outage, a name that never validates again, or one attempt in ten."""
        now, name = clock.timestamp(), wanted.names[0].value
        self.tries[wanted.reference] += 1
        if any(first <= (now - self.started) / DAY < last for first, last in OUTAGES):
            raise IssuerUnavailable("the CA is away")
        if now >= self.breaks.get(name, now + 1):
            raise IssuerUnavailable(f"{name} does not validate", code="validation-failed")
        if chance(wanted.reference, self.tries[wanted.reference]) < 0.1:
            raise IssuerUnavailable("an error that passes", code="validation-failed")

    def populate(self) -> None:
        """The lineages and their destinations, spread over a week."""
        self.people.populate()
        for place in self.renewed:
            name = f"www{place}.example.org"
            life, owner = _life(place), self.people.owner_of(place)
            wanted = (names.parse(name),)
            plan = LineagePlan(name=name, names=wanted, owner=owner, issuers=(f"ca-{life}",), mode="renewed")
            create(self.lifecycle, rig.ADMIN, plan)
            if place % 10 == 0:
                where = DestinationPlan(name=name, lineage=name, publisher="memory", settings={"place": name})
                add(self.lifecycle, rig.ADMIN, where)

    def run(self) -> None:
        """Live through all of it, an hour at a time, without looking at hours in which nothing is due."""
        moment, jumped = self.started, set[int]()
        with clock.pinned(datetime.fromtimestamp(moment, UTC)):
            self.populate()
        while moment < self.started + self.days * DAY:
            with clock.pinned(datetime.fromtimestamp(moment, UTC)):
                self.runner.drain()
                while watch.watch_due(self.lifecycle):
                    continue
                if opening.open_due(self.lifecycle):
                    self.runner.drain()
                self.people.act()
                upcoming = self._next()
            day = (moment - self.started) // DAY
            moment = max(moment + STEP, min(upcoming, moment + DAY))
            for when, by in JUMPS.items():
                if day >= when and when not in jumped:
                    jumped.add(when)
                    moment += by
            yield_progress(moment - self.started, self.days * DAY)
        self.runner.stop()

    def _next(self) -> int:
        """When something is due next."""
        with self.store.read() as connection:
            work = select(func.min(col(Work.due_at))).where(col(Work.state) == "waiting")
            looks = select(func.min(col(Tracked.next_look)))
            found = [connection.execute(query).scalar() for query in (work, looks)]
        found += self.people.next_due()
        return min((each for each in found if each is not None), default=1 << 40)

    def judge(self) -> Report:
        """What held and what did not."""
        report = Report(len(self.places), self.days, attempts=sum(self.tries.values()), broken=len(self.broken))
        report.letters = self.people.judge(self.started + self.days * DAY)
        for name, lives in self._lives():
            report.renewed += len(lives)
            for before, after in pairwise(lives):
                if after[0] > before[1]:
                    report.expired.append(f"{name}: {before} {after}")
                if after[0] < before[0] + (before[1] - before[0]) * 0.3:
                    report.early.append(f"{name}: {before} {after}")
            end = lives[-1][1]
            if end < self.started + self.days * DAY - DAY:
                (self._judge_expired if name in self.broken else report.expired.append)(f"{name}")
        self._announced(report)
        with self.store.read() as connection:
            several = (
                select(col(Renewal.lineage_id)).where(col(Renewal.state) == "open").group_by(col(Renewal.lineage_id))
            )
            report.twice = [str(row) for row in connection.execute(several.having(func.count() > 1)).scalars()]
        signed = sum(issuer.count for issuer in self.issuers.values())
        if signed != report.renewed:
            report.twice.append(f"{signed} signed, {report.renewed} recorded")
        return report

    def _judge_expired(self, _name: str) -> None:
        """A broken one may expire: whether it was announced is judged for itself."""

    def _lives(self) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        """Each lineage with the lives of its certificates, in order."""
        of = (
            select(col(Lineage.name), col(Tracked.not_before), col(Tracked.not_after))
            .join(Tracked, col(Tracked.lineage_id) == col(Lineage.id))
            .where(col(Lineage.mode) == "renewed")
            .order_by(col(Lineage.id), col(Tracked.not_before), col(Tracked.id))
        )
        found: dict[str, list[tuple[int, int]]] = {}
        with self.store.read() as connection:
            for name, start, end in connection.execute(of):
                found.setdefault(name, []).append((start, end))
        yield from found.items()

    def _announced(self, report: Report) -> None:
        """Every lineage that could not be renewed was said to be failing before a quarter of its lead time was gone."""
        said: dict[str, int] = {}
        with self.store.read() as connection:
            query = select(col(Event.subject), col(Event.at)).where(col(Event.kind) == "alarm-raised")
            for subject, at in connection.execute(query.order_by(col(Event.id))):
                if at >= self.breaks.get(subject, 0):
                    said.setdefault(subject, at)
        for name, lives in self._lives():
            start, end = lives[-1]
            if name in self.broken and end < self.started + self.days * DAY:
                deadline = start + int((end - start) * 0.8)
                if said.get(name, end) > deadline:
                    report.unannounced.append(f"{name}: said at {said.get(name)}, deadline {deadline}, end {end}")


def yield_progress(done: int, of: int) -> None:
    """A line that overwrites itself, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{min(100, 100 * done // of):3d} % of {of // DAY} days ")
        sys.stderr.flush()


def simulate(count: int, days: int, first: int = 0) -> Report:
    """Live through `days` with `count` certificates, numbered from `first`, and judge."""
    before = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="certwright-years-") as home:
        store = open_store(f"sqlite:///{home}/certwright.db")
        try:
            world = World(store, range(first, first + count), days)
            world.run()
            report = world.judge()
        finally:
            store.close()
    report.seconds = time.perf_counter() - before
    return report
