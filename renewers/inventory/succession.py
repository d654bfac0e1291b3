"""What replaced what: which certificate of a lineage is the current one, and which it has taken the place of.

The newest is current: the one that begins last, of two the one that came later. In a lineage that we renew it is the
newest that we renewed. What is replaced is no longer waited for, so a claim to replace needs somebody who vouches for
it: our CA, our renewals, whoever may import. A certificate that was merely seen somewhere is anybody's (row 21 of the
field's failures): it replaces what was signed by the same CA key, or what it was seen instead of at the same place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from sqlalchemy import bindparam, delete, select, update
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from ca.x509 import bundle
from renewers.inventory import said
from renewers.inventory.joining import BY_US, RENEWED, SCANNED
from renewers.models import Destination, Endpoint, Lineage, Tracked, TrackedContent

ENDED = "ended"
EARLY = 86400
"""Seconds by which a certificate that nobody vouches for may begin in the future and still be the current one."""

_STANDING = select(
    *(col(Tracked.id), col(Tracked.lineage_id), col(Tracked.source), col(Tracked.stage)),
    *(col(Tracked.not_before), col(Tracked.not_after)),
).where(col(Tracked.replaced_by).is_(None))
_MAKE_CURRENT = update(Lineage).where(col(Lineage.id) == bindparam("of")).values(current_id=bindparam("newest"))
_OPEN = col(Tracked.id) == bindparam("of"), col(Tracked.replaced_by).is_(None)
_LOOK_AGAIN = update(Tracked).where(*_OPEN, col(Tracked.stage) != ENDED).values(next_look=bindparam("now"))
_REPLACE = update(Tracked).where(*_OPEN).values(replaced_by=bindparam("newest"))


@dataclass(slots=True)
class _Changes:
    """What follows for many lineages, to be written with few statements."""

    currents: list[dict[str, Any]] = field(default_factory=list)
    replaced: list[dict[str, Any]] = field(default_factory=list)

    def write(self, tx: Transaction) -> None:
        """What is replaced is looked at once more, by the watch; what has ended stays ended."""
        if self.currents:
            tx.execute(_MAKE_CURRENT, self.currents)
        if self.replaced:
            now = clock.timestamp()
            tx.execute(_LOOK_AGAIN, [{"of": change["of"], "now": now} for change in self.replaced])
            tx.execute(_REPLACE, self.replaced)


def settle(tx: Transaction, lineage_ids: Collection[int]) -> None:
    """Work out the current certificate of each lineage, and what it has replaced."""
    if not lineage_ids:
        return
    ordered = select(Lineage).where(col(Lineage.id).in_(lineage_ids)).order_by(col(Lineage.id))
    lineages = tx.execute(ordered.with_for_update()).all()
    members: dict[int, dict[int, Any]] = {}
    for row in tx.execute(_STANDING.where(col(Tracked.lineage_id).in_(lineage_ids))):
        members.setdefault(row.lineage_id, {})[row.id] = row
    changes = _Changes()
    for lineage in lineages:
        _settle(tx, lineage, members.get(lineage.id, {}), changes)
    changes.write(tx)


def seen_instead(tx: Transaction, before_id: int, after_id: int) -> bool:
    """At one place the one was seen, and now the other: that is a replacement, once the first is seen nowhere else.

    Call it when the endpoint's row says the new one. False if it is no replacement: of another lineage, older, still
    seen at another place, or of a lineage that we renew, where nobody replaces but we.
    """
    if before_id == after_id:
        return False
    rows = {row.id: row for row in tx.execute(_STANDING.where(col(Tracked.id).in_((before_id, after_id))))}
    before, after = rows.get(before_id), rows.get(after_id)
    if before is None or after is None or before.lineage_id is None or before.lineage_id != after.lineage_id:
        return False
    if _place(before) > _place(after):
        return False
    lineage = tx.execute(select(Lineage).where(col(Lineage.id) == before.lineage_id).with_for_update()).one()
    elsewhere = select(col(Endpoint.id)).where(col(Endpoint.tracked_id) == before_id).limit(1)
    if lineage.mode == RENEWED or tx.execute(elsewhere).first() is not None:
        return False
    changes = _Changes(replaced=[{"of": before_id, "newest": after_id}])
    if lineage.current_id == before_id:
        changes.currents.append({"of": lineage.id, "newest": after_id})
    changes.write(tx)
    return True


def _settle(tx: Transaction, lineage: Any, standing: dict[int, Any], changes: _Changes) -> None:
    current = max(_candidates(lineage, standing.values()), key=_place, default=None)
    if current is None:
        before = standing.get(lineage.current_id)
        if before is not None and before.stage == ENDED:
            _go_back(tx, lineage)
        return
    if lineage.current_id != current.id:
        changes.currents.append({"of": lineage.id, "newest": current.id})
    older = [row for row in standing.values() if row.id != current.id and _place(row) < _place(current)]
    replaced = [row.id for row in older if _vouched(current) or _same_signer(tx, row.id, current.id)]
    changes.replaced += [{"of": id_, "newest": current.id} for id_ in replaced]


def _candidates(lineage: Any, standing: Iterable[Any]) -> list[Any]:
    """Those of which the newest is current: in a lineage that we renew our own, else what somebody vouches for, if any.

    Until we have renewed what was taken over, what was current stays so.
    """
    alive = [row for row in standing if row.stage != ENDED]
    if lineage.mode == RENEWED:
        return [row for row in alive if row.source == BY_US]
    soon = clock.timestamp() + EARLY
    return [row for row in alive if _vouched(row)] or [row for row in alive if row.not_before <= soon]


def _place(row: Any) -> tuple[int, int]:
    return row.not_before, row.id


def _vouched(row: Any) -> bool:
    return bool(row.source != SCANNED)


def _go_back(tx: Transaction, lineage: Any) -> None:
    """The current one was revoked, and nothing came after it: the newest before it that is still valid counts again."""
    now = clock.timestamp()
    alive = col(Tracked.lineage_id) == lineage.id, col(Tracked.not_after) > now, col(Tracked.stage) != ENDED
    order = (col(Tracked.not_before).desc(), col(Tracked.id).desc())
    found = tx.execute(select(col(Tracked.id)).where(*alive).order_by(*order).limit(1)).scalar()
    tx.execute(update(Lineage).where(col(Lineage.id) == lineage.id).values(current_id=found))
    if found is not None:
        again = {"replaced_by": None, "next_look": now}
        tx.execute(update(Tracked).where(col(Tracked.id) == found).values(**again))


def forget_empty(tx: Transaction, lineage_ids: Collection[int]) -> None:
    """Lineages of which nothing is left, and that nobody has said anything about, go."""
    if not lineage_ids:
        return
    used = [
        select(col(table.lineage_id)).where(col(table.lineage_id) == col(Lineage.id)).exists()
        for table in (Tracked, Endpoint, Destination)
    ]
    unsaid = col(Lineage.owner_id).is_(None), col(Lineage.mode) != RENEWED
    empty = delete(Lineage).where(col(Lineage.id).in_(lineage_ids), *unsaid)
    gone = tx.execute(empty.where(*[~exists for exists in used]).returning(col(Lineage.id))).scalars().all()
    said.forget(tx, "lineage", gone)


def _same_signer(tx: Transaction, before_id: int, after_id: int) -> bool:
    """Whether one CA key, whose certificate came with the older one, has signed both."""
    query = select(TrackedContent).where(col(TrackedContent.tracked_id).in_((before_id, after_id)))
    contents = {row.tracked_id: row for row in tx.execute(query)}
    if len(contents) != 2 or not contents[before_id].chain:
        return False
    try:
        before, after = (x509.load_der_x509_certificate(contents[id_].der) for id_ in (before_id, after_id))
        issuers = bundle.read_certificates(contents[before_id].chain.encode())
    except Exception:  # noqa: BLE001 - parsers raise what they like; what cannot be read proves nothing
        return False
    return any(_signed(before, issuer) and _signed(after, issuer) for issuer in issuers)


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - any doubt is a no
        return False
    return True
