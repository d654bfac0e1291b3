"""Refusals and errors as pages, with the status and the words that the API gives them. No internals, no traces.

Whoever is not signed in and wanted to read a page is led to the page where one signs in, and back from there.
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ca.errors import CertwrightError, Unauthenticated
from pki.web import problems
from pki.web.dashboard import visitor
from pki.web.dashboard.page import page
from pki.web.dashboard.secured import secured

SIGN_IN = "/sign-in"
MACHINES = (
    "/api/",
    "/metrics",
    "/crl/",
    "/ca/",
    "/bundles/",
    "/publications/",
    "/acknowledgements",
    "/ledger/checkpoint",
    "/ledger/tile/",
)
"""What programs ask for: there, a refusal is a problem document whatever is accepted."""
UNREADABLE = "What was asked for cannot be read: a part of the address or of the form does not fit."


async def shown(request: Request, error: Exception) -> Response:
    """The page for an error, after the log and the metrics have it."""
    answer = await _problem(request, error)
    if _needs_sign_in(request, error):
        return secured(request, RedirectResponse(where_to_sign_in(request), 303))
    message, hint, reasons = _words(error)
    template = "refused.html" if visitor.known(request) is not None else "refused_bare.html"
    title = problems.title_of(answer.status_code)
    values = {"message": message, "hint": hint, "reasons": reasons}
    found = page(request, template, title=title, status=answer.status_code, **values)
    for name in ("retry-after", "allow", "www-authenticate"):
        if (value := answer.headers.get(name)) is not None:
            found.headers[name] = value
    return found


async def on_http_error(request: Request, error: Exception) -> Response:
    """The application's handler for paths and methods that there are not: a page for who reads pages."""
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(MACHINES)
    if not wants_page:
        return await problems.on_http_error(request, error)
    with suppress(CertwrightError):  # whoever it is, the page is the same but for its menu
        await run_in_threadpool(visitor.recognise, request)
    return await shown(request, error)


def where_to_sign_in(request: Request) -> str:
    """The page where one signs in, which leads back to the present one."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return SIGN_IN if here == "/" else f"{SIGN_IN}?next={quote(here, safe='')}"


def _needs_sign_in(request: Request, error: Exception) -> bool:
    is_nobody = isinstance(error, Unauthenticated) and error.code == Unauthenticated.code
    return is_nobody and request.method in ("GET", "HEAD") and "authorization" not in request.headers


async def _problem(request: Request, error: Exception) -> Response:
    match error:
        case CertwrightError():
            return await problems.on_our_error(request, error)
        case RequestValidationError() | ValidationError():
            return await problems.on_validation_error(request, error)
        case HTTPException():
            return await problems.on_http_error(request, error)
        case _:
            return await problems.on_any_error(request, error)


def _words(error: Exception) -> tuple[str, str | None, list[str]]:
    match error:
        case CertwrightError():
            reasons = [reason.message for reason in getattr(error, "reasons", ())]
            return problems.shown(error.message), error.hint, reasons
        case RequestValidationError() | ValidationError():
            return UNREADABLE, None, []
        case HTTPException(status_code=404):
            return "There is no such page.", None, []
        case HTTPException():
            return str(error.detail), None, []
        case _:
            return "Something went wrong here; the log of the server says what.", None, []
