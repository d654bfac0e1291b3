"""What our own CA has on hold, as the floor that reaches out sees it: an alarm for each, for as long as it lasts.

A hold is a question that somebody has to answer: release it, or revoke it for good. Until then its holder can neither
use nor renew it, so its owner is told, and it counts as nothing that is in force. Costs grow with what is on hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select, text
from sqlmodel import col

from ca import clock
from ca.models import Certificate, Revocation
from ca.store import Transaction
from renewers.inventory.ownership import owners_of
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Tracked
from renewers.plain import one_line
from renewers.telling import alarms
from renewers.telling.alarms import Trouble

HELD = "certificate-held"
MOST = 500
"""How many alarms one look raises or clears: the next one goes on."""
_ON_HOLD = text("revocation.reason = 6")
"""Written out, so that the partial index is found."""


def since(connection: Connection, rows: Sequence[Any]) -> Mapping[int, int]:
    """Since when those of some rows of `Tracked` are on hold that are, by their ids."""
    held = select(col(Certificate.serial), col(Certificate.spki_sha256), col(Revocation.revoked_at))
    held = held.join(Revocation, col(Revocation.serial) == col(Certificate.serial)).where(_ON_HOLD)
    found = connection.execute(held.where(col(Certificate.serial).in_({row.serial for row in rows}))).all()
    known = {(row.serial, row.spki_sha256): row.revoked_at for row in found}
    return {row.id: known[key] for row in rows if (key := (row.serial, row.spki_sha256)) in known}


def watch(lifecycle: Lifecycle) -> int:
    """Raise the alarms of new holds, and clear those of what was released, revoked or has ended; returns how many."""
    with lifecycle.store.read(snapshot=True) as connection:
        standing = set(connection.execute(select(col(Alarm.subject)).where(col(Alarm.kind) == HELD)).scalars())
        query = select(Tracked).join(Revocation, col(Revocation.serial) == col(Tracked.serial)).where(_ON_HOLD)
        rows = connection.execute(query.where(col(Tracked.not_after) >= clock.timestamp())).all()
        held = since(connection, rows)
        there = {row.identity for row in rows if row.id in held}
        new = [row for row in rows if row.id in held and row.identity not in standing][:MOST]
        owners = owners_of(connection, new)
    over = sorted(standing - there)[:MOST]
    if not new and not over:
        return 0

    def unit(tx: Transaction) -> int:
        said = [_trouble(row, held[row.id], owners[row.id].owner) for row in new]
        raised = sum(alarms.raise_alarm(tx, trouble) for trouble in said)
        return raised + sum(alarms.clear_alarm(tx, HELD, identity) for identity in over)

    return int(lifecycle.store.write(unit))


def _trouble(row: Any, held_at: int, owner: Any | None) -> Trouble:
    name = one_line(row.shown_as, 120) or row.identity[:23]
    message = f"{name} is on hold since {clock.from_timestamp(held_at):%Y-%m-%d %H:%M} UTC: whoever checks refuses it"
    hint = f"certwright cert release {row.serial}, or certwright cert revoke it for good"
    who = None if owner is None else owner.id
    return Trouble(HELD, row.identity, "warning", message, hint, who, held_at, row.lineage_id, row.id)
