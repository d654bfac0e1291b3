"""What pages need besides themselves: one style sheet and one icon, the same for everybody."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pki.data import data
from pki.web.dashboard import rendering, routes

FOR_EVER = "public, max-age=31536000, immutable"
router = routes.open_pages()


@router.get("/assets/certwright.css")
def style_sheet(request: Request, v: str = "") -> Response:
    """The style sheet; under the version that it has, a browser need never ask again."""
    content, version = rendering.style()
    kept = FOR_EVER if v == version else "no-cache"
    return Response(content, headers={"Cache-Control": kept}, media_type="text/css")


@router.get("/assets/icon.svg")
def icon() -> Response:
    """The seal, for the tab of a browser."""
    content = (data("templates") / "dashboard" / "icon.svg").read_bytes()
    return Response(content, headers={"Cache-Control": "public, max-age=86400"}, media_type="image/svg+xml")
