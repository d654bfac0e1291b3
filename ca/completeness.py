"""Does every published list say what the tables say? Every revocation, on every list that should have it; and no more.

The bytes that are served are read, not what was meant to be written into them: their signature, each entry with its
time and reason. A list that waits to be made anew may lack what is younger than `GRACE`, and nothing else. What stands
on a list and in no table any more is explained by the ledger if it was forgotten after it had expired. One list is one
reading of the store, page by page. `ca/rounds` goes through all of them, for as long as a process lives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, literal, select
from sqlmodel import col

from ca import clock, listing
from ca.delta import DELTA
from ca.installation import Installation
from ca.keys.algorithms import PublicKey, key_type_of, scheme_of
from ca.ledger.revocations import REVOKED, UNRECORDED
from ca.listing import COMPLETE, CONTENT_OF_LIST
from ca.models import (
    Authority,
    Certificate,
    DeltaList,
    LedgerEntry,
    Released,
    RevocationList,
    RevocationListContent,
)
from ca.served import Served
from ca.x509.revocation_list import REMOVE_FROM_CRL

GRACE = 600
"""Seconds for which a list may lack what was just revoked while it waits to be made anew; large ones wait longest."""
PAGE = 5000
MOST = 20
"""Findings of one list that are told; the rest is counted."""
BATCH = 500


@dataclass(slots=True)
class Checked:
    """One list: what was wrong with it. `shard` is `COMPLETE` or `DELTA`, or the number of one."""

    authority: str
    shard: int
    entries: int = 0
    at: int = 0
    wrong: int = 0
    unexplained: int = 0
    """How many of them stand there and in no table: who makes the list anew takes them away."""
    findings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What people call it."""
        what = {COMPLETE: "the complete list", DELTA: "the delta"}.get(self.shard, f"shard {self.shard}")
        return f"{what} of {self.authority}"

    def add(self, message: str) -> None:
        """Something is wrong."""
        self.wrong += 1
        if len(self.findings) < MOST:
            self.findings.append(f"{self.name}: {message}")


Said = tuple[str, int, int]
"""A serial number, a time and a reason, as a list or a table has them."""
Place = tuple[int, int]
"""An authority's id and a shard, `COMPLETE` or `DELTA`."""


def places(installation: Installation) -> list[Place]:
    """Every list that there is of CAs that sign lists, the deltas last."""
    now = clock.timestamp()
    ids = {row.id for row in installation.authorities.standing() if row.not_after > now}
    columns = (col(RevocationList.authority_id), col(RevocationList.shard))
    with installation.store.read() as connection:
        lists = connection.execute(select(*columns).order_by(*columns)).all()
        deltas = connection.execute(select(col(DeltaList.authority_id))).scalars().all()
    return [(id_, shard) for id_, shard in lists if id_ in ids] + [(id_, DELTA) for id_ in deltas if id_ in ids]


def check_all(installation: Installation, *, authority: str | None = None) -> Iterator[Checked]:
    """Check every list, or those of one authority."""
    wanted = None if authority is None else installation.authorities.get(authority).id
    for place in places(installation):
        if wanted in (None, place[0]):
            yield check(installation, place)


def check(installation: Installation, place: Place) -> Checked:
    """Check one list."""
    authority = next(row for row in installation.authorities.all() if row.id == place[0])
    found = Checked(authority.name, place[1], at=clock.timestamp())
    with installation.store.read(snapshot=True) as connection:
        _Check(connection, authority, found)()
    return found


class _Check:
    """One reading of one list and of what it should say."""

    def __init__(self, connection: Connection, authority: Authority, found: Checked) -> None:
        self._connection = connection
        self._authority = authority
        self._found = found
        self._is_waiting = False

    def __call__(self) -> None:
        row = self._delta() if self._found.shard == DELTA else self._list()
        if row is None:
            return
        try:
            self._must_be_signed(row)
            served = Served(row.crl)
            lacking = [one for one in self._expected(row) if not served.says(*one)]
            rest = served.rest()
        except (ValueError, IndexError, TypeError) as error:
            self._found.add(f"its bytes cannot be read ({type(error).__name__}: {error})"[:200])
            return
        self._found.entries = served.count
        if served.twice:
            self._found.add(f"{served.twice} stand there twice")
        self._compare(lacking, rest, row)

    def _list(self) -> Any:
        columns = (RevocationList.due_at, RevocationList.sha256, RevocationList.number)
        row = self._connection.execute(
            select(*map(col, columns), col(RevocationListContent.crl))
            .join(RevocationListContent, CONTENT_OF_LIST)
            .where(col(RevocationList.authority_id) == self._authority.id)
            .where(col(RevocationList.shard) == self._found.shard)
        ).first()
        if row is None:
            if not self._is_young(self._authority.created_at):
                self._found.add("it is not there")
        else:
            self._is_waiting = row.due_at == 0
        return row

    def _delta(self) -> Any:
        row = self._connection.execute(
            select(DeltaList).where(col(DeltaList.authority_id) == self._authority.id)
        ).first()
        complete = self._connection.execute(
            select(col(RevocationList.number), col(RevocationList.changes))
            .where(col(RevocationList.authority_id) == self._authority.id)
            .where(col(RevocationList.shard) == COMPLETE)
        ).one()
        if row is not None and complete.number < row.base_number:
            self._found.add(f"it counts from {row.base_number}, and the complete list has the number {complete.number}")
        self._is_waiting = row is not None and complete.changes > row.counted
        return row

    def _must_be_signed(self, row: Any) -> None:
        if sha256(row.crl).digest() != row.sha256:
            self._found.add("its bytes are not those that were published")
        parsed = x509.load_der_x509_crl(row.crl)
        key: PublicKey = x509.load_der_x509_certificate(self._authority.certificate).public_key()  # type: ignore[assignment]
        key_type = key_type_of(key)
        if key_type is None or not scheme_of(key_type).verify(key, parsed.signature, parsed.tbs_certlist_bytes):
            self._found.add("its signature is not by the CA's key")

    def _expected(self, row: Any) -> Iterator[Said]:
        """What has to stand there, page by page."""
        if self._found.shard == DELTA:
            for table in listing.CHANGES:
                since = col(table.change) > row.base_counted, col(table.change) <= row.counted
                yield from self._pages(_said(table).where(col(table.authority_id) == self._authority.id, *since))
            return
        shards = [None, *range(self._authority.crl_shards)] if self._found.shard == COMPLETE else [self._found.shard]
        for table in listing.TABLES:
            listed = listing.listed(self._authority.id or 0, table)
            for shard in shards:  # along the index of what is listed
                within = col(table.shard).is_(None) if shard is None else col(table.shard) == shard
                yield from self._pages(_said(table).where(*listed, within))

    def _pages(self, query: Any) -> Iterator[Said]:
        for found in self._connection.execute(query.execution_options(yield_per=PAGE)).partitions():
            yield from map(tuple, found)

    def _compare(self, lacking: Sequence[Said], rest: Sequence[Said], row: Any) -> None:
        """What is not as it should be: not there, there with something else, or there for no reason."""
        there: dict[str, list[tuple[int, int]]] = {}
        for serial, at, reason in rest:
            there.setdefault(serial, []).append((at, reason))
        for serial, at, reason in lacking:
            said = there.pop(serial, None)
            if said is None:
                if not (self._is_waiting and self._is_young(at)):
                    self._found.add(f"{serial} does not stand there")
            elif not self._is_waiting:
                self._found.add(f"{serial} stands there with another time or reason: {said[0]}, not {(at, reason)}")
        self._explain(list(there), row)

    def _is_young(self, at: int) -> bool:
        return at > self._found.at - GRACE

    def _explain(self, left: Sequence[str], row: Any) -> None:
        """What stands there and is not expected: it has left since, or was released just now, or nobody knows it."""
        for start in range(0, len(left), BATCH):
            serials = left[start : start + BATCH]
            unknown = set(serials) - self._known(serials, row)
            for serial in sorted(unknown - self._forgotten(sorted(unknown))):
                self._found.add(f"{serial} stands there, and is not revoked")
                self._found.unexplained += 1

    def _known(self, serials: Sequence[str], row: Any) -> set[str]:
        found: set[str] = set()
        for table in listing.CHANGES:
            query = _said(table).where(col(table.authority_id) == self._authority.id, col(table.serial).in_(serials))
            if self._found.shard == DELTA:
                query = query.where(col(table.change) > row.base_counted)
            for serial, at, _ in self._connection.execute(query):
                is_over = table is Released and self._found.shard != DELTA
                if not is_over or (self._is_waiting and self._is_young(at)):
                    found.add(serial)
        return found

    def _forgotten(self, serials: Sequence[str]) -> set[str]:
        """Those that were revoked and, after they had expired, forgotten: the ledger alone knows them."""
        if not serials:
            return set()
        here = select(col(Certificate.serial)).where(col(Certificate.serial).in_(serials))
        stored = set(self._connection.execute(here).scalars())
        query = select(col(LedgerEntry.subject), col(LedgerEntry.body)).where(col(LedgerEntry.subject).in_(serials))
        told = {row.subject for row in self._connection.execute(query) if _says_revoked(row.body)}
        return told - stored


def _said(table: type[Any]) -> Any:
    if table is Released:
        return select(col(Released.serial), col(Released.released_at), literal(REMOVE_FROM_CRL))
    return select(col(table.serial), col(table.revoked_at), col(table.reason))


def _says_revoked(body: bytes) -> bool:
    try:
        return json.loads(body).get("action") in (REVOKED, UNRECORDED, "certificate-held")
    except (ValueError, AttributeError):
        return False
