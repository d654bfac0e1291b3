"""Owners as a page shows them: what is theirs by stage, whether mail reaches them, what they are told next.

Counts come from the tallies and are as old as these; everything else is looked up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.access import Caller, Operation
from renewers.answering import mailboxes
from renewers.inventory.finding import find_owner
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Lineage, Mailbox, Owner, OwnerClaim, OwnerMail
from renewers.overview import tallies
from renewers.overview.kept import Kept

SHOWN = 100


@dataclass(frozen=True, slots=True)
class Address:
    """A step of an owner's escalation path, 0 being its own mailbox; what is known of it, if anything is."""

    step: int
    address: str
    mailbox: Mailbox | None


@dataclass(frozen=True, slots=True)
class Summary:
    """An owner in a list. `stages` counts what it answers for; None where nothing has been counted yet."""

    owner: Owner
    path: tuple[Address, ...]
    stages: Mapping[str, int] | None

    @property
    def is_reached(self) -> bool:
        """Whether mail reaches its own mailbox, as far as is known."""
        return self.path[0].mailbox is None or self.path[0].mailbox.dead_since is None

    @property
    def is_reached_at_all(self) -> bool:
        """Whether it reaches anybody on its path."""
        return any(step.mailbox is None or step.mailbox.dead_since is None for step in self.path)


@dataclass(frozen=True, slots=True)
class Whole:
    """One owner with all that hangs on it."""

    summary: Summary
    next: OwnerMail | None
    claims: tuple[tuple[str, str], ...]
    lineages: tuple[str, ...]
    """Lineages that are its own by an assignment, the first so many."""
    consumers: tuple[str, ...]
    counted: Kept | None


def page(
    lifecycle: Lifecycle, caller: Caller, *, cursor: str = "", limit: int = 100
) -> tuple[list[Summary], str | None, Kept | None]:
    """A page of owners by name, where the next one starts, and the tallies."""
    caller.must(Operation.READ_INVENTORY)
    query = select(Owner).where(col(Owner.name) > cursor).order_by(col(Owner.name)).limit(limit + 1)
    with lifecycle.store.read() as connection:
        rows = connection.execute(query).all()
        counted = tallies.find(connection)
        found = _summaries(connection, rows[:limit], counted)
    return found, rows[limit - 1].name if len(rows) > limit else None, counted


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> Whole:
    """One owner. `NotFound` if there is none of this name."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read(snapshot=True) as connection:
        row = find_owner(connection, name)
        counted = tallies.find(connection)
        planned = connection.execute(select(OwnerMail).where(col(OwnerMail.owner_id) == row.id)).first()
        claims = select(OwnerClaim).where(col(OwnerClaim.owner_id) == row.id)
        ordered = claims.order_by(col(OwnerClaim.kind), col(OwnerClaim.pattern)).limit(SHOWN)
        return Whole(
            summary=_summaries(connection, [row], counted)[0],
            next=None if planned is None else OwnerMail(**planned._mapping),
            claims=tuple((claim.kind, claim.pattern) for claim in connection.execute(ordered)),
            lineages=_names(connection, Lineage, row.id),
            consumers=_names(connection, Consumer, row.id),
            counted=counted,
        )


def names(lifecycle: Lifecycle, caller: Caller, *, limit: int = SHOWN) -> list[str]:
    """The names of owners, the first so many."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read() as connection:
        query = select(col(Owner.name)).order_by(col(Owner.name)).limit(limit)
        return list(connection.execute(query).scalars())


def _names(connection: Connection, table: Any, owner_id: int) -> tuple[str, ...]:
    query = select(col(table.name)).where(col(table.owner_id) == owner_id).order_by(col(table.id)).limit(SHOWN)
    return tuple(connection.execute(query).scalars())


def _summaries(connection: Connection, rows: Sequence[Any], counted: Kept | None) -> list[Summary]:
    paths = {row.id: (row.email, *json.loads(row.escalation or "[]")) for row in rows}
    known = mailboxes.states(connection, {address for path in paths.values() for address in path})
    found = []
    for row in rows:
        path = tuple(
            Address(step, address, known.get(mailboxes.key_of(address))) for step, address in enumerate(paths[row.id])
        )
        stages = None if counted is None else counted.body["owners"].get(str(row.id), {})
        found.append(Summary(Owner(**row._mapping), path, stages))
    return found
