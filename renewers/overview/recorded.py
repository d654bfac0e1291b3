"""The ledger as a page shows it: the newest head and the newest entries. It verifies nothing: that takes the whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.installation import Installation
from ca.models import LedgerEntry, LedgerHead

PAGE = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its place, what was done to what, by whom, when, and the rest of what it says."""

    id: int
    position: int | None
    action: str
    subject: str
    by: str
    at: int | str | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The head, how many entries no head covers yet, and a page of entries, newest first."""

    head: LedgerHead | None
    waiting: int
    verifier: str
    entries: tuple[Entry, ...]
    next: int | None


def show(
    installation: Installation, caller: Caller, *, subject: str | None = None, cursor: int | None = None
) -> Recorded:
    """The newest of the ledger, of everything or of one subject."""
    caller.must(Operation.READ_LEDGER)
    query = select(LedgerEntry).order_by(col(LedgerEntry.id).desc()).limit(PAGE + 1)
    if subject is not None:
        query = query.where(col(LedgerEntry.subject) == (subject if subject.isprintable() else ""))
    if cursor is not None:
        query = query.where(col(LedgerEntry.id) < cursor)
    with installation.store.read() as connection:
        rows = connection.execute(query).all()
        newest = connection.execute(select(LedgerHead).order_by(col(LedgerHead.size).desc()).limit(1)).first()
    return Recorded(
        head=None if newest is None else LedgerHead(**newest._mapping),
        waiting=installation.ledger.waiting(),
        verifier=str(installation.ledger.verifier),
        entries=tuple(_entry(row) for row in rows[:PAGE]),
        next=rows[PAGE - 1].id if len(rows) > PAGE else None,
    )


def _entry(row: Any) -> Entry:
    said = json.loads(row.body)
    known = ("action", "subject", "by", "at")
    action, subject, by, at = (said.get(name) for name in known)
    details = {name: value for name, value in said.items() if name not in known}
    return Entry(row.id, row.position, str(action), str(subject), str(by), at, details)
