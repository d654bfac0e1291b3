"""What our own CA issues is tracked by itself: certificates, those that were given up, and revocations.

The ledger is the feed. An entry is durable in the transaction that issues or revokes, and is given its place only
afterwards, so that places have no gaps and nothing ever appears before what was read: a certificate whose transaction
ends late gets a late place, whatever its id (PostgreSQL hands out ids in another order than it commits). What has no
place yet is looked at, too, and looked at again. Costs grow with what is new.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, func, select, update
from sqlmodel import col

from ca import certificates
from ca.models import Certificate, Fact, LedgerEntry, Revocation
from ca.ocsp.signer import CALLER as OCSP
from ca.store import Store, Transaction
from ca.store.commit import StaleChange
from ca.x509.certificate import algorithm_of, assemble
from renewers.inventory import taken_back
from renewers.inventory.facts import AUTHORITY, Facts, fingerprint_identity, read_certificate
from renewers.inventory.joining import ISSUED, Entry, insert_new
from renewers.inventory.taken_back import Taken
from renewers.inventory.track import end, track_many
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked

PAGE = 250
"""How many entries one transaction answers for: others wait for the writer no longer than that takes."""
CURSOR = "inventory:issued"
PROBER = "system:probes"
"""Who asks for the leaves that consumers are probed with."""
UNTRACKED = (PROBER, OCSP.identity)
"""Whose leaves are nobody's: what signs OCSP answers has an alarm of its own, and nothing else depends on its end."""
_NEW = ("certificate-issued", "issuance-abandoned")
_OVER = "certificate-revoked"
_BEGINNING = max(len(f'{{"action":"{word}"') for word in (*_NEW, _OVER))
_FEED = select(
    *(col(LedgerEntry.position), col(LedgerEntry.subject)),
    func.substr(col(LedgerEntry.body), 1, _BEGINNING).label("beginning"),
)
_SIGNED: tuple[Any, ...] = (
    *(col(Certificate.serial), col(Certificate.tbs), col(Certificate.signature), col(Certificate.renews)),
    *(col(Certificate.requested_by), col(Revocation.serial).label("revoked")),
    *(col(Revocation.reason), col(Revocation.revoked_by)),
)


@dataclass(frozen=True, slots=True)
class _Page:
    """What a stretch of the ledger says: where it was read from and to, what is new, what was revoked."""

    cursor: int
    after: int
    size: int
    entries: Sequence[Entry]
    over: Mapping[str, Taken]

    def __call__(self, tx: Transaction) -> int:
        """Track it, unless another replica has; returns how much of it is news."""
        if self.after != self.cursor:
            _advance(tx, self.cursor, self.after)
        known = _known(tx, [*(entry.facts.identity for entry in self.entries), *self.over])
        news = [entry for entry in self.entries if known.get(entry.facts.identity) is None]
        better = [entry for entry in self.entries if (row := known.get(entry.facts.identity)) and row.source != ISSUED]
        if news or better:
            track_many(tx, [*news, *better])
        over = {known[identity].id: taken for identity, taken in self.over.items() if identity in known}
        taken_back.tell(tx, over)
        return len(news) + end(tx, list(over))


def catch_up(lifecycle: Lifecycle, *, limit: int = 1000) -> int:
    """Track what was issued or revoked since; looks at up to `limit` entries of the ledger. Returns what is news."""
    done, looked = 0, 0
    while looked < limit:
        with lifecycle.store.read(snapshot=True) as connection:
            page = _read(connection, min(PAGE, limit - looked))
        if not page.size:
            break
        try:
            done += lifecycle.store.write(page)
        except StaleChange:  # another replica is at it
            return done
        looked += page.size
    return done + _waiting(lifecycle.store, limit)


def _read(connection: Connection, limit: int) -> _Page:
    """The next stretch of the ledger that has places."""
    value = connection.execute(select(col(Fact.value)).where(col(Fact.name) == CURSOR)).scalar()
    cursor = int(value) if value is not None else 0
    feed = _FEED.where(col(LedgerEntry.position) >= cursor).order_by(col(LedgerEntry.position)).limit(limit)
    rows = connection.execute(feed).all()
    after = rows[-1].position + 1 if rows else cursor
    return _page(connection, rows, cursor, after)


def _waiting(store: Store, limit: int) -> int:
    """What has no place yet: tracked at once, and met again when it has one."""
    with store.read(snapshot=True) as connection:
        waiting = _FEED.where(col(LedgerEntry.position).is_(None)).order_by(col(LedgerEntry.id))
        rows = connection.execute(waiting.limit(min(PAGE, limit))).all()
        page = _page(connection, rows, 0, 0)
    return store.write(page) if page.entries or page.over else 0


def _page(connection: Connection, rows: Sequence[Any], cursor: int, after: int) -> _Page:
    new, over = _serials(rows, _NEW), _serials(rows, (_OVER,))
    signed = {row.serial: row for row in _certificates(connection, {*new, *over})}
    before = {row.renews for row in signed.values() if row.renews is not None} - set(signed)
    identities = {serial: _identity(row) for serial, row in signed.items()}
    identities |= {row.serial: _identity(row) for row in _certificates(connection, before)}
    # What we shake hands with to see what consumers hold is nobody's, and nothing depends on its end.
    kept = [signed[serial] for serial in new if serial in signed and signed[serial].requested_by not in UNTRACKED]
    entries = [_entry(row, identities) for row in kept]
    tracked = [entry for entry in entries if entry.facts.kind != AUTHORITY]
    taken = {identities[serial]: _taken(signed[serial]) for serial in over if serial in identities}
    return _Page(cursor, after, len(rows), tracked, taken)


def _serials(rows: Iterable[Any], actions: Collection[str]) -> list[str]:
    beginnings = tuple(f'{{"action":"{action}"'.encode() for action in actions)
    return list(dict.fromkeys(row.subject for row in rows if bytes(row.beginning).startswith(beginnings)))


def _certificates(connection: Connection, serials: Collection[str]) -> Sequence[Any]:
    if not serials:
        return ()
    query: Select[Any] = select(*_SIGNED).outerjoin(Revocation, certificates.is_revoked_for_good(Certificate.serial))
    return connection.execute(query.where(col(Certificate.serial).in_(serials))).all()


def _identity(row: Any) -> str:
    if row.signature is None:
        return f"abandoned:{row.serial}"
    return fingerprint_identity(assemble(row.tbs, algorithm_of(row.tbs), row.signature))


def _taken(row: Any) -> Taken:
    return Taken(row.reason, row.revoked_by) if row.revoked is not None else Taken(None, "")


def _entry(row: Any, identities: Mapping[str, str]) -> Entry:
    is_over = row.signature is None or row.revoked is not None
    return Entry(_facts(row), ISSUED, follows=identities.get(row.renews), is_over=is_over)


def _facts(row: Any) -> Facts:
    """What a certificate of ours says; one that was given up is known by its serial number alone."""
    facts = read_certificate(assemble(row.tbs, algorithm_of(row.tbs), row.signature or b""))
    return facts if row.signature is not None else replace(facts, identity=f"abandoned:{row.serial}", der=b"")


def _known(tx: Transaction, identities: Sequence[str]) -> dict[str, Any]:
    query = select(col(Tracked.identity), col(Tracked.id), col(Tracked.source))
    return {row.identity: row for row in tx.execute(query.where(col(Tracked.identity).in_(identities)))}


def _advance(tx: Transaction, cursor: int, after: int) -> None:
    """Move on, if nobody has since: `StaleChange` otherwise."""
    insert_new(tx, Fact, [{"name": CURSOR, "value": "0"}])
    moved = update(Fact).where(col(Fact.name) == CURSOR, col(Fact.value) == str(cursor)).values(value=str(after))
    if tx.execute(moved).rowcount != 1:
        raise StaleChange("another replica has caught up meanwhile")
