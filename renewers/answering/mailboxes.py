"""Mailboxes: which addresses mail comes back from, and which do not want regular letters.

An address is dead from when a mail server refused it for good, or sent our letter back, until somebody revives it or no
owner has it any more; meanwhile the alarm `mailbox-dead` stands, and the next one on the owner's path is written to.
Regular letters can be declined; what is urgent cannot, only delegated: an owner's address or path is changed for that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, NotFound
from ca.ledger import log
from ca.store import Transaction
from renewers.lifecycle import Lifecycle
from renewers.models import Mailbox, Owner
from renewers.plain import one_line
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble

DEAD_ALARM = "mailbox-dead"
PAGE = 500
MAX_PAGE = 500
MAX_OWNERS = 10_000
BY = "system:mail"


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of an address, and the names of the owners whose it is."""

    mailbox: Mailbox
    owners: tuple[str, ...]


def addresses_of(owner: Any) -> tuple[str, ...]:
    """An owner's addresses in the order in which they are written to: its own, then its escalation path."""
    return (owner.email, *json.loads(owner.escalation or "[]"))


def is_of(owner: Any, address: str) -> bool:
    """Whether an address is one of an owner's."""
    return key_of(address) in map(key_of, addresses_of(owner))


def key_of(address: str) -> str:
    """What an address is remembered under: as owners have it, with a domain in small letters (RFC 5321 section 2.4)."""
    local, _, domain = address.strip().rpartition("@")
    return f"{local}@{domain.lower()}"


def states(connection: Connection, addresses: Iterable[str]) -> Mapping[str, Mailbox]:
    """What is known of these, by `key_of`; nothing is known of most."""
    keys, found = sorted({key_of(address) for address in addresses}), {}
    for start in range(0, len(keys), PAGE):
        for row in connection.execute(select(Mailbox).where(col(Mailbox.address).in_(keys[start : start + PAGE]))):
            found[row.address] = Mailbox(**row._mapping)
    return found


def is_dead(known: Mapping[str, Mailbox], address: str) -> bool:
    """Whether mail to it comes back, as of `states`."""
    mailbox = known.get(key_of(address))
    return mailbox is not None and mailbox.dead_since is not None


def wants_digests(known: Mapping[str, Mailbox], address: str) -> bool:
    """Whether it is to get regular letters, as of `states`. What is urgent is not asked here."""
    mailbox = known.get(key_of(address))
    return mailbox is None or mailbox.digests_off_at is None


def bounced(tx: Transaction, address: str, because: str) -> bool:
    """Mail to it is refused for good, or came back. False if that is known."""
    key, now, reason = key_of(address), clock.timestamp(), one_line(because, 300)
    known = tx.execute(select(Mailbox).where(col(Mailbox.address) == key).with_for_update()).first()
    if known is not None and known.dead_since is not None:
        return False
    dead = {"dead_since": now, "dead_because": reason}
    new = insert(Mailbox).values(address=key, digests_off_at=None, **dead)
    tx.execute(new.on_conflict_do_update(index_elements=["address"], set_=dead))
    whose = _owners_with(tx.connection, key)
    log.append(tx, "mailbox-dead", key, BY, because=reason, owners=[owner.name for owner in whose][:20])
    _raise(tx, key, reason, whose)
    return True


def revive(lifecycle: Lifecycle, caller: Caller, address: str) -> bool:
    """Somebody has seen to it that mail arrives again. False if it was not dead; `NotFound` if nothing is known."""
    caller.must(Operation.MANAGE_OWNERS)
    key = key_of(address)

    def unit(tx: Transaction) -> bool:
        row = tx.execute(select(Mailbox).where(col(Mailbox.address) == key).with_for_update()).first()
        if row is None:
            hint = "certwright owner mailboxes"
            raise NotFound("nothing is known of that address", code="unknown-mailbox", hint=hint)
        if row.dead_since is None:
            return False
        _live(tx, row, caller.identity)
        return True

    return lifecycle.store.write(unit)


def left(tx: Transaction, addresses: Iterable[str]) -> None:
    """An owner has these no more: one that nobody has is forgotten, and so is that mail to it comes back."""
    for key in sorted({key_of(address) for address in addresses}):
        row = tx.execute(select(Mailbox).where(col(Mailbox.address) == key).with_for_update()).first()
        if row is not None and not _owners_with(tx.connection, key):
            tx.execute(delete(Mailbox).where(col(Mailbox.address) == key))
            alarms.clear_alarm(tx, DEAD_ALARM, key)


def decline(tx: Transaction, address: str, by: str) -> bool:
    """It wants no regular letters any more. False if that is known."""
    return _want(tx, address, by, clock.timestamp())


def resume(tx: Transaction, address: str, by: str) -> bool:
    """It wants them again. False if it had not declined them."""
    return _want(tx, address, by, None)


def listing(
    lifecycle: Lifecycle, caller: Caller, *, dead: bool = False, cursor: str = "", limit: int = 50
) -> tuple[list[Held], str | None]:
    """A page of addresses of which something is known, all or the dead ones, and where the next page starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    said = or_(col(Mailbox.dead_since).is_not(None), col(Mailbox.digests_off_at).is_not(None))
    query = select(Mailbox).where(col(Mailbox.dead_since).is_not(None) if dead else said)
    with lifecycle.store.read() as connection:
        page = query.where(col(Mailbox.address) > cursor).order_by(col(Mailbox.address)).limit(limit + 1)
        rows = [Mailbox(**row._mapping) for row in connection.execute(page)]
        whose = _all_owners(connection) if rows else {}
    found = [Held(row, tuple(whose.get(row.address, ()))) for row in rows[:limit]]
    return found, rows[limit - 1].address if len(rows) > limit else None


def count_dead(connection: Connection) -> int:
    """How many addresses mail comes back from."""
    dead = select(col(Mailbox.address)).where(col(Mailbox.dead_since).is_not(None))
    return len(connection.execute(dead).all())


def _live(tx: Transaction, row: Any, by: str) -> None:
    alive = update(Mailbox).where(col(Mailbox.address) == row.address)
    tx.execute(alive.values(dead_since=None, dead_because=None))
    log.append(tx, "mailbox-revived", row.address, by, since=row.dead_since)
    events.record(tx, "mailbox-revived", row.address, f"mail to {row.address} is sent again", by=by)
    alarms.clear_alarm(tx, DEAD_ALARM, row.address)


def _want(tx: Transaction, address: str, by: str, at: int | None) -> bool:
    key = key_of(address)
    row = tx.execute(select(Mailbox).where(col(Mailbox.address) == key).with_for_update()).first()
    before = None if row is None else row.digests_off_at
    if (before is None) == (at is None):
        return False
    new = insert(Mailbox).values(address=key, dead_since=None, dead_because=None, digests_off_at=at)
    tx.execute(new.on_conflict_do_update(index_elements=["address"], set_={"digests_off_at": at}))
    word = "digests-resumed" if at is None else "digests-declined"
    log.append(tx, word, key, by)
    what = "wants regular letters again" if at is None else "wants no regular letters any more"
    events.record(tx, word, key, f"{key} {what}", by=by)
    return True


def _raise(tx: Transaction, key: str, reason: str, whose: list[Any]) -> None:
    names = ", ".join(owner.name for owner in whose[:3]) or "nobody"
    message = f"mail to {key}, an address of {names}, comes back: {reason}"
    hint = "give the owner another address with certwright owner change, or certwright owner revive"
    owner_id = whose[0].id if whose else None
    alarms.raise_alarm(tx, Trouble(DEAD_ALARM, key, "error", message, hint, owner_id))


def _owners_with(connection: Connection, key: str) -> list[Any]:
    """Owners who have an address, as their own or on their path. There are few of them, and this is rarely asked."""
    rows = connection.execute(select(Owner).order_by(col(Owner.name)).limit(MAX_OWNERS))
    return [row for row in rows if key in map(key_of, addresses_of(row))]


def _all_owners(connection: Connection) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in connection.execute(select(Owner).order_by(col(Owner.name)).limit(MAX_OWNERS)):
        for key in dict.fromkeys(map(key_of, addresses_of(row))):
            found.setdefault(key, []).append(row.name)
    return found
