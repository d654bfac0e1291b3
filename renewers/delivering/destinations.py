"""Where certificates are used: destinations, as people add, change, look at and remove them.

A destination is handed a private key, and may run a command as us. Only an administrator chooses anything but a
directory of plain files of our own. What is brought there, and when, is `delivery.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict, NotFound
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.delivering import attempts, delivery
from renewers.delivering.attempts import ALARM, EMPTY, WAITING, WORK
from renewers.delivering.verify import read_probe
from renewers.distribution import places
from renewers.lifecycle import Lifecycle
from renewers.models import Delivery, Destination, Lineage
from renewers.telling import alarms

MAX_PAGE = 500
SHOWN_DELIVERIES = 50
HARMLESS = frozenset({"directory", "keep"})
"""Settings that an operator may choose, too. Others need an administrator: they run a command or give a key away."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class DestinationPlan:
    """What a destination shall be."""

    name: str
    lineage: str
    publisher: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    probe: str = ""
    """Where it is looked at; empty: nowhere, and then it never counts as seen."""
    rank: int = 0
    """Who has a lower one goes first; the others wait until that was seen serving it."""
    bundle: str | None = None
    """A PEM file of what its own users trust, which the chain has to satisfy."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A destination, what it is for, and what was brought there lately, newest first."""

    destination: Destination
    lineage: str
    deliveries: Sequence[Delivery]


def add(lifecycle: Lifecycle, caller: Caller, plan: DestinationPlan) -> int:
    """Add a destination; what its lineage has is brought there at once. Returns its id."""
    values = _checked(lifecycle, caller, plan)

    def unit(tx: Transaction) -> int:
        lineage = _lineage(tx, plan.lineage)
        if _exists(tx, plan.name):
            raise Conflict(f"there is already a destination named {plan.name!r}", code="destination-exists")
        _refuse_taken(tx, plan)
        now = clock.timestamp()
        fresh = {"lineage_id": lineage.id, "wanted_id": lineage.current_id, "changed_at": now, "created_at": now}
        fresh["state"] = EMPTY if lineage.current_id is None else WAITING
        row = {"name": plan.name, "created_by": caller.identity, **fresh, **values}
        identity = tx.execute(insert(Destination).values(**row).returning(col(Destination.id))).scalar_one()
        log.append(tx, "destination-added", _subject(plan.name), caller.identity, **_recorded(plan))
        attempts.next_rank(tx, lineage.id)
        return int(identity)

    return lifecycle.store.write(unit)


def change(lifecycle: Lifecycle, caller: Caller, plan: DestinationPlan) -> None:
    """Make the destination of that name what the plan says. In another place, it is delivered anew, and at once."""
    values = _checked(lifecycle, caller, plan)

    def unit(tx: Transaction) -> None:
        lineage = _lineage(tx, plan.lineage)
        found = _find(tx, plan.name)
        if found.lineage_id != lineage.id:
            raise Conflict(f"{plan.name} is for another lineage", code="other-lineage", hint="add another destination")
        _must_be_allowed(caller, json.loads(found.settings))
        _refuse_taken(tx, plan)
        fresh: dict[str, Any] = {**values, "changed_at": clock.timestamp()}
        if (found.publisher, found.settings) != (values["publisher"], values["settings"]):
            fresh["delivered_id"] = None
        is_new = any(getattr(found, name) != value for name, value in values.items() if name != "rank")
        if is_new and found.wanted_id is not None:
            fresh["state"] = WAITING
        tx.execute(update(Destination).where(col(Destination.id) == found.id).values(**fresh))
        log.append(tx, "destination-changed", _subject(plan.name), caller.identity, **_recorded(plan))
        if attempts.next_rank(tx, lineage.id) and is_new:
            _hurry_if_next(tx, found.id, lineage.id)

    lifecycle.store.write(unit)


def deliver_now(lifecycle: Lifecycle, caller: Caller, name: str) -> bool:
    """Deliver again now, whatever it has: overrides a back-off. False if it has to wait, or somebody is at it."""
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> bool:
        found = _find(tx, name)
        attempts.lock_lineage(tx, found.lineage_id)
        if found.wanted_id is None:
            raise Conflict(f"there is no certificate yet for {name}", code="nothing-to-deliver")
        tx.execute(update(Destination).where(col(Destination.id) == found.id).values(state=WAITING))
        log.append(tx, "delivery-asked", _subject(name), caller.identity)
        return _hurry_if_next(tx, found.id, found.lineage_id)

    return lifecycle.store.write(unit)


def remove(lifecycle: Lifecycle, caller: Caller, name: str) -> None:
    """Forget a destination. What was brought there stays there; nobody brings anything any more."""
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> None:
        found = _find(tx, name)
        attempts.lock_lineage(tx, found.lineage_id)
        _must_be_allowed(caller, json.loads(found.settings))
        work.cancel(tx, WORK, str(found.id))
        tx.execute(delete(Destination).where(col(Destination.id) == found.id))
        alarms.clear_alarm(tx, ALARM, found.name)
        log.append(tx, "destination-removed", _subject(name), caller.identity, lineage=found.lineage_id)
        delivery.conclude(tx, found.lineage_id)

    lifecycle.store.write(unit)


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> Shown:
    """One destination, with its last deliveries."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read() as connection:
        found = connection.execute(select(Destination).where(col(Destination.name) == name)).first()
        if found is None:
            raise _unknown(name)
        of = select(col(Lineage.name)).where(col(Lineage.id) == found.lineage_id)
        lineage = connection.execute(of).scalar() or ""
        mine = select(Delivery).where(col(Delivery.destination_id) == found.id).order_by(col(Delivery.id).desc())
        deliveries = [Delivery(**row._mapping) for row in connection.execute(mine.limit(SHOWN_DELIVERIES))]
    return Shown(Destination(**found._mapping), lineage, deliveries)


def listing(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    lineage_id: int | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Destination], str | None]:
    """A page of destinations by name, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    statement = select(Destination).order_by(col(Destination.name)).limit(limit + 1)
    if lineage_id is not None:
        statement = statement.where(col(Destination.lineage_id) == lineage_id)
    if cursor is not None:
        statement = statement.where(col(Destination.name) > cursor)
    with lifecycle.store.read() as connection:
        rows = [Destination(**row._mapping) for row in connection.execute(statement)]
    return rows[:limit], rows[limit - 1].name if len(rows) > limit else None


def _checked(lifecycle: Lifecycle, caller: Caller, plan: DestinationPlan) -> dict[str, Any]:
    """The columns that a plan decides, once all of it is found good."""
    caller.must(Operation.MANAGE_INVENTORY)
    _must_be_allowed(caller, plan.settings)
    if not _NAME.fullmatch(plan.name):
        raise BadRequest(f"{plan.name[:63]!r} cannot name a destination", code="bad-destination-name")
    if not -1000 <= plan.rank <= 1000:
        raise BadRequest("a rank is between -1000 and 1000", code="bad-rank")
    if plan.probe:
        read_probe(plan.probe)
    if plan.bundle is not None and (not plan.bundle.startswith("/") or not plan.bundle.isprintable()):
        raise BadRequest("the bundle is not an absolute path", code="bad-bundle")
    if plan.bundle is not None and not plan.probe:
        raise BadRequest("without a probe nobody sees whether the bundle trusts the chain", code="bundle-without-probe")
    make = lifecycle.publishers.get(plan.publisher)
    if make is None:
        known = ", ".join(sorted(lifecycle.publishers))
        raise BadRequest(f"there is no publisher {plan.publisher[:40]!r}", code="bad-publisher", hint=f"one of {known}")
    make(plan.settings)
    settings = json.dumps(dict(plan.settings), sort_keys=True)
    chosen = {"publisher": plan.publisher, "settings": settings, "probe": plan.probe}
    return {**chosen, "rank": plan.rank, "bundle": plan.bundle}


def _must_be_allowed(caller: Caller, settings: Mapping[str, Any]) -> None:
    if not set(settings) <= HARMLESS:
        caller.must(Operation.MANAGE_DESTINATIONS)


def _refuse_taken(tx: Transaction, plan: DestinationPlan) -> None:
    """Two in one place would chase each other out of it, be they lineages or a consumer."""
    places.refuse_taken(tx, plan.publisher, plan.settings, destination=plan.name)


def _hurry_if_next(tx: Transaction, destination_id: int | None, lineage_id: int) -> bool:
    """Have this one done now, if none goes before it."""
    return attempts.is_next(tx, lineage_id, destination_id) and work.hurry(tx, WORK, str(destination_id))


def _lineage(tx: Transaction, name: str) -> Any:
    identity = tx.execute(select(col(Lineage.id)).where(col(Lineage.name) == name)).scalar()
    found = None if identity is None else attempts.lock_lineage(tx, identity)
    if found is None:
        raise NotFound(f"there is no lineage {name[:80]!r}", code="unknown-lineage", hint="certwright track list")
    return found


def _find(tx: Transaction, name: str) -> Any:
    found = tx.execute(select(Destination).where(col(Destination.name) == name)).first()
    if found is None:
        raise _unknown(name)
    return found


def _exists(tx: Transaction, name: str) -> bool:
    return tx.execute(select(col(Destination.id)).where(col(Destination.name) == name)).first() is not None


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no destination {name[:80]!r}", code="unknown-destination")


def _subject(name: str) -> str:
    return f"destination:{name}"


def _recorded(plan: DestinationPlan) -> dict[str, Any]:
    names = {"lineage": plan.lineage, "publisher": plan.publisher, "settings": dict(plan.settings)}
    return {**names, "probe": plan.probe, "rank": plan.rank, "bundle": plan.bundle}
