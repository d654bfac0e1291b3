"""Routers for pages: `routes.pages()` for those that need somebody signed in, `routes.open_pages()` for the others.

What a route must not forget is done here, before its handler: who asks is known, a form is proved to be ours. And
after it: refusals are pages, every answer carries the headers. A handler is an ordinary function of `request` and of
path and query parameters; it runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pki.web.context import identity_of
from pki.web.dashboard import errors, forms, visitor
from pki.web.dashboard.secured import secured

READS = ("GET", "HEAD")


def pages() -> APIRouter:
    """A router whose every route needs somebody signed in."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def open_pages() -> APIRouter:
    """A router for whoever comes; its forms are taken from pages of ours all the same."""
    return APIRouter(route_class=OpenRoute, include_in_schema=False)


class OpenRoute(APIRoute):
    """A page for whoever comes."""

    def __init__(self, *places: Any, **choices: Any) -> None:
        super().__init__(*places, **choices)
        if (
            self.methods and "GET" in self.methods
        ):  # whoever only wants to know whether a page is there (RFC 9110 section 9.3.2)
            self.methods.add("HEAD")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler between what comes before and after it."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                who = await run_in_threadpool(self.recognise, request)
                if request.method not in READS:
                    await forms.take(request, who)
                response = await inner(request)
            except Exception as error:  # noqa: BLE001 - becomes a page, as every error in `pki/web/problems.py`
                return await errors.shown(request, error)
            return secured(request, response)

        return handle

    def recognise(self, request: Request) -> visitor.Visitor | None:
        """Nobody need be known here, and a credential that does not hold changes nothing. Strangers are held up."""
        identity_of(request).stranger(request)
        return None


class PageRoute(OpenRoute):
    """A page for who is signed in."""

    def recognise(self, request: Request) -> visitor.Visitor | None:
        """Somebody, or `Unauthenticated`."""
        return visitor.signed_in(request)
