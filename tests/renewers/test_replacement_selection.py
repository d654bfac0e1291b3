"""What is selected: read strictly, along an index, and never all at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, NotFound
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan
from renewers.models import Endpoint, Tracked
from renewers.replacing import listing, order, selection
from renewers.replacing.order import OTHERS, Weight
from renewers.replacing.selection import Selection, decode, read_selection
from tests import rig
from tests.renewers.replacing import Replacing, Template, template

LINEAGES = 12
SHA256 = "ab" * 32


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Lineages that have their certificates."""
    return template(tmp_path_factory.mktemp("template"), LINEAGES)


@pytest.fixture
def world(ready: Template, tmp_path: Path) -> Iterator[Replacing]:
    """A world of one's own."""
    with ready.world(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"authorities": []},
        {"everything": True},
        {"authorities": "issuing"},
        {"authorities": [1]},
        {"authorities": [""]},
        {"authorities": ["x"] * 1001},
        {"spki_sha256": ["zz"]},
        {"key_type": "P-257"},
        {"host": "a/b"},
        {"host": "%"},
        {"owner": "a\nb"},
        {"profile": 3},
        {"serials": ["no serial"]},
    ],
)
def test_a_selection_that_says_nothing_clear_is_refused(wrong: dict[str, Any]) -> None:
    """Before anything is looked up."""
    with pytest.raises(BadRequest):
        read_selection(wrong)


def test_what_was_said_is_kept_as_it_was_said() -> None:
    """In one form."""
    found = read_selection({"spki_sha256": [f"SHA256:{SHA256.upper()}"], "host": "Example.COM", "key_type": "P-256"})
    assert found == Selection(spki_sha256=(SHA256,), host="example.com", key_type="P-256")
    assert decode(found.encode()) == found


WEIGHTS = st.builds(
    Weight,
    endpoints=st.integers(0, 1 << 20),
    names=st.integers(0, 1 << 12),
    sharing=st.integers(0, 1 << 12),
    seconds_left=st.integers(-1, 1 << 34),
)


@given(WEIGHTS, WEIGHTS)
def test_the_order_is_by_what_is_at_stake(one: Weight, other: Weight) -> None:
    """Places before names before shared keys before time left; within what a database's integer holds."""

    def capped(weight: Weight) -> tuple[int, int, int, int]:
        most = (order.ENDPOINTS, order.NAMES, order.SHARING)
        at_stake = [
            -min(value, cap) for value, cap in zip((weight.endpoints, weight.names, weight.sharing), most, strict=True)
        ]
        return (*at_stake, min(max(weight.seconds_left // 3600, 0), order.HOURS))  # type: ignore[return-value]

    assert (order.place(one) < order.place(other)) == (capped(one) < capped(other))
    assert 0 <= order.place(one) < OTHERS
    assert order.place(one) + OTHERS < 1 << 31


def selected(world: Replacing, **said: Any) -> set[str]:
    """What a selection comes to: what these are shown as."""
    with world.store.read() as connection:
        resolved = selection.resolve(world.lifecycle, connection, read_selection(said))
        with clock.pinned(world.at):
            return {one.shown_as for page in listing.pages(connection, resolved) for one in page.candidates}


def test_each_criterion_finds_what_it_says(world: Replacing) -> None:
    """And together they narrow."""
    everything = world.rows(Tracked, col(Tracked.kind) == "certificate")
    all_of_it = {row.shown_as for row in everything}
    third = next(row for row in everything if row.shown_as == "host-3.example.internal")
    assert third.spki_sha256 is not None
    assert selected(world, authorities=["issuing"]) == all_of_it
    assert selected(world, authorities=["root"]) == set()
    assert selected(world, profile="server") == all_of_it
    assert selected(world, profile="mesh") == set()
    assert selected(world, key_type="P-256") == all_of_it
    assert selected(world, key_type="P-384") == set()
    assert selected(world, serials=[third.serial]) == {third.shown_as}
    assert selected(world, spki_sha256=[third.spki_sha256.hex()]) == {third.shown_as}
    assert selected(world, lineages=["drill-0000003"]) == {third.shown_as}
    assert selected(world, host="host-3.example.internal") == {third.shown_as}
    assert selected(world, host="example.internal") == all_of_it
    assert selected(world, host="xample.internal") == set()
    assert selected(world, host="host_3.example.internal") == set()
    assert (
        selected(
            world, lineages=["drill-0000003"], serials=[next(row.serial for row in everything if row.id != third.id)]
        )
        == set()
    )
    for wrong in ({"authorities": ["no-such"]}, {"lineages": ["no-such"]}, {"owner": "no-such"}):
        with pytest.raises(NotFound):
            selected(world, **wrong)


def test_by_owner_and_by_the_host_where_it_was_seen(world: Replacing) -> None:
    """Whose it is, is worked out; a host counts exactly, or what is beneath it."""
    with clock.pinned(world.at):
        owners.add(world.lifecycle, rig.ADMIN, OwnerPlan("fallback", "all@example.org"))
        owners.add(world.lifecycle, rig.ADMIN, OwnerPlan("web", "web@example.org"))
        owners.assign(world.lifecycle, rig.ADMIN, "web", lineage="drill-0000001")
    row = world.rows(Tracked, col(Tracked.kind) == "certificate")[7]
    place = {"place": "tls:edge.example.net:443", "tracked_id": row.id, "found_by": "scan", "findings": "[]"}
    world.store.write(lambda tx: tx.add(Endpoint, {**place, "last_asked": 0}))
    assert selected(world, owner="web") == {"host-1.example.internal"}
    assert len(selected(world, owner="fallback")) == LINEAGES - 1
    assert selected(world, host="edge.example.net") == {row.shown_as}
    assert selected(world, host="example.net") == {row.shown_as}
    assert selected(world, host="edge.example.ne") == set()


def test_no_page_looks_at_more_than_a_window(world: Replacing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever there is; the pages together have everything, each thing once."""
    monkeypatch.setattr(listing, "WINDOW", 5)
    for said in ({"authorities": ["issuing"]}, {"key_type": "P-256"}, {"host": "example.internal"}):
        with world.store.read() as connection, clock.pinned(world.at):
            resolved = selection.resolve(world.lifecycle, connection, read_selection(said))
            pages = list(listing.pages(connection, resolved))
        assert max(len(page.candidates) for page in pages) <= 5
        ids = [one.id for page in pages for one in page.candidates]
        assert len(ids) == len(set(ids)) == LINEAGES


def test_what_names_an_authority_is_read_along_the_index_of_issuers(world: Replacing) -> None:
    """The database says so itself: no table is scanned."""
    with world.store.read() as connection:
        resolved = selection.resolve(world.lifecycle, connection, read_selection({"authorities": ["issuing"]}))
        road = next(iter(resolved.roads.values()))
        query = select(col(Tracked.id)).where(road, col(Tracked.id) > 5).order_by(col(Tracked.id)).limit(10)
        text = str(query.compile(compile_kwargs={"literal_binds": True}))
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert all("tracked_issuer" in line for line in plan)
    assert not [line for line in plan if "SCAN" in line or "TEMP B-TREE" in line]
