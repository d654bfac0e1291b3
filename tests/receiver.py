"""A receiver of webhooks on loopback: HTTPS under a CA of its own, well-behaved or as bad as its script says."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ca.x509.bundle import pem_certificate
from tests.renewers.listeners import Handle, listening, make, serving

Headers = dict[str, str]
OK, DROP, TAKE_AND_DROP, STALL, GARBAGE, TRICKLE = "200", "drop", "take-and-drop", "stall", "garbage", "trickle"
"""What it may do; any number is a status, and 3xx leads to the address of its own `moved`."""
MISERIES = (DROP, TAKE_AND_DROP, GARBAGE, "500", "302", "404", "429")


@dataclass
class Receiver:
    """What it does next, and what it has heard."""

    url: str
    ca_file: Path
    script: deque[str] = field(default_factory=deque)
    otherwise: str = OK
    taken: list[tuple[Headers, bytes]] = field(default_factory=list)
    refused: list[tuple[Headers, bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    judge: Callable[[Headers, bytes], str | None] = lambda _headers, _body: None
    """Says what it does with one message, before the script is asked."""


@contextmanager
def receiving(directory: Path, script: Sequence[str] = ()) -> Iterator[Receiver]:
    """Serve until the block ends."""
    authority = make("ca.example", is_ca=True)
    ca_file = directory / "receiver-ca.pem"
    ca_file.write_text(pem_certificate(authority.der))
    context = serving(directory, make("localhost", issuer=authority))
    receiver = Receiver("", ca_file, deque(script))
    with listening(_answering(context, receiver)) as listener:
        receiver.url = f"https://localhost:{listener.port}/hook/canary"
        yield receiver


def _answering(context: ssl.SSLContext, receiver: Receiver) -> Handle:
    lock = threading.Lock()

    def handle(connection: ssl.SSLSocket, stop: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            path, headers, body = _read(secured)
            with lock:
                deed = receiver.judge(headers, body) or (receiver.script.popleft() if receiver.script else None)
                deed = deed or receiver.otherwise
                receiver.paths.append(path)
                is_taken = deed == TAKE_AND_DROP or deed.startswith("2")
                (receiver.taken if is_taken else receiver.refused).append((headers, body))
            if deed == STALL:
                stop.wait(60)
            elif deed == TRICKLE:
                secured.sendall(b"HTTP/1.1 200 So\r\nX-Slow: ")
                with suppress(OSError):
                    while not stop.wait(0.1):
                        secured.sendall(b"x")
            elif deed == GARBAGE:
                secured.sendall(b"\x00\x01 no HTTP at all\r\n\r\n")
            elif deed.isdecimal():
                where = f"Location: {receiver.url}/moved\r\n" if deed.startswith("3") else ""
                secured.sendall(f"HTTP/1.1 {deed} So\r\n{where}Content-Length: 6\r\n\r\ncanary".encode())

    return handle  # type: ignore[return-value]  # it is handed a socket, and makes it one of TLS


def _read(connection: ssl.SSLSocket) -> tuple[str, Headers, bytes]:
    """One request: its path, its headers by their names in small letters, its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or _gone()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536) or _gone()
    return first.split(" ")[1], headers, body


def _gone() -> bytes:
    raise ConnectionResetError
