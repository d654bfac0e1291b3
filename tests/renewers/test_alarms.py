"""Alarms and events: said once, again when worse, again when over, with their age; all of it or nothing."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlmodel import col

from ca import clock
from ca.ledger.log import encode
from ca.models import LedgerEntry
from ca.store import Store, Transaction, open_store
from renewers.models import Alarm, Event
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble
from renewers.telling.events import SEVERITIES
from tests.conftest import fresh_database

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
START = int(NOON.timestamp())
TROUBLE = Trouble("renewal-failing", "api.example", "warning", "it cannot be renewed", "mend it", owner_id=3)
WORSE = replace(TROUBLE, severity="critical")
KEY = (TROUBLE.kind, TROUBLE.subject)


def raised(store: Store, trouble: Trouble = TROUBLE, **changes: Any) -> bool:
    """Raise it."""
    return store.write(lambda tx: alarms.raise_alarm(tx, replace(trouble, **changes)))


def cleared(store: Store, trouble: Trouble = TROUBLE) -> bool:
    """Clear it."""
    return store.write(lambda tx: alarms.clear_alarm(tx, trouble.kind, trouble.subject))


def said(store: Store) -> list[dict[str, Any]]:
    """Every event, with what is in its body."""
    with store.read() as connection:
        found = connection.execute(select(Event).order_by(col(Event.id))).all()
    return [{**json.loads(row.body), "kind": row.kind, "severity": row.severity, "at": row.at} for row in found]


def ledger(store: Store) -> list[dict[str, Any]]:
    """What the ledger says of alarms."""
    with store.read() as connection:
        bodies = connection.execute(select(col(LedgerEntry.body)).order_by(col(LedgerEntry.id))).scalars()
        return [json.loads(body) for body in bodies]


def standing(store: Store) -> list[Alarm]:
    """What is wrong now."""
    return alarms.page(store)[0]


def test_it_is_said_once(any_store: Store) -> None:
    """However often the cause is found: one row, one event, one ledger entry, the first time."""
    with clock.pinned(NOON):
        assert raised(any_store)
    for hour in range(1, 5):
        with clock.pinned(NOON + timedelta(hours=hour)):
            assert not raised(any_store)
    [event] = said(any_store)
    assert (event["kind"], event["severity"], event["at"]) == ("alarm-raised", "warning", START)
    assert (event["alarm"], event["since"], event["age"]) == ("renewal-failing", START, 0)
    assert (event["message"], event["hint"], event["owner"]) == ("it cannot be renewed", "mend it", 3)
    [entry] = ledger(any_store)
    assert (entry["action"], entry["subject"], entry["alarm"]) == ("alarm-raised", "api.example", "renewal-failing")


def test_it_is_said_again_when_it_is_worse(any_store: Store) -> None:
    """With its age; milder than before it is not said, and stays what it was."""
    steps = [("warning", True), ("error", True), ("warning", False), ("error", False), ("critical", True)]
    for hour, (severity, is_said) in enumerate(steps):
        with clock.pinned(NOON + timedelta(hours=hour)):
            assert raised(any_store, severity=severity) is is_said
    found = [(event["severity"], event["age"], event["since"]) for event in said(any_store)]
    assert found == [("warning", 0, START), ("error", 3600, START), ("critical", 4 * 3600, START)]
    assert [row.severity for row in standing(any_store)] == ["critical"]
    assert [entry["severity"] for entry in ledger(any_store)] == ["warning", "error", "critical"]


def test_it_is_said_when_it_is_over(any_store: Store) -> None:
    """Once, with how long it lasted, to whom it was said; and what comes back later begins anew."""
    assert not cleared(any_store)
    with clock.pinned(NOON):
        raised(any_store)
    with clock.pinned(NOON + timedelta(hours=5)):
        assert cleared(any_store)
        assert not cleared(any_store)
        assert standing(any_store) == []
        raised(any_store)
    first, over, again = said(any_store)
    assert (over["kind"], over["severity"], over["age"], over["since"]) == ("alarm-cleared", "info", 5 * 3600, START)
    assert (over["message"], over["owner"]) == ("over: it cannot be renewed", 3)
    assert (first["since"], again["since"]) == (START, START + 5 * 3600)
    assert [entry["action"] for entry in ledger(any_store)] == ["alarm-raised", "alarm-cleared", "alarm-raised"]


def test_it_may_have_begun_before(any_store: Store) -> None:
    """Whoever knows since when says so; what began in the future begins now."""
    with clock.pinned(NOON):
        raised(any_store, since=START - 777)
        raised(any_store, subject="b", since=START + 777)
    assert [(event["since"], event["age"]) for event in said(any_store)] == [(START - 777, 777), (START, 0)]


def test_new_words_are_shown_and_not_said(any_store: Store) -> None:
    """The row has the newest reason, hint and owner; nobody hears of the same alarm twice for that."""
    raised(any_store)
    assert not raised(any_store, message="another reason", hint="another hint", owner_id=None)
    [row] = standing(any_store)
    assert (row.message, row.hint, row.owner_id, row.severity) == ("another reason", "another hint", None, "warning")
    assert len(said(any_store)) == len(ledger(any_store)) == 1


def test_alarms_of_one_subject_are_apart(any_store: Store) -> None:
    """Kind and subject together name one."""
    raised(any_store)
    raised(any_store, kind="certificate-expiring")
    raised(any_store, subject="b")
    assert cleared(any_store)
    assert {(row.kind, row.subject) for row in standing(any_store)} == {
        ("certificate-expiring", "api.example"),
        ("renewal-failing", "b"),
    }
    assert alarms.counts(any_store) == {("certificate-expiring", "warning"): 1, ("renewal-failing", "warning"): 1}


def test_alarms_come_in_pages(any_store: Store) -> None:
    """Whole, without repeats."""
    for number in range(7):
        raised(any_store, subject=f"{number}")
    found, cursor = [], None
    while True:
        some, cursor = alarms.page(any_store, cursor=cursor, limit=3)
        found += [row.subject for row in some]
        if cursor is None:
            break
    assert found == [f"{number}" for number in range(7)]


@pytest.mark.parametrize(
    "change", [lambda tx: alarms.raise_alarm(tx, TROUBLE), lambda tx: alarms.clear_alarm(tx, *KEY)]
)
@pytest.mark.parametrize("is_raised", [False, True])
def test_all_of_it_or_nothing(any_store: Store, change: Any, is_raised: bool) -> None:
    """Row, event and ledger entry belong to the transaction of whoever found out: without it there is none."""
    if is_raised:
        raised(any_store)
    before = standing(any_store), said(any_store), ledger(any_store)

    def unit(tx: Transaction) -> None:
        change(tx)
        tx.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        any_store.write(unit)
    assert (standing(any_store), said(any_store), ledger(any_store)) == before


def test_two_replicas_say_it_once(postgresql: str) -> None:
    """Eight threads on two stores raise the same at the same moment, and clear it: one event each time, no error."""
    url = fresh_database(postgresql)
    stores = [open_store(url), open_store(url)]
    try:
        for turn in range(20):
            assert sorted(_race(stores, raised)) == [False] * 7 + [True], turn
            assert sorted(_race(stores, cleared)) == [False] * 7 + [True], turn
        kinds = [event["kind"] for event in said(stores[0])]
        assert kinds == ["alarm-raised", "alarm-cleared"] * 20
    finally:
        for store in stores:
            store.close()


def _race(stores: list[Store], job: Any) -> list[bool]:
    start = threading.Barrier(8)

    def run(place: int) -> bool:
        start.wait()
        return bool(job(stores[place % 2]))

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(run, range(8)))


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    """One store for many examples, which empty it themselves."""
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"sqlite:///{Path(directory)}/certwright.db")
        yield store
        store.close()


STEP = st.tuples(st.sampled_from("ab"), st.sampled_from([*SEVERITIES, None]))


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(STEP, max_size=25))
def test_events_alternate(shared: Store, steps: list[tuple[str, str | None]]) -> None:
    """Whatever is raised and cleared in whatever order: each alarm is raised, only grows worse, and is cleared once."""
    shared.write(lambda tx: [tx.execute(delete(table)) for table in (Alarm, Event, LedgerEntry)])
    expected: list[tuple[str, str, str]] = []
    now: dict[str, str] = {}
    for minute, (subject, severity) in enumerate(steps):
        with clock.pinned(NOON + timedelta(minutes=minute)):
            if severity is None:
                assert cleared(shared, replace(TROUBLE, subject=subject)) is (subject in now)
                expected += [(subject, "alarm-cleared", "info")] if now.pop(subject, None) else []
            else:
                is_news = subject not in now or SEVERITIES.index(severity) > SEVERITIES.index(now[subject])
                assert raised(shared, subject=subject, severity=severity) is is_news
                if is_news:
                    expected.append((subject, "alarm-raised", severity))
                    now[subject] = severity
    with shared.read() as connection:
        rows = connection.execute(select(Event).order_by(col(Event.id))).all()
    assert [(row.subject, row.kind, row.severity) for row in rows] == expected
    assert [(entry["subject"], entry["action"]) for entry in ledger(shared)] == [row[:2] for row in expected]
    assert {row.subject: row.severity for row in standing(shared)} == now
    assert all(json.loads(row.body)["age"] == row.at - json.loads(row.body)["since"] >= 0 for row in rows)


HOSTILE = "a\x00b\x1b[31m\r\n\u202e\ud800" + "x" * 50_000


def test_strangers_words_do_no_harm(any_store: Store) -> None:
    """NULs, escapes, lone surrogates and megabytes neither break the database nor reach a reader."""
    assert raised(any_store, subject=HOSTILE, message=HOSTILE, hint=None)
    assert not raised(any_store, subject=HOSTILE, message=HOSTILE, hint=None)
    any_store.write(lambda tx: events.record(tx, "name-seen", HOSTILE, HOSTILE, names=[HOSTILE] * 9, ok="\ud800\x00"))
    any_store.write(lambda tx: events.record(tx, "name-seen", "b", "short", names=["\ud800\x00"]))
    assert cleared(any_store, replace(TROUBLE, subject=HOSTILE))
    with any_store.read() as connection:
        rows = connection.execute(select(Event).order_by(col(Event.id))).all()
    assert len(rows) == 4
    for row in rows:
        assert row.subject.isprintable()
        assert json.loads(row.body)["message"].isprintable()
        assert len(row.subject) <= 500
        assert len(row.body) <= events.LONGEST_BODY
    assert json.loads(rows[1].body)["is_truncated"]
    assert json.loads(rows[2].body)["names"] == ["\ud800\x00"]


def test_an_event_is_what_it_says(any_store: Store) -> None:
    """Kind, subject, severity, moment and details are there as they were given, and wait to be told."""
    with clock.pinned(NOON):
        any_store.write(lambda tx: events.record(tx, "certificate-renewed", "a", "renewed", serial="0a", left=7))
    with any_store.read() as connection:
        [row] = connection.execute(select(Event)).all()
    assert (row.kind, row.subject, row.severity, row.at) == ("certificate-renewed", "a", "info", START)
    assert row.is_pending
    assert json.loads(row.body) == {"message": "renewed", "serial": "0a", "left": 7}
    assert row.body == encode(json.loads(row.body)).decode()


def test_severities_have_an_order() -> None:
    """A word that nobody knows is taken for the worst: it may be told too much, never too little."""
    ranks = [events.rank(severity) for severity in (*SEVERITIES, "odd")]
    assert ranks == sorted(set(ranks))
