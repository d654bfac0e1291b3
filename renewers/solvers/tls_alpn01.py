"""tls-alpn-01: a self-signed certificate that holds the digest, shown for one name and one protocol (RFC 8737).

Whoever asks for another name, or offers other protocols than `acme-tls/1`, gets an alert. Whoever offers none is shown
the certificate and nothing else; no data is ever exchanged after the handshake. The certificate's key is made for one
challenge and never leaves memory; nobody trusts the certificate.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.x509.names import Kind, Name
from renewers.solvers import Challenge
from renewers.solvers.listener import SECONDS, Listener
from renewers.solvers.tokens import digest

PROTOCOL = b"acme-tls/1"
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
LIFETIME = timedelta(days=1)
HINT = "let the program that listens there pass TLS with the protocol acme-tls/1 on to another port"


@dataclass(slots=True)
class _Shown:
    """What is shown for a name, and how many orders need just that."""

    digest: bytes
    context: SSL.Context
    holders: int = 1


class TlsAlpn01Listener:
    """Answers on `port` of `host` while there is something to answer; an empty host is every address."""

    kind = "tls-alpn-01"

    def __init__(self, host: str = "", port: int = 443) -> None:
        self._shown: dict[bytes, _Shown] = {}
        self._change = threading.Condition()
        self._refusing = _context(self._switch)
        self._listener = Listener(host, port, self._serve, hint=HINT)

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """Hosts and addresses, no wildcards (RFC 8737 section 3, RFC 8738 section 6)."""
        return name.kind in (Kind.DNS, Kind.IP) and not is_wildcard and not name.is_wildcard

    @contextmanager
    def answer(self, challenge: Challenge, *, deadline: float) -> Iterator[None]:
        """Show the certificate. Of two orders for one name with different keys or tokens, the second one waits."""
        server_name = _server_name(challenge.name)
        self._show(server_name, challenge, deadline)
        try:
            with self._listener.opened():
                yield
        finally:
            self._hide(server_name)

    def _show(self, server_name: bytes, challenge: Challenge, deadline: float) -> None:
        content = digest(challenge)
        with self._change:
            while (shown := self._shown.get(server_name)) is not None and shown.digest != content:
                if not self._change.wait(deadline - clock.monotonic()):
                    raise NotDelivered(f"another challenge for {challenge.name} is being answered", code="busy")
            if shown is not None:
                shown.holders += 1
                return
            context = _context(self._switch)
            key = ec.generate_private_key(ec.SECP256R1())
            context.use_certificate(_certificate(challenge.name, content, key))
            context.use_privatekey(key)
            self._shown[server_name] = _Shown(content, context)

    def _hide(self, server_name: bytes) -> None:
        with self._change:
            shown = self._shown[server_name]
            shown.holders -= 1
            if shown.holders == 0:
                del self._shown[server_name]
                self._change.notify_all()

    def _switch(self, connection: SSL.Connection) -> None:
        """Choose by server name. The context of an unknown name has no certificate, and the handshake ends."""
        asked = connection.get_servername()
        shown = self._shown.get(asked.lower()) if asked is not None else None
        if shown is not None:
            connection.set_context(shown.context)

    def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        tls = SSL.Connection(self._refusing, connection)
        tls.set_accept_state()
        with suppress(SSL.Error, BadRequest):
            _shake_hands(tls, connection, time.monotonic() + SECONDS)
            tls.shutdown()


def _shake_hands(tls: SSL.Connection, connection: socket.socket, deadline: float) -> None:
    while True:
        try:
            return tls.do_handshake()
        except SSL.WantReadError:
            event = select.POLLIN
        except SSL.WantWriteError:
            event = select.POLLOUT
        waiting = select.poll()
        waiting.register(connection, event)
        if not waiting.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise BadRequest("the handshake takes too long")


def _context(switch: Callable[[SSL.Connection], None]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_tlsext_servername_callback(switch)
    context.set_alpn_select_callback(_choose)
    return context


def _choose(_: SSL.Connection, offered: list[bytes]) -> bytes:
    """RFC 8737 section 3: this protocol alone; an exception is a fatal alert."""
    if offered != [PROTOCOL]:
        raise BadRequest("another protocol is asked for")
    return PROTOCOL


def _server_name(name: Name) -> bytes:
    """What the CA sends as SNI: an address by its name in the reverse zone (RFC 8738 section 6)."""
    text = ip_address(name.value).reverse_pointer if name.kind is Kind.IP else name.value
    return text.encode("ascii")


def _certificate(name: Name, content: bytes, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """RFC 8737 section 3: one name, and the digest as a critical extension."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    own = x509.IPAddress(ip_address(name.value)) if name.kind is Kind.IP else x509.DNSName(name.value)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - LIFETIME)
        .not_valid_after(clock.now() + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([own]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + content), critical=True)
        .sign(key, hashes.SHA256())
    )
