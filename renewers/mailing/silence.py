"""That no mail comes is a signal, too: when the last run was, what waits, what came back, who expired unannounced.

The last run stands in the table and not in a process, since any replica may make it. That mail fails is an alarm for
webhooks and metrics, and never a letter: it could not be sent. Nothing here decides who is told of what.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.store import Transaction
from renewers.lifecycle import Lifecycle
from renewers.mailing import letters, thresholds
from renewers.mailing.crossings import ACKNOWLEDGED
from renewers.models import Acknowledged, Crossing, Letter, Mailbox, Snapshot, Told, Tracked, Work
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from renewers.timing.lead_time import DAY

RUN = "mail-run"
"""The name of the snapshot that says when letters were last looked for."""
FAILING, ABOUT = "mail-failing", "mail"
EVERY = 60
"""Seconds between two notes of a run."""
SAID_AFTER = 3
"""Failures in a row of one letter, about a quarter of an hour, after which it is said that mail fails."""
LOOKED_BACK = 7 * DAY
"""How long ago something may have expired to be counted as unannounced."""
MOST = 5000


@dataclass(frozen=True, slots=True)
class Figures:
    """How mail stands; ages in seconds."""

    run_age: int | None
    """Since letters were last looked for; None if that was never."""
    waiting: int
    oldest: int
    """How long the longest waiting letter has waited."""
    dead: int
    """Mailboxes that mail comes back from."""
    acknowledged: int
    unannounced: int
    """What has expired in the last seven days without anybody having been told before; where mail is sent at all."""


def ran(lifecycle: Lifecycle) -> None:
    """Letters were looked for, and all went well."""
    now = clock.timestamp()
    with lifecycle.store.read() as connection:
        last = connection.execute(_LAST_RUN).first()
    if last is None or not now - EVERY < last.at <= now:
        row = {"name": RUN, "at": now, "body": json.dumps({"mailer": lifecycle.mailer is not None})}
        new = insert(Snapshot).values(**row)
        again = new.on_conflict_do_update(index_elements=["name"], set_=row)
        lifecycle.store.write(lambda tx: tx.execute(again) and None)


def failing(tx: Transaction, reason: str, since: int) -> None:
    """Mail does not leave."""
    message = f"mail does not leave: {reason}"
    hint = "what waits is sent when it does again: see [mail] in the settings, and the mail server's log"
    alarms.raise_alarm(tx, Trouble(FAILING, ABOUT, "error", message, hint, since=since))


def recovered(tx: Transaction) -> None:
    """A letter was sent. Mail is well again when none is left that fails for so long that it was said."""
    still = col(Work.kind) == letters.KIND, col(Work.failing_since).is_not(None), col(Work.attempts) >= SAID_AFTER
    if tx.execute(select(col(Work.id)).where(*still).limit(1)).first() is None:
        alarms.clear_alarm(tx, FAILING, ABOUT)


def figures(connection: Connection) -> Figures:
    """What metrics are made of; a handful of statements along indexes."""
    now, last = clock.timestamp(), connection.execute(_LAST_RUN).first()
    writes = last is not None and json.loads(last.body)["mailer"]
    is_open = col(Letter.state) == letters.OPEN
    waits = connection.execute(select(func.count(), func.min(col(Letter.opened_at))).where(is_open)).one()
    dead = select(func.count()).select_from(Mailbox).where(col(Mailbox.dead_since).is_not(None))
    resting = select(func.count()).select_from(Acknowledged).where(col(Acknowledged.until) > now)
    return Figures(
        run_age=None if last is None else max(0, now - last.at),
        waiting=waits[0],
        oldest=0 if waits[1] is None else max(0, now - waits[1]),
        dead=connection.execute(dead).scalar_one(),
        acknowledged=connection.execute(resting).scalar_one(),
        unannounced=unannounced(connection, now - LOOKED_BACK) if writes else 0,
    )


def unannounced(connection: Connection, since: int) -> int:
    """What has expired since then of which nobody was told before, by a letter that left: to be 0.

    What we knew for less than a day before its end nobody could have announced; what somebody took care of is known.
    """
    of_it = col(Crossing.noted_at) >= since, col(Crossing.threshold) == thresholds.EXPIRED
    known = col(Tracked.recorded_at) < col(Tracked.not_after) - DAY
    ended = select(col(Tracked.id), col(Tracked.not_after)).join(Crossing, col(Crossing.tracked_id) == col(Tracked.id))
    ends = {row.id: row.not_after for row in connection.execute(ended.where(*of_it, known).limit(MOST))}
    if not ends:
        return 0
    earlier = select(col(Crossing.tracked_id), col(Crossing.state), col(Letter.sent_at))
    earlier = earlier.outerjoin(Told, col(Told.crossing_id) == col(Crossing.id))
    earlier = earlier.outerjoin(Letter, col(Letter.id) == col(Told.letter_id))
    announced = {
        row.tracked_id
        for row in connection.execute(earlier.where(col(Crossing.tracked_id).in_(list(ends))))
        if row.state == ACKNOWLEDGED or (row.sent_at is not None and row.sent_at <= ends[row.tracked_id])
    }
    return len(ends) - len(announced)


_LAST_RUN = select(Snapshot).where(col(Snapshot.name) == RUN)
"""Made once: each tick asks for it."""
