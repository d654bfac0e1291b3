"""Mail to a server over SMTP (RFC 5321): one message, one recipient, from many threads over few connections.

Never without TLS where the settings want it, whatever a server offers; a password only within it. A connection is kept
for a while and a number of letters, and asked whether it is well before it is used again. A server that lets us wait in
vain rests (`renewers/notifiers/rest.py`), so that other work is not held up. Read `conversation.py` next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ca import clock
from ca.errors import NotDelivered
from renewers.mailers import Outgoing
from renewers.mailers.conversation import Conversation, Outcome
from renewers.mailers.envelope import Signed, bytes_of, checked, unsigned
from renewers.mailers.server import Server
from renewers.notifiers.rest import Rest

MOST = 4
"""Connections at once, and letters on their way."""
LETTERS, AGE, IDLE = 100, 300.0, 30.0
"""For how many letters and seconds a connection is kept, and for how many when nobody uses it."""
REST, SLOW = 60.0, 5.0
"""Seconds for which a server is left alone that did not answer, if that took longer than so many."""


class SmtpMailer:
    """A `Mailer` to one server. Every failure of the server is `NotDelivered`; `replies.py` says what is refused."""

    def __init__(
        self, server: Server, signed: Signed = unsigned, *, most: int = MOST, rest: float = REST, slow: float = SLOW
    ) -> None:
        self._server = server
        self._signed = signed
        self._places = threading.BoundedSemaphore(most)
        self._rest = Rest(str(server), rest, slow=slow)
        self._lock = threading.Lock()
        self._idle: list[Conversation] = []
        self._sweeper: threading.Timer | None = None

    def send(self, outgoing: Outgoing) -> str:
        """Hand one message over. `NotDelivered` with the code `mail-uncertain`: the server may have it all the same."""
        checked(outgoing)
        raw = self._signed(bytes_of(outgoing.message))
        with self._place(), self._rest.trying():
            outcome = self._handed_over(outgoing, raw)
        if isinstance(outcome, str):
            return outcome
        raise outcome

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            idle, self._idle = self._idle, []
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
        for conversation in idle:
            conversation.close(politely=True)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Wait for one of the places, before the server's rest is looked at: who waited finds out what others did."""
        if not self._places.acquire(timeout=self._server.patience.handing_over):
            raise NotDelivered(f"{self._server} is busy with other letters of ours")
        try:
            yield
        finally:
            self._places.release()

    def _handed_over(self, outgoing: Outgoing, raw: bytes) -> Outcome:
        conversation = self._take() or Conversation(self._server)
        try:
            outcome = conversation.hand_over(outgoing, raw)
        except BaseException:
            conversation.close()
            raise
        self._put_back(conversation)
        return outcome

    def _take(self) -> Conversation | None:
        """A connection that is kept and well, the one that was used last first."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                found = self._idle.pop()
            if not _is_over(found) and found.is_alive():
                return found
            found.close()

    def _put_back(self, conversation: Conversation) -> None:
        if _is_over(conversation):
            return conversation.close(politely=True)
        with self._lock:
            self._idle.append(conversation)
            self._sweep_later()
        return None

    def _sweep_later(self) -> None:
        """See to it that what nobody uses is closed though nobody ever sends again."""
        if self._sweeper is None:
            self._sweeper = threading.Timer(IDLE, self._sweep)
            self._sweeper.daemon = True
            self._sweeper.start()

    def _sweep(self) -> None:
        with self._lock:
            self._sweeper = None
            over = [one for one in self._idle if _is_over(one)]
            self._idle = [one for one in self._idle if one not in over]
            if self._idle:
                self._sweep_later()
        for conversation in over:
            conversation.close(politely=True)


def _is_over(conversation: Conversation) -> bool:
    now = clock.monotonic()
    is_old = now - conversation.opened_at >= AGE or now - conversation.used_at >= IDLE
    return not conversation.is_usable or conversation.letters >= LETTERS or is_old
