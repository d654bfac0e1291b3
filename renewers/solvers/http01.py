"""http-01 with a listener of our own: the CA fetches a file by plain HTTP (RFC 8555 section 8.3).

It answers GET of a token that is being asked for, and 404 to everything else; it reads no body, follows nothing, and
logs no request. Where a web server has port 80 already, see `webroot.py`.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ca.x509.names import Kind, Name
from renewers.solvers import Challenge
from renewers.solvers.listener import SECONDS, Listener
from renewers.solvers.shared import Shared
from renewers.solvers.tokens import checked

REQUEST = re.compile(rb"GET /\.well-known/acme-challenge/([A-Za-z0-9_-]{22,128}) HTTP/1\.[01]\r\n")
LONGEST_REQUEST = 8 * 1024
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FOUND = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nX-Content-Type-Options: nosniff\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
)
HINT = "let the program that listens there pass /.well-known/acme-challenge/ on to another port, or use its webroot"


class Http01Listener:
    """Answers on `port` of `host` while there is something to answer; an empty host is every address."""

    kind = "http-01"

    def __init__(self, host: str = "", port: int = 80) -> None:
        self._answers: dict[str, str] = {}
        self._shared = Shared()
        self._listener = Listener(host, port, self._serve, hint=HINT)

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """Hosts and addresses, no wildcards (RFC 8555 section 8.3, RFC 8738 section 4)."""
        return name.kind in (Kind.DNS, Kind.IP) and not is_wildcard and not name.is_wildcard

    @contextmanager
    def answer(self, challenge: Challenge, *, deadline: float) -> Iterator[None]:
        """Serve the key authorization under its token."""
        token, content = checked(challenge).token, challenge.authorization

        def show() -> None:
            self._answers[token] = content

        with self._shared.held((token, content), show, lambda: self._hide(token)), self._listener.opened():
            yield

    def _hide(self, token: str) -> None:
        self._answers.pop(token, None)

    def _serve(self, connection: socket.socket) -> None:
        request = _read(connection, time.monotonic() + SECONDS)
        found = REQUEST.match(request) if request is not None else None
        content = self._answers.get(found[1].decode()) if found is not None else None
        connection.sendall(NOT_FOUND if content is None else FOUND % (len(content), content.encode()))
        connection.shutdown(socket.SHUT_WR)


def _read(connection: socket.socket, deadline: float) -> bytes | None:
    """The head of a request; None if it has no end within our limits."""
    head = b""
    while b"\r\n\r\n" not in head:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(LONGEST_REQUEST)
        head += chunk
        if not chunk or len(head) > LONGEST_REQUEST:
            return None
    return head
