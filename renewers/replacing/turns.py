"""Whose turn it is: those that are next, up to the pace, have their renewal hurried, with a new key.

That a lineage's current certificate is an item in state `renewing` is all that is written down: `renewing/planning`
finds it there, so that no renewal is forgotten and none is forced twice. The pace is a credit that grows with time and
never beyond a few seconds' worth: whatever was stopped for an hour does not make up for it all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlmodel import col

from ca import certificates, clock, revocation
from ca.models import Revocation
from ca.store import Transaction
from ca.x509.revocation_list import RevocationReason
from renewers import work
from renewers.inventory.joining import RENEWED
from renewers.inventory.lineages import RENEW
from renewers.inventory.succession import ENDED as OVER
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, ReplacementItem, Tracked, Work
from renewers.replacing import listing
from renewers.replacing.order import OTHERS
from renewers.replacing.underway import BY, ENDED, RENEWING, WAITING, Underway
from renewers.work import Claim

BURST = 5
"""Seconds of the pace that may be made up for."""
MOST = 500
"""Turns in one transaction."""

_OF_IT = col(ReplacementItem.replacement_id) == bindparam("of"), col(ReplacementItem.tracked_id) == bindparam("which")
_CHANGE = (
    update(ReplacementItem)
    .where(*_OF_IT)
    .values(state=bindparam("to"), place=bindparam("at_place"), changed_at=bindparam("at"), note=bindparam("why"))
)
NEXT: Any = (
    select(
        *(ReplacementItem, col(Tracked.not_after), col(Tracked.stage), col(Tracked.spki_sha256)),
        *(col(Lineage.mode), col(Lineage.key_type), col(Revocation.revoked_by)),
    )
    .join(Tracked, col(Tracked.id) == col(ReplacementItem.tracked_id))
    .outerjoin(Lineage, col(Lineage.id) == col(ReplacementItem.lineage_id))
    .outerjoin(Revocation, certificates.is_revoked_for_good(Tracked.serial))
    .where(col(ReplacementItem.replacement_id) == bindparam("of"), col(ReplacementItem.state) == WAITING)
)
_OURS = NEXT.where(col(ReplacementItem.place) < OTHERS).order_by(
    col(ReplacementItem.place), col(ReplacementItem.tracked_id)
)


@dataclass(slots=True)
class _Turns:
    """What becomes of those whose turn it is."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    lineages: list[str] = field(default_factory=list)

    def put(self, row: Any, state: str, note: str = "", *, place: int | None = None) -> None:
        """This becomes of one."""
        at_place = row.place if place is None else place
        known = {"of": row.replacement_id, "which": row.tracked_id, "at": clock.timestamp()}
        self.changes.append({**known, "to": state, "at_place": at_place, "why": note})


def take(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> tuple[Underway, int]:
    """Let those begin whose turn it is; returns how the replacement stands, and how many these were."""
    total = 0
    while True:
        now = clock.timestamp()
        credit = allowance(replacing.found, replacing.per_minute, now)
        limit = min(int(credit), MOST)
        with lifecycle.store.read() as connection:
            rows = connection.execute(_OURS.limit(limit), {"of": replacing.id}).all() if limit else []
        if not rows:
            return replacing, total
        if replacing.policy.revocation_reason is RevocationReason.KEY_COMPROMISE and replacing.revokes:
            _block(lifecycle, rows)
        turns = _sort(lifecycle, replacing, rows)
        found = {**replacing.found, "paced_at": now, "credit": credit - len(turns.lineages)}
        lifecycle.store.write(_Taking(claim, replacing.id, turns, found))
        replacing, total = replace(replacing, found=found), total + len(turns.lineages)


def allowance(found: Mapping[str, Any], per_minute: int, now: int) -> float:
    """How many may begin now."""
    rate = per_minute / 60
    if "paced_at" not in found:
        return max(1.0, rate)
    grown = float(found["credit"]) + rate * max(now - int(found["paced_at"]), 0)
    return min(grown, max(1.0, rate * BURST))


def ending(row: Any, now: int) -> str | None:
    """The note of what has come to its end by itself; None for what goes on."""
    if row.revoked_by is not None:
        return f"revoked by {row.revoked_by}"
    if row.not_after < now:
        return "expired"
    return "given up" if row.stage == OVER else None


def obstacle(lifecycle: Lifecycle, replacing: Underway, row: Any) -> str | None:
    """The note of what our renewing would not mend; None if it would."""
    if row.mode != RENEWED:
        return listing.NOTES.get(row.mode or "holder", listing.NOTES["holder"])
    key_type = row.key_type or str(lifecycle.policy.key_type)
    if replacing.selection.key_type == key_type:
        return f"its lineage asks for {key_type} keys: change that"
    return None


def _sort(lifecycle: Lifecycle, replacing: Underway, rows: Sequence[Any]) -> _Turns:
    turns, now = _Turns(), clock.timestamp()
    for row in rows:
        if (over := ending(row, now)) is not None:
            turns.put(row, ENDED, over)
        elif (why := obstacle(lifecycle, replacing, row)) is not None:
            turns.put(row, WAITING, why, place=row.place + OTHERS)
        else:
            turns.put(row, RENEWING)
            turns.lineages.append(str(row.lineage_id))
    return turns


def _block(lifecycle: Lifecycle, rows: Sequence[Any]) -> None:
    """A key that is in the wrong hands is certified no more, whoever asks."""
    for spki in {row.spki_sha256 for row in rows if row.spki_sha256 is not None}:
        if not revocation.is_blocked(lifecycle.installation, spki):
            revocation.block_key(lifecycle.installation, BY, spki, RevocationReason.KEY_COMPROMISE.word)


@dataclass(frozen=True, slots=True)
class _Taking:
    """The unit that lets them begin."""

    claim: Claim
    replacement_id: int
    turns: _Turns
    found: Mapping[str, Any]

    def __call__(self, tx: Transaction) -> None:
        work.check(tx, self.claim)
        tx.execute(_CHANGE, self.turns.changes)
        hurry_all(tx, self.turns.lineages)
        listing.put_down(tx, self.replacement_id, self.found)


def hurry_all(tx: Transaction, lineages: Sequence[str]) -> None:
    """Have these renewed now, whatever was planned; those that were stopped or are failing, too."""
    if not lineages:
        return
    now = clock.timestamp()
    work.schedule_all(tx, RENEW, lineages, now)
    waiting = col(Work.kind) == RENEW, col(Work.subject).in_(lineages), col(Work.failing_since).is_not(None)
    for subject in tx.execute(select(col(Work.subject)).where(*waiting)).scalars().all():
        work.hurry(tx, RENEW, subject)
