"""The hot paths: described to OpenAPI like any other route, but decoded and called without the framework's solver.

A handler of a `DirectRoute` takes the validated body and the request, and returns a response. `Direct` stands before
the application and calls such handlers for exact paths without routing at all. Both end in the same function and show
the same problems; together they save a quarter of what a recorded certificate costs over HTTPS (`make bench`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, get_type_hints

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ca.errors import BadRequest, CertwrightError
from pki.web.problems import on_any_error, on_http_error, on_our_error, on_validation_error

Endpoint = Callable[..., Coroutine[Any, Any, Response]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def direct(endpoint: Endpoint) -> Handler:
    """A handler that validates the body as the endpoint's `body` is annotated, and calls the endpoint."""
    adapter: TypeAdapter[Any] = TypeAdapter(get_type_hints(endpoint)["body"])

    async def handle(request: Request) -> Response:
        _check_type(request)
        body = adapter.validate_json(await request.body())
        return await endpoint(body=body, request=request, **request.path_params)

    return handle


def _check_type(request: Request) -> None:
    """Only what is called JSON: a page in a browser cannot send that to us without being asked for permission."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise BadRequest(
            "the body is not called JSON", code="bad-content-type", hint="send Content-Type: application/json"
        )


class DirectRoute(APIRoute):
    """A route whose endpoint is `async (body: Model, request: Request, **path parameters: str) -> Response`."""

    def get_route_handler(self) -> Handler:
        """The handler, instead of the framework's."""
        return direct(self.endpoint)


class Direct:
    """Calls handlers by exact path for POST; everything else is the application's."""

    def __init__(self, app: FastAPI, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._next: ASGIApp = app
        self._handlers = {path: direct(endpoint) for path, endpoint in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer directly, or pass on."""
        handler = self._handlers.get(scope.get("path", "")) if scope.get("method") == "POST" else None
        if handler is None:
            await self._next(scope, receive, send)
            return
        scope["app"] = self._app
        scope["path_params"] = {}
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except CertwrightError as error:
            response = await on_our_error(request, error)
        except HTTPException as error:
            response = await on_http_error(request, error)
        except ValidationError as error:
            response = await on_validation_error(request, error)
        except Exception as error:  # noqa: BLE001 - becomes a bare 500, as everywhere
            response = await on_any_error(request, error)
        await response(scope, receive, send)
