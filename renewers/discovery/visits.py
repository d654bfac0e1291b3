"""One connection of a scan, moved on whenever its socket is ready: connect, converse, part.

The part of `scan.py` that touches a socket. It is moved only when the selector says that it can be, and never waits.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector

from ca.errors import Misconfigured, NotDelivered
from renewers.addresses import spoken
from renewers.discovery.targets import Target
from renewers.handshake import CHUNK, FAREWELL, Conversation, Presented, not_connected, our_name, timed_out


class Visit:
    """A target, the addresses that it has, and the socket to the first of them."""

    def __init__(self, target: Target, addresses: list[str], deadline: float) -> None:
        self.target = target
        self.addresses = addresses
        self.address = addresses[0]
        self.deadline = deadline
        self.is_closed = False
        self._socket: socket.socket | None = None
        self._selector: BaseSelector | None = None
        self._conversation: Conversation | None = None
        self._failure: NotDelivered | None = None
        self._pending = b""
        self._is_told = self._is_parting = False

    @property
    def is_unconnected(self) -> bool:
        """Whether it ended before there was anybody to talk to."""
        return self._conversation is None

    def is_to_tell(self) -> bool:
        """Whether there is something to tell; true once."""
        over = self._failure is not None or (self._conversation is not None and self._conversation.is_over)
        if not over or self._is_told:
            return False
        self._is_told = True
        return True

    def outcome(self) -> Presented:
        """What was shown, or the reason why nothing was, raised."""
        if self._failure is not None or self._conversation is None:
            raise self._failure or timed_out(self._place)
        return self._conversation.outcome(self.address)

    def begin(self, selector: BaseSelector) -> None:
        """Ask for a connection."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise Misconfigured("there are no more files to open", hint="scan with fewer sockets") from None
            return self._fail(error)
        code = self._socket.connect_ex((self.address, self.target.port))
        if code not in (0, errno.EINPROGRESS):
            return self._fail(OSError(code, os.strerror(code)))
        self._selector = selector
        selector.register(self._socket, EVENT_WRITE, self)
        return None

    def advance(self) -> None:
        """Go on: the socket can be read or written."""
        sock = self._socket
        if sock is None or self.is_closed:
            return
        try:
            if self._is_parting:
                self._part(sock)
            elif self._conversation is None:
                self._connected(sock)
            else:
                self._converse(sock, self._conversation)
        except BlockingIOError:
            return
        except OSError:
            if self._conversation is not None:
                self._conversation.hear(b"")
            self.close()

    def give_up(self) -> None:
        """The time is up."""
        if self._conversation is not None:
            self._conversation.give_up()
        elif self._failure is None:
            self._failure = timed_out(self._place)
        self.close()

    def close(self) -> None:
        """Close the socket; the other side is not waited for."""
        self.is_closed = True
        if self._socket is None:
            return
        if self._selector is not None:
            self._selector.unregister(self._socket)
            self._selector = None
        self._socket.close()

    @property
    def _place(self) -> str:
        return spoken(self.target.host, self.target.port)

    def _fail(self, error: OSError) -> None:
        self._failure = not_connected(self._place, error)
        self.close()

    def _connected(self, sock: socket.socket) -> None:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            kind = ConnectionRefusedError if code == errno.ECONNREFUSED else OSError
            return self._fail(kind(code, os.strerror(code)))
        name = self.target.server_name or self.target.host
        self._conversation = Conversation(self._place, self.target.protocol, name, our_name(sock))
        return self._send(sock, self._conversation)

    def _converse(self, sock: socket.socket, conversation: Conversation) -> None:
        if not self._pending:
            conversation.hear(sock.recv(CHUNK))
        self._send(sock, conversation)

    def _send(self, sock: socket.socket, conversation: Conversation) -> None:
        """Send what there is to say; wait for the socket while it does not take all of it."""
        self._pending += conversation.say()
        if self._pending:
            with suppress(BlockingIOError):
                self._pending = self._pending[sock.send(self._pending) :]
        if self._pending:
            self._wait_for(EVENT_WRITE)
        elif conversation.is_over:
            self._is_parting = True
            self.deadline = min(self.deadline, time.monotonic() + FAREWELL)
            self._wait_for(EVENT_READ)
            sock.shutdown(socket.SHUT_WR)
        else:
            self._wait_for(EVENT_READ)

    def _part(self, sock: socket.socket) -> None:
        """Wait until the other side closes, too: a close before that is a reset to it."""
        if not sock.recv(CHUNK):
            self.close()

    def _wait_for(self, event: int) -> None:
        if self._selector is not None and self._socket is not None:
            self._selector.modify(self._socket, event, self)
