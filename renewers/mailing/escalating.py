"""When nobody does anything: the next one on the owner's path is written to, until somebody answers or it ends.

A step comes when a quarter of the time has passed that was left when the last one was told. It is due work, one piece
for each letter that was sent, so that it survives crashes; the letter to the next one begins the step after it. It
stops for what was acknowledged, renewed, is over or another's by now (`unanswered.py`), and nobody is told of one
crossing twice. A letter that came back is passed on by `letters.py`, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers import work
from renewers.answering import mailboxes
from renewers.lifecycle import Lifecycle
from renewers.mailing import letters, recipients, unanswered
from renewers.mailing.recipients import Recipient
from renewers.models import Letter, Owner
from renewers.telling import events
from renewers.work import Claim

ESCALATE = "escalate"
PART = 4
"""What part of the time that was left passes between two steps: a quarter."""
HOUR, DAY = 3600, 86400
SOONEST, LATEST = HOUR // 4, 7 * DAY
UNDATED = 4 * HOUR
"""Seconds between two steps where nothing ends: an alarm, such as a delivery that fails."""
OVER = HOUR
"""The same once something has expired."""


def begin(tx: Transaction, letter: Any, crossing_ids: Sequence[int]) -> None:
    """An immediate letter (a row of `Letter`) has been sent: plan the step after it."""
    rows = recipients.crossings_of(tx.connection, crossing_ids)
    now = clock.timestamp()
    work.schedule(tx, ESCALATE, str(letter.id), now + wait_for(unanswered.ends(tx.connection, rows), now))


def wait_for(ends: Sequence[int], now: int) -> int:
    """Seconds until the next step, from when what was told of ends. Pure."""
    left = [end - now for end in ends]
    if not left:
        return UNDATED
    return OVER if min(left) <= 0 else min(max(min(left) // PART, SOONEST), LATEST)


def escalate(lifecycle: Lifecycle, claim: Claim) -> None:
    """Write to the next one, if anything of a letter still waits: the handler of `escalate` work."""

    def unit(tx: Transaction) -> bool:
        work.settle(tx, claim, again_at=None)
        letter = tx.execute(select(Letter).where(col(Letter.id) == int(claim.subject))).first()
        if letter is None or letter.state != letters.SENT or letter.sent_at is None:
            return False
        return _move_on(tx, letter)

    if lifecycle.store.write(unit):
        lifecycle.count("escalations")


def stop(tx: Transaction, letter_id: int) -> None:
    """Its letter came back: whoever got it instead is waited for."""
    work.cancel(tx, ESCALATE, str(letter_id))


def _move_on(tx: Transaction, letter: Any) -> bool:
    owner = recipients.owners_by_id(tx.connection, [letter.owner_id]).get(letter.owner_id)
    waiting = unanswered.of_letter(tx.connection, letter) if owner is not None else []
    if owner is None or not waiting:
        return False
    passed = _long(max(0, clock.timestamp() - letter.sent_at))
    for recipient in _following(tx, owner, letter.step):
        opened = letters.open_letter(
            tx,
            owner=owner,
            kind=letters.ESCALATION,
            recipient=recipient.address,
            step=recipient.step,
            reason=f"{recipient.reason}; nobody has answered the letter to {letter.recipient} in {passed}",
            crossings=[row.id for row in waiting],
            key=f"{letters.ESCALATION}:{letter.id}",
        )
        if opened is not None:
            return True
    _say_ended(tx, owner, letter, len(waiting))
    return False


def _following(tx: Transaction, owner: Owner, step: int) -> Iterator[Recipient]:
    """Those who come after a step of an owner's path, and at its end nobody. Who is dead is passed over."""
    last = len(mailboxes.addresses_of(owner)) - 1
    while step < last:
        recipient = recipients.reachable(tx.connection, owner, step=step + 1)
        if recipient is None:
            return
        yield recipient
        step = max(recipient.step, step + 1)


def _say_ended(tx: Transaction, owner: Owner, letter: Any, count: int) -> None:
    """For webhooks: mail has nobody left to tell."""
    message = f"nobody on the path of {owner.name} has answered, and {count} things still wait"
    details = {"owner": owner.id, "letter": letter.id}
    events.record(tx, "escalation-ended", owner.name, message, severity="error", **details)


def _long(seconds: int) -> str:
    days, hours, minutes = seconds // DAY, seconds % DAY // HOUR, seconds % HOUR // 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
