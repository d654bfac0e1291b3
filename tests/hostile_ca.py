"""A small ACME CA on loopback that does as it should, but for the one answer that a test spoils; and a decoy beside it.

It checks no signature and validates nothing: what is on trial is its client. The decoy is a listener that nobody has
any business with; it counts who comes.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca import clock
from tests.pebble import TlsFiles, loopback_tls

TOKEN = "DGyRejmCefe7v4NfDGDKfAxxxxxxxxxxxxxxxxxxxxx"
JSON = "application/json"


@dataclass
class Answer:
    """One answer, as it will go out. `raw` sends these bytes instead, one part after the other, with pauses."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: Callable[[Callable[[bytes], None]], None] | None = None

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def put(self, **fields: Any) -> None:
        """Change fields of the JSON body."""
        self.body = json.dumps({**self.document, **fields}).encode()


Spoil = Callable[[Answer], None]


@dataclass
class HostileCa:
    """The CA. `spoil[step]` may change what is answered at that step; `asked` counts the steps."""

    url: str
    ca_file: Path
    decoy: int
    spoil: dict[str, Spoil] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    visitors: list[Any] = field(default_factory=list)
    payloads: list[tuple[str, Any]] = field(default_factory=list)
    issued: int = 0
    order: str = "pending"
    authz: str = "pending"
    names: list[dict[str, str]] = field(default_factory=list)
    pem: bytes = b""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def directory(self) -> str:
        """Its directory's URL."""
        return f"{self.url}/directory"

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def reset(self) -> None:
        """A fresh order, nothing spoilt, nothing counted."""
        self.spoil, self.order, self.authz = {}, "pending", "pending"
        self.asked.clear()
        self.payloads.clear()

    def answer(self, method: str, path: str, payload: Any) -> Answer:
        """What it answers, spoilt or not."""
        step = path.strip("/").split("/")[0]
        self.asked[step] += 1
        self.payloads.append((step, payload))
        answer: Answer = getattr(self, f"_{step.replace('-', '_')}")(payload)
        answer.headers.setdefault("Replay-Nonce", f"bm9uY2U{sum(self.asked.values()):08d}")
        if step in self.spoil:
            self.spoil[step](answer)
        return answer

    def _directory(self, _: Any) -> Answer:
        steps = {"newNonce": "nonce", "newAccount": "account", "newOrder": "new-order", "keyChange": "key-change"}
        urls: dict[str, Any] = {name: f"{self.url}/{step}" for name, step in steps.items()}
        return _json(200, {**urls, "renewalInfo": f"{self.url}/window", "meta": {"profiles": {"default": "one"}}})

    def _nonce(self, _: Any) -> Answer:
        return Answer(200, {}, b"")

    def _account(self, _: Any) -> Answer:
        return _json(201, {"status": "valid"}, Location=f"{self.url}/acct/1")

    def _new_order(self, payload: Any) -> Answer:
        self.names = payload["identifiers"]
        self.order = self.authz = "pending"
        return _json(201, self._shown(), Location=f"{self.url}/order/1")

    def _shown(self) -> dict[str, Any]:
        urls = [f"{self.url}/authz/{place}" for place in range(len(self.names))]
        shown: dict[str, Any] = {"status": self.order, "identifiers": self.names, "authorizations": urls}
        shown |= {"finalize": f"{self.url}/finalize/1"}
        if self.order == "valid":
            shown["certificate"] = f"{self.url}/cert/1"
        return shown

    def _order(self, _: Any) -> Answer:
        if self.order == "pending" and self.authz == "valid":
            self.order = "ready"
        return _json(200, self._shown())

    def _authz(self, _: Any) -> Answer:
        challenge = {"type": "http-01", "url": f"{self.url}/challenge/1", "status": self.authz, "token": TOKEN}
        return _json(200, {"identifier": self.names[0], "status": self.authz, "challenges": [challenge]})

    def _challenge(self, _: Any) -> Answer:
        self.authz = "valid"
        return _json(200, {"type": "http-01", "url": f"{self.url}/challenge/1", "status": "processing", "token": TOKEN})

    def _finalize(self, payload: Any) -> Answer:
        csr = x509.load_der_x509_csr(urlsafe_b64decode(payload["csr"] + "=="))
        self.pem, self.order = self._sign(csr), "valid"
        self.issued += 1
        return _json(200, self._shown())

    def _sign(self, csr: x509.CertificateSigningRequest) -> bytes:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hostile CA")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(issuer)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(clock.now())
            .not_valid_after(clock.now() + timedelta(days=90))
            .add_extension(csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value, critical=True)
            .add_extension(x509.AuthorityKeyIdentifier(b"hostile", None, None), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _cert(self, _: Any) -> Answer:
        return Answer(200, {"Content-Type": "application/pem-certificate-chain"}, self.pem)

    def _window(self, _: Any) -> Answer:
        start, end = (clock.from_timestamp(clock.timestamp() + days * 86400).isoformat() for days in (50, 60))
        return _json(200, {"suggestedWindow": {"start": start, "end": end}})

    def _key_change(self, _: Any) -> Answer:
        return _json(200, {})


def _json(status: int, document: Any, **headers: str) -> Answer:
    return Answer(status, {"Content-Type": JSON, **headers}, json.dumps(document).encode())


def _payload(body: bytes) -> Any:
    text = json.loads(body)["payload"]
    return json.loads(urlsafe_b64decode(text + "===")) if text else None


def _handler(ca: HostileCa) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            answer = ca.answer(self.command, self.path, _payload(body) if body else None)
            with suppress(OSError):  # the client may have had enough
                self._send(answer)

        def _send(self, answer: Answer) -> None:
            if answer.raw is not None:
                self.close_connection = True
                answer.raw(self._write)
                return
            head = f"HTTP/1.1 {answer.status} Whatever\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
            head += f"Content-Length: {len(answer.body)}\r\n\r\n"
            self._write(head.encode("latin-1") + (b"" if self.command == "HEAD" else answer.body))

        def _write(self, octets: bytes) -> None:
            self.wfile.write(octets)
            self.wfile.flush()

        do_GET = do_POST = do_HEAD = _serve  # noqa: N815 - as the library calls them

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


class _TlsServer(ThreadingHTTPServer):
    """TLS is shaken in the thread of the connection, and what a client breaks off is nobody's error."""

    def __init__(self, context: ssl.SSLContext, handler: type[BaseHTTPRequestHandler]) -> None:
        self.context = context
        super().__init__(("127.0.0.1", 0), handler)

    def get_request(self) -> tuple[Any, Any]:
        plain, address = super().get_request()
        plain.settimeout(20)
        return self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def hostile_ca(folder: Path) -> Iterator[HostileCa]:
    """Run one."""
    tls = loopback_tls(folder)
    with _decoy() as (decoy, visitors):
        ca = HostileCa("", tls.ca_file, decoy, visitors=visitors)
        server = _TlsServer(_context(tls), _handler(ca))
        ca.url = f"https://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield ca
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


@contextmanager
def _decoy() -> Iterator[tuple[int, list[Any]]]:
    """A listener and the list of those who came."""
    visitors: list[Any] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            with suppress(TimeoutError):
                connection, address = listener.accept()
                visitors.append(address)
                connection.close()

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield listener.getsockname()[1], visitors
    finally:
        done.set()
        thread.join()
        listener.close()
