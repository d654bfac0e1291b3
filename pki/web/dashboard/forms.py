"""Forms: read, bounded, and taken only from a page of ours.

A form is taken by POST, with the proof that its page carried (`csrf`), from a page that the browser says is ours
(`Sec-Fetch-Site`, or `Origin` where that is not sent). Either alone would do in a browser that works; a form that
fails one of them is refused whatever it asks for.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import cast
from urllib.parse import parse_qsl

from starlette.requests import Request

from ca.errors import BadRequest, Forbidden
from pki.web.dashboard.visitor import Visitor

FORM = "certwright.form"
MEDIA_TYPE = "application/x-www-form-urlencoded"
MOST_FIELDS = 50
MOST_BYTES = 32 * 1024


def form(request: Request) -> Mapping[str, str]:
    """The fields of the form that was taken; what was not filled in is not there."""
    return cast(Mapping[str, str], request.scope.get(FORM, {}))


def field(request: Request, name: str, *, longest: int = 500) -> str:
    """One field, without spaces around it, or the empty text. `BadRequest` if it is too long."""
    value = form(request).get(name, "").strip()
    if len(value) > longest:
        raise BadRequest(f"{name} has more than {longest} characters", code="bad-form")
    return value


async def take(request: Request, who: Visitor | None) -> None:
    """Read a form and refuse it unless a page of ours sent it; with somebody signed in, that page's proof is needed."""
    _from_our_page(request, is_proved=who is not None)
    fields = await _read(request)
    if who is not None and not hmac.compare_digest(fields.pop("csrf", "").encode(), who.csrf.encode()):
        raise Forbidden(
            "this form does not come from a page that was made for you",
            code="forged-form",
            hint="open the page again; you may have signed in anew since",
        )
    request.scope[FORM] = fields


def _from_our_page(request: Request, *, is_proved: bool) -> None:
    """What the browser itself says of where a form comes from; pages of others cannot change that (Fetch, section 3).

    We send no referrer, and so browsers say `null` of the origin of our own forms: that alone proves nothing.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site == "same-origin":
            return
        raise Forbidden("this form was sent by a page of another site", code="forged-form")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if origin == own or (is_proved and origin in (None, "null")):
        return
    raise Forbidden("nothing says that a page of ours sent this form", code="forged-form")


async def _read(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise BadRequest("a form is sent as a browser sends it", code="bad-form")
    content = await request.body()
    if len(content) > MOST_BYTES:
        raise BadRequest(f"a form has at most {MOST_BYTES} bytes", code="bad-form")
    try:
        pairs = parse_qsl(
            content.decode("ascii"), True, strict_parsing=bool(content), errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:  # of which UnicodeDecodeError is one
        raise BadRequest("this is not a form as a browser sends it", code="bad-form") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadRequest("a field of the form is there twice", code="bad-form")
    if any("\0" in value for value in fields.values()):
        raise BadRequest("a field of the form holds a NUL", code="bad-form")
    return fields
