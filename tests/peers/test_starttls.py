"""Looking at real servers: nginx by name, Dovecot over IMAP, PostgreSQL over SSLRequest, aiosmtpd over SMTP.

Each has a certificate of its own and shows it only where TLS begins as that protocol says; what is seen is held against
what the server was given.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from ca.errors import NotDelivered
from renewers import handshake
from renewers.discovery.scan import Seen, Unseen, scan
from renewers.discovery.targets import Target
from tests import peer
from tests.peers.material import Leaf, Material
from tests.postgresql import _unprivileged


def is_shown(leaf: Leaf, port: int, protocol: str, name: str | None = None) -> None:
    """Both by a look and in a scan."""
    seen = handshake.look("127.0.0.1", port, protocol=protocol, server_name=name)
    assert seen.chain[0] == leaf.der.read_bytes()
    assert len(seen.chain) == 2
    (found,) = scan([Target(protocol, "127.0.0.1", port, name)])
    assert isinstance(found, Seen)
    assert found.presented == seen


def is_refused(port: int, protocol: str) -> None:
    """There is no TLS to be had this way."""
    with pytest.raises(NotDelivered) as caught:
        handshake.look("127.0.0.1", port, protocol=protocol, timeout=20)
    (found,) = scan([Target(protocol, "127.0.0.1", port)])
    assert isinstance(found, Unseen)
    assert caught.value.code == found.code == "no-tls"


NGINX = Template("""
daemon off;
pid nginx.pid;
worker_processes 1;
error_log error.log info;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  server { listen 127.0.0.1:$plain; return 200; }
  server {
    listen 127.0.0.1:$port ssl default_server;
    ssl_certificate $files/server-chain.pem; ssl_certificate_key $files/server.key;
  }
  server {
    listen 127.0.0.1:$port ssl;
    server_name one.edge.example.internal;
    ssl_certificate $files/edge-chain.pem; ssl_certificate_key $files/edge.key;
  }
  server {
    listen 127.0.0.1:$mutual ssl;
    ssl_certificate $files/device-chain.pem; ssl_certificate_key $files/device.key;
    ssl_client_certificate $files/root.pem; ssl_verify_client on;
  }
}
""")


@pytest.mark.peer("nginx")
def test_nginx_shows_what_belongs_to_the_name(material: Material, tmp_path: Path) -> None:
    """By SNI; to whom it does not know as well; and plain HTTP is told apart. It logs no broken connection."""
    program = peer.require("nginx")
    ports = {name: peer.free_port() for name in ("plain", "port", "mutual")}
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.substitute(ports, files=material.directory))
    argv = (program, "-p", tmp_path, "-c", config, "-e", "stderr")
    with peer.running(argv, ready=peer.listens(ports["port"]), log=tmp_path / "log"):
        is_shown(material["server"], ports["port"], "tls")
        is_shown(material["edge"], ports["port"], "tls", "one.edge.example.internal")
        is_shown(material["device"], ports["mutual"], "tls")
        is_refused(ports["plain"], "tls")
    complaints = [
        line for line in (tmp_path / "error.log").read_text(errors="replace").splitlines() if "reset by peer" in line
    ]
    assert complaints == []


DOVECOT = Template("""
base_dir = $home/run
state_dir = $home/run
log_path = $home/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <$files/server-chain.pem
ssl_key = <$files/server.key
auth_mechanisms = plain
first_valid_uid = 1
service imap-login {
  chroot =
  inet_listener imap {
    port = $port
  }
  inet_listener imaps {
    port = $direct
  }
}
service anvil {
  chroot =
}
passdb {
  driver = static
  args = nopassword
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=$home
}
""")


@pytest.mark.peer("dovecot")
def test_dovecot_shows_itself_over_starttls_and_at_once(material: Material) -> None:
    """RFC 9051 on its plain port, TLS on the other."""
    program = peer.require("dovecot")
    if os.getuid() != 0:
        peer.missing("dovecot starts as root")
    home = Path(tempfile.mkdtemp(prefix="certwright-dovecot-"))  # its sockets' paths must be short
    try:
        home.chmod(0o755)
        ports = {"port": peer.free_port(), "direct": peer.free_port()}
        config = home / "dovecot.conf"
        config.write_text(DOVECOT.substitute(ports, home=home, files=material.directory))
        with peer.running([program, "-F", "-c", config], ready=peer.listens(ports["port"]), log=home / "log"):
            is_shown(material["server"], ports["port"], "imap")
            is_shown(material["server"], ports["direct"], "tls")
            with pytest.raises(NotDelivered):
                handshake.look("127.0.0.1", ports["port"], timeout=1)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.peer("postgres")
@pytest.mark.parametrize("is_on", [True, False])
def test_postgresql_shows_itself_after_ssl_request(material: Material, is_on: bool) -> None:
    """And says no where it has no TLS."""
    initdb, server = peer.require("initdb"), peer.require("postgres")
    home, port = Path(tempfile.mkdtemp(prefix="certwright-postgresql-")), peer.free_port()
    try:
        as_user = _unprivileged(home)
        data = home / "data"
        subprocess.run([*as_user, initdb, "-D", data, "-A", "trust", "-N"], check=True, capture_output=True)
        for name in ("server-chain.pem", "server.key"):
            shutil.copy(material.directory / name, home / name)
            (home / name).chmod(0o600)
            os.chown(home / name, home.stat().st_uid, home.stat().st_gid)
        settings = ["listen_addresses=127.0.0.1", f"ssl={'on' if is_on else 'off'}", "fsync=off"]
        settings += [f"ssl_cert_file={home}/server-chain.pem", f"ssl_key_file={home}/server.key"]
        argv = [*as_user, server, "-D", data, "-p", str(port), "-k", home, *(w for s in settings for w in ("-c", s))]
        with peer.running(argv, ready=peer.listens(port), log=home / "log", timeout=120):
            if is_on:
                is_shown(material["server"], port, "postgresql")
            else:
                is_refused(port, "postgresql")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=[True, False])
def smtp(request: pytest.FixtureRequest, material: Material) -> Iterator[tuple[int, bool]]:
    """A mail server's port, with STARTTLS or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(material["server"].chain, material["server"].key)
    port = peer.free_port()
    controller = Controller(Sink(), "127.0.0.1", port, tls_context=context if request.param else None)
    controller.start()
    yield port, request.param
    controller.stop()


def test_a_mail_server_shows_itself_after_starttls(smtp: tuple[int, bool], material: Material) -> None:
    """And is told apart from one that does not offer it."""
    port, offers = smtp
    if offers:
        is_shown(material["server"], port, "smtp")
    else:
        is_refused(port, "smtp")
