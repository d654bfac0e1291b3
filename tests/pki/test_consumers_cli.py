"""`certwright consumer`, `bundle` and `anchor`, run as a user runs them: without a server, and beside one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ca.publication.manifest import Manifest
from ca.x509.bundle import pem_certificate
from tests import rig
from tests.pki.conftest import Server, Template, Warm, key_pem, serving
from tests.pki.test_cli import Cli
from tests.renewers.listeners import make

TRUST, CRLS = f"trust:{rig.DOMAIN}", f"crl:{rig.DOMAIN}"


@pytest.fixture(scope="module")
def running(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose consumers are these tests' own."""
    state = Path(shutil.copytree(template.state, tmp_path_factory.mktemp("consumers") / "state"))
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


def test_a_consumer_from_add_to_proof(alone: Cli) -> None:
    """Added, brought its files, acknowledged by hand, shown; what is not said in a change stays."""
    place = alone.directory / "edge"
    alone.run("owner", "add", "edges", "--email", "edges@example.org")
    where = ("--directory", place, "--bundle", "pem", "--bundle", "jwks", "--crl", "complete", "--crl-format", "der")
    added = alone.json("consumer", "add", "edge", "--kind", "proxy", "--owner", "edges", *where, "--fresh-within", "2h")
    assert (added["publisher"], added["owner"], added["fresh_within"]) == ("files", "edges", "2h")
    assert added["needs"] == {
        "trust_domains": [rig.DOMAIN],
        "bundle": ["pem", "jwks"],
        "crl": "complete",
        "crl_formats": ["der"],
    }
    alone.run("renew", "run")
    assert {"bundle.pem", "jwks.json", "issuing-1.crl", "trust.jws"} <= {
        path.name for path in (place / "live").iterdir()
    }
    listed = alone.run("consumer", "list").stdout
    assert "edge" in listed
    assert "nothing yet" in listed
    streams = {row["stream"]: row for row in alone.json("bundle", "list")}
    assert set(streams) == {TRUST, CRLS}
    for stream, row in streams.items():
        done = alone.run("consumer", "acknowledge", "edge", stream, str(row["newest"]["version"]))
        assert f"edge holds version {row['newest']['version']} of {stream}, says hand:local:uid=" in done.stderr
    shown = alone.json("consumer", "show", "edge")
    assert shown["is_current"] is True
    assert "the newest" in alone.run("consumer", "list").stdout
    text = alone.run("consumer", "show", "edge").stdout
    for expected in ("edges", "proxy", f"directory={place}", TRUST, "hand:local", "bundle: pem, jwks"):
        assert expected in text, expected
    assert "has no version 7" in alone.run("consumer", "acknowledge", "edge", TRUST, "7", code=2).stderr

    changed = alone.json("consumer", "change", "edge", "--no-gates", "--crl", "none", "--keep", "4")
    assert (changed["gates"], changed["kind"]) == (False, "proxy")
    assert changed["settings"] == {"directory": str(place), "keep": 4}
    assert changed["needs"] == {**added["needs"], "crl": "none"}
    assert [row["name"] for row in alone.json("consumer", "list", "--stream", TRUST)] == ["edge"]
    assert alone.json("consumer", "list", "--stream", CRLS) == []
    assert alone.json("consumer", "pause", "edge")["state"] == "paused"
    assert "paused" in alone.run("consumer", "list").stdout
    assert alone.refused("consumer", "spread", "edge")[1] == "certwright consumer resume edge"
    assert "active" in alone.run("consumer", "resume", "edge").stdout
    (place / "live" / "bundle.pem").unlink()
    assert alone.json("consumer", "spread", "edge") == {"begins": True}
    assert (place / "live" / "bundle.pem").exists()

    assert alone.run("consumer", "remove", "edge", stdin="n\n", code=1).stdout.strip() == ""
    assert alone.run("consumer", "remove", "edge", "-y").stderr == "consumer edge is removed\n"
    assert alone.run("consumer", "list").stderr == "there are no consumers: certwright consumer add\n"


def test_a_secret_is_shown_once_on_the_command_line(alone: Cli) -> None:
    """When it is made and when it is replaced; a person is told so."""
    done = alone.run("consumer", "add", "edge", "--secret")
    (secret,) = [line for line in done.stdout.splitlines() if line.startswith("whsec_")]
    assert "shown this once" in done.stderr
    shown = alone.run("consumer", "show", "edge")
    assert "whsec_" not in shown.stdout + shown.stderr
    another = alone.run("consumer", "secret", "edge", "--yes")
    assert another.stdout.startswith("whsec_")
    assert another.stdout.strip() != secret
    assert "shown this once" in another.stderr
    assert alone.json("consumer", "secret", "edge", "-y")["secret"].startswith("whsec_")
    assert alone.run("consumer", "secret", "edge", stdin="\n", code=1).stdout.strip() == ""


def test_a_refusal_is_a_line_and_a_hint(alone: Cli) -> None:
    """Names that are unknown, and what no consumer is; wrong usage is another thing."""
    assert alone.refused("consumer", "show", "none") == ("there is no consumer 'none'", "certwright consumer list")
    for verb in ("pause", "resume", "spread"):
        assert alone.refused("consumer", verb, "none")[1] == "certwright consumer list"
    assert alone.refused("consumer", "remove", "none", "-y")[1] == "certwright consumer list"
    assert alone.refused("consumer", "secret", "none", "-y")[1] == "certwright consumer list"
    assert alone.refused("consumer", "change", "none", "--kind", "host")[1] == "certwright consumer list"
    reason, hint = alone.refused("consumer", "add", "Edge")
    assert "cannot name a consumer" in reason
    assert "lower-case" in str(hint)
    reason, hint = alone.refused("consumer", "add", "edge", "--publisher", "smoke")
    assert (reason, "files" in str(hint)) == ("there is no publisher 'smoke'", True)
    assert "pem" in str(alone.refused("consumer", "add", "edge", "--bundle", "docx")[1])
    assert "token:NAME" in str(alone.refused("consumer", "add", "edge", "--identity", "me")[1])
    assert "https:" in str(alone.refused("consumer", "add", "edge", "--probe", "edge")[1])
    problem = json.loads(alone.run("consumer", "show", "none", "--json", code=1).stderr)
    assert problem["code"] == "unknown-consumer"
    for wrong in (
        ("consumer", "add"),
        ("consumer", "add", "x", "--reload", "'unclosed", "--directory", "/x"),
        ("consumer", "acknowledge", "x", TRUST),
        ("consumer", "acknowledge", "x", TRUST, "soon"),
        ("consumer", "list", "--limit", "-1"),
    ):
        assert "Traceback" not in alone.run(*wrong, code=2).stderr
    assert alone.json("consumer", "list") == []


def test_bundles_of_an_installation(alone: Cli) -> None:
    """Published when asked; listed, shown, fetched and checked offline with the root that was fetched."""
    made = alone.json("bundle", "publish")
    assert {row["stream"] for row in made} == {TRUST, CRLS}
    assert alone.run("bundle", "publish").stderr == "nothing has changed\n"
    assert alone.run("bundle", "list").stdout.count("0 of 0") == 2
    newest = next(row for row in made if row["stream"] == TRUST)
    assert [row["version"] for row in alone.json("bundle", "history", TRUST)] == [newest["version"]]
    assert str(newest["version"]) in alone.run("bundle", "history", TRUST).stdout
    assert alone.run("bundle", "history", "none").stderr == "nothing was published under this name\n"
    shown = alone.run("bundle", "show", TRUST).stdout
    for expected in ("root-1", "anchor", "issuing-1", "CA certificate", "bundle.pem", newest["sha256"]):
        assert expected in shown, expected
    assert "complete CRL" in alone.run("bundle", "show", CRLS).stdout
    printed = alone.run("bundle", "show", TRUST, str(newest["version"]), "--json").stdout.strip()
    manifest = Manifest.decode(printed.encode())
    assert sha256(printed.encode()).hexdigest() == manifest.sha256 == newest["sha256"]

    alone.run("bundle", "fetch", "bundle.pem", "--out", "bundle.pem")
    fetched = (alone.directory / "bundle.pem").read_text()
    assert alone.run("bundle", "fetch", "bundle.pem").stdout == fetched
    assert alone.run("bundle", "fetch", "bundle.pem", "--trust-domain", rig.DOMAIN).stdout == fetched
    alone.run("bundle", "fetch", "bundle.p7b", "-o", "bundle.p7b")
    item = next(item for item in manifest.items if item.name == "bundle.p7b")
    assert sha256((alone.directory / "bundle.p7b").read_bytes()).hexdigest() == item.sha256

    assert alone.refused("bundle", "show", "trust:none")[0] == "nothing was published under this name"
    assert alone.refused("bundle", "show", TRUST, "7")[1] is not None
    assert alone.refused("bundle", "fetch", "none.pem")[0] == "there is no such file in this bundle"
    assert alone.refused("bundle", "fetch", "../healthz")[0]
    assert alone.refused("bundle", "fetch", "bundle.pem", "--trust-domain", "none")[0]
    assert "No such" in alone.refused("bundle", "fetch", "bundle.pem", "--out", "none/x.pem")[0]
    assert "Traceback" not in alone.run("bundle", "show", TRUST, "0", code=2).stderr


def test_anchors_from_the_command_line(alone: Cli) -> None:
    """Set from a file, shown, published, kept while somebody needs them, forgotten."""
    one = pem_certificate(make("Partner \x1b[31mCA", is_ca=True).der)
    (alone.directory / "partner.pem").write_text(one)
    (alone.directory / "key.pem").write_text(one + key_pem(rig.pooled_key()))
    assert alone.run("anchor", "list").stderr == "no other trust domain is published\n"
    done = alone.run("anchor", "set", "partner.example", "partner.pem")
    assert "Partner" in done.stdout
    assert "\x1b" not in done.stdout
    (row,) = alone.json("anchor", "show", "partner.example")
    assert row["trust_domain"] == "partner.example"
    assert [row["trust_domain"] for row in alone.json("anchor", "list")] == ["partner.example"]
    alone.run("bundle", "publish")
    assert alone.run("bundle", "fetch", "bundle.pem", "--trust-domain", "partner.example").stdout == one
    added = alone.json("consumer", "add", "far", "--trust-domain", "partner.example")
    assert added["needs"]["crl"] == "none"
    reason, hint = alone.refused("anchor", "remove", "partner.example", "-y")
    assert ("far" in reason, "certwright consumer change" in str(hint)) == (True, True)
    alone.run("consumer", "remove", "far", "-y")
    assert alone.run("anchor", "remove", "partner.example", stdin="n\n", code=1).stdout.strip() == ""
    assert alone.json("anchor", "remove", "partner.example", "--yes") == {"removed": "partner.example"}
    assert "there are no anchors of" in alone.refused("anchor", "show", "partner.example")[0]
    reason, hint = alone.refused("anchor", "set", "partner.example", "key.pem")
    assert "private key" in reason
    assert "certwright ca import" in str(alone.refused("anchor", "set", rig.DOMAIN, "partner.pem")[1])
    assert "Traceback" not in alone.run("anchor", "set", "partner.example", "none.pem", code=2).stderr


def test_beside_a_server_it_is_the_schedules(beside: Cli) -> None:
    """A directory is filled by the server soon after it was added, and again after a revocation."""
    place = beside.directory / "edge"
    beside.run("consumer", "add", "edge", "--directory", place)
    beside.run("renew", "run")
    deadline = time.monotonic() + 60  # the schedule may have taken the work, and be at it still
    while not (place / "live" / "crl.pem").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (place / "live" / "crl.pem").exists()
    shown = beside.json("consumer", "show", "edge")
    assert all(one["sent_version"] > 0 for one in shown["holds"])
    history = beside.json("bundle", "history", CRLS)
    issued = beside.json("cert", "issue", rig.WORKLOAD, "--profile", "mesh", "--out", beside.directory / "leaf")
    beside.run("cert", "revoke", issued["serial"], "-y")
    beside.run("bundle", "publish")
    while len(beside.json("bundle", "history", CRLS)) <= len(history) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(beside.json("bundle", "history", CRLS)) > len(history)
    beside.run("consumer", "remove", "edge", "-y")


@pytest.mark.parametrize("role", ["auditor", "consumer"])
def test_who_may_not_is_told_so(warm: Warm, running: Server, beside: Cli, role: str) -> None:
    """Over HTTPS with a token that gives less: a refusal, and the exit code of one."""
    made = beside.json("token", "create", f"a-{role}", "--role", role)
    where = ("--server", running.url, "--ca-file", running.roots)
    far = Cli(warm, *where, directory=beside.directory, CERTWRIGHT_TOKEN=made["token"])
    for argv in (
        ("consumer", "add", "x"),
        ("consumer", "remove", "x", "-y"),
        ("consumer", "secret", "x", "-y"),
        ("bundle", "publish"),
        ("anchor", "remove", "x.example", "-y"),
    ):
        assert f"has the role {role}, which may not" in far.refused(*argv)[0], argv
    far.run("bundle", "fetch", "bundle.pem", "--trust-domain", rig.DOMAIN)
    far.run("bundle", "show", TRUST)
    beside.run("token", "revoke", f"a-{role}")
