"""A server under traffic whose certificate is renewed: a client that never rests, and the site that it asks.

The client makes a new TLS connection every few milliseconds, verifies what it is shown as any browser would, and counts
every request that was not answered.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock
from renewers.delivering import verify
from renewers.delivering.destinations import DestinationPlan
from renewers.delivering.destinations import add as add_to
from renewers.lifecycle import Lifecycle
from tests import peer, rig
from tests.renewers import delivering
from tests.renewers.delivering import Renewed

PACE = 0.003


@dataclass
class Traffic:
    """What the client has met."""

    served: list[str] = field(default_factory=list)
    """Fingerprints, in the order in which they came, each as often as it was not the one before."""
    requests: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def traffic(port: int, root: Path) -> Iterator[Traffic]:
    """Ask all the time, from two threads, until the block ends."""
    met, over, lock = Traffic(), threading.Event(), threading.Lock()
    context = ssl.create_default_context(cafile=str(root))
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    def ask() -> None:
        while not over.wait(PACE):
            try:
                shown = _get(context, port)
            except (OSError, AssertionError) as error:
                with lock:
                    met.requests += 1
                    met.failures.append(repr(error))
            else:
                with lock:
                    met.requests += 1
                    if shown not in met.served[-1:]:
                        met.served.append(shown)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield met
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _get(context: ssl.SSLContext, port: int) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), 60) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while more := tls.recv(4096):
            answer += more
        assert answer.startswith(b"HTTP/1.1 200"), answer[:60]
        return sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


@dataclass
class Site:
    """A lineage that is delivered to a directory that a server reads."""

    lifecycle: Lifecycle
    home: Path
    port: int
    lineage_id: int
    config: str
    """The server's configuration as it should be."""

    @property
    def live(self) -> Path:
        """What the server reads."""
        return self.home / "certs/live"

    @property
    def root(self) -> Path:
        """What clients trust."""
        return self.home / "root.pem"

    @property
    def script(self) -> Path:
        """The command that makes the server read again."""
        return self.home / "reload"

    def write_config(self, text: str) -> None:
        """Exchange the server's configuration."""
        (self.home / "config").write_text(text)

    def write_script(self, text: str) -> None:
        """Exchange the command."""
        self.script.write_text(f"#!/bin/sh\nset -e\n{text}\n")
        self.script.chmod(0o755)

    def renew(self) -> Renewed:
        """A new certificate, wanted by the site."""
        return delivering.renew(self.lifecycle, self.lineage_id)

    def deliver(self, *, later: int = 0) -> Any:
        """Do what is due now, or later; returns the destination as it stands."""
        with clock.pinned(clock.now() + timedelta(seconds=later)):
            delivering.drain(self.lifecycle)
        return delivering.destination(self.lifecycle, "site")

    def outcomes(self) -> list[str]:
        """What became of each attempt."""
        return delivering.outcomes(self.lifecycle, "site")


def make_site(store: Any, home: Path, config: str, reload: str) -> Site:
    """A site that has its first certificate on disk; the server is not there yet, and so nobody has read it."""
    lifecycle = delivering.make_lifecycle(store)
    site = Site(lifecycle, home, peer.free_port(), delivering.add_lineage(lifecycle), "")
    site.config = config.replace("@PORT@", str(site.port)).replace("@LIVE@", str(site.live))
    site.config = site.config.replace("@HOME@", str(home))
    site.write_config(site.config)
    site.write_script(reload)
    root = x509.load_der_x509_certificate(lifecycle.installation.authorities.get("root-1").certificate)
    site.root.write_bytes(root.public_bytes(Encoding.PEM))
    settings = {"directory": str(site.live.parent), "reload": [str(site.script)], "reload_timeout": 3}
    probe = f"127.0.0.1:{site.port}#localhost"
    plan = DestinationPlan("site", "api", "files", settings, probe, 0, str(site.root))
    add_to(lifecycle, rig.ADMIN, plan)
    site.renew()
    assert site.deliver().state == "failing"
    return site


def renewals_under_traffic(site: Site, count: int) -> Traffic:
    """Renew several times; every one is seen, and no request fails."""
    assert site.deliver(later=3600).state == "seen"
    renewed = []
    with traffic(site.port, site.root) as met:
        for _ in range(count):
            until_served(met, met.requests + 20)
            renewed.append(site.renew())
            assert site.deliver().state == "seen"
        until_served(met, met.requests + 20)
    assert met.failures == []
    assert [one.sha256 for one in renewed] == list(dict.fromkeys(met.served))[1:]
    assert met.served[-1] == renewed[-1].sha256
    return met


def broken_and_mended(site: Site, break_it: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload that fails is rolled back, the old one is served to everybody, and the next attempt converges."""
    first = site.deliver(later=3600)
    assert first.state == "seen"
    with traffic(site.port, site.root) as met:
        until_served(met, 10)
        (old,) = met.served
        new = site.renew()
        break_it(site)
        with monkeypatch.context() as patched:  # only for what is not going to be seen
            patched.setattr(verify, "PATIENCE", 2.0)
            failed = site.deliver()
        assert failed.state == "failing"
        assert reason in failed.last_error
        assert (failed.delivered_id, site.outcomes()[-1]) == (first.delivered_id, "rolled-back")
        assert sha256_of(site.live / "cert.pem") == old
        assert "delivery-failing" in {row.kind for row in delivering.rows(site.lifecycle, delivering.Alarm)}
        until_served(met, met.requests + 20)
        assert met.served == [old]
        site.write_config(site.config)
        site.write_script(site.script.with_suffix(".good").read_text())
        assert site.deliver(later=7200).state == "seen"
        until_served(met, met.requests + 20)
    assert met.failures == []
    assert met.served[-1] == new.sha256
    assert delivering.alarms(site.lifecycle) == {}


def until_served(met: Traffic, requests: int) -> None:
    """Wait until the client has asked so often."""
    deadline = time.monotonic() + 120
    while met.requests < requests:
        assert time.monotonic() < deadline, met
        time.sleep(0.01)


def sha256_of(path: Path) -> str:
    """The fingerprint of the certificate in a PEM file."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
