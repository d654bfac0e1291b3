"""Having everything replaced that the old CAs have issued: the seam between a rotation and mass replacement.

A rotation begins one replacement for each way that it goes, and finds it again by the rotation's id. What the
replacement does, how fast and in which order is told in `renewers/replacing/replacement.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.store import Transaction
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Replacement
from renewers.replacing import replacement
from renewers.replacing.plans import COMPROMISED_DEADLINE, ReplacementPlan
from renewers.replacing.selection import Selection
from renewers.replacing.underway import KIND, STOPPED
from renewers.rotation.underway import BY, Underway


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replacement is."""

    state: str
    total: int
    pending: int
    """Those that have not come to their end: replaced, verified and, if that was asked for, revoked."""


def begin(lifecycle: Lifecycle, rotation: Underway) -> int:
    """Have everything beneath the outgoing CAs replaced; what was begun already is found again."""
    policy = rotation.policy
    revokes = policy.revokes and not rotation.is_reverting
    plan = ReplacementPlan(
        selection=Selection(authorities=rotation.outgoing),
        reason=rotation.reason,
        per_minute=policy.per_minute,
        revokes=revokes,
        deadline=COMPROMISED_DEADLINE if revokes and rotation.is_compromise else None,
    )

    def unit(tx: Transaction) -> int:
        known = find(tx.connection, rotation)
        return known if known is not None else replacement.write_down(tx, BY, plan, rotation.id)

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
        account = replacement.progress(tx.connection, known)
        replacement.close(tx, known, STOPPED, account, BY.identity, reason="the rotation turns back")
        work.cancel(tx, KIND, str(known))


def progress(connection: Connection, rotation: Underway) -> Progress | None:
    """How far the replacement of a rotation is; None before it was begun."""
    known = find(connection, rotation)
    if known is None:
        return None
    state = connection.execute(select(col(Replacement.state)).where(col(Replacement.id) == known)).scalar_one()
    account = replacement.progress(connection, known)
    return Progress(state, account.total, account.left)
