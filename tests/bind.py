"""A real BIND on loopback: zones that take signed updates, delegations, secondaries that lag, keys that do not fit.

`named` serves its zones on a high port; as a resolver, it follows aliases from zone to zone, and asks nobody. Each
server has an address of its own in 127.0.0.0/8, so that several authoritative servers of one zone share a port, as they
share port 53 in the world. It listens on addresses of interfaces alone, hence on 127.0.0.1: the other addresses are
relayed to it by a thread of ours. Peers that take a name server as `host:port` (Pebble's `-dnsserver`) are given
`Bind.place`.
"""

from __future__ import annotations

import base64
import os
import secrets
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.rdtypes.ANY.TXT

from ca.secret import Secret
from tests import peer

KEY_NAME = "certwright-test"
ALGORITHM = "hmac-sha256"
SOA = "SOA ns1.{zone}. hostmaster.{zone}. 1 3600 60 86400 1"
"""Negative answers live for one second: whoever asked too early may ask again."""
HEAD = """
options {{
  directory "{home}";
  pid-file none;
  session-keyfile none;
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion {recursion};
  dnssec-validation no;
  empty-zones-enable no;
  notify explicit;
  notify-delay 0;
  minimal-responses yes;
  allow-transfer {{ 127.0.0.0/8; }};
  min-refresh-time 1;
  max-refresh-time {refresh};
}};
controls {{ }};
"""
ROOT = "$TTL 1\n. SOA . . 1 3600 60 86400 1\n. NS ns.\nns. A 127.0.0.1\n"
"""For a resolver that must not ask the world: beyond its zones there is nothing."""


@dataclass(frozen=True)
class Zone:
    """One zone: its name, the addresses of its name servers (ns1, ns2...), further lines, and who may update it."""

    name: str
    servers: Sequence[str] = ("127.0.0.1",)
    records: Sequence[str] = ()
    """Lines of a zone file, such as `www A 127.0.0.1` or `_acme-challenge.shop CNAME shop.acme.example.`."""
    policy: Sequence[str] = ("grant {key} zonesub TXT;",)
    """`update-policy` statements; nothing in it: nobody may."""
    notify: Sequence[str] = ()
    """Addresses of secondaries that are told of each change at once."""

    def text(self) -> str:
        """The zone file."""
        lines = [f"$ORIGIN {self.name}.", "$TTL 1", f"@ {SOA.format(zone=self.name)}"]
        for number, address in enumerate(self.servers, 1):
            lines += [f"@ NS ns{number}", f"ns{number} A {address}"]
        return "\n".join([*lines, *self.records, ""])


@dataclass(frozen=True)
class Bind:
    """A running `named`, and the key that may update its zones."""

    address: str
    port: int
    key_name: str
    secret: Secret
    algorithm: str
    process: subprocess.Popen[bytes]
    log: Path
    own_port: int
    """Where on 127.0.0.1 it listens, relayed or not."""
    keys: dict[str, tuple[str, Secret]] = field(default_factory=dict)
    """Further keys by name: algorithm and secret."""

    @property
    def place(self) -> str:
        """Address and port as other programs take them."""
        return f"{self.address}:{self.port}"

    @property
    def nameservers(self) -> list[tuple[str, int]]:
        """As a list of resolvers."""
        return [(self.address, self.port)]

    def texts(self, name: str) -> list[str]:
        """The TXT records that this server has at a name, sorted."""
        query = dns.message.make_query(name, dns.rdatatype.TXT)
        answer, _ = dns.query.udp_with_fallback(query, self.address, port=self.port, timeout=30)
        found = [record for rrset in answer.answer for record in rrset if rrset.rdtype == dns.rdatatype.TXT]
        return sorted(b"".join(r.strings).decode() for r in found if isinstance(r, dns.rdtypes.ANY.TXT.TXT))


def make_secret(size: int = 32) -> Secret:
    """A TSIG secret as `tsig-keygen` makes it."""
    return Secret(base64.b64encode(secrets.token_bytes(size)).decode())


@contextmanager
def bind(
    home: Path,
    zones: Sequence[Zone | str],
    *,
    address: str = "127.0.0.1",
    port: int | None = None,
    primary: Bind | None = None,
    refresh: int = 1,
    is_resolver: bool = False,
    secret: Secret | None = None,
    keys: dict[str, tuple[str, Secret]] | None = None,
) -> Iterator[Bind]:
    """Run `named` with these zones; with `primary`, as their secondary, which asks it every `refresh` seconds."""
    program = peer.require("named")
    home.mkdir(exist_ok=True)
    port, secret = port or peer.free_port(address), secret or make_secret()
    own_port = port if address == "127.0.0.1" else peer.free_port()
    every = {KEY_NAME: (ALGORITHM, secret), **(keys or {})}
    config, log = home / "named.conf", home / "named.log"
    parts = [HEAD.format(home=home, port=own_port, refresh=refresh, recursion="yes" if is_resolver else "no")]
    parts += [_key(name, algorithm, value) for name, (algorithm, value) in every.items()]
    parts += [_zone(home, z if isinstance(z, Zone) else Zone(z, (address,)), primary) for z in zones]
    if is_resolver:
        (home / "root.zone").write_text(ROOT)
        parts.append(f'zone "." {{ type primary; file "{home}/root.zone"; }};\n')
    config.write_text("".join(parts))
    config.chmod(0o600)
    argv = [program, "-g", "-4", "-n", "1", "-c", config, *(["-u", "root"] if os.geteuid() == 0 else [])]
    with ExitStack() as stack:
        running = peer.running(argv, ready=lambda: _answers(own_port, zones), log=log)
        process = stack.enter_context(running)
        if own_port != port:
            stack.enter_context(_relayed(address, port, own_port))
        yield Bind(address, port, KEY_NAME, secret, ALGORITHM, process, log, own_port, keys or {})


def stopped(bind: Bind) -> None:
    """Stop a server before its time, as an outage does."""
    bind.process.terminate()
    bind.process.wait(10)


def _key(name: str, algorithm: str, secret: Secret) -> str:
    return f'key "{name}" {{ algorithm {algorithm}; secret "{secret.reveal()}"; }};\n'


def _zone(home: Path, zone: Zone, primary: Bind | None) -> str:
    file = home / f"{zone.name}.zone"
    if primary is not None:
        source = f"127.0.0.1 port {primary.own_port}"
        return f'zone "{zone.name}" {{ type secondary; file "{file}"; primaries {{ {source}; }}; }};\n'
    file.write_text(zone.text())
    policy = " ".join(zone.policy).format(key=KEY_NAME)
    allowed = f"update-policy {{ {policy} }};" if policy else "allow-update { none; };"
    told = "".join(f"{place}; " for place in zone.notify)
    return f'zone "{zone.name}" {{ type primary; file "{file}"; {allowed} also-notify {{ {told}}}; }};\n'


def _answers(port: int, zones: Sequence[Zone | str]) -> bool:
    """Whether it has loaded, or transferred, every zone."""
    for zone in zones:
        query = dns.message.make_query(zone.name if isinstance(zone, Zone) else zone, dns.rdatatype.SOA)
        try:
            if not dns.query.udp(query, "127.0.0.1", port=port, timeout=0.3).answer:
                return False
        except (dns.exception.DNSException, OSError):
            return False
    return True


class _Datagram(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        question, answering = self.request
        with socket.socket(type=socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(2)
            upstream.connect(("127.0.0.1", self.server.upstream))  # type: ignore[attr-defined]
            try:
                upstream.send(question)
                answering.sendto(upstream.recv(65535), self.client_address)
            except OSError:
                return  # a server that is down answers nothing


class _Stream(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.server.upstream), 2) as upstream:  # type: ignore[attr-defined]
                while size := self.rfile.read(2):
                    upstream.sendall(size + self.rfile.read(int.from_bytes(size, "big")))
                    with upstream.makefile("rb") as answers:
                        size = answers.read(2)
                        self.wfile.write(size + answers.read(int.from_bytes(size, "big")))
        except OSError:
            return


class _UdpRelay(socketserver.ThreadingUDPServer):
    allow_reuse_address = False


class _TcpRelay(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64


@contextmanager
def _relayed(address: str, port: int, upstream: int) -> Iterator[None]:
    """Whatever arrives at this address is answered by the server that listens on `upstream`."""
    servers = [_UdpRelay((address, port), _Datagram), _TcpRelay((address, port), _Stream)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.upstream = upstream  # type: ignore[attr-defined]
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
