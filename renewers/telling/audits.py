"""The whole store is held against its ledger every day, and an alarm says for as long as they do not agree.

A ledger that nobody checks proves nothing until somebody has a reason to. This finds what was changed behind its back
without one: every table that it speaks of, and its own tail against the newest head that was seen here, which is kept
outside of the database (`ca/ledger/witness.py`). Whether the ledger continues that head is asked at every beat, since
that takes a few hashes; if it does not, the audit that names what is wrong is made at once. What was unsound against a
head stays so for every replica, until the ledger continues that head.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.ledger.reconcile import audit
from ca.ledger.verify import Report
from ca.ledger.witness import Kept, Witness, opened
from ca.store import Store, Transaction
from ca.store.lease import leased
from renewers.lifecycle import Lifecycle
from renewers.models import Snapshot
from renewers.telling import alarms
from renewers.telling.alarms import Trouble

DONE = "ledger-audited"
"""The name of the snapshot that says what the last audit came to."""
ALARM, ABOUT = "ledger-unsound", "ledger"
LEASE = 6 * 3600
"""Seconds after which a replica that died at it is followed by another one."""
AGAIN = 3600
"""Seconds after which what was unsound is looked at again: the alarm ends soon after it was mended."""


@dataclass(frozen=True, slots=True)
class Audited:
    """The last audit: when it ended, what it read, how much was wrong. `first` is the earliest finding in the tree.

    `against` is the checkpoint that the ledger did not continue, if that was among what was wrong.
    """

    at: int
    entries: int
    certificates: int
    findings: int
    first: str | None
    against: str | None = None


class LedgerAudits:
    """Audits that one process makes. One replica makes each, for all."""

    def __init__(self, lifecycle: Lifecycle, every: int, should_stop: Callable[[], bool], witness: Witness) -> None:
        self._lifecycle = lifecycle
        self._every = every
        self._should_stop = should_stop
        self._witness = witness
        self._has_begun = False

    def run_due(self) -> Report | None:
        """Audit if the last one is `every` seconds ago, or the ledger no longer continues a head that was seen.

        None if it is not time, or another replica is at it. The first call leaves all but that look to the next one: a
        start waits for nobody.
        """
        self._lifecycle.installation.ledger.sequence()
        is_continued = self._witness.look()
        if not self._has_begun:
            self._has_begun = True
            return None
        if not self._is_due(is_continued):
            return None
        with leased(self._lifecycle.store, DONE, LEASE) as held:
            return None if held is None or not self._is_due(is_continued) else self._run()

    def is_continued(self, kept: Kept) -> bool:
        """Whether the ledger continues a head."""
        return self._witness.is_continued(kept)

    def kept(self) -> Kept | None:
        """The head to hold the ledger against: one that it does not continue, whichever replica has seen it."""
        last, own = newest(self._lifecycle.store), list(self._witness.kept())
        verifier = self._lifecycle.installation.ledger.verifier
        told = None if last is None or last.against is None else opened(last.against, verifier)
        found = own if told is None else [*own, told]
        return next((kept for kept in found if not self._witness.is_continued(kept)), next(iter(own), None))

    def _run(self) -> Report | None:
        ledger, store, kept = self._lifecycle.installation.ledger, self._lifecycle.store, self.kept()
        head = None if kept is None else kept.head
        try:
            report = audit(store, ledger.verifier, kept=head, progress=self._go_on)
        except _Stopped:
            return None
        is_continued = kept is None or report.is_sound or self._witness.is_continued(kept)
        against = None if kept is None or is_continued else kept.checkpoint
        store.write(lambda tx: _say(tx, report, against))
        return report

    def _go_on(self, _done: int, _of: int) -> None:
        if self._should_stop():
            raise _Stopped

    def _is_due(self, is_continued: bool) -> bool:
        last = newest(self._lifecycle.store)
        if last is None or not (is_continued or last.findings):
            return True
        every = min(self._every, AGAIN) if last.findings else self._every
        return not 0 <= clock.timestamp() - last.at < every  # a clock that was set back keeps nobody waiting


class _Stopped(Exception):
    """The process ends: the next one begins anew."""


def newest(store: Store) -> Audited | None:
    """What the last audit came to; None before the first, and where what is there is not what one says."""
    with store.read() as connection:
        row = connection.execute(select(Snapshot).where(col(Snapshot.name) == DONE)).first()
    try:
        last = None if row is None else Audited(row.at, **json.loads(row.body))
    except (ValueError, TypeError):  # somebody else wrote it: an audit is due
        return None
    counts = () if last is None else (last.entries, last.certificates, last.findings)
    return last if all(type(count) is int for count in counts) else None


def _say(tx: Transaction, report: Report, against: str | None) -> None:
    first = None if report.first is None else report.first.message
    counts = {"entries": report.entries, "certificates": report.certificates, "findings": len(report.findings)}
    row = {"name": DONE, "at": clock.timestamp(), "body": json.dumps({**counts, "first": first, "against": against})}
    tx.execute(insert(Snapshot).values(**row).on_conflict_do_update(index_elements=["name"], set_=row))
    if first is None:
        alarms.clear_alarm(tx, ALARM, ABOUT)
        return
    message = f"the store does not say what the ledger says: {first}; {len(report.findings)} findings in all"
    hint = "certwright ledger verify names them all; keep the database as it is, and a backup from before"
    if against is not None:
        hint = f"{hint}; if it went back on purpose, stop the server and move ledger-head out of its state directory"
    alarms.raise_alarm(tx, Trouble(ALARM, ABOUT, "critical", message, hint))
