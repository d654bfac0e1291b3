"""`certwright report preview` and `GET /reports/preview`: the letter in the terminal, in files, over the API."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import httpx
import pytest

from ca.access import Role
from ca.x509.bundle import pem_certificate
from tests.pki.conftest import API, Warm, World, problem
from tests.pki.test_cli import Cli
from tests.renewers.listeners import make

NAME = "shop.elsewhere.example"


@pytest.fixture
def cli(warm: Warm, state: Path, tmp_path: Path) -> Cli:
    """The command where no server runs, with an owner and a certificate from elsewhere."""
    made = Cli(warm, "--state", state, directory=tmp_path)
    (tmp_path / "shop.pem").write_text(pem_certificate(make(NAME).der))
    made.run("owner", "add", "payments", "--email", "pay@example.org", "--escalation", "lead@example.org")
    made.run("track", "import", "shop.pem")
    return made


def test_a_letter_in_the_terminal(cli: Cli) -> None:
    """Headers, attachments and the text part, as it would be on a day to come; nothing that steers a terminal."""
    done = cli.run("report", "preview", "payments", "--at", "2030-01-01", "--kind", "digest")
    assert re.search(r"Subject +.*payments certificates", done.stdout)
    assert "pay@example.org" in done.stdout
    assert "Why you got this" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_letter_in_files(cli: Cli, tmp_path: Path) -> None:
    """One .eml that mail programs open; or a directory with each part, whose page finds its pictures beside it."""
    found = cli.json("report", "preview", "payments", "--out", tmp_path / "letter.eml")
    assert found["files"] == [str(tmp_path / "letter.eml")]
    message = message_from_bytes((tmp_path / "letter.eml").read_bytes(), policy=SMTP)
    assert message["Subject"] == found["subject"]
    cli.run("report", "preview", "payments", "--out", tmp_path / "letter")
    names = {path.name for path in (tmp_path / "letter").iterdir()}
    assert {"letter.eml", "letter.html", "letter.txt", "certificates.csv"} <= names
    page = (tmp_path / "letter" / "letter.html").read_text()
    assert "cid:" not in page
    assert set(re.findall(r'<img src="([^"]+)"', page)) <= names
    assert NAME in (tmp_path / "letter" / "certificates.csv").read_text()


def test_what_cannot_be_previewed_is_refused(cli: Cli) -> None:
    """An owner that there is not, a day that there is not; another kind is wrong usage."""
    assert "there is no owner 'nobody'" in cli.refused("report", "preview", "nobody")[0]
    reason, hint = cli.refused("report", "preview", "payments", "--at", "tomorrow")
    assert (reason, "2027-01-04" in (hint or "")) == ("that is not a moment", True)
    cli.run("report", "preview", "payments", "--kind", "newsletter", code=2)


def test_over_the_api_it_is_for_who_may_read_the_inventory(world: World) -> None:
    """An auditor sees the whole message, a requester nothing; nonsense is refused as everywhere."""
    admin, auditor, requester = (world.as_(world.token(role)) for role in (Role.ADMIN, Role.AUDITOR, Role.REQUESTER))
    assert admin.post(f"{API}/owners", json={"name": "web", "email": "web@example.org"}).status_code == 201
    answer = _preview(auditor, owner="web")
    document = answer.json()
    assert (answer.status_code, document["owner"], document["recipient"]) == (200, "web", "web@example.org")
    assert document["message"].startswith("From: ")
    assert document["text"].startswith("web certificates\n")
    problem(_preview(requester, owner="web"), 403, "forbidden")
    problem(_preview(auditor, owner="web", kind="x"), 400, "bad-kind")
    problem(_preview(auditor, owner="web", at="2027-99-99"), 400, "bad-moment")
    problem(_preview(auditor, owner="none"), 404, "unknown-owner")


def _preview(client: httpx.Client, **asked: str) -> httpx.Response:
    return client.get(f"{API}/reports/preview", params=asked)
