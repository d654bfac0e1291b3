"""A small world in which certificates are replaced in numbers: lineages with their own certificates, made once.

Everything is the product's own: the runner does renewals, deliveries and the replacement itself, at pinned times.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlmodel import col

from ca import clock, hierarchy
from ca.authority import State
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.keys.memory import MemoryKeyStore
from ca.keys.sealed import Sealer
from ca.models import LedgerEntry, Revocation
from ca.secret import Secret
from ca.store import Store, open_store
from renewers.duties import DUTIES
from renewers.inventory import issued
from renewers.issuers.internal import InternalIssuer
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Alarm, Event, Lineage, Renewal, ReplacementItem, Tracked
from renewers.replacing import replacement, underway
from renewers.replacing.plans import ReplacementPlan
from renewers.replacing.sandbox import Model, Places, Sandbox
from renewers.replacing.selection import Selection
from renewers.replacing.underway import Progress
from tests import rig
from tests.renewers.rotating import NOON, make

WHY = "a key was seen where it should not be"
DOMAIN = rig.DOMAIN


class Replacing:
    """Lineages over the internal issuer, and time in our hands."""

    def __init__(self, installation: Installation, **policy: Any) -> None:
        self.store: Store = installation.store
        self.places = Places()
        self.lifecycle = Lifecycle(
            installation=installation,
            sealer=Sealer(Secret("only for the tests"), bytes(16)),
            issuers={"internal": InternalIssuer(installation)},
            publishers={"memory": self.places},
            policy=Policy(workers=4, **policy),
        )
        self.box = Sandbox(self.lifecycle, DUTIES)
        self.at: datetime = NOON

    # What is done.

    def found(self, count: int, **model: Any) -> None:
        """So many lineages with their certificates, each where it is used."""
        with clock.pinned(self.at):
            self.box.add([Model(names=(f"dns:host-{number}.{DOMAIN}",), **model) for number in range(count)])
        self.drain()

    def begin(self, selection: Selection | None = None, **plan: Any) -> int:
        """Begin a replacement, by default of everything beneath the issuing CA."""
        chosen = selection or Selection(authorities=(self.outgoing,))
        with clock.pinned(self.at):
            return replacement.begin(self.lifecycle, rig.ADMIN, ReplacementPlan(chosen, **{"reason": WHY, **plan}))

    @property
    def outgoing(self) -> str:
        """The name of the first issuing CA."""
        return next(row.name for row in self.lifecycle.installation.authorities.all() if row.line == "issuing")

    def follow(self) -> None:
        """The next issuing CA signs from now on."""
        with clock.pinned(self.at):
            plan = Plan("issuing", rig.common_name("Test Issuing CA 2"), KeyType.P256, state=State.PREPARED)
            made = hierarchy.create_subordinate(self.lifecycle.installation, rig.ADMIN, "sub-ca", plan)
            hierarchy.transition(self.lifecycle.installation, rig.ADMIN, made.name, State.ACTIVE)

    def drain(self) -> None:
        """Do everything that is due at this moment."""
        with clock.pinned(self.at):
            self.box.runner.drain()
            self.lifecycle.installation.ledger.sequence()
            issued.catch_up(self.lifecycle)

    def step(self, seconds: float = 2, times: int = 1) -> None:
        """Let time pass and do what is due, so many times."""
        for _ in range(times):
            self.at += timedelta(seconds=seconds)
            self.drain()

    def until_done(self, made: int, *, seconds: float = 2, most: int = 200) -> Progress:
        """Steps until it is over; its account."""
        for _ in range(most):
            if self.row(made).state != underway.OPEN:
                return self.progress(made)
            self.step(seconds)
        left = [(item.shown_as, item.state, item.note) for item in self.items(made)][:5]
        raise AssertionError(f"{self.progress(made)}: {left} {self.alarms()}")

    # What is looked at.

    def rows(self, table: Any, *where: Any) -> Sequence[Any]:
        """Rows of a table, oldest first."""
        with self.store.read() as connection:
            return connection.execute(select(table).where(*where).order_by(*table.__table__.primary_key)).all()

    def row(self, made: int) -> Any:
        """A replacement as it stands."""
        with self.store.read() as connection:
            found = underway.load(connection, made)
        assert found is not None
        return found

    def items(self, made: int, *states: str) -> Sequence[Any]:
        """Its items, in these states if any are named."""
        found = self.rows(ReplacementItem, col(ReplacementItem.replacement_id) == made)
        return [item for item in found if not states or item.state in states]

    def progress(self, made: int) -> Progress:
        """Its account."""
        with self.store.read() as connection:
            return underway.progress(connection, made)

    def current(self, lineage_id: int) -> Any:
        """The certificate that a lineage has now."""
        lineage = self.rows(Lineage, col(Lineage.id) == lineage_id)[0]
        return self.rows(Tracked, col(Tracked.id) == lineage.current_id)[0]

    def renewals(self) -> Sequence[Any]:
        """All renewals."""
        return self.rows(Renewal)

    def revoked(self) -> dict[str, str]:
        """Serial numbers that are revoked, and by whom."""
        return {row.serial: row.revoked_by for row in self.rows(Revocation)}

    def alarms(self) -> dict[tuple[str, str], str]:
        """What is wrong, by kind and subject."""
        return {(row.kind, row.subject): row.message for row in self.rows(Alarm)}

    def ledger(self, action: str) -> list[dict[str, Any]]:
        """Entries of one kind."""
        said = [json.loads(row.body) for row in self.rows(LedgerEntry)]
        return [one for one in said if one["action"] == action]

    def events(self, kind: str) -> Sequence[Any]:
        """Events of one kind."""
        return self.rows(Event, col(Event.kind) == kind)

    def alter(self, table: Any, *where: Any, **values: Any) -> None:
        """Change rows behind everybody's back."""
        self.store.write(lambda tx: tx.execute(update(table).where(*where).values(**values)) and None)


@dataclass
class Template:
    """A database with lineages that have their certificates, from which worlds are copied."""

    path: Path
    keys: MemoryKeyStore
    ledger_key: Any

    @contextmanager
    def world(self, directory: Path, **policy: Any) -> Iterator[Replacing]:
        """A world of one's own."""
        path = directory / "copy.db"
        shutil.copyfile(self.path, path)
        store = open_store(f"sqlite:///{path}")
        made = Replacing(make(store, self.keys, self.ledger_key), **policy)
        try:
            yield made
        finally:
            made.box.runner.stop()
            store.close()
            path.unlink()


def template(directory: Path, lineages: int) -> Template:
    """Make it once."""
    path, keys = directory / "replacing.db", MemoryKeyStore()
    store = open_store(f"sqlite:///{path}")
    ledger_key = keys.create("ledger-key", KeyType.ED25519)
    installation = make(store, keys, ledger_key)
    with clock.pinned(NOON - timedelta(hours=3)):
        rig.make_hierarchy(installation, shards=0)
    made = Replacing(installation)
    made.at = NOON - timedelta(hours=2)
    made.found(lineages)
    made.box.runner.stop()
    store.close()
    return Template(path, keys, ledger_key)
