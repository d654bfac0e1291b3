"""Answering by the link of a letter, for the one certificate that it is about, once.

Renew it now, where we renew; somebody takes care of it until a day; it is not ours; it is out of use. Spending the
link, asking whether it still fits (`questions.py`), acting and saying so are one transaction. Who answered stands in
the ledger as `owner:NAME <address>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.access import Caller, Role
from ca.errors import BadRequest
from ca.ledger import log
from ca.store import Transaction
from renewers.answering import acknowledged, links, questions
from renewers.answering.acknowledged import Matter
from renewers.answering.links import Link
from renewers.answering.questions import Answer, Question
from renewers.inventory import ending, refusing
from renewers.lifecycle import Lifecycle
from renewers.models import Acknowledged, Letter, Owner
from renewers.renewing import renewal
from renewers.telling import events

T = TypeVar("T")


def look(lifecycle: Lifecycle, link: Link) -> Question:
    """What may be answered, without changing anything. `NotFound` or `Conflict` where nothing may."""
    if links.is_spent(lifecycle, link):
        raise links.was_used()
    with lifecycle.store.read(snapshot=True) as connection:
        return questions.ask(connection, link)


def renew(lifecycle: Lifecycle, link: Link) -> bool:
    """Have it renewed now. False if somebody is at it this very moment."""
    question = look(lifecycle, link)
    if Answer.RENEW not in question.choices or question.lineage is None or question.lineage.id is None:
        raise _not_offered(Answer.RENEW)
    along = _along(link, Answer.RENEW, lambda tx, found: None)
    done = renewal.now(lifecycle, _caller(question.owner, link), question.lineage.id, reason="answered", along=along)
    return _counted(lifecycle, link, Answer.RENEW, done)


def acknowledge(lifecycle: Lifecycle, link: Link, until: int, reason: str) -> Acknowledged:
    """Somebody takes care of it until then, for a reason."""

    def act(tx: Transaction, found: Question) -> Acknowledged:
        return acknowledged.settle(tx, _caller(found.owner, link), _matter(found), until, reason)

    done = lifecycle.store.write(_along(link, Answer.ACKNOWLEDGE, act))
    return _counted(lifecycle, link, Answer.ACKNOWLEDGE, done)


def refuse(lifecycle: Lifecycle, link: Link) -> None:
    """It is not this owner's: it is nobody's until somebody is assigned, and the fallback owner hears of that."""

    def act(tx: Transaction, found: Question) -> None:
        refusing.refuse(tx, found.tracked, found.owner, _caller(found.owner, link).identity)

    lifecycle.store.write(_along(link, Answer.REFUSE, act))
    _counted(lifecycle, link, Answer.REFUSE, None)


def retire(lifecycle: Lifecycle, link: Link, reason: str) -> bool:
    """It is out of use. Where it is still seen in use, it is watched all the same. False if that is known."""

    def act(tx: Transaction, found: Question) -> bool:
        return ending.give_up(tx, _caller(found.owner, link), found.tracked, reason or "its owner says so")

    done = lifecycle.store.write(_along(link, Answer.RETIRE, act))
    return _counted(lifecycle, link, Answer.RETIRE, done)


def _along(link: Link, answer: Answer, act: Callable[[Transaction, Question], T]) -> Callable[[Transaction], T]:
    """The transaction that acts: the link fits the world as it is now, is spent, and what was done is said."""

    def unit(tx: Transaction) -> T:
        links.spend(tx, link)
        found = questions.ask(tx.connection, link)
        if answer not in found.choices:
            raise _not_offered(answer)
        by = questions.identity(found.owner, link.recipient)
        done = act(tx, found)
        subject = found.lineage.name if found.lineage is not None else found.name
        log.append(tx, "letter-answered", subject, by, answer=answer.value, about=link.about, letter=link.letter_id)
        message = f"{by} has answered a letter about {found.name}: {answer.value}"
        events.record(tx, "letter-answered", subject, message, answer=answer.value, by=by, letter=link.letter_id)
        return done

    return unit


def _matter(found: Question) -> Matter:
    row, lineage = found.tracked, found.lineage
    end = None if row is None else row.not_after
    if lineage is not None:
        return Matter(f"lineage:{lineage.id}", lineage.name, end, None if row is None else row.id, lineage.id)
    assert row is not None
    return Matter(f"tracked:{row.id}", row.identity, end, row.id, None)


def _caller(owner: Owner, link: Link) -> Caller:
    """Whoever holds the link, to the one verb that it is used for: what that may do is decided here, not by a role."""
    return Caller(questions.identity(owner, link.recipient), Role.OPERATOR)


def _not_offered(answer: Answer) -> BadRequest:
    return BadRequest(f"{answer.value} is not among the answers to this letter", code="not-offered")


def _counted(lifecycle: Lifecycle, link: Link, answer: Answer, done: T) -> T:
    """Count it, and how long after its letter it came."""
    lifecycle.count("answers", answer.value)
    with lifecycle.store.read() as connection:
        sent_at = connection.execute(select(col(Letter.sent_at)).where(col(Letter.id) == link.letter_id)).scalar()
    if sent_at is not None:
        lifecycle.measure("answer", max(0, clock.timestamp() - sent_at))
    return done
