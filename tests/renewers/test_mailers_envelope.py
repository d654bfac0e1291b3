"""What is looked at before a message leaves, and what of it is asked of a server that reports failures."""

from __future__ import annotations

import pytest

from ca.errors import Defect
from renewers.mailers.envelope import LINE, bytes_of, on_failure, on_return, xtext
from tests.letters import outgoing


@pytest.mark.parametrize("payload", ["a NUL\0", "x" * (LINE + 1)])
def test_what_no_server_takes_does_not_leave(payload: str) -> None:
    """NUL, and lines that are longer than may be sent (RFC 5321 section 4.5.3.1.6)."""
    message = outgoing().message
    message.clear_content()
    message.set_payload(payload)
    with pytest.raises(Defect):
        bytes_of(message)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\r"])
def test_every_line_ends_alike(end: str) -> None:
    """A line that ends in half an end would end a message for some servers: it is made whole."""
    message = outgoing().message
    message.clear_content()
    message.set_payload(f"one{end}.{end}MAIL FROM:<eve@evil.example>{end}")
    raw = bytes_of(message)
    assert b"one\r\n" in raw
    assert not set(raw.replace(b"\r\n", b"")) & set(b"\r\n")


def test_a_header_is_one_line() -> None:
    """The library takes no line end into a header, so that nothing of a name becomes a header of its own."""
    message = outgoing().message
    for value in ("x\r\nBcc: eve@evil.example", "x\nBcc: eve@evil.example", "x\rBcc: eve@evil.example"):
        with pytest.raises(ValueError, match="linefeed"):
            message.replace_header("Subject", value)


@pytest.mark.parametrize(("text", "said"), [("ada+pki=1@a", "ada+2Bpki+3D1@a"), ("a b", "a+20b"), ("ü", "+C3+BC")])
def test_xtext(text: str, said: str) -> None:
    """RFC 3461 section 4: nothing of an address ends the parameter, or begins another."""
    assert xtext(text) == said


def test_a_long_message_id_is_not_an_envelope_id() -> None:
    """RFC 3461 section 4.4 has a hundred characters; a server would refuse the letter for more."""
    letter = outgoing()
    assert on_return(letter) == ["RET=HDRS", "ENVID=letter-1@pki.example"]
    assert on_failure(letter) == ["NOTIFY=FAILURE", "ORCPT=rfc822;ada@web.example"]
    letter.message.replace_header("Message-ID", f"<{'x' * 100}@pki.example>")
    assert on_return(letter) == ["RET=HDRS"]
