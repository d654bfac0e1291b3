"""Who is told that a key of theirs may be in other hands: each owner once, as soon as it is known what is affected.

Only for a compromise; who merely gets a new certificate by a planned replacement hears of it by the digest, if at all.
Owners are asked for page by page, outside of any transaction. Whoever continues after a crash asks again, and what was
written down stays so: `renewers/mailing/crossings.py` writes each once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from ca.x509.revocation_list import RevocationReason
from renewers import work
from renewers.inventory.ownership import owners_of
from renewers.lifecycle import Lifecycle
from renewers.mailing import crossings
from renewers.models import ReplacementItem, Rotation, Tracked
from renewers.replacing import listing
from renewers.replacing.underway import Underway, subject
from renewers.work import Claim

PAGE, NAMED = 1000, 5
TOLD = "owners_told_at"
_COMPROMISES = (RevocationReason.KEY_COMPROMISE, RevocationReason.CA_COMPROMISE)


@dataclass
class _Affected:
    """What of one owner's is affected."""

    owner: str
    count: int = 0
    first: list[str] = field(default_factory=list)


def tell(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> Underway:
    """Have each affected owner told, if this is a compromise and all that it is about is listed."""
    if TOLD in replacing.found or "listed_at" not in replacing.found:
        return replacing
    with lifecycle.store.read(snapshot=True) as connection:
        if not _is_compromise(connection, replacing):
            return replacing
        affected = _affected(connection, replacing.id)
    found = {**replacing.found, TOLD: clock.timestamp()}

    def unit(tx: Transaction) -> None:
        work.check(tx, claim)
        for owner_id, one in affected.items():
            _say(tx, replacing, owner_id, one)
        listing.put_down(tx, replacing.id, found)

    lifecycle.store.write(unit)
    return replace(replacing, found=found)


def _say(tx: Transaction, replacing: Underway, owner_id: int | None, one: _Affected) -> None:
    first = ", ".join(one.first) + (" ..." if one.count > len(one.first) else "")
    message = f"{one.count} certificates of {one.owner} are replaced with new keys, after a compromise: {first}"
    hint = f"{replacing.reason}; what is not renewed by itself has to be renewed by its holder, with a new key"
    about = subject(replacing.id)
    crossings.note_compromise(tx, about, owner_id, f"{about} {one.owner}", message, hint)


def _is_compromise(connection: Connection, replacing: Underway) -> bool:
    if replacing.policy.revocation_reason in _COMPROMISES:
        return True
    of_it = select(col(Rotation.is_compromise)).where(col(Rotation.id) == replacing.rotation_id)
    return bool(connection.execute(of_it).scalar())


def _affected(connection: Connection, replacement_id: int) -> dict[int | None, _Affected]:
    """What is affected of whose, without what our own machinery holds."""
    found: dict[int | None, _Affected] = {}
    own, last = listing.NOTES[listing.OWN], 0
    items = select(col(ReplacementItem.tracked_id), col(ReplacementItem.note))
    items = items.where(col(ReplacementItem.replacement_id) == replacement_id).order_by(col(ReplacementItem.tracked_id))
    while page := connection.execute(items.where(col(ReplacementItem.tracked_id) > last).limit(PAGE)).all():
        last = page[-1].tracked_id
        ids = [item.tracked_id for item in page if item.note != own]
        _count(found, connection, connection.execute(select(Tracked).where(col(Tracked.id).in_(ids))).all())
    return found


def _count(found: dict[int | None, _Affected], connection: Connection, rows: Any) -> None:
    owners = owners_of(connection, rows)
    for row in rows:
        owner = owners[row.id].owner
        one = found.setdefault(
            None if owner is None else owner.id, _Affected("nobody" if owner is None else owner.name)
        )
        one.count += 1
        if len(one.first) < NAMED:
            one.first.append(row.shown_as)
