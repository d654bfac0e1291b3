"""Nobody waits any more: somebody says that something is out of use, or replaced; what is long over is forgotten.

These words silence alarms, so they take the right to manage the inventory and stand in the ledger with who said them.
What is still seen in use is watched all the same (`renewers/timing/judging.py`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, exists, or_, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict
from ca.ledger import log
from ca.store import Transaction
from renewers.inventory import said, shown
from renewers.inventory.finding import find_tracked
from renewers.inventory.joining import RENEWED
from renewers.inventory.succession import ENDED, forget_empty
from renewers.inventory.track import end
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Endpoint, Lineage, Sighting, Tracked, TrackedContent, TrackedName

PAGE = 500


def retire(lifecycle: Lifecycle, caller: Caller, what: str, reason: str) -> bool:
    """It is out of use; nobody has to renew it. False if that is known. A lineage that we renew is removed instead."""
    caller.must(Operation.MANAGE_INVENTORY)

    return lifecycle.store.write(lambda tx: give_up(tx, caller, find_tracked(tx.connection, what), reason))


def give_up(tx: Transaction, caller: Caller, row: Any, reason: str) -> bool:
    """The same in a transaction, for whoever has checked that the caller may."""
    lineage = tx.execute(select(Lineage).where(col(Lineage.id) == row.lineage_id)).first()
    if lineage is not None and lineage.mode == RENEWED and lineage.current_id == row.id:
        hint = "change who renews it, or remove the lineage"
        raise Conflict(f"{row.shown_as} is renewed, as {lineage.name}", code="lineage-in-use", hint=hint)
    if not end(tx, [row.id]):
        return False
    log.append(tx, "certificate-retired", row.identity, caller.identity, reason=shown.line(reason))
    return True


def replace(lifecycle: Lifecycle, caller: Caller, what: str, by: str) -> bool:
    """The one has taken the other's place, which nothing else proves. False if that is known."""
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> bool:
        before, after = find_tracked(tx.connection, what), find_tracked(tx.connection, by)
        if before.id == after.id or before.kind != after.kind or after.replaced_by == before.id:
            raise BadRequest("a certificate is replaced by another one of its kind", code="bad-request")
        if before.replaced_by == after.id:
            return False
        changes = {"replaced_by": after.id, "next_look": clock.timestamp()}
        tx.execute(update(Tracked).where(col(Tracked.id) == before.id).values(**changes))
        led = update(Lineage).where(col(Lineage.id) == before.lineage_id, col(Lineage.current_id) == before.id)
        if after.lineage_id == before.lineage_id:
            tx.execute(led.where(col(Lineage.mode) != RENEWED).values(current_id=after.id))
        log.append(tx, "certificate-replaced", before.identity, caller.identity, by_certificate=after.identity)
        return True

    return lifecycle.store.write(unit)


def prune(lifecycle: Lifecycle, keep: timedelta, *, page: int = PAGE) -> int:
    """Forget one page of what has ended or was replaced, expired longer than `keep` ago, and is seen nowhere.

    What an alarm stands for stays until the watch has looked and cleared that: nobody else would.
    """
    horizon = clock.timestamp() - max(0, int(keep.total_seconds())) - 1
    query = (
        select(col(Tracked.id), col(Tracked.lineage_id))
        .outerjoin(Lineage, col(Lineage.id) == col(Tracked.lineage_id))
        .outerjoin(Endpoint, col(Endpoint.tracked_id) == col(Tracked.id))
        .where(col(Tracked.not_after) < horizon, col(Endpoint.id).is_(None))
        .where(or_(col(Tracked.replaced_by).is_not(None), col(Tracked.stage) == ENDED))
        .where(~exists().where(col(Alarm.subject) == col(Tracked.identity)))
        .where(or_(col(Lineage.id).is_(None), col(Lineage.mode) != RENEWED, col(Lineage.current_id) != col(Tracked.id)))
        .order_by(col(Tracked.not_after))
        .limit(page)
    )

    def unit(tx: Transaction) -> int:
        rows = tx.execute(query).all()
        ids = [row.id for row in rows]
        if ids:
            for table in (TrackedName, TrackedContent, Sighting):
                tx.execute(delete(table).where(col(table.tracked_id).in_(ids)))
            tx.execute(delete(Tracked).where(col(Tracked.id).in_(ids)))
            said.forget(tx, "tracked", ids)
            lineages = {row.lineage_id for row in rows if row.lineage_id is not None}
            dangling = update(Lineage).where(col(Lineage.id).in_(lineages), col(Lineage.current_id).in_(ids))
            tx.execute(dangling.values(current_id=None))
            forget_empty(tx, lineages)
            log.append(tx, "inventory-pruned", "retention", "system:retention", count=len(ids), before=horizon)
        return len(ids)

    return lifecycle.store.write(unit)
