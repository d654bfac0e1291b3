"""The address of an owner's calendar: signed, not used up by reading, and good until it is renewed.

It holds for one recipient as long as that one is written to for the owner: who leaves the path reads no more. What the
calendar says is `renewers/reports/calendar.py`'s affair.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.ledger import log
from ca.store import Transaction
from renewers.answering import links, mailboxes
from renewers.answering.links import FOREVER, Link, Purpose
from renewers.inventory.finding import find_owner
from renewers.lifecycle import Lifecycle
from renewers.models import Owner
from renewers.reports import calendar
from renewers.telling import events


def address(lifecycle: Lifecycle, owner: Any, recipient: str) -> str:
    """Where the calendar of an owner (a row of `Owner`) is for one of its recipients; empty without a `link_url`."""
    return links.url(lifecycle, Link(Purpose.FEED, _about(owner), owner.id, recipient, 0, FOREVER))


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> str:
    """The same for an owner by its name, at its own mailbox. It is a credential, and so for few."""
    caller.must(Operation.MANAGE_OWNERS)
    with lifecycle.store.read() as connection:
        owner = find_owner(connection, name)
    return address(lifecycle, owner, owner.email)


def renew(lifecycle: Lifecycle, caller: Caller, name: str) -> str:
    """Give it another address; the older ones hold no more, whoever has them."""
    caller.must(Operation.MANAGE_OWNERS)

    def unit(tx: Transaction) -> Any:
        owner = find_owner(tx.connection, name)
        move(tx, owner, caller.identity)
        return find_owner(tx.connection, name)

    owner = lifecycle.store.write(unit)
    return address(lifecycle, owner, owner.email)


def move(tx: Transaction, owner: Any, by: str) -> None:
    """The same in a transaction, for whoever has checked that `by` may."""
    newer = col(Owner.feed_version) + 1
    tx.execute(update(Owner).where(col(Owner.id) == owner.id).values(feed_version=newer))
    log.append(tx, "calendar-moved", owner.name, by, was=owner.feed_version)
    message = f"the calendar of {owner.name} has another address"
    events.record(tx, "calendar-moved", owner.name, message, by=by, owner=owner.id)


def read(lifecycle: Lifecycle, token: str) -> bytes:
    """The calendar (RFC 5545) that an address shows. `NotFound` if the address does not hold, or no longer."""
    link = links.read(lifecycle, Purpose.FEED, token)
    with lifecycle.store.read() as connection:
        owner = _of(connection, link)
    return calendar.feed(lifecycle, owner.id, clock.timestamp())


def _of(connection: Connection, link: Link) -> Any:
    owner = connection.execute(select(Owner).where(col(Owner.id) == link.owner_id)).first()
    if owner is None or link.about != _about(owner) or not mailboxes.is_of(owner, link.recipient):
        raise links.does_not_hold()
    return owner


def _about(owner: Any) -> str:
    return f"feed:{owner.feed_version}"
