"""Refusals as RFC 9457 problem documents: the one place where an error becomes an HTTP status.

`code` and `reasons` are for programs, `detail` and `hint` for people. An error that is not of our tree becomes a bare
500 that says nothing of what happened inside; the log has it.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ca import errors
from ca.errors import CertwrightError, PolicyRefusal, RateLimited
from ca.tokens import hide_tokens
from pki.logs import logger

MEDIA_TYPE = "application/problem+json"
SECRET_PATHS = frozenset({"act", "feeds", "preferences", "sign-in", "unsubscribe"})
"""Whatever is beneath these proves something by itself."""
log = logger(__name__)

_STATUS: dict[type[CertwrightError], int] = {
    errors.TooLarge: 413,
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PolicyRefusal: 422,
    errors.RateLimited: 429,
    errors.Refusal: 400,
    errors.Unavailable: 503,
    errors.Misconfigured: 500,
    errors.Defect: 500,
}
_TITLES = {
    400: "The request cannot be read",
    401: "An identity is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Not a method of this resource",
    409: "It clashes with what exists",
    413: "Too large",
    422: "Refused by policy",
    429: "Too fast",
    500: "An error of ours",
    503: "Not now",
}


def status_of(error: CertwrightError) -> int:
    """The HTTP status of one of our errors: that of the nearest class in the tree."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def title_of(status: int) -> str:
    """What a status is called, for people."""
    return _TITLES.get(status, "Refused")


def shown(text: str) -> str:
    """A message as it may leave: no secret that somebody has pasted somewhere is in it."""
    return hide_tokens(text)


def shown_path(path: str) -> str:
    """A path as it may be logged: who has a link of a letter, or one to sign in with, can use it."""
    first, _, rest = path.lstrip("/").partition("/")
    return hide_tokens(f"/{first}/***" if rest and first in SECRET_PATHS else path)


def problem(error: CertwrightError) -> Response:
    """The problem document of one of our errors."""
    status = status_of(error)
    document = _document(status, error.code, error.message)
    if error.hint:
        document["hint"] = error.hint
    if isinstance(error, PolicyRefusal):
        document["reasons"] = [
            {"code": reason.code, "message": reason.message, "rule": reason.rule} for reason in error.reasons
        ]
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="certwright"'
    if status == 503:
        headers["Retry-After"] = "1"
    if isinstance(error, RateLimited | errors.Busy):
        headers["Retry-After"] = str(error.retry_after)
    if error.code == "in-progress":
        headers["Retry-After"] = "1"
    return _response(status, document, headers)


def validation_problem(error: ValidationError | RequestValidationError) -> Response:
    """The problem document of a body or parameter that does not fit; never repeats what was sent."""
    document = _document(400, "bad-request", "the request does not fit the description of this operation")
    document["reasons"] = [
        {"code": "invalid", "message": str(found["msg"]), "rule": ".".join(map(str, found["loc"]))[:200]}
        for found in error.errors()[:20]
    ]
    document["hint"] = "see /api/v1/openapi.json"
    return _response(400, document, {})


async def on_our_error(request: Request, error: Exception) -> Response:
    """Handler for everything in our tree."""
    assert isinstance(error, CertwrightError)
    note(request, error)
    return problem(error)


def note(request: Request, error: CertwrightError) -> None:
    """Count and log a refusal, or an error of ours."""
    request.app.state.product.metrics.refused.labels(error.code).inc()
    if status_of(error) >= 500:
        log.error("request-failed", path=_path(request), code=error.code, reason=hide_tokens(error.message))
    else:
        log.info("request-refused", path=_path(request), code=error.code, reason=hide_tokens(error.message)[:500])


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Handler for what pydantic refuses."""
    assert isinstance(error, ValidationError | RequestValidationError)
    request.app.state.product.metrics.refused.labels("bad-request").inc()
    return validation_problem(error)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Handler for what the framework refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status_code, "bad-request")
    return _response(
        error.status_code, _document(error.status_code, code, str(error.detail)), dict(error.headers or {})
    )


async def on_any_error(request: Request, error: Exception) -> Response:
    """Handler for what nobody expected."""
    log.error("request-failed", path=_path(request), code="internal", reason=type(error).__name__, exc_info=error)
    return _response(500, _document(500, "internal", "something went wrong here; the log says what"), {})


def _path(request: Request) -> str:
    return shown_path(request.url.path)


def _document(status: int, code: str, detail: str) -> dict[str, Any]:
    return {
        "type": f"urn:certwright:problem:{code}",
        "title": title_of(status),
        "status": status,
        "code": code,
        "detail": detail,
    }


def _response(status: int, document: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(hide_tokens(json.dumps(document)), status, {**headers, "Cache-Control": "no-store"}, MEDIA_TYPE)
