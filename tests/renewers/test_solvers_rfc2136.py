"""Dynamic updates against servers that are none, or not the right ones; the true one is in `peers/test_bind.py`."""

from __future__ import annotations

import socket
import threading
from base64 import b64decode
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.tsig
import pytest

from ca import clock
from ca.errors import NotDelivered
from ca.secret import Secret
from renewers.solvers.rfc2136 import Rfc2136Writer
from tests.bind import make_secret
from tests.nameserver import Nameserver, nameservers

NAME = "_acme-challenge.shop.example"
SECRET = make_secret()


@pytest.fixture
def server() -> Iterator[Nameserver]:
    """A server that knows the key, and says yes to everything."""
    with nameservers("127.0.0.1") as (found,):
        found.zone("example")
        found.key = dns.tsig.Key("k", b64decode(SECRET.reveal()), "hmac-sha256")
        yield found


def add(server: Nameserver, secret: Secret = SECRET) -> None:
    """One update."""
    Rfc2136Writer("127.0.0.1", server.port, "k", secret).add(NAME, "value", deadline=clock.monotonic() + 2)


def test_questions_and_updates_are_signed_and_go_by_tcp(server: Nameserver) -> None:
    """The zone is looked for from the name upward, at that server."""
    seen: list[tuple[str, bool, bool]] = []

    def note(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
        seen.append((answer.question[0].name.to_text(), answer.want_tsig_sign, is_tcp))
        return answer

    server.twist = note
    add(server)
    assert seen == [
        ("_acme-challenge.shop.example.", True, True),
        ("shop.example.", True, True),
        ("example.", True, True),
        ("example.", True, True),
    ]


def test_a_server_that_does_not_speak_for_the_zone_gets_no_update(server: Nameserver) -> None:
    """It answers from a cache: an SOA without AA. BIND does so from a view that the key does not belong to."""

    def cached(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
        answer.flags &= ~dns.flags.AA
        return answer

    server.twist = cached
    with pytest.raises(NotDelivered, match="is not the server of a zone") as failed:
        add(server)
    assert "views" in (failed.value.hint or "")


def test_a_yes_without_a_signature_is_not_believed(server: Nameserver) -> None:
    """Somebody on the way can say yes, too."""

    def unsigned(answer: dns.message.Message, is_tcp: bool) -> bytes:
        answer.want_tsig_sign, answer.tsig = False, None
        return answer.to_wire()

    server.twist = unsigned
    with pytest.raises(NotDelivered, match="no answer that is signed"):
        add(server)


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.NOTAUTH, dns.rcode.NOTIMP, dns.rcode.YXDOMAIN])
def test_every_no_is_a_no(server: Nameserver, code: dns.rcode.Rcode) -> None:
    """The zone is found, the update is not taken: codes that are known are explained, the others are named."""

    def refuse(answer: dns.message.Message, is_tcp: bool) -> dns.message.Message:
        if answer.opcode() == dns.opcode.UPDATE:
            answer.set_rcode(code)
        return answer

    server.twist = refuse
    with pytest.raises(NotDelivered) as failed:
        add(server)
    assert failed.value.code == "update-refused"
    assert NAME in failed.value.message
    assert failed.value.hint


@pytest.mark.parametrize("said", [b"", b"\x00", b"\x00\x05hello", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 900])
def test_whoever_else_listens_there_is_survived(said: bytes) -> None:
    """A web server at that port, a connection that ends: an error of ours."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65535)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        writer = Rfc2136Writer("127.0.0.1", listening.getsockname()[1], "k", SECRET)
        with pytest.raises(NotDelivered) as failed:
            writer.add(NAME, "value", deadline=clock.monotonic() + 1)
        thread.join()
    assert failed.value.message.isprintable()
