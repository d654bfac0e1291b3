"""A connection to a server that can be cut at any point: what a publisher's death looks like from where it brings to.

A publisher over a network keeps nothing on this machine. Whether it was killed or its connection was, the place has got
the same bytes; and no client has to be taught to die, whatever it is written in.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from ca.errors import NotDelivered
from renewers.publishers import Publisher

CHUNK = 1 << 14


class Relay:
    """Listens on loopback (`port`) and passes on to another port there."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._left: int | None = None
        self._was_cut = False
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._close_all()

    def cut(self, step: int, work: Callable[[], None]) -> bool:
        """Do `work`, cut at the `step`-th piece that the client sends; False if it sent fewer.

        Every other piece is passed on whole and its answer is not; of the others, half is. Who was cut may fail with
        `NotDelivered` and nothing else; a client that tries again does not get through.
        """
        with self._lock:
            self._left, self._was_cut = step, False
        try:
            work()
        except NotDelivered:
            if not self._was_cut:
                raise
        finally:
            with self._lock:
                self._left = None
        return self._was_cut

    def refuse(self, *, everything: bool) -> None:
        """Accept nothing and nobody any more; or again."""
        with self._lock:
            self._left = 0 if everything else None
        if everything:
            self._close_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client:
            if self._is_shut():
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream), 5)
            except OSError:
                return
            with server:
                server.settimeout(None)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a head waits for its body's answer
                self._open |= {client, server}
                back = threading.Thread(target=self._back, args=(server, client), daemon=True)
                back.start()
                with suppress(OSError):
                    self._forth(client, server)
                for one in (client, server):
                    with suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                back.join()
                self._open -= {client, server}

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        while piece := client.recv(CHUNK):
            with self._lock:
                is_cut, step = self._counted()
            if is_cut:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)  # first, so that no answer gets back
                server.sendall(piece if step % 2 else piece[: len(piece) // 2])
                return
            server.sendall(piece)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(CHUNK):
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)

    def _counted(self) -> tuple[bool, int]:
        """Whether this piece is the one at which it is cut. The total tells odd steps from even ones."""
        if self._left is None:
            return False, 0
        self._left = max(self._left - 1, 0)
        self._was_cut = self._was_cut or self._left == 0
        self._pieces = getattr(self, "_pieces", 0) + 1
        return self._left == 0, self._pieces

    def _is_shut(self) -> bool:
        with self._lock:
            return self._left == 0

    def _close_all(self) -> None:
        for one in tuple(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def brought(publisher: Publisher, work: Callable[[Publisher], None]) -> Callable[[], None]:
    """`work` with its publisher, for `Relay.cut`."""
    return lambda: work(publisher)
