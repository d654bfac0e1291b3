"""Those that somebody else replaces: whoever holds the key, a person, our own machinery. They are looked at in turn.

There may be a million of them, so a look takes the next window and remembers where it stopped. Each owner has one
alarm, which names how many wait for him; it goes when nothing does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, select, tuple_, update
from sqlmodel import col

from ca import clock
from ca.models import Certificate, Revocation
from ca.store import Transaction
from renewers import work
from renewers.inventory.joining import RENEWED
from renewers.inventory.ownership import Ownership, owners_of
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Lineage, ReplacementItem, Tracked
from renewers.replacing import listing, settling, turns
from renewers.replacing.order import OTHERS
from renewers.replacing.underway import ENDED, REPLACED, WAITING, WAITS_ALARM, Underway, subject
from renewers.rotation import leaves
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from renewers.work import Claim

WINDOW = 1000
LOOKED_THROUGH = 5000
"""Items whose owners are looked up for the alarms: to know whose one is costs several queries."""
EVERY = 60
"""Seconds between two looks at whose they are."""
NAMED = 5

_ITEM = (col(ReplacementItem.place), col(ReplacementItem.tracked_id))
_WINDOW = (
    select(ReplacementItem)
    .where(col(ReplacementItem.replacement_id) == bindparam("of"), col(ReplacementItem.state) == WAITING)
    .where(col(ReplacementItem.place) >= OTHERS)
    .order_by(*_ITEM)
)
_FACTS: tuple[Any, ...] = (
    *(Tracked, col(Lineage.mode), col(Lineage.current_id), col(Lineage.key_type).label("asks_for")),
    *(col(Revocation.revoked_by), col(Certificate.requested_by)),
)


def look(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> tuple[Underway, int]:
    """Look at the next window; returns how the replacement stands, and how many have moved."""
    place = tuple(replacing.found.get("others", (0, 0)))
    with lifecycle.store.read(snapshot=True) as connection:
        page = _WINDOW.where(tuple_(*_ITEM) > place).limit(WINDOW)
        items = connection.execute(page, {"of": replacing.id}).all()
        ids = [item.tracked_id for item in items]
        facts = {row.id: row for row in connection.execute(leaves.joined(*_FACTS).where(col(Tracked.id).in_(ids)))}
        standing = leaves.joined(col(Tracked.id)).where(col(Tracked.id).in_(ids), leaves.is_standing(clock.timestamp()))
        alive = set(connection.execute(standing).scalars())
    if not items and place == (0, 0):
        return replacing, 0
    ends, back = [], []
    for item in items:
        fact = facts.get(item.tracked_id)
        if fact is None:
            ends.append(settling.change(item, ENDED, "it is tracked no more"))
        elif (over := turns.ending(fact, clock.timestamp())) is not None:
            ends.append(settling.change(item, ENDED, over))
        elif item.tracked_id not in alive:
            ends.append(settling.change(item, REPLACED, successor_id=fact.replaced_by or fact.current_id))
        elif fact.mode == RENEWED and not _is_stuck(lifecycle, replacing, fact):
            back.append(item)
    following = [items[-1].place, items[-1].tracked_id] if len(items) == WINDOW else [0, 0]
    found = {**replacing.found, "others": following}

    def unit(tx: Transaction) -> None:
        work.check(tx, claim)
        settling.put(tx, ends)
        for item in back:
            of = col(ReplacementItem.replacement_id) == replacing.id, col(ReplacementItem.tracked_id) == item.tracked_id
            tx.execute(update(ReplacementItem).where(*of).values(place=item.place % OTHERS, note=""))
        listing.put_down(tx, replacing.id, found)

    if ends or back or found != replacing.found:
        lifecycle.store.write(unit)
    return replace(replacing, found=found), len(ends) + len(back)


def _is_stuck(lifecycle: Lifecycle, replacing: Underway, fact: Any) -> bool:
    key_type = fact.asks_for or str(lifecycle.policy.key_type)
    return replacing.selection.key_type == key_type


def say(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> Underway:
    """Tell each owner what waits for him, once; and take it back when nothing does."""
    now = clock.timestamp()
    if now - int(replacing.found.get("said_at", 0)) < EVERY:
        return replacing
    waiting = by_owner(lifecycle, replacing)
    found = {**replacing.found, "said_at": now}

    def unit(tx: Transaction) -> None:
        work.check(tx, claim)
        troubles = [_trouble(replacing, *each) for each in waiting.values()]
        hush(tx, replacing.id, {trouble.subject for trouble in troubles})
        for trouble in troubles:
            alarms.raise_alarm(tx, trouble)
        listing.put_down(tx, replacing.id, found)

    lifecycle.store.write(unit)
    return replace(replacing, found=found)


def hush(tx: Transaction, replacement_id: int, but: set[str] | frozenset[str] = frozenset()) -> None:
    """Take back the alarms of a replacement, but for those about these subjects."""
    of_it = col(Alarm.kind) == WAITS_ALARM, col(Alarm.subject).like(f"{subject(replacement_id)} %")
    for known in tx.execute(select(col(Alarm.subject)).where(*of_it)).scalars().all():
        if known not in but:
            alarms.clear_alarm(tx, WAITS_ALARM, known)


def by_owner(lifecycle: Lifecycle, replacing: Underway) -> Mapping[int | None, tuple[Ownership, list[str]]]:
    """Whom it waits for, and for which certificates: among the first, and without those of our own machinery."""
    found: dict[int | None, tuple[Ownership, list[str]]] = {}
    place = (0, 0)
    with lifecycle.store.read(snapshot=True) as connection:
        for _ in range(LOOKED_THROUGH // WINDOW):
            page = _WINDOW.where(tuple_(*_ITEM) > place).limit(WINDOW)
            items = connection.execute(page, {"of": replacing.id}).all()
            ids = [item.tracked_id for item in items if item.note != listing.NOTES[listing.OWN]]
            rows = connection.execute(select(Tracked).where(col(Tracked.id).in_(ids))).all()
            owners = owners_of(connection, rows)
            for row in rows:
                whose = owners[row.id]
                key = None if whose.owner is None else whose.owner.id
                found.setdefault(key, (whose, []))[1].append(row.shown_as)
            if len(items) < WINDOW:
                break
            place = (items[-1].place, items[-1].tracked_id)
    return found


def _trouble(replacing: Underway, whose: Ownership, shown: Sequence[str]) -> Trouble:
    name = "nobody" if whose.owner is None else whose.owner.name
    first = ", ".join(shown[:NAMED]) + (" ..." if len(shown) > NAMED else "")
    message = f"{len(shown)} certificates of {name} are to be replaced by whoever holds them: {first}"
    hint = f"renew them with new keys: {replacing.reason}"
    severity = "warning" if replacing.policy.deadline_at is None else "error"
    owner_id = None if whose.owner is None else whose.owner.id
    return Trouble(WAITS_ALARM, f"{subject(replacing.id)} {name}", severity, message, hint, owner_id)
