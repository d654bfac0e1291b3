"""`certwright token sign-in`: a link from the command line to a browser, over TLS, over the socket and in process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pki.conftest import Server, Template, Warm
from tests.pki.test_cli import Cli

HERE = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def cli(server: Server, warm: Warm, tmp_path: Path) -> Cli:
    """An admin on the machine itself."""
    return Cli(warm, "--state", server.state, directory=tmp_path)


@pytest.fixture
def remote(server: Server, warm: Warm, tmp_path: Path) -> Cli:
    """The holder of a token, elsewhere."""
    return Cli(
        warm, "--server", server.url, "--ca-file", server.roots, directory=tmp_path, CERTWRIGHT_TOKEN=server.token
    )


def test_a_link_leads_a_browser_in(server: Server, cli: Cli) -> None:
    """Printed alone on standard output; it works once, over real TLS; who is signed in is listed, and signed out."""
    done = cli.run("token", "sign-in", "--role", "auditor", "--name", "ada")
    assert re.fullmatch(r"https://localhost:\d+/sign-in/[\w-]{43}\n", done.stdout)
    assert "signs in link:ada (auditor) once, until " in done.stderr
    path = "/" + done.stdout.strip().split("/", 3)[3]
    with server.over_tls() as browser:
        assert "link:ada" in browser.get(path).text
        assert browser.post(path, headers=HERE).status_code == 303
        assert browser.post(path, headers=HERE).status_code == 401
        assert "link:ada" in browser.get("/inventory").text
        assert [row["role"] for row in cli.json("token", "sessions") if row["identity"] == "link:ada"] == ["auditor"]
        assert "link:ada is signed out of 1 browser\n" in cli.run("token", "sign-out", "link:ada").stderr
        assert browser.get("/inventory").headers["location"].startswith("/sign-in")
    assert path.rpartition("/")[2] not in server.log.read_text()
    assert cli.refused("token", "sign-out", "link:ada") == (
        "nobody is signed in as 'link:ada'",
        "certwright token sessions",
    )


def test_a_link_from_afar_leads_back_there(server: Server, remote: Cli) -> None:
    """Whoever asks by an address gets one that it can reach, for itself, and ten minutes to use it."""
    made = remote.json("token", "sign-in")
    assert made["url"] == server.url + made["path"]
    assert (made["identity"], made["role"]) == ("token:first-admin", "admin")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--lifetime", "2h"), "a link to sign in with lasts at most an hour"),
        (("--lifetime", "soon"), "is not a duration"),
        (("--name", "a b"), "cannot name somebody"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, options: tuple[str, ...], reason: str) -> None:
    """With the reason, and exit code 1."""
    assert reason in cli.refused("token", "sign-in", *options)[0]


def test_a_role_is_one_that_there_is(cli: Cli) -> None:
    """Exit code 2 for what cannot be given, as everywhere."""
    for role in ("boss", "holder"):
        assert "is not one of admin, auditor" in cli.run("token", "sign-in", "--role", role, code=2).stderr


def test_without_a_server_too(template: Template, state: Path, warm: Warm, tmp_path: Path) -> None:
    """The link is for the server that will be started; it is in the store."""
    here = Cli(warm, "--state", state, directory=tmp_path)
    assert here.run("token", "sign-in").stdout.startswith("https://localhost:8443/sign-in/")
    assert here.json("token", "sessions") == []
    assert template.token
