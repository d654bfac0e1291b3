"""A mutual TLS handshake with a certificate of ours, to see whether it is let in, and whom the other side trusts.

This is how a server proves what it holds: it lets in a leaf of the new CA, it refuses one that was revoked, and where
it names its trust anchors (RFC 8446 section 4.2.4) these are seen, too. In TLS 1.3 a refusal comes after our side is
done (section 4.4.2.4), so that something has to be said and an answer waited for: a request over `https`, a CONNECT
over `mqtts`, silence over `tls`. `handshake.py` is the look that shows nothing.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from OpenSSL import SSL

from ca.errors import BadRequest, NotDelivered
from ca.keys.algorithms import PrivateKey
from renewers.addresses import as_address, resolve, spoken
from renewers.handshake import not_connected, timed_out

HTTPS, TLS, MQTTS = "https", "tls", "mqtts"
PROTOCOLS = (HTTPS, TLS, MQTTS)
SILENCE = 0.7
"""Seconds without an alert after which a server that is told nothing is taken to have let us in."""
MOST_BYTES = 256 * 1024
CHUNK = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_REFUSING = (b"400", b"495", b"496")
"""What nginx answers to a certificate that it does not take: it completes the handshake first."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What we show: a leaf, what is between it and its root, and its key."""

    certificate: x509.Certificate
    chain: Sequence[x509.Certificate]
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class Met:
    """What came of it. `reason` is why we were refused; `anchors` are the subjects that the server names, DER."""

    is_let_in: bool
    reason: str
    anchors: tuple[bytes, ...]


def meet(
    protocol: str,
    host: str,
    port: int,
    identity: Identity,
    *,
    server_name: str = "",
    path: str = "/",
    timeout: float = 5.0,
) -> Met:
    """Connect and show the identity; all of it within `timeout` seconds.

    `NotDelivered` if nothing was learnt: nobody there, no TLS, or the connection broke for no reason that was said.
    """
    if protocol not in PROTOCOLS:
        raise BadRequest(f"{protocol!r} cannot be probed", hint=f"one of {', '.join(PROTOCOLS)}")
    deadline, place = time.monotonic() + timeout, spoken(host, port)
    connection = _connect(resolve(host, port, timeout), port, place, deadline)
    with connection:
        meeting = _Meeting(connection, identity, server_name or host, place, deadline)
        refusal = meeting.shake()
        if refusal is None:
            refusal = _SAY[protocol](meeting, server_name or host, path)
        return Met(refusal is None, refusal or "", meeting.anchors())


class _Meeting:
    """One connection: TLS in memory, bytes over a socket, a deadline over both."""

    def __init__(
        self, connection: socket.socket, identity: Identity, server_name: str, place: str, deadline: float
    ) -> None:
        self._socket = connection
        self._place = place
        self._deadline = deadline
        self._heard = 0
        self._tls = _client(identity, server_name)

    def shake(self) -> str | None:
        """Finish our side of the handshake; why we were refused, if we were."""
        while True:
            try:
                self._tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                if not self._hear(self._deadline):
                    raise timed_out(self._place) from None
            except SSL.Error as error:
                self._flush()
                return self._refusal(error)
            else:
                self._flush()
                return None

    def ask(self, said: bytes, until: float) -> bytes | str:
        """Say something and hear what comes first: bytes, or why we were refused; nothing at all is empty bytes."""
        try:
            if said:
                self._tls.sendall(said)
                self._flush()
            while True:
                try:
                    return bytes(self._tls.recv(CHUNK))
                except SSL.WantReadError:
                    if not self._hear(min(until, self._deadline)):
                        return b""
        except SSL.ZeroReturnError:
            return "it closed the connection"
        except SSL.Error as error:
            return self._refusal(error)

    def anchors(self) -> tuple[bytes, ...]:
        """The subjects of the CAs that the server named, DER."""
        return tuple(name.der() for name in self._tls.get_client_ca_list())

    @property
    def deadline(self) -> float:
        """Until when all of it has to be over."""
        return self._deadline

    def _flush(self) -> None:
        try:
            while True:
                self._socket.settimeout(max(self._deadline - time.monotonic(), 0.01))
                self._socket.sendall(self._tls.bio_read(CHUNK))
        except SSL.WantReadError:
            return
        except OSError:  # it hung up: what it said before is still to be heard
            return

    def _hear(self, until: float) -> bool:
        """Take in what came; False if nothing did in time."""
        left = until - time.monotonic()
        if left <= 0:
            return False
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(CHUNK)
        except TimeoutError:
            return False
        except OSError as error:
            raise NotDelivered(
                f"{self._place} broke the connection: {error.strerror or error}", code="hung-up"
            ) from None
        self._heard += len(data)
        if not data or self._heard > MOST_BYTES:
            raise NotDelivered(f"{self._place} hung up", code="hung-up")
        self._tls.bio_write(data)
        return True

    def _refusal(self, error: SSL.Error) -> str:
        """The alert that says that it is our certificate; anything else tells nothing about it."""
        stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
        why = str(stack[-1][-1]) if stack else ""
        if any(word in why for word in _ALERTS):
            return why
        raise NotDelivered(f"the handshake with {self._place} failed: {why or 'it broke off'}", code="handshake-failed")


_ALERTS = (
    "alert bad certificate",
    "alert unsupported certificate",
    "alert certificate revoked",
    "alert certificate expired",
    "alert certificate unknown",
    "alert unknown ca",
    "alert access denied",
    "alert certificate required",
    "alert decrypt error",
)
"""RFC 8446 section 6.2: what a server says of a client's certificate."""


def _https(meeting: _Meeting, server_name: str, path: str) -> str | None:
    asked = f"GET {path} HTTP/1.1\r\nHost: {server_name}\r\nUser-Agent: certwright-probe\r\nConnection: close\r\n\r\n"
    answer = meeting.ask(asked.encode(), meeting.deadline)
    if isinstance(answer, str):
        return answer
    status = _STATUS.match(answer)
    if status is None:
        raise NotDelivered("the server does not answer in HTTP", code="no-http")
    return f"HTTP status {status[1].decode()}" if status[1] in _REFUSING else None


def _tls(meeting: _Meeting, _server_name: str, _path: str) -> str | None:
    answer = meeting.ask(b"", time.monotonic() + SILENCE)
    return answer if isinstance(answer, str) else None


def _mqtts(meeting: _Meeting, _server_name: str, _path: str) -> str | None:
    """CONNECT of MQTT 3.1.1 with a clean session; any CONNACK means that TLS was content with us."""
    client = b"certwright-probe"
    variable = struct.pack("!H4sBBH", 4, b"MQTT", 4, 2, 10)
    content = variable + struct.pack("!H", len(client)) + client
    answer = meeting.ask(bytes((0x10, len(content))) + content, meeting.deadline)
    if isinstance(answer, str):
        return answer
    if answer[:1] != b"\x20":
        raise NotDelivered("the broker does not answer in MQTT", code="no-mqtt")
    return None


_SAY = {HTTPS: _https, TLS: _tls, MQTTS: _mqtts}


def _client(identity: Identity, server_name: str) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(identity.certificate)
    for one in identity.chain:
        context.add_extra_chain_cert(one)
    context.use_privatekey(identity.key)  # type: ignore[arg-type]  # every kind that leaves have
    tls = SSL.Connection(context, None)
    tls.set_connect_state()
    if as_address(server_name) is None and server_name.isascii():
        tls.set_tlsext_host_name(server_name.rstrip(".").encode())
    return tls


def _connect(addresses: list[str], port: int, place: str, deadline: float) -> socket.socket:
    failure = timed_out(place)
    for address in addresses:
        try:
            return socket.create_connection((address, port), max(deadline - time.monotonic(), 0.01))
        except OSError as error:
            failure = not_connected(place, error)
    raise failure
