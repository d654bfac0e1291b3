"""A TLS server on a loopback port: one handshake after another, a greeting, and the connection is over.

What it shows and whom it lets in is said by whoever makes it. Read `gateway.py` and `website.py` next.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from ca.errors import Misconfigured

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


class Reloading:
    """What a server serves with, made anew from its directory once it was told to; what does not fit changes nothing.

    It is told by a file that is touched, not by a signal: who runs the installation of a demo that is over signals
    nobody.
    """

    def __init__(self, directory: Path, load: Callable[[Path], ssl.SSLContext]) -> None:
        self._directory, self._load = directory, load
        self._told = directory / "reload"
        self._told_at = 0
        self._context: ssl.SSLContext | None = None

    @property
    def command(self) -> list[str]:
        """The command that tells it."""
        touch = shutil.which("touch")
        if touch is None:
            raise Misconfigured("there is no program called touch, with which the demo's servers are told to reload")
        return [touch, str(self._told)]

    def current(self) -> ssl.SSLContext | None:
        """What it serves with now; None from before it was told for the first time."""
        told_at = self._told.stat().st_mtime_ns if self._told.exists() else 0
        if told_at != self._told_at:
            live = (self._directory / "live").resolve()  # all of it through one look at the link: it fits
            with contextlib.suppress(OSError):
                self._context, self._told_at = self._load(live), told_at
        return self._context

    def forget(self) -> None:
        """Load anew at the next handshake, told or not."""
        self._told_at = 0
