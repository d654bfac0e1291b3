"""One page: `page(request, "inventory.html", title="Inventory", rows=rows)`.

The template extends `base.html` (or `bare.html`, where there is nobody signed in) and finds besides its own values:
`caller` (or None), `nav`, `csrf` (the proof that every form carries), `now` (seconds), `path`, `said` (what has just
been done). Macros for badges, moments, tables and charts are in `_parts.html`; README.md beside it shows each.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ca import clock
from ca.access import Caller
from pki.web.dashboard import visitor
from pki.web.dashboard.navigation import menu
from pki.web.dashboard.rendering import render
from pki.web.dashboard.said import said
from pki.web.dashboard.secured import secured


def page(request: Request, template: str, *, title: str, status: int = 200, **values: Any) -> Response:
    """Render a page for whoever was recognised. Values are escaped; the headers forbid everything but showing it."""
    who = visitor.known(request)
    given = {
        "title": title,
        "caller": None if who is None else who.caller,
        "me": None if who is None else who.caller,  # in a `call` block of Jinja2, `caller` is something else
        "has_session": who is not None and who.has_session,
        "csrf": "" if who is None else who.csrf,
        "nav": () if who is None else menu(who.caller, request.url.path),
        "now": clock.timestamp(),
        "path": request.url.path,
        "said": said(request.query_params.get("said")),
        **values,
    }
    return secured(request, HTMLResponse(render(template, given), status))


def signed_in(request: Request) -> Caller:
    """Who asks. `Unauthenticated` if there is nobody, for which a browser is led to where it can sign in."""
    return visitor.signed_in(request).caller
