"""Mailers: what everyone does that sends letters, over a real server as in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca.errors import Defect, MailRefused, Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.mailers import UNCERTAIN, Mailer, Outgoing
from renewers.mailers.eml import EmlMailer
from renewers.mailers.memory import MemoryMailer
from renewers.mailers.server import Server
from renewers.mailers.smtp import SmtpMailer
from tests.letters import SENDER, outgoing, text_of
from tests.mailserver import Wanted, serving_mail

SECURITIES = {"smtp in TLS": "tls", "smtp with STARTTLS": "starttls", "smtp in the clear": "none"}


@dataclass
class Sent:
    """A mailer, and the bytes that have come to the other side, by recipient."""

    mailer: Mailer
    came: Callable[[], list[tuple[str, bytes]]]


def _made(name: str, directory: Path) -> Iterator[Sent]:
    if name == "memory":
        memory = MemoryMailer()
        yield Sent(memory, lambda: [(one.recipient, one.raw) for one in memory.taken])
    elif name == "files":
        place = directory / "letters"
        yield Sent(EmlMailer(place), lambda: [(_to(raw), raw) for raw in map(Path.read_bytes, place.glob("*.eml"))])
    else:
        security = SECURITIES[name]
        user = "" if security == "none" else "certwright"
        with serving_mail(directory, Wanted(security=security, user=user, password="a pass wörd")) as server:
            ca_file = None if security == "none" else server.ca_file
            mailer = SmtpMailer(Server("localhost", server.port, security, ca_file, user, Secret("a pass wörd")))
            yield Sent(mailer, lambda: [(one.recipients[0], one.raw) for one in server.taken()])
            mailer.close()


def _to(raw: bytes) -> str:
    return str(BytesParser(policy=policy.default).parsebytes(raw)["To"])


@pytest.fixture(scope="module", params=["memory", "files", *SECURITIES])
def sent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """Each mailer in turn."""
    yield from _made(request.param, tmp_path_factory.mktemp("mail"))


def came_to(sent: Sent, recipient: str) -> list[EmailMessage]:
    """What a recipient got, parsed; nothing about it is wrong, and it holds nothing but ASCII in whole lines."""
    found = []
    for to, raw in sent.came():
        if to == recipient:
            assert raw.isascii()
            assert raw.replace(b"\r\n", b"").translate(None, b"\r\n") == raw.replace(b"\r\n", b"")
            message: EmailMessage = BytesParser(policy=policy.default).parsebytes(raw)  # type: ignore[assignment]
            assert [part.defects for part in message.walk() if part.defects] == []
            found.append(message)
    return found


def test_a_letter_arrives_as_it_is(sent: Sent) -> None:
    """Whoever it is for has it when `send` returns, with every header and part; and something is said of it."""
    letter = outgoing("as-it-is@web.example", "Zwölf Boxkämpfer ☃\n.\n..dots\n.\n")
    assert sent.mailer.send(letter)
    (found,) = came_to(sent, "as-it-is@web.example")
    assert text_of(found) == "Zwölf Boxkämpfer ☃\n.\n..dots\n.\n"
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        assert found[name] == letter.message[name]
    assert [part.get_content_type() for part in found.walk()][1:] == ["text/plain", "text/html"]


def test_many_threads_send_at_once(sent: Sent) -> None:
    """Each letter arrives once, whole, and at nobody else."""
    letters = [outgoing(f"thread-{n}@web.example", f"only for {n}\n" * 200, number=n) for n in range(40)]
    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(sent.mailer.send, letters))
    for number in range(40):
        (found,) = came_to(sent, f"thread-{number}@web.example")
        assert text_of(found) == f"only for {number}\n" * 200


def _with(change: Callable[[EmailMessage], None]) -> Outgoing:
    letter = outgoing("wrong@web.example")
    change(letter.message)
    return letter


def _two(message: EmailMessage) -> None:
    del message["To"]
    message["To"] = "wrong@web.example, another@web.example"


def _copy(name: str) -> Callable[[EmailMessage], None]:
    return lambda message: message.add_header(name, "another@web.example")


def _lacks(name: str) -> Callable[[EmailMessage], None]:
    return lambda message: message.__delitem__(name)


@pytest.mark.parametrize(
    "change",
    [
        *(_two, _copy("Cc"), _copy("Bcc"), _copy("Resent-To")),
        *(_lacks(name) for name in ("To", "From", "Date", "Message-ID")),
    ],
)
def test_a_letter_is_for_one_person(sent: Sent, change: Callable[[EmailMessage], None]) -> None:
    """Two recipients, a copy, or no recipient in its headers: a defect of ours, and nobody gets it."""
    with pytest.raises(Defect):
        sent.mailer.send(_with(change))
    assert came_to(sent, "wrong@web.example") == came_to(sent, "another@web.example") == []


def test_the_envelope_and_the_header_name_the_same(sent: Sent) -> None:
    """A letter that says it is for another than it is sent to is sent to neither."""
    with pytest.raises(Defect):
        sent.mailer.send(replace(outgoing("header@web.example"), recipient="envelope@web.example"))
    assert came_to(sent, "header@web.example") == came_to(sent, "envelope@web.example") == []


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "a b@web.example",
        "ada@web.example>\r\nRCPT TO:<eve@web.example",
        "<ada@web.example>",
        "a@b@c",
        "ä@b.example",
    ],
)
def test_an_address_that_is_none(sent: Sent, address: str) -> None:
    """A recipient that no server could take is refused for good; a sender is the settings' fault. Nothing is said."""
    before = len(sent.came())
    with pytest.raises(MailRefused):
        sent.mailer.send(replace(outgoing(), recipient=address))
    with pytest.raises(Misconfigured):
        sent.mailer.send(replace(outgoing(), sender=address))
    assert len(sent.came()) == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.sampled_from("ab.\r\n\x00\x0b\x0c\x1c\x85\u2028 \t-ü☃"), max_size=60),
    subject=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200),
)
def test_no_text_ends_a_letter(sent: Sent, text: str, subject: str) -> None:
    """Dots and line ends of every kind, wherever they stand: one letter comes for one that was sent, or none at all."""
    before = len(sent.came())
    letter = outgoing("odd@web.example", f"{text}\r\n.\r\nMAIL FROM:<eve@web.example>\n.\r\nx", number=before)
    letter.message.replace_header("Subject", subject)
    try:
        sent.mailer.send(letter)
    except Defect:  # a NUL, which RFC 5322 has no place for: whoever composes letters leaves it out
        assert "\x00" in text
        assert len(sent.came()) == before
        return
    after = sent.came()
    assert len(after) == before + 1
    assert [name for name in (to for to, _ in after) if name == "eve@web.example"] == []


def test_closed_is_not_over(sent: Sent) -> None:
    """After `close` the next letter finds its way."""
    sent.mailer.close()
    assert sent.mailer.send(outgoing("again@web.example"))
    sent.mailer.close()
    sent.mailer.close()
    assert len(came_to(sent, "again@web.example")) == 1


def test_who_it_comes_back_to_is_not_a_header(sent: Sent) -> None:
    """The envelope's sender is the carrier's affair: it does not get into the message."""
    sent.mailer.send(outgoing("plain@web.example"))
    [(_, raw)] = [one for one in sent.came() if one[0] == "plain@web.example"]
    assert SENDER.encode() not in raw


def test_memory_can_be_made_to_fail() -> None:
    """As a server does: refused for good, not now, and taken without a word, which has a code of its own."""
    mailer = MemoryMailer()
    mailer.refused["gone@web.example"] = "550 5.1.1 no such user"
    with pytest.raises(MailRefused, match=r"5\.1\.1"):
        mailer.send(outgoing("gone@web.example"))
    mailer.is_down = True
    with pytest.raises(NotDelivered) as caught:
        mailer.send(outgoing())
    assert (caught.value.code, mailer.taken) == ("not-delivered", [])
    mailer.is_down, mailer.is_forgetful = False, True
    with pytest.raises(NotDelivered) as caught:
        mailer.send(outgoing())
    assert caught.value.code == UNCERTAIN
    mailer.send(outgoing())
    assert len(mailer.sent_to("ada@web.example")) == 2
