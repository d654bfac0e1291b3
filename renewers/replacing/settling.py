"""What became of those that are under way: ended by itself, replaced, verified; looked at in the tables, never told.

A certificate is replaced when its lineage has another one with a new key and nothing of what is wrong with the old one;
if what it has now is to be replaced as well, that joins the queue in its place. It is verified when every destination
of the lineage has another one and no place was seen serving the old one since. Every look asks only for what has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, cast, or_, select, update
from sqlalchemy.orm import aliased
from sqlmodel import col

from ca import certificates, clock
from ca.models import Revocation
from ca.store import Transaction
from renewers import work
from renewers.delivering.attempts import THERE
from renewers.inventory.joining import RENEWED, insert_new
from renewers.inventory.lineages import RENEW
from renewers.inventory.succession import ENDED as OVER
from renewers.lifecycle import Lifecycle
from renewers.models import Destination, Endpoint, Lineage, ReplacementItem, Tracked, Work
from renewers.replacing import selection, turns
from renewers.replacing.order import OTHERS
from renewers.replacing.selection import Resolved
from renewers.replacing.underway import ENDED, RENEWING, REPLACED, VERIFIED, WAITING, Underway
from renewers.work import Claim

PAGE = 500
UNHURRIED = 30
"""Seconds after which a renewal that nobody has planned is planned again: somebody was at it when its turn came."""
Change = Mapping[str, Any]

_CHANGE: Any = (
    update(ReplacementItem)
    .where(col(ReplacementItem.replacement_id) == bindparam("of"))
    .where(col(ReplacementItem.tracked_id) == bindparam("which"), col(ReplacementItem.state) == bindparam("was"))
    .values(state=bindparam("to"), successor_id=bindparam("by"), changed_at=bindparam("at"), note=bindparam("why"))
)
_NOTE = (
    update(ReplacementItem)
    .where(
        col(ReplacementItem.replacement_id) == bindparam("of"), col(ReplacementItem.tracked_id) == bindparam("which")
    )
    .values(note=bindparam("why"))
)


def settle(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> int:
    """Write down what has moved since the last look; returns how many items that were."""
    with lifecycle.store.read() as connection:
        resolved = selection.resolve(lifecycle, connection, replacing.selection)
    moved = _all(lifecycle, claim, replacing, _over(replacing), _ended)
    moved += _all(lifecycle, claim, replacing, _changed(replacing), lambda row: _replaced(resolved, row))
    moved += _all(lifecycle, claim, replacing, _proved(replacing), _verified)
    _follow(lifecycle, claim, replacing, resolved)
    _hand_over(lifecycle, claim, replacing)
    _note_failures(lifecycle, claim, replacing)
    return moved


def change(row: Any, to: str, note: str = "", *, successor_id: int | None = None) -> Change:
    """One item goes to another state."""
    known = {"of": row.replacement_id, "which": row.tracked_id, "was": row.state, "at": clock.timestamp()}
    return {**known, "to": to, "why": note, "by": successor_id or row.successor_id}


def put(tx: Transaction, changes: Sequence[Change]) -> None:
    """Write changes down, in a transaction that checks the claim."""
    if changes:
        tx.execute(_CHANGE, list(changes))


def _all(
    lifecycle: Lifecycle,
    claim: Claim,
    replacing: Underway,
    query: Select[Any],
    judge: Callable[[Any], Change | None],
) -> int:
    """Page through what has moved: what is judged is written down, and so does not come again."""
    moved, after = 0, 0
    while True:
        page = (
            query.where(col(ReplacementItem.tracked_id) > after).order_by(col(ReplacementItem.tracked_id)).limit(PAGE)
        )
        with lifecycle.store.read() as connection:
            rows = connection.execute(page, {"of": replacing.id}).all()
        changes = [found for row in rows if (found := judge(row)) is not None]
        if changes:
            _write(lifecycle, claim, partial(put, changes=changes))
        moved += len(changes)
        if len(rows) < PAGE:
            return moved
        after = rows[-1].tracked_id


def _write(lifecycle: Lifecycle, claim: Claim, do: Callable[[Transaction], Any]) -> None:
    """In one transaction, refused to who is no longer the holder."""

    def unit(tx: Transaction) -> None:
        work.check(tx, claim)
        do(tx)

    lifecycle.store.write(unit)


def _items(*more: Any, states: Sequence[str]) -> Select[Any]:
    """Items in these states with their certificate and lineage."""
    return (
        select(ReplacementItem, *more)
        .join(Tracked, col(Tracked.id) == col(ReplacementItem.tracked_id))
        .outerjoin(Lineage, col(Lineage.id) == col(ReplacementItem.lineage_id))
        .where(col(ReplacementItem.replacement_id) == bindparam("of"), col(ReplacementItem.state).in_(states))
    )


def _over(replacing: Underway) -> Select[Any]:
    """What has come to its end by itself."""
    states = (RENEWING, REPLACED, *((VERIFIED,) if replacing.revokes else ()))
    query = _items(col(Tracked.not_after), col(Tracked.stage), col(Revocation.revoked_by), states=states)
    query = query.outerjoin(Revocation, certificates.is_revoked_for_good(Tracked.serial))
    expired = col(Tracked.not_after) < clock.timestamp()
    return query.where(or_(expired, col(Tracked.stage) == OVER, col(Revocation.serial).is_not(None)))


def _ended(row: Any) -> Change | None:
    return change(row, ENDED, turns.ending(row, clock.timestamp()) or "")


_AFTER = aliased(Tracked)
_SUCCESSOR: tuple[Any, ...] = (
    *(col(_AFTER.id).label("after_id"), col(_AFTER.issuer).label("issuer")),
    *(col(_AFTER.spki_sha256).label("spki_sha256"), col(_AFTER.key_type).label("key_type")),
    col(Tracked.spki_sha256).label("before_spki"),
)


def _changed(_replacing: Underway) -> Select[Any]:
    """What is being renewed, whose lineage has another certificate."""
    query = _items(*_SUCCESSOR, states=(RENEWING,)).join(_AFTER, col(_AFTER.id) == col(Lineage.current_id))
    return query.where(col(Lineage.mode) == RENEWED, col(Lineage.current_id) != col(ReplacementItem.tracked_id))


def _replaced(resolved: Resolved, row: Any) -> Change | None:
    return change(row, REPLACED, successor_id=row.after_id) if resolved.replaces(row.before_spki, row) else None


def _proved(_replacing: Underway) -> Select[Any]:
    """What is used nowhere any more, as far as was seen."""
    at, place = Destination, Endpoint
    not_there = or_(
        col(at.state).not_in(THERE),
        col(at.delivered_id).is_(None),
        col(at.delivered_id) != col(at.wanted_id),
        col(at.delivered_id) == col(ReplacementItem.tracked_id),
    )
    waiting = select(col(at.id)).where(col(at.lineage_id) == col(ReplacementItem.lineage_id), not_there)
    serving = select(col(place.id)).where(col(place.tracked_id) == col(ReplacementItem.tracked_id))
    return _items(states=(REPLACED,)).where(~waiting.exists(), ~serving.exists())


def _verified(row: Any) -> Change | None:
    return change(row, VERIFIED)


def _follow(lifecycle: Lifecycle, claim: Claim, replacing: Underway, resolved: Resolved) -> None:
    """What was renewed meanwhile into what is to be replaced as well joins the queue, in its place."""
    with lifecycle.store.read() as connection:
        found = connection.execute(_changed(replacing).limit(PAGE), {"of": replacing.id}).all()
        rows = [row for row in found if not resolved.replaces(row.before_spki, row)]
        known = select(col(ReplacementItem.tracked_id)).where(col(ReplacementItem.replacement_id) == replacing.id)
        successors = {row.after_id: row for row in rows}
        listed = set(connection.execute(known.where(col(ReplacementItem.tracked_id).in_(successors))).scalars())
        wanted = [successors[one] for one in successors if one not in listed]
        texts = select(col(Tracked.id), col(Tracked.serial), col(Tracked.shown_as))
        said = {
            row.id: row for row in connection.execute(texts.where(col(Tracked.id).in_([w.after_id for w in wanted])))
        }
    items = [_follower(row, said[row.after_id]) for row in wanted if row.after_id in said]
    if items:
        _write(lifecycle, claim, lambda tx: insert_new(tx, ReplacementItem, items))


def _follower(row: Any, said: Any) -> dict[str, Any]:
    kept = {"replacement_id": row.replacement_id, "place": row.place, "lineage_id": row.lineage_id}
    known = {"tracked_id": said.id, "serial": said.serial, "shown_as": said.shown_as}
    return {**kept, **known, "state": WAITING, "changed_at": clock.timestamp(), "note": ""}


def _hand_over(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> None:
    """What we renew no more waits for whoever does; what nobody has planned, though its turn has come, is planned."""
    now = clock.timestamp()
    of = {"of": replacing.id}
    lost = _items(col(Lineage.mode), states=(RENEWING,))
    lost = lost.where(or_(col(Lineage.id).is_(None), col(Lineage.mode) != RENEWED)).limit(PAGE)
    planned = and_(col(Work.kind) == RENEW, col(Work.subject) == cast(col(ReplacementItem.lineage_id), Text))
    idle = _items(states=(RENEWING,)).outerjoin(Work, planned)
    idle = idle.where(or_(col(Work.id).is_(None), and_(col(Work.due_at) > now + UNHURRIED, col(Work.holder).is_(None))))
    idle = idle.where(col(Work.failing_since).is_(None), col(Lineage.current_id) == col(ReplacementItem.tracked_id))
    with lifecycle.store.read() as connection:
        gone = connection.execute(lost, of).all()
        late = connection.execute(idle.where(col(ReplacementItem.changed_at) < now - UNHURRIED).limit(PAGE), of).all()
    if not gone and not late:
        return

    def unit(tx: Transaction) -> None:
        work.check(tx, claim)
        for row in gone:
            which = (
                col(ReplacementItem.replacement_id) == replacing.id,
                col(ReplacementItem.tracked_id) == row.tracked_id,
            )
            values = {
                "state": WAITING,
                "place": row.place % OTHERS + OTHERS,
                "note": "nobody renews it by itself any more",
            }
            tx.execute(update(ReplacementItem).where(*which).values(**values))
        turns.hurry_all(tx, [str(row.lineage_id) for row in late])

    lifecycle.store.write(unit)


def _note_failures(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> None:
    """Renewals that fail are named, with the last error."""
    planned = and_(col(Work.kind) == RENEW, col(Work.subject) == cast(col(ReplacementItem.lineage_id), Text))
    query = _items(col(Work.last_error), states=(RENEWING,)).join(Work, planned)
    query = query.where(col(Work.failing_since).is_not(None), col(Work.last_error) != col(ReplacementItem.note))
    with lifecycle.store.read() as connection:
        rows = connection.execute(query.limit(PAGE), {"of": replacing.id}).all()
    notes = [{"of": row.replacement_id, "which": row.tracked_id, "why": row.last_error} for row in rows]
    if notes:
        _write(lifecycle, claim, lambda tx: tx.execute(_NOTE, notes))
