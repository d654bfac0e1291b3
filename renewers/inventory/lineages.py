"""Lineages as people plan them: which names, who renews them, by which issuers, when, with which keys.

A plan for names that are tracked already takes over their lineage with its history: what a scan found today is what we
renew tomorrow. What it was and what it shall be is one `LineagePlan`; making it so is one transaction with the work
that follows from it. `renewers/renewing/renewal.py` does that work.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict
from ca.ledger import log
from ca.store import Store, Transaction
from ca.x509 import names
from renewers import work
from renewers.inventory import answering, refusing, said, shown
from renewers.inventory.facts import names_key
from renewers.inventory.finding import find_lineage, find_owner
from renewers.inventory.joining import RENEWED
from renewers.inventory.plans import LineagePlan, check
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Destination, Endpoint, Lineage, Owner, Renewal, Tracked
from renewers.telling import alarms, events

__all__ = ["LineagePlan", "Shown", "change", "check", "create", "find", "listing", "remove", "show"]

MAX_PAGE = 500
RENEW, ASK, DELIVER = "renew", "ask-window", "deliver"
"""The kinds of work that a lineage gives."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A lineage, whose it is by its own word, and what hangs on it."""

    lineage: Lineage
    owner: str | None
    current: Tracked | None
    destinations: tuple[Destination, ...]
    places: tuple[str, ...]


def create(lifecycle: Lifecycle, caller: Caller, plan: LineagePlan) -> int:
    """Plan a lineage; returns its id. `Conflict` if its name is taken, or its names are planned already."""
    caller.must(Operation.MANAGE_INVENTORY)
    check(lifecycle, plan)

    def unit(tx: Transaction) -> int:
        values = _values(tx, plan)
        before = _known(tx, plan, values["names_key"])
        _refuse_taken(tx, plan.name, None if before is None else before.id)
        if before is None:
            made = {"created_at": clock.timestamp(), "created_by": caller.identity}
            tx.execute(insert(Lineage).values(**values, **made))
        else:
            kept = {"owner_id": values["owner_id"] or before.owner_id}
            tx.execute(update(Lineage).where(col(Lineage.id) == before.id).values(**{**values, **kept}))
            if kept["owner_id"] != before.owner_id:
                said.taken(tx, f"lineage:{before.id}")
                answering.settle_lineage(tx, before.id)
        row = find_lineage(tx.connection, plan.name)
        details = {"mode": plan.mode, "names": json.loads(values["names"]), "issuers": list(plan.issuers)}
        took_over = None if before is None else before.name
        log.append(tx, "lineage-created", plan.name, caller.identity, **details, owner=plan.owner, took_over=took_over)
        events.record(tx, "lineage-created", plan.name, f"{plan.name} is planned: {plan.mode}", **details)
        _follow(tx, row, is_urgent=before is not None)
        return int(row.id)

    return lifecycle.store.write(unit)


def change(lifecycle: Lifecycle, caller: Caller, name: str, alter: Callable[[LineagePlan], LineagePlan]) -> int:
    """Change a lineage: `alter` gets the plan as it is and returns it as it shall be. New names are due at once."""
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> int:
        row = find_lineage(tx.connection, name)
        before = _plan(tx, row)
        plan = alter(before)
        if plan == before:
            return int(row.id)
        check(lifecycle, plan, before)
        values = _values(tx, plan)
        if plan.names == before.names and plan.mode != RENEWED:  # odd ones are no part of the plan, and stay
            values |= {"names": row.names, "names_key": row.names_key}
        _refuse_taken(tx, plan.name, row.id)
        if plan.mode == RENEWED:
            _refuse_planned(tx, values["names_key"], plan.key_type, row.id)
        tx.execute(update(Lineage).where(col(Lineage.id) == row.id).values(**values))
        if plan.owner != before.owner:
            said.taken(tx, f"lineage:{row.id}")
            answering.settle_lineage(tx, row.id)
        details = {"mode": plan.mode, "names": json.loads(values["names"]), "issuers": list(plan.issuers)}
        settings = {"key_age": plan.key_age, "window": plan.window, "owner": plan.owner, "was": row.name}
        log.append(tx, "lineage-changed", plan.name, caller.identity, **details, **settings)
        is_urgent = (plan.names, plan.issuers, plan.mode) != (before.names, before.issuers, before.mode)
        _follow(tx, find_lineage(tx.connection, plan.name), is_urgent=is_urgent)
        return int(row.id)

    return lifecycle.store.write(unit)


def remove(lifecycle: Lifecycle, caller: Caller, name: str, *, is_forced: bool = False) -> None:
    """Plan it no more. Its certificates stay tracked, and are watched as ones that a person renews.

    `Conflict` while it has destinations, unless forced: then they go, too, and nothing more is brought there.
    """
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> None:
        row = find_lineage(tx.connection, name)
        query = select(col(Destination.id), col(Destination.name)).where(col(Destination.lineage_id) == row.id)
        destinations = tx.execute(query).all()
        if destinations and not is_forced:
            which = ", ".join(destination.name for destination in destinations[:5])
            raise Conflict(
                f"{row.name} is brought to {which}", code="lineage-in-use", hint="remove the destinations first"
            )
        if destinations:
            caller.must(Operation.MANAGE_DESTINATIONS)
        for destination in destinations:
            work.cancel(tx, DELIVER, str(destination.id))
        tx.execute(delete(Destination).where(col(Destination.lineage_id) == row.id))
        _leave(tx, row)
        gone = [destination.name for destination in destinations]
        log.append(tx, "lineage-removed", row.name, caller.identity, destinations=gone)
        events.record(tx, "lineage-removed", row.name, f"{row.name} is planned no more")

    lifecycle.store.write(unit)


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> Shown:
    """One lineage with what hangs on it."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read() as connection:
        row = find_lineage(connection, name)
        owner = connection.execute(select(col(Owner.name)).where(col(Owner.id) == row.owner_id)).scalar()
        current = connection.execute(select(Tracked).where(col(Tracked.id) == row.current_id)).first()
        destinations = connection.execute(select(Destination).where(col(Destination.lineage_id) == row.id)).all()
        places = connection.execute(
            select(col(Endpoint.place)).where(col(Endpoint.lineage_id) == row.id).limit(MAX_PAGE)
        )
        return Shown(
            lineage=Lineage(**row._mapping),
            owner=owner,
            current=None if current is None else Tracked(**current._mapping),
            destinations=tuple(Destination(**destination._mapping) for destination in destinations),
            places=tuple(places.scalars()),
        )


def listing(
    lifecycle: Lifecycle, caller: Caller, *, mode: str | None = None, cursor: str = "", limit: int = 100
) -> tuple[list[Lineage], str | None]:
    """A page of lineages by name, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    query = select(Lineage).where(col(Lineage.name) > shown.harmless(cursor))
    if mode is not None:
        query = query.where(col(Lineage.mode) == mode)
    with lifecycle.store.read() as connection:
        rows = connection.execute(query.order_by(col(Lineage.name)).limit(limit + 1)).all()
    found = [Lineage(**row._mapping) for row in rows[:limit]]
    return found, found[-1].name if len(rows) > limit else None


def find(store: Store, name: str) -> Any:
    """The row of the lineage of this name, or with this id. `NotFound` if there is none."""
    with store.read() as connection:
        return find_lineage(connection, name)


def _values(tx: Transaction, plan: LineagePlan) -> dict[str, Any]:
    texts = sorted(map(str, plan.names))
    return {
        "name": plan.name,
        "owner_id": None if plan.owner is None else find_owner(tx.connection, plan.owner).id,
        "mode": plan.mode,
        "names": json.dumps(texts),
        "names_key": names_key(texts),
        "issuers": json.dumps(list(plan.issuers)),
        "profile": plan.profile,
        "key_type": plan.key_type,
        "key_age": plan.key_age,
        "lifetime": plan.lifetime,
        "window": plan.window,
        "may_shrink": plan.may_shrink,
    }


def _plan(tx: Transaction, row: Any) -> LineagePlan:
    """The plan that a row is. Odd names, which nobody could plan, are left out."""
    owner = tx.execute(select(col(Owner.name)).where(col(Owner.id) == row.owner_id)).scalar()
    kept = (row.profile, row.key_type, row.key_age, row.lifetime, row.window)
    found = []
    for text in json.loads(row.names):
        try:
            found.append(names.parse(text))
        except BadRequest:
            continue
    return LineagePlan(row.name, tuple(found), row.mode, tuple(json.loads(row.issuers)), *kept, owner, row.may_shrink)


def _known(tx: Transaction, plan: LineagePlan, key: str) -> Any:
    """The lineage that has these names already, if it is one that we do not renew yet."""
    if plan.mode == RENEWED:
        _refuse_planned(tx, key, plan.key_type, None)
    of = select(Lineage).where(col(Lineage.names_key) == key, col(Lineage.mode) != RENEWED)
    found = tx.execute(of.order_by(col(Lineage.id)).limit(1).with_for_update()).first()
    if found is not None and plan.mode != RENEWED:
        raise Conflict(f"these names are those of {found.name}", code="lineage-exists")
    return found


def _refuse_planned(tx: Transaction, key: str, key_type: str, but: int | None) -> None:
    """Two certificates with the same names are planned only where they differ in the type of their keys."""
    same = col(Lineage.names_key) == key, col(Lineage.mode) == RENEWED, col(Lineage.key_type) == key_type
    found = tx.execute(select(Lineage).where(*same)).all()
    if any(row.id != but for row in found):
        raise Conflict(f"these names are renewed already, as {found[0].name}", code="lineage-exists")


def _refuse_taken(tx: Transaction, name: str, but: int | None) -> None:
    found = tx.execute(select(col(Lineage.id)).where(col(Lineage.name) == name)).scalar()
    if found is not None and found != but:
        raise Conflict(f"there is already a lineage named {name!r}", code="lineage-exists")


def _follow(tx: Transaction, row: Any, *, is_urgent: bool) -> None:
    """The work and the watch follow the plan."""
    now, subject = clock.timestamp(), str(row.id)
    if row.mode != RENEWED:
        work.cancel(tx, RENEW, subject)
        work.cancel(tx, ASK, subject)
    elif not is_urgent or not work.hurry(tx, RENEW, subject):
        work.schedule(tx, RENEW, subject, now)
    standing = (
        col(Tracked.lineage_id) == row.id,
        col(Tracked.replaced_by).is_(None),
        col(Tracked.next_look).is_not(None),
    )
    tx.execute(update(Tracked).where(*standing).values(next_look=now))


def _leave(tx: Transaction, row: Any) -> None:
    """Everything that hangs on a lineage lets go of it."""
    now = clock.timestamp()
    for kind in (RENEW, ASK):
        work.cancel(tx, kind, str(row.id))
    open_one = col(Renewal.lineage_id) == row.id, col(Renewal.state) == "open"
    given_up = {"state": "cancelled", "sealed_key": None, "finished_at": now, "error": "its lineage was removed"}
    tx.execute(update(Renewal).where(*open_one).values(**given_up))
    for kind in tx.execute(select(col(Alarm.kind)).where(col(Alarm.subject) == row.name)).scalars().all():
        alarms.clear_alarm(tx, kind, row.name)
    tx.execute(update(Endpoint).where(col(Endpoint.lineage_id) == row.id).values(lineage_id=None))
    members = col(Tracked.lineage_id) == row.id
    refusing.left(tx, row.id)
    if row.owner_id is not None:
        tx.execute(update(Tracked).where(members, col(Tracked.owner_id).is_(None)).values(owner_id=row.owner_id))
    tx.execute(update(Tracked).where(members, col(Tracked.next_look).is_not(None)).values(next_look=now))
    tx.execute(update(Tracked).where(members).values(lineage_id=None))
    tx.execute(delete(Lineage).where(col(Lineage.id) == row.id))
