"""Every day the store is held against its ledger: what was changed behind its back is an alarm until it is mended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlmodel import col

from ca import clock, revocation
from ca.ledger.witness import Witness
from ca.models import Certificate, LedgerEntry, LedgerHead, Revocation
from ca.store import Store
from ca.store.lease import leased
from ca.x509.revocation_list import RevocationReason
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Snapshot
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


NOWHERE = Path("/nowhere/ledger-head")
"""A state directory that keeps nothing."""


def begun(life: Lifecycle, should_stop: Callable[[], bool] = lambda: False, file: Path = NOWHERE) -> LedgerAudits:
    """Those of a process that has started."""
    witness = Witness(life.store, life.installation.ledger, file)
    made = LedgerAudits(life, DAY, should_stop, witness)
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


def cut(life: Lifecycle, size: int, *serials: str) -> list[Any]:
    """Take entries away from there on, with their heads and what they spoke of; returns the entries."""
    with outside(life.store) as connection:
        gone = connection.execute(select(LedgerEntry).where(col(LedgerEntry.position) >= size)).mappings().all()
        connection.execute(delete(Certificate).where(col(Certificate.serial).in_(serials)))
        connection.execute(delete(LedgerEntry).where(col(LedgerEntry.position) >= size))
        connection.execute(delete(LedgerHead).where(col(LedgerHead.size) > size))
    return list(gone)


def grown(life: Lifecycle) -> tuple[int, str]:
    """How large the ledger was, and the serial number of what was issued since."""
    head = life.installation.ledger.head()
    assert head is not None
    serial = rig.issue(life.installation).serial
    life.installation.ledger.sequence()
    return head.size, serial


def test_a_tail_that_was_cut_is_found_by_who_has_seen_it(life: Lifecycle) -> None:
    """With all that it spoke of: nothing in the database tells of it any more. Others go by what that one has said."""
    size, serial = grown(life)
    one = begun(life)
    cut(life, size, serial)
    report = one.run_due()
    assert report is not None
    assert not report.is_sound
    last = audits.newest(life.store)
    assert last is not None
    assert last.against is not None
    with later(1.1):
        again = one.run_due()
        assert again is not None
        assert not again.is_sound, "what it has seen it goes on knowing"
    with later(2.2):
        found = begun(life).run_due()  # who has started since has seen nothing of it
        assert found is not None
        assert not found.is_sound
        assert alarms(life)


def test_a_tail_that_was_cut_while_nothing_ran_is_found_by_the_next_start(life: Lifecycle, tmp_path: Path) -> None:
    """What the process had seen lies beside the keys, and not in the database."""
    size, serial = grown(life)
    begun(life, file=tmp_path / "ledger-head")
    cut(life, size, serial)
    report = begun(life, file=tmp_path / "ledger-head").run_due()
    assert report is not None
    assert report.first is not None
    assert report.first.kind == "lost"


def test_a_cut_is_not_found_a_day_later(life: Lifecycle) -> None:
    """Whether the newest head continues the last one is looked at every few minutes, however long ago the audit was."""
    one = begun(life)
    assert one.run_due() is not None
    size, serial = grown(life)
    with later(0.1):
        assert one.run_due() is None
    cut(life, size, serial)
    with later(0.2):
        report = one.run_due()
    assert report is not None
    assert not report.is_sound
    with later(0.4):
        assert one.run_due() is None, "the whole store is not read every few minutes"


def test_another_ledger_of_the_same_length_is_found(life: Lifecycle) -> None:
    """Rewritten from some entry on and signed by our own process, which knew no better."""
    size, serial = grown(life)
    one = begun(life)
    cut(life, size, serial)
    for _ in range(3):
        rig.issue(life.installation)
    life.installation.ledger.sequence()
    report = one.run_due()
    assert report is not None
    assert report.first is not None
    assert report.first.kind == "changed"


def test_what_was_cut_and_is_back_is_no_alarm(life: Lifecycle) -> None:
    """A standby that was behind has caught up: the ledger continues what was seen."""
    size, _ = grown(life)
    one, heads = begun(life), rows(life.store, LedgerHead)
    gone = cut(life, size)
    assert one.run_due() is not None
    assert alarms(life)
    back = [{name: value for name, value in row.items() if name != "id"} for row in gone]  # the alarm has one of them
    with outside(life.store) as connection:
        connection.execute(LedgerEntry.__table__.insert(), back)  # type: ignore[attr-defined]
        connection.execute(LedgerHead.__table__.insert(), dict(heads[-1]._mapping))  # type: ignore[attr-defined]
    with later(1.1):
        report = one.run_due()
        assert report is not None
        assert report.is_sound
        assert alarms(life) == []
        last = audits.newest(life.store)
        assert last is not None
        assert last.against is None


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"entries": 1, "certificates": 1, "findings": "none", "first": null}']
)
def test_what_somebody_else_wrote_is_no_audit(life: Lifecycle, body: str) -> None:
    """It is made again, and nothing that asks for the last one ends in an error."""
    one = begun(life)
    assert one.run_due() is not None
    with outside(life.store) as connection:
        connection.execute(update(Snapshot).where(col(Snapshot.name) == DONE).values(body=body))
    assert audits.newest(life.store) is None
    assert one.run_due() is not None
    assert audits.newest(life.store) is not None


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
