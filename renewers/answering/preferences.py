"""What a recipient may choose by a link: no regular letters, or again; another address for the calendar.

What is urgent cannot be declined, only delegated, by whoever keeps the owners. Choosing twice is choosing once, so that
these links are not used up: RFC 8058 has a mail program send the same again when it did not hear our answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.store import Transaction
from renewers.answering import feed, links, mailboxes, questions
from renewers.answering.links import Link
from renewers.lifecycle import Lifecycle
from renewers.models import Owner


@dataclass(frozen=True, slots=True)
class Preferences:
    """How things stand for one address, as one recipient for one owner."""

    owner: Owner
    address: str
    path: tuple[str, ...]
    """Who is written to for the owner, in this order."""
    wants_digests: bool
    calendar: str
    """The address of the owner's calendar; empty where the settings do not say how owners reach us."""


def look(lifecycle: Lifecycle, link: Link) -> Preferences:
    """How things stand. `NotFound` if the recipient is written to no more."""
    with lifecycle.store.read(snapshot=True) as connection:
        owner = _owner(connection, link)
        known = mailboxes.states(connection, [link.recipient])
    return Preferences(
        owner=Owner(**owner._mapping),
        address=link.recipient,
        path=mailboxes.addresses_of(owner),
        wants_digests=mailboxes.wants_digests(known, link.recipient),
        calendar=feed.address(lifecycle, owner, link.recipient) if mailboxes.is_of(owner, link.recipient) else "",
    )


def decline(lifecycle: Lifecycle, link: Link) -> bool:
    """No regular letters to this address any more, whomever it hears for. False if that is known."""
    return lifecycle.store.write(lambda tx: mailboxes.decline(tx, link.recipient, _who(tx.connection, link)))


def resume(lifecycle: Lifecycle, link: Link) -> bool:
    """Regular letters again. False if they were not declined."""
    return lifecycle.store.write(lambda tx: mailboxes.resume(tx, link.recipient, _who(tx.connection, link)))


def move_calendar(lifecycle: Lifecycle, link: Link) -> None:
    """Give the owner's calendar another address; the older ones hold no more."""

    def unit(tx: Transaction) -> None:
        owner = _owner(tx.connection, link)
        if not mailboxes.is_of(owner, link.recipient):
            raise links.does_not_hold()
        feed.move(tx, owner, questions.identity(owner, link.recipient))

    lifecycle.store.write(unit)


def _who(connection: Connection, link: Link) -> str:
    """Who chooses, also where the monthly report goes to somebody who hears for no owner."""
    owner = connection.execute(select(Owner).where(col(Owner.id) == link.owner_id)).first()
    return f"mailbox:{link.recipient}" if owner is None else questions.identity(owner, link.recipient)


def _owner(connection: Connection, link: Link) -> Any:
    owner = connection.execute(select(Owner).where(col(Owner.id) == link.owner_id)).first()
    if owner is None or not questions.is_recipient(connection, owner, link.recipient):
        raise links.does_not_hold()
    return owner
