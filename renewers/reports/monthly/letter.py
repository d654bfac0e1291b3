"""The monthly letter: once a month to each mailbox of `mail.monthly_to`, with the report attached as PDF.

It belongs to no owner (`owner_id` is 0), and its key names month and mailbox, so that two replicas open it once. Unlike
letters to owners it is never sent twice: that it is about to be handed over is written down first, and where nobody
knows whether a mail server took it, it is not sent again but said so. Whoever misses it finds the report on the
dashboard. What stands in it is `letter_parts.py`; letters to owners are `renewers/mailing`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.errors import MailRefused, NotDelivered
from ca.store import Transaction
from renewers import work
from renewers.answering import mailboxes
from renewers.lifecycle import Lifecycle
from renewers.mailers import Outgoing
from renewers.mailing import letters, silence
from renewers.mailing.letters import MONTHLY, OPEN, OVERTAKEN, REFUSED, SENT
from renewers.models import Letter
from renewers.reports.monthly import snapshots
from renewers.reports.monthly.months import Month, month_of, parse
from renewers.telling import events
from renewers.work import Claim, Failed

if TYPE_CHECKING:
    from renewers.reports.monthly.snapshots import Kept

KIND = "monthly"
"""The kind of work; its subject is the letter's id."""
NOBODY = 0
"""The owner of what belongs to none."""
UNCERTAIN = "mail-uncertain"
"""The code of a `NotDelivered` after which a mail server may have it all the same."""
LONGEST_WAIT = 3600
DIED = "a process ended while a mail server took it: it may have arrived, and is not sent twice"
_DONE = (SENT, REFUSED, OVERTAKEN)


def open_due(lifecycle: Lifecycle, recipients: Iterable[str]) -> int:
    """Open the letters of the last month that is over, once its figures are kept. Returns how many were opened."""
    wanted = {mailboxes.key_of(address): address for address in recipients}
    if lifecycle.mailer is None or not wanted:
        return 0
    month = month_of(clock.timestamp()).before
    keys = {_key(month, address): address for address in wanted}
    with lifecycle.store.read() as connection:
        known = set(connection.execute(select(col(Letter.key)).where(col(Letter.key).in_(list(keys)))).scalars())
        states = mailboxes.states(connection, wanted)
    due = [
        (key, wanted[address])
        for key, address in keys.items()
        if key not in known and not mailboxes.is_dead(states, address) and mailboxes.wants_digests(states, address)
    ]
    if not due or month not in snapshots.months(lifecycle.store):
        return 0
    return sum(lifecycle.store.write(_Opening(month, key, address)) for key, address in due)


class _Opening:
    """The unit that opens one, unless somebody has."""

    def __init__(self, month: Month, key: str, address: str) -> None:
        self._month, self._key, self._address = month, key, address

    def __call__(self, tx: Transaction) -> bool:
        """True if it was opened by us."""
        reason = f"the report of {self._month.name}, for mail.monthly_to"
        named = {"key": self._key, "kind": MONTHLY, "message_id": secrets.token_hex(16), "subject": "", "rows": 0}
        whose = {"owner_id": NOBODY, "recipient": self._address, "step": 0, "reason": reason}
        row = insert(Letter).values(**named, **whose, opened_at=clock.timestamp(), state=OPEN)
        made = row.on_conflict_do_nothing(index_elements=["key"]).returning(col(Letter.id))
        letter_id = tx.execute(made).scalar()
        if letter_id is None:
            return False
        work.schedule(tx, KIND, str(letter_id), clock.timestamp())
        return True


def send(lifecycle: Lifecycle, claim: Claim) -> None:
    """Send one: the handler of `monthly` work. Each step may be the last before a crash."""
    # 1. Look again: is it still to be sent, and has nobody begun to?
    with lifecycle.store.read() as connection:
        row = connection.execute(select(Letter).where(col(Letter.id) == int(claim.subject))).first()
    if row is None or row.state in _DONE:
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))
        return
    if row.sent_at is not None:
        lifecycle.store.write(lambda tx: _give_up(tx, claim, row, DIED))
        lifecycle.count("letters", MONTHLY, REFUSED)
        return

    # 2. Put it together, from the figures that were kept.
    kept = snapshots.find(lifecycle.store, _month_of(row))
    if kept is None:
        lifecycle.store.write(lambda tx: _overtaken(tx, claim, row))
        return
    outgoing, subject = _composed(lifecycle, row, kept)

    # 3. Write down that it is about to be handed over: whoever finds that later sends nothing.
    lifecycle.store.write(lambda tx: _handing_over(tx, claim, row.id))

    # 4. Hand it over.
    if lifecycle.mailer is None:
        raise NotDelivered("neither a mail server nor a directory for mail is configured")
    lifecycle.mailer.send(outgoing)

    # 5. Write down that it has left.
    message_id = str(outgoing.message["Message-ID"])
    lifecycle.store.write(lambda tx: _sent(tx, claim, row.id, subject, message_id))
    lifecycle.count("letters", MONTHLY, SENT)


def failed(lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """What becomes of one that could not be sent: it waits where it certainly was not taken, else it is given up."""
    row, reason = letters.lock(tx, int(claim.subject)), work.describe(error)
    over = Failed(None, claim.attempts + 1, claim.failing_since or clock.timestamp())
    if row is not None and isinstance(error, MailRefused):
        mailboxes.bounced(tx, row.recipient, reason)
        _give_up(tx, claim, row, reason)
        lifecycle.count("letters", MONTHLY, REFUSED)
        return over
    is_certain = isinstance(error, NotDelivered) and error.code != UNCERTAIN
    if row is not None and row.sent_at is not None and not is_certain:
        _give_up(tx, claim, row, f"it may have arrived, and is not sent twice: {reason}")
        lifecycle.count("letters", MONTHLY, REFUSED)
        return over
    result = work.fail(tx, claim, NotDelivered(reason), longest=LONGEST_WAIT)
    tx.execute(update(Letter).where(col(Letter.id) == int(claim.subject)).values(sent_at=None, error=reason))
    lifecycle.count("letters", MONTHLY, "failed")
    if result.attempts >= silence.SAID_AFTER:
        silence.failing(tx, reason, result.since)
    return result


def _key(month: Month, address: str) -> str:
    return f"{MONTHLY}:{month}:{address}"


def _month_of(row: Any) -> Month:
    return parse(row.key.split(":")[1])


def _composed(lifecycle: Lifecycle, row: Any, kept: Kept) -> tuple[Outgoing, str]:
    from renewers.reports.monthly import letter_parts  # fonts and templates: nobody waits for them who sends nothing

    message = letter_parts.compose(lifecycle, Letter(**row._mapping), kept)
    sender = lifecycle.mail.bounces_to or parseaddr(lifecycle.mail.sender)[1]
    return Outgoing(sender, row.recipient, message), str(message["Subject"])


def _handing_over(tx: Transaction, claim: Claim, letter_id: int) -> None:
    work.check(tx, claim)
    tx.execute(update(Letter).where(col(Letter.id) == letter_id).values(sent_at=clock.timestamp()))


def _sent(tx: Transaction, claim: Claim, letter_id: int, subject: str, message_id: str) -> None:
    work.settle(tx, claim, again_at=None)
    values = {"state": SENT, "sent_at": clock.timestamp(), "subject": subject, "message_id": message_id, "error": None}
    tx.execute(update(Letter).where(col(Letter.id) == letter_id).values(**values))
    silence.recovered(tx)


def _give_up(tx: Transaction, claim: Claim, row: Any, why: str) -> None:
    work.settle(tx, claim, again_at=None)
    letters.close(tx, row.id, REFUSED, why)
    message = f"the monthly report to {row.recipient} was given up: {why}"
    events.record(tx, "report-not-sent", row.recipient, message, severity="warning", letter=row.id)


def _overtaken(tx: Transaction, claim: Claim, row: Any) -> None:
    work.settle(tx, claim, again_at=None)
    letters.close(tx, row.id, OVERTAKEN, "the figures of that month are not kept any more")
