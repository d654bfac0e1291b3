"""When each owner's regular letters are due next: one row an owner, looked for by its time.

An owner that was added gets its row at the next look; one whose time zone was changed, or a policy with another hour,
counts from the letter after. A clock that was far ahead for a while does not silence anybody: what is due further ahead
than it can be is planned anew. The moments themselves are `schedule.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam, delete, insert, or_, select, update
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.mailing import schedule
from renewers.mailing.schedule import DAY, WEEK
from renewers.models import Crossing, Owner, OwnerMail

PAGE = 500
SLACK = 3600
"""Seconds that a due moment may be further ahead than its period: a clock is put back in autumn."""


@dataclass(frozen=True, slots=True)
class Due:
    """An owner whose regular letter is due, and for which moment."""

    owner: Owner
    at: int


def enrol(lifecycle: Lifecycle) -> int:
    """Plan the first regular letters of owners that have none planned; returns how many these are."""
    now = clock.timestamp()
    with lifecycle.store.read() as connection:
        owners = connection.execute(_UNPLANNED, {"week": now + WEEK + SLACK, "day": now + DAY + SLACK}).all()
    if owners:
        lifecycle.store.write(lambda tx: _plan(tx, owners, lifecycle.mail, now))
    return len(owners)


def due(lifecycle: Lifecycle, column: str) -> list[Due]:
    """Owners whose `digest_due` or `daily_due` has come, the longest due first: a page of them."""
    with lifecycle.store.read() as connection:
        rows = connection.execute(_DUE[column], {"now": clock.timestamp()}).all()
    return [Due(Owner(**{name: row._mapping[name] for name in Owner.model_fields}), row.at) for row in rows]


def _due(column: str) -> Select[Any]:
    at = col(getattr(OwnerMail, column))
    columns: tuple[Any, ...] = (Owner, at.label("at"))
    query = select(*columns).join(OwnerMail, col(OwnerMail.owner_id) == col(Owner.id))
    return query.where(at <= bindparam("now")).order_by(at).limit(PAGE)


# Made once: each tick asks for these, and mostly finds nothing.
_DUE = {column: _due(column) for column in ("digest_due", "daily_due")}
_UNPLANNED = (
    select(Owner)
    .outerjoin(OwnerMail, col(OwnerMail.owner_id) == col(Owner.id))
    .where(
        or_(
            col(OwnerMail.owner_id).is_(None),
            col(OwnerMail.digest_due) > bindparam("week"),
            col(OwnerMail.daily_due) > bindparam("day"),
        )
    )
    .limit(PAGE)
)


def move_on(tx: Transaction, policy: MailPolicy, due: Due, column: str) -> bool:
    """Plan the next one. False if somebody else has done so: then this one is theirs to write."""
    of_it = col(OwnerMail.owner_id) == due.owner.id, col(getattr(OwnerMail, column)) == due.at
    after = clock.timestamp()
    following = (_digest if column == "digest_due" else _daily)(policy, due.owner.time_zone, after)
    return bool(tx.execute(update(OwnerMail).where(*of_it).values({column: following})).rowcount)


def moved(tx: Transaction, policy: MailPolicy, owner_id: int, time_zone: str) -> None:
    """An owner lives by another clock from now on: the letters that were due next move to the nearest hour there."""
    now, of_it = clock.timestamp(), col(OwnerMail.owner_id) == owner_id
    row = tx.execute(select(OwnerMail).where(of_it).with_for_update()).first()
    if row is not None:
        digest = _digest(policy, time_zone, max(now, row.digest_due - WEEK // 2))
        daily = _daily(policy, time_zone, max(now, row.daily_due - DAY // 2))
        tx.execute(update(OwnerMail).where(of_it).values(digest_due=digest, daily_due=daily))


def left(tx: Transaction, owner_id: int, heir_id: int | None) -> None:
    """An owner is no more. What was to be told to it is told to its heir, or whoever answers by then."""
    tx.execute(delete(OwnerMail).where(col(OwnerMail.owner_id) == owner_id))
    waits = col(Crossing.owner_id) == owner_id, col(Crossing.settled_at).is_(None)
    tx.execute(update(Crossing).where(*waits).values(owner_id=heir_id))


def _plan(tx: Transaction, owners: Sequence[Any], policy: MailPolicy, now: int) -> None:
    for owner in owners:
        values = _values(policy, owner.time_zone, now)
        done = tx.execute(update(OwnerMail).where(col(OwnerMail.owner_id) == owner.id).values(**values)).rowcount
        if not done:
            tx.execute(insert(OwnerMail).values(owner_id=owner.id, **values))


def _values(policy: MailPolicy, time_zone: str, now: int) -> Mapping[str, int]:
    return {"digest_due": _digest(policy, time_zone, now), "daily_due": _daily(policy, time_zone, now)}


def _digest(policy: MailPolicy, time_zone: str, after: int) -> int:
    return schedule.next_weekly(time_zone, policy.digest_day, policy.digest_hour, after)


def _daily(policy: MailPolicy, time_zone: str, after: int) -> int:
    return schedule.next_daily(time_zone, policy.digest_hour, after)
