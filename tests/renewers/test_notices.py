"""Notices: every event reaches whoever wants it, at least once, or is given up aloud; and nothing feeds itself."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlmodel import col

from ca import clock
from ca.errors import IssuerRefusal, NotDelivered
from ca.models import LedgerEntry
from ca.secret import Secret
from ca.store import Store, Transaction, open_store
from ca.store.commit import StaleChange
from renewers import work
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Event, Work
from renewers.notifiers import Notice
from renewers.notifiers.memory import MemoryNotifier
from renewers.notifiers.signature import verify
from renewers.notifiers.webhook import Webhook
from renewers.telling import alarms, events, notices
from renewers.telling.alarms import Trouble
from renewers.telling.notices import FAILING, GIVE_UP, NOTIFY, SAID_AFTER
from tests import rig
from tests.conftest import fresh_database
from tests.contracts.test_work import asked, plan_of
from tests.receiver import MISERIES, TAKE_AND_DROP, receiving
from tests.renewers.tracking import make_lifecycle

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
START = int(NOON.timestamp())
KEY = "whsec_" + b64encode(bytes(32)).decode()


@pytest.fixture
def world(any_store: Store) -> Lifecycle:
    """Three recipients: `all`, `bad` for errors, `renewals` for what is about renewals."""
    return with_notifiers(
        make_lifecycle(any_store),
        all=MemoryNotifier(),
        bad=MemoryNotifier(severity="error"),
        renewals=MemoryNotifier(kinds=["renewal-*", "certificate-renewed"]),
    )


@pytest.fixture
def pair(any_store: Store) -> Lifecycle:
    """Two recipients of everything, `hook` and `mail`."""
    return with_notifiers(make_lifecycle(any_store), hook=MemoryNotifier(), mail=MemoryNotifier())


def with_notifiers(lifecycle: Lifecycle, **notifiers: Any) -> Lifecycle:
    """The same with other recipients."""
    return replace(lifecycle, notifiers=notifiers)


def happen(lifecycle: Lifecycle, *kinds: str, **choices: Any) -> None:
    """Record an event of each kind."""
    for kind in kinds:
        lifecycle.store.write(lambda tx, kind=kind: events.record(tx, kind, "api", "a message", **choices))


def memory(lifecycle: Lifecycle, channel: str) -> MemoryNotifier:
    """A recipient."""
    found = lifecycle.notifiers[channel]
    assert isinstance(found, MemoryNotifier)
    return found


def heard(lifecycle: Lifecycle, channel: str) -> list[str]:
    """The kinds of what a recipient was told."""
    return [notice.kind for notice in memory(lifecycle, channel).told]


def round_(lifecycle: Lifecycle) -> int:
    """Once through what is pending and due, as the runner does; how many pieces were tried."""
    while notices.fan_out(lifecycle):
        continue
    tried = 0
    while claims := work.claim(lifecycle.store, (NOTIFY,), limit=50, lease=60):
        tried += len(claims)
        for claim in claims:
            try:
                notices.tell(lifecycle, claim)
            except Exception as error:
                lifecycle.store.write(lambda tx, claim=claim, error=error: notices.failed(lifecycle, tx, claim, error))
    return tried


def standing(lifecycle: Lifecycle) -> list[Alarm]:
    """What is wrong now."""
    return alarms.page(lifecycle.store)[0]


def owed(lifecycle: Lifecycle) -> list[Any]:
    """Work that is left."""
    with lifecycle.store.read() as connection:
        return list(connection.execute(select(Work).order_by(col(Work.subject))))


def pending(lifecycle: Lifecycle) -> int:
    """How many events nobody has looked at."""
    with lifecycle.store.read() as connection:
        return len(connection.execute(select(Event).where(col(Event.is_pending))).all())


def test_everyone_gets_what_they_want(world: Lifecycle) -> None:
    """By severity and kind, each once, with all that the event says."""
    with clock.pinned(NOON):
        happen(world, "certificate-renewed", serial="0a")
        happen(world, "renewal-failed", severity="error")
        happen(world, "endpoint-found", severity="warning")
        round_(world)
        assert round_(world) == 0
    assert sorted(heard(world, "all")) == ["certificate-renewed", "endpoint-found", "renewal-failed"]
    assert heard(world, "bad") == ["renewal-failed"]
    assert sorted(heard(world, "renewals")) == ["certificate-renewed", "renewal-failed"]
    [notice] = [one for one in memory(world, "all").told if one.kind == "certificate-renewed"]
    assert (notice.subject, notice.severity, notice.at) == ("api", "info", START)
    assert notice.body == {"message": "a message", "serial": "0a"}
    assert owed(world) == []
    assert pending(world) == 0


def test_fanning_out_in_pages(world: Lifecycle) -> None:
    """At most so many at once, the oldest first; who gets a full page asks again."""
    happen(world, *["certificate-renewed"] * 7)
    assert [notices.fan_out(world, limit=3) for _ in range(4)] == [3, 3, 1, 0]
    assert len(owed(world)) == 14
    assert {row.subject.partition("/")[0] for row in owed(world)} == {"all", "renewals"}


def test_nobody_to_tell(any_store: Store) -> None:
    """Without recipients events are kept for whoever looks, and nothing is owed."""
    lifecycle = make_lifecycle(any_store)
    happen(lifecycle, "certificate-renewed")
    assert notices.fan_out(lifecycle) == 1
    assert owed(lifecycle) == []
    assert pending(lifecycle) == 0


def test_two_replicas_fan_out_each_once(postgresql: str) -> None:
    """Four threads on two stores: every event is taken once, and is one piece of work a recipient."""
    url = fresh_database(postgresql)
    stores = [open_store(url), open_store(url)]
    try:
        worlds = [with_notifiers(make_lifecycle(stores[0]), a=MemoryNotifier(), b=MemoryNotifier())]
        worlds.append(replace(worlds[0], installation=replace(worlds[0].installation, store=stores[1])))
        for _ in range(10):
            stores[0].write(lambda tx: [events.record(tx, "name-seen", f"{n}", "seen") for n in range(50)] and None)

        def run(place: int) -> int:
            total = 0
            while taken := notices.fan_out(worlds[place % 2], limit=20):
                total += taken
            return total

        with ThreadPoolExecutor(4) as threads:
            counts = list(threads.map(run, range(4)))
        assert sum(counts) == 500
        assert len(owed(worlds[0])) == 1000
        assert pending(worlds[0]) == 0
    finally:
        for store in stores:
            store.close()


def test_one_that_fails_is_told_later(pair: Lifecycle) -> None:
    """On the ladder, at most about an hour apart; the others do not wait for it."""
    memory(pair, "hook").is_down = True
    now = NOON
    with clock.pinned(now):
        happen(pair, "renewal-failed")
        assert round_(pair) == 2
    assert heard(pair, "mail") == ["renewal-failed"]
    waits = []
    for _ in range(7):
        [row] = owed(pair)
        assert row.last_error == "it is down"
        waits.append(row.due_at - int(now.timestamp()))
        now = clock.from_timestamp(row.due_at)
        with clock.pinned(now - timedelta(seconds=1)):
            round_(pair)
            assert owed(pair) == [row]
        memory(pair, "hook").is_down = len(waits) < 7
        with clock.pinned(now):
            round_(pair)
    assert waits == [work.wait_after(f"hook/{1}", attempt, longest=3600) for attempt in range(1, 8)]
    assert max(waits) <= 3600 * 1.2
    assert min(waits[3:]) >= 3600 * 0.8
    assert heard(pair, "hook").count("renewal-failed") == 1
    assert heard(pair, "mail").count("renewal-failed") == 1


def fail_for(lifecycle: Lifecycle, seconds: int, *, start: datetime = NOON, step: int = 900) -> datetime:
    """Let so much time pass, with a round every quarter of an hour; the moment after."""
    for passed in range(0, seconds + 1, step):
        with clock.pinned(start + timedelta(seconds=passed)):
            round_(lifecycle)
    return start + timedelta(seconds=seconds)


def test_a_recipient_that_fails_is_said_once(pair: Lifecycle) -> None:
    """After a few failures, with since when, to the others; never to itself; and once more when it is over."""
    memory(pair, "hook").is_down = True
    with clock.pinned(NOON):
        happen(pair, "renewal-failed", "renewal-failed")
    now = fail_for(pair, 10 * 3600)
    [alarm] = standing(pair)
    assert (alarm.kind, alarm.subject, alarm.severity, alarm.since) == (FAILING, "hook", "warning", START)
    assert "it is down" in alarm.message
    assert heard(pair, "mail") == ["renewal-failed", "renewal-failed", "alarm-raised"]
    memory(pair, "hook").is_down = False
    fail_for(pair, 2 * 3600, start=now)
    assert standing(pair) == []
    assert heard(pair, "mail") == ["renewal-failed", "renewal-failed", "alarm-raised", "alarm-cleared"]
    over = memory(pair, "mail").told[-1]
    assert over.body["age"] >= 10 * 3600
    assert heard(pair, "hook") == ["renewal-failed"] * 2
    assert owed(pair) == []


def test_a_short_failure_is_not_said(pair: Lifecycle) -> None:
    """A restart of the receiver is nobody's concern."""
    memory(pair, "hook").is_down = True
    with clock.pinned(NOON):
        happen(pair, "renewal-failed")
        round_(pair)
    memory(pair, "hook").is_down = False
    fail_for(pair, 3600)
    assert heard(pair, "mail") == ["renewal-failed"]
    assert heard(pair, "hook") == ["renewal-failed"]
    assert SAID_AFTER > 1


def test_what_cannot_be_told_is_given_up_aloud(pair: Lifecycle) -> None:
    """After three days, and not before; with an alarm that is worse than before, and in the ledger."""
    memory(pair, "hook").is_down = True
    with clock.pinned(NOON):
        happen(pair, "renewal-failed")
    now = fail_for(pair, GIVE_UP - 3600, step=1800)
    assert [row.subject for row in owed(pair)] == ["hook/1"]
    assert [alarm.severity for alarm in standing(pair)] == ["warning"]
    now = fail_for(pair, 3 * 3600, start=now)
    assert owed(pair) == []
    assert [(alarm.kind, alarm.severity, alarm.since) for alarm in standing(pair)] == [(FAILING, "error", START)]
    assert heard(pair, "mail") == ["renewal-failed", "alarm-raised", "alarm-raised"]
    with pair.store.read() as connection:
        said = [json.loads(body) for body in connection.execute(select(col(LedgerEntry.body))).scalars()]
    assert [entry["subject"] for entry in said if entry["action"] == "notice-given-up"] == ["hook/1"]
    memory(pair, "hook").is_down = False
    with clock.pinned(now):
        happen(pair, "certificate-renewed")
        round_(pair)
        round_(pair)
    assert heard(pair, "hook") == ["certificate-renewed"]
    assert standing(pair) == []
    assert heard(pair, "mail")[-2:] == ["certificate-renewed", "alarm-cleared"]


def test_what_is_old_is_still_tried(pair: Lifecycle) -> None:
    """After four days in which nothing ran, everything is told: only what fails then is given up."""
    with clock.pinned(NOON):
        happen(pair, "renewal-failed")
    with clock.pinned(NOON + timedelta(days=4)):
        round_(pair)
    assert heard(pair, "hook") == ["renewal-failed"]


def test_one_event_that_is_refused_does_not_end_the_alarm_of_it(pair: Lifecycle) -> None:
    """While one is refused and others are taken it is said once, not over and over."""
    poison = Refuses(1)
    world = with_notifiers(pair, hook=poison, mail=MemoryNotifier())
    with clock.pinned(NOON):
        happen(world, "renewal-failed")
    for hour in range(24):
        with clock.pinned(NOON + timedelta(hours=hour)):
            happen(world, "certificate-renewed")
            round_(world)
    assert [alarm.severity for alarm in standing(world)] == ["warning"]
    assert Counter(heard(world, "mail"))["alarm-raised"] == 1
    assert len(poison.told) == 24
    fail_for(world, GIVE_UP, start=NOON + timedelta(days=1), step=3600)
    assert owed(world) == []


class Refuses(MemoryNotifier):
    """Takes all but one event, for good: with an error that would stop other work for ever."""

    def __init__(self, event_id: int) -> None:
        super().__init__()
        self._event_id = event_id

    def tell(self, notice: Notice) -> None:
        if notice.id == self._event_id:
            raise IssuerRefusal("never")
        super().tell(notice)


def test_no_failure_stops_it(any_store: Store) -> None:
    """A refusal, or a defect of a notifier, is tried again like a recipient that is down."""
    world = with_notifiers(make_lifecycle(any_store), hook=Refuses(1))
    with clock.pinned(NOON):
        happen(world, "renewal-failed")
        round_(world)
    [row] = owed(world)
    assert (row.state, row.attempts) == ("waiting", 1)


def test_every_recipient_failing_makes_no_storm(pair: Lifecycle) -> None:
    """Two that fail are told of each other, never of themselves: four events in three days, not four thousand."""
    for channel in ("hook", "mail"):
        memory(pair, channel).is_down = True
    with clock.pinned(NOON):
        happen(pair, "renewal-failed")
    fail_for(pair, GIVE_UP + 43200, step=7200)
    with pair.store.read() as connection:
        found = connection.execute(select(Event)).all()
    assert len([row for row in found if row.kind == "alarm-raised"]) <= 4
    with pair.store.read() as connection:
        subjects = {row.id: row.subject for row in connection.execute(select(Event))}
    assert all(subjects[int(row.subject.partition("/")[2])] != row.subject.partition("/")[0] for row in owed(pair))


def test_a_recipient_of_another_replica_is_left_to_it(pair: Lifecycle) -> None:
    """With older settings a replica does not know it: its events wait, and are there for who does know it."""
    with clock.pinned(NOON):
        happen(pair, "renewal-failed")
        notices.fan_out(pair)
        old = with_notifiers(pair, mail=pair.notifiers["mail"])
        round_(old)
        assert [row.subject for row in owed(old)] == ["hook/1"]
    with clock.pinned(NOON + timedelta(minutes=2)):
        round_(pair)
    assert heard(pair, "hook") == ["renewal-failed"]


def test_a_recipient_that_was_removed_is_forgotten(pair: Lifecycle) -> None:
    """What it was owed is given up without a word, and its alarm does not stand for ever."""
    memory(pair, "hook").is_down = True
    with clock.pinned(NOON):
        happen(pair, "renewal-failed")
    now = fail_for(pair, 6 * 3600)
    assert [alarm.subject for alarm in standing(pair)] == ["hook"]
    rest = with_notifiers(pair, mail=pair.notifiers["mail"])
    now = fail_for(rest, GIVE_UP, start=now, step=1800)
    with clock.pinned(now):
        happen(rest, "certificate-renewed")
        round_(rest)
    assert owed(rest) == []
    assert standing(rest) == []


def test_who_was_too_slow_settles_nothing(pair: Lifecycle) -> None:
    """Another process has it by then: the recipient may hear it twice, and nothing else is confused."""
    with clock.pinned(NOON):
        happen(pair, "renewal-failed")
        notices.fan_out(pair)
        slow = next(c for c in work.claim(pair.store, (NOTIFY,), limit=9, lease=10) if c.subject == "hook/1")
    with clock.pinned(NOON + timedelta(seconds=10)):
        heir = next(c for c in work.claim(pair.store, (NOTIFY,), limit=9, lease=60) if c.subject == "hook/1")
        with pytest.raises(StaleChange):
            notices.tell(pair, slow)
        with pytest.raises(StaleChange):
            pair.store.write(lambda tx: notices.failed(pair, tx, slow, NotDelivered("no")))
        notices.tell(pair, heir)
    assert [notice.id for notice in memory(pair, "hook").told] == [1, 1]
    assert "hook/1" not in [row.subject for row in owed(pair)]


@pytest.mark.parametrize("subject", ["hook/999", "hook/", "hook/x", "hook"])
def test_work_about_nothing_ends(pair: Lifecycle, subject: str) -> None:
    """An event that was pruned, or a subject that is none, is not tried for ever."""
    with clock.pinned(NOON):
        pair.store.write(lambda tx: work.schedule(tx, NOTIFY, subject, START))
        round_(pair)
        for day in range(1, 5):
            with clock.pinned(NOON + timedelta(days=day)):
                round_(pair)
    assert owed(pair) == []
    assert heard(pair, "hook") == []


def test_what_is_counted(pair: Lifecycle) -> None:
    """Each attempt, by recipient and outcome."""
    seen: list[tuple[str, ...]] = []
    world = replace(pair, count=lambda *words: seen.append(words))
    memory(world, "hook").is_down = True
    with clock.pinned(NOON):
        happen(world, "renewal-failed")
        round_(world)
    assert sorted(seen) == [("notices", "hook", "failed"), ("notices", "mail", "told")]


def test_old_events_are_forgotten(pair: Lifecycle) -> None:
    """In pages, with a ledger entry each; what nobody has looked at, and what may still be told, stays."""
    for day in (0, 1, 30, 58, 60):
        with clock.pinned(NOON + timedelta(days=day)):
            happen(pair, "certificate-renewed")
            if day != 1:
                notices.fan_out(pair, limit=1 if day == 0 else 500)
                assert day == 0 or pending(pair) == 0
    with clock.pinned(NOON + timedelta(days=60)):
        happen(pair, "certificate-renewed")
        notices.fan_out(pair)
        assert [notices.prune(pair, timedelta(days=20)) for _ in range(2)] == [3, 0]
        assert notices.prune(pair, timedelta(0)) == 0
    with clock.pinned(NOON + timedelta(days=400)):
        happen(pair, "certificate-renewed")
    with clock.pinned(NOON + timedelta(days=900)):
        assert notices.prune(pair, timedelta(days=20)) == 3
        assert pending(pair) == 1


def test_pending_events_have_an_index(any_store: Store) -> None:
    """Twenty thousand old events cost a tick nothing, on both engines."""
    world = with_notifiers(make_lifecycle(any_store), a=MemoryNotifier())
    old = {"kind": "name-seen", "subject": "a", "severity": "info", "at": START, "body": "{}", "is_pending": False}

    def unit(tx: Any) -> None:
        for _ in range(20_000):
            tx.add(Event, old)

    any_store.write(unit)
    any_store.write(lambda tx: tx.execute(text("ANALYZE")))
    happen(world, "certificate-renewed")
    with asked(any_store) as seen, clock.pinned(NOON):
        notices.fan_out(world)
        notices.prune(world, timedelta(days=30))
    reads = {sql: plan_of(any_store, sql, values) for sql, values in seen if "SELECT" in sql and "event" in sql}
    assert len(reads) >= 2
    for sql, how in reads.items():
        assert "event_pending" in how or "ix_event_at" in how, (sql, how)


def test_a_miserable_receiver_gets_everything(store: Store, tmp_path: Path) -> None:
    """Real HTTPS that drops, redirects, babbles and fails at random: each event at least once, signed; none is lost.

    More than once only where the receiver took it and said nothing.
    """
    chance = random.Random(3)
    with receiving(tmp_path) as receiver:
        script = [chance.choice([*MISERIES, "200", "200"]) for _ in range(120)]
        receiver.script.extend(script)
        hook = Webhook(receiver.url, Secret(KEY), receiver.ca_file, rest=0)
        world = with_notifiers(make_lifecycle(store), hook=hook)
        with clock.pinned(NOON):
            happen(world, *[f"kind-{number}" for number in range(30)])
        hours = 0
        while owed(world) or pending(world):
            with clock.pinned(NOON + timedelta(hours=hours)):
                round_(world)
            hours += 1
            assert hours < 72
        names = Counter(
            verify(KEY, headers, body, int(headers["webhook-timestamp"])) for headers, body in receiver.taken
        )
    happened = {f"event-{number}" for number in range(1, 31)}
    assert happened <= set(names)
    assert set(receiver.paths) == {"/hook/canary"}
    assert sum(names.values()) - len(names) <= sum(deed == TAKE_AND_DROP for deed in script)
    bodies = {headers["webhook-id"]: set() for headers, _ in receiver.taken}
    for headers, body in receiver.taken:
        bodies[headers["webhook-id"]].add(body)
    assert all(len(same) == 1 for same in bodies.values())


def test_a_notice_says_whose_it_is(pair: Lifecycle) -> None:
    """By name and mailbox; what nobody owns goes to the fallback owner, and says that it is an orphan (row 77)."""
    owners.add(pair, rig.ADMIN, OwnerPlan("everybody", "pki@example.org"))
    web = owners.add(pair, rig.ADMIN, OwnerPlan("web", "web@example.org", ("lead@example.org",)))

    def unit(tx: Transaction) -> None:
        alarms.raise_alarm(tx, Trouble("expiring", "a", "error", "a ends", owner_id=web.id))
        alarms.raise_alarm(tx, Trouble("expiring", "b", "error", "b ends"))

    pair.store.write(unit)
    while notices.fan_out(pair):
        continue
    for claim in work.claim(pair.store, [NOTIFY], limit=100, lease=60):
        notices.tell(pair, claim)
    hook = pair.notifiers["hook"]
    assert isinstance(hook, MemoryNotifier)
    told = {notice.subject: notice.body for notice in hook.told if notice.kind == "alarm-raised"}
    assert told["a"]["owner"] == {"name": "web", "email": "web@example.org", "escalation": ["lead@example.org"]}
    assert (told["b"]["owner"]["name"], told["b"]["is_orphan"]) == ("everybody", True)
