"""How much and how fast: a cap on bodies, and a token bucket for each caller.

The cap is applied to what arrives, not to what a header promises. Buckets live in this process: they protect the
process, they do not count for billing.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ca import clock
from ca.errors import RateLimited, TooLarge
from pki.web.problems import problem

MAX_BUCKETS = 20_000


class BodyLimit:
    """Refuses bodies over a number of bytes, before or while they arrive."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what arrives."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > self._limit):
                await problem(_too_large(self._limit))(scope, receive, send)
                return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:  # an error that the framework hands on as it is
                raise HTTPException(413, _too_large(self._limit).message)
            return message

        await self._app(scope, counted, send)


class RateLimiter:
    """Token buckets by name. The least recently used are dropped when there are too many."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate = per_second
        self._burst = float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Take one token from `name`'s bucket; `RateLimited` says when the next one is there."""
        now = clock.monotonic()
        tokens, then = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        if tokens < 1.0:
            raise RateLimited(f"{name} asks too fast", retry_after=max(1, ceil((1.0 - tokens) / self._rate)))
        self._buckets[name] = (tokens - 1.0, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes", hint="the limit is the setting limits.body_bytes")
