"""TLS that verifies, and sockets that give no more than is allowed: no byte a second, and no answer without end.

Client libraries bound the wait for one read, and neither the whole nor its length: a server that trickles holds a
worker for ever. Who speaks through these sockets is done in time. `egress.py` and `mailers/smtp.py` do.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from ca import clock
from ca.errors import Misconfigured

MAX_BODY = 1 << 20
MAX_HEAD = 1 << 17
"""Bytes of an answer that are read: its body, and all that is not its body."""


def trusting(ca_file: Path | None, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A context that verifies: against that file alone, or else against what the system trusts.

    With `identity`, the files of a certificate and its key, we say who we are.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise Misconfigured(f"there is no CA certificate in {ca_file}: {error}") from None
    if identity is not None:
        try:
            context.load_cert_chain(*identity)
        except OSError as error:
            raise Misconfigured(f"{identity[0]} and {identity[1]} are no certificate with its key: {error}") from None
    return context


class Allowance:
    """What one answer may still cost, in seconds and bytes."""

    def __init__(self) -> None:
        self.until = 0.0
        self.octets = 0

    def renew(self, until: float, octets: int = MAX_BODY) -> None:
        """From now on: until a moment of the monotonic clock, so many bytes and as many again as a head may have."""
        self.until, self.octets = until, octets + MAX_HEAD

    def seconds(self) -> float:
        """What is left of the time. `TimeoutError` if nothing is."""
        left = self.until - clock.monotonic()
        if left <= 0:
            raise TimeoutError("the time for this answer is over")
        return left

    def take(self, octets: int) -> None:
        """Count what has come. `OSError` if that is too much."""
        self.octets -= octets
        if self.octets < 0:
            raise OSError("the answer is too large")


def bounded_tls(allowance: Allowance) -> type[ssl.SSLSocket]:
    """A kind of TLS socket for a context's `sslsocket_class`."""

    class BoundedSocket(ssl.SSLSocket):
        """Each read waits for what is left of the time, and is counted; so does each write."""

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            """Receive within what is allowed, and within what the caller has set for this read."""
            set_before = self.gettimeout()
            self.settimeout(min(set_before or allowance.seconds(), allowance.seconds()))
            received = super().recv(buflen, flags)
            allowance.take(len(received))
            return received

        def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
            """Receive within what is allowed."""
            self.settimeout(allowance.seconds())
            received = super().recv_into(buffer, nbytes, flags)
            allowance.take(received)
            return received

        def send(self, data: Any, flags: int = 0) -> int:
            """Send as long as there is time."""
            self.settimeout(allowance.seconds())
            return super().send(data, flags)

    return BoundedSocket


def bounded_tcp(connected: socket.socket, allowance: Allowance) -> socket.socket:
    """The same for a connection before TLS, or without it; takes the one that it is given over."""

    class BoundedSocket(socket.socket):
        """Each read waits for what is left of the time, and is counted; so does all that is written."""

        def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
            """Receive within what is allowed."""
            self.settimeout(allowance.seconds())
            received = super().recv_into(buffer, nbytes, flags)
            allowance.take(received)
            return received

        def sendall(self, data: Any, flags: int = 0) -> None:
            """Send as long as there is time."""
            self.settimeout(allowance.seconds())
            super().sendall(data, flags)

    bounded = BoundedSocket(fileno=connected.detach())
    bounded.settimeout(allowance.seconds())
    return bounded
