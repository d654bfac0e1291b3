"""HAProxy: a real one in master-worker mode gets renewed certificates while it is asked all the time.

A reload (SIGUSR2 to the master) starts a new worker, which takes over the listening sockets from the old one through
its stats socket; nobody who connects meanwhile is turned away. It reads the key and the chain from one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ca.store import Store
from tests import peer
from tests.peers.traffic import Site, broken_and_mended, make_site, renewals_under_traffic

pytestmark = pytest.mark.peer("haproxy")

CONFIG = """
global
  stats socket @HOME@/stats mode 600 level admin expose-fd listeners
  hard-stop-after 5s
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend edge
  bind 127.0.0.1:@PORT@ ssl crt @LIVE@/combined.pem
  http-request return status 200 content-type text/plain string ok
"""


@pytest.fixture
def site(store: Store, tmp_path: Path) -> Iterator[Site]:
    """A site with a running HAProxy, which was started when its first certificate was there."""
    program, home = peer.require("haproxy"), tmp_path / "haproxy"
    home.mkdir()
    reload = f"{program} -c -q -f {home}/config\nkill -USR2 $(cat {home}/pid)"
    made = make_site(store, home, CONFIG, reload)
    made.script.with_suffix(".good").write_text(reload)
    argv = (program, "-W", "-db", "-p", home / "pid", "-f", home / "config")
    with peer.running(argv, ready=peer.listens(made.port), log=home / "log") as process:
        (home / "pid").write_text(str(process.pid))
        yield made


def test_renewed_under_traffic_no_request_fails(site: Site) -> None:
    """Five certificates in a row, each verified by handshake and chain, each served to the client."""
    met = renewals_under_traffic(site, 5)
    assert met.requests > 120
    assert site.outcomes() == ["failed", *["seen"] * 6]


def _break_config(site: Site) -> None:
    site.write_config(site.config.replace("frontend", "frontent"))


def _fail(site: Site) -> None:
    site.write_script("echo no luck today >&2; exit 1")


def _hang(site: Site) -> None:
    site.write_script("sleep 60")


BROKEN: dict[str, tuple[Callable[[Site], None], str]] = {
    "its configuration is invalid": (_break_config, "ended with 1"),
    "the command fails": (_fail, "ended with 1: no luck today"),
    "the command hangs": (_hang, "was stopped after 3 s"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_reload_is_rolled_back_and_retried(site: Site, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old certificate is served all the while, and the new one as soon as it is mended."""
    break_it, reason = BROKEN[how]
    broken_and_mended(site, break_it, reason, monkeypatch)
