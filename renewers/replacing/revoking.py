"""Revoking what was replaced: after its replacement was verified or, once the deadline is over, whatever became of it.

Only what a CA of ours has issued, byte for byte, is revoked; that somebody else's certificate has a serial number of
ours means nothing. A certificate and its item change in one transaction: what is `revoked` here is on its way to the
CRL, and what is not was not revoked by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select
from sqlmodel import col

from ca import clock, revocation
from ca.errors import Conflict
from ca.models import Certificate, Revocation
from ca.store import Transaction
from ca.store.commit import StaleChange
from ca.x509.certificate import algorithm_of, assemble
from ca.x509.revocation_list import HOLD
from renewers import work
from renewers.inventory.facts import fingerprint_identity
from renewers.lifecycle import Lifecycle
from renewers.models import ReplacementItem, Tracked
from renewers.replacing import settling
from renewers.replacing.underway import BY, FOREIGN, RENEWING, REPLACED, REVOKED, VERIFIED, WAITING, Underway
from renewers.work import Claim

PAGE = 200
NOT_OURS = "it is not of a CA of ours, so that it is not ours to revoke"
NOTES = {
    WAITING: "revoked at the deadline, though it was not replaced",
    RENEWING: "revoked at the deadline, though it was not replaced",
    REPLACED: "revoked at the deadline, though its replacement was not seen everywhere",
    VERIFIED: "",
}

_QUERY: Any = (
    select(
        *(ReplacementItem, col(Tracked.identity), col(Tracked.not_after), col(Certificate.authority_id)),
        *(col(Certificate.shard), col(Certificate.tbs), col(Certificate.signature)),
    )
    .join(Tracked, col(Tracked.id) == col(ReplacementItem.tracked_id))
    .outerjoin(Certificate, col(Certificate.serial) == col(Tracked.serial))
    .where(col(ReplacementItem.replacement_id) == bindparam("of"), col(ReplacementItem.state) == bindparam("in_state"))
    .where(col(ReplacementItem.note).not_in((FOREIGN, NOT_OURS)))
    .order_by(col(ReplacementItem.place), col(ReplacementItem.tracked_id))
    .limit(PAGE)
)


def revoke(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> int:
    """Revoke what is to be revoked now; returns how many."""
    if not replacing.revokes:
        return 0
    deadline = replacing.policy.deadline_at
    is_over = deadline is not None and clock.timestamp() >= deadline
    return sum(
        _revoke_in(lifecycle, claim, replacing, state)
        for state in ((VERIFIED, REPLACED, RENEWING, WAITING) if is_over else (VERIFIED,))
    )


def _revoke_in(lifecycle: Lifecycle, claim: Claim, replacing: Underway, state: str) -> int:
    total = 0
    while True:
        with lifecycle.store.read() as connection:
            rows = connection.execute(_QUERY, {"of": replacing.id, "in_state": state}).all()
        if not rows:
            return total
        ours = [row for row in rows if _is_ours(row)]
        foreign = [row for row in rows if not _is_ours(row)]
        try:
            total += lifecycle.store.write(lambda tx: _write(tx, claim, replacing, ours, foreign))  # noqa: B023 - at once
        except StaleChange:
            raise
        except Conflict:  # somebody else revokes one of them at this very moment: the next look finds it so
            return total


def _write(tx: Transaction, claim: Claim, replacing: Underway, ours: Sequence[Any], foreign: Sequence[Any]) -> int:
    work.check(tx, claim)
    serials = [row.serial for row in ours]
    query = select(col(Revocation.serial)).where(col(Revocation.serial).in_(serials), col(Revocation.reason) != HOLD)
    gone = set(tx.execute(query).scalars())
    left = [row for row in ours if row.serial not in gone and row.not_after >= clock.timestamp()]
    kept = ("serial", "authority_id", "shard", "not_after")
    certificates = [{name: row._mapping[name] for name in kept} for row in left]
    reason = replacing.policy.revocation_reason
    revocation.record(tx, certificates, BY.identity, reason, clock.timestamp())
    changes = [settling.change(row, REVOKED, NOTES[row.state]) for row in left]
    ended = [settling.change(row, "ended", "ended meanwhile") for row in ours if row not in left]
    others = [settling.change(row, row.state, FOREIGN if row.state == VERIFIED else NOT_OURS) for row in foreign]
    for some in (changes, ended, others):
        settling.put(tx, some)
    return len(left)


def _is_ours(row: Any) -> bool:
    """Whether it is the very certificate that we have issued under this serial number."""
    if row.tbs is None or row.signature is None:
        return False
    der = assemble(row.tbs, algorithm_of(row.tbs), row.signature)
    return bool(fingerprint_identity(der) == row.identity)
