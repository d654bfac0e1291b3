"""What every page of a letter's link does before its handler and after it.

The token in the path is the credential: no cookie, no login and no origin is asked for, since a mail program posts, too
(RFC 8058 section 3.2). Whoever comes takes a token of a stranger's bucket first, then a form is read and bounded; after
it, every answer forbids keeping, framing, indexing, and telling anybody else where it came from. Refusals are pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from email.parser import BytesParser
from email.policy import compat32
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ca.errors import BadRequest, CertwrightError
from pki.web import problems
from pki.web.context import identity_of
from pki.web.dashboard import errors
from pki.web.dashboard.page import page
from pki.web.dashboard.routes import OpenRoute
from pki.web.dashboard.secured import secured

FIELDS = "certwright.link-form"
MOST_BYTES = 32 * 1024
MOST_FIELDS = 20
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "link-does-not-hold": "This link does not hold",
        "link-used": "This link has been used",
        "nothing-left": "There is nothing left to do",
        "not-yours-any-more": "Somebody else answers for it",
    }
)


def link_pages() -> APIRouter:
    """A router for pages whose credential is in their path."""
    return APIRouter(route_class=LinkRoute, include_in_schema=False)


def form(request: Request) -> Mapping[str, str]:
    """The fields of the form that was sent."""
    return cast(Mapping[str, str], request.scope.get(FIELDS, {}))


class LinkRoute(OpenRoute):
    """A page of a letter's link."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler between what comes before and after it."""
        inner = super(OpenRoute, self).get_route_handler()  # who asks and where a form comes from is asked here

        async def handle(request: Request) -> Response:
            try:
                identity_of(request).stranger(request)
                if request.method == "POST":
                    request.scope[FIELDS] = await _read(request)
                response = await inner(request)
            except Exception as error:  # noqa: BLE001 - becomes a page, as every error in `pki/web/problems.py`
                response = await _refused(request, error)
            response.headers["X-Robots-Tag"] = "noindex, nofollow"
            return secured(request, response)

        return handle


async def _refused(request: Request, error: Exception) -> Response:
    code = error.code if isinstance(error, CertwrightError) else ""
    if code not in TITLES:
        return await errors.shown(request, error)
    answer = await problems.on_our_error(request, error)
    said = json.loads(bytes(answer.body))
    values = {"message": said["detail"], "hint": said.get("hint"), "reasons": []}
    return page(request, "answers/refused.html", title=TITLES[code], status=answer.status_code, **values)


async def _read(request: Request) -> dict[str, str]:
    """The fields of a form in either of the two ways in which RFC 8058 has it sent."""
    kind = request.headers.get("content-type", "")
    content = await request.body()
    if len(content) > MOST_BYTES:
        raise BadRequest(f"a form has at most {MOST_BYTES} bytes", code="bad-form")
    media_type = kind.partition(";")[0].strip().lower()
    try:
        if media_type == "multipart/form-data":
            return _multipart(kind, content)
        if media_type == "application/x-www-form-urlencoded":
            text = content.decode("ascii")
            return dict(parse_qsl(text, True, strict_parsing=bool(text), errors="strict", max_num_fields=MOST_FIELDS))
    except (ValueError, RecursionError):  # of which UnicodeDecodeError is one
        pass
    raise BadRequest("this is not a form as a browser or a mail program sends it", code="bad-form")


def _multipart(kind: str, content: bytes) -> dict[str, str]:
    """RFC 7578, without files."""
    head = f"Content-Type: {kind}\r\n\r\n".encode("latin-1")
    message = BytesParser(policy=compat32).parsebytes(head + content)
    parts = message.get_payload() if message.is_multipart() else []
    found: dict[str, str] = {}
    for part in cast("list[Any]", parts)[: MOST_FIELDS + 1]:
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(payload, bytes) or name in found or len(found) == MOST_FIELDS:
            raise ValueError
        found[name] = payload.decode("utf-8")
    return found
