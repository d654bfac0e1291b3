"""A TLS server whose files are renewed under it, and visitors who come all the time and count.

It stands for any web server: it reads `live/fullchain.pem` and `live/key.pem` again when it is told to.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ca.errors import NotDelivered
from pki.demo.listening import TIMEOUT, Listener, Reloading
from renewers.publishers import openat

PAUSE = 0.02
"""Seconds between two visits."""


@contextmanager
def home(wanted: Path) -> Iterator[Path]:
    """The directory that is wanted, made; another one until the end if nothing would be brought there.

    That is so wherever others could exchange it: in a checkout that a group may write, or that somebody else owns.
    """
    try:
        with openat.opened(str(wanted)):
            found = wanted
    except NotDelivered:
        with TemporaryDirectory(prefix="certwright-demo-") as other:
            yield Path(other).resolve()
        return
    yield found


class Website:
    """Listens on a loopback port until it is closed, from before there is a certificate."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = Reloading(directory, _load)
        self._listener = Listener("website", self._files.current)
        self.port = self._listener.port
        """Where it listens."""

    @property
    def reload(self) -> list[str]:
        """The command that has it read its files again."""
        return self._files.command

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


def _load(live: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(live / "fullchain.pem", live / "key.pem")
    return context


def visit(port: int, trusted: Path, name: str) -> bytes:
    """Visit a website once; returns the certificate that was shown, DER. `OSError` says why we were not served."""
    context = ssl.create_default_context(cafile=str(trusted))
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        if not tls.recv(64):
            raise ConnectionError("it hung up")
        return tls.getpeercert(binary_form=True) or b""


class Visitors:
    """Come again and again, one after another, as long as the block lasts; `visit` raises `OSError` if not served."""

    def __init__(self, visit: Callable[[], object]) -> None:
        self._visit = visit
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitors", daemon=True)
        self.served = 0
        self.turned_away: list[str] = []
        """Of each who was not served, why."""

    def __enter__(self) -> Visitors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(2 * TIMEOUT)

    def _run(self) -> None:
        while not self._over.wait(PAUSE):
            try:
                self._visit()
                self.served += 1
            except OSError as error:
                self.turned_away.append(str(error))
