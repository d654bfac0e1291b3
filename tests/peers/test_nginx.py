"""nginx: a real one on loopback that lets clients in by our certificates and keeps them out by our CRLs.

It is OpenSSL with `ssl_crl`, which checks the whole chain: a list of every CA has to be in the file. It reads files
when it starts and when it gets a SIGHUP; until then a revoked client is welcome, and for a tenth of a second longer,
while the old worker still accepts connections beside the new one. A refusal is HTTP 400, after a handshake that
succeeded.
"""

from __future__ import annotations

import http.client
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pytest

from ca.keys.algorithms import KeyType
from ca.x509.revocation_list import RevocationReason
from tests import peer
from tests.peers.material import CLIENTS, Leaf, Material, made, revoked_for

pytestmark = pytest.mark.peer("nginx")

CONFIG = Template("""
daemon off;
pid nginx.pid;
worker_processes 1;
error_log error.log info;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  ssl_certificate $files/server-chain.pem;
  ssl_certificate_key $files/server.key;
  ssl_verify_depth 2;
  ssl_crl $files/complete-crls.pem;

  server {  # the root is trusted, clients send their chain
    listen 127.0.0.1:$root ssl;
    ssl_client_certificate $files/root.pem;
    ssl_verify_client on;
    location / { return 200 "$$ssl_client_verify $$ssl_client_serial"; }
  }
  server {  # the same for a wildcard name, with a certificate of its own
    listen 127.0.0.1:$root ssl;
    server_name *.edge.example.internal;
    ssl_certificate $files/edge-chain.pem;
    ssl_certificate_key $files/edge.key;
    ssl_client_certificate $files/root.pem;
    ssl_verify_client on;
    location / { return 200 "edge"; }
  }
  server {  # the issuing CAs are trusted, too: clients send nothing but their certificate
    listen 127.0.0.1:$issuing ssl;
    ssl_client_certificate $files/trusted.pem;
    ssl_verify_client on;
    location / { return 200 "$$ssl_client_verify $$ssl_client_serial"; }
  }
  server {  # all shards instead of the complete lists, and the reason for a refusal
    listen 127.0.0.1:$shards ssl;
    ssl_client_certificate $files/root.pem;
    ssl_verify_client on;
    ssl_crl $files/sharded-crls.pem;
    error_page 495 496 = @refused;
    location / { return 200 "$$ssl_client_verify $$ssl_client_serial"; }
    location @refused { return 400 "$$ssl_client_verify"; }
  }
}
""")


@dataclass(frozen=True)
class Nginx:
    """A running nginx, and the material that it was configured with."""

    material: Material
    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    log: Path

    def get(self, server: str, leaf: Leaf | None, *, bare: bool = False, name: str = "localhost") -> tuple[int, str]:
        """Ask one of its servers for `/`, as a client with this certificate, or none; status and body."""
        with self.connect(server, leaf, bare=bare, name=name) as tls:
            return finish(tls, b"GET / HTTP/1.1\r\n", name)

    def connect(self, server: str, leaf: Leaf | None, *, bare: bool = False, name: str = "localhost") -> ssl.SSLSocket:
        """A connection after its handshake, in which Python has checked nginx's certificate."""
        context = ssl.create_default_context(cafile=str(self.material.authority("root")))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if leaf is not None:
            context.load_cert_chain(leaf.certificate if bare else leaf.chain, leaf.key)
        with socket.create_connection(("127.0.0.1", self.ports[server]), 60) as connection:
            return context.wrap_socket(connection, server_hostname=name)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell it to read its files again; at the end of the block, wait until its old worker is gone."""
        before = self._gone()
        self.process.send_signal(signal.SIGHUP)
        yield
        eventually(lambda: self._gone() > before, "the old worker is gone")

    def _gone(self) -> int:
        return len(re.findall(r"worker process \d+ exited with code 0", self.log.read_text()))


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds, for a minute at most."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def finish(tls: ssl.SSLSocket, rest: bytes, name: str = "localhost") -> tuple[int, str]:
    """Send what is missing of a request, and read its answer: status and body."""
    tls.sendall(rest + f"Host: {name}\r\nConnection: close\r\n\r\n".encode())
    with http.client.HTTPResponse(tls) as response:
        response.begin()
        return response.status, response.read().decode()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An nginx with material of its own, which a test may revoke and publish."""
    program, home = peer.require("nginx"), tmp_path_factory.mktemp("nginx")
    ports = {name: peer.free_port() for name in ("root", "issuing", "shards")}
    with made(home / "material", KeyType.P256) as material:
        config = home / "nginx.conf"
        config.write_text(CONFIG.substitute(ports, files=material.directory))
        argv = (program, "-p", home, "-c", config, "-e", "stderr")
        check = peer.run(*argv, "-t")
        assert check.returncode == 0, check.stderr.decode()
        with peer.running(argv, ready=peer.listens(ports["root"]), log=home / "log") as process:
            yield Nginx(material, process, ports, home / "error.log")


def welcome(leaf: Leaf) -> tuple[int, str]:
    """What a client is told that is let in: nginx knows its certificate by the serial number."""
    serial = leaf.parsed.serial_number
    return 200, f"SUCCESS {serial.to_bytes((serial.bit_length() + 7) // 8).hex().upper()}"


@pytest.mark.parametrize("profile", CLIENTS)
def test_valid_clients_are_served(nginx: Nginx, profile: str) -> None:
    """With the chain they send, or without one where nginx knows the issuing CA."""
    leaf = nginx.material[profile]
    assert nginx.get("root", leaf) == welcome(leaf)
    assert nginx.get("issuing", leaf, bare=True) == welcome(leaf)
    if profile != "ephemeral":
        assert nginx.get("shards", leaf) == welcome(leaf)


@pytest.mark.parametrize("reason", RevocationReason)
def test_revoked_clients_are_refused(nginx: Nginx, reason: RevocationReason) -> None:
    """Whatever for, by complete lists and by shards."""
    leaf = nginx.material[revoked_for(reason)]
    assert nginx.get("root", leaf)[0] == 400
    assert nginx.get("issuing", leaf, bare=True)[0] == 400
    assert nginx.get("shards", leaf) == (400, "FAILED:certificate revoked")


def test_everybody_else_is_refused(nginx: Nginx) -> None:
    """Expired, of a revoked CA, of a stranger, with a server's certificate, without a chain, with nothing."""
    material = nginx.material
    refused = {
        "certificate has expired": material["expired"],
        "certificate revoked": material["orphan"],
        "unable to get certificate CRL": material.stranger["mesh"],
        " certificate purpose": material["server"],  # before it "unsuitable", or in other versions "unsupported"
    }
    for why, leaf in refused.items():
        status, page = nginx.get("root", leaf)
        assert (status, "The SSL certificate error" in page) == (400, True), why
        assert nginx.get("issuing", leaf)[0] == 400
        status, page = nginx.get("shards", leaf)
        assert (status, page[: len("FAILED:")], page[-len(why) :]) == (400, "FAILED:", why)  # of several, the last
    assert nginx.get("shards", material["mesh"], bare=True) == (400, "FAILED:unable to verify the first certificate")
    status, page = nginx.get("root", None)
    assert (status, "No required SSL certificate was sent" in page) == (400, True)
    assert nginx.get("shards", None) == (400, "NONE")


def test_a_client_that_names_no_list_is_in_no_shard(nginx: Nginx) -> None:
    """nginx checks a list for every certificate; for an ephemeral one it has to be the complete one."""
    assert nginx.get("shards", nginx.material["ephemeral"]) == (400, "FAILED:unable to get certificate CRL")


def test_its_own_certificate_is_accepted_by_name(nginx: Nginx) -> None:
    """Python accepts it under the names and addresses that it has, wildcards included, and under no other."""
    mesh = nginx.material["mesh"]
    for name in ("localhost", "db.eu.example.internal", "127.0.0.1"):
        assert nginx.get("root", mesh, name=name) == welcome(mesh)
    assert nginx.get("root", mesh, name="shop.edge.example.internal") == (200, "edge")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        nginx.get("root", mesh, name="elsewhere.example.internal")


def test_curl_is_served(nginx: Nginx) -> None:
    """With its own check of our names and of the chain; refused under a wrong name and as a revoked client."""
    curl, material, port = peer.require("curl"), nginx.material, nginx.ports["root"]

    def fetch(name: str, leaf: Leaf) -> tuple[int, str]:
        own = ("--cert", leaf.chain, "--key", leaf.key, "--cacert", material.authority("root"))
        to = ("--noproxy", "*", "--resolve", f"*:{port}:127.0.0.1", f"https://{name}:{port}/")
        result = peer.run(curl, "-q", "-sS", "--fail", *own, *to)
        return result.returncode, result.stdout.decode()

    mesh = material["mesh"]
    for name in ("localhost", "db.eu.example.internal"):
        assert fetch(name, mesh) == (0, welcome(mesh)[1])
    assert fetch("shop.edge.example.internal", mesh) == (0, "edge")
    assert fetch("elsewhere.example.internal", mesh)[0] == 60  # the certificate's names do not match
    assert fetch("localhost", material["revoked"])[0] == 22  # HTTP 400


def test_who_is_revoked_is_refused_after_a_reload(nginx: Nginx) -> None:
    """New lists count from the SIGHUP on, which disturbs nobody else, not even a request that is under way."""
    material, others = nginx.material, [nginx.material[name] for name in CLIENTS]
    leaver = material.issue("leaver")
    assert nginx.get("root", leaver) == welcome(leaver)
    material.revoke("leaver")
    material.publish()
    assert nginx.get("root", leaver) == welcome(leaver), "nginx has not been told yet"
    with nginx.connect("root", others[0]) as under_way, nginx.reloading():
        under_way.sendall(b"GET / HTTP/1.1\r\n")
        eventually(lambda: nginx.get("root", leaver)[0] == 400, "the new list counts")
        assert [nginx.get("root", leaf) for leaf in others] == [welcome(leaf) for leaf in others]
        assert finish(under_way, b"") == welcome(others[0])
    assert nginx.get("root", leaver)[0] == 400
    assert nginx.get("shards", leaver) == (400, "FAILED:certificate revoked")
    assert [nginx.get("root", leaf) for leaf in others] == [welcome(leaf) for leaf in others]


def test_a_reload_without_a_list_of_every_ca_refuses_everybody(nginx: Nginx) -> None:
    """The root's list belongs to the file: without it nginx knows of no CA below it whether it is revoked."""
    material = nginx.material
    whole = material.complete_crls.read_bytes()
    material.complete_crls.write_bytes(material.crl("issuing").read_bytes())
    with nginx.reloading():
        pass
    refused = nginx.get("root", material["mesh"])[0]
    material.complete_crls.write_bytes(whole)
    with nginx.reloading():
        pass
    assert (refused, nginx.get("root", material["mesh"])) == (400, welcome(material["mesh"]))
