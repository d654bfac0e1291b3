"""A small world in which owners are written to: rows as the inventory writes them, a mailer in memory, time in hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import or_, select, update
from sqlmodel import col

from ca import clock
from ca.store import Store
from renewers.duties import DUTIES
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.mailers.memory import MemoryMailer
from renewers.mailing import opening
from renewers.models import Acknowledged, Crossing, Letter, Mailbox, Owner, OwnerMail, Told, Tracked, Work
from renewers.runner import Runner
from renewers.timing import watch
from tests.renewers import tracking
from tests.renewers.tracking import START

DAY, HOUR, MINUTE = 86400, 3600, 60
ON_ONE_ENGINE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
"""For long lives: the same letters are opened and sent on both engines by many short ones."""


class Post:
    """An installation that writes letters, over a store. START is a Friday, 08:00 UTC."""

    def __init__(self, store: Store, **policy: Any) -> None:
        self.store = store
        self.mailer = MemoryMailer()
        chosen = {"sender": "Certwright <certwright@example.org>", "when_healthy": "never", **policy}
        self.lifecycle: Lifecycle = replace(
            tracking.make_lifecycle(store), mailer=self.mailer, mail=MailPolicy(**chosen)
        )
        self.runner = Runner(self.lifecycle, {"mail": DUTIES["mail"]})
        self.fallback = tracking.add_owner(store, "security", is_fallback=True)
        self.payments = tracking.add_owner(store, "payments")

    def at(self, now: int) -> Any:
        """Hold the clock there."""
        return clock.pinned(datetime.fromtimestamp(now, UTC))

    def beat(self, now: int) -> int:
        """Look at everything at that time, and open what is due; returns how many letters that were."""
        with self.at(now):
            while watch.watch_due(self.lifecycle):
                continue
            return opening.open_due(self.lifecycle)

    def send(self, now: int) -> None:
        """Send what is due at that time."""
        with self.at(now):
            self.runner.drain()

    def live(self, start: int, end: int, step: int = HOUR) -> None:
        """Beat and send, step by step, but for steps at which nothing can be due: they cost a commit each."""
        for now in range(start, end, step):
            if now == start or not self._is_quiet(now):
                self.beat(now)
                self.send(now)

    def _is_quiet(self, now: int) -> bool:
        due = (
            select(col(Tracked.id)).where(col(Tracked.next_look) <= now),
            select(col(Crossing.id)).where(col(Crossing.settled_at).is_(None), col(Crossing.urgency) == "immediate"),
            select(col(OwnerMail.owner_id)).where(
                or_(col(OwnerMail.digest_due) <= now, col(OwnerMail.daily_due) <= now)
            ),
            select(col(Work.id)).where(col(Work.due_at) <= now),
        )
        with self.store.read() as connection:
            return all(connection.execute(query.limit(1)).first() is None for query in due)

    def manual(self, *, lifetime: int = 365 * DAY, start: int = START, owner: int | None = None, **values: Any) -> int:
        """A certificate that a person renews."""
        lineage = tracking.add_lineage(self.store, "manual", owner_id=self.payments if owner is None else owner)
        return tracking.add_tracked(self.store, lineage_id=lineage, start=start, lifetime=lifetime, **values)

    def failing(self, *, lifetime: int = 90 * DAY, start: int = START, owner: int | None = None) -> int:
        """A certificate that we should renew, and do not."""
        lineage = tracking.add_lineage(self.store, "renewed", owner_id=self.payments if owner is None else owner)
        return tracking.add_tracked(self.store, lineage_id=lineage, start=start, lifetime=lifetime)

    def renew(self, id_: int, now: int) -> None:
        """It is replaced, as the inventory writes that."""
        newer = tracking.add_tracked(self.store, start=now, next_look=None)
        tracking.change(self.store, Tracked, id_, replaced_by=newer, next_look=now)

    def acknowledge(self, id_: int, until: int, now: int) -> None:
        """Somebody takes care of it."""
        row = tracking.find(self.store, id_)
        about = f"tracked:{id_}" if row.lineage_id is None else f"lineage:{row.lineage_id}"
        values = {"until": until, "reason": "a ticket is open", "by": "token:alice", "at": now}
        self.store.write(lambda tx: tx.add(Acknowledged, {"about": about, **values}))

    def kill(self, address: str, now: int = START) -> None:
        """Mail to it comes back."""
        values = {"dead_since": now, "dead_because": "no such user", "digests_off_at": None}
        self.store.write(lambda tx: tx.add(Mailbox, {"address": address, **values}))

    def rows(self, table: Any, *where: Any) -> Sequence[Any]:
        """Rows, oldest first."""
        with self.store.read() as connection:
            query = select(table).where(*where).order_by(*table.__table__.primary_key)
            return connection.execute(query).all()

    def states(self, id_: int) -> dict[str, str]:
        """How each crossing of one certificate stands, by its threshold."""
        return {row.threshold: row.state for row in self.rows(Crossing, col(Crossing.about) == f"tracked:{id_}")}

    def letters(self) -> list[tuple[str, str, str]]:
        """Kind, recipient and state of every letter."""
        return [(row.kind, row.recipient, row.state) for row in self.rows(Letter)]

    def change_owner(self, id_: int, **values: Any) -> None:
        """Change an owner's row."""
        self.store.write(lambda tx: tx.execute(update(Owner).where(col(Owner.id) == id_).values(**values)) and None)

    def subjects(self, address: str) -> list[str]:
        """The subjects of what one mailbox got."""
        return [str(message["Subject"]) for message in self.mailer.sent_to(address)]

    def twice(self) -> list[Any]:
        """Notices that one recipient was sent in more than one letter that left."""
        sent = select(col(Told.crossing_id), col(Told.recipient)).join(Letter, col(Letter.id) == col(Told.letter_id))
        with self.store.read() as connection:
            rows = connection.execute(sent.where(col(Letter.state) == "sent")).all()
        return [row for row in set(rows) if rows.count(row) > 1]


@contextmanager
def post(store: Store, **policy: Any) -> Iterator[Post]:
    """A world that ends."""
    made = Post(store, **policy)
    try:
        yield made
    finally:
        made.runner.stop()
