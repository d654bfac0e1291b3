"""The beat that opens letters: looks at what was crossed and at whose regular letters are due. Sends nothing itself.

What cannot wait goes into one letter an owner, not more than one in a quarter of an hour unless it is critical. What is
late waits for the owner's local hour, the rest for the day of the digest. A look that finds nothing is a handful of
empty looks at indexes. Without a mailer nothing is opened, and nothing lost: what is open stays so, and can be
explained. Any replica may do it: rows are locked, and a letter's key exists once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlmodel import col

from ca import clock
from ca.errors import CertwrightError
from ca.store import Transaction, Unit
from renewers import work
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.mailing import crossings, enrolled, letters, listing, recipients, silence, sorting, thresholds
from renewers.mailing.enrolled import Due
from renewers.mailing.recipients import Recipient
from renewers.mailing.sorting import Sorted
from renewers.models import Acknowledged, Crossing, Owner, OwnerMail

PACE = 900
"""Seconds between two urgent letters to one owner, unless something is critical."""


def open_due(lifecycle: Lifecycle) -> int:
    """Open every letter that is due now; returns how many that were."""
    enrolled.enrol(lifecycle)
    opened = 0
    if lifecycle.mailer is not None:
        _wake(lifecycle)
        opened += _regular(lifecycle, "digest_due", letters.DIGEST, (thresholds.DIGEST, thresholds.DAILY))
        opened += _regular(lifecycle, "daily_due", letters.DAILY, (thresholds.DAILY,))
        opened += _immediate(lifecycle)
    silence.ran(lifecycle)
    return opened


def hurry(lifecycle: Lifecycle) -> int:
    """Have every letter that waits sent now, though it was tried a moment ago; returns how many these are."""
    ids = listing.waiting(lifecycle)

    def unit(tx: Transaction) -> int:
        return sum(work.hurry(tx, letters.KIND, str(id_)) for id_ in ids)

    return lifecycle.store.write(unit) if ids else 0


def _immediate(lifecycle: Lifecycle) -> int:
    with lifecycle.store.read() as connection:
        found = sorting.open_ones(connection, thresholds.IMMEDIATE)
    _settle(lifecycle, found)
    units = (_Urgent(found.owners[owner_id], rows) for owner_id, rows in sorted(found.theirs.items()))
    return _each(lifecycle, units)


def _regular(lifecycle: Lifecycle, column: str, kind: str, urgencies: Sequence[str]) -> int:
    """Regular letters of the owners whose hour has come."""
    opened, found = 0, Sorted()
    due = enrolled.due(lifecycle, column)
    if due:
        with lifecycle.store.read() as connection:
            found = sorting.open_ones(connection, *urgencies)
        _settle(lifecycle, found)
    while due:
        busy = [one for one in due if kind == letters.DIGEST or one.owner.id in found.theirs]
        _skip(lifecycle, [one for one in due if one not in busy], column)
        theirs = [(one, found.theirs.get(one.owner.id or 0, [])) for one in busy]
        opened += _each(lifecycle, (_Regular(lifecycle.mail, one, rows, column, kind) for one, rows in theirs))
        due = enrolled.due(lifecycle, column) if len(due) == enrolled.PAGE else []
    return opened


def _skip(lifecycle: Lifecycle, due: Sequence[Due], column: str) -> None:
    """Nothing is to be said to these: plan their next one."""
    if due:
        lifecycle.store.write(lambda tx: _move_on(tx, lifecycle.mail, due, column))


def _each(lifecycle: Lifecycle, units: Iterable[Unit[int | None]]) -> int:
    """One transaction an owner. One that fails keeps nobody else from being told; it is said in the end."""
    opened, failure = 0, None
    for unit in units:
        try:
            opened += lifecycle.store.write(unit) is not None
        except CertwrightError as error:
            failure = error
    if failure is not None:
        raise failure
    return opened


class _Urgent:
    """The unit that opens one owner's urgent letter."""

    def __init__(self, owner: Owner, rows: Sequence[Any]) -> None:
        self._owner, self._rows = owner, rows

    def __call__(self, tx: Transaction) -> int | None:
        """None if it has to wait, or there is nothing left to say."""
        now, owner_id = clock.timestamp(), self._owner.id or 0
        ids = _still_open(tx, self._rows)
        mail = tx.execute(select(OwnerMail).where(col(OwnerMail.owner_id) == owner_id).with_for_update()).first()
        last = None if mail is None else mail.last_urgent
        can_wait = not any(row.threshold in thresholds.CRITICAL for row in self._rows)
        if not ids or (can_wait and last is not None and last <= now < last + PACE):
            return None
        if letters.join(tx, owner_id, letters.URGENT, ids) is not None:
            return None
        recipient = _recipient(tx, self._owner, ids)
        if recipient is None:
            return None
        key = f"{letters.URGENT}:{owner_id}:{now}"
        made = _open(tx, self._owner, letters.URGENT, recipient, ids, key)
        if made is not None:
            tx.execute(update(OwnerMail).where(col(OwnerMail.owner_id) == owner_id).values(last_urgent=now))
        return made


class _Regular:
    """The unit that opens one owner's regular letter, and plans the next one."""

    def __init__(self, policy: MailPolicy, due: Due, rows: Sequence[Any], column: str, kind: str) -> None:
        self._policy, self._due, self._rows = policy, due, rows
        self._column, self._kind = column, kind

    def __call__(self, tx: Transaction) -> int | None:
        """None if somebody else opens it, or nobody is to get it."""
        owner = self._due.owner
        if not enrolled.move_on(tx, self._policy, self._due, self._column):
            return None
        ids = _still_open(tx, self._rows)
        recipient = _recipient(tx, owner, ids)
        if recipient is None or self._is_declined(tx, recipient):
            return None
        if letters.join(tx, owner.id or 0, self._kind, ids) is not None:
            return None
        key = f"{self._kind}:{owner.id}:{self._due.at}"
        return _open(tx, owner, self._kind, recipient, ids, key)

    def _is_declined(self, tx: Transaction, recipient: Recipient) -> bool:
        return self._kind == letters.DIGEST and recipients.declines(tx.connection, recipient.address)


def _open(tx: Transaction, owner: Owner, kind: str, to: Recipient, ids: Sequence[int], key: str) -> int | None:
    return letters.open_letter(
        tx,
        owner=owner,
        kind=kind,
        recipient=to.address,
        step=to.step,
        reason=to.reason,
        crossings=ids,
        key=key,
    )


def _recipient(tx: Transaction, owner: Owner, ids: Sequence[int]) -> Recipient | None:
    """Who gets it. Where no mailbox takes mail, these crossings say so."""
    found = recipients.reachable(tx.connection, owner)
    if found is None and ids:
        why = f"no mailbox of {owner.name} or of the fallback owner takes mail"
        of_these = update(Crossing).where(col(Crossing.id).in_(ids), col(Crossing.why) != why)
        tx.execute(of_these.values(why=why))
    return found


def _still_open(tx: Transaction, rows: Sequence[Any]) -> list[int]:
    """Those that nobody has told of meanwhile, locked: whoever else is at it comes to nothing."""
    if not rows:
        return []
    of_these = col(Crossing.id).in_([row.id for row in rows]), col(Crossing.state) == crossings.OPEN
    query = select(col(Crossing.id)).where(*of_these).order_by(col(Crossing.id))
    return list(tx.execute(query.with_for_update(skip_locked=True)).scalars())


def _move_on(tx: Transaction, policy: MailPolicy, due: Sequence[Due], column: str) -> None:
    for one in due:
        enrolled.move_on(tx, policy, one, column)


def _settle(lifecycle: Lifecycle, found: Sorted) -> None:
    """What is over is overtaken; what somebody takes care of is left out until that ends."""
    if not found.over and not found.resting:
        return

    def unit(tx: Transaction) -> None:
        for ids in _chunks([row.id for row in found.over]):
            crossings.overtake(tx, col(Crossing.id).in_(ids), "it was over before anybody had to be told")
        for row, by in found.resting:
            rest(tx, row.id, by)

    lifecycle.store.write(unit)


def rest(tx: Transaction, crossing_id: int, by: Acknowledged) -> None:
    """Somebody takes care of it: nobody is told until that ends."""
    until = f"{clock.from_timestamp(by.until):%Y-%m-%d %H:%M} UTC"
    values = {"state": crossings.ACKNOWLEDGED, "why": f"{by.by} takes care of it until {until}: {by.reason}"}
    of_it = col(Crossing.id) == crossing_id, col(Crossing.settled_at).is_(None)
    tx.execute(update(Crossing).where(*of_it).values(**values))


def _wake(lifecycle: Lifecycle) -> None:
    """Nobody takes care of these any more: they are to be told."""
    with lifecycle.store.read() as connection:
        ids = [row.id for row in sorting.woken(connection)]
    if ids:
        of_these = col(Crossing.state) == crossings.ACKNOWLEDGED, col(Crossing.settled_at).is_(None)
        again = update(Crossing).where(*of_these).values(state=crossings.OPEN, why="nobody takes care of it any more")

        def unit(tx: Transaction) -> None:
            for page in _chunks(ids):
                tx.execute(again.where(col(Crossing.id).in_(page)))

        lifecycle.store.write(unit)


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), sorting.PAGE):
        yield ids[start : start + sorting.PAGE]
