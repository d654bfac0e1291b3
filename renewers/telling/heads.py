"""The newest signed head of the ledger, told to others: into files elsewhere, and as an event that webhooks get.

Whoever keeps one head can tell later whether the ledger still contains what it contained then (`ca/ledger/checkpoint`);
a head that only lies beside the ledger proves nothing against who rewrites both. `checkpoint` in the directory is the
newest, and each day keeps its last one under its date. A directory that cannot be written to is an alarm, and what is
missed there is made up by the next head. A head that lies there and is not continued by the ledger is never replaced:
it may be the only thing left that shows what was there. Nothing here makes or signs a head.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock, files
from ca.ledger.witness import continues, opened, read
from ca.models import LedgerHead
from ca.store import Store, Transaction
from renewers.lifecycle import Lifecycle
from renewers.models import Snapshot
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble

PUBLISHED = "head-published"
"""The name of the snapshot that says which head was told last, and of the event."""
ALARM, ABOUT = "head-unpublished", "ledger"
DAILY = 86400
NEWEST = "checkpoint"


@dataclass(frozen=True, slots=True)
class HeadPolicy:
    """Where heads go, and how often at most; in seconds."""

    directory: Path | None
    every: int


def publish_due(lifecycle: Lifecycle, policy: HeadPolicy) -> bool:
    """Tell the newest head if it is time: it has grown, or nobody was told for a day. True if it was told."""
    head = lifecycle.installation.ledger.head()
    if head is None or not _is_due(lifecycle.store, head.size, policy.every):
        return False
    if policy.directory is not None:
        trouble = _published(lifecycle, policy.directory, head)
        if trouble is not None:
            lifecycle.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
            return False
    lifecycle.store.write(lambda tx: _say(tx, head))
    return True


def published_at(store: Store) -> int | None:
    """When a head was last told, in seconds since the epoch; None if that was never."""
    with store.read() as connection:
        return connection.execute(select(col(Snapshot.at)).where(col(Snapshot.name) == PUBLISHED)).scalar()


def _is_due(store: Store, size: int, every: int) -> bool:
    with store.read() as connection:
        last = connection.execute(select(Snapshot).where(col(Snapshot.name) == PUBLISHED)).first()
    if last is None:
        return True
    age = clock.timestamp() - last.at
    has_grown = json.loads(last.body)["size"] != size
    return not 0 <= age < DAILY or (has_grown and age >= every)  # a clock that was set back keeps nobody waiting


def _published(lifecycle: Lifecycle, directory: Path, head: LedgerHead) -> Trouble | None:
    """Write it into the directory; what kept it from that, if anything did."""
    verifier = lifecycle.installation.ledger.verifier
    text, newest = read(directory / NEWEST), opened(head.checkpoint, verifier)
    there = None if text is None else opened(text, verifier)
    if there is not None and (newest is None or not continues(lifecycle.store, there.head, newest.head)):
        message = f"the ledger does not continue the head of {there.head.size} entries that lies in {directory}"
        hint = "certwright ledger verify --head says what is missing; move the file away if it went back on purpose"
        return Trouble(ALARM, ABOUT, "critical", message, hint)
    try:
        _write(directory, head.checkpoint)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"no head of the ledger can be written into {directory}: {reason}"
        hint = "make it a directory that this program may write to; see ledger.publish_to in the settings"
        return Trouble(ALARM, ABOUT, "error", message, hint)
    return None


def _write(directory: Path, checkpoint: str) -> None:
    """The day's first, the newest last: whoever reads the newest finds it among those that are kept, too."""
    content = checkpoint.encode()
    files.replace(directory / f"{clock.now():%Y-%m-%d}.txt", content)
    files.replace(directory / NEWEST, content)


def _say(tx: Transaction, head: LedgerHead) -> None:
    row = {"name": PUBLISHED, "at": clock.timestamp(), "body": json.dumps({"size": head.size})}
    tx.execute(insert(Snapshot).values(**row).on_conflict_do_update(index_elements=["name"], set_=row))
    message = f"the ledger has {head.size} entries; keep this head"
    events.record(tx, PUBLISHED, ABOUT, message, size=head.size, root=head.root.hex(), checkpoint=head.checkpoint)
    alarms.clear_alarm(tx, ALARM, ABOUT)
