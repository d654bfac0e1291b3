"""The REST API and the command line of mass replacements: planned, started, watched, reported, stopped, drilled."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from ca.access import Role
from ca.x509 import names
from pki import lifecycle_schedule
from pki.cli.app import app
from pki.product import Product
from renewers.inventory import lineages
from renewers.inventory.lineages import LineagePlan
from renewers.lifecycle import Lifecycle
from tests import rig
from tests.pki.conftest import API, World, problem
from tests.pki.test_lifecycle_api import last_line, ok

PATH = f"{API}/replacements"
WHY = "because a test says so"
BODY = {"selection": {"profile": "server"}, "reason": WHY, "per_minute": 6000}


def add_lineages(lifecycle: Lifecycle, count: int = 3) -> None:
    """Lineages that we renew."""
    for number in range(count):
        name = names.parse(f"host-{number}.edge.{rig.DOMAIN}")
        lineages.create(lifecycle, rig.ADMIN, LineagePlan(f"host-{number}", (name,)))


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """A client with an admin's token, where three lineages have their certificates."""
    add_lineages(world.product.lifecycle)
    client = world.as_(world.token(Role.ADMIN))
    last_line(client.post(f"{API}/renewals/run", json={}))
    lifecycle_schedule.track_issued(world.product)
    return client


def until(client: httpx.Client, made: int, state: str) -> dict[str, Any]:
    """Do what is due until a replacement is in a state."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        last_line(client.post(f"{API}/renewals/run", json={}))
        found = ok(client.get(f"{PATH}/{made}"))
        if found["state"] == state:
            return dict(found)
        time.sleep(0.1)
    raise AssertionError(found)


def test_certificates_are_replaced_in_numbers(world: World, admin: httpx.Client) -> None:
    """Planned without a trace, started, shown, listed, reported with what proves it."""
    before = world.counts()
    preview = ok(admin.post(f"{PATH}/plan", json=BODY))
    assert world.counts() == before
    assert (preview["total"], preview["ours"], preview["objections"]) == (3, 3, [])
    answer = admin.post(PATH, json={**BODY, "revokes": True})
    assert answer.status_code == 201, answer.text
    made = answer.json()["id"]
    assert answer.json()["selection"] == {"profile": "server"}
    found = until(admin, made, "done")
    assert found["progress"] == {
        **dict.fromkeys(("waiting", "renewing", "replaced", "verified", "ended", "left", "unaccounted"), 0),
        "total": 3,
        "revoked": 3,
    }
    items = ok(admin.get(f"{PATH}/{made}/certificates?state=revoked"))["items"]
    assert [item["state"] for item in items] == ["revoked"] * 3
    assert [row["id"] for row in ok(admin.get(f"{PATH}?state=done"))["items"]] == [made]
    report = ok(admin.get(f"{PATH}/{made}/report"))
    assert [entry["action"] for entry in report["proof"]] == ["replacement-begun", "replacement-done"]
    assert "3 of 3 accounted for" in report["text"]
    problem(admin.post(f"{PATH}/{made}/stop", json={"reason": WHY}), 409, "replacement-over")


def test_one_is_stopped(admin: httpx.Client) -> None:
    """And says what is left."""
    made = admin.post(PATH, json={**BODY, "per_minute": 1}).json()["id"]
    problem(admin.post(f"{PATH}/{made}/stop", json={"reason": "no"}), 422, "policy-refused")
    stopped = ok(admin.post(f"{PATH}/{made}/stop", json={"reason": WHY}))
    assert stopped["state"] == "stopped"
    assert stopped["next_look"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"selection": {}, "reason": WHY}, 400, "bad-selection"),
        ({"selection": {"authorities": ["no-such"]}, "reason": WHY}, 404, "unknown-authority"),
        ({"selection": {"profile": "server"}, "reason": "short"}, 422, "policy-refused"),
        ({"selection": {"profile": "server"}, "reason": WHY, "deadline": "1h"}, 422, "policy-refused"),
        ({"selection": {"profile": "server"}, "reason": WHY, "revocation_reason": "boredom"}, 400, "bad-reason"),
    ],
)
def test_what_cannot_be_is_refused(admin: httpx.Client, body: dict[str, Any], status: int, code: str) -> None:
    """With the reason."""
    problem(admin.post(PATH, json=body), status, code)
    for number in (0, 7, 1 << 60):
        problem(admin.get(f"{PATH}/{number}"), 404, "unknown-replacement")


def test_a_drill_answers_line_by_line_and_leaves_no_trace(world: World, admin: httpx.Client) -> None:
    """How far it is, then what it has shown."""
    before = world.counts()
    answer = admin.post(f"{PATH}/drill", json={**BODY, "count": 5})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1]["error"] is None
    assert (lines[-1]["lineages"], lines[-1]["real"], lines[-1]["left"]) == (5, 3, [])
    assert lines[-1]["progress"]["verified"] == 5
    assert [line["of"] for line in lines] == [10] * len(lines)
    assert world.counts() == before


@pytest.fixture
def alone(state: Path) -> CliRunner:
    """A command line without a server, over lineages with certificates."""
    with Product.open(state) as product:
        add_lineages(product.lifecycle)
    return CliRunner()


def test_the_command_line_replaces(state: Path, alone: CliRunner) -> None:
    """Plan, start, watch, report, drill; refusals end with 1."""

    def run(*words: str, code: int = 0) -> str:
        found = alone.invoke(app, ["replace", *words], env={"CERTWRIGHT_STATE": str(state), "COLUMNS": "200"})
        assert found.exit_code == code, found.output
        return found.output

    alone.invoke(app, ["renew", "run"], env={"CERTWRIGHT_STATE": str(state)})
    assert "replaced by us" in run("plan", "--profile", "server")
    run("plan", code=1)
    made = json.loads(run("start", "--profile", "server", "--reason", WHY, "--per-minute", "6000", "--yes", "--json"))
    shown = run("show", str(made["id"]), "--watch")
    assert "3 of 3" in shown
    assert "3 of 3" in run("list")
    assert "verified" in run("certificates", str(made["id"]))
    assert "3 of 3 accounted for" in run("report", str(made["id"]))
    run("stop", str(made["id"]), "--reason", WHY, code=1)
    assert "3 of 3" in run("drill", "--profile", "server")
