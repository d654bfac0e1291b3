"""Not mine: an owner says that something is not its. It is nobody's then, whatever the claims say, until assigned.

The alarm `ownership-refused` stands as long, and the fallback owner answers for it meanwhile. What ends a refusal is
in `said.py`; who may refuse by the link of a letter is for `renewers/answering/answers.py` to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers.inventory import answering, said
from renewers.inventory.said import REFUSED_ALARM
from renewers.models import Lineage, Owner, Refused, Tracked
from renewers.plain import one_line
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble


def refuse(tx: Transaction, row: Any, owner: Any, by: str) -> None:
    """A row of `Tracked`, and with it its lineage, is not this owner's: `by` says so. Not whether `by` may."""
    lineage = tx.execute(select(Lineage).where(col(Lineage.id) == row.lineage_id)).first()
    about, subject = f"tracked:{row.id}", row.identity
    if lineage is not None:
        about, subject = f"lineage:{lineage.id}", lineage.name
    answering.hold(tx)
    _set_to_nobody(tx, row, lineage)
    values = {"about": about, "subject": one_line(subject), "owner_id": owner.id, "by": by, "at": clock.timestamp()}
    new = insert(Refused).values(**values)
    tx.execute(new.on_conflict_do_update(index_elements=["about"], set_=values))
    if lineage is not None:
        answering.settle_lineage(tx, lineage.id)
    else:
        answering.settle(tx, [row.id])
    log.append(tx, "ownership-refused", subject, by, owner=owner.name, owner_id=owner.id, about=about)
    message = f"{by} says that {one_line(row.shown_as, 120)} is not theirs"
    events.record(tx, "ownership-refused", subject, message, severity="warning", by=by, was=owner.name)
    _raise(tx, one_line(subject), f"{message}: nobody owns it", row, row.lineage_id)


def left(tx: Transaction, lineage_id: int) -> None:
    """A lineage goes and its certificates stay: what was refused with it stays refused."""
    refused = tx.execute(select(Refused).where(col(Refused.about) == f"lineage:{lineage_id}")).first()
    if refused is not None:
        answering.start_over(tx)
        open_ = col(Tracked.lineage_id) == lineage_id, col(Tracked.replaced_by).is_(None)
        for row in tx.execute(select(Tracked).where(*open_)).all():
            values = {**refused._mapping, "about": f"tracked:{row.id}", "subject": row.identity}
            tx.execute(insert(Refused).values(**values).on_conflict_do_nothing())
            message = f"{refused.by} says that {one_line(row.shown_as, 120)} is not theirs: nobody owns it"
            _raise(tx, row.identity, message, row, None)
    said.forget(tx, "lineage", [lineage_id])


def _set_to_nobody(tx: Transaction, row: Any, lineage: Any | None) -> None:
    mine = update(Tracked).where(col(Tracked.owner_id).is_not(None))
    if lineage is None:
        tx.execute(mine.where(col(Tracked.id) == row.id).values(owner_id=None))
        return
    open_ = col(Tracked.lineage_id) == lineage.id, col(Tracked.replaced_by).is_(None)
    tx.execute(mine.where(*open_).values(owner_id=None))
    tx.execute(update(Lineage).where(col(Lineage.id) == lineage.id).values(owner_id=None))


def _raise(tx: Transaction, subject: str, message: str, row: Any, lineage_id: int | None) -> None:
    fallback = tx.execute(select(col(Owner.id)).where(col(Owner.is_fallback))).scalar()
    hint = f"find out whose it is, then certwright track assign '{one_line(subject, 120)}' --owner NAME"
    trouble = Trouble(REFUSED_ALARM, subject, "warning", message, hint, fallback)
    alarms.raise_alarm(tx, replace(trouble, tracked_id=row.id, lineage_id=lineage_id))
