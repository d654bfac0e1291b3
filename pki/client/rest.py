"""How a command reaches an installation: a server named, else the running one's socket, else in process.

With `--server` it is HTTPS with a token or a client certificate, trusting the CA file that is given and nothing else.
On the machine itself the Unix socket of the running server makes the owner admin. Where no server runs, the state
directory is opened under its lock and the same application answers in this process; what is due is done at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from ca.errors import BadRequest, CertwrightError
from pki.client.remote import remote
from pki.client.where import answers, where
from pki.settings import state_directory

TIMEOUT = httpx.Timeout(60, connect=10)
API = "/api/v1"


class Problem(Exception):
    """The server refused; `document` is its RFC 9457 problem."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__(str(document.get("detail")))
        self.document = document


class Client:
    """The REST API, whatever carries it."""

    def __init__(self, http: httpx.Client, *, is_alone: bool = False) -> None:
        self._http = http
        self.is_alone = is_alone
        """Whether nothing runs but this command: what is due is then done by nobody else."""

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: object) -> Any:
        """GET under the API's prefix; parameters that are None are left out."""
        return _json(self._ask("GET", API + path, params=_given(params)))

    def post(self, path: str, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> Any:
        """POST JSON under the API's prefix."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return _json(self._ask("POST", API + path, json=dict(body), headers=headers))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """PATCH with JSON under the API's prefix."""
        return _json(self._ask("PATCH", API + path, json=dict(body)))

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """PUT JSON under the API's prefix."""
        return _json(self._ask("PUT", API + path, json=dict(body)))

    def delete(self, path: str, **params: object) -> Any:
        """DELETE under the API's prefix; parameters that are None are left out."""
        return _json(self._ask("DELETE", API + path, params=_given(params)))

    def fetch(self, path: str) -> bytes:
        """GET a public path as it is."""
        return self._ask("GET", path).content

    def lines(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """POST, and the lines of JSON that come back as they come."""
        with _reaching(), self._http.stream("POST", API + path, json=dict(body), timeout=None) as response:
            if not response.is_success:
                response.read()
                raise _problem(response)
            for line in response.iter_lines():
                if line:
                    yield json.loads(line)

    def pages(self, path: str, limit: int | None, **params: object) -> Iterator[dict[str, Any]]:
        """Every item of a paged list, up to `limit`."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = self.get(path, cursor=cursor, limit=min(left or 200, 200), **params)
            yield from page["items"]
            cursor = page["next"]
            left = None if left is None else left - len(page["items"])
            if cursor is None:
                return

    def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        with _reaching():
            response = self._http.request(method, path, **arguments)
        if not response.is_success:
            raise _problem(response)
        return response


@contextmanager
def connect(*, certificate: Path | None = None, key: Path | None = None) -> Iterator[Client]:
    """A client for the installation that is meant. `certificate` and `key` replace the configured credential."""
    if where.server is not None:
        with Client(remote(where.server, certificate or where.certificate, key or where.key, TIMEOUT)) as client:
            yield client
        return
    state = where.state or state_directory()
    path = state / "certwright.sock"
    if answers(path):
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without TLS, no CAs are read for it
        transport = httpx.HTTPTransport(uds=str(path), verify=nobody)
        with Client(httpx.Client(transport=transport, base_url="http://certwright", timeout=TIMEOUT)) as client:
            yield client
        return
    with _in_process(state) as client:
        yield client


@contextmanager
def _in_process(state: Path) -> Iterator[Client]:
    from pki.catching_up import look_around
    from pki.logs import configure_logs
    from pki.product import Product
    from pki.web.app import create_app
    from pki.web.identity import LOCAL

    configure_logs("error")
    with Product.open(state) as product:
        product.recover()
        look_around(product)  # nobody else has: what is said of an end must be true of this moment
        app = create_app(product)

        async def local(scope: Any, receive: Any, send: Any) -> None:
            scope[LOCAL] = os.geteuid()
            await app(scope, receive, send)

        try:
            http = httpx.Client(transport=_Loop(local), base_url="http://certwright", timeout=TIMEOUT)
            with Client(http, is_alone=True) as client:
                yield client
        finally:
            product.settle()


class _Loop(httpx.BaseTransport):
    """Calls an ASGI application from synchronous code."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app=app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return asyncio.run(self._handle(request))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        plain = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        response = await self._transport.handle_async_request(plain)
        content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


@contextmanager
def _reaching() -> Iterator[None]:
    """A server that cannot be reached, or hangs up, is a problem like any other."""
    try:
        yield
    except (httpx.RequestError, httpx.InvalidURL) as error:
        target = where.server or "the running server"
        reason = str(error) or type(error).__name__
        hint = "is the server running? see its log"
        if where.server is not None:
            hint = "is the server running, and is --ca-file its root certificate?"
        document = {"code": "unreachable", "detail": f"{target} cannot be reached: {reason}", "hint": hint}
        raise Problem(document) from None


def _given(params: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise _problem(response) from None


def _problem(response: httpx.Response) -> Problem:
    """The problem that a server answers with; anything else that answers is not one of ours."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict) and "code" in document:
        return Problem(document)
    detail = f"{where.server or 'the server'} answered {response.status_code}, and not as Certwright does"
    return Problem({"code": "not-certwright", "detail": detail, "hint": "is it the TLS listener of certwright serve?"})


def named(collection: str, name: str) -> str:
    """The path of one thing in a collection. A name is one segment, whatever is in it."""
    if not name:
        raise BadRequest("the name is empty", code="bad-name", hint="a variable that is not set?")
    return f"{collection}/{quote(name, safe='')}"


def document_of(error: CertwrightError) -> dict[str, Any]:
    """An error of this process in the form of a problem, so that both are shown alike."""
    return {"code": error.code, "detail": error.message, "hint": error.hint}
