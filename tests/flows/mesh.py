"""A living mesh: two nginx, a Mosquitto and many clients that do mTLS with each other, kept by `certwright serve`.

Every certificate is a lineage with a destination, every server and client a consumer; the servers are probed, the
clients acknowledge. All of it is on loopback, in processes that are stopped by their id. What a story does with it is
its own: see `test_rotation_live.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template as Text
from typing import Any

import httpx

from pki.initialise import InitPlan, initialise
from tests import peer
from tests.flows.mesh_clients import Tally
from tests.mosquitto import Tls, mosquitto

DOMAIN = "example.internal"
PATIENCE = 180.0
API = "http://local/api/v1"
NGINX = Text("""
daemon off;
pid $home/nginx.pid;
error_log $home/error.log info;
worker_processes 1;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $home/t; proxy_temp_path $home/t; fastcgi_temp_path $home/t; uwsgi_temp_path $home/t;
  scgi_temp_path $home/t;
  server {
    listen 127.0.0.1:$port ssl backlog=1024;
    ssl_certificate $certificate/live/fullchain.pem;
    ssl_certificate_key $certificate/live/key.pem;
    ssl_client_certificate $trust/live/bundle.pem;
    ssl_crl $trust/live/crl.pem;
    ssl_verify_client on;
    ssl_verify_depth 4;
    ssl_session_cache off;
    ssl_session_tickets off;
    location / { return 200 "hello"; }
  }
}
""")


@dataclass
class Place:
    """A server or a client: its directories, and how it is reached."""

    name: str
    home: Path
    protocol: str = ""
    port: int = 0

    @property
    def server_name(self) -> str:
        """What its certificate says."""
        return f"{self.name}.{DOMAIN}"

    @property
    def certificate(self) -> Path:
        """Where its certificate is brought."""
        return self.home / "certificate"

    @property
    def trust(self) -> Path:
        """Where its bundle and CRLs are brought."""
        return self.home / "trust"


@dataclass
class Mesh:
    """Everything that runs."""

    home: Path
    environment: Mapping[str, str]
    tls: int
    plain: int
    places: list[Place] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.home / "state"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home / "server.log"

    # The server.

    def start(self) -> None:
        """Run `certwright serve`."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        argv = [sys.executable, "-c", "from pki.cli import main; main()", "--state", str(self.state), "serve"]
        with self.log.open("ab") as out:
            self.server = subprocess.Popen(argv, stdout=out, stderr=out, env=dict(self.environment))
        until(lambda: b'"serving"' in self.log.read_bytes()[seen:], lambda: f"serving: {self.said()}", 30)

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait(10)

    def stop(self) -> None:
        """End it kindly."""
        if self.server is not None and self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait(10)

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """Its REST API, over the socket."""
        wire = httpx.HTTPTransport(uds=str(self.state / "certwright.sock"), verify=peer.NO_TLS)
        with httpx.Client(transport=wire, base_url=API, timeout=60, trust_env=False) as client:
            yield client

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request that has to succeed."""
        with self.client() as client:
            answer = client.request(method, API + path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    # What it keeps.

    def keep(self, place: Place, *, names: list[str], profile: str, gates: bool = True, **more: Any) -> str:
        """Have the certificate and the trust of a place kept; returns the secret that it acknowledges with."""
        self.places.append(place)
        place.home.mkdir(parents=True)
        reload = [str(self.reload_script(place)), str(place.home)] if place.protocol else None
        self.ask("POST", "/lineages", {"name": place.name, "names": names, "profile": profile})
        settings: dict[str, Any] = {"directory": str(place.certificate)}
        trusting: dict[str, Any] = {"directory": str(place.trust), "keep": 20}
        if reload:
            settings |= {"reload": reload}
            trusting |= {"reload": reload}
        self.ask("POST", "/destinations", {"name": place.name, "lineage": place.name, "settings": settings})
        plan = {"name": place.name, "kind": "proxy" if place.protocol else "host", "publisher": "files", "gates": gates}
        plan |= {"settings": trusting, "makes_secret": not place.protocol, **more}
        if place.protocol:
            plan["probe"] = f"{place.protocol}:127.0.0.1:{place.port}?name={place.server_name}"
        return str(self.ask("POST", "/consumers", plan).get("secret") or "")

    def reload_script(self, place: Place) -> Path:
        """A program that has a server read its files again; it succeeds where none runs yet."""
        script = self.home / "reload"
        if not script.exists():
            script.write_text('#!/bin/sh\ntest -e "$1/pid" || exit 0\nexec kill -HUP "$(cat "$1/pid")"\n')
            script.chmod(0o755)
        return script

    def until_brought(self) -> None:
        """Wait until every place has its certificate and its trust."""

        def brought() -> bool:
            return all(
                (place.certificate / "live").exists() and (place.trust / "live/crl.pem").exists()
                for place in self.places
            )

        until(brought, lambda: f"everything brought: {self.said()}")

    # Rotations.

    def rotate(self, line: str, **body: Any) -> int:
        """Begin one."""
        return int(self.ask("POST", "/rotations", {"line": line, "reason": "the yearly exercise", **body})["id"])

    def rotation(self, identity: int) -> Any:
        """How it stands."""
        return self.ask("GET", f"/rotations/{identity}")

    def until_done(self, identity: int, *, seconds: float = PATIENCE) -> Any:
        """Wait for its end."""
        found: dict[str, Any] = {}

        def done() -> bool:
            found.update(self.rotation(identity))
            return found["state"] != "open"

        until(done, lambda: f"the rotation ends: {json.dumps(found)[:3000]}\n{self.said()}", seconds)
        return found


@contextmanager
def mesh(
    home: Path,
    *,
    clients: int = 20,
    pace: float = 0.05,
    settings: Mapping[str, str] | None = None,
    furnish: Callable[[Path], None] | None = None,
) -> Iterator[Mesh]:
    """Found an installation and everything around it, with traffic going; `furnish` is shown its state directory."""
    changes = {
        "installation.domain": f'"{DOMAIN}"',
        "crl.shards": "4",
        "renewals.programs": json.dumps([str(home / "reload")]),
        **(settings or {}),
    }
    tls, plain = peer.free_port(), peer.free_port()
    changes |= {"installation.public_url": f'"http://127.0.0.1:{plain}"'}
    initialise(home / "state", InitPlan(name="Mesh", changes=changes))
    if furnish is not None:
        furnish(home / "state")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CERTWRIGHT_")}
    listen = {"CERTWRIGHT_LISTEN__TLS": f"127.0.0.1:{tls}", "CERTWRIGHT_LISTEN__PLAIN": f"127.0.0.1:{plain}"}
    found = Mesh(home, {**kept, **listen}, tls, plain)
    with found.stack:
        found.stack.callback(found.stop)
        found.start()
        secrets = _populate(found, clients)
        found.until_brought()
        _start_servers(found)
        if clients:
            _start_clients(found, secrets, pace)
        yield found


def tally(found: Mesh) -> Tally:
    """What the clients have met so far."""
    read = json.loads((found.home / "tally.json").read_text())
    return Tally(read["handshakes"], read["failures"], read["refused"], read["acknowledged"], set(read["seen"]))


def until(done: Callable[[], bool], what: Callable[[], str], seconds: float = PATIENCE) -> None:
    """Poll until something holds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"never {what()}"
        time.sleep(0.1)


def _populate(found: Mesh, clients: int) -> dict[str, str]:
    for name, protocol in (("web-1", "https"), ("web-2", "https"), ("broker-1", "mqtts")):
        place = Place(name, found.home / name, protocol, peer.free_port())
        found.keep(place, names=[f"dns:{place.server_name}"], profile="server")
    secrets = {}
    for number in range(1, clients + 1):
        place = Place(f"client-{number}", found.home / f"client-{number}")
        name = f"uri:spiffe://{DOMAIN}/ns/mesh/sa/client-{number}"
        secrets[place.name] = found.keep(place, names=[name], profile="mesh")
    return secrets


def _start_servers(found: Mesh) -> None:
    for place in (place for place in found.places if place.protocol == "https"):
        config = place.home / "nginx.conf"
        values = {"home": place.home, "port": place.port, "certificate": place.certificate, "trust": place.trust}
        config.write_text(NGINX.substitute(values))
        argv = (peer.require("nginx"), "-p", place.home, "-c", config, "-e", "stderr")
        process = found.stack.enter_context(
            peer.running(argv, ready=peer.listens(place.port), log=place.home / "nginx.log")
        )
        (place.home / "pid").write_text(str(process.pid))
    for place in (place for place in found.places if place.protocol == "mqtts"):
        _start_broker(found, place)


def _start_broker(found: Mesh, place: Place) -> None:
    certificate, trust = place.certificate / "live", place.trust / "live"
    # With a crlfile, a SIGHUP has it read all four again; without one it would keep trusting what was taken out.
    tls = Tls(certificate / "fullchain.pem", certificate / "key.pem", trust / "bundle.pem", trust / "crl.pem")
    running = found.stack.enter_context(mosquitto(place.home / "run", tls=tls, port=place.port))
    (place.home / "pid").write_text(str(running.process.pid))


def _start_clients(found: Mesh, secrets: Mapping[str, str], pace: float) -> None:
    servers = [place for place in found.places if place.protocol]
    spec = {
        "plain": f"http://127.0.0.1:{found.plain}",
        "pace": pace,
        "tally": str(found.home / "tally.json"),
        "targets": [
            {"name": one.name, "protocol": one.protocol, "port": one.port, "server_name": one.server_name}
            for one in servers
        ],
        "clients": [
            {
                "name": one.name,
                "secret": secrets[one.name],
                "trust_domain": DOMAIN,
                "certificate": str(one.certificate),
                "trust": str(one.trust),
            }
            for one in found.places
            if not one.protocol
        ],
    }
    file = found.home / "clients.json"
    file.write_text(json.dumps(spec))
    argv = [sys.executable, "-m", "tests.flows.mesh_clients", str(file)]
    ready = (found.home / "tally.json").exists
    found.stack.enter_context(peer.running(argv, ready=ready, log=found.home / "clients.log", timeout=60))
