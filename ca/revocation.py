"""Revoking: by serial number, by key, by filter; and blocking keys for ever.

A revocation is durable, in the ledger and on its way to the CRL when the call returns. Revoking for key compromise
blocks the key first and then revokes whatever carries it, intents included, in that order: an issuance that runs at
the same time is either seen by the second step or refused because of the first (`ca/recording.Draft.complete`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlmodel import col

from ca import approval, certificates, clock, crl
from ca.access import Caller, Operation
from ca.certificates import Query, Stored
from ca.errors import BadRequest, Conflict, Forbidden
from ca.installation import Installation
from ca.ledger import log
from ca.models import BlockedKey, Certificate, Intent, Released, Revocation
from ca.store import Transaction
from ca.x509.revocation_list import HOLD, REASONS, RevocationReason

PAGE = 200
TRIES = 5
NOT_FOR_GOOD = or_(col(Revocation.serial).is_(None), col(Revocation.reason) == HOLD)
"""The condition on what is joined with its revocation, if there is one: it can still be revoked."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """What was done: the certificates that are revoked now and were not before."""

    serials: tuple[str, ...]
    reason: RevocationReason
    revoked_at: int
    key_blocked: bool = False


def parse_reason(text: str) -> RevocationReason:
    """Read `key-compromise` and the like."""
    if text not in REASONS:
        raise BadRequest(
            f"{text[:40]!r} is not a reason for a revocation", code="bad-reason", hint=f"there are {', '.join(REASONS)}"
        )
    return REASONS[text]


def revoke(installation: Installation, caller: Caller, serial: str, reason: RevocationReason) -> Revoked:
    """Revoke one certificate. For key compromise, every other certificate with the same key goes, too."""
    stored = certificates.find(installation.store, serial)
    must_be_allowed(installation, caller, stored)
    if stored.state == "revoked":
        raise Conflict(f"certificate {stored.serial} is revoked already", code="already-revoked")
    if stored.not_after < installation.timekeeper.horizon:
        raise Conflict(f"certificate {stored.serial} has expired: nobody accepts it any more", code="expired")
    if reason is RevocationReason.KEY_COMPROMISE:
        return _revoke_key(installation, caller, stored.spki_sha256, reason)
    return _revoke_all(installation, caller, [stored.serial], reason)


def revoke_key(installation: Installation, caller: Caller, spki_sha256: bytes, reason: RevocationReason) -> Revoked:
    """Block a public key (by the SHA-256 of its SubjectPublicKeyInfo) and revoke every certificate that carries it."""
    caller.must(Operation.BLOCK_KEYS)
    if any(row.spki_sha256 == spki_sha256 for row in installation.authorities.all()):
        raise Forbidden("this is the key of an authority; see `certwright ca taint`", code="authority-key")
    return _revoke_key(installation, caller, spki_sha256, reason)


def revoke_matching(
    installation: Installation, caller: Caller, query: Query, reason: RevocationReason, *, dry_run: bool = False
) -> Revoked:
    """Revoke every unexpired certificate that a query finds, page by page; with `dry_run` only say which."""
    caller.must(Operation.REVOKE_ANY)
    done: list[str] = []
    for page in matching(installation, query):
        serials = [stored.serial for stored in page]
        done += serials if dry_run else _revoke_all(installation, caller, serials, reason).serials
    return Revoked(tuple(done), reason, clock.timestamp())


def matching(installation: Installation, query: Query) -> Iterator[list[Stored]]:
    """What a filter would revoke, in pages: the unexpired that are not revoked for good, and no CA."""
    if query == Query():
        raise BadRequest(
            "a filter that matches everything is refused", code="bad-filter", hint="name at least one field"
        )
    cursor = None
    authorities, horizon = installation.authorities.serials(), installation.timekeeper.horizon
    while True:
        page, cursor = certificates.page(installation.store, query, cursor=cursor, limit=PAGE)
        # What was given up may have been signed: it goes, too.
        live = [stored for stored in page if stored.state != "revoked" and stored.not_after >= horizon]
        if found := [stored for stored in live if stored.serial not in authorities]:
            yield found
        if cursor is None:
            return


def block_key(installation: Installation, caller: Caller, spki_sha256: bytes, reason: str) -> bool:
    """Never certify this key again. False if it was blocked already."""
    caller.must(Operation.BLOCK_KEYS)
    return _block(installation, caller, spki_sha256, reason)


def is_blocked(installation: Installation, spki_sha256: bytes) -> bool:
    """Whether a key is blocked."""
    with installation.store.read() as connection:
        query = select(col(BlockedKey.spki_sha256)).where(col(BlockedKey.spki_sha256) == spki_sha256)
        return connection.execute(query).first() is not None


def must_be_allowed(installation: Installation, caller: Caller, stored: Stored) -> None:
    """`Forbidden` unless the caller may revoke this certificate: any, its own, or one that it asked for."""
    if stored.serial in installation.authorities.serials():
        caller.must(Operation.MANAGE_AUTHORITIES)
        approval.must(installation, caller, "revoke the certificate of a CA", stored.serial)
    elif not caller.may(Operation.REVOKE_ANY):
        caller.must(Operation.REVOKE_OWN)
        if stored.serial != caller.certificate and stored.requested_by != caller.identity:
            raise Forbidden(f"certificate {stored.serial} does not belong to {caller.identity}", code="not-yours")


def _revoke_key(installation: Installation, caller: Caller, spki: bytes, reason: RevocationReason) -> Revoked:
    _block(installation, caller, spki, reason.word)
    with installation.store.read(snapshot=True) as connection:
        # Intents first would miss one that becomes a certificate between the two queries, were they not one snapshot.
        serials = [
            row.serial
            for table in (Intent, Certificate)
            for row in connection.execute(select(col(table.serial)).where(col(table.spki_sha256) == spki))
        ]
    done: list[str] = []
    for start in range(0, len(serials), PAGE):
        done += _revoke_all(installation, caller, serials[start : start + PAGE], reason).serials
    return Revoked(tuple(done), reason, clock.timestamp(), key_blocked=True)


def _block(installation: Installation, caller: Caller, spki_sha256: bytes, reason: str) -> bool:
    def unit(tx: Transaction) -> bool:
        if tx.execute(select(BlockedKey).where(col(BlockedKey.spki_sha256) == spki_sha256)).first() is not None:
            return False
        now = clock.timestamp()
        tx.execute(insert(BlockedKey), {"spki_sha256": spki_sha256, "reason": reason, "blocked_at": now})
        log.append(tx, "key-blocked", spki_sha256.hex(), caller.identity, reason=reason, at=now)
        return True

    return installation.store.write(unit)


def _revoke_all(
    installation: Installation, caller: Caller, serials: Sequence[str], reason: RevocationReason
) -> Revoked:
    """Revoke those that are neither revoked nor expired, in one transaction.

    When another replica revokes one of them at the same moment, the database refuses the second row: look again.
    """
    now, horizon = clock.timestamp(), installation.timekeeper.horizon
    queries = [
        select(col(table.serial), col(table.authority_id), col(table.shard), col(table.not_after))
        .outerjoin(Revocation, col(Revocation.serial) == col(table.serial))
        .where(col(table.serial).in_(serials), col(table.not_after) >= horizon, NOT_FOR_GOOD)
        for table in (Intent, Certificate)
    ]

    def unit(tx: Transaction) -> tuple[str, ...]:
        found = {row.serial: dict(row) for query in queries for row in tx.execute(query).mappings()}
        record(tx, list(found.values()), caller.identity, reason, now)
        return tuple(found)

    for _ in range(TRIES):
        try:
            return Revoked(installation.store.write(unit), reason, now)
        except Conflict:
            continue
    raise Conflict("others keep revoking the same certificates; ask again", code="changed-meanwhile")


def record(
    tx: Transaction, certificates: Sequence[Mapping[str, Any]], by: str, reason: RevocationReason, now: int
) -> None:
    """Write that certificates (rows with serial, authority, shard and end) are revoked, and make their lists due.

    What was on hold keeps the date of its hold: X.509 wants it so, and what was signed since is not to be trusted.
    """
    shards: dict[int, list[int | None]] = {}
    for row in certificates:
        shards.setdefault(row["authority_id"], []).append(row["shard"])
    changes = {authority_id: crl.touch(tx, authority_id, shards[authority_id]) for authority_id in sorted(shards)}
    serials = [row["serial"] for row in certificates]
    held = _held(tx, serials)  # after `touch`: nobody holds or releases one of them now
    if serials:
        tx.execute(delete(Released).where(col(Released.serial).in_(serials)))
    for row in certificates:
        serial, since = row["serial"], held.get(row["serial"])
        at = {"revoked_at": now if since is None else since, "change": changes[row["authority_id"]]}
        said = {**at, "reason": int(reason), "revoked_by": by}
        if since is None:
            kept = {key: row[key] for key in ("serial", "authority_id", "shard", "not_after")}
            tx.add(Revocation, {**kept, **said})
        else:
            tx.execute(update(Revocation).where(col(Revocation.serial) == serial).values(**said))
        was = {} if since is None else {"was": "held"}
        log.append(tx, "certificate-revoked", serial, by, reason=reason.word, **at, **was)


def _held(tx: Transaction, serials: Sequence[str]) -> dict[str, int]:
    """Which of these are on hold, and since when."""
    query = select(col(Revocation.serial), col(Revocation.revoked_at)).where(
        col(Revocation.serial).in_(serials), col(Revocation.reason) == HOLD
    )
    return {row.serial: row.revoked_at for row in tx.execute(query)} if serials else {}
