"""One connection to a mail server: encrypted and signed in before anything is said, then letter after letter.

Every wait has an end, and so has the whole of a letter: the sockets give no more than is allowed (`bounded.py`). A
server that does not encrypt though it shall is told nothing. Read `replies.py` for what an answer means.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ca import clock
from ca.errors import MailRefused, NotDelivered
from renewers.bounded import Allowance, bounded_tcp
from renewers.mailers import UNCERTAIN, Outgoing, envelope, replies
from renewers.mailers.replies import Reply
from renewers.mailers.server import Server, base64_of, our_name
from renewers.plain import one_line

ANSWERS = 1 << 16
"""Bytes that a server may say about one letter, besides what `bounded.py` adds."""
Outcome = str | MailRefused | NotDelivered
"""What the server said when it took a letter, or why it did not."""
T = TypeVar("T")


class _Client(smtplib.SMTP):
    """The library's client, over sockets that are bounded."""

    def __init__(self, server: Server, allowance: Allowance) -> None:
        self._server, self._allowance = server, allowance
        super().__init__(server.host, server.port, local_hostname="localhost", timeout=server.patience.opening)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # as the library's own SMTP_SSL
        # A third for each of its addresses: one that swallows everything leaves time for the next.
        plain = bounded_tcp(socket.create_connection((host, port), timeout / 3), self._allowance)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._server.security == "tls":
            return self._server.context(self._allowance).wrap_socket(plain, server_hostname=host)
        return plain


class Conversation:
    """An open connection. `NotDelivered` if none comes about."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._allowance = Allowance()
        self._allow(server.patience.opening)
        self.opened_at = self.used_at = clock.monotonic()
        self.letters = 0
        self.is_usable = True
        self._client = self._guarded(partial(_Client, server, self._allowance), "cannot be reached")
        try:
            self._introduce()
        except BaseException:
            self._client.close()
            raise

    def hand_over(self, outgoing: Outgoing, raw: bytes) -> Outcome:
        """Hand over one letter. An answer that is no success is returned; `NotDelivered` is for there being none."""
        self._allow(self._server.patience.handing_over)
        self.letters += 1
        outcome = self._asked(outgoing, len(raw)) or self._given(outgoing, raw)
        self.used_at = clock.monotonic()
        return outcome

    def is_alive(self) -> bool:
        """Whether it may be used again: nothing is left of the letter before, and the server still answers."""
        self._allow(self._server.patience.word)
        try:
            return self._say("RSET").code == 250
        except NotDelivered:
            return False

    def close(self, *, politely: bool = False) -> None:
        """Let go of it; with a word if nothing went wrong."""
        if politely:
            self._allow(self._server.patience.word)
            with suppress(NotDelivered):
                self._say("QUIT")
        self._client.close()

    def _introduce(self) -> None:
        """EHLO, TLS, EHLO again, and who we are: in this order, and nothing of it may be missing."""
        server, client = self._server, self._client
        assert client.sock is not None
        client.local_hostname = our_name(client.sock)
        self._greet()
        if server.security == "starttls":
            if not client.has_extn("starttls"):
                raise NotDelivered(f"{server} does not offer STARTTLS, and is told nothing without it", code="no-tls")
            # What the server said before TLS is forgotten by the library, features and unread bytes alike.
            context = server.context(self._allowance)
            self._guarded(lambda: client.starttls(context=context), "does not go over to TLS")
            self._greet()
        if server.username:
            self._sign_in()

    def _greet(self) -> None:
        reply = self._reply(self._client.ehlo, "breaks off at EHLO")
        if reply.code != 250:
            raise replies.on_us(str(self._server), "our greeting", reply)

    def _sign_in(self) -> None:
        """RFC 4954, with mechanisms that are as good as the TLS around them. Nothing of an answer is repeated."""
        server = self._server
        if not isinstance(self._client.sock, ssl.SSLSocket) or server.password is None:
            raise NotDelivered(f"{server} is told no password without TLS", code="no-tls")
        offered = self._client.esmtp_features.get("auth", "").upper().split()
        if "PLAIN" in offered:
            reply = self._say("AUTH", f"PLAIN {server.credentials}")
        elif "LOGIN" in offered:
            reply = self._say("AUTH", "LOGIN")
            for word in (server.username, server.password.reveal()):
                reply = self._say("AUTH", raw=base64_of(word)) if reply.code == 334 else reply
        else:
            raise NotDelivered(f"{server} takes no password: it offers neither PLAIN nor LOGIN", code="mail-auth")
        if reply.code != 235:
            said = f"{server} does not take our user name and password ({reply.code})"
            raise NotDelivered(said, code="mail-auth", hint="mail.username, and the file that mail.password_file names")

    def _asked(self, outgoing: Outgoing, size: int) -> Outcome | None:
        """MAIL, RCPT (once) and DATA; None if the message may come."""
        server, has = str(self._server), self._client.has_extn
        mail = [f"FROM:<{outgoing.sender}>", *([f"SIZE={size}"] if has("size") else [])]
        to = [f"TO:<{outgoing.recipient}>"]
        if has("dsn"):
            mail, to = [*mail, *envelope.on_return(outgoing)], [*to, *envelope.on_failure(outgoing)]
        reply = self._say("MAIL", " ".join(mail))
        if reply.code != 250:
            return replies.on_us(server, f"mail from {outgoing.sender}", reply)
        reply = self._say("RCPT", " ".join(to))
        if reply.code not in (250, 251, 252):
            return replies.on_recipient(server, outgoing.recipient, reply)
        reply = self._say("DATA")
        return None if reply.code == 354 else replies.on_us(server, "a message", reply)

    def _given(self, outgoing: Outgoing, raw: bytes) -> Outcome:
        """The message. Once its last dot is out nobody knows what became of it until the server says so."""
        stuffed = re.sub(rb"(?m)^\.", b"..", raw) + (b".\r\n" if raw.endswith(b"\r\n") else b"\r\n.\r\n")
        self._guarded(partial(self._client.send, stuffed), "broke off before it had the message")
        self._allow(self._server.patience.answering)
        try:
            reply = self._reply(self._client.getreply, "has the message, perhaps, and does not say so")
        except NotDelivered as error:
            raise NotDelivered(error.message, code=UNCERTAIN) from None
        if 200 <= reply.code < 300:
            return str(reply)
        return replies.on_message(str(self._server), outgoing.recipient, reply)

    def _say(self, verb: str, rest: str = "", *, raw: str = "") -> Reply:
        """Say a command, or what an earlier one of that name asked for."""
        return self._reply(lambda: self._client.docmd(raw or verb, rest), f"breaks off at {verb}")

    def _reply(self, ask: Callable[[], tuple[int, bytes]], failing: str) -> Reply:
        reply = replies.read(*self._guarded(ask, failing), self._server.secrets)
        if not 200 <= reply.code < 600:
            raise NotDelivered(f"{self._server} {failing}: it does not speak SMTP")
        if reply.code == 421:  # RFC 5321 section 3.8: it closes the connection
            self.is_usable = False
        return reply

    def _allow(self, seconds: float) -> None:
        self._allowance.renew(clock.monotonic() + seconds, ANSWERS)

    def _guarded(self, step: Callable[[], T], failing: str) -> T:
        """One step, whose failures are all `NotDelivered` with a plain reason."""
        try:
            return step()
        except ssl.SSLCertVerificationError as error:
            why = f"its certificate is not trusted here: {one_line(error.verify_message, 120)}"
            raise NotDelivered(f"{self._server} {failing}: {why}", code="no-tls", hint="mail.ca_file") from None
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
            reply = replies.read(error.smtp_code, said, self._server.secrets)
            raise NotDelivered(f"{self._server} {failing}: {reply}") from None
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise NotDelivered(f"{self._server} {failing}: {self._reason(error)}") from None

    def _reason(self, error: Exception) -> str:
        if self._allowance.octets < 0:
            return "its answer has no end"
        if self._allowance.until <= clock.monotonic() or isinstance(error, TimeoutError):
            return "it does not answer in time"
        if isinstance(error, smtplib.SMTPServerDisconnected):
            return "the connection was closed"
        return "TLS failed" if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or "nonsense"
