"""Consumers as people manage them: checked before they are written down, by who may, and no two in one place."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import col

from ca import clock
from ca.access import Caller, Role
from ca.errors import BadRequest, CertwrightError, Conflict, Forbidden, NotFound
from ca.store import Store, open_store
from ca.store.commit import StaleChange
from renewers.distribution import consumers, places, reporting, sharing, showing
from renewers.distribution.consumers import ConsumerPlan
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Holding, Latency, Work
from tests import rig
from tests.postgresql import fresh_database
from tests.renewers.consuming import (
    CRL,
    SEALER,
    TRUST,
    add,
    alarms,
    consumer,
    drain,
    has,
    holding,
    make_lifecycle,
    material_without_files,
    moment,
    open_rotation,
    place,
    planned,
    publish,
    report,
    rows,
    said,
    told,
)

__all__ = ["material_without_files"]

PLAN = ConsumerPlan("edge-1", "proxy", publisher="memory", settings={"place": "edge-1"})


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """Publishers in memory, and nothing published."""
    return make_lifecycle(store)


def test_it_is_written_down_as_planned(lifecycle: Lifecycle) -> None:
    """With what it needs, what it may hold, who did it, and the work that brings it what there is."""
    owners.add(lifecycle, rig.ADMIN, OwnerPlan("mesh team", "mesh@example.org"))
    plan = replace(
        PLAN,
        owner="mesh team",
        needs={"bundle": ["pem", "spiffe"], "crl": "delta"},
        probe="https:edge.example:443/health?name=edge",
        identities=("token:edge", "name:uri:spiffe://certwright.internal/edge"),
        gates=False,
        fresh_within=600,
    )
    added = consumers.add(lifecycle, rig.ADMIN, plan)
    row = consumer(lifecycle)
    assert (row.id, row.kind, row.state, row.gates, row.fresh_within) == (added.id, "proxy", "active", False, 600)
    assert json.loads(row.needs)["bundle"] == ["pem", "spiffe"]
    assert json.loads(row.identities) == ["name:uri:spiffe://certwright.internal/edge", "token:edge"]
    assert [(one.stream, one.held_version) for one in rows(lifecycle, Holding)] == [(CRL, 0), (TRUST, 0)]
    assert set(planned(lifecycle)) == {str(added.id)}
    assert added.secret is None
    (entry,) = said(lifecycle, "consumer-added")
    assert (entry["subject"], entry["by"], entry["gates"]) == ("consumer:edge-1", rig.ADMIN.identity, False)
    assert ("consumer-added", "edge-1") in told(lifecycle)
    shown = consumers.show(lifecycle, rig.OPERATOR, "edge-1")
    assert (shown.owner, shown.proves_by) == ("mesh team", ("report", "probe"))


BAD: list[tuple[dict[str, Any], type[CertwrightError], str]] = [
    ({"name": ""}, BadRequest, "bad-consumer-name"),
    ({"name": "Edge"}, BadRequest, "bad-consumer-name"),
    ({"name": "a..b"}, BadRequest, "bad-consumer-name"),
    ({"name": "a/b"}, BadRequest, "bad-consumer-name"),
    ({"name": "a\n"}, BadRequest, "bad-consumer-name"),
    ({"name": "-a"}, BadRequest, "bad-consumer-name"),
    ({"name": "a" * 64}, BadRequest, "bad-consumer-name"),
    ({"kind": "toaster"}, BadRequest, "bad-kind"),
    ({"owner": "nobody"}, NotFound, "unknown-owner"),
    ({"needs": {"bundle": ["docx"]}}, BadRequest, "bad-needs"),
    ({"publisher": "ftp"}, BadRequest, "bad-publisher"),
    ({"settings": {"place": "x", "colour": 1}}, BadRequest, "bad-settings"),
    ({"publisher": "files", "settings": {"directory": "x"}}, BadRequest, "bad-settings"),
    ({"probe": "edge.example:443"}, BadRequest, "bad-probe"),
    ({"identities": ("edge",)}, BadRequest, "bad-identity"),
    ({"identities": ("name:edge",)}, BadRequest, "bad-identity"),
    ({"identities": ("name:dns:*.example.org",)}, BadRequest, "bad-identity"),
    ({"identities": ("token:a b",)}, BadRequest, "bad-identity"),
    ({"identities": (3,)}, BadRequest, "bad-identity"),
    ({"identities": ("jwt:cluster",)}, BadRequest, "bad-identity"),
    ({"identities": ("jwt:Cluster:a",)}, BadRequest, "bad-identity"),
    ({"identities": tuple(f"token:t{n}" for n in range(21))}, BadRequest, "bad-identity"),
    ({"fresh_within": 1}, BadRequest, "bad-fresh-within"),
    ({"fresh_within": True}, BadRequest, "bad-fresh-within"),
]


def test_a_wrong_plan_changes_nothing(lifecycle: Lifecycle) -> None:
    """It is refused by name, when it is added and when it is changed."""
    for wrong, kind, code in BAD:
        with pytest.raises(kind) as caught:
            consumers.add(lifecycle, rig.ADMIN, replace(PLAN, **wrong))
        assert caught.value.code == code, wrong
    assert rows(lifecycle, Consumer) == []
    consumers.add(lifecycle, rig.ADMIN, PLAN)
    before = consumer(lifecycle)
    for wrong, _, _ in BAD:
        with pytest.raises(CertwrightError):
            consumers.change(lifecycle, rig.ADMIN, replace(PLAN, **wrong))
        assert consumer(lifecycle) == before, wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https:edge.example:443", ("https", "edge.example", 443, None, "/")),
        ("https:Edge.example:8443/a/b", ("https", "edge.example", 8443, None, "/a/b")),
        ("tls:10.0.0.7:443?name=edge.example", ("tls", "10.0.0.7", 443, "edge.example", "/")),
        ("mqtts:[2001:db8::1]:8883", ("mqtts", "2001:db8::1", 8883, None, "/")),
    ],
)
def test_a_probe_is_read(text: str, expected: tuple[Any, ...]) -> None:
    """Where, how, as whom, and what is asked for."""
    found = places.read_probe(text)
    assert (found.protocol, found.host, found.port, found.server_name, found.path) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "tls", "tls:", "tls:host", "tls:host:0", "tls:host:70000", "http:host:80", "https://host"),
        *("tls:host:1/x", "tls:host:1?name=", "tls:host:1?x=y", "tls:host:1?name=a#b", "tls:host:1?name=a b"),
        *("tls:10.0.0.0/8:1", "tls:224.0.0.1:1", "tls:0.0.0.0:1", "https:h:1/a b", "https:h:1/\r\nx", "tls:h\n:1"),
        "tls:" + "a" * 700,
    ],
)
def test_what_is_no_probe_is_refused(text: str) -> None:
    """Each by the same code."""
    with pytest.raises(BadRequest) as caught:
        places.read_probe(text)
    assert caught.value.code == "bad-probe"
    assert caught.value.message.isprintable()


HARMLESS = [("pull", {}), ("files", {"directory": "/srv/trust", "keep": 5})]


@pytest.mark.parametrize(("publisher", "settings"), HARMLESS)
def test_an_operator_adds_what_is_harmless(lifecycle: Lifecycle, publisher: str, settings: dict[str, Any]) -> None:
    """One that fetches, or a directory of ours; to change or remove it, or anything else, takes an administrator."""
    plan = replace(PLAN, publisher=publisher, settings=settings)
    consumers.add(lifecycle, rig.OPERATOR, plan)
    for forbidden in (
        lambda: consumers.change(lifecycle, rig.OPERATOR, replace(plan, gates=False)),
        lambda: consumers.remove(lifecycle, rig.OPERATOR, "edge-1"),
        lambda: consumers.pause(lifecycle, rig.OPERATOR, "edge-1"),
        lambda: consumers.resume(lifecycle, rig.OPERATOR, "edge-1"),
        lambda: consumers.rotate_secret(lifecycle, rig.OPERATOR, "edge-1"),
        lambda: consumers.spread_now(lifecycle, rig.OPERATOR, "edge-1"),
    ):
        with pytest.raises(Forbidden):
            forbidden()
    for other in (
        replace(PLAN, name="b"),
        replace(PLAN, name="b", publisher="files", settings={"directory": "/srv/b", "reload": ["/bin/true"]}),
        replace(PLAN, name="b", publisher="files", settings={"directory": "/srv/b", "owner": "daemon"}),
    ):
        with pytest.raises(Forbidden):
            consumers.add(lifecycle, rig.OPERATOR, other)
    assert [row.name for row in rows(lifecycle, Consumer)] == ["edge-1"]


def test_others_add_nothing(lifecycle: Lifecycle) -> None:
    """Whatever it is."""
    for role in (Role.REQUESTER, Role.CONSUMER, Role.AUDITOR, Role.HOLDER):
        with pytest.raises(Forbidden):
            consumers.add(lifecycle, Caller("token:x", role), replace(PLAN, publisher="pull", settings={}))


def test_a_place_and_an_identity_belong_to_one(lifecycle: Lifecycle) -> None:
    """Also if the other is a destination; its own everybody keeps, and those who fetch are in nobody's way."""
    plan = replace(PLAN, publisher="files", settings={"directory": "/srv/a"}, identities=("token:a", "token:b"))
    consumers.add(lifecycle, rig.ADMIN, plan)
    with pytest.raises(Conflict) as caught:
        consumers.add(
            lifecycle, rig.ADMIN, replace(plan, name="b", settings={"directory": "/srv/a", "keep": 9}, identities=())
        )
    assert caught.value.code == "place-taken"
    with pytest.raises(Conflict) as caught:
        consumers.add(
            lifecycle, rig.ADMIN, replace(plan, name="b", settings={"directory": "/srv/b"}, identities=("token:b",))
        )
    assert (caught.value.code, caught.value.message) == ("identity-taken", "edge-1 reports as token:b already")
    consumers.change(lifecycle, rig.ADMIN, replace(plan, fresh_within=90))
    for name in ("b", "c"):
        consumers.add(lifecycle, rig.ADMIN, ConsumerPlan(name, identities=(f"token:b{name}",)))
    with pytest.raises(Conflict):
        consumers.change(lifecycle, rig.ADMIN, ConsumerPlan("c", identities=("token:a",)))

    def unit(tx: Any) -> None:
        places.refuse_taken(tx, "files", {"directory": "/srv/a"}, destination="web")

    with pytest.raises(Conflict, match="the consumer edge-1"):
        lifecycle.store.write(unit)


def test_a_destination_has_its_place_for_itself(lifecycle: Lifecycle) -> None:
    """A consumer is not brought where a certificate is."""
    from renewers.delivering import destinations
    from renewers.delivering.destinations import DestinationPlan
    from tests.renewers.delivering import add_lineage

    add_lineage(lifecycle)
    destinations.add(lifecycle, rig.ADMIN, DestinationPlan("web", "api", "memory", {"place": "edge-1"}))
    with pytest.raises(Conflict, match="the destination web"):
        consumers.add(lifecycle, rig.ADMIN, PLAN)


def test_two_replicas_do_not_both_have_the_place(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sees what the other has not committed yet: one of them is turned away at the door, and tries again."""
    url = fresh_database(postgresql)
    stores = {name: open_store(url) for name in ("first", "second")}
    real_door, real_look, met = consumers._be_alone, consumers._refuse_clashes, threading.Event()
    outcomes: dict[str, str] = {}

    def at_the_door(tx: Any) -> None:
        try:
            real_door(tx)
        except StaleChange:
            met.set()
            raise

    def look(tx: Any, plan: ConsumerPlan, values: Any) -> int | None:
        if plan.name == "second":
            found = real_look(tx, plan, values)
            met.set()  # it has not seen the first
            return found
        found = real_look(tx, plan, values)
        entered.set()
        assert met.wait(60)
        return found

    def one(name: str) -> None:
        try:
            consumers.add(make_lifecycle(stores[name]), rig.ADMIN, replace(PLAN, name=name))
            outcomes[name] = "added"
        except Conflict as error:
            outcomes[name] = error.code

    entered = threading.Event()
    monkeypatch.setattr(consumers, "_be_alone", at_the_door)
    monkeypatch.setattr(consumers, "_refuse_clashes", look)
    threads = [threading.Thread(target=one, args=(name,)) for name in stores]
    threads[0].start()
    assert entered.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    for opened in stores.values():
        opened.close()
    assert outcomes == {"first": "added", "second": "place-taken"}


def test_a_secret_is_shown_once_and_sealed(lifecycle: Lifecycle) -> None:
    """It is in no column, ledger entry, event or representation; another name does not open it."""
    added = add(lifecycle, makes_secret=True)
    assert added.secret is not None
    text = added.secret.reveal()
    assert text.startswith("whsec_")
    assert text not in repr(added)
    row = consumer(lifecycle)
    assert sharing.reveal(SEALER, row.sealed_secret, "edge-1") == text
    with pytest.raises(CertwrightError):
        sharing.reveal(SEALER, row.sealed_secret, "edge-2")
    second = consumers.rotate_secret(lifecycle, rig.ADMIN, "edge-1")
    assert sharing.reveal(SEALER, consumer(lifecycle).sealed_secret, "edge-1") == second.reveal() != text
    everything = repr([rows(lifecycle, one) for one in (Consumer, Alarm, Work)]) + repr(
        said(lifecycle, "consumer-added")
    )
    assert text not in everything
    assert consumers.show(lifecycle, rig.OPERATOR, "edge-1").has_secret


def test_what_is_called_a_secret_is_not_shown() -> None:
    """Nor recorded; what is not, is."""
    settings = {"url": "https://a.example", "secret": "x", "Password": "y", "secret_access_key": "z", "keep": 3}
    assert places.shown_settings(settings) == {
        "url": "https://a.example",
        "secret": "(hidden)",
        "Password": "(hidden)",
        "secret_access_key": "(hidden)",
        "keep": 3,
    }
    given_back = places.with_hidden({**places.shown_settings(settings), "keep": 4}, settings)
    assert given_back == {**settings, "keep": 4}


def test_in_another_place_nothing_is_proved(lifecycle: Lifecycle, material: None) -> None:
    """It is brought there again, at once; with other settings for the same place, too, and then stays proved."""
    with clock.pinned(moment()):
        add(lifecycle, settings={"place": "old"}, identities=("token:edge-1",))
        version = publish(lifecycle)
        drain(lifecycle)
        report(lifecycle, version)
        rotation = open_rotation(lifecycle)
        plan = replace(PLAN, settings={"place": "old", "fail_stage": 0}, identities=("token:edge-1",))
        consumers.change(lifecycle, rig.ADMIN, plan)
        assert (holding(lifecycle).held_version, holding(lifecycle).sent_version) == (version, 0)
        drain(lifecycle)
        assert holding(lifecycle).sent_version == version
        consumers.change(lifecycle, rig.ADMIN, replace(plan, settings={"place": "new"}))
        assert (holding(lifecycle).held_version, holding(lifecycle).proved_by) == (0, "")
        assert str(rotation) in planned(lifecycle, "rotate")
        drain(lifecycle)
        assert has(lifecycle) == {TRUST: version, CRL: version}


def test_what_it_needs_decides_what_it_may_hold(lifecycle: Lifecycle, material: None) -> None:
    """Rows come and go with the streams; what it holds of those that stay, it holds; alarms about others are over."""
    with clock.pinned(moment()):
        add(lifecycle, settings={"place": "edge-1"}, identities=("token:edge-1",))
        version = publish(lifecycle)
        drain(lifecycle)
        report(lifecycle, version)
        report(lifecycle, version, stream=CRL, state="refused", reason="too large")
        assert ("consumer-refuses", f"edge-1/{CRL}") in alarms(lifecycle)
        consumers.change(lifecycle, rig.ADMIN, replace(PLAN, needs={"crl": "none"}, identities=("token:edge-1",)))
        assert [(row.stream, row.held_version) for row in rows(lifecycle, Holding)] == [(TRUST, version)]
        assert alarms(lifecycle) == {}
        assert drain(lifecycle) == 1
        assert has(lifecycle) == {TRUST: version}


def test_one_that_is_removed_leaves_nothing_behind(lifecycle: Lifecycle, material: None) -> None:
    """No rows, no work, no alarms; rotations look again; what was brought there stays."""
    with clock.pinned(moment()):
        add(lifecycle, identities=("token:edge-1",))
        version = publish(lifecycle)
        drain(lifecycle)
        report(lifecycle, version)
        report(lifecycle, version, stream=CRL, state="refused")
        rotation, where = open_rotation(lifecycle), place(lifecycle)
        publish(lifecycle)
        consumers.remove(lifecycle, rig.ADMIN, "edge-1")
        for table in (Consumer, Holding, Latency, Alarm):
            assert rows(lifecycle, table) == [], table
        assert set(planned(lifecycle)) == set()
        assert str(rotation) in planned(lifecycle, "rotate")
        assert where.live is not None
        with pytest.raises(NotFound):
            consumers.remove(lifecycle, rig.ADMIN, "edge-1")
        assert [entry["gates"] for entry in said(lifecycle, "consumer-removed")] == [True]


def test_pages_go_by_name(lifecycle: Lifecycle) -> None:
    """All, or those of a stream; each once."""
    for name in ("c", "a", "b"):
        add(lifecycle, name, needs={"crl": "none"} if name == "b" else {})
    first, cursor = consumers.page(lifecycle, rig.OPERATOR, limit=2)
    rest, end = consumers.page(lifecycle, rig.OPERATOR, cursor=cursor, limit=2)
    assert ([one.name for one in first], [one.name for one in rest], end) == (["a", "b"], ["c"], None)
    assert [one.name for one in consumers.page(lifecycle, rig.OPERATOR, stream=CRL)[0]] == ["a", "c"]
    with pytest.raises(BadRequest):
        consumers.page(lifecycle, rig.OPERATOR, limit=0)
    with pytest.raises(Forbidden):
        consumers.page(lifecycle, Caller("token:x", Role.CONSUMER))
    with pytest.raises(NotFound):
        showing.show(lifecycle, rig.OPERATOR, "d")


def test_identities_have_one_form() -> None:
    """So that two ways to write one are one."""
    assert reporting.check_identities(("name:dns:Edge.Example", "name:dns:edge.example")) == ("name:dns:edge.example",)


def test_a_name_is_given_once(lifecycle: Lifecycle) -> None:
    """The second is a conflict that says so; a change of nobody is not found."""
    consumers.add(lifecycle, rig.ADMIN, PLAN)
    with pytest.raises(Conflict) as caught:
        consumers.add(lifecycle, rig.ADMIN, replace(PLAN, settings={"place": "b"}))
    assert caught.value.code == "consumer-exists"
    with pytest.raises(NotFound):
        consumers.change(lifecycle, rig.ADMIN, replace(PLAN, name="b", settings={"place": "b"}))
    assert rows(lifecycle, Consumer, col(Consumer.name) == "b") == []
