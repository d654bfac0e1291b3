"""`certwright ca rotate` and `certwright rotation`, run as a user runs them, without a server and beside one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import rig
from tests.pki.conftest import Server, Template, Warm, serving
from tests.pki.test_cli import Cli

WHY = ("--reason", "because a test says so")


@pytest.fixture(scope="module")
def running(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose rotations are these tests' own."""
    state = Path(shutil.copytree(template.state, tmp_path_factory.mktemp("rotations") / "state"))
    with serving(state, template.token) as server:
        yield server


@pytest.fixture
def alone(warm: Warm, state: Path, tmp_path: Path) -> Cli:
    """The command where no server runs."""
    return Cli(warm, "--state", state, directory=tmp_path)


@pytest.fixture
def beside(warm: Warm, running: Server, tmp_path: Path) -> Cli:
    """The command beside a running server."""
    return Cli(warm, "--state", running.state, directory=tmp_path)


def states(cli: Cli) -> dict[str, str]:
    """Every authority and its state."""
    return {row["name"]: row["state"] for row in cli.json("ca", "list")}


def until(cli: Cli, rotation: str, stage: str) -> dict[str, Any]:
    """Do what is due until a rotation is there."""
    for _ in range(30):
        cli.run("renew", "run")
        found: dict[str, Any] = cli.json("rotation", "show", rotation)
        if stage in (found["stage"], found["state"]):
            return found
    raise AssertionError(found)


def test_a_plan_changes_nothing(alone: Cli) -> None:
    """What would be made, what hangs on the old one, what keeps it from starting; for a person and for a program."""
    before = states(alone)
    alone.run("cert", "issue", rig.WORKLOAD, "--profile", "mesh", "--out", "leaf")
    shown = alone.run("ca", "rotate", "root", "--plan")
    for expected in ("root-1", "issuing-1", "prepare > introduce > prove", "0 consumers", "mesh 1"):
        assert expected in shown.stdout, expected
    assert "distrusted now, root-1, issuing-1 would take 1 certificate at 0 endpoints along" in shown.stderr
    found = alone.json("ca", "rotate", "issuing", "--plan")
    assert (found["outgoing"], found["objections"]) == (["issuing-1"], [])
    assert alone.run("rotation", "list").stderr == "no CA was ever rotated: certwright ca rotate root --plan\n"
    assert states(alone) == before
    assert "it cannot start: " in alone.run("ca", "rotate", "issuing", "--plan", "--key-type", "RSA-2048").stderr


def test_nothing_is_rotated_without_a_yes(alone: Cli) -> None:
    """A person sees the plan and is asked; no is no, and nothing said is no."""
    done = alone.run("ca", "rotate", "issuing", *WHY, stdin="n\n", code=1)
    assert "issuing-1" in done.stdout
    assert "rotate issuing so?" in done.stderr
    alone.run("ca", "rotate", "issuing", *WHY, code=1)
    assert alone.json("rotation", "list") == []


def test_an_issuing_ca_is_rotated_to_its_end(alone: Cli) -> None:
    """Started and followed; each step is said once, and the end is shown with its evidence."""
    done = alone.run("ca", "rotate", "issuing", *WHY, "--yes", "--watch")
    assert "prepare: started" in done.stderr
    assert done.stderr.count("made issuing-2") == 1
    assert "retired" in states(alone)["issuing-1"]
    assert states(alone)["issuing-2"] == "active"
    shown = alone.run("rotation", "show", "1").stdout
    for expected in ("done", "because a test says so", "introduce", "by what right", "issuing-2", "over"):
        assert expected in shown, expected
    assert alone.json("rotation", "show", "1")["state"] == "done"
    assert alone.json("rotation", "watch", "1")["state"] == "done"
    assert "issuing" in alone.run("rotation", "list", "--state", "done").stdout
    assert alone.json("rotation", "list", "--state", "open") == []
    assert "is over: done" in alone.refused("rotation", "pause", "1", *WHY)[0]


def test_a_rotation_that_waits_is_steered(alone: Cli) -> None:
    """It names the consumer that it waits for; paused, resumed, hurried; let pass in writing, or turned back."""
    alone.run("consumer", "add", "edge", "--directory", alone.directory / "edge")
    assert "certwright renew run" in alone.run("ca", "rotate", "root", *WHY, "--yes").stderr
    (started,) = alone.json("rotation", "list")
    number = str(started["id"])
    assert started["line"] == "root"
    found = until(alone, number, "prove")
    assert found["stage"] == "prove"
    waiting = alone.run("rotation", "list").stdout
    assert "edge" in waiting
    assert alone.json("rotation", "pause", number, *WHY)["is_paused"] is True
    assert "paused" in alone.run("rotation", "list").stdout
    assert alone.json("rotation", "resume", number, *WHY)["is_paused"] is False
    assert "prove" in alone.run("rotation", "hurry", number, *WHY).stdout
    assert alone.run("rotation", "override", number, "prove", "edge", *WHY, stdin="n\n", code=1).stdout.strip() == ""
    passed = alone.json("rotation", "override", number, "prove", "edge", *WHY, "--yes")
    assert [one["subject"] for one in passed["overrides"]] == ["edge"]
    assert "lets it pass prove without edge: because a test says so" in alone.run("rotation", "show", number).stderr
    until(alone, number, "distrust")
    assert states(alone)["root-2"] == "active"
    reason, hint = alone.refused("rotation", "abort", number, *WHY, "--yes")
    assert "consumers were told to forget root-1" in reason
    assert "another rotation" in str(hint)


def test_a_rotation_is_turned_back(alone: Cli) -> None:
    """Before it is activated the new CA goes, and the old one was never anything but active."""
    alone.run("consumer", "add", "edge")
    number = str(alone.json("ca", "rotate", "issuing", *WHY, "-y")["id"])
    until(alone, number, "prove")
    assert alone.run("rotation", "abort", number, *WHY, stdin="\n", code=1).stdout.strip() == ""
    alone.run("rotation", "abort", number, *WHY, "--yes")
    until(alone, number, "aborted")
    found = states(alone)
    assert found["issuing-1"] == "active"
    assert found.get("issuing-2") in ("retired", "distrusted", None)
    assert "aborted" in alone.run("rotation", "list").stdout


def test_a_refusal_is_a_line_and_a_hint(alone: Cli) -> None:
    """Lines and numbers of none, reasons that are none, a second one of a line; wrong usage is another thing."""
    assert "none" in alone.refused("ca", "rotate", "none", *WHY, "--yes")[0]
    assert "10" in alone.refused("ca", "rotate", "issuing", "--reason", "no", "--yes")[0]
    assert "10" in alone.refused("ca", "rotate", "issuing", "--yes")[0]
    assert alone.refused("ca", "rotate", "issuing", *WHY, "--yes", "--key-type", "x") == (
        "'x' is not a kind of key",
        "such as P-256",
    )
    assert "duration" in alone.refused("ca", "rotate", "issuing", *WHY, "--yes", "--patience", "soon")[0]
    assert alone.refused("rotation", "show", "7")[0]
    for verb in ("pause", "resume", "hurry"):
        assert alone.refused("rotation", verb, "7", *WHY)[0]
    assert alone.refused("rotation", "abort", "7", *WHY, "--yes")[0]
    alone.run("ca", "rotate", "issuing", *WHY, "--yes")
    assert "issuing" in alone.refused("ca", "rotate", "issuing", *WHY, "--yes")[0]
    reason, hint = alone.refused("rotation", "pause", "1", "--reason", "no")
    assert "in writing" in reason
    assert hint == '--reason "..."'
    assert "prove" in str(alone.refused("rotation", "override", "1", "none", "x", *WHY, "--yes")[1])
    problem = json.loads(alone.run("rotation", "show", "7", "--json", code=1).stderr)
    assert problem["code"] == "unknown-rotation"
    for wrong in (
        ("rotation", "show", "0"),
        ("rotation", "show", "x"),
        ("rotation", "pause", "1"),
        ("rotation", "override", "1", "prove", *WHY),
        ("ca", "rotate"),
    ):
        assert "Traceback" not in alone.run(*wrong, code=2).stderr
    assert "state" in alone.refused("rotation", "list", "--state", "odd")[0]


def test_beside_a_server_it_goes_on_by_itself(warm: Warm, running: Server, beside: Cli) -> None:
    """Watched over HTTPS until it is done; who may only read may watch, and start nothing."""
    made = beside.json("token", "create", "watcher", "--role", "auditor")
    where = ("--server", running.url, "--ca-file", running.roots)
    far = Cli(warm, *where, directory=beside.directory, CERTWRIGHT_TOKEN=made["token"])
    assert "has the role auditor" in far.refused("ca", "rotate", "issuing", *WHY, "--yes")[0]
    number = str(beside.json("ca", "rotate", "issuing", *WHY, "--yes")["id"])
    assert "has the role auditor" in far.refused("rotation", "abort", number, *WHY, "--yes")[0]
    watched = far.run("rotation", "watch", number)
    assert "prepare: started" in watched.stderr
    assert "done" in watched.stdout
    assert states(beside)["issuing-2"] == "active"
