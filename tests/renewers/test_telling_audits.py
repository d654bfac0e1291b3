"""Every day the store is held against its ledger: what was changed behind its back is an alarm until it is mended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlmodel import col

from ca import clock, revocation
from ca.models import Certificate, LedgerEntry, LedgerHead, Revocation
from ca.store import Store
from ca.store.lease import leased
from ca.x509.revocation_list import RevocationReason
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm
from renewers.telling import audits
from renewers.telling.audits import DONE, LedgerAudits
from tests import rig
from tests.ca.world import outside, rows
from tests.renewers import foreign

DAY = 86400


@pytest.fixture
def life(any_store: Store) -> Lifecycle:
    """An installation in which something was issued and revoked."""
    made = foreign.lifecycle(rig.make_installation(any_store))
    serials = [rig.issue(made.installation).serial for _ in range(3)]
    revocation.revoke(made.installation, rig.OPERATOR, serials[0], RevocationReason.SUPERSEDED)
    made.installation.ledger.sequence()
    return made


def begun(life: Lifecycle, should_stop: Callable[[], bool] = lambda: False) -> LedgerAudits:
    """Those of a process that has started."""
    made = LedgerAudits(life, DAY, should_stop)
    assert made.run_due() is None, "a start waits for nobody"
    return made


def alarms(life: Lifecycle) -> list[Any]:
    """What is said of the ledger."""
    return rows(life.store, Alarm, kind="ledger-unsound")


def later(hours: float) -> Any:
    """So much later."""
    return clock.pinned(clock.now() + timedelta(hours=hours))


def test_it_is_done_once_a_day(life: Lifecycle) -> None:
    """Whatever the process; a sound store is no alarm."""
    assert audits.newest(life.store) is None
    one, other = begun(life), begun(life)
    report = one.run_due()
    assert report is not None
    assert report.is_sound
    assert report.certificates == 4
    assert (one.run_due(), other.run_due()) == (None, None)
    last = audits.newest(life.store)
    assert last is not None
    assert (last.findings, last.first, last.entries) == (0, None, report.entries)
    with later(23):
        assert (one.run_due(), other.run_due()) == (None, None)
    with later(25):
        assert other.run_due() is not None
        assert one.run_due() is None
    assert alarms(life) == []


def test_a_revocation_that_was_taken_away_is_an_alarm_until_it_is_back(life: Lifecycle) -> None:
    """It is looked at again within the hour."""
    one = begun(life)
    with outside(life.store) as connection:
        (row,) = connection.execute(select(Revocation)).mappings().all()
        connection.execute(delete(Revocation))
    report = one.run_due()
    assert report is not None
    assert not report.is_sound
    (alarm,) = alarms(life)
    assert alarm.severity == "critical"
    assert row["serial"] in alarm.message
    assert "certwright ledger verify" in alarm.hint
    with later(0.5):
        assert one.run_due() is None
    with outside(life.store) as connection:
        connection.execute(Revocation.__table__.insert(), dict(row))  # type: ignore[attr-defined]
    with later(1.1):
        assert one.run_due() is not None
        assert alarms(life) == []
        last = audits.newest(life.store)
        assert last is not None
        assert last.findings == 0


def test_a_certificate_that_is_another_one_is_found(life: Lifecycle) -> None:
    """Its bytes, whoever changed them."""
    one = begun(life)
    with outside(life.store) as connection:
        connection.execute(update(Certificate).values(signature=b"another one"))
    report = one.run_due()
    assert report is not None
    assert report.first is not None
    assert "is not the one that was issued" in report.first.message
    assert alarms(life)[0].message.endswith(f"{len(report.findings)} findings in all")


def test_a_tail_that_was_cut_is_found_by_who_has_seen_it(life: Lifecycle) -> None:
    """With all that it spoke of: nothing in the database tells of it any more, but a process that runs does."""
    end = life.installation.ledger.head()
    assert end is not None
    serial = rig.issue(life.installation).serial
    life.installation.ledger.sequence()
    one = begun(life)
    with outside(life.store) as connection:
        connection.execute(delete(Certificate).where(col(Certificate.serial) == serial))
        connection.execute(delete(LedgerEntry).where(col(LedgerEntry.position) >= end.size))
        connection.execute(delete(LedgerHead).where(col(LedgerHead.size) > end.size))
    report = one.run_due()
    assert report is not None
    assert not report.is_sound
    with later(1.1):
        again = one.run_due()
        assert again is not None
        assert not again.is_sound, "what it has seen it goes on knowing"
    stranger = LedgerAudits(life, 1, lambda: False)  # who has started since knows of nothing
    assert stranger.run_due() is None
    with later(1.2):
        found = stranger.run_due()
        assert found is not None
        assert found.is_sound


def test_what_an_audit_has_seen_is_kept_for_the_next(life: Lifecycle) -> None:
    """Also what came after the start, and what had no place when the audit began."""
    one, end = begun(life), life.installation.ledger.head()
    assert end is not None
    serial = rig.issue(life.installation).serial
    assert one.run_due() is not None
    with outside(life.store) as connection:
        connection.execute(delete(Certificate).where(col(Certificate.serial) == serial))
        connection.execute(delete(LedgerEntry).where(col(LedgerEntry.position) >= end.size))
        connection.execute(delete(LedgerHead).where(col(LedgerHead.size) > end.size))
    with later(25):
        report = one.run_due()
    assert report is not None
    assert not report.is_sound


def test_who_was_second_at_the_lease_looks_again(life: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another replica has just finished it."""
    one, other = begun(life), begun(life)

    def late(store: Store, name: str, seconds: int) -> Any:
        monkeypatch.setattr(audits, "leased", leased)
        assert other.run_due() is not None
        return leased(store, name, seconds)

    monkeypatch.setattr(audits, "leased", late)
    assert one.run_due() is None


def test_one_replica_is_at_it(life: Lifecycle) -> None:
    """The others let it."""
    one = begun(life)
    with leased(life.store, DONE, 60) as held:
        assert held is not None
        assert one.run_due() is None
    assert one.run_due() is not None


def test_who_has_to_end_does_not_wait_for_it(life: Lifecycle) -> None:
    """It is begun anew by the next process."""
    one = begun(life, lambda: True)
    assert one.run_due() is None
    assert audits.newest(life.store) is None
    assert begun(life).run_due() is not None
