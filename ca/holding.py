"""Putting a certificate on hold, and releasing it: a revocation that can be taken back (RFC 5280 section 5.3.1).

While it is on hold it is refused like any that is revoked: it stands on the lists with the reason certificateHold, OCSP
says so, and it opens no door of ours. A release takes it off again; deltas say removeFromCRL to those who hold an older
list. Whoever revokes it for good keeps the date of the hold (`ca/revocation.record`): what was signed with it since
was not to be trusted, and X.509 wants it so. Nothing else that was revoked can be released.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlmodel import col

from ca import certificates, clock, crl
from ca.access import Caller, Operation
from ca.authority import State
from ca.certificates import Stored
from ca.errors import Conflict, Forbidden
from ca.installation import Installation
from ca.ledger import log
from ca.models import CrossCertificate, Released, Revocation
from ca.revocation import must_be_allowed
from ca.store import Transaction
from ca.store.commit import StaleChange
from ca.x509.revocation_list import HOLD


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate on hold, or just released; times in seconds since the epoch."""

    serial: str
    held_at: int
    released_at: int | None = None


def hold(installation: Installation, caller: Caller, serial: str) -> Held:
    """Put a good certificate on hold. `Conflict` if it is anything else; CAs are tainted and not held."""
    stored = certificates.find(installation.store, serial)
    must_be_allowed(installation, caller, stored)
    _must_be_a_leaf(installation, stored)
    if stored.state != "valid":
        code = "already-held" if stored.state == "held" else "not-holdable"
        raise Conflict(f"certificate {stored.serial} is {stored.state} and cannot be put on hold", code=code)
    row = _authority(installation, stored)
    now = clock.timestamp()

    def unit(tx: Transaction) -> None:
        change = crl.touch(tx, row, [stored.shard])  # from here on nobody else decides about this CA's revocations
        if tx.execute(select(Revocation).where(col(Revocation.serial) == stored.serial)).first() is not None:
            raise StaleChange(f"certificate {stored.serial} was revoked or held meanwhile")
        tx.execute(delete(Released).where(col(Released.serial) == stored.serial))
        kept = {"serial": stored.serial, "authority_id": row, "shard": stored.shard, "not_after": stored.not_after}
        at = {"revoked_at": now, "change": change}
        tx.add(Revocation, {**kept, **at, "reason": int(HOLD), "revoked_by": caller.identity})
        log.append(tx, "certificate-held", stored.serial, caller.identity, reason=HOLD.word, **at)

    installation.store.write(unit)
    return Held(stored.serial, now)


def release(installation: Installation, caller: Caller, serial: str) -> Held:
    """Take a certificate off hold: it is good again. `Conflict` if it is not on hold, or nobody would hear of it."""
    stored = certificates.find(installation.store, serial)
    _must_be_allowed_to_release(installation, caller, stored)
    if stored.state != "held":
        hint = "what is revoked for another reason is revoked for good: issue another" if stored.revoked_at else None
        raise Conflict(f"certificate {stored.serial} is {stored.state} and not on hold", code="not-held", hint=hint)
    now = clock.timestamp()
    if stored.not_after < now:
        raise Conflict(f"certificate {stored.serial} has expired: nobody accepts it any more", code="expired")
    if installation.authorities.get(stored.authority).state == State.RETIRED:
        raise Conflict(
            f"{stored.authority} is retired and signs no CRL any more: its last one says that {stored.serial} is held",
            code="authority-retired",
        )
    row, held_at = _authority(installation, stored), stored.revoked_at or 0

    def unit(tx: Transaction) -> None:
        change = crl.touch(tx, row, [stored.shard])
        is_held = col(Revocation.reason) == HOLD, col(Revocation.revoked_at) == held_at
        lifted = tx.execute(delete(Revocation).where(col(Revocation.serial) == stored.serial, *is_held))
        if lifted.rowcount != 1:
            raise StaleChange(f"certificate {stored.serial} was revoked or released meanwhile")
        at = {"held_at": held_at, "released_at": now, "change": change}
        row_ = {"serial": stored.serial, "authority_id": row, "released_by": caller.identity}
        tx.add(Released, {**row_, **at})
        log.append(tx, "certificate-released", stored.serial, caller.identity, **at)

    installation.store.write(unit)
    return Held(stored.serial, held_at, now)


def _authority(installation: Installation, stored: Stored) -> int:
    return installation.authorities.get(stored.authority).id or 0


def _must_be_a_leaf(installation: Installation, stored: Stored) -> None:
    crosses = select(col(CrossCertificate.serial)).where(col(CrossCertificate.serial) == stored.serial)
    with installation.store.read() as connection:
        is_cross = connection.execute(crosses).first() is not None
    if is_cross or stored.serial in installation.authorities.serials():
        raise Forbidden("the certificate of a CA is not put on hold; see `certwright ca taint`", code="authority-key")


def _must_be_allowed_to_release(installation: Installation, caller: Caller, stored: Stored) -> None:
    """Whoever may revoke anything; others what is theirs, if they have held it themselves: no operator's hold."""
    must_be_allowed(installation, caller, stored)
    if caller.may(Operation.REVOKE_ANY):
        return
    query = select(col(Revocation.revoked_by)).where(col(Revocation.serial) == stored.serial)
    with installation.store.read() as connection:
        by = connection.execute(query).scalar()
    if by is not None and by != caller.identity:
        raise Forbidden(f"{by} has put {stored.serial} on hold, not {caller.identity}", code="not-yours")
