"""`certwright ledger at`: what was so at a past moment, as a person asks for it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.pki.conftest import Template, Warm
from tests.pki.test_cli import Cli

NAME = "spiffe://example.internal/ns/payments/sa/api"


@pytest.fixture
def here(template: Template, warm: Warm, tmp_path: Path) -> Cli:
    """The command with an installation of its own, and no server."""
    state = Path(shutil.copytree(template.state, tmp_path / "state"))
    return Cli(warm, "--state", state, directory=tmp_path)


def test_a_past_moment_is_asked_for_in_words(here: Cli) -> None:
    """Before, between and after: one certificate, the CAs, the counts; a day is its first second, UTC."""
    issued = here.json("cert", "issue", NAME, "--profile", "mesh", "--out", "api")
    serial, between = issued["serial"], int(time.time())
    time.sleep(max(0.0, between + 1.1 - time.time()))
    here.run("cert", "revoke", serial, "--reason", "superseded")
    after = int(time.time())

    def one(moment: object) -> Any:
        return here.json("ledger", "at", str(moment), "--certificate", serial)["certificate"]["state"]

    assert [one("2020-01-01"), one(between), one(after)] == ["unknown", "valid", "revoked"]
    assert here.json("ledger", "at", str(between), "--certificate", here.directory / "api" / "cert.pem") == here.json(
        "ledger", "at", str(between), "--certificate", serial
    )
    counts = [here.json("ledger", "at", str(moment), "--counts")["counts"] for moment in (between, after)]
    assert [each["revoked"] for each in counts] == [0, 1]
    assert [row["state"] for row in here.json("ledger", "at", str(between))["authorities"]] == ["active", "active"]
    assert here.refused("ledger", "at", str(after + 3600))[0] == "that moment is yet to come"
    shown = here.run("ledger", "at", "2020-01-01T00:00:00Z")
    assert "there was no authority then" in shown.stderr + shown.stdout
    assert "as of 2020-01-01T00:00:00Z" in shown.stderr


@pytest.mark.parametrize("asked", [("yesterday",), ("2026-13-01",), ("1", "--counts", "--profiles")])
def test_what_cannot_be_meant_is_wrong_usage(here: Cli, asked: tuple[str, ...]) -> None:
    """Nothing is asked of anybody."""
    assert here.run("ledger", "at", *asked, code=2).stdout == ""
