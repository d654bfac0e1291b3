"""The report of a mass replacement, in between and at the end: what became of each, when, whose, and what proves it.

Plain data; `render` makes text of it. What proves it are entries of the ledger, by their place and hash: whoever holds
a signed head can check that the ledger has them (`certwright ledger export`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.models import LedgerEntry
from renewers.inventory.ownership import owners_of
from renewers.lifecycle import Lifecycle
from renewers.models import Replacement, ReplacementItem, Tracked
from renewers.replacing import showing, underway
from renewers.replacing.underway import ENDED, FOREIGN, REPLACED, REVOKED, VERIFIED, Progress

OWNERS_AMONG = 10_000
"""Of how many certificates the owners are looked up: to know whose one is costs several queries."""
PAGE = 1000
LEFT, PROOF = 200, 100
"""How many that are left, and how many entries of the ledger, are named."""
NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the beginning until certificates came to their end; None while none has."""

    first: int | None
    median: int | None
    p99: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class OfOwner:
    """How far an owner's certificates are."""

    owner: str
    total: int
    left: int


@dataclass(frozen=True, slots=True)
class Remaining:
    """One that has not come to its end, and why."""

    serial: str
    shown_as: str
    state: str
    note: str


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry of the ledger: its place (None until it has one), its leaf hash, and what it says."""

    position: int | None
    sha256: str
    action: str
    at: int
    by: str


@dataclass(frozen=True, slots=True)
class Report:
    """The evidence."""

    replacement: Replacement
    selection: Mapping[str, object]
    policy: Mapping[str, object]
    made_at: int
    progress: Progress
    times: Times
    owners: Sequence[OfOwner]
    """Among the first `OWNERS_AMONG` certificates."""
    left: Sequence[Remaining]
    notes: Mapping[str, int]
    """How many end with which remark: revoked by others, not ours to revoke, revoked without proof."""
    proof: Sequence[Proof]
    tree_size: int | None
    """The size of the newest signed head of the ledger, and its root."""
    tree_root: str | None


def report(lifecycle: Lifecycle, caller: Caller, replacement_id: int) -> Report:
    """The report as it stands. `NotFound` if there is no such replacement."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read(snapshot=True) as connection:
        course = showing.course(connection, replacement_id)
        times = _times(connection, course.row)
        owners = _owners(connection, course.row)
        left = _left(connection, course.row)
        notes = _notes(connection, replacement_id)
        proof = _proof(connection, replacement_id)
    head = lifecycle.installation.ledger.head()
    return Report(
        replacement=course.row,
        selection=json.loads(course.row.selection),
        policy=json.loads(course.row.policy),
        made_at=clock.timestamp(),
        progress=course.progress,
        times=times,
        owners=owners,
        left=left,
        notes=notes,
        proof=proof,
        tree_size=None if head is None else head.size,
        tree_root=None if head is None else head.root.hex(),
    )


def render(found: Report) -> str:
    """The report as text."""
    return "\n".join(_lines(found)) + "\n"


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _lines(found: Report) -> Iterator[str]:
    row, account = found.replacement, found.progress
    yield f"replacement {row.id}: {row.state}, {account.total - account.left} of {account.total} accounted for"
    yield f"  selected by   {'; '.join(f'{name} {_listed(value)}' for name, value in found.selection.items())}"
    yield f"  reason        {row.reason}"
    until = "" if row.ended_at is None else f", ended {_moment(row.ended_at)}"
    yield f"  started       {_moment(row.started_at)} by {row.started_by}{until}"
    yield f"  pace          at most {row.per_minute} a minute; old ones are {'' if row.revokes else 'not '}revoked"
    states = ", ".join(f"{getattr(account, state)} {state}" for state in underway.STATES)
    yield f"  account       {states}; {account.unaccounted} unaccounted for"
    times = found.times
    if times.first is not None:
        yield f"  seconds       first {times.first}, median {times.median}, p99 {times.p99}, last {times.last}"
    for owner in found.owners:
        yield f"  {owner.owner}: {owner.total - owner.left} of {owner.total}"
    for note, count in found.notes.items():
        yield f"  {count} {note}"
    for one in found.left:
        yield f"  left: {one.shown_as} ({one.serial}) is {one.state}{f': {one.note}' if one.note else ''}"
    if account.left > len(found.left):
        yield f"  left: and {account.left - len(found.left)} more"
    for entry in found.proof:
        place = "no place yet" if entry.position is None else f"entry {entry.position}"
        yield f"  ledger {place}: {entry.action} at {_moment(entry.at)} by {entry.by}, leaf {entry.sha256}"
    if found.tree_size is not None:
        yield f"  ledger head: {found.tree_size} entries, root {found.tree_root}"


def _moment(at: int) -> str:
    return f"{clock.from_timestamp(at):%Y-%m-%dT%H:%M:%SZ}"


def _final(row: Replacement) -> tuple[str, ...]:
    return (REVOKED, ENDED) if row.revokes else (VERIFIED, ENDED)


def _times(connection: Connection, row: Replacement) -> Times:
    """When those came to their end that did not end by themselves."""
    final = _final(row)[0]
    of_it = col(ReplacementItem.replacement_id) == row.id, col(ReplacementItem.state) == final
    count = connection.execute(select(func.count()).select_from(ReplacementItem).where(*of_it)).scalar_one()
    ordered = select(col(ReplacementItem.changed_at)).where(*of_it).order_by(col(ReplacementItem.changed_at))

    def at(place: int) -> int | None:
        if not count:
            return None
        found = connection.execute(ordered.offset(min(place, count - 1)).limit(1)).scalar_one()
        return max(found - row.started_at, 0)

    return Times(at(0), at(count // 2), at(count * 99 // 100), at(count - 1))


def _owners(connection: Connection, row: Replacement) -> list[OfOwner]:
    counts: dict[str, list[int]] = {}
    after = 0
    for _ in range(OWNERS_AMONG // PAGE):
        query: Any = select(Tracked, col(ReplacementItem.state).label("item_state"), col(ReplacementItem.note))
        query = query.join(ReplacementItem, col(ReplacementItem.tracked_id) == col(Tracked.id))
        query = query.where(col(ReplacementItem.replacement_id) == row.id, col(ReplacementItem.tracked_id) > after)
        rows = connection.execute(query.order_by(col(ReplacementItem.tracked_id)).limit(PAGE)).all()
        owners = owners_of(connection, rows)
        for one in rows:
            owner = owners[one.id].owner
            entry = counts.setdefault(NOBODY if owner is None else owner.name, [0, 0])
            entry[0] += 1
            entry[1] += one.item_state not in _final(row) and one.note != FOREIGN
        if len(rows) < PAGE:
            break
        after = rows[-1].id
    return [OfOwner(name, *both) for name, both in sorted(counts.items())]


def _left(connection: Connection, row: Replacement) -> list[Remaining]:
    query = select(ReplacementItem).where(col(ReplacementItem.replacement_id) == row.id)
    query = query.where(col(ReplacementItem.state).not_in(_final(row)), col(ReplacementItem.note) != FOREIGN)
    rows = connection.execute(query.order_by(col(ReplacementItem.place)).limit(LEFT))
    return [Remaining(one.serial, one.shown_as, one.state, one.note) for one in rows]


def _notes(connection: Connection, replacement_id: int) -> dict[str, int]:
    note = col(ReplacementItem.note)
    query = select(note, func.count()).where(col(ReplacementItem.replacement_id) == replacement_id, note != "")
    query = query.where(col(ReplacementItem.state).in_((REPLACED, VERIFIED, REVOKED, ENDED)))
    return {row[0]: row[1] for row in connection.execute(query.group_by(note).order_by(note).limit(LEFT))}


def _proof(connection: Connection, replacement_id: int) -> list[Proof]:
    query = select(LedgerEntry).where(col(LedgerEntry.subject) == underway.subject(replacement_id))
    found = []
    for row in connection.execute(query.order_by(col(LedgerEntry.id)).limit(PROOF)):
        said = json.loads(row.body)
        found.append(Proof(row.position, row.leaf_hash.hex(), said["action"], said["at"], said["by"]))
    return found
