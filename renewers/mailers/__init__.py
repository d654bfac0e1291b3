"""How mail leaves: the `Mailer` port. One message, one recipient, until somebody has taken responsibility for it.

Adapters: `smtp` (a mail server, RFC 5321), `eml` (files, for a dry run), `memory` (tests). What stands in a message is
`renewers/reports`' affair; who gets one and when, `renewers/mailing`'s; what becomes of a failure, `mailing/sending`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol

UNCERTAIN = "mail-uncertain"
"""The code of a `NotDelivered` after which the other side may have the message all the same."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and its envelope: exactly one recipient, whatever the headers say (RFC 5321 section 2.3.1)."""

    sender: str
    """Where it comes back to if it cannot be delivered; an address alone."""
    recipient: str
    """An address alone."""
    message: EmailMessage


class Mailer(Protocol):
    """Sends messages, from several threads at once."""

    def send(self, outgoing: Outgoing) -> str:
        """Returns what the other side said when it took responsibility. It may have, though we never heard it.

        `MailRefused` if this recipient is refused for good, `NotDelivered` if it is not taken now; with the code
        `UNCERTAIN` if it may have been. What is wrong with the message or the settings is a `Defect`, `Misconfigured`.
        """

    def close(self) -> None:
        """Let go of connections. `send` opens new ones."""
