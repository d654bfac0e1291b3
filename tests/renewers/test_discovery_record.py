"""What was seen where is written down as it is: now, since when, and what became another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel, col

from ca import clock
from ca.models import LedgerEntry
from ca.store import Store
from renewers.discovery import record, trouble
from renewers.models import Alarm, Endpoint, Sighting, Tracked, Work
from renewers.timing.lead_time import DAY, HOUR
from tests.renewers import tracking
from tests.renewers.tracking import START, add_lineage, add_tracked, change, events_of, find

PLACE = "tls:api.example:443"


@pytest.fixture(autouse=True)
def _held() -> Iterator[None]:
    """Time stands at a moment of which rows are made."""
    with clock.pinned(clock.from_timestamp(START + HOUR)):
        yield


def later(seconds: int) -> Any:
    return clock.pinned(clock.now() + timedelta(seconds=seconds))


def saw(store: Store, tracked_id: int, place: str = PLACE, *findings: str) -> int:
    return store.write(lambda tx: record.saw(tx, place, tracked_id, found_by="test", findings=findings))


def missed(store: Store, place: str = PLACE, failures: int = 1) -> int | None:
    def unit(tx: Any) -> int | None:
        endpoint_id = record.missed(tx, place, "timed\nout \x1b[2J")
        if endpoint_id is not None:
            trouble.weigh_missed(tx, endpoint_id, failures)
        return endpoint_id

    return store.write(unit)


def rows(store: Store, model: type[SQLModel]) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(model)).all())


def endpoint(store: Store, place: str = PLACE) -> Any:
    with store.read() as connection:
        return connection.execute(select(Endpoint).where(col(Endpoint.place) == record.stored(place))).one()


def ledger(store: Store) -> list[str]:
    with store.read() as connection:
        return [json.loads(body)["action"] for body in connection.execute(select(col(LedgerEntry.body))).scalars()]


def alarms(store: Store) -> list[str]:
    return [row.kind for row in rows(store, Alarm)]


def test_a_first_sighting_makes_an_endpoint_and_plans_a_look(any_store: Store) -> None:
    """With its findings, its lineage and its history; the watch is told."""
    lineage = add_lineage(any_store, "manual")
    seen = add_tracked(any_store, lineage_id=lineage, next_look=None)
    endpoint_id = saw(any_store, seen, PLACE, "self-signed", "expired")
    now, row = clock.timestamp(), endpoint(any_store)
    assert (row.id, row.tracked_id, row.lineage_id) == (endpoint_id, seen, lineage)
    assert (row.findings, row.found_by, row.last_seen) == ('["expired", "self-signed"]', "test", now)
    (work,) = rows(any_store, Work)
    assert (work.kind, work.subject) == ("look", str(endpoint_id))
    assert now < work.due_at <= now + 7 * HOUR
    assert find(any_store, seen).next_look == now
    assert [(s.first_seen, s.last_seen) for s in rows(any_store, Sighting)] == [(now, now)]


def test_the_same_again_keeps_the_history_and_says_nothing(any_store: Store) -> None:
    """First seen stays, last seen moves; nobody wants to hear of it."""
    seen, start = add_tracked(any_store), clock.timestamp()
    saw(any_store, seen)
    change(any_store, Tracked, seen, next_look=None)
    with later(HOUR):
        saw(any_store, seen)
    assert [(s.first_seen, s.last_seen) for s in rows(any_store, Sighting)] == [(start, start + HOUR)]
    assert find(any_store, seen).next_look is None
    assert events_of(any_store) == []
    with later(3 * DAY):
        saw(any_store, seen)
        assert find(any_store, seen).next_look == clock.timestamp()


def test_a_successor_is_expected(any_store: Store) -> None:
    """It takes the place of the one before, since that is seen nowhere else."""
    lineage = add_lineage(any_store, "manual")
    before = add_tracked(any_store, lineage_id=lineage)
    after = add_tracked(any_store, lineage_id=lineage, start=START + 10)
    saw(any_store, before)
    saw(any_store, after)
    assert events_of(any_store) == [("endpoint-changed", PLACE, "info")]
    assert find(any_store, before).replaced_by == after
    assert endpoint(any_store).tracked_id == after
    assert len(rows(any_store, Sighting)) == 2


def test_a_stranger_in_its_place_is_said(any_store: Store) -> None:
    """As a warning, and in the ledger; to go back to an earlier one is as strange."""
    lineage = add_lineage(any_store, "manual")
    before = add_tracked(any_store, lineage_id=lineage)
    after = add_tracked(any_store, lineage_id=lineage, start=START + 10)
    saw(any_store, after)
    saw(any_store, before)
    saw(any_store, add_tracked(any_store, lineage_id=add_lineage(any_store, "manual")))
    assert events_of(any_store) == [("endpoint-changed-unexpectedly", PLACE, "warning")] * 2
    assert ledger(any_store).count("endpoint-changed-unexpectedly") == 2


def test_one_key_on_two_hosts_is_found(any_store: Store) -> None:
    """On two ports of one host it is not, nor in a file."""
    key = b"k" * 32
    one, two = add_tracked(any_store, spki_sha256=key), add_tracked(any_store, spki_sha256=key)
    other = add_tracked(any_store, spki_sha256=b"o" * 32)
    saw(any_store, one)
    saw(any_store, two, "smtp:api.example:25#mail.example")
    saw(any_store, one, "file:/etc/api.pem")
    saw(any_store, other, "tls:other.example:443")
    assert {row.findings for row in rows(any_store, Endpoint)} == {"[]"}
    saw(any_store, two, "tls:[2001:db8::1]:443")
    assert endpoint(any_store, "tls:[2001:db8::1]:443").findings == '["shared-key"]'
    saw(any_store, one)
    assert endpoint(any_store).findings == '["shared-key"]'


def test_served_is_held_against_issued(any_store: Store) -> None:
    """For an hour the new one may be on its way; then it is an alarm, until it is served."""
    lineage = add_lineage(any_store, "renewed")
    old = add_tracked(any_store, lineage_id=lineage, recorded_at=START)
    saw(any_store, old)
    new = add_tracked(any_store, lineage_id=lineage, start=START + 10, recorded_at=clock.timestamp())
    change(any_store, tracking.Lineage, lineage, current_id=new)
    saw(any_store, old)
    assert (endpoint(any_store).findings, alarms(any_store)) == ('["not-the-issued"]', [])
    with later(HOUR + 1):
        saw(any_store, old)
        assert alarms(any_store) == ["endpoint-not-the-issued"]
        saw(any_store, new)
    assert (endpoint(any_store).findings, alarms(any_store)) == ("[]", [])


def test_a_place_that_we_renew_for_stays_ours(any_store: Store) -> None:
    """Whatever strangers put there: it is not what was issued for this place."""
    lineage = add_lineage(any_store, "renewed")
    ours = add_tracked(any_store, lineage_id=lineage)
    change(any_store, tracking.Lineage, lineage, current_id=ours)
    saw(any_store, ours)
    saw(any_store, add_tracked(any_store, lineage_id=add_lineage(any_store, "manual")))
    assert (endpoint(any_store).lineage_id, endpoint(any_store).findings) == (lineage, '["not-the-issued"]')
    with later(HOUR + 1):
        saw(any_store, endpoint(any_store).tracked_id)
    assert alarms(any_store) == ["endpoint-not-the-issued"]


def test_many_holders_of_one_name_are_no_alarm(any_store: Store) -> None:
    """Each has a certificate of its own, and only one of them is the newest."""
    lineage = add_lineage(any_store, "holder")
    old, new = add_tracked(any_store, lineage_id=lineage), add_tracked(any_store, lineage_id=lineage)
    change(any_store, Tracked, old, replaced_by=new)
    saw(any_store, old)
    with later(DAY):
        saw(any_store, old)
    assert (endpoint(any_store).findings, alarms(any_store)) == ('["not-the-issued"]', [])


def test_who_does_not_answer_is_an_alarm_after_a_while(any_store: Store) -> None:
    """Three failures within the hour are none, two in two hours are none; an answer ends it."""
    seen, start = add_tracked(any_store), clock.timestamp()
    saw(any_store, seen)
    missed(any_store)
    with later(1800):
        missed(any_store, failures=9)
    with later(2 * HOUR):
        missed(any_store, failures=2)
        assert alarms(any_store) == []
        missed(any_store, failures=3)
        assert alarms(any_store) == ["endpoint-unreachable"]
        row = endpoint(any_store)
        assert (row.failing_since, row.last_seen, row.last_asked) == (start, start, start + 2 * HOUR)
        assert row.last_error == "timed out [2J"
        saw(any_store, seen)
    assert (alarms(any_store), endpoint(any_store).failing_since, endpoint(any_store).last_error) == ([], None, None)


def test_what_was_never_seen_is_not_missed(any_store: Store) -> None:
    """A closed port is no endpoint."""
    assert missed(any_store) is None
    assert rows(any_store, Endpoint) == []


def test_a_path_without_end_is_kept_by_its_hash(any_store: Store) -> None:
    """An index takes no row of four thousand bytes; two such paths stay two."""
    seen = add_tracked(any_store)
    places = ["file:/" + "a" * 4000 + end for end in ("x", "y")]
    assert len({saw(any_store, seen, place) for place in [*places, *places]}) == 2
    assert max(len(row.place) for row in rows(any_store, Endpoint)) == record.LONGEST_PLACE
    assert rows(any_store, Work) == []


def test_what_nobody_has_judged_is_looked_at_soon(any_store: Store) -> None:
    """Whoever only wanted to see one certificate leaves the judging to a look."""
    seen = add_tracked(any_store)
    endpoint_id = saw(any_store, seen)
    any_store.write(lambda tx: record.saw(tx, PLACE, seen, found_by="delivery"))
    (work,) = rows(any_store, Work)
    assert (work.subject, work.due_at) == (str(endpoint_id), clock.timestamp() + record.SOON)
