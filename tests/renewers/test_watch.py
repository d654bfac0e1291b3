"""The watch, on both databases: what it writes and says, once; what it catches up; what it leaves alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlmodel import col

from ca import clock
from ca.ledger.reconcile import audit
from ca.models import LedgerEntry
from ca.store import Store, open_store
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Lineage, Tracked, Work
from renewers.timing import deadlines, lead_time, watch
from renewers.timing.judging import EXPIRING, STILL_SERVED
from renewers.timing.lead_time import DAY, HOUR
from tests.renewers import tracking
from tests.renewers.tracking import START, add_endpoint, add_lineage, add_tracked, alarms_of, change, events_of, find


@pytest.fixture
def lifecycle(any_store: Store) -> Lifecycle:
    """The parts, on each engine in turn."""
    return tracking.make_lifecycle(any_store)


def look(lifecycle: Lifecycle, now: int, *, limit: int = 1000) -> int:
    """One run of the watch at that time."""
    with clock.pinned(datetime.fromtimestamp(now, UTC)):
        return watch.watch_due(lifecycle, limit=limit)


def test_a_healthy_certificate_is_looked_at_when_it_may_change(lifecycle: Lifecycle) -> None:
    """Its first look plans the second at the moment when it is due; in between there is nothing to do."""
    store = lifecycle.store
    lineage = add_lineage(store, "renewed")
    id_ = add_tracked(store, lineage_id=lineage)
    assert look(lifecycle, START) == 1
    marks = lead_time.milestones(START, START + 90 * DAY - 1, seed=f"{lineage}/{id_}")
    assert (find(store, id_).stage, find(store, id_).next_look) == ("fine", marks.due)
    assert look(lifecycle, marks.due - 1) == 0
    assert look(lifecycle, marks.due) == 1
    assert (find(store, id_).stage, find(store, id_).stage_since) == ("due", marks.due)
    assert alarms_of(store) == {}
    assert events_of(store) == []


def test_a_failing_one_is_announced_more_and_more_severely_and_expires_once(lifecycle: Lifecycle) -> None:
    """A warning, an error, critical, and that it has expired: each crossing is one event, each look after it none."""
    store = lifecycle.store
    lineage = add_lineage(store, "renewed")
    id_ = add_tracked(store, lineage_id=lineage)
    for now in range(START, START + 100 * DAY, 6 * HOUR):
        look(lifecycle, now)
    said = [(kind, severity) for kind, _, severity in events_of(store)]
    raised = [("alarm-raised", severity) for severity in ("warning", "error", "critical")]
    assert said == [*raised, ("certificate-expired", "critical")]
    assert find(store, id_).stage == "expired"
    assert alarms_of(store, id_) == {EXPIRING: "critical"}


def test_a_renewal_that_comes_late_clears_the_alarm(lifecycle: Lifecycle) -> None:
    """Recovery is said once, soon after it, though nobody tells the watch."""
    store = lifecycle.store
    id_ = add_tracked(store, lineage_id=add_lineage(store, "manual"))
    now = START + 70 * DAY
    look(lifecycle, now)
    assert alarms_of(store, id_) == {EXPIRING: "warning"}
    change(store, Tracked, id_, replaced_by=add_tracked(store, start=now, next_look=None))
    assert look(lifecycle, now + 6 * HOUR) == 1
    assert alarms_of(store) == {}
    assert [kind for kind, *_ in events_of(store)] == ["alarm-raised", "alarm-cleared"]
    assert (find(store, id_).stage, find(store, id_).next_look) == ("replaced", None)
    assert look(lifecycle, now + 30 * DAY) == 0


def test_what_is_still_served_after_its_end_is_said_until_it_is_not(lifecycle: Lifecycle) -> None:
    """A replaced certificate that a place still shows is an alarm from its first invalid second on."""
    store = lifecycle.store
    newer = add_tracked(store, next_look=None)
    id_ = add_tracked(store, replaced_by=newer, lineage_id=add_lineage(store, "manual"))
    end = START + 90 * DAY
    look(lifecycle, START)
    assert find(store, id_).next_look is None
    place = add_endpoint(store, id_, end - HOUR, "tls:api.example:443")
    store.write(lambda tx: watch.look_at(tx, [id_]))
    change(store, Tracked, id_, next_look=START)
    look(lifecycle, end - HOUR)
    assert alarms_of(store) == {}
    assert look(lifecycle, end) == 1
    assert alarms_of(store, id_) == {STILL_SERVED: "critical"}
    (message,) = tracking.messages(store)
    assert message.startswith("tls:api.example:443 still serves n")
    tracking.forget_place(store, place)
    assert look(lifecycle, end + HOUR) == 1
    assert alarms_of(store) == {}
    assert find(store, id_).next_look is None


def test_pods_that_vanish_leave_no_trace_but_owned_ones_do(lifecycle: Lifecycle) -> None:
    """Holders' certificates without an owner end; with one, on the row or on the lineage, they are announced."""
    store = lifecycle.store
    owner = tracking.add_owner(store)
    tracking.add_owner(store, "security", is_fallback=True)
    lives = {"lifetime": DAY, "source": "issued"}
    pods = [add_tracked(store, lineage_id=add_lineage(store, "holder"), **lives) for _ in range(3)]
    owned = add_tracked(store, lineage_id=add_lineage(store, "holder"), owner_id=owner, **lives)
    inherited = add_tracked(store, lineage_id=add_lineage(store, "holder", owner_id=owner), **lives)
    for now in range(START, START + 3 * DAY, HOUR):
        look(lifecycle, now)
    assert {find(store, pod).stage for pod in pods} == {"ended"}
    assert {find(store, pod).next_look for pod in pods} == {None}
    assert {find(store, id_).stage for id_ in (owned, inherited)} == {"expired"}
    subjects = {subject for _, subject, _ in events_of(store)}
    assert subjects == {find(store, owned).identity, find(store, inherited).identity}
    with store.read() as connection:
        assert set(connection.execute(select(col(Alarm.owner_id))).scalars()) == {owner}


def test_an_orphan_is_told_to_the_fallback_owner(lifecycle: Lifecycle) -> None:
    """What a person should renew and nobody owns is somebody's all the same (failure 83)."""
    fallback = tracking.add_owner(lifecycle.store, "security", is_fallback=True)
    add_tracked(lifecycle.store, lineage_id=add_lineage(lifecycle.store, "manual"))
    look(lifecycle, START + 80 * DAY)
    with lifecycle.store.read() as connection:
        assert connection.execute(select(col(Alarm.owner_id))).scalar_one() == fallback


def test_authorities_lists_and_bundles_are_announced_long_before(lifecycle: Lifecycle) -> None:
    """Whoever they are from, and without a lineage: 180 days for an intermediate (failures 79 and 80)."""
    store, life = lifecycle.store, 10 * 365 * DAY
    below = add_tracked(store, kind="authority", lifetime=life)
    revocations = add_tracked(store, kind="crl", lifetime=72 * HOUR)
    look(lifecycle, START + 48 * HOUR - 1)
    assert alarms_of(store) == {}
    look(lifecycle, START + 48 * HOUR + 1)
    assert alarms_of(store, revocations) == {EXPIRING: "info"}
    look(lifecycle, START + 73 * HOUR)
    assert [kind for kind, *_ in events_of(store)] == ["alarm-raised", "alarm-raised", "crl-expired"]
    look(lifecycle, START + life - 181 * DAY)
    assert alarms_of(store, below) == {}
    for left, severity in ((180, "info"), (90, "warning"), (60, "error"), (30, "critical")):
        look(lifecycle, START + life - left * DAY)
        assert alarms_of(store, below) == {EXPIRING: severity}


def test_a_crl_that_moved_on_is_fine_again(lifecycle: Lifecycle) -> None:
    """The row of a list moves with it: its alarm goes, and its end is news again the next time."""
    store = lifecycle.store
    id_ = add_tracked(store, kind="crl", lifetime=72 * HOUR)
    look(lifecycle, START + 80 * HOUR)
    again = START + 80 * HOUR
    change(store, Tracked, id_, not_before=again, not_after=again + 72 * HOUR, next_look=again)
    look(lifecycle, again)
    assert (alarms_of(store), find(store, id_).stage) == ({}, "fine")
    look(lifecycle, again + 73 * HOUR)
    assert [kind for kind, *_ in events_of(store)].count("crl-expired") == 2


def test_the_message_says_since_when_the_renewal_fails(lifecycle: Lifecycle) -> None:
    """It is read from the due work of the lineage."""
    store = lifecycle.store
    lineage = add_lineage(store, "renewed")
    add_tracked(store, lineage_id=lineage)
    failing = {"failing_since": START + 61 * DAY, "last_error": "no\x1b[31m such zone", "attempts": 9}
    due = {"due_at": START + 90 * DAY, "due_since": START + 60 * DAY, "fence": 9}
    tracking.add(store, Work, kind="renew", subject=str(lineage), state="waiting", **due, **failing)
    look(lifecycle, START + 85 * DAY)
    (message,) = tracking.messages(store)
    assert "its renewal fails since 2027-03-17 08:00 UTC: no [31m such zone" in message


def test_a_lineage_that_is_planned_anew_is_looked_at_now(lifecycle: Lifecycle) -> None:
    """Its window moved into the past: due at once; the rows that are over stay over."""
    store = lifecycle.store
    lineage = add_lineage(store, "renewed")
    id_ = add_tracked(store, lineage_id=lineage)
    over = add_tracked(store, lineage_id=lineage, replaced_by=id_, next_look=None, stage="replaced")
    look(lifecycle, START)
    change(store, Lineage, lineage, current_id=id_, ari_chosen=START - DAY)
    with clock.pinned(datetime.fromtimestamp(START + HOUR, UTC)):
        store.write(lambda tx: watch.replan(tx, lineage))
        assert watch.watch_due(lifecycle) == 1
    assert find(store, id_).stage == "due"
    assert find(store, over).next_look is None


def test_a_run_looks_at_no_more_than_it_is_asked_to(lifecycle: Lifecycle) -> None:
    """The longest due first, over as many transactions as it takes; the next run goes on."""
    store = lifecycle.store
    rows = [tracking.tracked_row(next_look=START + place) for place in range(600)]
    store.write(lambda tx: [tx.add(Tracked, row) for row in rows] and None)
    assert look(lifecycle, START + 1000, limit=260) == 260
    with store.read() as connection:
        waiting = connection.execute(select(col(Tracked.next_look)).where(col(Tracked.next_look) <= START + 1000))
        assert sorted(waiting.scalars()) == [START + place for place in range(260, 600)]
    assert look(lifecycle, START + 1000) == 340
    assert look(lifecycle, START + 1000) == 0


def test_two_replicas_say_everything_once(postgresql: str) -> None:
    """Four watches on two connections to one database: each row is looked at by one of them."""
    from tests.conftest import fresh_database

    url = fresh_database(postgresql)
    one, other = open_store(url), open_store(url)
    try:
        lifecycle = tracking.make_lifecycle(one)
        second = replace(lifecycle, installation=replace(lifecycle.installation, store=other))
        rows = [tracking.tracked_row(kind="crl", lifetime=72 * HOUR) for _ in range(400)]
        one.write(lambda tx: [tx.add(Tracked, row) for row in rows] and None)
        with clock.pinned(datetime.fromtimestamp(START + 70 * HOUR, UTC)), ThreadPoolExecutor(4) as threads:
            looked = list(threads.map(watch.watch_due, [lifecycle, second] * 2))
        assert sum(looked) == 400
        said = Counter(subject for _, subject, _ in events_of(one, "alarm-raised"))
        assert set(said.values()) == {1}
        assert len(said) == 400
    finally:
        one.close()
        other.close()


def mixed(store: Store, count: int) -> list[int]:
    """Everything that can be tracked, of all lifetimes; with the same ids and seeds in every empty store."""
    owner = tracking.add_owner(store)
    kinds = ("certificate", "certificate", "certificate", "authority", "crl", "bundle")
    lives = (6 * HOUR, DAY, 6 * DAY, 30 * DAY, 47 * DAY, 90 * DAY, 200 * DAY)
    found = []
    for place in range(count):
        kind = kinds[place % len(kinds)]
        mode = ("renewed", "manual", "holder")[place % 3]
        owned = {"owner_id": owner} if place % 2 else {}
        lineage = add_lineage(store, mode, **owned) if kind == "certificate" else None
        identity = f"sha256:{place:064x}"
        life = lives[place % len(lives)]
        id_ = add_tracked(store, kind=kind, lineage_id=lineage, lifetime=life, identity=identity, start=START + place)
        if place % 5 == 0:
            add_endpoint(store, id_, START + (place % 40) * DAY)
        found.append(id_)
    return found


def ticks(outages: Sequence[tuple[int, int]], until: int, every: int) -> Iterator[int]:
    """The times at which the watch runs: it does not in an outage (begin and length in hours), and does at the end."""
    for hour in range(0, until, every):
        if not any(begin <= hour < begin + length for begin, length in outages):
            yield START + hour * HOUR
    yield START + until * HOUR


def state(store: Store) -> tuple[list[Any], list[Any]]:
    """The stages, and the alarms, of everything."""
    with store.read() as connection:
        stages = select(col(Tracked.identity), col(Tracked.stage), col(Tracked.stage_since)).order_by(col(Tracked.id))
        alarms = select(col(Alarm.kind), col(Alarm.subject), col(Alarm.severity), col(Alarm.since))
        return (
            [tuple(row) for row in connection.execute(stages)],
            sorted(tuple(row) for row in connection.execute(alarms)),
        )


@pytest.mark.parametrize(("outages", "until"), [([(0, 24 * 46)], 24 * 46), ([(30, 24 * 20), (24 * 30, 400)], 24 * 61)])
def test_after_any_outage_all_is_as_if_there_had_been_none(
    tmp_path: Path, outages: list[tuple[int, int]], until: int
) -> None:
    """The same stages, since the same moments, the same alarms; and of each crossing one event at most."""
    seen = []
    for name, missed in (("always", []), ("missed", outages)):
        store = open_store(f"sqlite:///{tmp_path}/{name}.db")
        try:
            lifecycle = tracking.make_lifecycle(store)
            mixed(store, 42)
            for now in ticks(missed, until, every=11):
                look(lifecycle, now)
            look(lifecycle, START + until * HOUR)
            seen.append(state(store))
            said = Counter(events_of(store, "alarm-raised", "certificate-expired", "crl-expired", "bundle-expired"))
            still = {subject for _, subject, _ in events_of(store)}
            assert still
            assert all(count <= 1 + (kind == "alarm-raised") for (kind, _, _), count in said.items())
        finally:
            store.close()
    assert seen[0] == seen[1]


def test_never_an_alarm_for_what_is_renewed_when_it_is_due(tmp_path: Path) -> None:
    """A hundred days of fifteen lineages that are renewed within their grace, and of five that are not."""
    store = open_store(f"sqlite:///{tmp_path}/years.db")
    try:
        lifecycle = tracking.make_lifecycle(store)
        lives = {add_lineage(store, "renewed"): (30, 47, 90)[place % 3] * DAY for place in range(20)}
        broken = set(list(lives)[:5])
        current = {id_: _renewed(store, id_, START, life) for id_, life in lives.items()}
        for now in range(START, START + 100 * DAY, 12 * HOUR):
            for lineage, row in current.items():
                if lineage not in broken and now >= row["late"] - 12 * HOUR:
                    current[lineage] = _renewed(store, lineage, now, lives[lineage], before=row["id"])
            look(lifecycle, now)
        bad = {find(store, current[lineage]["id"]).identity for lineage in broken}
        first: dict[str, tuple[str, str]] = {}
        for kind, subject, severity in events_of(store):
            first.setdefault(subject, (kind, severity))
        assert first == dict.fromkeys(bad, ("alarm-raised", "warning"))
    finally:
        store.close()


def _renewed(store: Store, lineage: int, now: int, life: int, before: int | None = None) -> dict[str, int]:
    """A certificate that follows another, as a renewal records it."""
    row = tracking.tracked_row(start=now, lifetime=life, lineage_id=lineage, next_look=now)

    def unit(tx: Any) -> int:
        id_ = int(tx.execute(Tracked.__table__.insert().values(**row).returning(col(Tracked.id))).scalar_one())  # type: ignore[attr-defined]
        if before is not None:
            over = update(Tracked).where(col(Tracked.id) == before)
            tx.execute(over.values(replaced_by=id_, next_look=now))
        return id_

    id_ = store.write(unit)
    marks = lead_time.milestones(now, now + life - 1, seed=f"{lineage}/{id_}")
    return {"id": id_, "late": marks.late}


def test_the_watch_and_the_renewal_agree_on_when_it_is_due(lifecycle: Lifecycle) -> None:
    """Both read the same rows and use the same seed: nothing is late by one clock and not due by the other."""
    from renewers.renewing import planning

    store = lifecycle.store
    lineage = add_lineage(store, "renewed", names='["dns:a.example"]', ari_chosen=START + 20 * DAY)
    id_ = add_tracked(store, lineage_id=lineage)
    change(store, Lineage, lineage, current_id=id_)
    with store.read() as connection:
        found = planning.situation(connection, lineage)
        assert found is not None
        mine = deadlines.deadlines(find(store, id_), found.lineage, fraction=lifecycle.policy.fraction)
        assert planning.milestones(connection, found, lifecycle) == mine


def test_what_it_says_is_in_the_ledger(lifecycle: Lifecycle) -> None:
    """Raised, expired: each has its entry, and the ledger holds."""
    add_tracked(lifecycle.store, kind="crl", lifetime=72 * HOUR)
    look(lifecycle, START + 80 * HOUR)
    lifecycle.installation.ledger.sequence()
    with lifecycle.store.read() as connection:
        bodies = b"".join(bytes(body) for body in connection.execute(select(col(LedgerEntry.body))).scalars())
    assert b"alarm-raised" in bodies
    assert b"crl-expired" in bodies
    assert audit(lifecycle.store, lifecycle.installation.ledger.verifier).is_sound


def test_the_tick_uses_its_index(lifecycle: Lifecycle) -> None:
    """What is due is found by `next_look` alone: no scan of what is tracked, however much that is."""
    store = lifecycle.store
    rows = [tracking.tracked_row(next_look=START + 10 * DAY + place) for place in range(2000)]
    store.write(lambda tx: [tx.add(Tracked, row) for row in rows] and None)
    statement = watch._due(START, 250).compile(compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN " if store.dialect == "sqlite" else "EXPLAIN "
    if store.dialect == "postgresql":
        store.write(lambda tx: tx.connection.exec_driver_sql("ANALYZE tracked") and None)
    with store.read() as connection:
        plan = " ".join(str(row) for row in connection.exec_driver_sql(f"{explain}{statement}"))
    assert "tracked_next_look" in plan
    assert "SCAN tracked'" not in plan
    assert "Seq Scan" not in plan
