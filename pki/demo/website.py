"""A TLS server whose files are renewed under it, and visitors who come all the time and count.

It stands for any web server: it reads `live/fullchain.pem` and `live/key.pem` again when it is told to. It is told by
a file that is touched, not by a signal: somebody who runs the installation of a demo that is over signals nobody.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ca.errors import Misconfigured, NotDelivered
from pki.demo.listening import TIMEOUT, Listener
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
        self._told = directory / "reload"
        self._told_at = 0
        self._context: ssl.SSLContext | None = None
        self._listener = Listener("website", self._current)
        self.port = self._listener.port
        """Where it listens."""

    @property
    def reload(self) -> list[str]:
        """The command that has it read its files again."""
        touch = shutil.which("touch")
        if touch is None:
            raise Misconfigured("there is no program called touch, with which the demo's website is told to reload")
        return [touch, str(self._told)]

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _current(self) -> ssl.SSLContext | None:
        """What it serves with: read again once it was told to. Files that do not fit change nothing."""
        told_at = self._told.stat().st_mtime_ns if self._told.exists() else 0
        if told_at != self._told_at:
            live = (self.directory / "live").resolve()  # both through one look at the link: they fit
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with suppress(OSError):
                context.load_cert_chain(live / "fullchain.pem", live / "key.pem")
                self._context, self._told_at = context, told_at
        return self._context


class Visitors:
    """Visit a website again and again, one after another, and trust no more than its users do."""

    def __init__(self, port: int, trusted: Path, name: str) -> None:
        self._port, self._name = port, name
        self._context = ssl.create_default_context(cafile=str(trusted))
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

    def visit(self) -> bytes:
        """Visit once; returns the certificate that was shown, DER. `OSError` says why we were not served."""
        with (
            socket.create_connection(("127.0.0.1", self._port), TIMEOUT) as connection,
            self._context.wrap_socket(connection, server_hostname=self._name) as tls,
        ):
            if not tls.recv(64):
                raise ConnectionError("it hung up")
            return tls.getpeercert(binary_form=True) or b""

    def _run(self) -> None:
        while not self._over.wait(PAUSE):
            try:
                self.visit()
                self.served += 1
            except OSError as error:
                self.turned_away.append(str(error))
