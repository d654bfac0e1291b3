"""Acknowledging, reviving, reporting what came back and the calendar's address, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca import clock
from tests.pki.conftest import Warm
from tests.pki.test_cli import Cli
from tests.renewers import foreign

VECTORS = Path(__file__).parent.parent / "vectors" / "bounces"


@pytest.fixture
def cli(warm: Warm, state: Path, tmp_path: Path) -> Cli:
    """The command, in process, over an installation with an owner and a certificate of somebody else."""
    made = Cli(warm, "--state", state, directory=tmp_path, CERTWRIGHT_MAIL__LINK_URL="https://ca.example.org:8443")
    made.run("owner", "add", "pay", "--email", "pay@example.org")
    pem = foreign.bundle(foreign.certificate("dns:a.pay.example", days=40))
    (tmp_path / "a.pem").write_text(pem)
    made.run("track", "import", "a.pem", "--owner", "pay")
    return made


def test_acknowledge_and_take_it_back(cli: Cli) -> None:
    """By duration or by day, with a reason; shown in the story and in a list; refused beyond its end."""
    said = cli.run("track", "acknowledge", "a.pem", "--for", "5d", "--reason", "the vendor sends one").stderr
    assert "is taken care of until" in said
    (row,) = cli.json("track", "acknowledged")
    assert row["reason"] == "the vendor sends one"
    assert "the vendor sends one" in cli.run("track", "acknowledged").stdout
    assert "the vendor sends one" in cli.run("track", "show", "a.pem").stdout
    day = f"{clock.from_timestamp(clock.timestamp() + 9 * 86400):%Y-%m-%d}"
    assert cli.json("track", "acknowledge", "a.pem", "--until", day, "--reason", "later")["until"] == f"{day}T23:59:59Z"
    reason, hint = cli.refused("track", "acknowledge", "a.pem", "--for", "80d", "--reason", "too long")
    assert "ends before that" in reason
    assert hint is not None
    cli.run("track", "acknowledge", "a.pem", "--reason", "neither", code=2)
    assert "nobody takes care" in cli.run("track", "unacknowledge", "a.pem").stderr
    assert cli.json("track", "unacknowledge", "a.pem") == {"was_there": False}
    assert "nobody says" in cli.run("track", "acknowledged").stderr


def test_what_came_back(cli: Cli) -> None:
    """From a file or piped in; about no letter of ours, nothing follows; what is no report is refused."""
    report = VECTORS / "postfix-failed.eml"
    assert "no letter of ours" in cli.run("report", "bounce", report).stderr
    found = cli.json("report", "bounce", "-", stdin=report.read_bytes().decode())
    assert found == {"outcome": "not-ours", "letter": None, "address": None, "passed_on": None}
    (cli.directory / "other.eml").write_text("Subject: hello\n\nhello\n")
    assert "no report of a mail server" in cli.refused("report", "bounce", "other.eml")[0]
    assert cli.refused("report", "bounce", "missing.eml")[0].startswith("No such file")


def test_mailboxes_and_calendar(cli: Cli) -> None:
    """Nothing is known of most addresses; a calendar's address can be had anew."""
    assert "comes back from nowhere" in cli.run("owner", "mailboxes").stderr
    assert cli.json("owner", "mailboxes", "--dead") == []
    assert "nothing is known of that address" in cli.refused("owner", "revive", "pay@example.org")[0]
    first = cli.run("owner", "calendar", "pay").stdout.strip()
    assert first.startswith("https://ca.example.org:8443/feeds/cwl_")
    assert cli.json("owner", "calendar", "pay")["url"] == first
    assert cli.json("owner", "calendar", "pay", "--renew", "--yes")["url"] != first
