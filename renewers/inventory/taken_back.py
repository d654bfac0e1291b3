"""Who is told that certificates of theirs were revoked and have no successor: whoever uses them is refused from now on.

Each owner once for each stretch of the ledger, in the transaction that ends them. What was replaced before is nobody's
loss, nor is what is not needed any more; a rotation or a replacement that revokes tells of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from ca.x509.revocation_list import RevocationReason
from renewers.inventory.ownership import owners_of
from renewers.inventory.succession import ENDED
from renewers.mailing import crossings
from renewers.models import Lineage, Tracked
from renewers.plain import one_line

NAMED = 5
OURS = "system:"
"""What identities begin with that are no people's: they revoke what they have replaced, and tell of the rest."""
FINE = frozenset({RevocationReason.SUPERSEDED, RevocationReason.CESSATION_OF_OPERATION})
"""Reasons that say themselves that nobody misses it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Why a certificate was revoked (RFC 5280 section 5.3.1), and by whom; None if the table does not say."""

    reason: int | None
    by: str


@dataclass
class _Loss:
    """What one owner has lost."""

    owner: str
    rows: list[Any] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)


def tell(tx: Transaction, taken: Mapping[int, Taken]) -> None:
    """Have the owners told of these, rows of `Tracked` by their ids. To be called before they are ended."""
    missed = {id_: one for id_, one in taken.items() if _is_missed(one)}
    if not missed:
        return
    current = col(Lineage.id).is_(None) | (col(Lineage.current_id) == col(Tracked.id))
    query = (
        select(Tracked)
        .outerjoin(Lineage, col(Lineage.id) == col(Tracked.lineage_id))
        .where(col(Tracked.id).in_(missed), col(Tracked.stage) != ENDED, col(Tracked.not_after) > clock.timestamp())
        .where(col(Tracked.replaced_by).is_(None), current)
        .order_by(col(Tracked.id))
    )
    rows = tx.execute(query).all()
    owners, losses = owners_of(tx.connection, rows), dict[int | None, _Loss]()
    for row in rows:
        owner = owners[row.id].owner
        loss = losses.setdefault(None if owner is None else owner.id, _Loss("nobody" if owner is None else owner.name))
        loss.rows.append(row)
        loss.reasons.add(RevocationReason(missed[row.id].reason or 0).word)
    for owner_id, loss in losses.items():
        _say(tx, owner_id, loss)


def _is_missed(one: Taken) -> bool:
    return one.reason is not None and one.reason not in FINE and not one.by.startswith(OURS)


def _say(tx: Transaction, owner_id: int | None, loss: _Loss) -> None:
    names = [one_line(row.shown_as, 120) or row.identity[:23] for row in loss.rows[:NAMED]]
    why, count = ", ".join(sorted(loss.reasons)), len(loss.rows)
    if count == 1:
        what = names[0]
        message = f"{what} was revoked ({why}): whoever checks refuses it, and nothing has taken its place"
    else:
        what, named = f"{count} certificates of {loss.owner}", ", ".join(names) + (" ..." if count > NAMED else "")
        message = (
            f"{what} were revoked ({why}): {named}; whoever checks refuses them, and nothing has taken their place"
        )
    hint = "Have another one issued, with a new key; where it is renewed here: certwright renew now LINEAGE"
    crossings.note_taken_back(tx, f"revoked:{loss.rows[0].id}", owner_id, what, message, hint)
