"""The listener for http-01, and what all listeners share: a port that strangers reach.

It is open while a challenge is answered and at no other time; whatever is sent to it, it says two things at most, and
soon hangs up.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import clock
from ca.errors import NotDelivered
from ca.x509 import names
from renewers.solvers import Challenge, http01
from renewers.solvers.http01 import LONGEST_REQUEST, Http01Listener
from renewers.solvers.listener import Listener
from tests import peer

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
CONTENT = f"{TOKEN}.{'t' * 43}"
CHALLENGE = Challenge("http-01", names.parse("dns:shop.example"), False, TOKEN, CONTENT)
PATH = f"/.well-known/acme-challenge/{TOKEN}"


def answering(solver: Http01Listener):
    """The context for the one challenge of these tests."""
    return solver.answer(CHALLENGE, deadline=clock.monotonic() + 60)


def say(port: int, wire: bytes, *, host: str = "127.0.0.1") -> bytes:
    """Send bytes; everything that comes back until the other side hangs up."""
    with socket.create_connection((host, port), 60) as connection:
        connection.sendall(wire)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


@pytest.fixture(scope="module")
def open_port() -> Iterator[int]:
    """A port at which the challenge is answered."""
    port = peer.free_port()
    with answering(Http01Listener("127.0.0.1", port)):
        yield port


def test_the_token_is_answered_as_the_rfc_says(open_port: int) -> None:
    """The key authorization and nothing else, as bytes and not as a page (RFC 8555 section 8.3)."""
    head, _, body = say(open_port, f"GET {PATH} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: application/octet-stream" in head
    assert body == CONTENT.encode()


@pytest.mark.parametrize(
    "request_line",
    [
        "GET / HTTP/1.1",
        f"GET {PATH}/ HTTP/1.1",
        f"GET {PATH}?a=b HTTP/1.1",
        f"GET {PATH[:-1]} HTTP/1.1",
        f"GET /.well-known/acme-challenge/../acme-challenge/{TOKEN} HTTP/1.1",
        f"GET //.well-known/acme-challenge/{TOKEN} HTTP/1.1",
        f"GET http://shop.example{PATH} HTTP/1.1",
        "GET /.well-known/acme-challenge/%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
        "GET /.well-known/acme-challenge/ HTTP/1.1",
        f"GET {PATH} HTTP/2.0",
        f"HEAD {PATH} HTTP/1.1",
        f"POST {PATH} HTTP/1.1",
        f"get {PATH} HTTP/1.1",
        f" GET {PATH} HTTP/1.1",
        "\x16\x03\x01\x00\xa5 a TLS hello",
    ],
)
def test_everything_else_is_not_found(open_port: int, request_line: str) -> None:
    """Other paths, other methods, other ways to write the path: 404, and no word of what was asked."""
    answer = say(open_port, request_line.encode("latin-1") + b"\r\nHost: shop.example\r\n\r\n")
    assert answer == b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wire=st.binary(min_size=1, max_size=400))
def test_any_bytes_are_survived(open_port: int, wire: bytes) -> None:
    """Whatever bytes end a request: never the secret, never a traceback, and it answers on."""
    assert say(open_port, wire + b"\r\n\r\n") in (
        b"",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )


def test_a_request_without_an_end_is_not_read(open_port: int) -> None:
    """Over the limit of eight KiB nothing more is taken."""
    answer = say(open_port, f"GET {PATH} HTTP/1.1\r\n".encode() + b"X: " + b"y" * LONGEST_REQUEST)
    assert CONTENT.encode() not in answer


def test_no_request_is_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the bytes of a stranger nor the token reach a log or the console."""
    port = peer.free_port()
    with caplog.at_level(logging.DEBUG), answering(Http01Listener("127.0.0.1", port)):
        say(port, b"GET /mark-of-a-stranger HTTP/1.1\r\n\r\n")
        say(port, f"GET {PATH} HTTP/1.1\r\n\r\n".encode())
    out, err = capfd.readouterr()
    assert "mark-of-a-stranger" not in caplog.text + out + err
    assert TOKEN not in caplog.text + out + err


def test_the_port_is_bound_only_while_something_is_answered() -> None:
    """Before and after, somebody else can have it."""
    port = peer.free_port()
    solver = Http01Listener("127.0.0.1", port)
    for _ in range(3):
        with closing(socket.create_server(("127.0.0.1", port))):
            pass
        with answering(solver):
            assert peer.listens(port)()
        assert not peer.listens(port)()


def test_a_taken_port_is_not_delivered_and_the_hint_says_what_to_do() -> None:
    """Another program has the port: no thread is left, nothing is half open, and later it works."""
    port = peer.free_port()
    solver = Http01Listener("127.0.0.1", port)
    taken = socket.create_server(("127.0.0.1", port))
    with closing(taken), pytest.raises(NotDelivered) as failed, answering(solver):
        pytest.fail("it was answered")
    assert failed.value.code == "port-not-bound"
    assert f"port {port} cannot be listened on: address already in use" in failed.value.message
    assert "/.well-known/acme-challenge/" in (failed.value.hint or "")
    with answering(solver):
        assert say(port, f"GET {PATH} HTTP/1.1\r\n\r\n".encode()).endswith(CONTENT.encode())


def test_a_port_that_takes_a_privilege_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 80 without the capability."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(NotDelivered) as failed, answering(Http01Listener("127.0.0.1", 80)):
        pytest.fail("it was answered")
    assert "CAP_NET_BIND_SERVICE" in (failed.value.hint or "")


def test_an_empty_host_is_both_families() -> None:
    """A CA comes by IPv6 first, where the name has such an address."""
    port = peer.free_port()
    with answering(Http01Listener("", port)):
        request = f"GET {PATH} HTTP/1.1\r\n\r\n".encode()
        assert say(port, request).endswith(CONTENT.encode())
        try:
            found = say(port, request, host="::1")
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        assert found.endswith(CONTENT.encode())


def test_a_machine_without_ipv6_listens_on_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """No IPv6 socket can be made: IPv4 is served, and nothing is wrong."""
    make = socket.socket

    class Old(socket.socket):
        def __init__(self, family: int = -1, *arguments: object, **more: object) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *arguments, **more)  # type: ignore[arg-type]

    port = peer.free_port()
    monkeypatch.setattr("renewers.solvers.listener.socket.socket", Old)
    with answering(Http01Listener("", port)):
        monkeypatch.setattr("renewers.solvers.listener.socket.socket", make)
        assert say(port, f"GET {PATH} HTTP/1.1\r\n\r\n".encode()).endswith(CONTENT.encode())


def echo(connection: socket.socket) -> None:
    """Say that somebody is there, and wait for a word."""
    connection.sendall(b"!")
    connection.recv(1)


def test_whoever_says_nothing_is_cut_off() -> None:
    """A connection has a life, whatever it sends now and then."""
    port = peer.free_port()

    def drip(connection: socket.socket) -> None:
        while connection.recv(1):
            pass

    with Listener("127.0.0.1", port, drip, hint="", seconds=0.6).opened():
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 60) as connection, pytest.raises(OSError):
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)
                assert time.monotonic() - started < 60
    assert time.monotonic() - started >= 0.6


def test_when_all_places_are_taken_the_oldest_makes_room() -> None:
    """Those who sit and say nothing do not keep the CA out."""
    port = peer.free_port()
    with Listener("127.0.0.1", port, echo, hint="", seconds=120, most=4).opened(), ExitStack() as stack:
        sitting = []
        for _ in range(4):
            sitting.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)))
            assert sitting[-1].recv(1) == b"!"
        newcomer = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
        assert newcomer.recv(1) == b"!"
        assert sitting[0].recv(1) == b"", "the oldest one is cut off"
        sitting[3].settimeout(0.1)
        with pytest.raises(TimeoutError):
            sitting[3].recv(1)


def talking() -> list[threading.Thread]:
    """The threads that have a connection each."""
    return [thread for thread in threading.enumerate() if thread.name == "challenge-connection"]


def test_closing_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that hang are cut off when the last challenge is answered; their threads are gone with it."""
    monkeypatch.setattr(http01, "SECONDS", 60)
    port = peer.free_port()
    with ExitStack() as stack:
        with answering(Http01Listener("127.0.0.1", port)):
            hanging = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(10)]
            for connection in hanging:
                connection.sendall(b"GET ")
            deadline = time.monotonic() + 30
            while len(talking()) < len(hanging) and time.monotonic() < deadline:
                time.sleep(0.01)
            started = time.monotonic()
        assert time.monotonic() - started < 30  # by itself, each would talk for a minute
        assert talking() == []
        for connection in hanging:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
