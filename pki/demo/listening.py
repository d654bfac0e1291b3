"""A TLS server on a loopback port: one handshake after another, a greeting, and the connection is over.

What it shows and whom it lets in is said by whoever makes it. Read `gateway.py` and `website.py` next.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

TIMEOUT = 5.0


class Listener:
    """Listens until it is closed. `context` is asked before each handshake; while it has none, nobody gets one."""

    def __init__(self, name: str, context: Callable[[], ssl.SSLContext | None]) -> None:
        self.greeting = f"hello from the {name}\n".encode()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT)
            # A handshake that fails is the client's answer; the server goes on.
            with connection, contextlib.suppress(OSError):
                context = self._context()
                if context is not None:
                    with context.wrap_socket(connection, server_side=True) as tls:
                        tls.sendall(self.greeting)
