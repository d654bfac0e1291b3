"""How long it is kept who was told what: letters, the sent ledger and crossings, as long as the settings say.

A crossing of something that is still on its way to its end stays, however old it is: without it, the same threshold
would be crossed, and told, once more. So does a letter that waits.
"""

from __future__ import annotations

from sqlalchemy import delete, exists, select
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers.inventory.succession import ENDED
from renewers.lifecycle import Lifecycle
from renewers.mailing import letters
from renewers.models import Crossing, Letter, Told, Tracked

PAGE = 1000
BY = "system:retention"


def prune(lifecycle: Lifecycle) -> int:
    """Forget one page of what is older than the settings say. Returns how many rows; 0 when done."""
    horizon = clock.timestamp() - max(lifecycle.mail.keep, 0)
    alive = col(Tracked.id) == col(Crossing.tracked_id), col(Tracked.replaced_by).is_(None), col(Tracked.stage) != ENDED
    over = col(Crossing.noted_at) < horizon, col(Crossing.settled_at).is_not(None), ~exists().where(*alive)
    crossings = select(col(Crossing.id)).where(*over).order_by(col(Crossing.noted_at)).limit(PAGE)
    told = exists().where(col(Told.letter_id) == col(Letter.id))
    gone = col(Letter.opened_at) < horizon, col(Letter.state) != letters.OPEN, ~told
    empty = select(col(Letter.id)).where(*gone).order_by(col(Letter.opened_at)).limit(PAGE)
    with lifecycle.store.read() as connection:
        if all(connection.execute(query.limit(1)).first() is None for query in (crossings, empty)):
            return 0

    def unit(tx: Transaction) -> int:
        old = tx.execute(crossings).scalars().all()
        tx.execute(delete(Told).where(col(Told.crossing_id).in_(old)))
        tx.execute(delete(Crossing).where(col(Crossing.id).in_(old)))
        unused = tx.execute(empty).scalars().all()
        tx.execute(delete(Letter).where(col(Letter.id).in_(unused)))
        count = len(old) + len(unused)
        if count:
            log.append(tx, "letters-pruned", "retention", BY, count=count, before=horizon)
        return count

    return lifecycle.store.write(unit)
