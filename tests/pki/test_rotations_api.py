"""The REST API of rotations: shown before they start, started, steered, watched to their end; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from ca.access import Role
from pki import lifecycle_schedule
from tests import rig
from tests.pki.conftest import API, World, problem
from tests.pki.test_lifecycle_api import last_line, ok

PATH = f"{API}/rotations"
WHY = "because a test says so"


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """A client with an admin's token, where everything was published once."""
    lifecycle_schedule.publish(world.product)
    return world.as_(world.token(Role.ADMIN))


def start(client: httpx.Client, line: str = "issuing", **more: Any) -> dict[str, Any]:
    """A rotation that has begun."""
    answer = client.post(PATH, json={"line": line, "reason": WHY, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def run(client: httpx.Client, rotation: int, *until: str, rounds: int = 60) -> dict[str, Any]:
    """Do what is due until a rotation is in one of these stages or states; one run may take it through several."""
    for _ in range(rounds):
        last_line(client.post(f"{API}/renewals/run", json={}))
        found = ok(client.get(f"{PATH}/{rotation}"))
        if not {found["stage"], found["state"]}.isdisjoint(until):
            return dict(found)
        client.post(f"{PATH}/{rotation}/hurry", json={"reason": WHY})
    raise AssertionError(found)


def states(client: httpx.Client) -> dict[str, str]:
    """Every authority and its state."""
    return {row["name"]: row["state"] for row in ok(client.get(f"{API}/authorities"))}


def test_an_issuing_ca_is_rotated(world: World, admin: httpx.Client) -> None:
    """Planned without a trace, started, listed, shown stage by stage with its evidence until it is done."""
    rig.issue(world.installation)
    lifecycle_schedule.track_issued(world.product)
    body = {"line": "issuing", "reason": WHY}
    before = world.counts()
    preview = ok(admin.post(f"{PATH}/plan", json=body))
    assert world.counts() == before
    assert preview["objections"] == []
    assert preview["outgoing"] == ["issuing-1"]
    assert preview["gating"] == 0
    assert [(one["line"], one["follows"], one["takes"]) for one in preview["makes"]] == [("issuing", "issuing-1", None)]
    assert preview["impact"]["leaves"] == 1
    assert preview["impact"]["by_profile"] == {"mesh": 1}

    made = start(admin, leaves_left=100)
    assert (made["line"], made["state"], made["started_by"], made["reason"]) == (
        "issuing",
        "open",
        "token:admin-1",
        WHY,
    )
    assert [one["standing"] for one in made["stages"]][:2] == ["now", "to come"]
    assert [row["id"] for row in ok(admin.get(PATH))["items"]] == [made["id"]]
    assert ok(admin.get(PATH, params={"state": "done"}))["items"] == []
    done = run(admin, made["id"], "done")
    assert (done["outgoing"], done["incoming"]) == (["issuing-1"], ["issuing-2"])
    assert all(one["standing"] == "over" for one in done["stages"])
    assert done["ended_at"] is not None
    found = states(admin)
    assert (found["issuing-1"], found["issuing-2"]) == ("retired", "active")
    assert [row["id"] for row in ok(admin.get(PATH, params={"state": "done"}))["items"]] == [made["id"]]
    problem(admin.post(f"{PATH}/{made['id']}/pause", json={"reason": WHY}), 409, "rotation-over")


def test_a_root_is_rotated_once_a_consumer_has_proved(world: World, admin: httpx.Client, tmp_path: Path) -> None:
    """It waits for a consumer and names it; an override in writing lets it pass, and is shown."""
    place = {"publisher": "files", "settings": {"directory": str(tmp_path / "edge")}}
    ok(admin.post(f"{API}/consumers", json={"name": "edge", **place}))
    preview = ok(admin.post(f"{PATH}/plan", json={"line": "root", "reason": WHY}))
    assert preview["gating"] == 1
    assert [(one["name"], one["held_version"]) for one in preview["lacking"]] == [("edge", 0)]
    assert {one["line"] for one in preview["makes"]} == {"root", "issuing"}
    made = start(admin, "root")
    waiting = run(admin, made["id"], "prove")
    for _ in range(3):
        last_line(admin.post(f"{API}/renewals/run", json={}))
    waiting = ok(admin.get(f"{PATH}/{made['id']}"))
    assert waiting["stage"] == "prove"
    assert any("edge" in one for one in waiting["waits_for"]), waiting["waits_for"]
    assert set(waiting["incoming"]) == {"root-2", "issuing-2"}
    found = states(admin)
    assert (found["root-1"], found["root-2"], found["issuing-2"]) == ("active", "prepared", "prepared")

    body = {"gate": "prove", "subject": "edge", "reason": "it is switched off for the winter"}
    after = ok(admin.post(f"{PATH}/{made['id']}/override", json=body))
    assert [(one["gate"], one["subject"], one["by"]) for one in after["overrides"]] == [
        ("prove", "edge", "token:admin-1")
    ]
    passed = run(admin, made["id"], "distrust")
    assert any("edge" in one for one in passed["waits_for"]), "one override is for one gate"
    found = states(admin)
    assert (found["root-2"], found["issuing-2"]) == ("active", "active")
    problem(admin.post(f"{PATH}/{made['id']}/abort", json={"reason": WHY}), 409, "too-late-to-abort")
    ok(admin.post(f"{PATH}/{made['id']}/override", json={**body, "gate": "distrust", "subject": "all"}))
    run(admin, made["id"], "done")
    found = states(admin)
    assert (found["root-1"], found["issuing-1"]) == ("retired", "retired")


def test_a_rotation_is_steered(admin: httpx.Client) -> None:
    """Paused it does nothing; resumed it goes on; aborted before activation it leaves no trace in the hierarchy."""
    ok(admin.post(f"{API}/consumers", json={"name": "edge"}))
    made = start(admin)
    path = f"{PATH}/{made['id']}"
    assert ok(admin.post(f"{path}/pause", json={"reason": WHY}))["is_paused"] is True
    problem(admin.post(f"{path}/pause", json={"reason": WHY}), 409, "rotation-paused")
    for _ in range(3):
        last_line(admin.post(f"{API}/renewals/run", json={}))
    assert ok(admin.get(path))["stage"] == made["stage"]
    assert ok(admin.post(f"{path}/resume", json={"reason": WHY}))["is_paused"] is False
    run(admin, made["id"], "introduce", "prove", rounds=20)
    problem(admin.post(PATH, json={"line": "root", "reason": WHY}), 409, "rotation-open")
    back = ok(admin.post(f"{path}/abort", json={"reason": WHY}))
    assert back["state"] in ("open", "aborted")
    done = run(admin, made["id"], "aborted")
    assert done["state"] == "aborted"
    assert states(admin)["issuing-1"] == "active"
    problem(admin.post(f"{path}/abort", json={"reason": WHY}), 409, "rotation-over")
    start(admin)


def test_what_cannot_start_is_refused_with_its_reasons(admin: httpx.Client) -> None:
    """Lines that are not there, reasons that are none, keys that no CA has; a preview says the same."""
    for body, code in (
        ({"line": "none"}, "unknown-authority"),
        ({"lifetime": "soon"}, "bad-duration"),
        ({"key_type": "RSA-1024"}, "bad-key-type"),
        ({"subject": "nonsense"}, "bad-subject"),
        ({"consumers": 0}, "bad-request"),
        ({"consumers": 1.5}, "bad-request"),
        ({"per_minute": 0}, "bad-request"),
        ({"leaves_left": -1}, "bad-request"),
        ({"cross": "perhaps"}, "bad-request"),
        ({"more": 1}, "bad-request"),
    ):
        for path in (PATH, f"{PATH}/plan"):
            answer = admin.post(path, json={"line": "issuing", "reason": WHY, **body})
            problem(answer, answer.status_code, code)
    short = admin.post(PATH, json={"line": "issuing", "reason": "no"})
    reasons = problem(short, 422, "policy-refused")["reasons"]
    assert ["10" in one["message"] for one in reasons] == [True]
    assert ok(admin.post(f"{PATH}/plan", json={"line": "issuing", "reason": "no"}))["objections"]
    bad = admin.post(PATH, json={"line": "issuing", "reason": WHY, "key_type": "P-256", "lifetime": "9000d"})
    problem(bad, 422, "policy-refused")
    assert ok(admin.get(PATH))["items"] == []


def test_what_is_no_rotation_is_not_steered(admin: httpx.Client) -> None:
    """Numbers of none; reasons and gates that are none."""
    for number in (0, -1, 1, 1 << 53, 1 << 70):
        problem(admin.get(f"{PATH}/{number}"), 404, "unknown-rotation")
        for verb in ("pause", "resume", "hurry", "abort"):
            problem(admin.post(f"{PATH}/{number}/{verb}", json={"reason": WHY}), 404, "unknown-rotation")
        body = {"gate": "prove", "subject": "edge", "reason": WHY}
        problem(admin.post(f"{PATH}/{number}/override", json=body), 404, "unknown-rotation")
    problem(admin.get(f"{PATH}/x"), 400, "bad-request")
    made = start(admin)
    path = f"{PATH}/{made['id']}"
    problem(admin.post(f"{path}/pause", json={"reason": "short"}), 422, "policy-refused")
    problem(admin.post(f"{path}/pause", json={}), 400, "bad-request")
    body = {"gate": "prove", "subject": "edge", "reason": WHY}
    problem(admin.post(f"{path}/override", json={**body, "gate": "none"}), 400, "bad-gate")
    problem(admin.post(f"{path}/override", json={**body, "subject": "a  b"}), 400, "bad-override")
    problem(admin.post(f"{path}/override", json={**body, "subject": ""}), 400, "bad-request")


def test_what_hangs_on_an_authority(world: World, admin: httpx.Client) -> None:
    """Its live leaves, page by page, with whose they are."""
    serials = {rig.issue(world.installation, key=rig.pooled_key(place=place)).serial for place in range(3)}
    lifecycle_schedule.track_issued(world.product)
    page = ok(admin.get(f"{PATH}/affected", params={"authority": "issuing-1", "limit": 2}))
    rest = ok(admin.get(f"{PATH}/affected", params={"authority": "issuing-1", "limit": 2, "cursor": page["next"]}))
    assert serials <= {one["serial"] for one in page["items"] + rest["items"]}
    assert {one["profile"] for one in page["items"]} <= {"mesh", "publication"}
    answer = admin.get(f"{PATH}/affected", params={"authority": "none"})
    assert answer.status_code == 404 or answer.json()["items"] == []
    problem(admin.get(f"{PATH}/affected"), 400, "bad-request")


def test_a_rotation_is_an_administrators(world: World, admin: httpx.Client) -> None:
    """Others who read may look."""
    made = start(admin)
    for role in (Role.OPERATOR, Role.AUDITOR):
        client = world.as_(world.token(role))
        assert ok(client.get(f"{PATH}/{made['id']}"))["id"] == made["id"]
        assert ok(client.get(PATH))["items"]
        assert ok(client.post(f"{PATH}/plan", json={"line": "root", "reason": WHY}))["outgoing"]
        problem(client.post(PATH, json={"line": "root", "reason": WHY}), 403, "forbidden")
        for verb in ("pause", "resume", "hurry", "abort"):
            problem(client.post(f"{PATH}/{made['id']}/{verb}", json={"reason": WHY}), 403, "forbidden")
    for role in (Role.CONSUMER, Role.REQUESTER):
        client = world.as_(world.token(role))
        problem(client.get(f"{PATH}/{made['id']}"), 403, "forbidden")
        problem(client.post(f"{PATH}/plan", json={"line": "root", "reason": WHY}), 403, "forbidden")
