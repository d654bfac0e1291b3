"""Bringing consumers what was published: everybody who needs it, the newest and never an older one, without end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Role
from ca.errors import BadRequest, Conflict, NotDelivered
from ca.store import Store
from ca.store.commit import StaleChange
from renewers import work
from renewers.distribution import consumers, holdings, material, publishing, showing, spreading
from renewers.distribution.consumers import ConsumerPlan
from renewers.distribution.needs import read_needs
from renewers.distribution.spreading import LONGEST_WAIT, SOON
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Holding, Publication, Work
from renewers.publishers.files import make_files
from renewers.publishers.memory import PLACES, MemoryPublisher
from tests import rig
from tests.renewers import publications
from tests.renewers.consuming import (
    CRL,
    LEASE,
    TRUST,
    add,
    alarms,
    claim,
    consumer,
    do,
    drain,
    has,
    holding,
    make_lifecycle,
    material_without_files,
    moment,
    place,
    planned,
    publish,
    report,
    rows,
    sabotage,
    said,
)

__all__ = ["material_without_files"]


@pytest.fixture
def lifecycle(store: Store, material: None) -> Lifecycle:
    """Publishers in memory, and nothing published."""
    return make_lifecycle(store)


@contextmanager
def at(seconds: float) -> Iterator[None]:
    """So many seconds after noon."""
    with clock.pinned(moment(seconds)):
        yield


def test_everybody_who_needs_it_gets_it(any_store: Store, material: None) -> None:
    """And nobody else; who fetches is only offered it; each piece of work is gone when it is done."""
    lifecycle = make_lifecycle(any_store)
    with at(0):
        add(lifecycle, "both")
        add(lifecycle, "trust-only", needs={"crl": "none"})
        add(lifecycle, "fetches", publisher="pull", settings={})
        assert drain(lifecycle) == 3  # nothing is published yet
        assert place(lifecycle, "both").live is None
        first = publish(lifecycle, TRUST)
        drain(lifecycle)
        assert (has(lifecycle, "trust-only"), has(lifecycle, "both")) == ({TRUST: first}, {})
        second = publish(lifecycle, CRL)
        assert len(planned(lifecycle)) == 1
        assert drain(lifecycle) == 1
        assert has(lifecycle, "both") == {TRUST: first, CRL: second}
        assert planned(lifecycle) == {}
        for name in ("both", "fetches"):
            assert holding(lifecycle, name, CRL).sent_version == second
            assert holding(lifecycle, name, CRL).held_version == 0
            assert holding(lifecycle, name, TRUST).sent_version == first
        assert alarms(lifecycle) == {}


def test_wanted_says_how_many(lifecycle: Lifecycle) -> None:
    """Those that are left alone are none of them; asked again, only those who lack it are."""
    with at(0):
        for name in ("a", "b", "c"):
            add(lifecycle, name)
        add(lifecycle, "d", publisher="pull", settings={})
        consumers.pause(lifecycle, rig.ADMIN, "c")
        drain(lifecycle)
        version = publish(lifecycle, TRUST)
        assert lifecycle.store.write(lambda tx: spreading.wanted(tx, TRUST, version)) == 2
        assert lifecycle.store.write(lambda tx: spreading.wanted(tx, TRUST, version + 1)) == 3
        assert lifecycle.store.write(lambda tx: spreading.wanted(tx, "trust:nobody", 1)) == 0


def test_one_that_is_paused_is_left_alone(lifecycle: Lifecycle) -> None:
    """Until it is resumed, and then it gets what it missed at once."""
    with at(0):
        add(lifecycle)
        consumers.pause(lifecycle, rig.ADMIN, "edge-1")
        version = publish(lifecycle)
        drain(lifecycle)
        assert has(lifecycle) == {}
        with pytest.raises(Conflict):
            consumers.spread_now(lifecycle, rig.ADMIN, "edge-1")
        consumers.resume(lifecycle, rig.ADMIN, "edge-1")
        drain(lifecycle)
        assert has(lifecycle) == {TRUST: version, CRL: version}
        assert [len(said(lifecycle, f"consumer-{word}")) for word in ("paused", "resumed")] == [1, 1]


def test_what_is_paused_in_the_middle_is_brought_when_resumed(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both while it is being brought: it is not lost, though nobody could plan it meanwhile."""
    with at(0):
        add(lifecycle)
        version = publish(lifecycle)
        (one,) = claim(lifecycle)
        sabotage(monkeypatch, MemoryPublisher, "stage", lambda: consumers.pause(lifecycle, rig.ADMIN, "edge-1"))
        do(lifecycle, one)
        assert has(lifecycle) == {}
        consumers.resume(lifecycle, rig.ADMIN, "edge-1")
        drain(lifecycle)
        assert has(lifecycle) == {TRUST: version, CRL: version}


def test_what_is_published_meanwhile_is_brought_next(
    any_store: Store, material: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its work is held just then, and cannot be planned."""
    lifecycle = make_lifecycle(any_store)
    with at(0):
        add(lifecycle)
        publish(lifecycle)
        (one,) = claim(lifecycle)
        newer: list[int] = []
        sabotage(monkeypatch, MemoryPublisher, "swap", lambda: newer.append(publish(lifecycle)))
        assert do(lifecycle, one) is None
        assert has(lifecycle)[TRUST] < newer[0]
        drain(lifecycle)
        assert has(lifecycle) == {TRUST: newer[0], CRL: newer[0]}
        assert planned(lifecycle) == {}


def test_two_who_bring_the_same_never_leave_the_older(
    any_store: Store, material: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is too slow: before the swap it is stopped; after it, the newer one is brought once more."""
    lifecycle = make_lifecycle(any_store)
    with at(0):
        add(lifecycle)
        publish(lifecycle)
        (slow,) = claim(lifecycle)

    def overtake() -> None:
        with at(LEASE + 1):
            publish(lifecycle)
            (quick,) = claim(lifecycle)
            assert do(lifecycle, quick) is None

    with at(0):
        sabotage(monkeypatch, MemoryPublisher, "stage", overtake)
        with pytest.raises(StaleChange):
            spreading.spread(lifecycle, slow)
        newest = holding(lifecycle).sent_version
        assert has(lifecycle)[TRUST] == newest
    with at(2 * LEASE):
        publish(lifecycle)
        (slow,) = claim(lifecycle)

    def overtake_again() -> None:
        with at(3 * LEASE + 1):
            publish(lifecycle)
            (quick,) = claim(lifecycle)
            assert do(lifecycle, quick) is None

    with at(2 * LEASE):
        sabotage(monkeypatch, MemoryPublisher, "swap", overtake_again)
        with pytest.raises(StaleChange):
            spreading.spread(lifecycle, slow)
    newest = max(row.version for row in rows(lifecycle, Publication))
    assert has(lifecycle)[TRUST] < newest  # nobody could have stopped it
    with at(3 * LEASE + 2):
        assert drain(lifecycle) == 1
    assert has(lifecycle)[TRUST] == newest == holding(lifecycle).sent_version


def test_who_was_taken_over_exchanges_nothing(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though whoever has taken over has brought nothing yet."""
    with at(0):
        add(lifecycle)
        publish(lifecycle)
        (slow,) = claim(lifecycle)

    def take_over() -> None:
        with at(LEASE + 1):
            assert len(claim(lifecycle)) == 1

    with at(0):
        sabotage(monkeypatch, MemoryPublisher, "stage", take_over)
        with pytest.raises(StaleChange):
            spreading.spread(lifecycle, slow)
        assert place(lifecycle).live is None


def test_an_older_one_is_not_brought_over_a_newer_one(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the fence is ours: what the row says was sent is looked at right before the swap."""
    with at(0):
        add(lifecycle)
        version = publish(lifecycle)
        newer = {TRUST: version + 5}
        its_id = consumer(lifecycle).id
        sabotage(
            monkeypatch,
            MemoryPublisher,
            "stage",
            lambda: lifecycle.store.write(lambda tx: holdings.mark_sent(tx, its_id, newer)),
        )
        (one,) = claim(lifecycle)
        assert do(lifecycle, one) is None
        assert place(lifecycle).live is None
        lifecycle.store.write(lambda tx: holdings.mark_sent(tx, its_id, {TRUST: 1}))
        assert holding(lifecycle).sent_version == version + 5


def test_who_is_moved_meanwhile_is_brought_it_in_the_new_place(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in the old one nothing is exchanged any more."""
    with at(0):
        add(lifecycle, settings={"place": "old-place"})
        version = publish(lifecycle)
        plan = ConsumerPlan("edge-1", publisher="memory", settings={"place": "new-place"})
        sabotage(monkeypatch, MemoryPublisher, "stage", lambda: consumers.change(lifecycle, rig.ADMIN, plan))
        drain(lifecycle)
        assert PLACES["old-place"].live is None
        assert has(lifecycle) == {TRUST: version, CRL: version}


def test_a_failure_is_retried_shown_and_over(lifecycle: Lifecycle) -> None:
    """Soon the first time, then within a minute, then within a quarter of an hour; said from the second time on."""
    name, alarm = "edge-1", ("consumer-unreachable", "edge-1")
    with at(0):
        add(lifecycle, settings={"place": "failing", "fail_stage": 12})
        publish(lifecycle)
        drain(lifecycle)
        assert alarms(lifecycle) == {}
        assert consumer(lifecycle).failing_since == clock.timestamp()
    now, waits = 0, []
    for _ in range(11):
        (row,) = planned(lifecycle).values()
        waits.append(row.due_at - int(moment(now).timestamp()))
        now += waits[-1]
        with at(now):
            assert drain(lifecycle) == 1
            assert (alarm in alarms(lifecycle)) is True
    assert SOON <= waits[0] <= 2 * SOON
    assert all(48 <= wait <= 72 for wait in waits[1:9]), waits
    assert max(waits) <= LONGEST_WAIT
    assert alarms(lifecycle)[alarm].severity == "error"
    assert "stage fails on order" in alarms(lifecycle)[alarm].message
    with at(now):
        shown = showing.show(lifecycle, rig.OPERATOR, name)
        assert (shown.last_error, set(shown.alarms)) == ("stage fails on order", {"consumer-unreachable"})
        publish(lifecycle)  # whoever is gone is not asked oftener for it
        assert claim(lifecycle) == []
    with at(now + LONGEST_WAIT):
        drain(lifecycle)
        assert alarms(lifecycle) == {}
        assert (consumer(lifecycle).failing_since, consumer(lifecycle).last_error) == (None, None)
        assert holding(lifecycle).sent_version == has(lifecycle)[TRUST]


def test_no_error_stops_it_for_good(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a refusal of the other side nor a bug of ours, whose text is shown to nobody."""
    with at(0):
        add(lifecycle)
        publish(lifecycle)
        (one,) = claim(lifecycle)
        errors = [BadRequest("no"), ValueError("a secret")]
        monkeypatch.setattr(MemoryPublisher, "stage", lambda *_: (_ for _ in ()).throw(errors.pop()))
        do(lifecycle, one)
        assert consumer(lifecycle).last_error == "ValueError"
    with at(60):
        (one,) = claim(lifecycle)
        do(lifecycle, one)
        (row,) = planned(lifecycle).values()
        assert (row.state, row.last_code) == ("waiting", "bad-request")


def test_what_cannot_be_read_there_is_put_back(lifecycle: Lifecycle) -> None:
    """The old one is in use again, and the newest comes when it is due."""
    with at(0):
        add(lifecycle, settings={"place": "rolls"})
        first = publish(lifecycle)
        drain(lifecycle)
        settings = json.dumps({"place": "rolls", "fail_reload": 1})
        lifecycle.store.write(lambda tx: tx.execute(update(Consumer).values(settings=settings)) and None)
    with at(10):
        second = publish(lifecycle)
        drain(lifecycle)
        assert has(lifecycle)[TRUST] == first
        assert holding(lifecycle).sent_version == first
    with at(30):
        drain(lifecycle)
        assert has(lifecycle)[TRUST] == second == holding(lifecycle).sent_version


def test_what_cannot_be_put_back_says_both(lifecycle: Lifecycle) -> None:
    """The first failure, and that nothing could be done about it."""
    with at(0):
        add(lifecycle, settings={"place": "broken", "fail_reload": 1, "fail_restore": 1})
        publish(lifecycle)
        (one,) = claim(lifecycle)
        error = do(lifecycle, one)
        assert isinstance(error, NotDelivered)
        assert error.message == "reload fails on order; the old one cannot be put back: restore fails on order"


def test_what_nobody_planned_is_caught_up(lifecycle: Lifecycle) -> None:
    """A consumer that was added just while something was published: its row was not seen, and its work was done."""
    with at(0):
        add(lifecycle)
        add(lifecycle, "fetches", publisher="pull", settings={})
        version = publish(lifecycle)
        drain(lifecycle)
        lifecycle.store.write(lambda tx: tx.execute(update(Holding).values(sent_version=1)) and None)
        assert planned(lifecycle) == {}
        assert spreading.catch_up(lifecycle) == 4
        assert holding(lifecycle, "fetches").sent_version == version
        drain(lifecycle)
        assert holding(lifecycle).sent_version == version
        assert spreading.catch_up(lifecycle) == 0


def test_work_of_one_that_is_gone_ends(lifecycle: Lifecycle) -> None:
    """Whatever is left of it."""
    with at(0):
        lifecycle.store.write(lambda tx: work.schedule(tx, "spread", "4711", clock.timestamp()))
        assert drain(lifecycle) == 1
        assert planned(lifecycle) == {}


def test_a_thousand_are_planned_in_one_go(any_store: Store, material: None) -> None:
    """One publication, a thousand pieces of work, however many those are that need it: a handful of statements."""
    lifecycle = make_lifecycle(any_store)
    row: dict[str, Any] = {
        "kind": "host",
        "needs": "{}",
        "publisher": "memory",
        "settings": "{}",
        "probe": "",
        "identities": "[]",
    }
    row |= {"gates": True, "fresh_within": 3600, "state": "active", "created_at": 0, "created_by": "test"}
    held = {"stream": TRUST, "sent_version": 0, "held_version": 0, "proved_by": "", "reported_at": 0}
    many = range(1, 1001)

    def unit(tx: Any) -> None:
        for number in many:
            tx.add(Consumer, {"id": number, "name": f"c{number}", **row})
            tx.add(Holding, {"consumer_id": number, **held})

    lifecycle.store.write(unit)
    with at(0):
        publish(lifecycle, TRUST)
        assert set(planned(lifecycle)) == set(map(str, many))
        assert len(holdings.lacking(lifecycle, TRUST, 1)) == 1000
        assert rows(lifecycle, Work, col(Work.due_at) > clock.timestamp()) == []


def test_who_is_alive_is_tried_at_once(lifecycle: Lifecycle) -> None:
    """A report of one that could not be reached overrides its place on the ladder."""
    with at(0):
        add(lifecycle, settings={"place": "back", "fail_stage": 2}, identities=("token:edge-1",))
        version = publish(lifecycle)
        drain(lifecycle)
    with at(7):
        drain(lifecycle)
        assert claim(lifecycle) == []
        report(lifecycle, version, caller=Caller("token:edge-1", Role.CONSUMER))
        assert drain(lifecycle) == 1
        assert has(lifecycle)[TRUST] == version


def test_real_publications_reach_a_directory(store: Store, tmp_path: Path) -> None:
    """A real root, its CRLs with a revocation, signed manifests: in files, whole, and acknowledged by their hash."""
    lifecycle = replace(publications.make_lifecycle(store), publishers={"files": make_files})
    where, domain = tmp_path / "trust", publications.OWN
    plan: dict[str, Any] = {"needs": {"bundle": ["pem", "spiffe"]}, "identities": ("token:edge-1",)}
    add(lifecycle, publisher="files", settings={"directory": str(where)}, **plan)
    drain(lifecycle)
    assert not where.exists()
    for _ in range(2):
        publications.list_revoked(lifecycle)
        assert publishing.publish_due(lifecycle)
        drain(lifecycle)
        brought = material.material_for(lifecycle, "edge-1", read_needs(plan["needs"], domain))
        assert {path.name: path.read_bytes() for path in (where / "live").iterdir()} == dict(brought.material.files)
        for stream, version in brought.versions.items():
            assert holding(lifecycle, stream=stream).sent_version == version
    revoked = {entry.serial_number for crl in _lists(where / "live" / "crl.pem") for entry in crl}
    assert len(revoked) == 2
    for stream, version in brought.versions.items():
        report(lifecycle, version, stream=stream, sha256=brought.sha256s[stream])
    assert showing.show(lifecycle, rig.OPERATOR, "edge-1").is_current


def _lists(path: Path) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----"
    return [x509.load_pem_x509_crl(one + end) for one in path.read_bytes().split(end)[:-1]]
