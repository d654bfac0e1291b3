"""Cross-certificates: a root certifies the key of the one that follows it, for those who trust only the old root.

A cross-certificate is made through the one door, before the new root's row exists and its key is blocked as our own,
and is recorded in the transaction that makes the root real. A crash in between leaves a CA certificate whose key is no
authority's: it is nobody's, and `revoke_orphans` takes it back. Which chains they stand in: `Authorities.chain`.
"""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlmodel import col

from ca import clock, revocation
from ca.access import Caller, Role
from ca.authority import Issuer
from ca.enrolment import Wish, authorise_authority
from ca.errors import BadRequest, Conflict
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued, issue
from ca.keys.algorithms import PrivateKey
from ca.ledger import log
from ca.models import Authority, Certificate, CrossCertificate, Revocation
from ca.recording import CARRIED
from ca.store import Store, Transaction
from ca.x509.certificate import fingerprint
from ca.x509.request import make_request, read_request
from ca.x509.revocation_list import RevocationReason

PROFILE = "cross-ca"
PATH_LENGTH = 1
"""One CA beneath the new root: as many as `certwright ca create` makes (RFC 5280 section 4.2.1.9)."""
SYSTEM = Caller("system:founding", Role.ADMIN)
ORPHANED_AFTER = 600
"""Seconds after which a CA certificate without an authority is an orphan, and not one that is just being made."""


def crosses(store: Store) -> list[CrossCertificate]:
    """Every cross-certificate that was made, oldest first, whatever has become of it."""
    with store.read() as connection:
        rows = connection.execute(select(CrossCertificate).order_by(col(CrossCertificate.id))).all()
    return [CrossCertificate(**row._mapping) for row in rows]


def find_root(installation: Installation, name: str) -> Issuer:
    """The root that is to certify another one; refused unless it is a root, and prepared or active."""
    issuer = installation.authorities.signer(name)
    if installation.authorities.get(name).parent_id is not None:
        raise BadRequest(f"{issuer.name} is no root, and roots are certified by roots alone", code="not-a-root")
    return issuer


def certify(installation: Installation, caller: Caller, by: Issuer, key: PrivateKey, plan: Plan) -> Issued:
    """Make the cross-certificate of a root that is about to be: its subject, its key, no longer a life than its own."""
    longest = installation.profiles[PROFILE].config.longest
    lifetime = min(longest, plan.lifetime) if plan.lifetime is not None else None
    wish = Wish(lifetime=lifetime, subject=plan.subject, path_length=PATH_LENGTH, authority=by.name)
    request = read_request(make_request(key, plan.subject))
    return issue(authorise_authority(installation, caller, PROFILE, request, wish), installation)


def record(tx: Transaction, authority_id: int, root: str, by: Issuer, cross: Issued, caller: Caller) -> None:
    """Write it down with the root that it is for, in the transaction that makes that root real."""
    row = {
        "authority_id": authority_id,
        "issuer_id": by.id,
        "serial": cross.serial,
        "certificate": cross.certificate,
        "not_after": cross.not_after,
        "created_at": clock.timestamp(),
    }
    refuse_revoked(tx, cross.serial)
    tx.execute(insert(CrossCertificate), row)
    details = {"serial": cross.serial, "sha256": fingerprint(cross.certificate), "not_after": cross.not_after}
    log.append(tx, "authority-cross-certified", root, caller.identity, issuer=by.name, **details)


def refuse_revoked(tx: Transaction, serial: str) -> None:
    """`Conflict` if a CA certificate was taken for an orphan before its authority was recorded."""
    if tx.execute(select(col(Revocation.serial)).where(col(Revocation.serial) == serial)).first() is not None:
        raise Conflict(
            f"the CA certificate {serial} was revoked meanwhile; make the CA again", code="revoked-meanwhile"
        )


def revoke_orphans(installation: Installation, *, older_than: int = ORPHANED_AFTER) -> list[str]:
    """Revoke CA certificates whose key is no authority's: what a crash has left of one that was being made.

    It looks at every certificate that is stored, which takes a second or so for a million of them.
    """
    named = {profile.name for profile in installation.profiles if profile.config.kind == "authority"}
    now = clock.timestamp()
    query = (
        select(col(Certificate.serial))
        .outerjoin(Revocation, col(Revocation.serial) == col(Certificate.serial))
        .where(col(Certificate.profile).in_(sorted(named | {PROFILE, "sub-ca"})))
        .where(col(Certificate.not_after) >= now, col(Certificate.recorded_at) <= now - older_than)
        .where(col(Revocation.serial).is_(None))
        .where(col(Certificate.spki_sha256).not_in(select(col(Authority.spki_sha256))))
        .where(col(Certificate.serial).not_in(CARRIED))
        .order_by(col(Certificate.id))
    )
    with installation.store.read() as connection:
        orphans = list(connection.execute(query).scalars())
    revoked = []
    for serial in orphans:
        try:
            revocation.revoke(installation, SYSTEM, serial, RevocationReason.SUPERSEDED)
        except Conflict:  # another replica was faster, or it has just expired
            continue
        revoked.append(serial)
    return revoked
