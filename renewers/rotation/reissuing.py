"""Having everything replaced that the old CAs have issued: the seam between a rotation and mass replacement.

A rotation begins one replacement for each way that it goes, and finds it again by the rotation's id. What the
replacement does, how fast and in which order is `renewers/models/rotating.py`'s `Replacement` and whoever works on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Replacement, ReplacementItem
from renewers.rotation.underway import BY, Underway

KIND = "replace"
OPEN, STOPPED = "open", "stopped"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replacement is."""

    state: str
    total: int
    pending: int
    """Those that are to be replaced yet."""


def begin(lifecycle: Lifecycle, rotation: Underway) -> int:
    """Have everything beneath the outgoing CAs replaced; what was begun already is found again."""
    policy, moment = rotation.policy, clock.timestamp()
    row = {
        "rotation_id": rotation.id,
        "state": OPEN,
        "selection": json.dumps({"authorities": list(rotation.outgoing)}),
        "reason": rotation.reason,
        "per_minute": policy.per_minute,
        "revokes": policy.revokes and not rotation.is_reverting,
        "counts": "{}",
        "started_at": moment,
        "started_by": BY.identity,
    }

    def unit(tx: Transaction) -> int:
        if (known := find(tx.connection, rotation)) is not None:
            return known
        made = int(tx.execute(insert(Replacement).values(**row).returning(col(Replacement.id))).scalar_one())
        details = {"authorities": list(rotation.outgoing), "rotation": rotation.id}
        log.append(tx, "replacement-begun", str(made), BY.identity, **details)
        work.schedule(tx, KIND, str(made), moment)
        return made

    return lifecycle.store.write(unit)


def find(connection: Connection, rotation: Underway) -> int | None:
    """The replacement of a rotation on the way that it goes now; one that was stopped is of the other way."""
    of_it = select(col(Replacement.id)).where(col(Replacement.rotation_id) == rotation.id)
    newest = of_it.where(col(Replacement.state) != STOPPED).order_by(col(Replacement.id).desc()).limit(1)
    return connection.execute(newest).scalar()


def stop(tx: Transaction, rotation: Underway) -> None:
    """Replace no more: the rotation turns back."""
    known = find(tx.connection, rotation)
    if known is not None:
        values = {"state": STOPPED, "ended_at": clock.timestamp()}
        tx.execute(update(Replacement).where(col(Replacement.id) == known).values(**values))
        work.cancel(tx, KIND, str(known))


def progress(connection: Connection, rotation: Underway) -> Progress | None:
    """How far the replacement of a rotation is; None before it was begun."""
    known = find(connection, rotation)
    if known is None:
        return None
    state = connection.execute(select(col(Replacement.state)).where(col(Replacement.id) == known)).scalar_one()
    groups = select(col(ReplacementItem.state), func.count()).where(col(ReplacementItem.replacement_id) == known)
    counts = {row[0]: row[1] for row in connection.execute(groups.group_by(col(ReplacementItem.state)))}
    return Progress(state, sum(counts.values()), counts.get("waiting", 0) + counts.get("renewing", 0))
