"""Letters: opening one with the crossings that it tells of, handing it on, and taking back what it shall not tell.

That a crossing is told, to whom and in which letter (`Told`) stands in the transaction that opens the letter and plans
to send it: whoever crashes before has told nothing, whoever crashes after leaves a letter that is sent. What it says is
put together when it is sent (`sending.py`). When letters are opened: `opening.py`, and `escalating.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from email.utils import parseaddr
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers import work
from renewers.lifecycle import MailPolicy
from renewers.mailing import recipients, thresholds
from renewers.mailing.crossings import ACKNOWLEDGED, TOLD
from renewers.mailing.crossings import OPEN as UNTOLD
from renewers.models import Crossing, Letter, Owner, Told
from renewers.plain import one_line

KIND = "mail"
"""The kind of work; its subject is the letter's id."""
CHANNEL = "mail"
OPEN, SENT, REFUSED, BOUNCED, OVERTAKEN = "open", "sent", "refused", "bounced", "overtaken"
DIGEST, DAILY, URGENT, ESCALATION, MONTHLY = "digest", "daily", "urgent", "escalation", "monthly"
REGULAR = frozenset({DIGEST, MONTHLY})
"""Letters that are about more than crossings: they may be opened without any."""
_STANDS: ColumnElement[bool] = col(Letter.state).in_((OPEN, SENT))


def open_letter(
    tx: Transaction,
    *,
    owner: Owner,
    kind: str,
    recipient: str,
    step: int,
    reason: str,
    crossings: Sequence[int],
    key: str,
) -> int | None:
    """Open a letter to one recipient, have it sent, and write down what it tells of; returns its id.

    `crossings` are ids of `Crossing`: those that this recipient was told of before are left out. None if nothing is
    left to say, or if there is a letter of this `key` already: somebody else, or an earlier run, has opened it. Nobody
    can guess its Message-ID: a report that names it comes from where it was sent to (`answering/bounces.py`).
    """
    fresh = _untold_to(tx, recipient, crossings)
    if not fresh and kind not in REGULAR:
        return None
    whose = {"owner_id": owner.id, "recipient": recipient, "step": step, "reason": reason}
    named = {"key": key, "kind": kind, "message_id": secrets.token_hex(16)}
    row = {**named, **whose, "opened_at": clock.timestamp(), "state": OPEN, "subject": "", "rows": 0}
    made = insert(Letter).values(**row).on_conflict_do_nothing(index_elements=["key"]).returning(col(Letter.id))
    letter_id: int | None = tx.execute(made).scalar()
    if letter_id is None:
        return None
    _write_down(tx, letter_id, recipient, fresh)
    work.schedule(tx, KIND, str(letter_id), clock.timestamp())
    return letter_id


def join(tx: Transaction, owner_id: int, kind: str, crossings: Sequence[int]) -> int | None:
    """Have these told by a letter of that kind to the owner that still waits; returns its id, None if none does.

    While a mail server is away, so not more than one letter of each kind piles up for an owner.
    """
    of_it = col(Letter.owner_id) == owner_id, col(Letter.kind) == kind, col(Letter.state) == OPEN
    query = select(Letter).where(*of_it, col(Letter.step) == 0).order_by(col(Letter.id)).limit(1)
    waiting = tx.execute(query.with_for_update()).first()
    if waiting is None:
        return None
    _write_down(tx, waiting.id, waiting.recipient, _untold_to(tx, waiting.recipient, crossings))
    return int(waiting.id)


def say_too(tx: Transaction, letter: Any, tracked_ids: Sequence[int]) -> None:
    """A regular letter that has left lists these: what was open about them, and had to wait for one, is told."""
    waits = col(Crossing.settled_at).is_(None), col(Crossing.state) == UNTOLD
    about = col(Crossing.tracked_id).in_(tracked_ids), col(Crossing.urgency).in_((thresholds.DIGEST, thresholds.DAILY))
    ids = list(tx.execute(select(col(Crossing.id)).where(*waits, *about).with_for_update(skip_locked=True)).scalars())
    _write_down(tx, letter.id, letter.recipient, _untold_to(tx, letter.recipient, ids))


def pass_on(tx: Transaction, letter: Any, state: str, why: str) -> int | None:
    """This one does not reach anybody: `state` is `refused` or `bounced`. The next who can be reached gets another.

    Returns the id of that one. Where nobody is left, what it told of waits for somebody who can be reached.
    """
    close(tx, letter.id, state, why)
    ids = told_by(tx, letter.id)
    found = tx.execute(select(Owner).where(col(Owner.id) == letter.owner_id)).first()
    owner = None if found is None else Owner(**found._mapping)
    following = None if owner is None else recipients.reachable(tx.connection, owner, step=letter.step)
    made = None
    if owner is not None and following is not None:
        key = f"{letter.key}>{following.address}"
        made = open_letter(
            tx,
            owner=owner,
            kind=letter.kind,
            recipient=following.address,
            step=following.step,
            reason=following.reason,
            crossings=ids,
            key=key,
        )
    if made is None:
        reopen(tx, ids, f"letter {letter.id} to {letter.recipient} did not arrive: {one_line(why, 200)}")
    return made


def take_back(tx: Transaction, letter_id: int, ids: Sequence[int], why: str) -> None:
    """A letter that has not left shall not tell of these: it was not told, and somebody else may have to be."""
    if ids:
        told = col(Told.letter_id) == letter_id, col(Told.crossing_id).in_(ids)
        tx.execute(delete(Told).where(*told))
        reopen(tx, ids, why)


def reopen(tx: Transaction, ids: Sequence[int], why: str) -> None:
    """Have these told again, but for those that a letter which stands tells of."""
    elsewhere = select(col(Told.crossing_id)).join(Letter, col(Letter.id) == col(Told.letter_id)).where(_STANDS)
    waits = col(Crossing.id).in_(ids), col(Crossing.state) == TOLD
    untold = update(Crossing).where(*waits, col(Crossing.id).not_in(elsewhere.where(col(Told.crossing_id).in_(ids))))
    tx.execute(untold.values(state=UNTOLD, why=why, settled_at=None))


def close(tx: Transaction, letter_id: int, state: str, why: str | None) -> None:
    """It is over with a letter that was not sent, or that came back."""
    values = {"state": state, "error": None if why is None else one_line(why)}
    tx.execute(update(Letter).where(col(Letter.id) == letter_id).values(**values))


def lock(tx: Transaction, letter_id: int) -> Any | None:
    """A letter's row, which nobody else changes until this transaction ends."""
    return tx.execute(select(Letter).where(col(Letter.id) == letter_id).with_for_update()).first()


def told_by(tx: Transaction, letter_id: int) -> list[int]:
    """The ids of the crossings that a letter tells of."""
    query = select(col(Told.crossing_id)).where(col(Told.letter_id) == letter_id)
    return list(tx.execute(query.order_by(col(Told.crossing_id))).scalars())


def message_id(policy: MailPolicy, letter: Any) -> str:
    """A letter's Message-ID: always the same, so that a repeat is seen to be one (RFC 5322 section 3.6.4)."""
    domain = parseaddr(policy.sender)[1].rpartition("@")[2] or "localhost"
    return letter.message_id if "@" in letter.message_id else f"<{letter.message_id}@{domain}>"


def _untold_to(tx: Transaction, recipient: str, ids: Iterable[int]) -> list[int]:
    """Those of these that no letter to this recipient tells of, or one that never arrived."""
    wanted = sorted(set(ids))
    told = select(col(Told.crossing_id)).join(Letter, col(Letter.id) == col(Told.letter_id))
    of_it = col(Told.crossing_id).in_(wanted), col(Told.channel) == CHANNEL, col(Told.recipient) == recipient
    known = set(tx.execute(told.where(*of_it, _STANDS)).scalars())
    return [id_ for id_ in wanted if id_ not in known]


def _write_down(tx: Transaction, letter_id: int, recipient: str, ids: Sequence[int]) -> None:
    """The sent ledger: who is told of what, in which letter."""
    if not ids:
        return
    now = clock.timestamp()
    rows = [{"crossing_id": id_, "channel": CHANNEL, "recipient": recipient} for id_ in ids]
    told = insert(Told).values([{**row, "letter_id": letter_id, "at": now} for row in rows])
    again = {"letter_id": told.excluded.letter_id, "at": told.excluded.at}
    tx.execute(told.on_conflict_do_update(index_elements=["crossing_id", "channel", "recipient"], set_=again))
    unsettled = update(Crossing).where(col(Crossing.id).in_(ids), col(Crossing.state).in_((UNTOLD, ACKNOWLEDGED)))
    tx.execute(unsettled.values(state=TOLD, why="", settled_at=now))
