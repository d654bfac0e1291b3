"""Who answers is written on every row, and says what the rules say, whatever was changed in whatever order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, Conflict, NotFound
from ca.store import Store, Transaction, open_store
from ca.x509.names import parse
from renewers.inventory import answering, issued, lineages, own, owners, refusing
from renewers.inventory.facts import Facts
from renewers.inventory.lineages import LineagePlan
from renewers.inventory.owners import OwnerPlan
from renewers.inventory.ownership import owners_of
from renewers.inventory.track import track
from renewers.lifecycle import Lifecycle
from renewers.models import Owner, Tracked
from renewers.timing import watch
from tests import rig
from tests.ca.world import until_it_waits
from tests.conftest import fresh_database
from tests.renewers import foreign, tracking

ADMIN = rig.ADMIN
NAMES = ("dns:a.pay.example", "dns:b.pay.example", "dns:c.web.example", "dns:d.web.example")
BEGIN = clock.timestamp()
OWNERS = ("pay", "web", "ops")
CLAIMS = (
    *(("name", "dns:*.pay.example"), ("name", "dns:a.pay.example"), ("name", "dns:*.example")),
    ("requester", "token:operator"),
)


def differing(life: Lifecycle) -> dict[int, Any]:
    """The rows that say something else than the rules."""
    with life.store.read() as connection:
        rows = connection.execute(select(Tracked)).all()
        answers = owners_of(connection, rows)
    told = {row.id: (answers[row.id].owner and answers[row.id].owner.id, answers[row.id].is_orphan) for row in rows}
    return {
        row.id: (row.answering_id, row.is_orphan, *told[row.id])
        for row in rows
        if (row.answering_id, row.is_orphan) != told[row.id]
    }


def is_at_its_end(life: Lifecycle) -> bool:
    """Whether the walk has nothing left to do."""
    with life.store.read() as connection:
        return answering.is_settled(connection)


def walk_to_the_end(life: Lifecycle) -> None:
    """Until there is nothing left to do."""
    while answering.walk(life):
        continue
    assert is_at_its_end(life)


class Changing:
    """Everything that can change whose something is, each as one step."""

    def __init__(self, life: Lifecycle) -> None:
        self.life = life
        self.serial = 1

    def add(self, name: str, fallback: bool) -> None:
        """Another owner, perhaps for orphans."""
        owners.add(self.life, ADMIN, OwnerPlan(name, f"{name}@example.org", is_fallback=fallback))

    def fall_back(self, name: str) -> None:
        """Orphans fall to another owner."""
        owners.change(self.life, ADMIN, name, lambda plan: replace(plan, is_fallback=True))

    def remove(self, name: str, heir: str) -> None:
        """An owner goes; another takes over."""
        owners.remove(self.life, ADMIN, name, heir=heir)

    def claim(self, name: str, rule: tuple[str, str]) -> None:
        """A rule is made."""
        owners.claim(self.life, ADMIN, name, *rule)

    def release(self, name: str, rule: tuple[str, str]) -> None:
        """A rule is taken back."""
        owners.release(self.life, ADMIN, name, *rule)

    def assign(self, owner: str | None, name: str) -> None:
        """A lineage is somebody's, or nobody's again."""
        owners.assign(self.life, ADMIN, owner, lineage=name.removeprefix("dns:"))

    def assign_one(self, owner: str | None, place: int) -> None:
        """One certificate is somebody's, or nobody's again."""
        with self.life.store.read() as connection:
            found = connection.execute(select(col(Tracked.identity)).order_by(col(Tracked.id))).scalars().all()
        owners.assign(self.life, ADMIN, owner, tracked=found[place % len(found)])

    def refuse(self, place: int) -> None:
        """An owner says that something is not theirs."""
        with self.life.store.read() as connection:
            rows = connection.execute(select(Tracked).order_by(col(Tracked.id))).all()
            row = rows[place % len(rows)]
            found = owners_of(connection, [row])[row.id].owner
        self.life.store.write(lambda tx: refusing.refuse(tx, row, found, "mail:somebody@example.org"))

    def track(self, name: str, source: str) -> None:
        """Something is found, imported or renewed."""
        self.serial += 1
        foreign.tracked(self.life, self.found(name), source)

    def find_again(self, name: str, source: str) -> None:
        """The same, from another source, perhaps with an owner."""
        with self.life.store.read() as connection:
            owner = connection.execute(select(col(Owner.id)).limit(1)).scalar()
        foreign.tracked(self.life, self.found(name), source, owner_id=owner)

    def found(self, name: str) -> Facts:
        """The newest certificate, if it is of this name."""
        return foreign.facts(name, serial=foreign.numbered(self.serial), begin=BEGIN)

    def issue(self) -> None:
        """Our CA issues."""
        rig.issue(self.life.installation, "e.pay.example.internal", profile="server")
        issued.catch_up(self.life)

    def look_at_our_own(self) -> None:
        """CAs, CRLs and the bundle are tracked."""
        own.catch_up(self.life)

    def plan(self, name: str, owner: str | None, mode: str) -> None:
        """A lineage is planned, or taken over, or planned otherwise."""
        text = name.removeprefix("dns:")
        plan = LineagePlan(text, (parse(name),), mode=mode, owner=owner)
        with suppress(Conflict):
            lineages.create(self.life, ADMIN, plan)
            return
        lineages.change(self.life, ADMIN, text, lambda before: replace(before, owner=owner))

    def plan_no_more(self, name: str) -> None:
        """A lineage goes."""
        lineages.remove(self.life, ADMIN, name.removeprefix("dns:"))

    def watch(self) -> None:
        """The watch looks at everything."""
        everything = update(Tracked).values(next_look=clock.timestamp())
        self.life.store.write(lambda tx: tx.execute(everything) and None)
        watch.watch_due(self.life)

    def walk(self) -> None:
        """The walk goes on for a moment."""
        answering.walk(self.life, limit=1)


owner, rule, name = st.sampled_from(OWNERS), st.sampled_from(CLAIMS), st.sampled_from(NAMES)
maybe = st.none() | owner
source = st.sampled_from(["scanned", "imported", "renewed", "issued"])
STEP = st.one_of(
    st.tuples(st.just("add"), st.sampled_from([*OWNERS, "more", "most"]), st.booleans()),
    st.tuples(st.just("fall_back"), owner),
    st.tuples(st.just("remove"), st.sampled_from([*OWNERS, "more", "most"]), owner),
    *(st.tuples(st.just(verb), owner, rule) for verb in ("claim", "release")),
    st.tuples(st.just("assign"), maybe, name),
    st.tuples(st.just("assign_one"), maybe, st.integers(0, 9)),
    st.tuples(st.just("refuse"), st.integers(0, 9)),
    *(st.tuples(st.just(verb), name, source) for verb in ("track", "find_again")),
    st.tuples(st.just("plan"), name, maybe, st.sampled_from(["renewed", "manual"])),
    st.tuples(st.just("plan_no_more"), name),
    *(st.tuples(st.just(verb)) for verb in ("issue", "look_at_our_own", "watch", "walk")),
)


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changing]:
    """One installation for all examples: each begins with what those before it have left."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('answering')}/certwright.db")
    yield Changing(foreign.lifecycle(rig.make_installation(store)))
    store.close()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=15))
def test_the_column_says_what_the_rules_say(changing: Changing, steps: list[tuple[Any, ...]]) -> None:
    """Owners, claims, assignments, heirs, lineages, sources: where the walk has ended, no row says anything else."""
    for text in OWNERS:
        with suppress(Conflict):
            changing.add(text, False)
    walk_to_the_end(changing.life)
    for verb, *arguments in steps:
        with suppress(Conflict, NotFound, BadRequest, ZeroDivisionError):
            getattr(changing, verb)(*arguments)
        assert is_at_its_end(changing.life) <= (differing(changing.life) == {}), (verb, *arguments)
    walk_to_the_end(changing.life)
    assert differing(changing.life) == {}


def world(store: Store) -> Lifecycle:
    """An installation with two owners, one for orphans."""
    life = foreign.lifecycle(rig.make_installation(store))
    for text in ("ops", "pay"):
        owners.add(life, ADMIN, OwnerPlan(text, f"{text}@example.org"))
    return life


def test_what_is_written_down_says_at_once_who_answers(any_store: Store) -> None:
    """Insertion, assignment and an heir need no walk."""
    life = world(any_store)
    walk_to_the_end(life)
    first = foreign.tracked(life, foreign.facts("dns:a.pay.example"))
    assert tracking.find(any_store, first).is_orphan
    owners.assign(life, ADMIN, "pay", lineage="a.pay.example")
    assert not tracking.find(any_store, first).is_orphan
    second = foreign.tracked(life, foreign.facts("dns:a.pay.example", serial=foreign.numbered(7)))
    assert differing(life) == {}
    owners.remove(life, ADMIN, "pay", heir="ops")
    assert differing(life) == {}
    assert {tracking.find(any_store, id_).is_orphan for id_ in (first, second)} == {False}


def test_rows_from_before_the_column_are_walked_through(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that was upgraded has a million rows that say nothing: the walk takes them page by page."""
    life = world(any_store)
    monkeypatch.setattr(answering, "PAGE", 3)
    for _ in range(20):
        tracking.add_tracked(any_store)
    assert len(differing(life)) == 20
    looked = answering.walk(life, limit=1)
    assert 0 < looked < 20
    assert len(differing(life)) == 20 - looked
    walk_to_the_end(life)
    assert differing(life) == {}


def test_a_rule_that_changes_while_the_walk_is_under_way_begins_it_again(store: Store, monkeypatch: Any) -> None:
    """What the walk has passed is not left behind."""
    life = world(store)
    monkeypatch.setattr(answering, "PAGE", 3)
    for number in range(12):
        foreign.tracked(life, foreign.facts(f"dns:h{number}.pay.example", serial=foreign.numbered(number + 1)))
    owners.claim(life, ADMIN, "pay", "name", "dns:*.pay.example")
    answering.walk(life, limit=1)
    owners.release(life, ADMIN, "pay", "name", "dns:*.pay.example")
    walk_to_the_end(life)
    assert differing(life) == {}


def test_a_lineage_that_is_too_large_is_left_to_the_walk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the writer while a workload's ten thousand certificates change hands."""
    life = world(store)
    monkeypatch.setattr(answering, "MANY", 3)
    lineage = tracking.add_lineage(store, "holder", name="mesh")
    for _ in range(8):
        tracking.add_tracked(store, lineage_id=lineage)
    walk_to_the_end(life)
    owners.assign(life, ADMIN, "pay", lineage="mesh")
    assert len(differing(life)) == 5
    walk_to_the_end(life)
    assert differing(life) == {}


def test_nothing_is_said_where_nothing_has_changed(store: Store) -> None:
    """A walk that has ended costs one look, and writes nothing."""
    life = world(store)
    tracking.add_tracked(store)
    walk_to_the_end(life)
    before = store.commits.units
    assert answering.walk(life) == 0
    assert store.commits.units == before


def test_a_rule_waits_for_whoever_writes_by_the_old_one(postgresql: str) -> None:
    """Two replicas: a row is written down by the rules of before while a claim is made, and the walk still finds it."""
    url = fresh_database(postgresql)
    first, second = open_store(url), open_store(url)
    try:
        life = world(first)
        other = replace(life, installation=replace(life.installation, store=second))
        walk_to_the_end(life)
        written, goes_on = threading.Event(), threading.Event()

        def slowly(tx: Transaction) -> None:
            track(tx, foreign.facts("dns:a.pay.example"), source="scanned")
            tx.flush()
            written.set()
            assert goes_on.wait(60)

        def claim() -> None:
            owners.claim(other, ADMIN, "pay", "name", "dns:*.pay.example")

        writing, claiming = threading.Thread(target=first.write, args=(slowly,)), threading.Thread(target=claim)
        writing.start()
        assert written.wait(60)
        claiming.start()
        until_it_waits(second)
        goes_on.set()
        writing.join()
        claiming.join()
        walk_to_the_end(other)
        assert differing(life) == {}
    finally:
        first.close()
        second.close()


def test_what_was_refused_with_a_lineage_that_goes(store: Store) -> None:
    """Its newest certificate stays refused; those before it are whose the claims say, and their rows say so."""
    life = world(store)
    owners.claim(life, ADMIN, "pay", "name", "dns:*.pay.example")
    ids = [
        foreign.tracked(life, foreign.facts("dns:a.pay.example", serial=foreign.numbered(number)), "imported")
        for number in (1, 2)
    ]
    pay = next(row for row in owners.listing(life, ADMIN) if row.name == "pay")
    store.write(lambda tx: refusing.refuse(tx, tracking.find(store, ids[1]), pay, "mail:pay@example.org"))
    walk_to_the_end(life)
    lineages.remove(life, ADMIN, "a.pay.example")
    walk_to_the_end(life)
    assert differing(life) == {}
    assert [tracking.find(store, id_).is_orphan for id_ in ids] == [False, True]
