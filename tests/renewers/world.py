"""A small floor that reaches out: an installation, throwaway issuers, a memory publisher, and a runner that drains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.errors import CertwrightError
from ca.keys.sealed import Sealer
from ca.models import LedgerEntry
from ca.secret import Secret
from ca.store import Store
from ca.x509 import names
from renewers.delivering import destinations
from renewers.delivering.destinations import DestinationPlan
from renewers.duties import DUTIES
from renewers.inventory import lineages
from renewers.inventory.lineages import LineagePlan
from renewers.issuers import Issuer, Wanted
from renewers.issuers.memory import OpinionatedIssuer
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Alarm, Event, Lineage, Renewal, Tracked, Work
from renewers.publishers import memory
from renewers.runner import Runner
from tests import rig

NOON = datetime(2027, 1, 4, 12, tzinfo=UTC)
DAY = 86400


@dataclass
class Moody:
    """An issuer's moods: errors that it answers with, one an attempt, before it signs."""

    errors: list[CertwrightError] = field(default_factory=list)
    always: CertwrightError | None = None

    def __call__(self, _wanted: Wanted) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if self.always is not None:
            raise self.always


class World:
    """A lifecycle over a store, with issuers `first` and `second`, and time in our hands."""

    def __init__(self, store: Store, *, lifetime: timedelta = timedelta(days=90), **policy: Any) -> None:
        self.store = store
        self.moods = {"first": Moody(), "second": Moody()}
        self.issuers = {name: OpinionatedIssuer(lifetime=lifetime, trouble=mood) for name, mood in self.moods.items()}
        self.lifecycle = Lifecycle(
            installation=rig.make_installation(store, with_hierarchy=False),
            sealer=Sealer(Secret("only for the tests"), bytes(16)),
            issuers=dict[str, Issuer](self.issuers),
            publishers={"memory": memory.make_memory},
            policy=Policy(issuers=("first", "second"), workers=4, **policy),
        )
        self.runner = Runner(self.lifecycle, DUTIES)

    def lineage(self, name: str = "www.example.org", *more: str, **choices: Any) -> int:
        """A lineage that we renew."""
        plan = LineagePlan(name=name, names=tuple(names.parse(each) for each in (name, *more)), **choices)
        return lineages.create(self.lifecycle, rig.ADMIN, plan)

    def destination(self, lineage: str = "www.example.org", name: str = "web") -> None:
        """Where it is used, in memory."""
        plan = DestinationPlan(name=name, lineage=lineage, publisher="memory", settings={"place": f"{id(self)}-{name}"})
        destinations.add(self.lifecycle, rig.ADMIN, plan)

    def drain(self, at: datetime = NOON) -> int:
        """Do everything that is due at a moment."""
        with clock.pinned(at):
            return self.runner.drain()

    def rows(self, table: Any, *where: Any) -> Sequence[Any]:
        """Rows of a table, oldest first."""
        with self.store.read() as connection:
            return connection.execute(select(table).where(*where).order_by(*table.__table__.primary_key)).all()

    def row(self, lineage_id: int) -> Any:
        """The lineage."""
        return self.rows(Lineage, col(Lineage.id) == lineage_id)[0]

    def current(self, lineage_id: int) -> Any:
        """Its current certificate."""
        return self.rows(Tracked, col(Tracked.id) == self.row(lineage_id).current_id)[0]

    def renewals(self, lineage_id: int) -> Sequence[Any]:
        """All its renewals."""
        return self.rows(Renewal, col(Renewal.lineage_id) == lineage_id)

    def work(self, kind: str = "renew") -> Any:
        """The one piece of work of a kind."""
        found = self.rows(Work, col(Work.kind) == kind)
        assert len(found) == 1, found
        return found[0]

    def events(self) -> list[str]:
        """Kinds of events, in order."""
        return [row.kind for row in self.rows(Event)]

    def alarms(self) -> dict[str, str]:
        """Alarms that stand: kind to severity."""
        return {row.kind: row.severity for row in self.rows(Alarm)}

    def ledger(self) -> list[str]:
        """The actions in the ledger, in order."""
        import json

        return [json.loads(row.body)["action"] for row in self.rows(LedgerEntry)]


@contextmanager
def world(store: Store, **choices: Any) -> Iterator[World]:
    """A world that ends."""
    made = World(store, **choices)
    try:
        yield made
    finally:
        made.runner.stop()
