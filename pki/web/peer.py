"""The HTTP protocol of each listener: uvicorn's, with what it does not tell and what it does not limit.

It puts into the ASGI scope what `pki/web/identity.py` needs to know of the other end: the client's certificate, or the
user behind a Unix socket. They come from the connection itself; no header can imitate them. And it ends connections
whose requests take too long to arrive, or whose headers are too large.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pki.web.identity import CERTIFICATE, LOCAL

REQUEST_SECONDS = 30.0
"""How long a request may take to arrive, and a new connection to begin one."""
HEADER_BYTES = 32 * 1024
FAREWELL_SECONDS = 0.5
"""How long a client may take to answer the end of a TLS connection when the server stops."""


class GuardedProtocol(HttpToolsProtocol):
    """Limits the time and the size of what has to arrive before there is anything to answer."""

    _clock: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A connection has to begin a request in time."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        self._stop_clock()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request has to arrive in time."""
        super().on_message_begin()
        self._header_bytes = 0
        self._start_clock()

    def on_url(self, url: bytes) -> None:
        """Count the request line with the headers."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what was kept of the headers so far."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        """It has arrived."""
        self._stop_clock()
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES:
            raise ValueError("the headers are too large")  # the parser makes a 400 of it and hangs up

    def _start_clock(self) -> None:
        self._stop_clock()
        self._clock = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.transport.abort)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


class TlsProtocol(GuardedProtocol):
    """Adds the client's certificate, DER, if TLS has verified one."""

    _certificate: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Look once a connection; a certificate cannot change on it (no TLS 1.2 renegotiation, no post-handshake)."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(True) if tls is not None else None

    def on_headers_complete(self) -> None:
        """Put it into the scope of the request that begins."""
        if self._certificate is not None:
            cast(dict[str, Any], self.scope)[CERTIFICATE] = self._certificate
        super().on_headers_complete()

    def shutdown(self) -> None:
        """The server stops: an idle client that does not answer the close of TLS is not waited for."""
        super().shutdown()
        if self.transport.is_closing():
            asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self.transport.abort)


class LocalProtocol(GuardedProtocol):
    """Adds the user id at the other end of a Unix socket, and hangs up on anybody but the owner and root."""

    _user = -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Ask the kernel who it is: the socket's mode keeps others out, this does not rely on it."""
        super().connection_made(transport)
        self._user = _peer_user(transport.get_extra_info("socket"))
        if self._user not in (0, os.geteuid()):
            transport.abort()

    def on_headers_complete(self) -> None:
        """Put it into the scope of the request that begins."""
        cast(dict[str, Any], self.scope)[LOCAL] = self._user
        super().on_headers_complete()


def _peer_user(connection: Any) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return int(user)
