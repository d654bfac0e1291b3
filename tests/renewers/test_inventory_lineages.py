"""Lineages as people plan them: what is planned is done, what cannot be is refused, what is removed is not lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import time
from typing import Any

import pytest
from sqlalchemy import insert, update

from ca import clock
from ca.errors import BadRequest, Conflict, NotFound
from ca.store import Store
from ca.x509.names import parse
from renewers import work
from renewers.inventory import lineages, owners
from renewers.inventory.lineages import LineagePlan
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Alarm, Destination, Event, Lineage, Renewal, Tracked, Work
from renewers.telling.alarms import Trouble, raise_alarm
from renewers.timing.windows import Window
from tests import rig
from tests.ca.world import entries, rows
from tests.renewers import foreign
from tests.renewers.foreign import facts, numbered, tracked

ADMIN = rig.ADMIN
NIGHT = Window("night", frozenset({0, 6}), time(1), time(3), "UTC")


@pytest.fixture
def life(store: Store) -> Lifecycle:
    """An installation without a CA: lineages need none."""
    installation = rig.make_installation(store, with_hierarchy=False)
    life = foreign.lifecycle(installation, policy=Policy(windows={"night": NIGHT}))
    owners.add(life, ADMIN, OwnerPlan("web", "web@example.org"))
    return life


def plan(name: str = "shop", *names: str, **choices: Any) -> LineagePlan:
    """A plan for a renewed lineage."""
    return LineagePlan(name, tuple(map(parse, names or ("dns:shop.example",))), **choices)


def renewals(life: Lifecycle) -> list[tuple[str, str, int]]:
    """What is due to be renewed."""
    return [(row.subject, row.state, row.due_at) for row in rows(life.store, Work) if row.kind == "renew"]


def test_a_plan_becomes_a_row_and_work(life: Lifecycle) -> None:
    """In one transaction: the row, the renewal that is due at once, the ledger entry and the event."""
    whole = plan("shop", "dns:b.example", "dns:a.example", issuers=("other", "internal"), profile="server")
    whole = replace(whole, key_type="P-384", key_age=3600, lifetime=7200, window="night", owner="web")
    id_ = lineages.create(life, ADMIN, whole)
    (row,) = rows(life.store, Lineage)
    assert (row.id, row.name, row.mode, row.profile, row.key_type) == (id_, "shop", "renewed", "server", "P-384")
    assert (json.loads(row.names), json.loads(row.issuers)) == (
        ["dns:a.example", "dns:b.example"],
        ["other", "internal"],
    )
    assert (row.key_age, row.lifetime, row.window) == (3600, 7200, "night")
    assert renewals(life)[0][:2] == (str(id_), "waiting")
    assert entries(life.store, "lineage-created", subject="shop")[0]["owner"] == "web"
    assert [event.kind for event in rows(life.store, Event)] == ["lineage-created"]
    shown = lineages.show(life, rig.AUDITOR, "shop")
    assert (shown.owner, shown.current, shown.destinations) == ("web", None, ())
    assert lineages.find(life.store, "shop").id == lineages.find(life.store, f"#{id_}").id == id_


@pytest.mark.parametrize(
    "alter",
    [
        lambda p: replace(p, name=""),
        lambda p: replace(p, name="a\nb"),
        lambda p: replace(p, name="x" * 121),
        lambda p: replace(p, names=()),
        lambda p: replace(p, names=(parse("dns:a.example"),) * 2),
        lambda p: replace(p, names=tuple(parse(f"dns:n{n}.example") for n in range(101))),
        lambda p: replace(p, names=(parse("dns:a.example")._replace(value="A.example"),)),
        lambda p: replace(p, names=(parse("dns:a.example")._replace(value="a\0.example"),)),
        lambda p: replace(p, mode="somehow"),
        lambda p: replace(p, issuers=("nobody",)),
        lambda p: replace(p, issuers=("internal", "internal")),
        lambda p: replace(p, key_type="RSA-1024"),
        lambda p: replace(p, key_age=-1),
        lambda p: replace(p, lifetime=0),
        lambda p: replace(p, window="noon"),
        lambda p: replace(p, profile="a b"),
        lambda p: replace(p, owner="nobody"),
    ],
)
def test_what_cannot_be_done_is_not_planned(life: Lifecycle, alter: Callable[[LineagePlan], LineagePlan]) -> None:
    """Each refusal is plain, and nothing has changed: not by making it, not by changing to it."""
    with pytest.raises((BadRequest, NotFound)) as caught:
        lineages.create(life, ADMIN, alter(plan()))
    assert caught.value.message.isprintable()
    assert rows(life.store, Lineage) == []
    lineages.create(life, ADMIN, plan())
    before = rows(life.store, Lineage)
    with pytest.raises((BadRequest, NotFound)):
        lineages.change(life, ADMIN, "shop", alter)
    assert rows(life.store, Lineage) == before


def test_names_and_lineages_are_planned_once(life: Lifecycle) -> None:
    """Neither two of one name, nor two for the same names, unless their keys differ."""
    lineages.create(life, ADMIN, plan())
    with pytest.raises(Conflict, match="already a lineage"):
        lineages.create(life, ADMIN, plan("shop", "dns:other.example"))
    with pytest.raises(Conflict, match="as shop"):
        lineages.create(life, ADMIN, plan("again"))
    lineages.create(life, ADMIN, plan("shop-rsa", key_type="RSA-2048"))
    with pytest.raises(Conflict, match="as shop"):
        lineages.change(life, ADMIN, "shop-rsa", lambda p: replace(p, key_type=""))


def test_a_plan_takes_over_what_is_tracked(life: Lifecycle) -> None:
    """What a scan found keeps its history and its owner, and is what the first renewal replaces."""
    id_ = tracked(life, facts("dns:shop.example"))
    owners.assign(life, ADMIN, "web", lineage="shop.example")
    with pytest.raises(Conflict, match=r"those of shop\.example"):
        lineages.create(life, ADMIN, plan(mode="manual"))
    made = lineages.create(life, ADMIN, plan())
    (row,) = rows(life.store, Lineage)
    assert (row.id, row.name, row.mode, row.current_id) == (made, "shop", "renewed", id_)
    assert lineages.show(life, ADMIN, "shop").owner == "web"
    new = tracked(life, facts("dns:shop.example", serial=numbered(9)), "renewed", lineage_id=made)
    assert {row.id: row.replaced_by for row in rows(life.store, Tracked)} == {id_: new, new: None}


def test_new_names_are_due_at_once(life: Lifecycle) -> None:
    """Even where the renewal had been put off, or had stopped for good."""
    id_ = lineages.create(life, ADMIN, plan())
    later = clock.timestamp() + 86400
    life.store.write(
        lambda tx: tx.execute(update(Work).values(due_at=later, state="stopped", failing_since=1)) and None
    )
    lineages.change(life, ADMIN, "shop", lambda p: replace(p, window="night"))
    assert renewals(life) == [(str(id_), "stopped", later)]
    lineages.change(life, ADMIN, "shop", lambda p: replace(p, names=(*p.names, parse("dns:www.shop.example"))))
    ((_, state, due),) = renewals(life)
    assert (state, due <= clock.timestamp()) == ("waiting", True)
    (entry,) = entries(life.store, "lineage-changed", names=["dns:shop.example", "dns:www.shop.example"])
    assert entry["was"] == "shop"


def test_a_lineage_changes_hands(life: Lifecycle) -> None:
    """What a person renews is no work of ours any more; handed back, it is at once."""
    lineages.create(life, ADMIN, plan())
    lineages.change(life, ADMIN, "shop", lambda p: replace(p, mode="manual", name="store"))
    assert renewals(life) == []
    lineages.change(life, ADMIN, "store", lambda p: replace(p, mode="renewed"))
    assert len(renewals(life)) == 1


def test_odd_names_survive_a_change_of_something_else(life: Lifecycle) -> None:
    """A lineage that was found with names that nobody could plan keeps them, and its successors."""
    odd = facts(extensions=[foreign.extension("2.5.29.17", b"\x30\x05\x82\x03a\x00b")])
    id_ = tracked(life, odd, "imported")
    (before,) = rows(life.store, Lineage)
    lineages.change(life, ADMIN, before.name, lambda p: replace(p, owner="web"))
    (after,) = rows(life.store, Lineage)
    assert (after.names, after.names_key) == (before.names, before.names_key)
    assert after.owner_id is not None
    with pytest.raises(BadRequest):
        lineages.change(life, ADMIN, before.name, lambda p: replace(p, mode="renewed"))
    assert id_ == after.current_id


def test_what_is_removed_is_not_lost(life: Lifecycle) -> None:
    """Its certificate stays tracked and owned and is looked at again; its work, renewal and alarms are gone."""
    made = lineages.create(life, ADMIN, plan(owner="web"))
    id_ = tracked(life, facts("dns:shop.example"), "renewed", lineage_id=made)
    renewal = {"lineage_id": made, "state": "open", "reason": "due", "issuer": "", "csr": b"", "sealed_key": b"key"}
    times = {"key_made_at": 1, "started_at": 1}
    life.store.write(lambda tx: tx.execute(insert(Renewal).values(**renewal, **times)) and None)
    life.store.write(lambda tx: raise_alarm(tx, Trouble("renewal-failing", "shop", "warning", "it fails")))
    lineages.remove(life, ADMIN, "shop")
    assert rows(life.store, Lineage) == []
    assert renewals(life) == []
    assert rows(life.store, Alarm) == []
    (row,) = rows(life.store, Tracked)
    assert (row.id, row.lineage_id, row.stage, row.next_look is not None) == (id_, None, "fine", True)
    assert row.owner_id is not None
    assert [(row.state, row.sealed_key) for row in rows(life.store, Renewal)] == [("cancelled", None)]


def test_what_is_brought_somewhere_is_not_removed_by_accident(life: Lifecycle) -> None:
    """Destinations keep it, unless somebody forces it who may remove those, too."""
    made = lineages.create(life, ADMIN, plan())
    values = {"name": "edge", "lineage_id": made, "publisher": "files", "settings": "{}", "probe": "", "rank": 0}
    rest = {"state": "waiting", "changed_at": 1, "created_at": 1, "created_by": "test"}
    life.store.write(lambda tx: tx.execute(insert(Destination).values(**values, **rest)) and None)
    (row,) = rows(life.store, Destination)
    life.store.write(lambda tx: work.schedule(tx, "deliver", str(row.id), 1))
    with pytest.raises(Conflict, match="edge"):
        lineages.remove(life, ADMIN, "shop")
    lineages.remove(life, ADMIN, "shop", is_forced=True)
    assert rows(life.store, Destination) == rows(life.store, Lineage) == rows(life.store, Work) == []


def test_lineages_come_in_pages(life: Lifecycle) -> None:
    """By name, each once."""
    for number in range(5):
        mode = "renewed" if number % 2 else "manual"
        lineages.create(life, ADMIN, plan(f"l{number}", f"dns:l{number}.example", mode=mode))
    found, cursor = [], ""
    while cursor is not None:
        page, cursor = lineages.listing(life, ADMIN, cursor=cursor, limit=2)  # type: ignore[assignment]
        found += [row.name for row in page]
    assert found == [f"l{number}" for number in range(5)]
    assert [row.name for row in lineages.listing(life, ADMIN, mode="renewed")[0]] == ["l1", "l3"]
    with pytest.raises(BadRequest):
        lineages.listing(life, ADMIN, limit=0)
