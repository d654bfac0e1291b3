"""Forgetting, by policy and in pages: what expired long ago and nobody needs to ask about any more.

A certificate goes when it has been expired for the retention time, and a revoked one only after it was on a CRL that
was signed after it expired, unless its CA is retired or has expired and publishes none any more. What is unexpired
never goes. The ledger keeps its entry: that it was issued stays known.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_, select
from sqlmodel import col

from ca import clock
from ca.authority import State
from ca.installation import Installation
from ca.ledger import log
from ca.models import Answer, Authority, Certificate, CertificateName, Released, Revocation
from ca.store import Transaction

PAGE = 500
IDEMPOTENCY = timedelta(days=1)
"""How long the same idempotency key gets the same answer."""


def prune_certificates(installation: Installation, keep_expired: timedelta, *, page: int = PAGE) -> int:
    """Forget one page of certificates that expired longer than `keep_expired` ago. Returns how many; 0 when done."""
    horizon = clock.timestamp() - max(0, int(keep_expired.total_seconds())) - 1
    gone = or_(col(Authority.state) == State.RETIRED, col(Authority.not_after) < clock.timestamp())
    candidates = (
        select(col(Certificate.serial))
        .join(Authority, col(Authority.id) == col(Certificate.authority_id))
        .outerjoin(Revocation, col(Revocation.serial) == col(Certificate.serial))
        .where(col(Certificate.not_after) < horizon)
        .where(or_(col(Revocation.serial).is_(None), col(Revocation.last_listed).is_not(None), gone))
        .where(col(Certificate.serial).not_in(select(col(Authority.serial))))
        .order_by(col(Certificate.not_after))
        .limit(page)
        .with_for_update(skip_locked=True, of=Certificate)
    )

    def unit(tx: Transaction) -> int:
        rows = tx.execute(candidates).all()
        serials = [row.serial for row in rows]
        if serials:
            for table in (Answer, CertificateName, Revocation, Released, Certificate):
                tx.execute(delete(table).where(col(table.serial).in_(serials)))
            log.append(tx, "certificates-pruned", "retention", "system:retention", count=len(serials), before=horizon)
        return len(serials)

    return installation.store.write(unit)


def prune_answers(installation: Installation) -> int:
    """Forget one page of idempotency keys that are older than `IDEMPOTENCY`."""
    horizon = clock.timestamp() - int(IDEMPOTENCY.total_seconds())

    def unit(tx: Transaction) -> int:
        old = select(col(Answer.key)).where(col(Answer.created_at) < horizon).limit(PAGE)
        keys = [row.key for row in tx.execute(old)]
        if keys:
            tx.execute(delete(Answer).where(col(Answer.key).in_(keys)))
        return len(keys)

    return installation.store.write(unit)
