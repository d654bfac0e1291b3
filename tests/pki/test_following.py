"""A consumer on a host of its own, against a real server: it takes what is newest, refuses the rest, and says so."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ca.errors import BadRequest, NotDelivered
from ca.secret import Secret
from pki.following import Following, Taken, follow
from tests import peer
from tests.pki.conftest import Server, certwright


@pytest.fixture
def plan(running: Server, tmp_path: Path) -> Following:
    """What a host is told: where, whose, and the root that somebody brought there."""
    base = f"http://127.0.0.1:{running.plain}"
    wait_for_publications(base)
    return Following(base, "example.internal", running.roots, tmp_path / "trust")


def wait_for_publications(base: str) -> None:
    """The schedule publishes within seconds of the start."""
    for kind in ("trust", "crl"):
        url = f"{base}/publications/{kind}:example.internal"
        peer.until(lambda url=url: httpx.get(url, trust_env=False).status_code == 200, f"{kind} is published")


@pytest.fixture
def running(template: object, tmp_path: Path) -> Iterator[Server]:
    """A server on an installation of this test's own."""
    import shutil

    from tests.pki.conftest import serving

    state = Path(shutil.copytree(template.state, tmp_path / "state"))  # type: ignore[attr-defined]
    with serving(state, template.token) as server:  # type: ignore[attr-defined]
        yield server


def taken(plan: Following) -> Taken:
    """What was put into use; there has to be something."""
    found = follow(plan)
    assert found is not None
    return found


def test_what_is_published_is_put_into_use_and_openssl_takes_it(plan: Following, running: Server) -> None:
    """Bundle and lists verify a certificate of the installation; asked again, there is nothing newer."""
    assert set(taken(plan).files) == {"bundle.pem", "cas.pem", "crl.pem", "trust.jws", "crl.jws"}
    assert follow(plan) is None
    live = plan.directory / "live"
    with running.over_socket() as client:
        body = client.get("/api/v1/certificates?limit=1&profile=server").json()["items"][0]
        whole = client.get(f"/api/v1/certificates/{body['serial']}").json()
    (plan.directory / "leaf.pem").write_text(whole["certificate"])
    argv = ("verify", "-CAfile", live / "bundle.pem", "-CRLfile", live / "crl.pem", "-crl_check_all")
    done = peer.run("openssl", *argv, "-untrusted", live / "cas.pem", plan.directory / "leaf.pem")
    assert done.returncode == 0, done.stderr


def test_it_acknowledges_what_it_has_put_into_use(plan: Following, running: Server) -> None:
    """Signed with its secret; the installation then knows that it holds both streams."""
    with running.over_socket() as client:
        added = client.post("/api/v1/consumers", json={"name": "host-1", "makes_secret": True}).json()
    with_secret = Following(**{**vars_of(plan), "consumer": "host-1", "secret": Secret(added["secret"])})
    assert taken(with_secret).is_acknowledged
    with running.over_socket() as client:
        row = client.get("/api/v1/consumers/host-1").json()
    assert row["is_current"]
    assert {one["proved_by"] for one in row["holds"]} == {"signature"}


def test_the_command_ends_after_one_round(plan: Following, tmp_path: Path) -> None:
    """As a cron job would run it; the second time it says that there is nothing newer."""
    argv = ("bundle", "follow", plan.base, "--trust-domain", plan.trust_domain, "--root", plan.roots)
    argv = (*argv, "--directory", plan.directory, "--once")
    first = certwright(*argv, "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert set(json.loads(first.stdout)["versions"]) == {"trust:example.internal", "crl:example.internal"}
    second = certwright(*argv, cwd=tmp_path)
    assert (second.returncode, "the newest" in second.stderr) == (0, True)


def vars_of(plan: Following) -> dict[str, object]:
    """The fields of a plan."""
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


@contextmanager
def twisting(base: str, change: Callable[[str, bytes], bytes]) -> Iterator[str]:
    """A man in the middle: passes everything on, and changes what he likes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(base + self.path, trust_env=False)
            content = change(self.path, answer.content)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def cut(path: str, content: bytes) -> bytes:
    """Half of the bundle is missing."""
    return content[: len(content) // 2] if path.endswith("bundle.pem") else content


def tampered(path: str, content: bytes) -> bytes:
    """One letter of the manifest is another."""
    return content.replace(b'"payload":"e', b'"payload":"f', 1) if "/publications/trust" in path else content


def listless(path: str, content: bytes) -> bytes:
    """A list of somebody's own."""
    return content[:-1] + bytes((content[-1] ^ 1,)) if path.startswith("/crl/") else content


@pytest.mark.parametrize("change", [cut, tampered, listless])
def test_what_somebody_has_changed_is_not_put_into_use(plan: Following, change: Callable[[str, bytes], bytes]) -> None:
    """Nothing lies there afterwards, not even a part of it."""
    with twisting(plan.base, change) as base, pytest.raises((BadRequest, NotDelivered)):
        follow(Following(**{**vars_of(plan), "base": base}))
    assert not (plan.directory / "live").exists()


def test_what_was_replayed_is_refused(plan: Following, running: Server) -> None:
    """Somebody who kept the first version cannot make it the newest again."""
    kept: dict[str, bytes] = {}

    def keep(path: str, content: bytes) -> bytes:
        return kept.setdefault(path.partition("?")[0], content)

    with twisting(plan.base, keep) as base:
        followed = Following(**{**vars_of(plan), "base": base})
        taken(followed)
        with running.over_socket() as client:
            serial = client.get("/api/v1/certificates?limit=1&profile=server").json()["items"][0]["serial"]
            client.post(f"/api/v1/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status()
        stream = "/publications/crl:example.internal"
        first = kept[stream]
        peer.until(lambda: httpx.get(plan.base + stream, trust_env=False).content != first, "a newer version")
        taken(plan)  # directly, behind the back of whoever replays
        with pytest.raises(BadRequest) as refused:
            follow(followed)
    assert refused.value.code == "replayed-manifest"


def test_another_root_is_not_believed(plan: Following, tmp_path: Path) -> None:
    """Whoever begins with the wrong root gets nothing."""
    argv = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Other")
    done: subprocess.CompletedProcess[bytes] = peer.run(
        "openssl", *argv, "-keyout", tmp_path / "k", "-out", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(BadRequest) as refused:
        follow(Following(**{**vars_of(plan), "roots": tmp_path / "r"}))
    assert refused.value.code == "untrusted-manifest"
