"""Clients of a living mesh: each holds a certificate and a bundle, makes new mTLS connections all the time, and counts.

A process of its own, told by a file what there is: `python -m tests.flows.mesh_clients SPEC`. Every client reads its
own directories at each connection, as a program without a sidecar would; checks what it is brought (the signed
manifests, offline, with the bundle that it held before), acknowledges it with its own secret, and refuses a server
that its bundle and its CRLs do not vouch for. A failed handshake is kept with everything that was known at the time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from ca.publication.opening import Held, open_signed
from ca.x509.bundle import read_certificates
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, signature_of
from tests import peer

PATIENCE = 10.0
FAREWELL = struct.pack("!BB", 0xE0, 0)
"""DISCONNECT of MQTT 3.1.1."""


@dataclass
class Tally:
    """What all clients have met."""

    handshakes: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Publications that a client would not take, with the reason."""
    acknowledged: int = 0
    seen: set[str] = field(default_factory=set)
    """Issuers of the server certificates that were accepted."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Client:
    """One client: what it is told of itself, and what it holds at present."""

    spec: dict[str, Any]
    targets: list[dict[str, Any]]
    plain: str
    tally: Tally
    held: dict[str, Held] = field(default_factory=dict)
    key: tuple[str, str] = ("", "")
    context: ssl.SSLContext | None = None
    anchors: list[bytes] = field(default_factory=list)
    reported: int = 0

    def run(self, stop: threading.Event, pace: float) -> None:
        """Connect until told to stop."""
        draw = random.Random(self.spec["name"])
        while not stop.wait(pace * draw.uniform(0.5, 1.5)):
            target = draw.choice(self.targets)
            try:
                context = self._read()
            except FileNotFoundError:  # pruned between two looks: there is a newer one
                continue
            try:
                issuer = meet(context, target)
            except (OSError, AssertionError) as error:
                self._failed(target, error)
            else:
                with self.tally.lock:
                    self.tally.handshakes += 1
                    self.tally.seen.add(issuer)

    def _read(self) -> ssl.SSLContext:
        """What lies there now; when it is new, it is checked, taken, and acknowledged."""
        own, trust = (os.path.realpath(Path(self.spec[name], "live")) for name in ("certificate", "trust"))
        if self.context is not None and self.key == (own, trust):
            return self.context
        is_new = self.key[1] != trust
        taken = self._take(Path(trust)) if is_new else None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        context.load_verify_locations(str(Path(trust, "bundle.pem")))
        context.load_verify_locations(str(Path(trust, "crl.pem")))
        context.load_cert_chain(str(Path(own, "fullchain.pem")), str(Path(own, "key.pem")))
        self.key, self.context = (own, trust), context
        if taken is not None:
            self.held |= taken
            self._acknowledge(taken)
        return context

    def _take(self, trust: Path) -> dict[str, Held]:
        """Check the manifests with what is trusted so far, as a consumer does that was offline for a while."""
        found = {}
        bundle = [one.public_bytes(Encoding.DER) for one in read_certificates((trust / "bundle.pem").read_bytes())]
        for kind in ("trust", "crl"):
            stream = f"{kind}:{self.spec['trust_domain']}"
            signed = (trust / f"{kind}.jws").read_bytes()
            try:
                manifest = open_signed(
                    signed,
                    self.anchors or bundle,
                    trust_domain=self.spec["trust_domain"],
                    stream=stream,
                    now=int(time.time()),
                    held=self.held.get(stream),
                )
            except Exception as error:
                with self.tally.lock:
                    self.tally.refused.append(f"{self.spec['name']} {stream}: {error}")
                continue
            found[stream] = Held(manifest.version, manifest.sha256)
            if kind == "trust":
                self.anchors = bundle
        return found

    def _acknowledge(self, taken: dict[str, Held]) -> None:
        if not self.spec.get("secret"):
            return
        for stream, held in taken.items():
            said = {"consumer": self.spec["name"], "stream": stream, "version": held.version, "sha256": held.sha256}
            self.reported = max(self.reported + 1, int(time.time()))  # a report's time only grows
            body = json.dumps({**said, "at": self.reported, "state": "loaded"}).encode()
            now, identity = int(time.time()), f"{self.spec['name']}-{random.randrange(1 << 60)}"
            signature = signature_of(self.spec["secret"], identity, now, body)
            headers = {ID: identity, TIMESTAMP: str(now), SIGNATURE: signature, "Content-Type": "application/json"}
            threading.Thread(target=self._post, args=(body, headers), daemon=True).start()

    def _post(self, body: bytes, headers: dict[str, str]) -> None:
        """Say it until somebody listens: the server may be down at this moment."""
        for _ in range(60):
            try:
                url, sent = f"{self.plain}/acknowledgements", {"content": body, "headers": headers}
                answer = httpx.post(url, **sent, verify=peer.NO_TLS, trust_env=False)  # type: ignore[arg-type]
            except httpx.TransportError:
                time.sleep(0.5)
                continue
            with self.tally.lock:
                if answer.is_success:
                    self.tally.acknowledged += 1
                elif answer.status_code < 500 and "old-report" not in answer.text:
                    self.tally.refused.append(f"acknowledgement: {answer.status_code} {answer.text[:200]}")
            if answer.status_code < 500:
                return
            time.sleep(0.5)

    def _failed(self, target: dict[str, Any], error: Exception) -> None:
        found = {
            "at": time.time(),
            "client": self.spec["name"],
            "target": target["name"],
            "error": f"{type(error).__name__}: {error}",
            "certificate": Path(self.key[0]).name,
            "trust": Path(self.key[1]).name,
        }
        with self.tally.lock:
            self.tally.failures.append(found)


def meet(context: ssl.SSLContext, target: dict[str, Any]) -> str:
    """A new connection to the end: the server's certificate accepted here, ours accepted there. Returns its issuer."""
    with (
        socket.create_connection(("127.0.0.1", target["port"]), PATIENCE) as connection,
        context.wrap_socket(connection, server_hostname=target["server_name"]) as tls,
    ):
        shown = tls.getpeercert() or {}
        if target["protocol"] == "mqtts":
            client = f"c{random.randrange(1 << 40)}".encode()
            head = struct.pack("!H4sBBH", 4, b"MQTT", 4, 2, 30) + struct.pack("!H", len(client)) + client
            tls.sendall(bytes((0x10, len(head))) + head)
            answer = tls.recv(16)
            assert answer[:1] == b"\x20", f"no CONNACK but {answer!r}"
            assert answer[3:4] == b"\x00", f"refused with {answer!r}"
            tls.sendall(FAREWELL)
        else:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {target['server_name']}\r\nConnection: close\r\n\r\n".encode())
            answer = tls.recv(200)
            assert answer.startswith(b"HTTP/1.1 200"), f"answered {answer[:60]!r}"
    return str(dict(part[0] for part in shown["issuer"]).get("commonName"))


def main(spec_file: str) -> None:
    """Run all clients until SIGTERM; what they met is written beside the spec, every second and at the end."""
    spec = json.loads(Path(spec_file).read_text())
    tally, stop = Tally(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    clients = [Client(one, spec["targets"], spec["plain"], tally) for one in spec["clients"]]
    threads = [threading.Thread(target=one.run, args=(stop, spec["pace"]), daemon=True) for one in clients]
    for thread in threads:
        thread.start()
    while not stop.wait(0.5):
        _write(Path(spec["tally"]), tally)
    for thread in threads:
        thread.join(PATIENCE * 2)
    _write(Path(spec["tally"]), tally)


def _write(file: Path, tally: Tally) -> None:
    with tally.lock:
        found = {
            "handshakes": tally.handshakes,
            "failures": tally.failures,
            "refused": tally.refused,
            "acknowledged": tally.acknowledged,
            "seen": sorted(tally.seen),
        }
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(found))
    aside.replace(file)


if __name__ == "__main__":
    main(sys.argv[1])
