"""One mass replacement as it stands: its row, its account, and the words for what becomes of its items.

An item is `waiting` for its turn (or for whoever holds its key), `renewing`, `replaced` once its lineage has another
certificate, `verified` once that is wherever the old one was used, and `revoked` if that was asked for; or it has
`ended` by itself: expired, or revoked by somebody else. Every item ends in one of the last three.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlmodel import col

from ca.access import Caller, Role
from ca.errors import NotFound
from renewers.models import Replacement, ReplacementItem
from renewers.replacing.plans import Policy
from renewers.replacing.selection import Selection, decode

KIND = "replace"
"""The kind of work; its subject is the replacement's id."""
BY = Caller("system:replacing", Role.OPERATOR)
OPEN, DONE, STOPPED = "open", "done", "stopped"
WAITING, RENEWING, REPLACED, VERIFIED, REVOKED, ENDED = (
    *("waiting", "renewing", "replaced"),
    *("verified", "revoked", "ended"),
)
STATES = (WAITING, RENEWING, REPLACED, VERIFIED, REVOKED, ENDED)
FOREIGN = "replaced and verified; it is not of a CA of ours, so that it is not ours to revoke"
"""The note of what is verified and stays so, though others are revoked."""
WAITS_ALARM, FAILING_ALARM = "replacement-waits", "replacement-failing"


@dataclass(frozen=True, slots=True)
class Underway:
    """A replacement as it was read."""

    id: int
    rotation_id: int | None
    state: str
    selection: Selection
    policy: Policy
    per_minute: int
    revokes: bool
    reason: str
    found: Mapping[str, Any]
    """How far it is: see `listing` and `turns`, which write it."""
    started_at: int
    started_by: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The account: how many certificates are in which state."""

    total: int
    waiting: int
    renewing: int
    replaced: int
    verified: int
    revoked: int
    ended: int
    left: int
    """Those that have not come to their end."""
    unaccounted: int
    """Those that are in no state that we know: none, ever."""


def subject(replacement_id: int) -> str:
    """How the ledger, events and alarms name it."""
    return f"replacement:{replacement_id}"


def load(connection: Connection, replacement_id: int) -> Underway | None:
    """A replacement; None if there is none."""
    row = connection.execute(select(Replacement).where(col(Replacement.id) == replacement_id)).first()
    return None if row is None else read(row)


def read(row: Row[Any]) -> Underway:
    """One row of `Replacement`."""
    return Underway(
        id=row.id,
        rotation_id=row.rotation_id,
        state=row.state,
        selection=decode(row.selection),
        policy=Policy.decode(row.policy),
        per_minute=row.per_minute,
        revokes=row.revokes,
        reason=row.reason,
        found=json.loads(row.found),
        started_at=row.started_at,
        started_by=row.started_by,
    )


def progress(connection: Connection, replacement_id: int) -> Progress:
    """How far it is. `NotFound` if there is none."""
    known = connection.execute(select(Replacement).where(col(Replacement.id) == replacement_id)).first()
    if known is None:
        raise NotFound(f"there is no replacement {replacement_id}", code="unknown-replacement")
    of_it = select(col(ReplacementItem.state), func.count()).where(col(ReplacementItem.replacement_id) == known.id)
    counts = {row[0]: row[1] for row in connection.execute(of_it.group_by(col(ReplacementItem.state)))}
    foreign = 0
    if known.revokes:
        proved = col(ReplacementItem.state) == VERIFIED, col(ReplacementItem.note) == FOREIGN
        of_others = select(func.count()).where(col(ReplacementItem.replacement_id) == known.id, *proved)
        foreign = connection.execute(of_others).scalar_one()
    return account(counts, revokes=known.revokes, foreign=foreign)


def account(counts: Mapping[str, int], *, revokes: bool, foreign: int = 0) -> Progress:
    """The account of so many items in each state; `foreign` of the verified ones are not ours to revoke."""
    by = {state: counts.get(state, 0) for state in STATES}
    total = sum(counts.values())
    proved = foreign if revokes else by[VERIFIED]
    return Progress(
        total=total,
        **by,
        left=sum(by.values()) - proved - by[REVOKED] - by[ENDED],
        unaccounted=total - sum(by.values()),
    )
