"""Cross-certificates: a root certifies the key of another one, for those who trust only the first.

A rotation makes one through the one door before the new root's row exists and its key is blocked as our own, and
records it in the transaction that makes the root real; for a root that exists it is made when somebody asks for it. A
crash in between leaves a CA certificate that is nobody's, and `revoke_orphans` takes it back. Which chains they stand
in: `Authorities.chain`.
"""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from sqlalchemy import and_, insert, or_, select
from sqlmodel import col

from ca import approval, clock, revocation
from ca.access import Caller, Operation, Role
from ca.authority import CROSSING, TRUSTED, Issuer
from ca.enrolment import CROSS_PROFILE, Decision, Wish, authorise_authority
from ca.errors import BadRequest, Conflict
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued, issue
from ca.keys import check_reachable
from ca.keys.algorithms import PrivateKey
from ca.ledger import log
from ca.models import Authority, Certificate, CrossCertificate, Revocation
from ca.recording import CARRIED
from ca.store import Store, Transaction
from ca.x509.certificate import fingerprint, serial_text
from ca.x509.constraints import Limits, limits_of
from ca.x509.request import make_request, read_request
from ca.x509.revocation_list import RevocationReason

PROFILE = CROSS_PROFILE
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
    return issue(_decide(installation, caller, by, key, plan.subject, lifetime, plan.limits), installation)


def cross_sign(installation: Installation, caller: Caller, name: str, by_name: str) -> CrossCertificate:
    """Have a root that exists certified by another one of ours, for those who trust only that.

    It lives as long as both do, at most. `Conflict` while there is one by the same root that is good and not revoked.
    """
    caller.must(Operation.MANAGE_AUTHORITIES)
    by = find_root(installation, by_name)
    check_reachable(by.key)
    row = must_want(installation, name, by)
    approval.must(installation, caller, "cross-certify a root", row.name, by=by.name)
    revoke_orphans(installation)
    own = installation.authorities.issuer(row.name)
    issued = issue(decide(installation, caller, own, by), installation)
    installation.store.write(lambda tx: record(tx, own.id, own.name, by, issued.certificate, caller))
    installation.authorities.forget()
    return next(cross for cross in crosses(installation.store) if cross.serial == issued.serial)


def must_want(installation: Installation, name: str, by: Issuer) -> Authority:
    """The root that another one is to certify; refused unless it is one in force, and not certified yet."""
    row = installation.authorities.get(name)
    if row.parent_id is not None:
        raise BadRequest(f"{row.name} is no root, and its own chain leads to one", code="not-a-root")
    if row.id == by.id or row.state not in TRUSTED:
        raise BadRequest(f"{by.name} does not certify {row.name}, which is {row.state}", code="bad-cross-certificate")
    if (found := good_cross(installation.store, row)) is not None:
        serial, issuer = found
        hint = f"a chain ends with one: certwright cert revoke {serial} --reason superseded, if another is to follow"
        raise Conflict(f"{issuer} certifies {row.name} already", code="authority-exists", hint=hint)
    return row


def decide(installation: Installation, caller: Caller, own: Issuer, by: Issuer) -> Decision:
    """The decision to certify a root that exists: for as long as it has to live, as far as the profile goes."""
    left = own.certificate.not_valid_after_utc - clock.now()
    lifetime = min(installation.profiles[PROFILE].config.longest, left)
    return _decide(installation, caller, by, own.key, own.certificate.subject, lifetime, limits_of(own.certificate))


def _decide(
    installation: Installation,
    caller: Caller,
    by: Issuer,
    key: PrivateKey,
    subject: x509.Name,
    lifetime: timedelta | None,
    limits: Limits | None,
) -> Decision:
    """For the one door. The root's name constraints go along: nobody looks at its own certificate on this way."""
    wish = Wish(lifetime=lifetime, subject=subject, path_length=PATH_LENGTH, limits=limits, authority=by.name)
    request = read_request(make_request(key, subject))
    return authorise_authority(installation, caller, PROFILE, request, wish)


def good_cross(store: Store, row: Authority) -> tuple[str, str] | None:
    """The cross-certificate of a root that chains end with, its serial number and who has signed it; None without."""
    good = (
        select(col(CrossCertificate.serial), col(Authority.name))
        .join(Authority, col(Authority.id) == col(CrossCertificate.issuer_id))
        .outerjoin(Revocation, col(Revocation.serial) == col(CrossCertificate.serial))
        .where(col(CrossCertificate.authority_id) == row.id, col(Authority.state).in_(sorted(CROSSING)))
        .where(col(Revocation.serial).is_(None), col(CrossCertificate.not_after) > clock.timestamp())
    )
    with store.read() as connection:
        found = connection.execute(good.order_by(col(CrossCertificate.id).desc()).limit(1)).first()
    return None if found is None else (found.serial, found.name)


def record(tx: Transaction, root_id: int, root: str, by: Issuer, certificate: bytes, caller: Caller) -> None:
    """Write it down with the root that it is for; of a new root, in the transaction that makes it real."""
    cross = x509.load_der_x509_certificate(certificate)
    serial, not_after = serial_text(cross.serial_number), int(cross.not_valid_after_utc.timestamp())
    row = {
        "authority_id": root_id,
        "issuer_id": by.id,
        "serial": serial,
        "certificate": certificate,
        "not_after": not_after,
        "created_at": clock.timestamp(),
    }
    refuse_revoked(tx, serial)
    tx.execute(insert(CrossCertificate), row)
    details = {"serial": serial, "sha256": fingerprint(certificate), "not_after": not_after}
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
    unowned = col(Certificate.spki_sha256).not_in(select(col(Authority.spki_sha256)))
    lost = and_(
        col(Certificate.profile) == PROFILE,
        col(Certificate.serial).not_in(select(col(CrossCertificate.serial))),
        col(Certificate.serial).not_in(select(col(Authority.serial))),
    )
    query = (
        select(col(Certificate.serial))
        .outerjoin(Revocation, col(Revocation.serial) == col(Certificate.serial))
        .where(col(Certificate.profile).in_(sorted(named | {PROFILE, "sub-ca"})))
        .where(col(Certificate.not_after) >= now, col(Certificate.recorded_at) <= now - older_than)
        .where(col(Revocation.serial).is_(None))
        .where(or_(unowned, lost))
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
