"""What every mailer looks at before a message leaves: one recipient, named in it and nobody else; bytes as SMTP wants.

A message is always 7-bit: any server takes it, and a signature survives a relay that would have encoded it anew
(RFC 6376 section 5.3). Addresses are plain ASCII throughout, so that no server needs SMTPUTF8. Nothing is sent here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses

from ca.errors import BadRequest, Defect, MailRefused, Misconfigured
from ca.x509 import names
from ca.x509.names import Kind
from renewers.mailers import Outgoing
from renewers.plain import one_line

WIRE = SMTP.clone(cte_type="7bit")
"""How messages become bytes: CRLF, and nothing above 7 bits."""
LINE = 998
"""Longest line without its end, RFC 5321 section 4.5.3.1.6."""
ENVELOPE_ID = 100
"""Longest ENVID, RFC 3461 section 4.4."""
Signed = Callable[[bytes], bytes]
"""Puts a signature in front of a message's bytes, or does nothing."""
NEEDED = ("From", "To", "Date", "Message-ID")
FORBIDDEN = ("Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc")


def checked(outgoing: Outgoing) -> None:
    """`Defect` if a message is not for its recipient alone; an address that is no plain one is refused."""
    if not _is_address(outgoing.sender):
        raise Misconfigured("the sender of mail is no address", hint="mail.sender or mail.bounces_to")
    if not _is_address(outgoing.recipient):
        raise MailRefused(f"{one_line(outgoing.recipient, 80)} is no address that mail is sent to")
    message = outgoing.message
    for name in NEEDED:
        if len(message.get_all(name, [])) != 1:
            raise Defect(f"a message has {name} not exactly once")
    if others := [name for name in FORBIDDEN if name in message]:
        raise Defect(f"a message has {others[0]}: there is one recipient, who stands in To")
    if [address for _, address in getaddresses([str(message["To"])])] != [outgoing.recipient]:
        raise Defect("a message is not addressed to whom it is sent")


def bytes_of(message: EmailMessage) -> bytes:
    """The message as it is sent: ASCII, lines of bounded length that all end in CRLF. `Defect` if it is none of that.

    What else ends a line for one server and not for another lets a text smuggle in a message of its own.
    """
    raw = message.as_bytes(policy=WIRE)
    if not raw.isascii() or b"\0" in raw or re.search(rb"\r(?!\n)|(?<!\r)\n", raw):
        raise Defect("a message is not lines of ASCII")
    if any(len(line) > LINE for line in raw.split(b"\r\n")):
        raise Defect("a message has a line that is too long to be sent")
    return raw


def on_return(outgoing: Outgoing) -> list[str]:
    """For MAIL, of a server that offers DSN (RFC 3461): a report of failure has the Message-ID, and no text of ours."""
    name = xtext(str(outgoing.message["Message-ID"]).strip().strip("<>"))
    return ["RET=HDRS", *([f"ENVID={name}"] if len(name) <= ENVELOPE_ID else [])]


def on_failure(outgoing: Outgoing) -> list[str]:
    """For RCPT: a report if it cannot be delivered, and none otherwise; to whom it was sent, whoever forwards it."""
    return ["NOTIFY=FAILURE", f"ORCPT=rfc822;{xtext(outgoing.recipient)}"]


def xtext(text: str) -> str:
    """RFC 3461 section 4: printable ASCII but for `+` and `=`, which stand in hex like all else."""
    return "".join(chr(c) if 33 <= c <= 126 and chr(c) not in "+=" else f"+{c:02X}" for c in text.encode())


def unsigned(raw: bytes) -> bytes:
    """The message as it is: there is no signature."""
    return raw


def _is_address(text: str) -> bool:
    try:
        names.make(Kind.EMAIL, text)
    except BadRequest:
        return False
    return True
