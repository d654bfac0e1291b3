"""Small letters for tests of what carries them."""

from __future__ import annotations

from email.message import EmailMessage

from renewers.mailers import Outgoing

SENDER = "bounces@pki.example"


def outgoing(recipient: str = "ada@web.example", text: str = "Nothing needs you.\n", *, number: int = 1) -> Outgoing:
    """A letter with a text part and an HTML part."""
    message = EmailMessage()
    message["From"] = "Certwright <certwright@pki.example>"
    message["To"] = recipient
    message["Subject"] = "[1 act now] web certificates"
    message["Date"] = "Sat, 01 Jun 2030 12:00:00 +0000"
    message["Message-ID"] = f"<letter-{number}@pki.example>"
    message.set_content(text)
    message.add_alternative("<p>Nothing needs you.</p>", subtype="html")
    return Outgoing(SENDER, recipient, message)


def text_of(message: EmailMessage) -> str:
    """What stands in the text part, with plain line ends."""
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")
