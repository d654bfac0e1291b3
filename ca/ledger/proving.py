"""Proofs from the store: where an entry is, and how it comes under a signed head. Reads alone; `evidence.py` checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.errors import BadRequest, Conflict, NotFound
from ca.ledger.tiles import tree_of
from ca.models import Authority, LedgerEntry, LedgerHead
from ca.store import Store

_ENTRY = select(col(LedgerEntry.position), col(LedgerEntry.subject), col(LedgerEntry.body))
_NEWEST = select(col(LedgerHead.size)).order_by(col(LedgerHead.size).desc()).limit(1)


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry, and that the tree of `size` entries has it. `checkpoint` is the head of that size, if we signed one.

    `consistency` shows that this tree begins with the tree of `kept` entries, where the two differ.
    """

    entry: bytes
    position: int
    size: int
    inclusion: Sequence[bytes]
    checkpoint: str | None
    consistency: Sequence[bytes] | None


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the tree of `new` entries begins with that of `old`; `checkpoint` is the newer head, if we signed one."""

    old: int
    new: int
    proof: Sequence[bytes]
    checkpoint: str | None


def prove_issuance(store: Store, serial: str, *, sha256: str | None = None, kept: int | None = None) -> Proof:
    """The proof of the entry that says that a certificate was issued; `sha256`, if given, is that of its bytes.

    `kept` is the size of a head that the caller has: the proof is for that very head if it covers the entry, else for
    the newest one with the way from the one to the other. `NotFound`, or `Conflict` if `kept` is beyond the ledger.
    """
    with store.read(snapshot=True) as connection:
        rows = connection.execute(_ENTRY.where(col(LedgerEntry.subject).in_(_subjects(connection, serial)))).all()
        row = next((row for row in rows if _says_issued(row, serial)), None)
        if row is None:
            raise NotFound(f"the ledger has no issuance of {serial}", code="unknown-entry")
        if sha256 is not None and json.loads(row.body).get("sha256") != sha256:
            raise NotFound(f"the certificate that was issued as {serial} is another one", code="unknown-entry")
        return _prove(connection, row, kept)


def prove_entry(store: Store, position: int, *, kept: int | None = None) -> Proof:
    """The proof of the entry at a place."""
    with store.read(snapshot=True) as connection:
        row = connection.execute(_ENTRY.where(col(LedgerEntry.position) == position)).first()
        if row is None:
            raise NotFound(f"the ledger has no entry {position}", code="unknown-entry")
        return _prove(connection, row, kept)


def prove_consistency(store: Store, old: int, new: int | None = None) -> Consistency:
    """The proof that the ledger at size `new`, by default the newest head's, begins with what it was at size `old`."""
    with store.read(snapshot=True) as connection:
        newest = _newest(connection)
        size = newest if new is None else new
        if size > newest or old > newest:
            raise _gone_back(max(size, old), newest)
        if old > size:
            raise BadRequest(f"a tree of {size} entries does not continue one of {old}", code="bad-proof")
        return Consistency(old, size, tree_of(connection, size).consistency(old), _checkpoint(connection, size))


def _prove(connection: Connection, row: Any, kept: int | None) -> Proof:
    newest = _newest(connection)
    if kept is not None and kept > newest:
        raise _gone_back(kept, newest)
    if row.position is None or row.position >= newest:
        raise Conflict("no head covers this entry yet", code="not-covered", hint="ask again in a few seconds")
    size = kept if kept is not None and row.position < kept else newest
    tree = tree_of(connection, size)
    consistency = tree.consistency(kept) if kept is not None and kept != size else None
    return Proof(row.body, row.position, size, tree.inclusion(row.position), _checkpoint(connection, size), consistency)


def _subjects(connection: Connection, serial: str) -> list[str]:
    """Under which subjects the issuance of a certificate can stand: a CA's is also the creation of an authority."""
    named = select(col(Authority.name)).where(col(Authority.serial) == serial)
    return [serial, *connection.execute(named).scalars()]


def _says_issued(row: Any, serial: str) -> bool:
    try:
        body = json.loads(row.body)
    except ValueError:
        return False
    if not isinstance(body, dict):
        return False
    issued = body.get("action") == "certificate-issued" and body.get("subject") == serial
    return issued or (body.get("action") == "authority-created" and body.get("serial") == serial)


def _newest(connection: Connection) -> int:
    size = connection.execute(_NEWEST).scalar()
    if size is None:
        raise NotFound("the ledger is empty", code="empty-ledger")
    return int(size)


def _checkpoint(connection: Connection, size: int) -> str | None:
    query = select(col(LedgerHead.checkpoint)).where(col(LedgerHead.size) == size)
    return connection.execute(query).scalar()


def _gone_back(asked: int, newest: int) -> Conflict:
    return Conflict(
        f"the ledger has {newest} entries under its newest head, and not {asked}",
        code="ledger-went-back",
        hint="if this ledger signed a head of that size, entries were cut off: certwright ledger verify --head",
    )
