"""Fetching what strangers fetch: whole and in time, or a plain reason; nowhere else, and no more than is allowed."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from ca.errors import Misconfigured, NotDelivered
from renewers.egress import fetch
from tests import peer
from tests.renewers.listeners import Handle, listening, make, serving, tls

BODY = b"a list"


def saying(*parts: bytes, again: bytes = b"") -> Handle:
    """A server that says this to whoever asks, and then the last part until nobody listens."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        heard = b""
        while b"\r\n\r\n" not in heard:
            if not (said := connection.recv(4096)):
                return
            heard += said
        assert heard.startswith(b"GET /crl/a/1.crl HTTP/1.1\r\n")
        for part in parts:
            connection.sendall(part)
        while again and not stop.wait(0.01):
            connection.sendall(again)

    return handle


def answer(status: int = 200, *, body: bytes = BODY, headers: str = "") -> bytes:
    """A whole answer."""
    return f"HTTP/1.1 {status} So\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_what_is_there_is_fetched() -> None:
    """In one piece or in chunks, from the address of a name."""
    chunked = b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na \r\n4\r\nlist\r\n0\r\n\r\n"
    for said in (answer(), chunked):
        with listening(saying(said)) as there:
            assert fetch(f"http://localhost:{there.port}/crl/a/1.crl") == BODY


REASONS = {
    "302": (saying(answer(302, headers="Location: http://127.0.0.1:1/\r\n")), "answered 302"),
    "404": (saying(answer(404)), "answered 404"),
    "large": (saying(answer(body=b"x" * 200)), "more than 100 bytes"),
    "endless body": (saying(b"HTTP/1.1 200 So\r\n\r\n", again=b"x" * 65536), "more than 100 bytes"),
    "endless head": (saying(b"HTTP/1.1 200 So\r\n", again=b"X-A: " + b"y" * 9000 + b"\r\n"), "cannot be reached"),
    "a byte a time": (saying(b"HTTP/1.1 200 So\r\nX-Slow: ", again=b"x"), "in time"),
    "no HTTP": (saying(b"\x00\x01\r\n\r\n"), "BadStatusLine"),
    "half": (saying(answer()[:-3]), "hung up in the middle"),
}


@pytest.mark.parametrize("which", REASONS)
def test_anything_else_is_a_reason(which: str) -> None:
    """Whole, in time and no more than was allowed; never a word of what came."""
    handle, why = REASONS[which]
    with listening(handle) as there, pytest.raises(NotDelivered, match=why) as caught:
        fetch(f"http://127.0.0.1:{there.port}/crl/a/1.crl", most=100, seconds=0.5)
    assert f"127.0.0.1:{there.port}" in caught.value.message


def test_nobody_there_and_no_such_name() -> None:
    """The one is told from the other: it is DNS that has to be mended."""
    with pytest.raises(NotDelivered, match="nobody listens there"):
        fetch(f"http://127.0.0.1:{peer.free_port()}/x")
    with pytest.raises(NotDelivered) as caught:
        fetch("http://nobody.invalid/x")
    assert caught.value.code == "unresolvable"


def test_tls_is_verified(tmp_path: Path) -> None:
    """A certificate that this machine does not know is not believed, and nothing is said to whoever shows it."""
    heard: list[bytes] = []
    shows = tls(serving(tmp_path, make("localhost")), heard)
    with listening(shows) as there, pytest.raises(NotDelivered, match="TLS failed"):
        fetch(f"https://localhost:{there.port}/x")
    assert heard == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/", "http://u:p@a/", "http:///x"])
def test_only_plain_urls(url: str) -> None:
    """Anything else is a mistake in the settings."""
    with pytest.raises(Misconfigured):
        fetch(url)
