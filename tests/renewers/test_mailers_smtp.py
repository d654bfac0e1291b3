"""Mail over SMTP: what a server refuses, what it never hears, how long it may take, and how connections are kept."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from ca import clock
from ca.errors import MailRefused, Misconfigured, NotDelivered
from ca.secret import Secret
from ca.x509.bundle import pem_certificate
from renewers.mailers import UNCERTAIN, smtp
from renewers.mailers.server import Patience, Server, our_name
from renewers.mailers.smtp import SmtpMailer
from tests import peer
from tests.letters import SENDER, outgoing, text_of
from tests.mailserver import (
    AUTH,
    CONNECT,
    DATA,
    DOT,
    DROP,
    GARBAGE,
    HELLO,
    MAIL,
    RCPT,
    STALL,
    TAKEN,
    TLS,
    TRICKLE,
    MailServer,
    Wanted,
    serving_mail,
)
from tests.renewers.listeners import Handle, listening, make, serving

PASSWORD = "canary of the mail server 5e0a+/="
PATIENT = Patience()
LONG = 20.0
"""Seconds: far more than any wait of an impatient one, far less than a server that stalls takes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    """One with STARTTLS and a password, which the tests share."""
    with serving_mail(tmp_path_factory.mktemp("mail"), Wanted(user="certwright", password=PASSWORD)) as made:
        yield made


@pytest.fixture(autouse=True)
def behaves(request: pytest.FixtureRequest) -> None:
    """No misery of the test before."""
    if "server" in request.fixturenames:
        request.getfixturevalue("server").behave()


def mailer(server: MailServer, *, patience: Patience = PATIENT, **changes: object) -> SmtpMailer:
    """A mailer to it, with the password that it wants; a server that keeps us waiting is not left alone."""
    made = {"security": "starttls", "ca_file": server.ca_file, "username": "certwright", "password": Secret(PASSWORD)}
    made |= changes
    return SmtpMailer(Server("localhost", server.port, patience=patience, **made), rest=0)  # type: ignore[arg-type]


def impatient(at: str) -> Patience:
    """With a second at that stage alone: a slow machine has all the time elsewhere."""
    if at in (MAIL, RCPT, DATA):
        return Patience(handing_over=1.0)
    return Patience(answering=1.0) if at in (DOT, TAKEN) else Patience(opening=1.0)


# What it takes.


def test_the_envelope(server: MailServer) -> None:
    """One sender, one recipient, within TLS 1.2 or newer, as who the settings say; size and DSN are asked for."""
    before = server.counted()
    said = mailer(server).send(outgoing("ada+pki@web.example", number=77))
    taken = server.taken()[before]
    assert said == "250 2.0.0 taken"
    assert (taken.sender, taken.recipients, taken.user) == (SENDER, ("ada+pki@web.example",), "certwright")
    assert taken.tls in ("TLSv1.2", "TLSv1.3")
    assert taken.mail == f"FROM:<{SENDER}> SIZE={len(taken.raw)} RET=HDRS ENVID=letter-77@pki.example"
    assert taken.rcpt == ("TO:<ada+pki@web.example> NOTIFY=FAILURE ORCPT=rfc822;ada+2Bpki@web.example",)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_either_mechanism(tmp_path: Path, mechanism: str) -> None:
    """A server that knows one of the two is signed in at."""
    wanted = Wanted(user="certwright", password=PASSWORD, mechanisms=(mechanism,))
    with serving_mail(tmp_path, wanted) as server:
        mailer(server).send(outgoing())
        assert [one.user for one in server.taken()] == ["certwright"]


def test_a_server_that_knows_little(tmp_path: Path) -> None:
    """Neither DSN nor 8-bit content: nothing of either is said, and text beyond ASCII arrives whole."""
    with serving_mail(tmp_path, Wanted(has_dsn=False, has_8bit=False)) as server:
        mailer(server, username="", password=None).send(outgoing(text="Größe ☃\n"))
        (taken,) = server.taken()
    assert "ENVID" not in taken.mail
    assert "NOTIFY" not in taken.rcpt[0]
    assert taken.raw.isascii()
    assert text_of(taken.message) == "Größe ☃\n"


def test_our_name() -> None:
    """An address of ours where this machine has no whole name (RFC 5321 section 4.1.3), and no resolver is asked."""
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        with socket.socket(family) as bound:
            bound.bind((host, 0))
            name = our_name(bound)
            assert name in (socket.gethostname().lower(), "[127.0.0.1]", "[IPv6:::1]")
            assert name != socket.gethostname() or "." in name


# What it refuses.


@pytest.mark.parametrize(
    ("at", "reply", "error"),
    [
        (RCPT, "550 5.1.1 no such user", MailRefused),
        (RCPT, "550 no such user", MailRefused),
        (RCPT, "553 5.1.3 no such form", MailRefused),
        (RCPT, "556 5.1.10 the domain takes no mail", MailRefused),
        (RCPT, "550 5.2.1 disabled", MailRefused),
        (DOT, "550 5.1.1 no such user, after all", MailRefused),
        (RCPT, "450 4.2.1 try later", NotDelivered),
        (RCPT, "452 4.2.2 full", NotDelivered),
        (RCPT, "550 5.7.1 relaying denied", NotDelivered),
        (RCPT, "550 relay not permitted", NotDelivered),
        (RCPT, "554 5.7.1 your address is on a list", NotDelivered),
        (RCPT, "550 5.7.26 unauthenticated mail", NotDelivered),
        (RCPT, "554 no", NotDelivered),
        (RCPT, "530 5.7.0 sign in first", NotDelivered),
        (MAIL, "550 5.1.8 bad sender", NotDelivered),
        (MAIL, "550 5.1.1 no such sender", NotDelivered),
        (MAIL, "451 4.3.0 later", NotDelivered),
        (DATA, "554 5.5.1 no valid recipients", NotDelivered),
        (DOT, "552 5.3.4 too large", NotDelivered),
        (DOT, "550 this is spam", NotDelivered),
        (DOT, "554 5.6.0 its content is refused", NotDelivered),
        (DOT, "451 4.3.0 later", NotDelivered),
        (CONNECT, "554 5.7.1 go away", NotDelivered),
        (CONNECT, "421 4.3.2 not now", NotDelivered),
        (HELLO, "550 5.7.1 I do not know you", NotDelivered),
        (TLS, "454 4.7.0 no TLS today", NotDelivered),
        (AUTH, "535 5.7.8 wrong", NotDelivered),
        (AUTH, "454 4.7.0 later", NotDelivered),
    ],
)
def test_whose_refusal_it_is(server: MailServer, at: str, reply: str, error: type[Exception]) -> None:
    """Only what is about the mailbox takes it out of use; what is about us, or passes, is tried again, and goes."""
    before, made = server.counted(), mailer(server)
    server.will(at, reply)
    with pytest.raises(error) as caught:
        made.send(outgoing())
    assert type(caught.value) is error
    if at != AUTH:
        assert reply[:3] in str(caught.value)
    assert server.counted() == before
    made.send(outgoing())
    assert server.counted() == before + 1
    made.close()


def test_one_recipient_is_refused_and_the_others_are_not(server: MailServer) -> None:
    """Over the same connection: nothing of a refused letter is left for the next one."""
    before, made = server.counted(), mailer(server)
    server.will(RCPT, "550 5.1.1 no such user", recipient="gone@web.example", times=0)
    made.send(outgoing("first@web.example"))
    with pytest.raises(MailRefused, match=r"takes no mail for gone@web\.example: 550 5\.1\.1 no such user"):
        made.send(outgoing("gone@web.example"))
    made.send(outgoing("last@web.example"))
    made.close()
    assert [one.recipients for one in server.taken()[before:]] == [("first@web.example",), ("last@web.example",)]


def test_greylisting(tmp_path: Path) -> None:
    """A server that takes nothing at the first attempt takes it at the second."""
    with serving_mail(tmp_path, Wanted(greylists=True)) as server:
        made = mailer(server, username="", password=None)
        with pytest.raises(NotDelivered, match="450"):
            made.send(outgoing())
        made.send(outgoing())
        made.close()
        assert server.counted() == 1


def test_a_letter_that_is_too_large(tmp_path: Path) -> None:
    """Refused before it is sent, and the mailbox stays in use: it is not its fault."""
    with serving_mail(tmp_path, Wanted(size=1000)) as server:
        made = mailer(server, username="", password=None)
        with pytest.raises(NotDelivered, match="552"):
            made.send(outgoing(text="x\n" * 1000))
        assert (server.done(RCPT), server.counted()) == (0, 0)
        made.close()


# What it never hears.


@pytest.mark.parametrize("username", ["certwright", ""])
def test_without_tls_nothing_is_said(tmp_path: Path, username: str) -> None:
    """Whoever takes STARTTLS out of the server's offer gets neither a password nor a word of a letter."""
    with serving_mail(tmp_path, Wanted(offers_tls=False)) as server:
        with pytest.raises(NotDelivered) as caught:
            mailer(server, username=username).send(outgoing())
        assert caught.value.code == "no-tls"
        assert [server.done(stage) for stage in (HELLO, TLS, AUTH, MAIL)] == [1, 0, 0, 0]


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("fault", ["another CA", "another name"])
def test_another_server_hears_nothing(tmp_path: Path, security: str, fault: str) -> None:
    """A certificate that does not chain to ours, or is for another name: not one word within TLS."""
    names = ("elsewhere.example",) if fault == "another name" else ("localhost",)
    with serving_mail(tmp_path / "one", Wanted(security=security), *names) as server:
        ca_file = server.ca_file
        if fault == "another CA":
            with serving_mail(tmp_path / "two") as other:
                ca_file = other.ca_file
        with pytest.raises(NotDelivered, match="certificate is not trusted here") as caught:
            mailer(server, security=security, ca_file=ca_file).send(outgoing())
        assert (caught.value.hint, caught.value.code) == ("mail.ca_file", "no-tls")
        assert [server.done(stage) for stage in (AUTH, MAIL)] == [0, 0]


def test_old_tls_is_none(tmp_path: Path) -> None:
    """A server that knows nothing newer than TLS 1.1 is told nothing."""
    ca = make("ca.example", is_ca=True)
    context = serving(tmp_path, make("localhost", issuer=ca))
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    heard: list[bytes] = []

    def handle(connection: socket.socket, _stop: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            heard.append(secured.recv(100))

    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(pem_certificate(ca.der))
    with listening(handle) as listener, pytest.raises(NotDelivered, match="TLS failed"):
        SmtpMailer(Server("localhost", listener.port, "tls", ca_file)).send(outgoing())
    assert heard == []


def said_in(chunks: list[bytes], *lines: bytes) -> Handle:
    """A server in the clear that says these lines, one after each of ours; what it hears is kept."""

    def handle(connection: socket.socket, _stop: threading.Event) -> None:
        for line in lines:
            connection.sendall(line)
            chunks.append(connection.recv(65536))

    return handle


def test_what_was_put_in_before_tls_is_not_believed(tmp_path: Path) -> None:
    """Answers that somebody wrote in front of the handshake are not taken for the server's: nothing is handed over."""
    heard: list[bytes] = []
    injected = (
        b"220 go on\r\n250-localhost\r\n250 AUTH PLAIN\r\n235 fine\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"
    )
    handle = said_in(heard, b"220 mail\r\n", b"250-mail\r\n250 STARTTLS\r\n", injected)
    password = Secret(PASSWORD)
    with listening(handle) as listener, pytest.raises(NotDelivered):
        SmtpMailer(Server("127.0.0.1", listener.port, "starttls", None, "certwright", password)).send(outgoing())
    assert b"".join(heard[:2]).startswith(b"ehlo ")
    assert heard[2][:1] == b"\x16", "a ClientHello"
    said = b"".join(heard)
    assert not any(word in said for word in (b"AUTH", b"MAIL", b"RCPT", PASSWORD.encode()))


def test_no_password_without_tls() -> None:
    """Settings that would send one in the clear are refused, whoever makes a mailer."""
    with pytest.raises(Misconfigured):
        Server("127.0.0.1", 25, "none", None, "certwright", Secret(PASSWORD))
    with pytest.raises(Misconfigured):
        Server("mail.example.org", 25, "none")
    with pytest.raises(Misconfigured):
        Server("mail.example.org", 25, "perhaps")


def test_a_wrong_password_is_not_shown(server: MailServer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in what the error says, nor in what Python prints of anything, nor logged."""
    caplog.set_level(logging.DEBUG)
    made = mailer(server, password=Secret(PASSWORD + "x"))
    with pytest.raises(NotDelivered) as caught:
        made.send(outgoing())
    assert caught.value.code == "mail-auth"
    assert caught.value.hint
    shown = f"{caught.value} {caught.value.hint} {made!r} {vars(made)} {made._server!r} {caplog.text}"
    hidden = (
        PASSWORD,
        b64encode(PASSWORD.encode()).decode()[:20],
        b64encode(f"\0certwright\0{PASSWORD}".encode()).decode()[:30],
    )
    assert not any(secret in shown for secret in hidden)


@pytest.mark.parametrize("at", [MAIL, RCPT, DATA, DOT])
def test_a_server_that_repeats_the_password(server: MailServer, at: str) -> None:
    """What it says is shown without it, in whichever spelling it got it."""
    credentials = b64encode(f"\0certwright\0{PASSWORD}".encode()).decode()
    for spelling in (PASSWORD, b64encode(PASSWORD.encode()).decode(), credentials):
        server.will(at, f"451 4.0.0 you said {spelling} did you not")
        with pytest.raises(NotDelivered) as caught:
            mailer(server).send(outgoing())
        assert "you said *** did you not" in str(caught.value)


def test_what_a_server_says_is_one_line(server: MailServer) -> None:
    """Escape sequences and more than anybody reads do not get into a log."""
    server.will(RCPT, f"450-\x1b[2J first\r\n450 {'x' * 480}")
    with pytest.raises(NotDelivered) as caught:
        mailer(server).send(outgoing())
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 450


# How long it may take.


@pytest.mark.parametrize("misery", [DROP, STALL, TRICKLE, GARBAGE])
@pytest.mark.parametrize("at", [CONNECT, HELLO, TLS, AUTH, MAIL, RCPT, DATA, DOT, TAKEN])
def test_no_misery_lasts(server: MailServer, at: str, misery: str) -> None:
    """Whenever it drops, stalls, trickles or talks nonsense: it is over in time, and the letter goes later.

    Until the last dot nothing was taken. Afterwards we do not know, and say so by a code of its own.
    """
    before = server.counted()
    made = mailer(server, patience=impatient(at))
    server.will(at, misery)
    start = clock.monotonic()
    with pytest.raises(NotDelivered) as caught:
        made.send(outgoing())
    assert clock.monotonic() - start < LONG
    assert (caught.value.code == UNCERTAIN) == (at in (DOT, TAKEN))
    assert server.counted() - before == (1 if at == TAKEN else 0)
    server.behave()
    made = mailer(server)
    made.send(outgoing())
    made.close()
    assert server.counted() - before == (2 if at == TAKEN else 1)


def test_an_answer_without_end() -> None:
    """A server that goes on and on is not listened to for ever, however fast it talks."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"220 mail\r\n")
        connection.recv(1000)
        with suppress(OSError):
            while not stop.is_set():
                connection.sendall(b"250-on and on\r\n" * 1000)

    with listening(handle) as listener, pytest.raises(NotDelivered, match="no end"):
        SmtpMailer(Server("127.0.0.1", listener.port, "none")).send(outgoing())


def test_a_server_that_reads_nothing() -> None:
    """One whose window is full holds nobody for longer than a letter may take."""

    def handle(connection: socket.socket, stop: threading.Event) -> None:
        for line in (b"220 mail", b"250 mail", b"250 ok", b"250 ok", b"354 go"):
            connection.sendall(line + b"\r\n")
            connection.recv(1000) if line != b"354 go" else stop.wait(60)

    with (
        listening(handle) as listener,
        pytest.raises(NotDelivered, match="broke off before it had the message") as caught,
    ):
        letter = outgoing(text="x" * 70 + "\n" + "y" * 8_000_000)
        SmtpMailer(Server("127.0.0.1", listener.port, "none", patience=impatient(MAIL))).send(letter)
    assert caught.value.code == "not-delivered"


def test_nobody_there() -> None:
    """A port that nobody listens on, and a name that nobody has."""
    with pytest.raises(NotDelivered, match="cannot be reached"):
        SmtpMailer(Server("127.0.0.1", peer.free_port(), "none")).send(outgoing())
    with pytest.raises(NotDelivered, match=r"nowhere\.invalid:25 cannot be reached"):
        SmtpMailer(Server("nowhere.invalid", 25)).send(outgoing())


def test_a_server_that_stalls_rests(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One letter finds out; the others fail at once, until its rest is over and one finds out that it is well."""
    made = SmtpMailer(mailer(server, patience=impatient(MAIL))._server, rest=60, slow=0.5)
    server.will(MAIL, STALL)
    with pytest.raises(NotDelivered, match="in time"):
        made.send(outgoing())
    connections = server.done(CONNECT)
    for _ in range(20):
        with pytest.raises(NotDelivered, match="left alone"):
            made.send(outgoing())
    assert server.done(CONNECT) == connections
    later = time.monotonic() + 61
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    made.send(outgoing())
    made.send(outgoing())
    made.close()


def test_a_refusal_is_no_reason_to_rest(server: MailServer) -> None:
    """A server that says no is well, however long it thinks: the other letters go on."""
    made = SmtpMailer(mailer(server)._server, rest=60, slow=0)
    server.will(RCPT, "450 4.2.1 later", recipient="busy@web.example")
    with pytest.raises(NotDelivered, match="450"):
        made.send(outgoing("busy@web.example"))
    made.send(outgoing("free@web.example"))
    made.close()


# How connections are kept.


def test_a_connection_is_kept(server: MailServer) -> None:
    """Twenty letters, one connection, one handshake, one password."""
    stages = (CONNECT, TLS, AUTH)
    before, made = [server.done(stage) for stage in stages], mailer(server)
    for number in range(20):
        made.send(outgoing(number=number))
    made.close()
    assert [server.done(stage) for stage in stages] == [one + 1 for one in before]


def test_few_connections(server: MailServer) -> None:
    """However many threads send, a server sees four connections of ours at most."""
    before, made = server.done(CONNECT), mailer(server)
    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(made.send, [outgoing(number=n) for n in range(64)]))) == 64
    made.close()
    assert 1 <= server.done(CONNECT) - before <= smtp.MOST


def test_a_connection_that_is_gone_is_replaced(server: MailServer) -> None:
    """What the server closed while nobody used it is found out before a letter is said into it."""
    before, made = server.counted(), mailer(server)
    for close in (lambda one: one._client.sock.shutdown(socket.SHUT_RDWR), lambda one: one._client.sock.close()):
        made.send(outgoing())
        (kept,) = made._idle
        close(kept)  # type: ignore[no-untyped-call]
        made.send(outgoing())
    made.close()
    assert server.counted() == before + 4


def test_421_ends_a_connection(server: MailServer) -> None:
    """A server that says that it closes is not asked again over that connection (RFC 5321 section 3.8)."""
    made = mailer(server)
    server.will(RCPT, "421 4.3.2 going down")
    with pytest.raises(NotDelivered, match="421"):
        made.send(outgoing())
    assert made._idle == []
    made.send(outgoing())
    made.close()


@pytest.mark.parametrize("limit", ["LETTERS", "AGE", "IDLE"])
def test_a_connection_has_an_end(server: MailServer, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """After so many letters, so long a life, or so long a pause the next letter has a new one."""
    monkeypatch.setattr(smtp, limit, 1)
    before, made = server.done(CONNECT), mailer(server)
    made.send(outgoing())
    if limit != "LETTERS":
        for kept in made._idle:
            kept.opened_at -= 1 if limit == "AGE" else 0
            kept.used_at -= 1 if limit == "IDLE" else 0
    made.send(outgoing())
    made.close()
    assert server.done(CONNECT) == before + 2


def test_what_nobody_uses_is_closed(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody ever sends again: a server is not kept from going by a connection of ours."""
    monkeypatch.setattr(smtp, "IDLE", 0.2)
    made = mailer(server)
    made.send(outgoing())
    (kept,) = made._idle
    peer.until(lambda: made._idle == [], "the connection is closed")
    peer.until(lambda: kept._client.sock is None, "its socket, too")


def test_a_ca_file_that_holds_none(tmp_path: Path) -> None:
    """Said when the installation is opened, and not with the first letter."""
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(Misconfigured, match=r"empty\.pem"):
        Server("localhost", 25, "tls", tmp_path / "empty.pem")
