"""Delta CRLs (RFC 5280 section 5.2.4): what was revoked since a complete list, for those to whom that one is large.

A delta says nothing alone: it is read together with any complete list of its authority from its base on. The two share
one sequence of numbers, whoever publishes. What is new is found by the count of changes that stands on each revocation,
not by a time, so that no clock that is wrong or steps back can leave one out; it costs what is new, however many
are revoked. A delta starts from a newer base when it is large against the old one, or that is a day old.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select, update
from sqlmodel import col

from ca import clock, listing
from ca.authority import OFFLINE, Issuer, State
from ca.crl import CrlPolicy, Published, StoredList
from ca.errors import CertwrightError
from ca.installation import Installation
from ca.ledger import log
from ca.listdraft import present
from ca.listing import COMPLETE
from ca.models import Authority, DeltaList, RevocationList, RevocationListContent
from ca.signing import seal_list
from ca.store import Transaction
from ca.store.commit import StaleChange
from ca.x509.revocation_list import ToBeSignedList

DELTA = -2
"""The shard number by which what was published is told from shards and complete lists."""
LONGEST_BASE = timedelta(days=1)
SHARE, SMALL = 4, 4096
"""A new base is taken when the entries are more than a fourth of the old one, and so many bytes that it matters."""


@dataclass(frozen=True, slots=True)
class _Start:
    """A complete list to count from: its number, the changes that it had counted, how large it is, and how old."""

    number: int
    counted: int
    size: int
    at: int

    def suits(self, entries: int, now: int) -> bool:
        """Whether so many bytes of entries, now, are still worth counting from it."""
        is_young = 0 <= now - self.at < LONGEST_BASE.total_seconds()
        return is_young and entries <= max(self.size // SHARE, SMALL)


def publish_due(installation: Installation, policy: CrlPolicy) -> list[Published]:
    """Make the deltas whose time has come, or behind which something was revoked or a complete list published.

    Call it after `CrlPublisher.publish_due`: a delta is only of use with a lower number's complete list. A CA whose
    key does not work keeps no other's from being made: its error is raised in the end.
    """
    done: list[Published] = []
    failed: list[CertwrightError] = []
    for name in _due(installation):
        try:
            published = _publish(installation, installation.authorities.issuer(name), policy)
        except CertwrightError as error:
            failed.append(error)
        else:
            done += [published] if published is not None else []
    if failed:
        raise failed[0]
    return done


def load(installation: Installation, authority: str) -> StoredList | None:
    """The newest delta of an authority; None if there is none yet."""
    columns = [col(getattr(DeltaList, name)) for name in StoredList._fields]
    query = select(*columns).where(col(DeltaList.authority_id) == installation.authorities.get(authority).id)
    with installation.store.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else StoredList._make(row)


_COMPLETE = and_(col(RevocationList.authority_id) == col(Authority.id), col(RevocationList.shard) == COMPLETE)
_BEHIND = or_(
    col(DeltaList.authority_id).is_(None),
    col(RevocationList.changes) > col(DeltaList.counted),
    col(RevocationList.number) > col(DeltaList.number),
)


def _due(installation: Installation) -> list[str]:
    now, horizon = clock.timestamp(), installation.timekeeper.horizon
    is_ahead = and_(col(DeltaList.this_update) > horizon, col(Authority.not_before) <= horizon)  # by a clock that was
    query = (
        select(col(Authority.name))
        .join(RevocationList, _COMPLETE)
        .outerjoin(DeltaList, col(DeltaList.authority_id) == col(Authority.id))
        .where(col(Authority.state) != State.RETIRED, col(Authority.not_after) > now)
        .where(col(Authority.key_label) != OFFLINE)
        .where(col(RevocationList.counted).is_not(None), or_(_BEHIND, col(DeltaList.due_at) <= now, is_ahead))
        .order_by(col(Authority.id))
    )
    with installation.store.read() as connection:
        return list(connection.execute(query).scalars())


def _publish(installation: Installation, issuer: Issuer, policy: CrlPolicy) -> Published | None:
    with installation.store.read(snapshot=True) as connection:
        complete = connection.execute(_ROW.where(*_at(issuer))).one()
        before = connection.execute(_BEFORE.where(col(DeltaList.authority_id) == issuer.id)).first()
        earlier = complete.this_update, 0 if before is None else before.this_update
        now = present(installation, policy.backdate, *earlier)
        base, entries, count = _content(connection, issuer, complete, before, now)
    number = max(complete.number + 1, 0 if before is None else before.number + 1, now)
    ends, seconds = issuer.facts.not_after, int(policy.lifetime.total_seconds())
    row = {
        "base_number": base.number,
        "base_counted": base.counted,
        "base_size": base.size,
        "based_at": base.at,
        "number": number,
        "this_update": max(now - int(policy.backdate.total_seconds()), issuer.facts.not_before),
        "next_update": ends if complete.next_update == ends else min(now + seconds, ends),  # see ca/lastlist.py
        "due_at": now + int(min(policy.refresh, LONGEST_BASE).total_seconds()),
        "counted": complete.changes,
        "entries": count,
    }
    crl = _signed(issuer, row, entries)
    row |= {"authority_id": issuer.id, "sha256": sha256(crl).digest(), "crl": crl}

    def unit(tx: Transaction) -> None:
        _hold_numbers(tx, issuer, complete.number, 0 if before is None else before.number)
        tx.execute(delete(DeltaList).where(col(DeltaList.authority_id) == issuer.id))
        tx.execute(insert(DeltaList).values(**row))
        details = {"number": number, "base": base.number, "entries": count, "sha256": sha256(crl).hexdigest()}
        log.append(tx, "delta-crl-published", issuer.name, "system:crl", **details)

    try:
        installation.store.write(unit)
    except StaleChange:
        return None
    return Published(issuer.name, DELTA, number, count, len(crl))


def _at(issuer: Issuer) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(RevocationList.authority_id) == issuer.id, col(RevocationList.shard) == COMPLETE


_ROW = select(
    *(col(getattr(RevocationList, name)) for name in ("number", "changes", "counted", "this_update", "next_update"))
)
_BEFORE = select(
    *(
        col(getattr(DeltaList, name))
        for name in ("base_number", "base_counted", "base_size", "based_at", "number", "this_update")
    )
)


def _content(
    connection: Connection, issuer: Issuer, complete: Row[Any], before: Row[Any] | None, now: int
) -> tuple[_Start, bytes, int]:
    """The base to count from, and the entries since."""
    if before is not None:
        base = _Start(before.base_number, before.base_counted, before.base_size, before.based_at)
        entries, count = listing.entries_after(connection, issuer.id, base.counted)
        if base.number == complete.number or base.suits(len(entries), now):
            return base, entries, count
    sizes = select(func.length(col(RevocationListContent.crl))).where(
        col(RevocationListContent.authority_id) == issuer.id, col(RevocationListContent.shard) == COMPLETE
    )
    size = connection.execute(sizes).scalar_one()
    base = _Start(complete.number, complete.counted, size, complete.this_update)
    return base, *listing.entries_after(connection, issuer.id, base.counted)


def _hold_numbers(tx: Transaction, issuer: Issuer, complete: int, before: int) -> None:
    """Lock the sequence of numbers until the end of the transaction, if nobody has taken one meanwhile."""
    locked = tx.execute(
        update(RevocationList).where(*_at(issuer), col(RevocationList.number) == complete).values(number=complete)
    )
    if locked.rowcount != 1 or listing.delta_number(tx.connection, issuer.id) != before:
        raise StaleChange("another list of this authority was published meanwhile")


def _signed(issuer: Issuer, row: dict[str, Any], entries: bytes) -> bytes:
    unsigned = ToBeSignedList(
        algorithm=issuer.scheme.identifier,
        issuer=issuer.subject,
        this_update=row["this_update"],
        next_update=row["next_update"],
        entries=entries,
        number=row["number"],
        key_identifier=issuer.facts.key_identifier,
        distribution_point=None,
        base_number=row["base_number"],
    )
    return seal_list(unsigned.encode(), issuer)
