"""The few words before TLS where it is not spoken at once: SMTP (RFC 3207), IMAP (RFC 9051), PostgreSQL.

Each is a generator: it yields what to say, is sent what was answered, and ends where the ClientHello comes next. No
socket is touched here. Nothing but these words is ever said; no line longer than `LINE` and no more than `LINES` of
them are listened to. Read `handshake.py` next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType

from ca.errors import NotDelivered

Opening = Generator[bytes, bytes, None]
LINE = 2048
"""Longest line of an answer, in bytes; RFC 5321 4.5.3.1.5 has 512, and servers exceed it."""
LINES = 100
"""Most lines of one answer."""


def tls(_us: str) -> Opening:
    """TLS from the first byte."""
    yield from ()


def smtp(us: str) -> Opening:
    """RFC 3207 section 4: greeting, EHLO, STARTTLS."""
    buffer = bytearray()
    _expect("220", (yield from _smtp_reply(buffer, b"")), "greets with")
    offers = yield from _smtp_reply(buffer, f"EHLO {us}\r\n".encode())
    _expect("250", offers, "answers EHLO with")
    if not any(line[4:].split()[:1] == ["STARTTLS"] for line in map(str.upper, offers)):
        raise _no_tls("does not offer STARTTLS")
    _expect("220", (yield from _smtp_reply(buffer, b"STARTTLS\r\n")), "answers STARTTLS with")
    _nothing_more(buffer)


def imap(_us: str) -> Opening:
    """RFC 9051 section 6.2.1: greeting, STARTTLS."""
    buffer = bytearray()
    buffer += yield b""
    greeting = yield from _line(buffer)
    if not greeting.upper().startswith("* OK"):
        raise _no_tls(f"greets with {greeting[:80]!r}")
    buffer += yield b"a STARTTLS\r\n"
    for _ in range(LINES):
        line = yield from _line(buffer)
        if line[:2].lower() == "a ":
            if not line[2:].upper().startswith("OK"):
                raise _no_tls(f"answers STARTTLS with {line[:80]!r}")
            return _nothing_more(buffer)
    raise _garbled("answers without end")


def postgresql(_us: str) -> Opening:
    """SSLRequest, whose answer is one byte. A server that speaks TLS at once (17 and newer) is asked for as `tls`."""
    answer = yield b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    if answer[:1] != b"S":
        raise _no_tls("does not want TLS" if answer[:1] == b"N" else "does not answer as PostgreSQL does")
    _nothing_more(answer[1:])


OPENINGS: Mapping[str, Callable[[str], Opening]] = MappingProxyType(
    {"tls": tls, "smtp": smtp, "imap": imap, "postgresql": postgresql}
)
"""What is said first, by protocol; called with the name that we give ourselves."""


def _smtp_reply(buffer: bytearray, words: bytes) -> Generator[bytes, bytes, list[str]]:
    """Say `words`; return the lines of the reply, the last of which has no hyphen after its code."""
    buffer += yield words
    lines: list[str] = []
    while len(lines) < LINES:
        lines.append((yield from _line(buffer)))
        if lines[-1][3:4] != "-":
            return lines
    raise _garbled("answers without end")


def _line(buffer: bytearray) -> Generator[bytes, bytes, str]:
    """Take a line out of the buffer, waiting for more as long as there is none. What cannot be shown is a `?`."""
    while (end := buffer.find(b"\n")) < 0:
        if len(buffer) > LINE:
            raise _garbled("sends a line without end")
        buffer += yield b""
    if end > LINE:
        raise _garbled("sends a line without end")
    text = bytes(buffer[:end]).rstrip(b"\r").decode("ascii", "replace")
    del buffer[: end + 1]
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)


def _expect(code: str, lines: list[str], does: str) -> None:
    if not lines[-1].startswith(code):
        raise _no_tls(f"{does} {lines[-1][:80]!r}")


def _nothing_more(rest: bytes | bytearray) -> None:
    """What follows the last word before TLS was put there by somebody else, or by a server that is not well."""
    if rest:
        raise _garbled("goes on in the clear where TLS begins")


def _no_tls(what: str) -> NotDelivered:
    return NotDelivered(what, code="no-tls")


def _garbled(what: str) -> NotDelivered:
    return NotDelivered(what, code="handshake-failed")
