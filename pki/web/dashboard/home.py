"""The first page: what needs a person now."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from pki.web.dashboard import page, routes

router = routes.pages()


@router.get("/")
def home(request: Request) -> Response:
    """What needs a person now."""
    page.signed_in(request).must(Operation.READ_INVENTORY)
    return page.page(request, "home.html", title="What needs a person now")
