"""Admission: how many certificates are issued at once, and who waits for whom. Before the hot path, behind the gate.

What waits is held in a bounded queue that is fair between identities (`turns`). Certificates about to end go first; a
holder's own one proves that, nothing that anybody says does. Bodies are read before, so that a slow sender holds no
place; whoever hangs up leaves the queue. Reading, revoking, CRLs and status never wait here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from math import ceil

from cryptography import x509
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ca import clock
from ca.access import Caller
from ca.errors import Busy
from pki.logs import logger
from pki.product import Product
from pki.web.gate import CALLER
from pki.web.identity import CERTIFICATE
from pki.web.problems import on_http_error, problem
from pki.web.turns import Turns, Waiting

SOON = 3600
"""Seconds before the end of a certificate from which its renewal goes before everybody else's wishes."""
LAST_PART = 6
"""And it is in the last sixth of its life, or one that lives for an hour would always be about to end."""
LONGEST_RETRY = 60
SAY_AGAIN = 10.0
"""Seconds between two lines in the log that say that the queue is full."""
_WEIGHT = 0.1
log = logger(__name__)


class Admission:
    """Lets `at_once` issuances go on at a time, and `waiting` wait; who comes then is answered 503 with a time."""

    def __init__(self, inner: ASGIApp, product: Product, paths: Sequence[str], *, at_once: int, waiting: int) -> None:
        self._inner = inner
        self._product = product
        self._issue, self._renew = paths
        self._at_once = at_once
        self._under_way = 0
        self._turns: Turns[asyncio.Future[None]] = Turns(waiting)
        self._seconds = 0.05
        """How long one issuance takes lately."""
        self._said = -SAY_AGAIN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is none of ours at once, and an issuance when its turn comes."""
        if not self._is_ours(scope):
            await self._inner(scope, receive, send)
            return
        try:
            body = await _read(receive)
        except HTTPException as error:  # it is larger than we read
            await (await on_http_error(Request(scope), error))(scope, receive, send)
            return
        if body is None:
            return
        if self._under_way >= self._at_once or len(self._turns):
            try:
                await self._wait(scope, receive)
            except Busy as error:
                self._product.metrics.refused.labels(error.code).inc()
                await problem(error)(scope, receive, send)
                return
            except ConnectionResetError:
                return
        else:
            self._under_way += 1
        started = clock.monotonic()
        try:
            await self._inner(scope, _again(body, receive), send)
        finally:
            self._seconds += _WEIGHT * (clock.monotonic() - started - self._seconds)
            self._under_way -= 1
            self._call()

    def _is_ours(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "POST":
            return False
        path: str = scope["path"]
        return path == self._issue or (path.startswith(self._issue) and path.endswith(self._renew))

    async def _wait(self, scope: Scope, receive: Receive) -> None:
        """Return when it is one's turn, its place taken. `Busy`, or `ConnectionResetError` if nobody waits any more."""
        caller: Caller = scope[CALLER]
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        one = Waiting(caller.identity, turn, self._deadline(scope))
        if (leaves := self._turns.join(one)) is not None:
            self._say_full(leaves.identity)
            leaves.item.set_exception(self._busy())
        began, gone = clock.monotonic(), asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((turn, gone), return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                raise ConnectionResetError
            turn.result()
            self._product.metrics.admission_waited.observe(clock.monotonic() - began)
        except BaseException:
            if not self._turns.leave(one) and turn.done() and not turn.cancelled() and turn.exception() is None:
                self._under_way -= 1  # the turn came at the same moment; it is the next one's
                self._call()
            raise
        finally:
            gone.cancel()

    def _call(self) -> None:
        """Let those in whose turn it is."""
        while self._under_way < self._at_once and (one := self._turns.next()) is not None:
            if not one.item.done():
                self._under_way += 1
                one.item.set_result(None)

    def _deadline(self, scope: Scope) -> int | None:
        """The end of the certificate that the caller has shown, where it renews that one and it is near."""
        der = scope.get(CERTIFICATE)
        caller: Caller = scope[CALLER]
        if der is None or caller.certificate is None or not scope["path"].endswith(self._renew):
            return None
        serial = scope["path"].removeprefix(self._issue).removesuffix(self._renew).strip("/")
        if serial != caller.certificate:
            return None
        shown = x509.load_der_x509_certificate(der)
        ends = int(shown.not_valid_after_utc.timestamp())
        life = ends - int(shown.not_valid_before_utc.timestamp())
        return ends if ends - clock.timestamp() <= min(SOON, life // LAST_PART) else None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._turns)

    def _busy(self) -> Busy:
        seconds = min(LONGEST_RETRY, max(1, ceil(len(self._turns) * self._seconds / self._at_once)))
        return Busy("more certificates are asked for than can be issued at present", retry_after=seconds)

    def _say_full(self, identity: str) -> None:
        if clock.monotonic() - self._said >= SAY_AGAIN:
            self._said = clock.monotonic()
            hint = "see limits.issuing and limits.waiting; refused is who had the most waiting, or came last"
            log.warning("admission-full", waiting=len(self._turns), refused=identity, hint=hint)


async def _read(receive: Receive) -> deque[Message] | None:
    """A whole body, which what stands before has bounded; None if its sender hung up."""
    found: deque[Message] = deque()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        found.append(message)
        if not message.get("more_body", False):
            return found


def _again(body: deque[Message], receive: Receive) -> Receive:
    """What was read, and then whatever comes."""

    async def take() -> Message:
        return body.popleft() if body else await receive()

    return take


async def _gone(receive: Receive) -> None:
    """Return when the other side has hung up."""
    while (await receive())["type"] != "http.disconnect":
        continue
