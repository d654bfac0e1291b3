"""Is the ledger still what it was? Recompute the tree, entry by entry, and hold it against every signed head.

A head that was kept elsewhere is what makes this worth something: whoever can write to the database can also rewrite
it consistently, but not so that it still has that root. Findings name the first entry that was changed, lost or added
as precisely as the evidence allows: exactly where a stored hash or a kept export tells, else between two signed heads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from ca.errors import BadRequest
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.merkle import Edge, leaf_hash
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store

PAGE = 5000
Progress = Callable[[int, int], None]
"""Called with how many entries were checked and how many there are."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was. `position` is the entry's place in the tree, where one can be named."""

    kind: str
    message: str
    position: int | None = None


@dataclass(slots=True)
class Report:
    """The result: sound if there is no finding."""

    entries: int = 0
    waiting: int = 0
    heads: int = 0
    certificates: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def first(self) -> Finding | None:
        """The finding that is earliest in the tree."""
        return min(self.findings, key=lambda f: (f.position is None, f.position or 0), default=None)

    def add(self, kind: str, message: str, position: int | None = None) -> None:
        """Note a finding; a hundred of them are enough."""
        if len(self.findings) < 100:
            self.findings.append(Finding(kind, message, position))


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger entry as read; `body` is empty where it is no longer JSON."""

    id: int
    position: int | None
    subject: str
    leaf_hash: bytes
    raw: bytes
    body: Mapping[str, Any]


def verify_tree(
    store: Store,
    verifier: Verifier,
    report: Report,
    *,
    kept: Head | None = None,
    kept_leaves: Mapping[int, bytes] | None = None,
    progress: Progress | None = None,
) -> Iterator[Entry]:
    """Check the tree and yield every entry on the way, those that no head covers yet at the end."""
    heads = _Heads(store, verifier, report, kept)
    edge, total = Edge(), _count(store)
    for entry in _sequenced(store):
        if entry.position != edge.size:
            lost = edge.size
            report.add("lost", f"entry {lost} is missing; the next one is {entry.position}", lost)
            break
        _check_entry(entry, report)
        expected = (kept_leaves or {}).get(entry.position, entry.leaf_hash)
        if expected != entry.leaf_hash:
            report.add("changed", f"entry {entry.position} is not the one in the kept export", entry.position)
        edge.append(entry.leaf_hash)
        heads.compare(edge)
        report.entries += 1
        if progress is not None and edge.size % PAGE == 0:
            progress(edge.size, total)
        yield entry
    heads.finish(edge)
    for entry in _waiting(store):
        _check_entry(entry, report)
        report.waiting += 1
        yield entry
    if progress is not None:
        progress(total, total)


class _Heads:
    """The signed heads in order of size, the kept one among them, each compared when the tree has reached its size."""

    def __init__(self, store: Store, verifier: Verifier, report: Report, kept: Head | None) -> None:
        self._report = report
        self._kept = kept
        self._last_good = 0
        self._stored = _stored_heads(store, verifier, report)
        self._next = next(self._stored, None)
        self._newest = 0
        self._is_broken = False

    def compare(self, edge: Edge) -> None:
        while self._next is not None and self._next.size <= edge.size:
            self._newest = self._next.size
            if self._next.size == edge.size:
                self._judge(edge, self._next, "the head that was signed")
            self._next = next(self._stored, None)
        if self._kept is not None and self._kept.size == edge.size:
            self._judge(edge, self._kept, "the head that was kept")
            self._newest = max(self._newest, edge.size)

    def _judge(self, edge: Edge, head: Head, what: str) -> None:
        if edge.root() == head.root:
            if not self._is_broken:
                self._last_good = edge.size
            return
        if not self._is_broken and self._last_good == edge.size:
            message = f"the ledger forked: at size {edge.size} it was signed twice, and {what} is not what stands here"
            self._report.add("forked", message, edge.size - 1)
        elif not self._is_broken:
            self._name_place(self._last_good, edge.size - 1, f"{what} at size {head.size} has another root")
        self._is_broken = True

    def _name_place(self, first: int, last: int, evidence: str) -> None:
        """Name where the tree was changed, unless an entry there has been found out by itself."""
        found_out = [f.position for f in self._report.findings if f.position is not None and f.position >= first]
        if found_out:
            message = f"{evidence}: entry {min(found_out)} is a reason; others from {first} on may have changed, too"
            self._report.add("changed", message)
        else:
            place = f"entry {first}" if first == last else f"an entry from {first} to {last}"
            self._report.add("changed", f"{place} is not what it was: {evidence}", first)

    def finish(self, edge: Edge) -> None:
        beyond = [h for h in (self._next, self._kept) if h is not None and h.size > edge.size]
        if beyond:
            size = max(head.size for head in beyond)
            self._report.add("lost", f"entries {edge.size} to {size - 1} were cut off: a head covers them", edge.size)
        elif edge.size > self._newest:
            self._report.add("added", f"entry {self._newest} has a place in the tree that no head covers", self._newest)


def _stored_heads(store: Store, verifier: Verifier, report: Report) -> Iterator[Head]:
    after = 0
    while True:
        query = select(LedgerHead).where(col(LedgerHead.size) > after).order_by(col(LedgerHead.size)).limit(PAGE)
        with store.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            after = row.size
            report.heads += 1
            try:
                head = open_head(row.checkpoint, verifier)
            except BadRequest as error:
                report.add("forged-head", f"the stored head at size {row.size}: {error.message}")
                continue
            if (head.size, head.root) != (row.size, row.root):
                report.add("forged-head", f"the stored head at size {row.size} is not the one that was signed")
            yield head
        if len(rows) < PAGE:
            return


def _check_entry(entry: Entry, report: Report) -> None:
    name = f"entry {entry.position}" if entry.position is not None else f"the waiting entry {entry.id}"
    if leaf_hash(entry.raw) != entry.leaf_hash:
        report.add("changed", f"{name} was changed: its content does not have its hash", entry.position)
    elif entry.body.get("subject") != entry.subject:
        report.add("changed", f"{name} was filed under another subject than its own", entry.position)


_ENTRIES = select(
    col(LedgerEntry.id),
    col(LedgerEntry.position),
    col(LedgerEntry.subject),
    col(LedgerEntry.leaf_hash),
    col(LedgerEntry.body),
)


def _sequenced(store: Store) -> Iterator[Entry]:
    after = -1
    place = col(LedgerEntry.position)
    while True:
        with store.read() as connection:
            query = _ENTRIES.where(place > after).order_by(place).limit(PAGE)
            rows = connection.execute(query).all()
        for row in rows:
            after = row.position
            yield _entry(row)
        if len(rows) < PAGE:
            return


def _waiting(store: Store) -> Iterator[Entry]:
    with store.read() as connection:
        query = _ENTRIES.where(col(LedgerEntry.position).is_(None)).order_by(col(LedgerEntry.id))
        rows = connection.execute(query).all()
    yield from map(_entry, rows)


def _entry(row: Any) -> Entry:
    try:
        body = json.loads(row.body)
    except ValueError:
        body = {}
    return Entry(row.id, row.position, row.subject, row.leaf_hash, row.body, body if isinstance(body, dict) else {})


def _count(store: Store) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(LedgerEntry)).scalar_one()
