"""Our own CAs as a tree: the state of each, what is left of its life, how fresh its CRLs are, and what follows it.

Everything here is small; of the certificates beneath a CA only the tallies know how many they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.authority import State
from ca.crl import COMPLETE
from ca.errors import NotFound
from ca.models import Authority, CrossCertificate, DeltaList, RevocationList
from renewers.inventory.facts import fingerprint_identity
from renewers.lifecycle import Lifecycle
from renewers.models import Rotation, Tracked
from renewers.rotation import underway

SHOWN = 50


@dataclass(frozen=True, slots=True)
class Lists:
    """The CRLs of one authority: when the oldest was signed, when the first ends, how many there are, of what size."""

    shards: int
    entries: int
    signed_at: int
    ends_at: int
    number: int


@dataclass(frozen=True, slots=True)
class Turning:
    """A rotation, with the names of those that go and of those that come, and what it waits for."""

    rotation: Rotation
    outgoing: tuple[str, ...]
    incoming: tuple[str, ...]
    waits_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """One authority in the tree, and how deep it stands there."""

    authority: Authority
    depth: int
    lists: Lists | None
    rotation: Rotation | None
    tracked_id: int | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """One authority with all that hangs on it."""

    branch: Branch
    parent: Authority | None
    children: tuple[Authority, ...]
    shards: tuple[RevocationList, ...]
    delta: DeltaList | None
    crossed: tuple[tuple[str, CrossCertificate], ...]
    """Cross-certificates for it, each with the name of who signed."""
    rotations: tuple[Turning, ...]


def tree(lifecycle: Lifecycle, caller: Caller) -> tuple[list[Branch], list[Turning]]:
    """All authorities, each beneath its issuer; and the rotations, those that are open first."""
    caller.must(Operation.READ_AUTHORITIES)
    rows = lifecycle.installation.authorities.all()
    with lifecycle.store.read(snapshot=True) as connection:
        lists, rotations = _lists(connection), _rotations(connection)
        tracked = _tracked(connection, rows)
    beneath: dict[int | None, list[Authority]] = {}
    for row in sorted(rows, key=lambda row: (row.state == State.RETIRED, row.line, row.generation)):
        beneath.setdefault(row.parent_id, []).append(row)
    known = {row.id for row in rows}
    roots = [row for parent, found in beneath.items() if parent is None or parent not in known for row in found]
    moving = _moving(rotations)

    def branches(row: Authority, depth: int) -> Iterator[Branch]:
        yield Branch(row, depth, lists.get(row.id or 0), moving.get(row.name), tracked.get(row.id or 0))
        for child in beneath.get(row.id, ()):
            yield from branches(child, depth + 1)

    return [branch for root in roots for branch in branches(root, 0)], rotations


def show(lifecycle: Lifecycle, caller: Caller, name: str) -> Whole:
    """One authority. `NotFound` if there is none of this name."""
    caller.must(Operation.READ_AUTHORITIES)
    rows = lifecycle.installation.authorities.all()
    row = next((one for one in rows if one.name == name), None)
    if row is None:
        raise NotFound("there is no such authority", code="unknown-authority")
    names = {one.id: one for one in rows}
    with lifecycle.store.read(snapshot=True) as connection:
        of_it = col(RevocationList.authority_id) == row.id
        shards = connection.execute(select(RevocationList).where(of_it).order_by(col(RevocationList.shard))).all()
        delta = connection.execute(select(DeltaList).where(col(DeltaList.authority_id) == row.id)).first()
        crossed = connection.execute(
            select(CrossCertificate).where(col(CrossCertificate.authority_id) == row.id).limit(SHOWN)
        ).all()
        rotations = [
            one
            for one in _rotations(connection)
            if row.name in (*one.outgoing, *one.incoming) or one.rotation.line == row.line
        ]
        branch = Branch(
            row,
            0,
            _lists(connection).get(row.id or 0),
            _moving(rotations).get(name),
            _tracked(connection, [row]).get(row.id or 0),
        )
    return Whole(
        branch=branch,
        parent=names.get(row.parent_id),
        children=tuple(one for one in rows if one.parent_id == row.id),
        shards=tuple(RevocationList(**one._mapping) for one in shards),
        delta=None if delta is None else DeltaList(**delta._mapping),
        crossed=tuple(
            (names[one.issuer_id].name if one.issuer_id in names else "?", CrossCertificate(**one._mapping))
            for one in crossed
        ),
        rotations=tuple(rotations),
    )


def _lists(connection: Connection) -> Mapping[int, Lists]:
    """Of each authority: the shards that are published, and the complete list."""
    columns = (
        col(RevocationList.authority_id),
        func.count().label("shards"),
        func.min(col(RevocationList.this_update)).label("signed"),
        func.min(col(RevocationList.next_update)).label("ends"),
        func.max(col(RevocationList.number)).label("number"),
        func.sum(col(RevocationList.entries)).filter(col(RevocationList.shard) == COMPLETE).label("entries"),
    )
    made = select(*columns).where(col(RevocationList.number) > 0).group_by(col(RevocationList.authority_id))
    return {
        row.authority_id: Lists(row.shards, row.entries or 0, row.signed, row.ends, row.number)
        for row in connection.execute(made)
    }


def _rotations(connection: Connection) -> list[Turning]:
    """Those that are open, and the newest of those that are over."""
    is_open = col(Rotation.state) == underway.OPEN
    rows = connection.execute(select(Rotation).where(is_open).order_by(col(Rotation.id).desc()).limit(SHOWN)).all()
    over = select(Rotation).where(~is_open).order_by(col(Rotation.id).desc()).limit(SHOWN)
    return [_turning(row) for row in (*rows, *connection.execute(over))]


def _turning(row: Any) -> Turning:
    lists = (tuple(map(str, json.loads(text))) for text in (row.outgoing, row.incoming, row.waits_for))
    return Turning(Rotation(**row._mapping), *lists)


def _moving(rotations: Sequence[Turning]) -> Mapping[str, Rotation]:
    of_open = [one for one in rotations if one.rotation.state == underway.OPEN]
    return {name: one.rotation for one in of_open for name in (*one.outgoing, *one.incoming)}


def _tracked(connection: Connection, rows: Sequence[Authority]) -> Mapping[int, int]:
    """Under which number each is tracked."""
    identities = {fingerprint_identity(row.certificate): row.id or 0 for row in rows}
    query = select(col(Tracked.id), col(Tracked.identity)).where(col(Tracked.identity).in_(identities))
    return {identities[row.identity]: row.id for row in connection.execute(query)}
