"""Leases: at most one process does a named piece of work, and a dead one is followed by another.

One row a name, with a holder, an end and a fencing number that grows with every new holder. Whoever takes a lease
looks again whether the work is still to be done, since somebody may just have finished it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import clock
from ca.errors import Conflict
from ca.models import Lease
from ca.store.commit import Transaction
from ca.store.engine import Store


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that we hold. `fence` is larger than that of every earlier holder."""

    name: str
    holder: str
    fence: int


def take(store: Store, name: str, seconds: int) -> Held | None:
    """Take the lease `name`, or None while somebody else holds it."""
    holder = secrets.token_hex(8)
    now = clock.timestamp()

    def unit(tx: Transaction) -> int | None:
        row = tx.execute(select(Lease).where(col(Lease.name) == name).with_for_update()).first()
        if row is None:
            tx.execute(insert(Lease).values(name=name, holder=holder, leased_until=now + seconds, fence=1))
            return 1
        if row.leased_until > now:
            return None
        fence: int = row.fence + 1
        tx.execute(
            update(Lease).where(col(Lease.name) == name).values(holder=holder, leased_until=now + seconds, fence=fence)
        )
        return fence

    try:
        fence = store.write(unit)
    except Conflict:  # another replica made the row at this very moment
        return None
    return None if fence is None else Held(name, holder, fence)


def give_back(store: Store, held: Held) -> None:
    """End a lease early, if it is still ours. The row stays: its fence must not start again."""

    def unit(tx: Transaction) -> None:
        tx.execute(
            update(Lease).where(col(Lease.name) == held.name, col(Lease.holder) == held.holder).values(leased_until=0)
        )

    store.write(unit)


@contextmanager
def leased(store: Store, name: str, seconds: int) -> Iterator[Held | None]:
    """Hold the lease for a `with` block; yields None while somebody else has it."""
    held = take(store, name, seconds)
    try:
        yield held
    finally:
        if held is not None:
            give_back(store, held)
