"""The whole store is held against its ledger every day, and an alarm says for as long as they do not agree.

A ledger that nobody checks proves nothing until somebody has a reason to. This finds what was changed behind its back
without one: every table that it speaks of, and its own tail against the newest head that this process has seen, which
nobody can take out of its memory. A head that was kept elsewhere is the better witness: `certwright ledger verify`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest
from ca.ledger.checkpoint import Head, open_head
from ca.ledger.reconcile import audit
from ca.ledger.verify import Report
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
    """The last audit: when it ended, what it read, how much was wrong. `first` is the earliest finding in the tree."""

    at: int
    entries: int
    certificates: int
    findings: int
    first: str | None


class LedgerAudits:
    """Audits that one process makes. One replica makes each, for all."""

    def __init__(self, lifecycle: Lifecycle, every: int, should_stop: Callable[[], bool]) -> None:
        self._lifecycle = lifecycle
        self._every = every
        self._should_stop = should_stop
        self._seen: Head | None = None
        self._has_begun = False

    def run_due(self) -> Report | None:
        """Audit if the last one is `every` seconds ago. None if it is not time, or another replica is at it.

        The first call notes the newest head and leaves the rest to the next one: a start waits for nobody.
        """
        if not self._has_begun:
            self._has_begun, self._seen = True, self._newest()
            return None
        if not self._is_due():
            return None
        with leased(self._lifecycle.store, DONE, LEASE) as held:
            return None if held is None or not self._is_due() else self._run()

    def _run(self) -> Report | None:
        ledger, store = self._lifecycle.installation.ledger, self._lifecycle.store
        ledger.sequence()
        newest = self._newest()
        try:
            report = audit(store, ledger.verifier, kept=self._seen, progress=self._go_on)
        except _Stopped:
            return None
        store.write(lambda tx: _say(tx, report))
        if report.is_sound:  # what is unsound is so against the head from before, until it is mended
            self._seen = newest
        return report

    def _go_on(self, _done: int, _of: int) -> None:
        if self._should_stop():
            raise _Stopped

    def _is_due(self) -> bool:
        last = newest(self._lifecycle.store)
        if last is None:
            return True
        every = min(self._every, AGAIN) if last.findings else self._every
        return not 0 <= clock.timestamp() - last.at < every  # a clock that was set back keeps nobody waiting

    def _newest(self) -> Head | None:
        ledger = self._lifecycle.installation.ledger
        head = ledger.head()
        with suppress(BadRequest):  # one that nobody has signed is a finding, and no head to keep
            return None if head is None else open_head(head.checkpoint, ledger.verifier)
        return None


class _Stopped(Exception):
    """The process ends: the next one begins anew."""


def newest(store: Store) -> Audited | None:
    """What the last audit came to; None before the first."""
    with store.read() as connection:
        row = connection.execute(select(Snapshot).where(col(Snapshot.name) == DONE)).first()
    return None if row is None else Audited(row.at, **json.loads(row.body))


def _say(tx: Transaction, report: Report) -> None:
    first = None if report.first is None else report.first.message
    counts = {"entries": report.entries, "certificates": report.certificates, "findings": len(report.findings)}
    row = {"name": DONE, "at": clock.timestamp(), "body": json.dumps({**counts, "first": first})}
    tx.execute(insert(Snapshot).values(**row).on_conflict_do_update(index_elements=["name"], set_=row))
    if first is None:
        alarms.clear_alarm(tx, ALARM, ABOUT)
        return
    message = f"the store does not say what the ledger says: {first}; {len(report.findings)} findings in all"
    hint = "certwright ledger verify names them all; keep the database as it is, and a backup from before"
    alarms.raise_alarm(tx, Trouble(ALARM, ABOUT, "critical", message, hint))
