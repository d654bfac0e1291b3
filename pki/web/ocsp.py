"""OCSP over HTTP (RFC 6960 appendix A, RFC 5019 sections 5 and 6): bytes in, one call, bytes out, for anybody.

It stands before the application on every listener, since an answer that is kept costs a hundredth of what a route
costs. What is wrong inside a request is said in OCSP's own words; what is no OCSP request at all, by an HTTP status. An
answer about a certificate says how long a cache may keep it; nothing else may be kept.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ca import clock
from ca.errors import BadRequest, CertwrightError, NotFound, RateLimited, TooLarge
from ca.ocsp import encoding
from ca.ocsp.asked import MOST_OCTETS
from ca.ocsp.responder import Answer
from pki.logs import logger
from pki.product import Product
from pki.web.fetched import MAX_AGE
from pki.web.limits import RateLimiter
from pki.web.problems import on_http_error, problem

log = logger(__name__)
PATH = "/ocsp"
REQUEST_TYPE, RESPONSE_TYPE = "application/ocsp-request", "application/ocsp-response"
LONGEST_PATH = 4096
"""Of a GET, as it comes: what is larger is sent by POST (RFC 5019 section 5)."""
THREADS, MOST_WAITING = 2, 500
"""Who makes answers that are not there yet, and how many may wait for one; those beyond are told to try later."""
_TOO_MANY = Answer(encoding.TRY_LATER, "try-later")
_OVER_LIMIT = Answer(encoding.TRY_LATER, "over-limit")
_FAILED = Answer(encoding.INTERNAL_ERROR, "internal-error")


class Ocsp:
    """Answers what is sent to `/ocsp`; everything else is the application's."""

    def __init__(self, app: ASGIApp, product: Product) -> None:
        self._app = app
        self._product = product
        self._threads = ThreadPoolExecutor(THREADS, "ocsp")
        self._waiting = 0
        limits = product.settings.ocsp
        self._limiter = RateLimiter(limits.live_per_second, limits.live_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == PATH or path.startswith(f"{PATH}/")):
            await self._app(scope, receive, send)
            return
        try:
            request = await _request(scope, receive)
        except CertwrightError as error:
            self._product.metrics.refused.labels(error.code).inc()
            await problem(error)(scope, receive, send)
            return
        except HTTPException as error:
            await (await on_http_error(Request(scope), error))(scope, receive, send)
            return
        responder = self._product.responder
        answer = responder.held(request)
        if answer is None:
            answer = await self._made_for(scope, request)
        else:
            self._product.metrics.ocsp_held.inc()
        self._product.metrics.ocsp_status[answer.status].inc()
        await _send(scope, send, answer)

    async def _made_for(self, scope: Scope, request: bytes) -> Answer:
        """What is signed for whoever asks: no address has all of it. Those on this machine's socket are not counted."""
        client = scope.get("client")
        try:
            if client is not None:
                self._limiter.take(str(client[0]))
        except RateLimited as error:
            self._product.metrics.refused.labels(error.code).inc()
            return _OVER_LIMIT
        self._product.metrics.ocsp_signed.inc()
        return await self._made_beside(request)

    async def _made_beside(self, request: bytes) -> Answer:
        """On threads of its own, and in a line that is bounded: strangers who ask keep nobody else from working."""
        if self._waiting >= MOST_WAITING:
            return _TOO_MANY
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._made, request)
        finally:
            self._waiting -= 1

    def _made(self, request: bytes) -> Answer:
        try:
            return self._product.responder.answer(request)
        except Exception as error:  # whoever asks is told in its own words, and the log says more
            log.error("request-failed", path=PATH, code="internal", reason=type(error).__name__, exc_info=error)
            return _FAILED


async def _request(scope: Scope, receive: Receive) -> bytes:
    """The DER request of a POST, or of the path of a GET. Raises what has to be said by an HTTP status."""
    raw = scope.get("raw_path") or scope["path"].encode()
    _, _, said = raw.partition(b"?")[0].partition(PATH.encode())
    if scope["method"] == "POST" and said.strip(b"/") == b"":
        return await _body(scope, receive)
    if scope["method"] not in ("GET", "HEAD"):
        raise HTTPException(405, "an OCSP request comes by GET or by POST", {"Allow": "GET, HEAD, POST"})
    if said.strip(b"/") == b"":
        raise NotFound("there is nothing to see here: append a request, or send one by POST", code="no-ocsp-request")
    if len(said) > LONGEST_PATH:
        raise TooLarge(f"the path is longer than {LONGEST_PATH} octets", hint="send the request by POST")
    return _from_path(said)


def _from_path(said: bytes) -> bytes:
    """What clients make of base64 in a path: escaped or not, a plus as a space, with line ends, without padding."""
    text = unquote_to_bytes(said).lstrip(b"/").translate(bytes.maketrans(b" -_", b"++/"), b"\r\n").rstrip(b"=")
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""  # which is malformed


async def _body(scope: Scope, receive: Receive) -> bytes:
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", REQUEST_TYPE.encode()).partition(b";")[0].strip().lower()
    if kind != REQUEST_TYPE.encode():
        raise BadRequest("the body is not called an OCSP request", code="bad-content-type", hint=REQUEST_TYPE)
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_OCTETS:
            raise TooLarge(f"an OCSP request has at most {MOST_OCTETS} octets")
    return body


async def _send(scope: Scope, send: Send, answer: Answer) -> None:
    headers = [(b"content-type", RESPONSE_TYPE.encode())]
    is_held = False
    if answer.tag:
        headers += _lifetime(answer)
        asked = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
        is_held = f'"{answer.tag}"'.encode() in asked and scope["method"] != "POST"
    else:
        headers.append((b"cache-control", b"no-store"))
    if not is_held:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    body = b"" if is_held or scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.start", "status": 304 if is_held else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _lifetime(answer: Answer) -> list[tuple[bytes, bytes]]:
    """What RFC 5019 section 6.2 wants: a cache keeps an answer for minutes, and never beyond its end."""
    now = clock.timestamp()
    max_age = max(0, min(MAX_AGE, answer.next_update - now))
    return [
        (b"cache-control", f"public, max-age={max_age}, no-transform, must-revalidate".encode()),
        (b"etag", f'"{answer.tag}"'.encode()),
        (b"last-modified", _date(answer.this_update)),
        (b"expires", _date(now + max_age)),
        (b"date", _date(now)),
    ]


@lru_cache(maxsize=4096)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()
