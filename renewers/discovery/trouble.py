"""When what is seen at an endpoint is an alarm, and when that is over.

One failure is no alarm, and a renewal takes a while to arrive: nothing is said before `PATIENCE` is over. That what is
served expires is the watch's to say (`renewers/timing/judging.py`), from the sightings, whatever the renewer believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers.discovery.findings import NOT_THE_ISSUED
from renewers.inventory.joining import HOLDER
from renewers.models import Endpoint, Lineage, Tracked
from renewers.telling import alarms
from renewers.telling.alarms import Trouble

UNREACHABLE, NOT_ISSUED = "endpoint-unreachable", "endpoint-not-the-issued"
PATIENCE = 3600
"""Seconds that something may be wrong before it is said."""
FAILURES = 3
"""Failures in a row that it takes to call an endpoint unreachable."""


def weigh_seen(
    tx: Transaction, endpoint: Any, tracked: Any, lineage: Any | None, found: Sequence[str], first_seen: int
) -> None:
    """Somebody answered: raise what is wrong with it, clear what is not."""
    if endpoint.failing_since is not None:
        alarms.clear_alarm(tx, UNREACHABLE, endpoint.place)
    if NOT_THE_ISSUED not in found:
        if NOT_THE_ISSUED in endpoint.findings:  # as they were before
            alarms.clear_alarm(tx, NOT_ISSUED, endpoint.place)
        return
    if lineage is None or lineage.mode == HOLDER:  # many hosts hold one name, each with a certificate of its own
        return
    issued = tx.execute(select(Tracked).where(col(Tracked.id) == (lineage.current_id or 0))).first()
    since = max(first_seen, issued.recorded_at if issued is not None else 0)
    if clock.timestamp() - since <= PATIENCE:
        return
    message = f"{endpoint.place} does not serve what was issued for {lineage.name}, but the one with {tracked.identity}"
    hint = "bring the issued one there, or see who put another one in its place"
    owner_id = lineage.owner_id or tracked.owner_id
    about = {"lineage_id": lineage.id, "tracked_id": tracked.id}
    alarms.raise_alarm(tx, Trouble(NOT_ISSUED, endpoint.place, "error", message, hint, owner_id, since, **about))


def weigh_missed(tx: Transaction, endpoint_id: int, failures: int) -> None:
    """Nobody answered, `failures` times in a row: raise it, once that has lasted."""
    row = tx.execute(select(Endpoint).where(col(Endpoint.id) == endpoint_id)).one()
    since = row.failing_since or clock.timestamp()
    if failures < FAILURES or clock.timestamp() - since <= PATIENCE:
        return
    lineage = tx.execute(select(Lineage).where(col(Lineage.id) == (row.lineage_id or 0))).first()
    owner_id = lineage.owner_id if lineage is not None else None
    message = f"{row.place} has shown no certificate for a while: {row.last_error}"
    hint = "if it is gone for good, forget it; else see why it does not answer"
    alarms.raise_alarm(tx, Trouble(UNREACHABLE, row.place, "warning", message, hint, owner_id, since))
