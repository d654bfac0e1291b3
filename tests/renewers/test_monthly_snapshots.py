"""A month's figures are kept once and never change: under races, after downtime, whatever happens later."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, Conflict, Forbidden, NotFound
from ca.models import LedgerEntry
from ca.store import Store, lease
from ca.store.lease import leased
from renewers.models import Snapshot
from renewers.reports.monthly import figures, snapshots
from renewers.reports.monthly.months import Month
from tests import rig
from tests.renewers.monthly import AFTER, BEFORE, MONTH, add_certificate, add_world, make_lifecycle


def begun(store: Store) -> Any:
    """An installation that began in the month."""
    with clock.pinned(BEFORE):
        return make_lifecycle(store)


def bodies(store: Store) -> dict[str, str]:
    """What is kept, by name."""
    with store.read() as connection:
        return {row.name: row.body for row in connection.execute(select(Snapshot))}


def made(store: Store) -> list[dict[str, Any]]:
    """What the ledger says of reports."""
    with store.read() as connection:
        entries = [json.loads(row) for row in connection.execute(select(col(LedgerEntry.body))).scalars()]
    return [entry for entry in entries if entry["action"].startswith("report")]


def at(month: Month, **more: int) -> Any:
    """A moment in the month after."""
    start = datetime.fromtimestamp(month.end, UTC)
    return clock.pinned(start.replace(**more))  # type: ignore[arg-type]


def test_a_month_is_kept_when_it_is_over_and_stays_as_it_was(any_store: Store) -> None:
    """Not before; and nothing that happens later changes it. The ledger has the hash of what was kept."""
    lifecycle = begun(any_store)
    add_world(any_store)
    with clock.pinned(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)):
        assert snapshots.take_due(lifecycle) == []
    with clock.pinned(AFTER):
        assert snapshots.take_due(lifecycle) == [MONTH]
        first = snapshots.report(lifecycle, rig.AUDITOR, MONTH)
    add_certificate(any_store, "renewed")
    with at(MONTH, day=20):
        assert snapshots.take_due(lifecycle) == []
        assert snapshots.report(lifecycle, rig.AUDITOR) == first == snapshots.find(any_store, MONTH)
    [body] = bodies(any_store).values()
    [entry] = made(any_store)
    assert (entry["sha256"], entry["month"]) == (first.sha256, "2027-01")
    assert sha256(body.encode()).hexdigest() == first.sha256
    assert sha256(snapshots._written(first.figures).encode()).hexdigest() == first.sha256


def test_months_that_were_missed_are_caught_up(any_store: Store) -> None:
    """After downtime each gets its report: the last with what is, those before it without."""
    lifecycle = begun(any_store)
    with clock.pinned(datetime(2027, 4, 3, tzinfo=UTC)):
        assert snapshots.take_due(lifecycle) == [MONTH, Month(2027, 2), Month(2027, 3)]
        assert snapshots.take_due(lifecycle) == []
        known = {
            month: snapshots.report(lifecycle, rig.ADMIN, month).figures["moment"] for month in (MONTH, Month(2027, 3))
        }
    assert known[MONTH] is None
    assert known[Month(2027, 3)] is not None
    assert snapshots.months(any_store) == [Month(2027, 3), Month(2027, 2), MONTH]


def test_nothing_is_reported_of_before_the_beginning(any_store: Store) -> None:
    """An installation that began in January has no December."""
    lifecycle = begun(any_store)
    with clock.pinned(BEFORE):
        assert snapshots.take_due(lifecycle) == []
        with pytest.raises(NotFound, match="December 2026"):
            snapshots.report(lifecycle, rig.ADMIN)
    with clock.pinned(AFTER), pytest.raises(NotFound):
        snapshots.report(lifecycle, rig.ADMIN, Month(2026, 12))


def test_an_installation_without_anything_is_reported_on_by_nobody(any_store: Store) -> None:
    """There is nothing that began."""
    lifecycle = make_lifecycle(any_store, with_hierarchy=False)
    with clock.pinned(AFTER):
        assert snapshots.take_due(lifecycle) == []


def test_of_two_replicas_one_takes_it(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one gathers, the other does nothing; who asks meanwhile is told to wait; in the end there is one."""
    lifecycle = begun(any_store)
    gathering, go_on = threading.Event(), threading.Event()
    gather = figures.gather

    def slowly(*arguments: Any) -> Any:
        gathering.set()
        assert go_on.wait(60)
        return gather(*arguments)

    monkeypatch.setattr(figures, "gather", slowly)
    with clock.pinned(AFTER):
        other = threading.Thread(target=snapshots.take_due, args=(lifecycle,))
        other.start()
        assert gathering.wait(60)
        assert snapshots.take_due(lifecycle) == []
        with pytest.raises(Conflict) as waiting:
            snapshots.report(lifecycle, rig.ADMIN, MONTH)
        assert waiting.value.code == "report-in-the-making"
        go_on.set()
        other.join(60)
        assert snapshots.take_due(lifecycle) == []
    assert len(made(any_store)) == len(bodies(any_store)) == 1


def test_who_is_too_late_changes_nothing(any_store: Store) -> None:
    """A process whose lease ended while it gathered finds the month kept, and leaves it."""
    lifecycle = begun(any_store)
    with clock.pinned(AFTER):
        snapshots._keep(lifecycle, MONTH)
        first = bodies(any_store)
        add_certificate(any_store, "renewed")
        snapshots._keep(lifecycle, MONTH)
    assert bodies(any_store) == first
    assert len(made(any_store)) == 1


def test_a_process_that_dies_while_it_gathers_is_followed(any_store: Store) -> None:
    """Nothing is half kept, and the next one takes it when the lease has ended."""
    lifecycle = begun(any_store)
    with clock.pinned(AFTER):
        assert lease.take(any_store, "monthly-report", snapshots.LEASE) is not None
        assert snapshots.take_due(lifecycle) == []
    with clock.pinned(datetime.fromtimestamp(AFTER.timestamp() + snapshots.LEASE + 1, UTC)):
        assert snapshots.take_due(lifecycle) == [MONTH]


def test_the_month_that_is_not_over_is_not_kept(any_store: Store) -> None:
    """Its figures are given out for a quarter of an hour, then gathered anew; the months that are kept are others."""
    lifecycle = begun(any_store)
    with clock.pinned(datetime(2027, 1, 20, tzinfo=UTC)):
        first = snapshots.report(lifecycle, rig.ADMIN, MONTH)
        assert first.figures["is_over"] is False
        add_certificate(any_store, "renewed")
        assert snapshots.report(lifecycle, rig.ADMIN, MONTH) == first
        with leased(any_store, "monthly-report", 60):
            assert snapshots.report(lifecycle, rig.ADMIN, MONTH) == first
    with clock.pinned(datetime(2027, 1, 20, 0, 16, tzinfo=UTC)):
        assert snapshots.report(lifecycle, rig.ADMIN, MONTH).figures["moment"]["tracked"] == 1
    assert snapshots.months(any_store) == []
    assert made(any_store) == []


def test_a_month_that_has_not_begun_is_refused(any_store: Store) -> None:
    """Nobody signs for what is to come; and who may not read the inventory gets no report of it."""
    lifecycle = begun(any_store)
    with clock.pinned(AFTER):
        with pytest.raises(BadRequest):
            snapshots.report(lifecycle, rig.ADMIN, Month(2027, 3))
        for caller in (rig.REQUESTER, rig.CONSUMER):
            with pytest.raises(Forbidden):
                snapshots.report(lifecycle, caller, MONTH)


def test_reports_are_kept_for_seven_years(any_store: Store) -> None:
    """Then they are forgotten, and the ledger says so."""
    lifecycle = begun(any_store)
    with clock.pinned(AFTER):
        snapshots.take_due(lifecycle)
    with clock.pinned(datetime(2034, 1, 5, tzinfo=UTC)):
        assert snapshots.prune(lifecycle) == 0
    with clock.pinned(datetime(2034, 2, 5, tzinfo=UTC)):
        assert (snapshots.prune(lifecycle), snapshots.prune(lifecycle)) == (1, 0)
    assert snapshots.months(any_store) == []
    assert made(any_store)[-1]["action"] == "reports-pruned"
