"""Servers on loopback for looking at: well-behaved ones, hostile ones, and certificates for them to show."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import clock
from ca.keys.algorithms import KeyType, PrivateKey
from ca.x509.bundle import pem_chain
from tests import rig

Handle = Callable[[socket.socket, threading.Event], None]


@dataclass
class Listener:
    """A listening socket, and what has come to it."""

    host: str
    port: int
    connections: int = 0
    most_at_once: int = 0
    heard: list[bytes] = field(default_factory=list)
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def came(self) -> None:
        with self._lock:
            self.connections += 1
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)

    def left(self) -> None:
        with self._lock:
            self._open -= 1


@contextmanager
def listening(handle: Handle, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[Listener]:
    """Serve each connection with `handle(connection, stop)` in a thread of its own, until the block ends."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    stop, threads = threading.Event(), []
    with socket.create_server((host, port), family=family, backlog=256) as server:
        server.settimeout(0.05)
        listener = Listener(host, server.getsockname()[1])

        def serve(connection: socket.socket) -> None:
            with connection.dup():  # nobody sees the end of it before it was counted
                with connection, suppress(OSError):
                    connection.settimeout(60)
                    handle(connection, stop)
                listener.left()

        def accept() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    connection, _ = server.accept()
                    listener.came()
                    thread = threading.Thread(target=serve, args=(connection,))
                    threads.append(thread)
                    thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener
        finally:
            stop.set()
            for thread in (accepting, *threads):
                thread.join(10)


@dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def make(
    *names: str,
    issuer: Made | None = None,
    subject: str | None = None,
    start: datetime | None = None,
    days: float = 90,
    key: PrivateKey | None = None,
    is_ca: bool = False,
) -> Made:
    """A certificate for DNS names, self-signed unless there is an issuer."""
    key = key or KeyType.P256.generate()
    name = rig.common_name(subject if subject is not None else names[0][:64])
    start = start or clock.now() - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return Made(builder.sign((issuer.key if issuer else key), hashes.SHA256()), key)


def weak_key() -> rsa.RSAPrivateKey:
    """A key that nobody should have."""
    return rsa.generate_private_key(65537, 1024)


def serving(directory: Path, leaf: Made, *above: Made) -> ssl.SSLContext:
    """A server's context that shows this chain."""
    file = directory / f"{leaf.certificate.serial_number:x}.pem"
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(key + pem_chain([one.der for one in (leaf, *above)]).encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(file)
    return context


def tls(context: ssl.SSLContext, heard: list[bytes] | None = None) -> Handle:
    """Shake hands, listen until the other side says goodbye, and go. What was heard is what it should not have sent."""

    def handle(connection: socket.socket, _stop: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as secured:
            said = secured.recv(1000)
            if heard is not None:
                heard.append(said)

    return handle


@contextmanager
def listening_all(places: Sequence[tuple[str, int]], handle: Handle) -> Iterator[list[Listener]]:
    """A listener for each host and port."""
    with ExitStack() as stack:
        yield [stack.enter_context(listening(handle, host=host, port=port)) for host, port in places]
