"""What people said about something ends: a refusal when an owner is assigned, all of it when the thing itself goes.

The number of something that is gone may be another's one day, and nobody has acknowledged or refused that.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlmodel import col

from ca.store import Transaction
from renewers.models import Acknowledged, Refused
from renewers.telling import alarms

REFUSED_ALARM = "ownership-refused"
PAGE = 500


def taken(tx: Transaction, about: str) -> bool:
    """Somebody was assigned: the refusal is over, and its alarm. False if there was none."""
    gone = delete(Refused).where(col(Refused.about) == about).returning(col(Refused.subject))
    subjects = tx.execute(gone).scalars().all()
    for subject in subjects:
        alarms.clear_alarm(tx, REFUSED_ALARM, subject)
    return bool(subjects)


def forget(tx: Transaction, kind: str, ids: Collection[int]) -> None:
    """What people said of these, which are no more; `kind` is `lineage` or `tracked`."""
    abouts = sorted(f"{kind}:{one}" for one in ids)
    for start in range(0, len(abouts), PAGE):
        part = abouts[start : start + PAGE]
        tx.execute(delete(Acknowledged).where(col(Acknowledged.about).in_(part)))
        for about in tx.execute(select(col(Refused.about)).where(col(Refused.about).in_(part))).scalars().all():
            taken(tx, about)
