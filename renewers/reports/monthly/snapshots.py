"""A month's figures as they were: taken once when it is over, kept, never changed, so that what was signed stays.

One process takes them, under a lease; what was missed while nobody ran is taken as soon as somebody does. The ledger
has the hash of what was kept, from the same transaction. The month that is not over is gathered anew when it is asked
for, and not kept. Read `figures.py` for what there is in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict, NotFound
from ca.ledger import log
from ca.models import Authority, LedgerHead
from ca.store import Store, Transaction
from ca.store.lease import leased
from renewers.lifecycle import Lifecycle
from renewers.models import Snapshot
from renewers.reports.monthly import figures
from renewers.reports.monthly.months import Month, month_of, parse
from renewers.telling.alarms import BY

PREFIX = "monthly:"
SO_FAR = "monthly-so-far"
LEASE = 3600
"""Seconds after which another process may take over the gathering."""
FRESH = 900
"""Seconds for which the figures of the month that is not over are given out again."""
KEPT_MONTHS = 84
"""Seven years of reports."""
CAUGHT_UP = 12
"""How many months that were missed are taken at once, at most."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The figures of a month, and the SHA-256 of the JSON text that they are kept as."""

    month: Month
    at: int
    sha256: str
    figures: dict[str, Any]


def take_due(lifecycle: Lifecycle) -> list[Month]:
    """Take the figures of every month that is over and has none. Returns which; none while another process does it."""
    if not list(_missing(lifecycle.store)):
        return []
    with leased(lifecycle.store, "monthly-report", LEASE) as held:
        if held is None:
            return []
        missing = list(_missing(lifecycle.store))[:CAUGHT_UP]
        for month in missing:
            _keep(lifecycle, month)
    return missing


def report(lifecycle: Lifecycle, caller: Caller, month: Month | None = None) -> Kept:
    """The figures of a month, by default of the last one that is over.

    `NotFound` where none were kept, `Conflict` while they are being gathered.
    """
    caller.must(Operation.READ_INVENTORY)
    present = month_of(clock.timestamp())
    month = present.before if month is None else month
    if month > present:
        raise BadRequest(f"{month.name} has not begun", code="bad-month")
    if month == present:
        return _so_far(lifecycle, month)
    kept = find(lifecycle.store, month)
    if kept is None and month in _missing(lifecycle.store):
        take_due(lifecycle)
        kept = find(lifecycle.store, month)
        if kept is None:
            raise _in_the_making()
    if kept is None:
        known = ", ".join(map(str, months(lifecycle.store)[:12])) or "none is kept yet"
        raise NotFound(f"no report of {month.name} is kept", code="unknown-report", hint=known)
    return kept


def find(store: Store, month: Month) -> Kept | None:
    """What is kept of a month."""
    return _read(store, f"{PREFIX}{month}", month)


def months(store: Store) -> list[Month]:
    """The months of which figures are kept, newest first."""
    name = col(Snapshot.name)
    query = select(name).where(name >= PREFIX, name < f"{PREFIX}~").order_by(name.desc())
    with store.read() as connection:
        return [parse(found.removeprefix(PREFIX)) for found in connection.execute(query).scalars()]


def prune(lifecycle: Lifecycle) -> int:
    """Forget what is older than `KEPT_MONTHS`. Returns how many that were."""
    present = month_of(clock.timestamp())
    oldest = Month(present.year - KEPT_MONTHS // 12, present.number)
    name = col(Snapshot.name)
    old = (name >= PREFIX, name < f"{PREFIX}{oldest}")
    with lifecycle.store.read() as connection:
        if connection.execute(select(name).where(*old).limit(1)).first() is None:
            return 0

    def unit(tx: Transaction) -> int:
        gone = int(tx.execute(delete(Snapshot).where(*old)).rowcount)
        if gone:
            log.append(tx, "reports-pruned", "retention", BY, count=gone, before=str(oldest))
        return gone

    return lifecycle.store.write(unit)


def _missing(store: Store) -> Iterator[Month]:
    """Months that are over and were not taken: from the newest that was, or from when this installation began."""
    present, known = month_of(clock.timestamp()), months(store)
    if known:
        month = known[0].after
    else:
        began = _began(store)
        if began is None:
            return
        month = month_of(began)
    month = max(month, Month(present.year - 1, present.number))
    while month < present:
        yield month
        month = month.after


def _began(store: Store) -> int | None:
    """When there was first something to report on."""
    with store.read() as connection:
        head = connection.execute(select(col(LedgerHead.signed_at)).order_by(col(LedgerHead.size)).limit(1)).scalar()
        authority = connection.execute(select(func.min(col(Authority.created_at)))).scalar()
    return min((at for at in (head, authority) if at is not None), default=None)


def _keep(lifecycle: Lifecycle, month: Month) -> None:
    """Gather and keep; what another process has kept meanwhile stays."""
    body = _written(figures.gather(lifecycle, month))
    name, at = f"{PREFIX}{month}", clock.timestamp()

    def unit(tx: Transaction) -> None:
        row = insert(Snapshot).values(name=name, at=at, body=body).on_conflict_do_nothing()
        if tx.execute(row.returning(col(Snapshot.name))).first() is not None:
            log.append(tx, "report-made", name, BY, month=str(month), sha256=_hash(body))

    lifecycle.store.write(unit)


def _so_far(lifecycle: Lifecycle, month: Month) -> Kept:
    kept = _read(lifecycle.store, SO_FAR, month)
    if kept is not None and kept.at > clock.timestamp() - FRESH:
        return kept
    with leased(lifecycle.store, "monthly-report", LEASE) as held:
        if held is None and kept is None:
            raise _in_the_making()
        if held is not None:
            body, at = _written(figures.gather(lifecycle, month)), clock.timestamp()

            def unit(tx: Transaction) -> None:
                if not tx.execute(
                    update(Snapshot).where(col(Snapshot.name) == SO_FAR).values(at=at, body=body)
                ).rowcount:
                    tx.execute(insert(Snapshot).values(name=SO_FAR, at=at, body=body))

            lifecycle.store.write(unit)
            return Kept(month, at, _hash(body), json.loads(body))
    assert kept is not None
    return kept


def _read(store: Store, name: str, month: Month) -> Kept | None:
    with store.read() as connection:
        row = connection.execute(select(Snapshot).where(col(Snapshot.name) == name)).first()
    if row is None:
        return None
    found = json.loads(row.body)
    return Kept(month, row.at, _hash(row.body), found) if found["month"] == str(month) else None


def _in_the_making() -> Conflict:
    return Conflict("the figures are being gathered", code="report-in-the-making", hint="ask again in a minute")


def _written(found: dict[str, Any]) -> str:
    """ASCII with sorted keys: one content has one form, and every database takes it."""
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def _hash(body: str) -> str:
    return sha256(body.encode()).hexdigest()
