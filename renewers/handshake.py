"""A TLS handshake that looks and never judges: which certificates are shown here, whoever signed them.

It verifies nothing and tells nobody a secret: what is seen is recorded, and no data is ever sent. Old protocol versions
and ciphers are accepted, so as to see what is there. Everything has an end: one deadline over all of it, a cap on bytes
and on certificates. `Conversation` has no socket: `look` gives it one, `discovery/scan.py` gives sockets to hundreds.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from functools import cache

from OpenSSL import SSL, crypto

from ca.errors import BadRequest, NotDelivered
from renewers.addresses import as_address, resolve, spoken
from renewers.starttls import OPENINGS

LONGEST_CHAIN = 10
"""Certificates beyond this many are not looked at (CVE-2026-69249: path building over a long chain)."""
MOST_BYTES = 256 * 1024
"""Nobody needs more for a handshake; OpenSSL itself takes 100 KiB of certificates."""
CHUNK = 16 * 1024
FAREWELL = 0.3
"""Seconds given to the other side to close after us, so that our close is not a reset."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a place showed: the chain as it was sent, leaf first, in DER."""

    chain: tuple[bytes, ...]
    version: str
    """The protocol version that was agreed on: `TLSv1.3`."""
    address: str
    """The address that was asked, of those that the host has."""


def look(
    host: str, port: int, *, protocol: str = "tls", server_name: str | None = None, timeout: float = 5.0
) -> Presented:
    """Connect, shake hands, say goodbye; all of it within `timeout` seconds.

    `NotDelivered` says plainly what went wrong, with the code `refused`, `unreachable`, `timed-out`, `unresolvable`,
    `no-tls`, `handshake-failed` or `hung-up`.
    """
    deadline = time.monotonic() + timeout
    place = spoken(host, port)
    connection, address = _connect(resolve(host, port, timeout), port, place, deadline)
    with connection:
        conversation = Conversation(place, protocol, server_name or host, our_name(connection))
        try:
            _converse(connection, conversation, deadline)
        except TimeoutError:
            conversation.give_up()
        except OSError:
            conversation.hear(b"")
    return conversation.outcome(address)


class Conversation:
    """One handshake without a socket: it is told what was heard, and says what to send, until it `is_over`."""

    def __init__(self, place: str, protocol: str, server_name: str, us: str) -> None:
        if protocol not in OPENINGS:
            raise BadRequest(f"{protocol!r} is not a protocol that leads to TLS", hint=f"one of {', '.join(OPENINGS)}")
        self._place = place
        self._opening = OPENINGS[protocol](us)
        self._tls: SSL.Connection | None = None
        self._server_name = server_name
        self._state = b""
        self._heard = 0
        self._outgoing = bytearray()
        self._failure: NotDelivered | None = None
        self._chain: tuple[bytes, ...] = ()
        self._version = ""
        self.is_over = False
        self._proceed(None)

    def hear(self, data: bytes) -> None:
        """Take in what the other side said; nothing at all means that it hung up."""
        if self.is_over:
            return
        self._heard += len(data)
        if not data:
            self._end(NotDelivered(f"{self._place} hung up during the handshake", code="hung-up"))
        elif self._heard > MOST_BYTES:
            self._end(NotDelivered(f"{self._place} sends too much for a handshake", code="handshake-failed"))
        elif self._tls is None:
            self._proceed(data)
        else:
            self._tls.bio_write(data)
            self._shake(self._tls)

    def give_up(self) -> None:
        """The time is up."""
        if not self.is_over:
            self._end(timed_out(self._place))

    def say(self) -> bytes:
        """What is to be sent now; it is handed out once."""
        said, self._outgoing = bytes(self._outgoing), bytearray()
        return said

    def outcome(self, address: str) -> Presented:
        """What was shown, once it is over; or the reason why nothing was, raised."""
        if self._failure is not None:
            raise self._failure
        return Presented(self._chain, self._version, address)

    def _proceed(self, data: bytes | None) -> None:
        """The words before TLS; and when they are said, the ClientHello."""
        try:
            self._outgoing += next(self._opening) if data is None else self._opening.send(data)
        except StopIteration:
            self._tls = _client(self._server_name)
            self._shake(self._tls)
        except NotDelivered as error:
            self._end(NotDelivered(f"{self._place} {error.message}", code=error.code))

    def _shake(self, tls: SSL.Connection) -> None:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            self._state = tls.get_state_string()
        except SSL.Error as error:
            self._end(_explain(self._place, error))
        else:
            self._keep(tls)
            self.is_over = True
            tls.shutdown()
        self._collect(tls)

    def _end(self, failure: NotDelivered) -> None:
        """It ended early. What was shown counts if its key was proved and only our certificate was still missing."""
        self.is_over = True
        tls = self._tls
        if tls is not None and self._state == b"SSLv3/TLS write finished" and "DHE" in (tls.get_cipher_name() or ""):
            self._keep(tls)
        if not self._chain:
            self._failure = failure

    def _keep(self, tls: SSL.Connection) -> None:
        shown = tls.get_peer_cert_chain() or []
        self._chain = tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in shown[:LONGEST_CHAIN])
        self._version = tls.get_protocol_version_name()
        if not self._chain:
            self._failure = NotDelivered(f"{self._place} shows no certificate", code="handshake-failed")

    def _collect(self, tls: SSL.Connection) -> None:
        try:
            while True:
                self._outgoing += tls.bio_read(CHUNK)
        except SSL.WantReadError:
            return


def our_name(connection: socket.socket) -> str:
    """What we call ourselves where a name is asked for: our address, as RFC 5321 section 4.1.3 writes it."""
    address = str(connection.getsockname()[0])
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def timed_out(place: str) -> NotDelivered:
    """The error for who does not answer in time."""
    return NotDelivered(f"{place} did not answer in time", code="timed-out")


def not_connected(place: str, error: OSError) -> NotDelivered:
    """The error for what a connection attempt came to."""
    if isinstance(error, TimeoutError):
        return timed_out(place)
    if isinstance(error, ConnectionRefusedError):
        return NotDelivered(f"{place} refuses the connection", code="refused")
    return NotDelivered(f"{place} cannot be reached: {error.strerror or error}", code="unreachable")


def _connect(addresses: list[str], port: int, place: str, deadline: float) -> tuple[socket.socket, str]:
    failure = timed_out(place)
    for address in addresses:
        try:
            return socket.create_connection((address, port), _left(deadline)), address
        except OSError as error:
            failure = not_connected(place, error)
    raise failure


def _converse(connection: socket.socket, conversation: Conversation, deadline: float) -> None:
    while True:
        connection.settimeout(_left(deadline))
        connection.sendall(conversation.say())
        if conversation.is_over:
            break
        conversation.hear(connection.recv(CHUNK))
    part(connection, min(deadline, time.monotonic() + FAREWELL))


def part(connection: socket.socket, deadline: float) -> None:
    """Say that we are done and wait until the other side is, too; what it still says is not for us."""
    try:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_left(deadline))
        while connection.recv(CHUNK):
            connection.settimeout(_left(deadline))
    except OSError:
        return


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@cache
def _context() -> SSL.Context:
    """Everything that OpenSSL can still speak, but for ciphers without a certificate. Nothing is verified."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(0)
    context.set_cipher_list(b"ALL:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0")
    context.set_options(SSL.OP_LEGACY_SERVER_CONNECT)
    return context


def _client(server_name: str) -> SSL.Connection:
    """Names, not addresses, are indicated (RFC 6066 section 3)."""
    tls = SSL.Connection(_context(), None)
    tls.set_connect_state()
    if as_address(server_name) is None and server_name.isascii():
        tls.set_tlsext_host_name(server_name.rstrip(".").encode())
    return tls


_NOT_TLS = ("wrong version number", "packet length too long", "http request", "unknown protocol")


def _explain(place: str, error: SSL.Error) -> NotDelivered:
    """OpenSSL's own words for what was wrong: they quote nothing that the other side said."""
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    why = str(stack[-1][-1]) if stack else "the handshake broke off"
    if why in _NOT_TLS:
        return NotDelivered(f"{place} does not speak TLS", code="no-tls")
    return NotDelivered(f"the handshake with {place} failed: {why}", code="handshake-failed")
