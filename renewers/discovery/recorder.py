"""Recording what a scan or a walk came to, some at a time, so that what was found is kept when it is ended early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlmodel import col

from ca.errors import Refusal
from ca.ledger import log
from ca.store import Transaction
from renewers.discovery import record
from renewers.discovery.observing import Observation
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint
from renewers.telling import events

BATCH = 50
"""Results that are written in one transaction: others wait for the writer no longer than that takes."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes in the name of somebody, for an owner."""

    lifecycle: Lifecycle
    by: str
    owner_id: int | None

    def write(self, observations: Sequence[Observation], problems: Sequence[tuple[str, str]]) -> int:
        """Write down what was seen, and places with the reason why nothing was. Returns how many could not be.

        In the order of places, so that two scans never wait for each other crosswise; and of places where nothing was
        seen those alone where something once was.
        """
        seen = sorted(observations, key=lambda observation: observation.place)
        known = self._known([place for place, _ in problems])
        missed = sorted((place, why) for place, why in problems if record.stored(place) in known)
        try:
            self._record(seen, missed)
        except Refusal:  # one of them cannot be written down: the others can
            return sum(self._is_refused([one], []) for one in seen) + self._is_refused([], missed)
        return 0

    def say(self, action: str, subject: str, **details: int) -> None:
        """Say in the ledger and as an event how it began, and what it came to."""

        def unit(tx: Transaction) -> None:
            log.append(tx, action, subject, self.by, **details)
            message = f"{action.replace('-', ' ')}: {subject}"
            events.record(tx, action, subject, message, severity="info", **details)

        self.lifecycle.store.write(unit)

    def _known(self, places: Sequence[str]) -> set[str]:
        if not places:
            return set()
        query = select(col(Endpoint.place)).where(col(Endpoint.place).in_([record.stored(place) for place in places]))
        with self.lifecycle.store.read() as connection:
            return set(connection.execute(query).scalars())

    def _record(self, observations: Sequence[Observation], missed: Sequence[tuple[str, str]]) -> None:
        def unit(tx: Transaction) -> None:
            for observation in observations:
                observation.record(tx, found_by=self.by, owner_id=self.owner_id)
            for place, why in missed:
                record.missed(tx, place, why)

        if observations or missed:
            self.lifecycle.store.write(unit)

    def _is_refused(self, observations: Sequence[Observation], missed: Sequence[tuple[str, str]]) -> bool:
        try:
            self._record(observations, missed)
        except Refusal:
            return True
        return False
