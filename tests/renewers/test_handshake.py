"""Looking at what a place shows: whatever it shows, whatever it does to us, in bounded time."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pytest

from ca import clock
from ca.errors import BadRequest, NotDelivered
from renewers import addresses, handshake
from tests import peer
from tests.renewers import listeners
from tests.renewers.listeners import Handle, listening, make, serving, tls


def failing(port: int, *, timeout: float = 20.0, protocol: str = "tls") -> NotDelivered:
    """What looking comes to, in not much longer than it may take."""
    before = time.monotonic()
    with pytest.raises(NotDelivered) as caught:
        handshake.look("127.0.0.1", port, protocol=protocol, timeout=timeout)
    assert time.monotonic() - before < timeout + 10
    return caught.value


def reset(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_chain_is_shown_as_it_was_sent(tmp_path: Path) -> None:
    """Leaf first, whoever signed it, with the version and the address."""
    root = make(subject="Root", is_ca=True)
    leaf = make("api.example", issuer=root)
    with listening(tls(serving(tmp_path, leaf, root))) as server:
        seen = handshake.look("127.0.0.1", server.port)
    assert seen.chain == (leaf.der, root.der)
    assert (seen.version, seen.address) == ("TLSv1.3", "127.0.0.1")


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_every_version_that_is_still_out_there_is_seen(tmp_path: Path, version: str) -> None:
    """TLS 1.0 with an expired certificate and a key of 1,024 bits is looked at like any other."""
    leaf = make("old.example", start=clock.now() - timedelta(days=900), days=9, key=listeners.weak_key())
    context = serving(tmp_path, leaf)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with listening(tls(context)) as server:
        seen = handshake.look("127.0.0.1", server.port)
    assert (seen.version, seen.chain) == (version.replace("_", "."), (leaf.der,))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_server_that_wants_a_certificate_of_ours_is_seen(tmp_path: Path, version: str) -> None:
    """It turns us away, but only after it has shown its own and proved that it holds the key."""
    leaf = make("mutual.example")
    context = serving(tmp_path, leaf)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=leaf.der)
    with listening(tls(context)) as server:
        assert handshake.look("127.0.0.1", server.port).chain == (leaf.der,)


def test_the_name_is_indicated_and_an_address_is_not(tmp_path: Path) -> None:
    """SNI carries DNS names alone (RFC 6066 section 3)."""
    context, asked = serving(tmp_path, make("a.example")), []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with listening(tls(context)) as server:
        handshake.look("127.0.0.1", server.port)
        handshake.look("127.0.0.1", server.port, server_name="api.example.")
        handshake.look("127.0.0.1", server.port, server_name="10.0.0.7")
        handshake.look("localhost", server.port)
    assert asked == [None, "api.example", None, "localhost"]


def test_nothing_is_sent_but_the_handshake_and_goodbye(tmp_path: Path) -> None:
    """The server hears `close_notify`, no data, no ragged end and no reset."""
    heard: list[bytes] = []
    with listening(tls(serving(tmp_path, make("a.example")), heard)) as server:
        handshake.look("127.0.0.1", server.port)
        deadline = time.monotonic() + 60
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
    assert heard == [b""]
    assert server.connections == 1


def test_a_long_chain_is_cut(tmp_path: Path) -> None:
    """Ten certificates and no more."""
    above = [make(subject=f"CA {n}", is_ca=True) for n in range(30)]
    with listening(tls(serving(tmp_path, make("a.example"), *above))) as server:
        assert len(handshake.look("127.0.0.1", server.port).chain) == handshake.LONGEST_CHAIN


def test_a_huge_chain_is_not_taken(tmp_path: Path) -> None:
    """300 KiB of certificates: the handshake ends, and says so."""
    fat = make(*[f"{'x' * 60}.{n}.example" for n in range(700)])
    context = serving(tmp_path, fat, *[make(*[f"{'y' * 60}.{n}.{m}.example" for n in range(700)]) for m in range(5)])
    with listening(tls(context)) as server:
        assert failing(server.port).code == "handshake-failed"


def test_names_that_are_no_names_are_shown(tmp_path: Path) -> None:
    """Control characters and NULs in a subject are for whoever reads it: the bytes are handed on."""
    leaf = make("a.example", subject="evil\x00\x1b[2Jname")
    with listening(tls(serving(tmp_path, leaf))) as server:
        assert handshake.look("127.0.0.1", server.port).chain == (leaf.der,)


def says_nothing(_connection: socket.socket, stop: threading.Event) -> None:
    stop.wait(60)


def drips(connection: socket.socket, stop: threading.Event) -> None:
    """A record header that promises 16 KiB, then a byte now and then: each read succeeds, none is the last."""
    connection.sendall(b"\x16\x03\x03\x3f\x00\x02\x00\x3e\xfc")
    while not stop.wait(0.02):
        connection.sendall(b"\x00")


def never_stops(connection: socket.socket, stop: threading.Event) -> None:
    """Warning alerts without end."""
    while not stop.is_set():
        connection.sendall(b"\x15\x03\x03\x00\x02\x01\x5a" * 1000)


def hangs_up(connection: socket.socket, _stop: threading.Event) -> None:
    connection.recv(2000)


def resets_at_once(connection: socket.socket, _stop: threading.Event) -> None:
    reset(connection)


def resets_after_hello(connection: socket.socket, _stop: threading.Event) -> None:
    connection.recv(2000)
    reset(connection)


def answering(text: bytes) -> Handle:
    """Answers the first words with these."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        connection.recv(2000)
        connection.sendall(text)
        stop.wait(60)

    return handle


@pytest.mark.parametrize(
    ("handle", "codes"),
    [
        (says_nothing, {"timed-out"}),
        (drips, {"timed-out", "handshake-failed"}),
        (never_stops, {"handshake-failed"}),
        (hangs_up, {"hung-up"}),
        (resets_at_once, {"hung-up", "unreachable"}),
        (resets_after_hello, {"hung-up"}),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), {"no-tls"}),
        (answering(b"SSH-2.0-OpenSSH_9.9\r\n"), {"no-tls"}),
        (answering(bytes(range(256)) * 40), {"no-tls"}),
        (answering(b"\x15\x03\x03\x00\x02\x02\x28"), {"handshake-failed"}),
        (answering(b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"), {"handshake-failed"}),
    ],
)
def test_hostile_servers_end_in_time_with_a_plain_reason(handle: Handle, codes: set[str]) -> None:
    """Whatever it does: one line that names the place, and a stable code."""
    with listening(handle) as server:
        error = failing(server.port, timeout=0.5 if "timed-out" in codes else 20)
    assert error.code in codes
    assert f"127.0.0.1:{server.port}" in error.message
    assert error.message.isprintable()


def test_a_server_without_the_key_is_not_seen(tmp_path: Path) -> None:
    """It shows a certificate of somebody else: what is not proved is not seen."""
    ours, theirs = make("a.example"), make("victim.example")
    with listening(_relaying(serving(tmp_path, ours), ours.der, theirs.der)) as server:
        error = failing(server.port)
    assert error.code == "handshake-failed"
    assert "signature" in error.message


def _relaying(context: ssl.SSLContext, ours: bytes, theirs: bytes) -> Handle:
    """TLS 1.2 with the certificate exchanged on its way, as one would who has only the certificate."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def handle(connection: socket.socket, _stop: threading.Event) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(connection.recv(4000))
        with pytest.raises(ssl.SSLWantReadError):
            secured.do_handshake()
        flight = outgoing.read()
        start = flight.index(ours) - 15  # record, message, list, certificate: the headers before it
        size = len(theirs)
        message = b"\x0b" + (size + 6).to_bytes(3) + (size + 3).to_bytes(3) + size.to_bytes(3) + theirs
        connection.sendall(flight[:start] + b"\x16\x03\x03" + len(message).to_bytes(2) + message)
        connection.sendall(flight[start + 15 + len(ours) :])
        connection.recv(4000)

    return handle


def test_nobody_there_is_said_plainly() -> None:
    """Refused, unresolvable, and no host's address are told apart."""
    assert failing(peer.free_port()).code == "refused"
    for host in ("nobody.invalid", "224.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "fe80::1", "255.255.255.255"):
        with pytest.raises(NotDelivered) as caught:
            handshake.look(host, 443, timeout=20)
        assert caught.value.code == "unresolvable"


def test_an_unknown_protocol_is_a_mistake() -> None:
    """And not something that trying again would mend."""
    with listening(hangs_up) as server, pytest.raises(BadRequest):
        handshake.look("127.0.0.1", server.port, protocol="gopher")


def test_a_resolver_that_hangs_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread is left behind."""
    done = threading.Event()
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: done.wait(60) and [])
    before = time.monotonic()
    with pytest.raises(NotDelivered) as caught:
        handshake.look("slow.example", 443, timeout=0.2)
    done.set()
    assert caught.value.code == "unresolvable"
    assert time.monotonic() - before < 20


def test_a_name_with_a_dead_address_is_reached_at_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of each family is asked, in the system's order."""
    monkeypatch.setattr(handshake, "resolve", lambda *_: ["::1", "127.0.0.1"])
    with listening(tls(serving(tmp_path, make("a.example")))) as server:
        assert handshake.look("both.example", server.port).address == "127.0.0.1"


def words(*answers: bytes) -> Handle:
    """Says one answer after the other, each when something was heard; the first at once."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        for answer in answers:
            connection.sendall(answer)
            if not connection.recv(2000):
                return
        stop.wait(60)

    return handle


SMTP = (b"220 mail\r\n", b"250-mail\r\n250 STARTTLS\r\n")


@pytest.mark.parametrize(
    ("protocol", "answers", "code"),
    [
        ("smtp", (b"554 go away\r\n",), "no-tls"),
        ("smtp", (b"220 mail\r\n", b"250-mail\r\n250 PIPELINING\r\n"), "no-tls"),
        ("smtp", (b"220 mail\r\n", b"502 what\r\n"), "no-tls"),
        ("smtp", (*SMTP, b"454 not now\r\n"), "no-tls"),
        ("smtp", (*SMTP, b"220 go\r\n250 injected\r\n"), "handshake-failed"),
        ("smtp", (b"220-" + b"x" * 5000,), "handshake-failed"),
        ("smtp", (b"220-more\r\n" * 500,), "handshake-failed"),
        ("smtp", (b"220 \x1b[2J\x00\r\n", b"599 \x1b]0;owned\x07\r\n"), "no-tls"),
        ("imap", (b"* BYE busy\r\n",), "no-tls"),
        ("imap", (b"* PREAUTH hello\r\n",), "no-tls"),
        ("imap", (b"* OK hi\r\n", b"a BAD what\r\n"), "no-tls"),
        ("imap", (b"* OK hi\r\n", b"* noise\r\n" * 500), "handshake-failed"),
        ("imap", (b"* OK hi\r\n", b"a OK go\r\n* injected\r\n"), "handshake-failed"),
    ],
)
def test_mail_servers_that_do_not_lead_to_tls(protocol: str, answers: tuple[bytes, ...], code: str) -> None:
    """Refusals, endless answers, words slipped in where TLS begins, and escape sequences."""
    with listening(words(*answers)) as server:
        error = failing(server.port, protocol=protocol)
    assert error.code == code
    assert error.message.isprintable()
    assert len(error.message) < 300


@pytest.mark.parametrize(("answer", "code"), [(b"N", "no-tls"), (b"EFATAL", "no-tls"), (b"Sx", "handshake-failed")])
def test_databases_that_do_not_want_tls(answer: bytes, code: str) -> None:
    """`N`, an error of before SSLRequest, and what was slipped in behind the `S`."""
    with listening(answering(answer)) as server:
        assert failing(server.port, protocol="postgresql").code == code


@pytest.mark.parametrize("protocol", ["tls", "smtp", "imap", "postgresql"])
def test_dripping_words_end_in_time(protocol: str) -> None:
    """One byte at a time, for ever."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        while not stop.wait(0.02):
            connection.sendall(b"2")

    with listening(handle) as server:
        assert failing(server.port, protocol=protocol, timeout=0.4).code in ("timed-out", "no-tls")
