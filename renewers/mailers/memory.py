"""Messages kept in memory: for tests, and for looking at what would be sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from email.message import EmailMessage

from ca.errors import MailRefused, NotDelivered
from renewers.mailers import UNCERTAIN, Outgoing
from renewers.mailers.envelope import bytes_of, checked


@dataclass(frozen=True, slots=True)
class Received:
    """A message as the other side has it: its envelope, and bytes that nobody changes any more."""

    sender: str
    recipient: str
    raw: bytes
    message: EmailMessage


class MemoryMailer:
    """A `Mailer` that remembers what it took. Its attributes make it refuse, fail, or take and not say so."""

    def __init__(self) -> None:
        self.taken: list[Received] = []
        self.refused: dict[str, str] = {}
        """Recipients that are refused for good, with the reason."""
        self.is_down = False
        self.is_forgetful = False
        """Takes the next message and then fails, as a connection that breaks before the answer does."""
        self._lock = threading.Lock()

    def send(self, outgoing: Outgoing) -> str:
        """Remember it."""
        checked(outgoing)
        raw = bytes_of(outgoing.message)
        with self._lock:
            if self.is_down:
                raise NotDelivered("it is down")
            if outgoing.recipient in self.refused:
                raise MailRefused(self.refused[outgoing.recipient])
            self.taken.append(Received(outgoing.sender, outgoing.recipient, raw, outgoing.message))
            if self.is_forgetful:
                self.is_forgetful = False
                raise NotDelivered("it broke off before it answered", code=UNCERTAIN)
            return f"kept as number {len(self.taken)}"

    def close(self) -> None:
        """There is nothing to let go of."""

    def sent_to(self, recipient: str) -> list[EmailMessage]:
        """What one recipient got, oldest first."""
        with self._lock:
            return [one.message for one in self.taken if one.recipient == recipient]
