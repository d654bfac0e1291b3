"""A monitor of the ledger: what nobody expects is told once, rewritten history each time, and nothing else is."""

from __future__ import annotations

from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ca.errors import BadRequest, CertwrightError
from ca.ledger.checkpoint import Head, open_head, sign_head
from pki.client.monitoring import keep, source, watch
from tests.pki.conftest import Warm, World
from tests.pki.test_cli import Cli
from tests.pki.test_tiles import grow, mirror


@pytest.fixture
def here(warm: Warm, state: Path, tmp_path: Path) -> Cli:
    """The command on an installation, in process."""
    return Cli(warm, "--state", state, directory=tmp_path)


@pytest.fixture
def elsewhere(warm: Warm, tmp_path: Path) -> Cli:
    """The command of somebody who has no installation."""
    return Cli(warm, "--state", tmp_path / "nothing", directory=tmp_path)


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    """A mirror of the ledger."""
    path = tmp_path / "mirror"
    path.mkdir()
    mirror(world, world.local, path).follow(grow(world, 3))
    return path


def issue(here: Cli, name: str) -> None:
    """Issue a certificate and bring the mirror up to date."""
    here.json("cert", "issue", name, "-p", "server", "-o", name)
    here.json("ledger", "mirror", "copy")


def test_a_name_that_nobody_expects_is_told_once(here: Cli, elsewhere: Cli) -> None:
    """First everything is looked at, then what is new; a new CA is told, too, unless it is expected."""
    verifier = here.json("ledger", "head", "--out", "head.txt")["verifier"]
    here.json("ledger", "mirror", "copy")
    ask = ("ledger", "monitor", "copy", "--verifier", verifier, "--state", "seen.txt")
    fine = ("--expect", "dns:*.svc.example.internal", "--expect", "authority:*", "--expect", "profile:*")
    first = elsewhere.run("ledger", "monitor", "copy", "--verifier", verifier, "--state", "other.txt", code=1)
    assert "nobody expects authority:" in first.stderr
    assert elsewhere.json(*ask, *fine)["findings"] == []
    issue(here, "a.svc.example.internal")
    assert elsewhere.json(*ask, *fine)["findings"] == []
    issue(here, "a.other.example.internal")
    found: Any = elsewhere.json(*ask, *fine, code=1)
    assert [seen["name"] for seen in found["findings"]] == ["dns:a.other.example.internal"]
    assert elsewhere.json(*ask, *fine)["findings"] == []


def test_history_that_was_rewritten_is_told_each_time(world: World, copy: Path, tmp_path: Path) -> None:
    """Going back, a fork that our own key signed, a changed entry: refused, and the head that was kept stays."""
    ledger, state = world.product.installation.ledger, tmp_path / "seen.txt"
    _, checkpoint = watch(source(str(copy)), ledger.verifier, state, ["authority:*"])
    keep(state, checkpoint)
    head = open_head(checkpoint, ledger.verifier)
    for other in (Head(head.origin, head.size - 1, head.root), Head(head.origin, head.size, bytes(32))):
        (copy / "checkpoint").write_text(sign_head(other, ledger._key))
        for _ in range(2):
            with pytest.raises(CertwrightError):
                watch(source(str(copy)), ledger.verifier, state, [])
    assert state.read_text() == checkpoint
    (copy / "checkpoint").write_text(checkpoint)
    entries = next((copy / "tile" / "entries").rglob(str(head.size)))
    entries.write_bytes(entries.read_bytes().replace(b"authority", b"Authority", 1))
    with pytest.raises(BadRequest, match="not those that were signed"):
        watch(source(str(copy)), ledger.verifier, tmp_path / "none.txt", [])


def test_a_mirror_is_read_from_any_web_server(world: World, copy: Path, tmp_path: Path) -> None:
    """Static files over HTTP are enough, and come to the same as the directory."""
    verifier = world.product.installation.ledger.verifier

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, directory=str(copy), **named)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        over_http, _ = watch(source(url), verifier, tmp_path / "none.txt", [])
        server.shutdown()
    assert over_http == watch(source(str(copy)), verifier, tmp_path / "none.txt", [])[0]
    assert over_http.findings


@pytest.mark.parametrize("pattern", ["example.internal", "*", ":x", "dns:"])
def test_a_pattern_without_a_kind_is_refused(pattern: str, world: World, copy: Path, tmp_path: Path) -> None:
    """A star alone would expect everything, and a name without its kind nothing."""
    with pytest.raises(BadRequest, match="no name with its kind"):
        watch(source(str(copy)), world.product.installation.ledger.verifier, tmp_path / "s", [pattern])
