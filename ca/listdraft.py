"""A list before it is signed: what it will say, and the transaction that stores it when it is.

The signature is made in between, here (`ca/crl`) or where the key is kept (`ca/ceremony`). A list is stored only over
the number that it was drawn up after.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import ColumnElement, Connection, case, delete, insert, select, update
from sqlmodel import col

from ca import clock, listing
from ca.authority import Issuer
from ca.installation import Installation
from ca.ledger import log
from ca.listing import COMPLETE
from ca.models import RevocationList, RevocationListContent
from ca.store import Transaction, Unit
from ca.store.commit import StaleChange
from ca.x509.revocation_list import ToBeSignedList


@dataclass(frozen=True, slots=True)
class DraftList:
    """One list, drawn up; times in seconds since the epoch."""

    authority_id: int
    authority: str
    shard: int
    number: int
    after: int
    """The number of the list that it follows; it is stored over no other."""
    counted: int
    """The changes that it knows of; with more of them it is due again at once."""
    this_update: int
    next_update: int
    next_due: int
    listed_until: int
    entries: int
    tbs: bytes

    def keep(self, crl: bytes, by: str = "system:crl") -> Unit[None]:
        """The transaction that stores it, signed. `StaleChange` if another one was published meanwhile."""

        def unit(tx: Transaction) -> None:
            stored = tx.execute(
                update(RevocationList)
                .where(*_at(self.authority_id, self.shard), col(RevocationList.number) == self.after)
                .values(
                    number=self.number,
                    this_update=self.this_update,
                    next_update=self.next_update,
                    due_at=case((col(RevocationList.changes) == self.counted, self.next_due), else_=0),
                    counted=self.counted,
                    entries=self.entries,
                    sha256=sha256(crl).digest(),
                )
            )
            if stored.rowcount != 1:
                raise StaleChange("another replica has published this list meanwhile")
            if self.shard == COMPLETE and listing.delta_number(tx.connection, self.authority_id) >= self.number:
                raise StaleChange("a delta list has taken this number meanwhile")
            place = _at(self.authority_id, self.shard, RevocationListContent)
            tx.execute(delete(RevocationListContent).where(*place))
            content = insert(RevocationListContent)
            tx.execute(content.values(authority_id=self.authority_id, shard=self.shard, crl=crl))
            _leave_after_expiry(tx, self)
            details = {"shard": self.shard, "number": self.number, "entries": self.entries}
            log.append(tx, "crl-published", self.authority, by, **details, sha256=sha256(crl).hexdigest())

        return unit


def draw_up(
    installation: Installation,
    issuer: Issuer,
    shard: int,
    *,
    lifetime: timedelta,
    refresh: timedelta,
    backdate: timedelta,
    has_delta: bool = True,
) -> DraftList | None:
    """Write the next list of a shard, or the complete one, as it is to be signed; None if a shard has to come first."""
    ends, horizon = issuer.facts.not_after, installation.timekeeper.horizon
    with installation.store.read(snapshot=True) as connection:
        row = connection.execute(_ROW.where(*_at(issuer.id, shard))).one()
        complete = connection.execute(_ROW.where(*_at(issuer.id, COMPLETE))).one()
        taken = listing.delta_number(connection, issuer.id) if shard == COMPLETE else 0
        content = _content(connection, issuer, shard)
    if content is None:
        return None
    entries, count = content
    now = present(installation, backdate, row.this_update)
    number = max(row.number + 1, taken + 1, now)
    this_update = max(now - _seconds(backdate), issuer.facts.not_before)
    next_update, next_due = min(now + _seconds(lifetime), ends), now + _seconds(refresh)
    if row.next_update == ends > next_update:  # after a last list comes a last list only, see ca/lastlist.py
        next_update = next_due = ends
    return DraftList(
        authority_id=issuer.id,
        authority=issuer.name,
        shard=shard,
        number=number,
        after=row.number,
        counted=row.changes,
        this_update=this_update,
        next_update=next_update,
        next_due=next_due,
        listed_until=min(horizon, this_update, this_update if shard == COMPLETE else complete.this_update),
        entries=count,
        tbs=_to_be_signed(issuer, shard, number, this_update, next_update, entries, has_delta=has_delta),
    )


def present(installation: Installation, backdate: timedelta, *earlier: int) -> int:
    """The moment that a list's dates go by, in seconds since the epoch; `earlier` are the dates of those it follows.

    By a clock that cannot be believed none is dated before them: consumers would refuse it as an older one, or as one
    that is over.
    """
    behind = 0 if installation.timekeeper.horizon else max(earlier) + _seconds(backdate)
    return max(clock.timestamp(), behind)


_ROW = select(*(col(getattr(RevocationList, name)) for name in ("number", "changes", "this_update", "next_update")))


def _at(
    authority_id: int, shard: int, table: type[RevocationList | RevocationListContent] = RevocationList
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(table.authority_id) == authority_id, col(table.shard) == shard


def _content(connection: Connection, issuer: Issuer, shard: int) -> tuple[bytes, int] | None:
    if shard == COMPLETE:
        return listing.complete_entries(connection, issuer.id)
    return listing.shard_entries(connection, issuer.id, shard)


def _to_be_signed(
    issuer: Issuer, shard: int, number: int, this_update: int, next_update: int, entries: bytes, *, has_delta: bool
) -> bytes:
    unsigned = ToBeSignedList(
        algorithm=issuer.scheme.identifier,
        issuer=issuer.subject,
        this_update=this_update,
        next_update=next_update,
        entries=entries,
        number=number,
        key_identifier=issuer.facts.key_identifier,
        distribution_point=None if shard == COMPLETE else issuer.urls.crl(issuer.name, shard),
        freshest=f"{issuer.urls.base}/crl/{issuer.name}.delta.crl" if has_delta and shard == COMPLETE else None,
    )
    return unsigned.encode()


def _leave_after_expiry(tx: Transaction, draft: DraftList) -> None:
    """Mark the entries that leave: those that expired before both the list of their shard and the complete one."""
    for table in listing.TABLES:
        condition = col(table.shard).is_(None) if draft.shard == COMPLETE else col(table.shard) == draft.shard
        tx.execute(
            update(table)
            .where(*listing.listed(draft.authority_id, table), condition, col(table.not_after) < draft.listed_until)
            .values(last_listed=draft.number)
        )


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
