"""Letters that come back: whose mailbox a report of a mail server makes dead, and who gets the letter instead.

Anybody can send a report to where ours come back to. It counts for a letter that we really sent, which it names by a
Message-ID that only that letter's way has seen, for the recipient to whom that one was sent, and only if delivery
failed for good. Reading one is `reports.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.ledger import log
from ca.store import Transaction
from renewers.answering import mailboxes, reports
from renewers.answering.reports import Failure, Report
from renewers.lifecycle import Lifecycle
from renewers.mailing import escalating, letters
from renewers.models import Letter
from renewers.telling import events

NOT_OURS, PASSING, SAID_BEFORE, DEAD = "not-ours", "passing", "said-before", "dead"
"""What a report comes to: about no letter of ours, about what may pass, about a letter that came back already, or a
mailbox is dead by it."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a report came to; `letter_id` and `address` are those of the letter, where it is one of ours."""

    outcome: str
    letter_id: int | None = None
    address: str | None = None
    passed_on: int | None = None
    """The letter that goes to somebody else instead."""


def report(lifecycle: Lifecycle, caller: Caller, content: bytes) -> Bounce:
    """Take a mail server's report. `BadRequest` if it is none; what it comes to is counted."""
    caller.must(Operation.MANAGE_INVENTORY)
    said = reports.read(content)
    found = lifecycle.store.write(lambda tx: _settle(tx, caller, said))
    lifecycle.count("bounces", found.outcome)
    return found


def _settle(tx: Transaction, caller: Caller, said: Report) -> Bounce:
    for letter in _letters(tx, said):
        for failure in said.failures:
            if _is_about(failure, letter):
                return _bounced(tx, caller, letter, failure)
    return Bounce(NOT_OURS)


def _letters(tx: Transaction, said: Report) -> Sequence[Any]:
    """Ours among those that it names; the domain of a Message-ID is the sender's, and may have changed since."""
    names = {form for id_ in said.message_ids for form in (id_, f"<{id_}>", id_.partition("@")[0])}
    wanted = select(Letter).where(col(Letter.message_id).in_(sorted(names)), col(Letter.sent_at).is_not(None))
    return tx.execute(wanted.order_by(col(Letter.id)).limit(10).with_for_update()).all() if names else []


def _is_about(failure: Failure, letter: Any) -> bool:
    """Whether it is about the letter's recipient. Capitals do not count: servers on the way may have changed them."""
    return letter.recipient.lower() in {address.lower() for address in failure.recipients}


def _bounced(tx: Transaction, caller: Caller, letter: Any, failure: Failure) -> Bounce:
    if not failure.is_permanent:
        return Bounce(PASSING, letter.id, letter.recipient)
    if letter.state == letters.BOUNCED:
        return Bounce(SAID_BEFORE, letter.id, letter.recipient)
    because = f"{failure.status} {failure.diagnostic}".strip()
    mailboxes.bounced(tx, letter.recipient, because)
    escalating.stop(tx, letter.id)
    passed_on = letters.pass_on(tx, letter, letters.BOUNCED, because)
    details = {"letter": letter.id, "status": failure.status, "passed_on": passed_on}
    log.append(tx, "letter-bounced", letter.recipient, caller.identity, **details)
    message = f"a letter to {letter.recipient} came back: {because}"
    events.record(tx, "letter-bounced", letter.recipient, message, severity="warning", **details)
    return Bounce(DEAD, letter.id, letter.recipient, passed_on)
