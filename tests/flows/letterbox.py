"""Owners through the simulated years: their mailboxes, what they do about certificates that only people renew, a judge.

A part of the lineages is manual. Their people renew soon after a letter, at the last moment, after the end, or never;
some say first that they take care of it. The mail server is away for half a day, twice, and now and then takes a
message without saying so; one mailbox dies. At the end: whatever expired or came near its end was told in time, to
somebody, in a letter that left; nobody was told the same twice.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from ca import clock
from ca.errors import Conflict, MailRefused, NotDelivered
from ca.store import Store
from renewers.answering import acknowledged
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle
from renewers.mailers import Outgoing
from renewers.mailers.envelope import bytes_of, checked
from renewers.models import Crossing, Letter, Lineage, OwnerMail, Told, Tracked
from tests import rig
from tests.flows.chance import chance
from tests.renewers import tracking

DAY, HOUR = 86400, 3600
MANUAL = 0.1
"""The part of all lineages that a person renews."""
MANUAL_LIVES = (30, 90, 200, 365)
PER_OWNER = 50
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Auckland")
AWAY = ((300.0, 300.5), (610.2, 610.7))
"""Days from the start between which the mail server takes nothing."""
FORGETS = 0.002
"""The part of all messages that are taken and not acknowledged."""
DIES = 250
"""The day on which the first owner's mailbox dies."""
ENOUGH = 0.04
"""The part of its life that has to be left when somebody is told of what will expire: 15 days of a year, 6 h of 6 d."""


@dataclass
class Found:
    """What became of the letters."""

    untold: list[str] = field(default_factory=list)
    """What expired, or came near its end, without a letter that left in time."""
    repeated: list[str] = field(default_factory=list)
    """What somebody was told twice."""
    stuck: list[str] = field(default_factory=list)
    """What somebody should have been told of, and was not, though it could be."""
    expired: int = 0
    near: int = 0
    counts: list[int] = field(default_factory=list)
    """Letters in a year, of each owner's own mailbox."""
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, other: Found) -> None:
        """Count another world's in."""
        for name in ("untold", "repeated", "stuck", "expired", "near", "counts", "kinds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Server:
    """A mail server in memory that is away at times, forgets now and then, and refuses one mailbox in the end."""

    def __init__(self, started: int) -> None:
        self._started = started
        self.messages: Counter[tuple[str, str]] = Counter()
        """How often it has taken each message, by its recipient and its Message-ID."""
        self.forgotten = 0
        self.dying = ""

    def send(self, outgoing: Outgoing) -> str:
        """Take it, or not."""
        checked(outgoing)
        day = (clock.timestamp() - self._started) / DAY
        if any(first <= day < last for first, last in AWAY):
            raise NotDelivered("the mail server is away")
        if outgoing.recipient == self.dying and day >= DIES:
            raise MailRefused("550 5.1.1 no such user")
        bytes_of(outgoing.message)
        key = (outgoing.recipient, str(outgoing.message["Message-ID"]))
        self.messages[key] += 1
        if self.messages[key] == 1 and chance("forgets", *key) < FORGETS:
            self.forgotten += 1
            raise NotDelivered("it broke off before it answered")
        return "taken"

    def close(self) -> None:
        """There is nothing to let go of."""


class People:
    """Owners and what they do; lives beside a world of renewals."""

    def __init__(self, lifecycle: Lifecycle, server: Server, places: range, started: int) -> None:
        self.lifecycle, self.server, self.places, self.started = lifecycle, server, places, started
        self.store: Store = lifecycle.store
        self.owners: list[str] = []
        self._day = -1
        self._told: dict[tuple[str, str, str], int] = {}
        self._last = 0
        self.repeated: list[str] = []

    @staticmethod
    def is_manual(place: int) -> bool:
        """Whether a person renews that one."""
        return chance("manual", place) < MANUAL

    def owner_of(self, place: int) -> str:
        """Whose that one is."""
        return self.owners[(place // PER_OWNER) % len(self.owners)]

    def populate(self) -> None:
        """The owners, each with a path, in several time zones; and what they renew by hand."""
        owners.add(self.lifecycle, rig.ADMIN, OwnerPlan("security", "security@example.org", is_fallback=True))
        for number in range(max(2, len(self.places) // PER_OWNER)):
            name, zone = f"team-{self.places.start}-{number}", ZONES[number % len(ZONES)]
            path = (f"lead-{name}@example.org", "oncall@example.org") if number % 2 else ()
            owners.add(self.lifecycle, rig.ADMIN, OwnerPlan(name, f"{name}@example.org", path, zone))
            self.owners.append(name)
        self.server.dying = f"{self.owners[0]}@example.org"
        for place in filter(self.is_manual, self.places):
            self._issue(place, self.started - int(chance("age", place) * 20 * DAY), None)

    def act(self) -> None:
        """What people do today, having read their mail."""
        day = (clock.timestamp() - self.started) // DAY
        if day == self._day:
            return
        self._day = day
        self.watch()
        for row in self._current():
            place, life = int(row.name.removeprefix("manual")), row.not_after - row.not_before
            first, now = row.first, clock.timestamp()
            habit, left = chance("habit", place), row.not_after - now
            if first is None:
                continue
            if habit < 0.55:
                is_time = now >= first + int(1 + 4 * chance("days", row.id)) * DAY
            elif habit < 0.75:
                is_time = left < min(2 * DAY, life // 20)
                if not is_time and left > 4 * DAY and chance("says", row.id) < 0.5:
                    self._take_care(row, now + left // 2)
            else:
                is_time = habit < 0.9 and left < -2 * DAY
            if is_time:
                self._issue(place, now, row)

    def watch(self) -> None:
        """Look at whom new letters told of what: an account of its own, beside the sent ledger of the product."""
        columns: tuple[Any, ...] = (col(Crossing.about), col(Crossing.threshold), col(Told.recipient), col(Letter.id))
        query = select(*columns).join(Told, col(Told.crossing_id) == col(Crossing.id))
        query = query.join(Letter, col(Letter.id) == col(Told.letter_id)).where(col(Letter.sent_at).is_not(None))
        with self.store.read() as connection:
            rows = connection.execute(query.where(col(Letter.id) > self._last - 2000)).all()
        for about, threshold, recipient, letter_id in rows:
            if self._told.setdefault((about, threshold, recipient), letter_id) != letter_id:
                self.repeated.append(f"{about} {threshold} to {recipient} in letter {letter_id}")
            self._last = max(self._last, letter_id)

    def next_due(self) -> list[int | None]:
        """When a regular letter is due next."""
        queries = [select(func.min(col(OwnerMail.digest_due))), select(func.min(col(OwnerMail.daily_due)))]
        with self.store.read() as connection:
            return [connection.execute(query).scalar() for query in queries]

    def judge(self, end: int) -> Found:
        """What held and what did not."""
        self.watch()
        found = Found(repeated=list(self.repeated))
        for (recipient, message), times in self.server.messages.items():
            if times > 2 or (times == 2 and chance("forgets", recipient, message) >= FORGETS):
                found.repeated.append(f"{recipient} got {message} {times} times")
        self._judge_told(found, end)
        self._judge_stuck(found, end)
        self._count(found, end)
        return found

    def _current(self) -> list[Any]:
        """The standing certificates of manual lineages, with when somebody was first told of each."""
        first = (
            select(func.min(col(Letter.sent_at)))
            .join(Told, col(Told.letter_id) == col(Letter.id))
            .join(Crossing, col(Crossing.id) == col(Told.crossing_id))
            .where(col(Crossing.tracked_id) == col(Tracked.id))
            .correlate(Tracked)
            .scalar_subquery()
            .label("first")
        )
        columns: tuple[Any, ...] = (Tracked, col(Lineage.name), first)
        query = select(*columns).join(Lineage, col(Lineage.current_id) == col(Tracked.id))
        with self.store.read() as connection:
            return list(connection.execute(query.where(col(Lineage.mode) == "manual")))

    def _issue(self, place: int, now: int, before: Any | None) -> None:
        """A person brings in a certificate, the first or the next of its lineage."""
        life = MANUAL_LIVES[int(chance("hand", place) * len(MANUAL_LIVES))] * DAY
        if before is None:
            owner_id = self._owner_id(self.owner_of(place))
            lineage = tracking.add_lineage(self.store, "manual", name=f"manual{place}", owner_id=owner_id)
        else:
            lineage = before.lineage_id
        times = {"next_look": clock.timestamp(), "recorded_at": clock.timestamp()}
        id_ = tracking.add_tracked(self.store, lineage_id=lineage, start=now, lifetime=life, **times)
        tracking.change(self.store, Lineage, lineage, current_id=id_)
        if before is not None:
            tracking.change(self.store, Tracked, before.id, replaced_by=id_, next_look=clock.timestamp())

    def _take_care(self, row: Any, until: int) -> None:
        about = f"lineage:{row.lineage_id}"
        with self.store.read() as connection:
            if acknowledged.standing(connection, [about], clock.timestamp()):
                return
        try:
            acknowledged.acknowledge(self.lifecycle, rig.ADMIN, f"#{row.id}", until, "somebody is at it")
        except Conflict:
            return

    def _owner_id(self, name: str) -> int:
        return owners.show(self.lifecycle, rig.ADMIN, name).id or 0

    def _judge_told(self, found: Found, end: int) -> None:
        """Each that ended unreplaced, and each that came near its end, was told of in a letter that left in time."""
        sent = (
            select(col(Crossing.tracked_id), func.min(col(Letter.sent_at)))
            .join(Told, col(Told.crossing_id) == col(Crossing.id))
            .join(Letter, col(Letter.id) == col(Told.letter_id))
            .where(col(Letter.sent_at).is_not(None))
            .group_by(col(Crossing.tracked_id))
        )
        near = select(col(Crossing.tracked_id)).where(col(Crossing.threshold).in_(("critical", "1d", "expired")))
        with self.store.read() as connection:
            first = {row[0]: row[1] for row in connection.execute(sent)}
            close = set(connection.execute(near).scalars())
            rows = connection.execute(select(Tracked)).all()
        successors = {row.id: row.recorded_at for row in rows}
        for row in rows:
            replaced_at = successors.get(row.replaced_by, end)
            is_over = row.not_after < min(end, replaced_at)
            if not is_over and not (row.id in close and row.not_after < end):
                continue
            found.expired += is_over
            found.near += not is_over
            latest = row.not_after - int((row.not_after - row.not_before) * ENOUGH)
            if first.get(row.id, end) > (latest if is_over else row.not_after):
                found.untold.append(f"#{row.id} {row.not_before} {row.not_after}: told {first.get(row.id)}")

    def _judge_stuck(self, found: Found, end: int) -> None:
        """What cannot wait has not waited for an hour, and no letter is left; the rest waits for its day at most."""
        open_ = col(Crossing.settled_at).is_(None), col(Crossing.state) == "open"
        slack = {"immediate": 2 * HOUR, "daily": 26 * HOUR, "digest": 8 * DAY}
        with self.store.read() as connection:
            for row in connection.execute(select(Crossing).where(*open_)):
                if row.noted_at < end - slack[row.urgency]:
                    found.stuck.append(f"{row.about} {row.threshold} since {row.noted_at}")
            old = col(Letter.state) == "open", col(Letter.opened_at) < end - 2 * HOUR
            found.stuck += [f"letter {row.id}: {row.error}" for row in connection.execute(select(Letter).where(*old))]

    def _count(self, found: Found, end: int) -> None:
        years = (end - self.started) / (365 * DAY)
        sent = select(col(Letter.kind), col(Letter.recipient)).where(col(Letter.sent_at).is_not(None))
        got: Counter[str] = Counter()
        with self.store.read() as connection:
            for kind, recipient in connection.execute(sent):
                found.kinds[kind] += 1
                got[recipient] += 1
        found.counts = [round(got[f"{name}@example.org"] / years) for name in self.owners]


def summary(found: Found) -> str:
    """The number of mails that an owner gets, in a line."""
    if not found.counts:
        return "no letters"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.kinds.items()))
    middle, most = statistics.median(found.counts), max(found.counts)
    return (
        f"letters an owner got a year: median {middle:g}, most {most} ({kinds}); "
        f"{found.expired:,} expired and {found.near:,} came near, each announced"
    )
