"""A port that is bound while a challenge is answered, and free at all other times.

The port is open to everybody, mostly to people who are not the CA: connections are few, short, and cut off by the
clock; when all places are taken, the oldest one makes room, since a CA is done in milliseconds. Nothing that arrives is
logged. What is said on a connection is said by `http01` and `tls_alpn01`.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ca.errors import NotDelivered
from renewers.solvers.shared import Shared

SECONDS = 5.0
"""The life of a connection, from its acceptance to its end."""
MOST = 64
"""Connections at a time."""
BACKLOG = 128
TICK = 0.5
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class Listener:
    """One port, shared by all who need it. `serve` has a connection to itself, in a thread of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        serve: Callable[[socket.socket], None],
        *,
        hint: str,
        seconds: float = SECONDS,
        most: int = MOST,
    ) -> None:
        """An empty `host` is every address of this machine, IPv6 and IPv4. `hint`: what to do if it is taken."""
        self._host, self._port, self._serve, self._hint = host, port, serve, hint
        self._seconds, self._most = seconds, most
        self._shared = Shared()
        self._run: _Run | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within it, the port is bound and answered. `NotDelivered` if it cannot be bound."""
        with self._shared.held("port", self._open, self._close):
            yield

    def _open(self) -> None:
        sockets: list[socket.socket] = []
        try:
            for family, address in self._places():
                self._bind(sockets, family, address)
        except OSError as error:
            for bound in sockets:
                bound.close()
            raise self._not_bound(error) from None
        self._run = _Run(sockets, self._serve, self._seconds, self._most)

    def _places(self) -> list[tuple[int, str]]:
        if not self._host:
            return [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]  # noqa: S104 - the CA comes from anywhere
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return sorted({(int(family), str(address[0])) for family, _, _, _, address in found})

    def _bind(self, sockets: list[socket.socket], family: int, address: str) -> None:
        try:
            listening = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            if not self._host and error.errno in _NO_SUCH_FAMILY:
                return
            raise
        sockets.append(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listening.bind((address, self._port))
        except OSError as error:
            if self._host or family != socket.AF_INET6 or error.errno not in _NO_SUCH_FAMILY:
                raise
            sockets.remove(listening)
            listening.close()
            return
        listening.listen(BACKLOG)
        listening.setblocking(False)

    def _not_bound(self, error: OSError) -> NotDelivered:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else "the name of this host is unknown"
        hint = self._hint
        if error.errno in (errno.EACCES, errno.EPERM):
            hint = "ports below 1024 need CAP_NET_BIND_SERVICE, or another port to which that one is forwarded"
        where = f"{self._host or 'any address'}, port {self._port}"
        return NotDelivered(f"{where} cannot be listened on: {why.lower()}", code="port-not-bound", hint=hint)

    def _close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.stop()


class _Run:
    """The threads of a port while it is bound: one that accepts, and one for each connection."""

    def __init__(
        self, sockets: list[socket.socket], serve: Callable[[socket.socket], None], seconds: float, most: int
    ) -> None:
        self._sockets, self._serve, self._seconds = sockets, serve, seconds
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._active: dict[socket.socket, tuple[float, threading.Thread]] = {}
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="challenge-port", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The port is free, and every thread has ended, when this returns."""
        self._wake.send(b"x")
        self._thread.join()
        for listening in (*self._sockets, self._wake, self._woken):
            listening.close()
        with self._lock:
            threads = [thread for _, thread in self._active.values()]
        self._cut_off(lambda _: True)
        for thread in threads:
            thread.join()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listening in (*self._sockets, self._woken):
                selector.register(listening, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(TICK):
                    if key.fileobj is self._woken:
                        return
                    try:
                        connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    except OSError:  # a client that is gone already, or no descriptors left
                        time.sleep(0.01)
                    else:
                        self._take(connection)
                self._cut_off(lambda started: started + self._seconds < time.monotonic())

    def _take(self, connection: socket.socket) -> None:
        if not self._places.acquire(blocking=False):
            self._cut_off_oldest()
            if not self._places.acquire(timeout=TICK):
                connection.close()
                return
        connection.settimeout(self._seconds)
        thread = threading.Thread(target=self._talk, args=(connection,), name="challenge-connection", daemon=True)
        with self._lock:
            self._active[connection] = (time.monotonic(), thread)
        thread.start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError):  # strangers go away as they like
                self._serve(connection)
        finally:
            with self._lock:
                del self._active[connection]
            connection.close()
            self._places.release()

    def _cut_off_oldest(self) -> None:
        with self._lock:
            oldest = min((started for started, _ in self._active.values()), default=0.0)
        self._cut_off(lambda started: started <= oldest)

    def _cut_off(self, is_over: Callable[[float], bool]) -> None:
        """Shut connections down; their threads notice and close them."""
        with self._lock:
            for connection, (started, _) in self._active.items():
                if is_over(started):
                    with suppress(OSError):  # the other side was first
                        connection.shutdown(socket.SHUT_RDWR)
