"""What tests of the ACME issuer share: a memory that can crash, small solvers of their own, and things to ask for."""

from __future__ import annotations

import hashlib
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509

from ca import clock
from ca.keys.algorithms import KeyType, PrivateKey
from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store
from ca.x509.names import Kind, Name, parse
from renewers.issuers import Obtained, Wanted
from renewers.issuers.acme import AcmeConfig, AcmeIssuer
from renewers.solvers import Challenge, Solver
from tests import rig
from tests.pebble import ChallengeDns, Pebble

SEALER = Sealer(Secret("a passphrase for tests"), b"a salt for tests")


class Crash(BaseException):
    """The process dies here. Not an `Exception`: nothing may catch it."""


@dataclass
class Remembered:
    """A `Memory` that keeps what it is told, and dies where a test wants: before or after a call is durable."""

    order_url: str | None = None
    is_finalized: bool = False
    calls: list[str] = field(default_factory=list)
    die: Callable[[str], None] = lambda _moment: None

    def keep(self, order_url: str | None) -> None:
        """As the port says."""
        self.die("before keep")
        self.order_url, self.is_finalized = order_url, False
        self.calls.append(f"keep {order_url}")
        self.die("after keep")

    def commit(self) -> None:
        """As the port says."""
        assert self.order_url is not None
        self.die("before commit")
        self.is_finalized = True
        self.calls.append("commit")
        self.die("after commit")


@dataclass
class Tokens:
    """An http-01 solver: a tiny server on the port that Pebble asks."""

    kind: str = "http-01"
    answers: dict[str, str] = field(default_factory=dict)
    seen: list[Challenge] = field(default_factory=list)
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    spoil: bool = False

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """No wildcards over HTTP."""
        return not is_wildcard

    @contextmanager
    def answer(self, challenge: Challenge, *, deadline: float) -> Iterator[None]:
        """Within, the path has the proof."""
        with self.lock:
            self.answers[challenge.token] = "wrong" if self.spoil else challenge.authorization
            self.seen.append(challenge)
            self.most = max(self.most, len(self.answers))
        try:
            yield
        finally:
            with self.lock:
                del self.answers[challenge.token]

    @contextmanager
    def serving(self, port: int) -> Iterator[Tokens]:
        """Serve on that port of loopback."""
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path.rpartition("/")[2])
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write((found or "").encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass
class Records:
    """A dns-01 solver over the DNS server that goes with Pebble. Its clear is of a whole name: the last one clears."""

    dns: ChallengeDns
    kind: str = "dns-01"
    values: dict[str, list[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: list[Challenge] = field(default_factory=list)

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """No addresses in the DNS."""
        return name.kind is Kind.DNS

    @contextmanager
    def answer(self, challenge: Challenge, *, deadline: float) -> Iterator[None]:
        """Within, the record is there, beside others of the same name."""
        host = f"_acme-challenge.{challenge.name.value}"
        value = urlsafe_b64encode(hashlib.sha256(challenge.authorization.encode()).digest()).rstrip(b"=").decode()
        with self.lock:
            self.seen.append(challenge)
            self.values.setdefault(host, []).append(value)
            self.dns.add_txt(host, value)
        try:
            yield
        finally:
            with self.lock:
                self.values[host].remove(value)
                if not self.values[host]:
                    del self.values[host]
                    self.dns.clear_txt(host)


def config(pebble: Pebble, **choices: Any) -> AcmeConfig:
    """The settings for a Pebble."""
    given = {"name": "pebble", "directory": pebble.directory, "ca_file": pebble.ca_file, "terms_agreed": True}
    return AcmeConfig(**{**given, **choices})


def issuer(pebble: Pebble, store: Store, solvers: Sequence[Solver] = (), **choices: Any) -> AcmeIssuer:
    """An issuer that asks a Pebble."""
    return AcmeIssuer(config(pebble, **choices), store=store, sealer=SEALER, solvers=solvers)


def wanted(*names: str, key: PrivateKey | None = None, patience: float = 30, **choices: Any) -> Wanted:
    """A certificate to ask for."""
    given: dict[str, Any] = {"profile": "", "lifetime": None, "replaces": None, "reference": "renewal-1"}
    given |= choices
    csr = rig.make_csr(*names, key=key or KeyType.P256.generate())
    return Wanted(names=tuple(map(parse, names)), csr=csr, deadline=clock.monotonic() + patience, **given)


def parsed(obtained: Obtained) -> x509.Certificate:
    """The certificate as `cryptography` sees it."""
    return x509.load_der_x509_certificate(obtained.certificate)


def names_of(obtained: Obtained) -> set[str]:
    """Its names, as text."""
    san = parsed(obtained).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(each.value) for each in san}
