"""Sending one letter: what it says is put together now, from what is true now. The handler of `mail` work.

The numbers are those of the comments in `send`; each step may be the last before a crash, and whoever continues finds
the letter as it was. Only when a mail server has taken a message and nobody was told of that is it sent a second time,
under the same Message-ID: a notice twice is better than none. What becomes of failures is in `failed`; nothing is given
up, and what a mailbox refuses goes to the next one. When letters are opened: `opening.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, update
from sqlmodel import col

from ca import clock
from ca.errors import MailRefused, NotDelivered
from ca.store import Transaction
from renewers import work
from renewers.answering import mailboxes
from renewers.lifecycle import Lifecycle
from renewers.mailers import Outgoing
from renewers.mailing import crossings, escalating, letters, opening, recipients, silence, sorting
from renewers.mailing.letters import DAILY, DIGEST, ESCALATION, OVERTAKEN, REFUSED, REGULAR, SENT, URGENT
from renewers.mailing.sorting import Sorted
from renewers.models import Crossing, Letter, Owner, OwnerMail, Told
from renewers.work import Claim, Failed

if TYPE_CHECKING:
    from renewers.reports.content import Digest

LONGEST_WAIT, LONGEST_URGENT = 3600, 900
"""Seconds between two attempts at most; what is urgent has less time."""
HEALTHY_AGAIN = 27 * 86400
"""Seconds between two digests that say that nothing needs anybody, where that is said monthly."""


def send(lifecycle: Lifecycle, claim: Claim) -> None:
    """Send one letter, or find that there is nothing left to say. `NotDelivered` if no server takes it now."""
    # 1. Look again: is it still to be sent, to this mailbox, and what of it is still so, and still theirs?
    letter, rows = _prepared(lifecycle, claim)
    if letter is None:
        return

    # 2. Gather what is true at this moment.
    digest = _gather(lifecycle, letter, rows)
    if (why := _needless(lifecycle, letter, digest)) is not None:
        over = [row.id for row in rows]
        lifecycle.store.write(lambda tx: _overtaken(tx, claim, letter, over, why))
        lifecycle.count("letters", letter.kind, OVERTAKEN)
        return

    # 3. Hand it over: somebody else answers for it from now on.
    subject = _hand_over(lifecycle, letter, digest)

    # 4. Write down that it has left, under the fence of the work.
    lifecycle.store.write(_Sent(claim, letter, digest, subject, [row.id for row in rows]))
    lifecycle.count("letters", letter.kind, SENT)


def failed(lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """What becomes of a letter that could not be sent: it waits, or another mailbox gets another one."""
    letter = letters.lock(tx, int(claim.subject))
    reason = work.describe(error)
    if isinstance(error, MailRefused) and letter is not None:
        work.settle(tx, claim, again_at=None)
        mailboxes.bounced(tx, letter.recipient, reason)
        letters.pass_on(tx, letter, REFUSED, reason)
        lifecycle.count("letters", letter.kind, REFUSED)
        return Failed(None, claim.attempts + 1, claim.failing_since or clock.timestamp())
    is_urgent = letter is not None and letter.kind in (URGENT, ESCALATION)
    longest = LONGEST_URGENT if is_urgent else LONGEST_WAIT
    result = work.fail(tx, claim, NotDelivered(reason), longest=longest)
    if letter is not None:
        tx.execute(update(Letter).where(col(Letter.id) == letter.id).values(error=reason))
        lifecycle.count("letters", letter.kind, "failed")
    if result.attempts >= silence.SAID_AFTER:
        silence.failing(tx, reason, result.since)
    return result


def _prepared(lifecycle: Lifecycle, claim: Claim) -> tuple[Letter | None, Sequence[Any]]:
    """The letter, and what it tells of by now; None, and done with it, if it is not to be sent."""
    with lifecycle.store.read(snapshot=True) as connection:
        row = connection.execute(select(Letter).where(col(Letter.id) == int(claim.subject))).first()
        owner = None if row is None else _owner(connection, row.owner_id)
        told = [] if row is None else _told(connection, row.id)
        found = sorting.sort(connection, told)
        is_right = owner is not None and row is not None and _is_reached(connection, owner, row)
    if row is None or row.state != letters.OPEN:
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))
        return None, ()
    theirs = found.theirs.get(row.owner_id, []) if owner is not None else []
    if len(theirs) < len(told):
        lifecycle.store.write(lambda tx: _correct(tx, claim, row, found))
    if not is_right:
        lifecycle.store.write(lambda tx: _redirect(tx, claim, row))
        return None, ()
    if not theirs and row.kind not in REGULAR:
        lifecycle.store.write(lambda tx: _overtaken(tx, claim, row, (), "there is nothing left to say"))
        lifecycle.count("letters", row.kind, OVERTAKEN)
        return None, ()
    named = {**row._mapping, "message_id": letters.message_id(lifecycle.mail, row)}
    return Letter(**named), theirs


def _gather(lifecycle: Lifecycle, letter: Letter, rows: Sequence[Any]) -> Digest:
    from renewers.reports import digest

    about = None if letter.kind == DIGEST else rows
    now = clock.timestamp()
    return digest.gather(lifecycle, letter.owner_id, kind=letter.kind, at=now, step=letter.step, crossings=about)


def _needless(lifecycle: Lifecycle, letter: Letter, digest: Digest) -> str | None:
    """Why this letter need not be sent; None if it is to be."""
    if not digest.is_healthy:
        return None
    if letter.kind != DIGEST:
        return "there is nothing left to say"
    if digest.is_empty:
        return "nothing is theirs"
    if lifecycle.mail.when_healthy == "always":
        return None
    query = select(col(OwnerMail.last_healthy)).where(col(OwnerMail.owner_id) == letter.owner_id)
    with lifecycle.store.read() as connection:
        last = connection.execute(query).scalar()
    is_time = last is None or not last <= clock.timestamp() < last + HEALTHY_AGAIN
    return None if lifecycle.mail.when_healthy == "monthly" and is_time else "nothing needs anybody"


def _hand_over(lifecycle: Lifecycle, letter: Letter, digest: Digest) -> str:
    """Have it sent; returns its subject."""
    from renewers.reports import compose  # pictures and templates: nobody waits for them who sends nothing

    if lifecycle.mailer is None:
        raise NotDelivered("neither a mail server nor a directory for mail is configured")
    message = compose.compose(lifecycle, digest, letter)
    sender = lifecycle.mail.bounces_to or parseaddr(lifecycle.mail.sender)[1]
    lifecycle.mailer.send(Outgoing(sender, letter.recipient, message))
    return str(message["Subject"])


class _Sent:
    """The unit that writes down that a letter has left."""

    def __init__(self, claim: Claim, letter: Letter, digest: Digest, subject: str, ids: Sequence[int]) -> None:
        self._claim, self._letter, self._digest = claim, letter, digest
        self._subject, self._ids = subject, ids

    def __call__(self, tx: Transaction) -> None:
        """Settle; plan what comes if nobody answers."""
        work.settle(tx, self._claim, again_at=None)
        now, letter, digest = clock.timestamp(), self._letter, self._digest
        id_ = letter.id or 0
        letters.lock(tx, id_)
        late = sorted(set(letters.told_by(tx, id_)) - set(self._ids))
        letters.take_back(tx, id_, late, f"it came while letter {id_} was on its way")
        size = len(digest.listed) + len(digest.notices)
        sent = {"state": SENT, "subject": self._subject, "rows": size, "message_id": letter.message_id, "error": None}
        tx.execute(update(Letter).where(col(Letter.id) == id_).values(**sent, sent_at=now))
        if letter.kind in (DIGEST, DAILY):
            letters.say_too(tx, letter, [row.tracked_id for row in digest.listed])
        if letter.kind == DIGEST and digest.is_healthy:
            tx.execute(update(OwnerMail).where(col(OwnerMail.owner_id) == letter.owner_id).values(last_healthy=now))
        if letter.kind in (URGENT, ESCALATION):
            escalating.begin(tx, letter, self._ids)
        silence.recovered(tx)


def _overtaken(tx: Transaction, claim: Claim, letter: Any, ids: Sequence[int], why: str) -> None:
    """It is not sent. Of these crossings nothing is left to say; what came meanwhile is told by the next letter."""
    work.settle(tx, claim, again_at=None)
    letters.lock(tx, letter.id)
    letters.close(tx, letter.id, OVERTAKEN, why)
    letters.take_back(tx, letter.id, letters.told_by(tx, letter.id), why)
    if letter.kind not in REGULAR:
        crossings.overtake(tx, col(Crossing.id).in_(ids), f"letter {letter.id} was not sent: {why}")


def _correct(tx: Transaction, claim: Claim, letter: Any, found: Sorted) -> None:
    """Take out what it shall not tell: what is over, what somebody takes care of, what is another's by now."""
    work.check(tx, claim)
    letters.lock(tx, letter.id)
    over = [row.id for row in found.over]
    letters.take_back(tx, letter.id, over, "it is over")
    crossings.overtake(tx, col(Crossing.id).in_(over), f"it was over before letter {letter.id} was sent")
    letters.take_back(tx, letter.id, [row.id for row, _ in found.resting], "somebody takes care of it")
    for row, by in found.resting:
        opening.rest(tx, row.id, by)
    for owner_id, rows in found.theirs.items():
        if owner_id != letter.owner_id:
            letters.take_back(tx, letter.id, [row.id for row in rows], f"{found.owners[owner_id].name} answers for it")
    letters.take_back(tx, letter.id, [row.id for row in found.nobodys], "nobody answers for it any more")


def _redirect(tx: Transaction, claim: Claim, letter: Any) -> None:
    """This mailbox is not the owner's any more, or takes no mail: another letter goes where it shall go now."""
    work.settle(tx, claim, again_at=None)
    letters.pass_on(tx, letter, OVERTAKEN, f"{letter.recipient} is not where it goes any more")


def _is_reached(connection: Connection, owner: Owner, letter: Any) -> bool:
    """Whether a letter's mailbox takes mail and is one of its owner's, or of the fallback owner's, still."""
    fallback = recipients.fallback_of(recipients.owners_by_id(connection, ()))
    owners = [owner] if fallback is None else [owner, fallback]
    if mailboxes.is_dead(mailboxes.states(connection, [letter.recipient]), letter.recipient):
        return False
    return any(mailboxes.is_of(one, letter.recipient) for one in owners)


def _owner(connection: Connection, owner_id: int) -> Owner | None:
    return recipients.owners_by_id(connection, [owner_id]).get(owner_id)


def _told(connection: Connection, letter_id: int) -> list[Any]:
    of_it = select(Crossing).join(Told, col(Told.crossing_id) == col(Crossing.id))
    return list(connection.execute(of_it.where(col(Told.letter_id) == letter_id).order_by(col(Crossing.id))))
