"""Destinations as people manage them: checked before they are written down, allowed to who may hand keys out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ca.access import Caller, Operation, Role
from ca.errors import BadRequest, CertwrightError, Conflict, Forbidden, NotFound
from ca.models import LedgerEntry
from ca.store import Store
from renewers.delivering import destinations, verify
from renewers.delivering.destinations import DestinationPlan
from renewers.lifecycle import Lifecycle
from renewers.models import Destination, Work
from tests import rig
from tests.renewers.delivering import (
    Endpoints,
    add_destination,
    add_lineage,
    alarms,
    claim,
    deliveries,
    destination,
    do,
    drain,
    make_lifecycle,
    outcomes,
    renew,
    rows,
    said,
    works,
)
from tests.renewers.test_delivery import endpoints, served

__all__ = ["endpoints"]

PLAN = DestinationPlan("edge", "api", "memory", {"place": "edge"}, "edge.example.internal:443")


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """An installation with a lineage."""
    made = make_lifecycle(store)
    add_lineage(made)
    return made


def lineage_of(lifecycle: Lifecycle) -> int:
    """The lineage's id."""
    return int(destination(lifecycle, "edge").lineage_id)


def add(lifecycle: Lifecycle, caller: Caller = rig.ADMIN, **changes: Any) -> int:
    """Add the plan, changed."""
    return destinations.add(lifecycle, caller, replace(PLAN, **changes))


def test_it_is_written_down_as_planned(lifecycle: Lifecycle) -> None:
    """With who did it, in the ledger, too; nothing is planned while there is no certificate."""
    identity = add(lifecycle, rank=3, bundle="/etc/bundle.pem")
    row = destination(lifecycle, "edge")
    assert (row.id, row.rank, row.bundle, row.state) == (identity, 3, "/etc/bundle.pem", "empty")
    assert (json.loads(row.settings), row.created_by) == ({"place": "edge"}, rig.ADMIN.identity)
    assert said(lifecycle, "destination-added") == ["destination:edge"]
    assert works(lifecycle) == {}


def test_what_its_lineage_has_is_brought_at_once(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """A destination that is added later waits for no renewal."""
    add(lifecycle)
    renewed = renew(lifecycle, lineage_of(lifecycle))
    drain(lifecycle)
    add_destination(lifecycle, "mail")
    assert drain(lifecycle) == ["mail"]
    assert served("mail") == renewed.sha256


BAD: list[tuple[dict[str, Any], type[CertwrightError], str]] = [
    ({"name": ""}, BadRequest, "bad-destination-name"),
    ({"name": "a b"}, BadRequest, "bad-destination-name"),
    ({"name": "../x"}, BadRequest, "bad-destination-name"),
    ({"name": "a\n"}, BadRequest, "bad-destination-name"),
    ({"name": "a" * 64}, BadRequest, "bad-destination-name"),
    ({"lineage": "unknown"}, NotFound, "unknown-lineage"),
    ({"publisher": "ftp"}, BadRequest, "bad-publisher"),
    ({"settings": {"place": "x", "colour": 1}}, BadRequest, "bad-settings"),
    ({"publisher": "files", "settings": {"directory": "x"}}, BadRequest, "bad-settings"),
    ({"probe": "nowhere at all"}, BadRequest, "bad-probe"),
    ({"rank": 5000}, BadRequest, "bad-rank"),
    ({"bundle": "bundle.pem"}, BadRequest, "bad-bundle"),
    ({"bundle": "/a\nb"}, BadRequest, "bad-bundle"),
    ({"bundle": "/etc/bundle.pem", "probe": ""}, BadRequest, "bundle-without-probe"),
]


@pytest.mark.parametrize(("wrong", "kind", "code"), BAD, ids=[f"{code}-{next(iter(w))}" for w, _, code in BAD])
def test_a_wrong_plan_changes_nothing(
    lifecycle: Lifecycle, wrong: dict[str, Any], kind: type[CertwrightError], code: str
) -> None:
    """It is refused by name, when it is added and when it is changed."""
    with pytest.raises(kind) as caught:
        add(lifecycle, **wrong)
    assert caught.value.code == code
    assert rows(lifecycle, Destination) == []
    add(lifecycle)
    before = destination(lifecycle, "edge")
    with pytest.raises(CertwrightError):
        destinations.change(lifecycle, rig.ADMIN, replace(PLAN, **wrong))
    assert destination(lifecycle, "edge") == before


def test_a_name_is_given_once(lifecycle: Lifecycle) -> None:
    """The second is a conflict that says so."""
    add(lifecycle)
    with pytest.raises(Conflict) as caught:
        add(lifecycle)
    assert caught.value.code == "destination-exists"


def test_a_directory_belongs_to_one_destination(lifecycle: Lifecycle) -> None:
    """Two would chase each other out of it; its own it may keep."""
    files: dict[str, Any] = {"publisher": "files", "settings": {"directory": "/srv/certs"}}
    add(lifecycle, **files)
    with pytest.raises(Conflict) as caught:
        add(lifecycle, name="mail", **files)
    assert caught.value.code == "place-taken"
    destinations.change(lifecycle, rig.ADMIN, replace(PLAN, rank=1, **files))
    assert destination(lifecycle, "edge").rank == 1


HARMLESS = {"directory": "/srv/certs", "keep": 5}
RUNS = {**HARMLESS, "reload": ["/bin/true"]}
GIVES_AWAY = {**HARMLESS, "owner": "daemon"}


def test_an_operator_chooses_a_directory_and_no_more(lifecycle: Lifecycle) -> None:
    """What runs a command as us, or gives a key to somebody, takes an administrator, whoever made it before."""
    files = replace(PLAN, publisher="files", settings=HARMLESS)
    destinations.add(lifecycle, rig.OPERATOR, files)
    destinations.change(lifecycle, rig.OPERATOR, replace(files, rank=1))
    for settings in (RUNS, GIVES_AWAY, {**HARMLESS, "mode": "0640"}, {"place": "edge"}):
        with pytest.raises(Forbidden, match="manage destinations"):
            destinations.change(lifecycle, rig.OPERATOR, replace(files, settings=settings))
    destinations.change(lifecycle, rig.ADMIN, replace(files, settings=RUNS))
    with pytest.raises(Forbidden):
        destinations.change(lifecycle, rig.OPERATOR, files)
    with pytest.raises(Forbidden):
        destinations.remove(lifecycle, rig.OPERATOR, "edge")


@pytest.mark.parametrize("role", Role)
def test_every_role_has_its_due(lifecycle: Lifecycle, endpoints: Endpoints, role: Role) -> None:
    """Who may manage the inventory may add, who may read it may look, nobody else may either."""
    caller = Caller("token:somebody", role)
    add(lifecycle)
    renew(lifecycle, lineage_of(lifecycle))
    files = replace(PLAN, name="files", publisher="files", settings=HARMLESS)
    managing = [
        lambda: destinations.add(lifecycle, caller, files),
        lambda: destinations.change(lifecycle, caller, replace(files, rank=1)),
        lambda: destinations.deliver_now(lifecycle, caller, "edge"),
        lambda: destinations.remove(lifecycle, caller, "files"),
    ]
    reading = [
        lambda: destinations.show(lifecycle, caller, "edge"),
        lambda: destinations.listing(lifecycle, caller),
    ]
    for operation, calls in ((Operation.MANAGE_INVENTORY, managing), (Operation.READ_INVENTORY, reading)):
        for call in calls:
            if caller.may(operation):
                call()
            else:
                with pytest.raises(Forbidden):
                    call()


def test_another_place_is_delivered_to_at_once(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Whatever was there before does not count; a rank alone moves nothing."""
    add(lifecycle)
    renewed = renew(lifecycle, lineage_of(lifecycle))
    drain(lifecycle)
    destinations.change(lifecycle, rig.ADMIN, replace(PLAN, rank=7))
    assert (drain(lifecycle), destination(lifecycle, "edge").rank) == ([], 7)
    moved = replace(PLAN, settings={"place": "moved"}, probe="moved.example.internal:443")
    destinations.change(lifecycle, rig.ADMIN, moved)
    assert destination(lifecycle, "edge").delivered_id is None
    assert drain(lifecycle) == ["edge"]
    assert served("moved") == renewed.sha256
    assert said(lifecycle, "destination-changed") == ["destination:edge"] * 2


def test_a_lineage_is_for_life(lifecycle: Lifecycle) -> None:
    """A destination is not moved to another one: what is there belongs to the first."""
    add(lifecycle)
    add_lineage(lifecycle, "other")
    with pytest.raises(Conflict) as caught:
        destinations.change(lifecycle, rig.ADMIN, replace(PLAN, lineage="other"))
    assert caught.value.code == "other-lineage"


def test_now_overrides_a_back_off(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """But neither the canary, nor somebody who is at it this very moment."""
    add(lifecycle)
    add_destination(lifecycle, "rest", rank=1)
    with pytest.raises(Conflict) as caught:
        destinations.deliver_now(lifecycle, rig.ADMIN, "edge")
    assert caught.value.code == "nothing-to-deliver"
    endpoints.down.add("edge")
    renew(lifecycle, lineage_of(lifecycle))
    drain(lifecycle)
    assert not destinations.deliver_now(lifecycle, rig.ADMIN, "rest")
    assert drain(lifecycle) == []
    assert destinations.deliver_now(lifecycle, rig.ADMIN, "edge")
    (one,) = claim(lifecycle)
    assert not destinations.deliver_now(lifecycle, rig.ADMIN, "edge")
    endpoints.down.clear()
    assert do(lifecycle, one) is None
    assert drain(lifecycle) == ["rest"]
    assert destinations.deliver_now(lifecycle, rig.ADMIN, "edge")
    assert drain(lifecycle) == ["edge"]
    assert outcomes(lifecycle, "edge") == ["failed", "seen", "seen"]


def test_what_is_removed_is_forgotten(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Its work and its alarm go; what was the last one missing ends the renewal; its deliveries are history."""
    add(lifecycle)
    endpoints.down.add("edge")
    renew(lifecycle, lineage_of(lifecycle))
    drain(lifecycle)
    assert set(alarms(lifecycle)) == {"edge"}
    history = deliveries(lifecycle, "edge")
    destinations.remove(lifecycle, rig.ADMIN, "edge")
    assert (alarms(lifecycle), len(history)) == ({}, 1)
    with lifecycle.store.read() as connection:
        assert connection.execute(select(Work)).all() == []
    assert said(lifecycle, "destination-removed") == ["destination:edge"]
    assert said(lifecycle, "renewal-finished") == ["api"]
    for call in (destinations.remove, destinations.show, destinations.deliver_now):
        with pytest.raises(NotFound) as caught:
            call(lifecycle, rig.ADMIN, "edge")
        assert caught.value.code == "unknown-destination"


def test_it_is_shown_with_what_was_tried(lifecycle: Lifecycle, endpoints: Endpoints) -> None:
    """Its lineage by name, and its last deliveries, the newest first."""
    add(lifecycle)
    for _ in range(3):
        renew(lifecycle, lineage_of(lifecycle))
        drain(lifecycle)
    shown = destinations.show(lifecycle, rig.AUDITOR, "edge")
    assert (shown.lineage, shown.destination.state) == ("api", "seen")
    assert [row.id for row in shown.deliveries] == [row.id for row in reversed(deliveries(lifecycle, "edge"))]


def test_they_are_listed_page_by_page(lifecycle: Lifecycle) -> None:
    """By name, all of them or those of one lineage; each once."""
    add_lineage(lifecycle, "other")
    for number in range(7):
        add_destination(lifecycle, f"site-{number}", lineage="api" if number % 2 else "other")
    found: list[str] = []
    cursor = None
    while True:
        page, cursor = destinations.listing(lifecycle, rig.AUDITOR, cursor=cursor, limit=3)
        found += [row.name for row in page]
        if cursor is None:
            break
    assert found == [f"site-{number}" for number in range(7)]
    lineage_id = destination(lifecycle, "site-1").lineage_id
    only, _ = destinations.listing(lifecycle, rig.AUDITOR, lineage_id=lineage_id)
    assert [row.name for row in only] == ["site-1", "site-3", "site-5"]
    for limit in (0, 501):
        with pytest.raises(BadRequest):
            destinations.listing(lifecycle, rig.AUDITOR, limit=limit)


def test_the_ledger_has_no_key(lifecycle: Lifecycle, endpoints: Endpoints, tmp_path: Path) -> None:
    """Settings are recorded, material is not."""
    add(lifecycle)
    renew(lifecycle, lineage_of(lifecycle))
    drain(lifecycle)
    bodies = [json.loads(row.body) for row in rows(lifecycle, LedgerEntry)]
    (added,) = [body for body in bodies if body["action"] == "destination-added"]
    assert added["settings"] == {"place": "edge"}
    assert "PRIVATE" not in json.dumps(bodies)
    assert verify.TIMES == 3
