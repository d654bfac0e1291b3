"""nginx: a real one gets renewed certificates while it is asked all the time, and no request fails.

Its listening sockets are inherited by the new workers, so nobody who connects during a reload is turned away. The
command that reloads it tests the configuration first, as an operator's would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ca.store import Store
from tests import peer
from tests.peers.traffic import Site, broken_and_mended, make_site, renewals_under_traffic

pytestmark = pytest.mark.peer("nginx")

CONFIG = """
daemon off;
pid nginx.pid;
worker_processes 2;
error_log error.log info;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  server {
    listen 127.0.0.1:@PORT@ ssl;
    ssl_certificate @LIVE@/fullchain.pem;
    ssl_certificate_key @LIVE@/key.pem;
    location / { return 200 "ok"; }
  }
}
"""


@pytest.fixture
def site(store: Store, tmp_path: Path) -> Iterator[Site]:
    """A site with a running nginx, which was started when its first certificate was there."""
    program, home = peer.require("nginx"), tmp_path / "nginx"
    home.mkdir()
    reload = f"{program} -q -t -p {home} -c {home}/config -e stderr\nkill -HUP $(cat {home}/nginx.pid)"
    made = make_site(store, home, CONFIG, reload)
    made.script.with_suffix(".good").write_text(reload)
    argv = (program, "-p", home, "-c", home / "config", "-e", "stderr")
    with peer.running(argv, ready=peer.listens(made.port), log=home / "log"):
        yield made


def test_renewed_under_traffic_no_request_fails(site: Site) -> None:
    """Five certificates in a row, each verified by handshake and chain, each served to the client."""
    met = renewals_under_traffic(site, 5)
    assert met.requests > 120
    assert site.outcomes() == ["failed", *["seen"] * 6]


def _break_config(site: Site) -> None:
    site.write_config(site.config.replace("location", "lokation"))


def _fail(site: Site) -> None:
    site.write_script("echo no luck today >&2; exit 1")


def _hang(site: Site) -> None:
    site.write_script("sleep 60")


def _do_nothing(site: Site) -> None:
    site.write_script("exit 0")


def _serve_without_chain(site: Site) -> None:
    site.write_config(site.config.replace("fullchain.pem", "cert.pem"))


BROKEN: dict[str, tuple[Callable[[Site], None], str]] = {
    "its configuration is invalid": (_break_config, "ended with 1"),
    "the command fails": (_fail, "ended with 1: no luck today"),
    "the command hangs": (_hang, "was stopped after 3 s"),
    "the command does nothing": (_do_nothing, "still serves the old one"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_reload_is_rolled_back_and_retried(site: Site, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old certificate is served all the while, and the new one as soon as it is mended."""
    break_it, reason = BROKEN[how]
    broken_and_mended(site, break_it, reason, monkeypatch)


def test_a_chain_that_is_not_served_is_noticed(site: Site) -> None:
    """A server that was told to serve the certificate alone does not count as deployed."""
    assert site.deliver(later=3600).state == "seen"
    _serve_without_chain(site)
    site.renew()
    failed = site.deliver()
    assert failed.state == "failing"
    assert "is incomplete: 1 of 1 certificates are missing" in failed.last_error
    site.write_config(site.config)
    assert site.deliver(later=7200).state == "seen"
