"""A letter that is looked at before it is sent: any owner's, any day's, without sending, writing or acting."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from ca import clock
from ca.errors import BadRequest, Forbidden, NotFound
from ca.store import Store
from renewers.lifecycle import Lifecycle
from renewers.models import Letter, Told, Work
from renewers.reports import preview
from tests import rig
from tests.renewers import reporting
from tests.renewers.reporting import DAY, HOUR, NOW, certificate


@pytest.fixture
def life(store: Store) -> Lifecycle:
    """The parts."""
    return reporting.lifecycle(store)


@pytest.fixture(autouse=True)
def _now() -> Any:
    with clock.pinned(clock.from_timestamp(NOW)):
        yield


def test_nothing_is_sent_and_nothing_written_down(store: Store, life: Lifecycle) -> None:
    """Looking changes no table, and can be done again with the same result."""
    reporting.team(store)

    def counts() -> list[int]:
        with store.read() as connection:
            tables = (Letter, Told, Work)
            return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]

    before = counts()
    one, two = (preview.preview(life, rig.AUDITOR, "payments-team") for _ in range(2))
    assert preview.text_of(one.message) == preview.text_of(two.message)
    assert counts() == before
    assert "this is a preview, and its links do not work" in " ".join(preview.text_of(one.message).split())


def test_a_day_to_come_is_as_if_nothing_were_done_until_then(store: Store, life: Lifecycle) -> None:
    """What is fine today is due, urgent and over on later days; a day alone is the hour of letters where they are."""
    of = reporting.owner(store, "future")
    certificate(store, of, "a.example", mode="manual", left=90 * DAY, lifetime=365 * DAY)
    subjects = []
    for days in (0, 40, 85, 95):
        day = f"{clock.from_timestamp(NOW + days * DAY):%Y-%m-%d}"
        found = preview.preview(life, rig.AUDITOR, "future", at=day)
        assert found.message["Date"].datetime.hour in (7, 8)
        subjects.append(found.subject)
    assert subjects[0] == "future certificates — in order"
    assert subjects[1].startswith("[1 soon] future")
    assert subjects[2].startswith("[1 act now] future")
    assert "a.example expired" in subjects[3]


def test_an_escalation_goes_to_who_comes_next(store: Store, life: Lifecycle) -> None:
    """The preview of one is addressed to the second step of the path."""
    of = reporting.owner(store, "esc")
    certificate(store, of, "a.example", mode="manual", left=HOUR, lifetime=365 * DAY)
    assert preview.preview(life, rig.AUDITOR, "esc", kind="escalation").message["To"] == "backup@example.org"


def test_who_may_not_read_the_inventory_may_not_look(store: Store, life: Lifecycle) -> None:
    """A letter says what the inventory says."""
    reporting.owner(store, "team")
    for caller in (rig.REQUESTER, rig.CONSUMER):
        with pytest.raises(Forbidden):
            preview.preview(life, caller, "team")


@pytest.mark.parametrize(
    "at", ["yesterday", "2027-13-01", "2027-02-30", "1066-10-14", "9999-12-31", "", "2027-01-01T99:00", -5]
)
def test_what_is_no_moment_is_refused(store: Store, life: Lifecycle, at: Any) -> None:
    """With a hint of what is one."""
    reporting.owner(store, "team")
    with pytest.raises(BadRequest):
        preview.preview(life, rig.AUDITOR, "team", at=at)


def test_unknown_owners_and_kinds_are_refused(store: Store, life: Lifecycle) -> None:
    """Each with what there is."""
    reporting.owner(store, "team")
    with pytest.raises(NotFound):
        preview.preview(life, rig.AUDITOR, "nobody")
    with pytest.raises(BadRequest, match="no such kind"):
        preview.preview(life, rig.AUDITOR, "team", kind="newsletter")


def test_moments_may_be_written_as_people_write_them(store: Store, life: Lifecycle) -> None:
    """With a zone, in UTC without one, or as seconds."""
    reporting.owner(store, "team")
    for at in ("2028-02-20T09:00:00Z", "2028-02-20T10:00:00+01:00", "2028-02-20 09:00", NOW + 25 * HOUR):
        assert preview.preview(life, rig.AUDITOR, "team", at=at).digest.at == NOW + 25 * HOUR
