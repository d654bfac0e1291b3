"""Revoking what our key has signed and our tables do not know: from before we had that key, or made by a thief of it.

Only the certificate itself tells that, so it is handed in, and its signature is verified with the keys of all our CAs,
retired ones included. It is recorded apart from what we issued (`UnrecordedRevocation`), stands on the shard that it
names, or else on the complete list alone, and in OCSP answers; the ledger names its SHA-256, so that the audit can
explain it. It cannot be put on hold.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import delete, select
from sqlmodel import col

from ca import approval, certificates, clock, crl, revocation
from ca.access import Caller, Operation
from ca.authority import KEYLESS
from ca.errors import BadRequest, Conflict, Forbidden, NotFound
from ca.installation import Installation
from ca.ledger import log
from ca.ledger.revocations import UNRECORDED
from ca.models import Authority, Intent, UnrecordedRevocation
from ca.revocation import Revoked
from ca.store import Transaction
from ca.x509.certificate import fingerprint, issuer_of, serial_text, spki_of, subject_of
from ca.x509.revocation_list import RevocationReason

PAGE = 500


def revoke(
    installation: Installation, caller: Caller, certificate: x509.Certificate, reason: RevocationReason
) -> Revoked:
    """Revoke a certificate that is handed in. What our tables know is revoked as ever.

    `Forbidden` (`not-ours`) unless a key of ours has signed it, and for the certificates of our own CAs. For key
    compromise its key is blocked first, and all of ours that carry it are revoked, too.
    """
    caller.must(Operation.REVOKE_ANY)
    row = _signer(installation, certificate)
    spki = sha256(spki_of(certificate.tbs_certificate_bytes)).digest()
    _must_not_be_a_ca_of_ours(installation, caller, certificate, spki)
    if _is_known(installation, certificate, row):
        return revocation.revoke(installation, caller, serial_text(certificate.serial_number), reason)
    ends, now = int(certificate.not_valid_after_utc.timestamp()), clock.timestamp()
    if ends < now:
        raise Conflict("this certificate has expired: nobody accepts it any more", code="expired")
    others: tuple[str, ...] = ()
    if reason is RevocationReason.KEY_COMPROMISE:
        others = revocation.revoke_key(installation, caller, spki, reason).serials
    revoked = _record(installation, caller, certificate, row, reason, now)
    return replace(revoked, serials=(*revoked.serials, *others), key_blocked=reason is RevocationReason.KEY_COMPROMISE)


def prune(installation: Installation, before: int) -> int:
    """Forget one page of those that expired before a moment and have left the lists; returns how many."""
    gone = (
        select(col(UnrecordedRevocation.authority_id), col(UnrecordedRevocation.serial))
        .where(col(UnrecordedRevocation.not_after) < min(before, clock.timestamp()))
        .where(col(UnrecordedRevocation.last_listed).is_not(None))
        .limit(PAGE)
    )

    def unit(tx: Transaction) -> int:
        rows = tx.execute(gone).all()
        for row in rows:
            of_it = col(UnrecordedRevocation.authority_id) == row.authority_id
            tx.execute(delete(UnrecordedRevocation).where(of_it, col(UnrecordedRevocation.serial) == row.serial))
        if rows:
            details = {"count": len(rows), "before": before}
            log.append(tx, "certificates-pruned", "retention", "system:retention", **details)
        return len(rows)

    return installation.store.write(unit)


def _record(
    installation: Installation,
    caller: Caller,
    certificate: x509.Certificate,
    signer: Authority,
    reason: RevocationReason,
    now: int,
) -> Revoked:
    der, serial = certificate.public_bytes(Encoding.DER), serial_text(certificate.serial_number)
    authority_id, shard = signer.id or 0, _shard(installation, signer, certificate)
    ends = int(certificate.not_valid_after_utc.timestamp())
    of_it = (
        col(UnrecordedRevocation.authority_id) == authority_id,
        col(UnrecordedRevocation.serial) == serial,
    )

    def unit(tx: Transaction) -> None:
        change = crl.touch(tx, authority_id, [shard])
        if tx.execute(select(col(UnrecordedRevocation.serial)).where(*of_it)).first() is not None:
            raise Conflict(f"certificate {serial} of {signer.name} is revoked already", code="already-revoked")
        said: dict[str, Any] = {"shard": shard, "revoked_at": now, "not_after": ends, "change": change}
        kept = {"authority_id": authority_id, "serial": serial, "revoked_by": caller.identity, "certificate": der}
        tx.add(UnrecordedRevocation, {**kept, **said, "reason": int(reason)})
        about = {"authority": signer.name, "sha256": fingerprint(der), "reason": reason.word}
        log.append(tx, UNRECORDED, serial, caller.identity, **said, **about)

    installation.store.write(unit)
    return Revoked((serial,), reason, now)


def _signer(installation: Installation, certificate: x509.Certificate) -> Authority:
    """Which CA of ours has signed it."""
    name = issuer_of(certificate.tbs_certificate_bytes)
    for row in installation.authorities.all():
        if row.key_label == KEYLESS:  # somebody else's, or one that is kept elsewhere and signs no list here
            continue
        parsed = x509.load_der_x509_certificate(row.certificate)
        if subject_of(parsed.tbs_certificate_bytes) == name and _is_signed_by(certificate, parsed):
            if certificate.serial_number <= 0:
                raise BadRequest("its serial number is not positive: no list can name it", code="bad-serial")
            return row
    raise Forbidden(
        "no key of a CA of ours has signed this certificate",
        code="not-ours",
        hint="whoever has issued it revokes it: see its issuer",
    )


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _must_not_be_a_ca_of_ours(
    installation: Installation, caller: Caller, certificate: x509.Certificate, spki: bytes
) -> None:
    if any(row.spki_sha256 == spki for row in installation.authorities.all()):
        raise Forbidden("this is the certificate of a CA of ours; see `certwright ca taint`", code="authority-key")
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    except Exception:  # noqa: BLE001 - a stranger's extensions; what cannot be read may be anything
        is_ca = True
    if is_ca:
        caller.must(Operation.MANAGE_AUTHORITIES)
        sha = fingerprint(certificate.public_bytes(Encoding.DER))
        approval.must(installation, caller, "revoke the certificate of a CA", sha)


def _is_known(installation: Installation, certificate: x509.Certificate, signer: Authority) -> bool:
    """Whether our tables have this very certificate. `Conflict` if they have another one of its CA and number."""
    serial = serial_text(certificate.serial_number)
    with installation.store.read() as connection:
        pending = connection.execute(select(col(Intent.authority_id)).where(col(Intent.serial) == serial)).scalar()
    if pending == signer.id:
        raise Conflict(f"certificate {serial} is being issued at this moment; ask again", code="changed-meanwhile")
    try:
        stored = certificates.find(installation.store, serial)
    except NotFound:
        return False
    if stored.authority != signer.name:
        return False
    if stored.tbs != certificate.tbs_certificate_bytes:
        raise Conflict(
            f"{signer.name} has signed another certificate with the serial number {serial}, which is on record",
            code="serial-taken",
            hint=f"revoking by number refuses both: certwright cert revoke {serial}",
        )
    return True


def _shard(installation: Installation, signer: Authority, certificate: x509.Certificate) -> int | None:
    """The shard that its CDP names, if that is one of this CA's."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except Exception:  # noqa: BLE001 - a stranger's extensions; without a shard it is on the complete list
        return None
    named = {name.value for point in points for name in point.full_name or ()}
    urls = installation.authorities.urls
    return next((shard for shard in range(signer.crl_shards) if urls.crl(signer.name, shard) in named), None)
