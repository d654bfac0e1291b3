"""Owners: who answers for certificates, how they are reached, and what is theirs.

An owner that somebody relies on does not vanish: whoever is removed names an heir for what is theirs, and the fallback
owner, to whom orphans fall, is only ever exchanged. Mail addresses and names are checked so that no header of a mail
can be made of them. Whose something is: `ownership`; the rules: `claims`.
"""

from __future__ import annotations

import json
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict
from ca.ledger import log
from ca.store import Transaction
from ca.x509 import names
from ca.x509.names import Kind
from renewers.answering import mailboxes
from renewers.inventory import answering, ownership, said, shown
from renewers.inventory.claims import check_claim
from renewers.inventory.finding import find_lineage, find_owner, find_tracked
from renewers.inventory.ownership import Ownership, owner_of, owners_of
from renewers.lifecycle import Lifecycle
from renewers.mailing import enrolled
from renewers.models import Alarm, Consumer, Lineage, Owner, OwnerClaim, Tracked

__all__ = ["OwnerPlan", "Ownership", "add", "assign", "change", "claim", "claims_of", "listing", "orphans", "owner_of"]
__all__ += ["owners_of", "release", "remove", "show"]

MAX_ESCALATION = 5
MAX_OWNERS = 10_000
_NAME = re.compile(r"\w[\w .&+@'()/-]{0,62}")


@dataclass(frozen=True, slots=True)
class OwnerPlan:
    """What an owner shall be."""

    name: str
    email: str
    escalation: tuple[str, ...] = ()
    """Mail addresses: who hears of it next when nothing happens, in this order."""
    time_zone: str = "UTC"
    is_fallback: bool = False
    """Whether orphans fall to it from now on. The first owner of all is the fallback anyway."""


def add(lifecycle: Lifecycle, caller: Caller, plan: OwnerPlan) -> Owner:
    """Add an owner. `Conflict` if there is one of that name."""
    caller.must(Operation.MANAGE_OWNERS)
    values = _checked(plan)
    made = {**values, "created_at": clock.timestamp(), "created_by": caller.identity}

    def unit(tx: Transaction) -> Owner:
        _refuse_known(tx, plan.name)
        is_first = tx.execute(select(col(Owner.id)).limit(1)).first() is None
        is_fallback = plan.is_fallback or is_first
        if is_fallback:
            answering.start_over(tx)
            _no_fallback(tx)
        tx.execute(insert(Owner).values(**made, is_fallback=is_fallback))
        log.append(tx, "owner-added", plan.name, caller.identity, **values, is_fallback=is_fallback)
        return _owner(find_owner(tx.connection, plan.name))

    return lifecycle.store.write(unit)


def change(lifecycle: Lifecycle, caller: Caller, name: str, alter: Callable[[OwnerPlan], OwnerPlan]) -> Owner:
    """Change an owner: `alter` gets it as it is and returns it as it shall be."""
    caller.must(Operation.MANAGE_OWNERS)

    def unit(tx: Transaction) -> Owner:
        row = find_owner(tx.connection, name)
        before = OwnerPlan(
            row.name, row.email, tuple(json.loads(row.escalation or "[]")), row.time_zone, row.is_fallback
        )
        plan = alter(before)
        values = _checked(plan)
        if plan.name != row.name:
            _refuse_known(tx, plan.name)
        if row.is_fallback and not plan.is_fallback:
            raise _is_fallback(row.name)
        if plan.is_fallback and not row.is_fallback:
            answering.start_over(tx)
            _no_fallback(tx)
        tx.execute(update(Owner).where(col(Owner.id) == row.id).values(**values, is_fallback=plan.is_fallback))
        if plan.time_zone != before.time_zone:
            enrolled.moved(tx, lifecycle.mail, row.id, values["time_zone"])
        if plan != before:
            mailboxes.left(tx, (before.email, *before.escalation))
            log.append(
                tx, "owner-changed", plan.name, caller.identity, **values, was=row.name, fallback=plan.is_fallback
            )
        return _owner(find_owner(tx.connection, plan.name))

    return lifecycle.store.write(unit)


def remove(lifecycle: Lifecycle, caller: Caller, name: str, *, heir: str | None = None) -> None:
    """Remove an owner. What is set to it, and its claims, go to `heir`; without one it must have none."""
    caller.must(Operation.MANAGE_OWNERS)

    def unit(tx: Transaction) -> None:
        row = find_owner(tx.connection, name)
        if row.is_fallback:
            raise _is_fallback(row.name)
        to = None if heir is None else find_owner(tx.connection, heir)
        if to is None:
            _refuse_while_it_owns(tx, row)
        else:
            if to.id == row.id:
                raise BadRequest("an owner cannot be its own heir", code="bad-owner")
            answering.inherit(tx, row.id, to.id)
            for table in (Tracked, Lineage, OwnerClaim, Consumer, Alarm):
                tx.execute(update(table).where(col(table.owner_id) == row.id).values(owner_id=to.id))
        tx.execute(delete(Owner).where(col(Owner.id) == row.id))
        enrolled.left(tx, row.id, None if to is None else to.id)
        mailboxes.left(tx, mailboxes.addresses_of(row))
        log.append(tx, "owner-removed", row.name, caller.identity, heir=heir)

    lifecycle.store.write(unit)


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> Owner:
    """One owner."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read() as connection:
        return _owner(find_owner(connection, name))


def listing(lifecycle: Lifecycle, caller: Caller) -> list[Owner]:
    """All owners, by name."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read() as connection:
        rows = connection.execute(select(Owner).order_by(col(Owner.name)).limit(MAX_OWNERS)).all()
    return [_owner(row) for row in rows]


def claim(lifecycle: Lifecycle, caller: Caller, name: str, kind: str, pattern: str) -> str:
    """Give an owner everything that fits a rule; returns the rule as it is kept. `Conflict` if it is another's."""
    caller.must(Operation.MANAGE_OWNERS)
    checked, text = check_claim(kind, pattern)

    def unit(tx: Transaction) -> str:
        owner = find_owner(tx.connection, name)
        of = col(OwnerClaim.kind) == checked.value, col(OwnerClaim.pattern) == text
        query = select(col(OwnerClaim.owner_id), col(Owner.name)).join(Owner, col(Owner.id) == col(OwnerClaim.owner_id))
        found = tx.execute(query.where(*of)).first()
        if found is not None and found.owner_id != owner.id:
            raise Conflict(f"{text} is claimed by {found.name}", code="claimed-already", hint="release it there first")
        if found is None:
            answering.start_over(tx)
            tx.execute(insert(OwnerClaim).values(kind=checked.value, pattern=text, owner_id=owner.id))
            log.append(tx, "claim-added", owner.name, caller.identity, kind=checked.value, pattern=text)
        return text

    return lifecycle.store.write(unit)


def release(lifecycle: Lifecycle, caller: Caller, name: str, kind: str, pattern: str) -> bool:
    """Take a rule back. False if the owner had no such."""
    caller.must(Operation.MANAGE_OWNERS)
    checked, text = check_claim(kind, pattern)

    def unit(tx: Transaction) -> bool:
        owner = find_owner(tx.connection, name)
        of = col(OwnerClaim.kind) == checked.value, col(OwnerClaim.pattern) == text
        theirs = (*of, col(OwnerClaim.owner_id) == owner.id)
        if tx.execute(select(OwnerClaim).where(*theirs)).first() is None:
            return False
        answering.start_over(tx)
        gone = tx.execute(delete(OwnerClaim).where(*theirs)).rowcount
        if gone:
            log.append(tx, "claim-released", owner.name, caller.identity, kind=checked.value, pattern=text)
        return gone > 0

    return lifecycle.store.write(unit)


def claims_of(lifecycle: Lifecycle, caller: Caller, name: str) -> list[tuple[str, str]]:
    """An owner's rules, each as its kind and its pattern."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read() as connection:
        owner = find_owner(connection, name)
        query = select(OwnerClaim).where(col(OwnerClaim.owner_id) == owner.id)
        order = query.order_by(col(OwnerClaim.kind), col(OwnerClaim.pattern)).limit(MAX_OWNERS)
        return [(row.kind, row.pattern) for row in connection.execute(order)]


def assign(
    lifecycle: Lifecycle, caller: Caller, owner: str | None, *, lineage: str | None = None, tracked: str | None = None
) -> None:
    """Say whose a lineage or one certificate is; with None for the owner, leave it to the claims again."""
    caller.must(Operation.MANAGE_INVENTORY)
    if (lineage is None) == (tracked is None):
        raise BadRequest("name a lineage or something tracked, one of them", code="bad-request")

    def unit(tx: Transaction) -> None:
        to = None if owner is None else find_owner(tx.connection, owner)
        table: type[Lineage | Tracked]
        if lineage is not None:
            table, row = Lineage, find_lineage(tx.connection, lineage)
        else:
            table, row = Tracked, find_tracked(tx.connection, tracked or "")
        to_id = None if to is None else to.id
        was_refused = said.taken(tx, f"{'tracked' if lineage is None else 'lineage'}:{row.id}")
        if row.owner_id == to_id and not was_refused:
            return
        answering.hold(tx)
        tx.execute(update(table).where(col(table.id) == row.id).values(owner_id=to_id))
        if lineage is not None:
            answering.settle_lineage(tx, row.id)
        else:
            answering.settle(tx, [row.id])
        subject = row.name if lineage is not None else row.identity
        log.append(tx, "owner-assigned", subject, caller.identity, owner=owner, owner_id=to_id, was=row.owner_id)

    lifecycle.store.write(unit)


def orphans(lifecycle: Lifecycle, caller: Caller, *, cursor: int = 0, limit: int = 100) -> tuple[list[Any], int | None]:
    """A page of what nobody owns; see `renewers/inventory/ownership.orphans`."""
    caller.must(Operation.READ_INVENTORY)
    return ownership.orphans(lifecycle.store, cursor=cursor, limit=limit)


def _checked(plan: OwnerPlan) -> dict[str, Any]:
    """An owner's columns. `BadRequest` says what is wrong with the plan."""
    if not _NAME.fullmatch(plan.name) or plan.name.endswith(" "):
        raise BadRequest(
            f"{shown.line(plan.name, 80)!r} cannot be an owner's name",
            code="bad-owner",
            hint="1 to 63 letters, digits, spaces and . & + @ ' ( ) / -",
        )
    if len(plan.escalation) > MAX_ESCALATION:
        raise BadRequest(f"an escalation has at most {MAX_ESCALATION} steps", code="bad-owner")
    return {
        "name": plan.name,
        "email": _address(plan.email),
        "escalation": json.dumps([_address(address) for address in plan.escalation]),
        "time_zone": _time_zone(plan.time_zone),
    }


def _address(text: str) -> str:
    try:
        return names.make(Kind.EMAIL, text).value
    except BadRequest as error:
        raise BadRequest(
            shown.line(error.message), code="bad-email", hint="a plain ASCII address: name@domain"
        ) from None


def _time_zone(name: str) -> str:
    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        text = shown.line(name, 60)
        raise BadRequest(f"{text!r} is not a time zone", code="bad-time-zone", hint="such as Europe/Berlin") from None


def _refuse_known(tx: Transaction, name: str) -> None:
    if tx.execute(select(col(Owner.id)).where(col(Owner.name) == name)).first() is not None:
        raise Conflict(f"there is already an owner named {name!r}", code="owner-exists")


def _no_fallback(tx: Transaction) -> None:
    tx.execute(update(Owner).where(col(Owner.is_fallback)).values(is_fallback=False))


def _is_fallback(name: str) -> Conflict:
    hint = "make another owner the fallback first"
    return Conflict(f"{name} is the owner to whom orphans fall", code="fallback-owner", hint=hint)


_OWNED = ((Lineage, "lineages"), (Tracked, "certificates"), (Consumer, "consumers"), (OwnerClaim, "claims"))


def _refuse_while_it_owns(tx: Transaction, owner: Any) -> None:
    owned = []
    for table, what in _OWNED:
        count = tx.execute(select(func.count()).select_from(table).where(col(table.owner_id) == owner.id)).scalar_one()
        if count:
            owned.append(f"{count} {what}")
    if owned:
        raise Conflict(f"{owner.name} owns {', '.join(owned)}", code="owner-in-use", hint="name an heir")


def _owner(row: Any) -> Owner:
    return Owner(**row._mapping)
