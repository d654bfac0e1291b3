"""Facts about an installation that are decided once, when it is made: the ledger's origin, the label of its key."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlmodel import col

from ca.errors import Conflict, Misconfigured
from ca.models import Fact
from ca.store import Store, Transaction

LINKS_ERA = "links-era"


def decide(store: Store, facts: dict[str, str]) -> None:
    """Record facts. `Conflict` if one of them was decided before."""

    def unit(tx: Transaction) -> None:
        for name, value in facts.items():
            tx.add(Fact, {"name": name, "value": value})

    try:
        store.write(unit)
    except Conflict:
        raise Conflict("this database belongs to an installation already", code="initialised-already") from None


def fact(store: Store, name: str) -> str:
    """What was decided. `Misconfigured` if nothing was: the database is not an installation's."""
    with store.read() as connection:
        value = connection.execute(select(col(Fact.value)).where(col(Fact.name) == name)).scalar()
    if value is None:
        raise Misconfigured("the database does not belong to an installation", hint="certwright init makes one")
    return value


def links_era(store: Store) -> str:
    """What every answer link is bound to: empty, and new with each restore, so that no link is good twice."""
    with store.read() as connection:
        return connection.execute(select(col(Fact.value)).where(col(Fact.name) == LINKS_ERA)).scalar() or ""


def write_again(store: Store) -> None:
    """Write the facts as they are: nothing is different afterwards, and the store was seen to take changes."""
    store.write(lambda tx: tx.execute(update(Fact).values(value=col(Fact.value))) and None)
