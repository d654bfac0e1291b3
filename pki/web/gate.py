"""The gate of the API: who asks is known before anything else of a request is looked at.

A stranger's nonsense is not even parsed; it costs the stranger one token of its bucket, and the answer is 401 whatever
the path and the body. Handlers find the caller in the scope. What is public lies outside the gate.
"""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ca.access import Caller
from ca.errors import CertwrightError, NotFound
from pki.web.identity import Identity
from pki.web.problems import on_our_error, problem

CALLER = "certwright.caller"
"""In the ASGI scope behind the gate: the `Caller`."""


class Gate:
    """Lets nobody without an identity to any path under `prefix`, except those in `public`."""

    def __init__(self, inner: ASGIApp, app: FastAPI, prefix: str, public: frozenset[str]) -> None:
        self._inner = inner
        self._app = app
        self._prefix = prefix + "/"
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the caller into the scope, or answer with the refusal."""
        if scope["type"] == "http":
            path = scope.get("path", "")
            is_guarded = path.startswith(self._prefix) and path not in self._public
            scope["app"] = self._app
            request = Request(scope)
            identity: Identity = self._app.state.identity
            try:
                await identity.prepare(request)
                if is_guarded:
                    scope[CALLER] = identity.caller(request)
            except CertwrightError as error:
                if is_guarded:  # elsewhere whoever needs a caller is told
                    await (await on_our_error(request, error))(scope, receive, send)
                    return
        await self._inner(scope, receive, send)


class PlainPath:
    """Knows no path with control characters: the router would take `/healthz%0a` for `/healthz`."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or answer 404."""
        if scope["type"] == "http" and not scope["path"].isprintable():
            await problem(NotFound("no path of ours has such characters", code="not-found"))(scope, receive, send)
            return
        await self._inner(scope, receive, send)


def caller_of(request: Request) -> Caller:
    """Who asks. Behind the gate there is always somebody."""
    return cast(Caller, request.scope[CALLER])
