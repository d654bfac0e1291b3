"""Letters: what was sent to whom, what waits, what a mail server refused; and what one of them tells of."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from renewers.mailing import listing, silence

router = routes.pages()
Text = Annotated[str, Query(max_length=300)]
Number = Annotated[int | None, Query(ge=0, lt=1 << 53)]
LARGEST = 1 << 53


@router.get("/letters")
def letters(request: Request, state: Text = "", kind: Text = "", owner: Text = "", cursor: Number = None) -> Response:
    """Newest first."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    lifecycle = product_of(request).lifecycle
    asked = {"state": state, "kind": kind, "owner": owner}
    rows, following = listing.page(
        lifecycle, caller, owner=owner or None, kind=kind or None, state=state or None, cursor=cursor
    )
    with lifecycle.store.read() as connection:
        figures = silence.figures(connection)
    return page.page(
        request,
        "letters.html",
        title="Letters",
        letters=rows,
        asked=asked,
        figures=figures,
        has_mailer=lifecycle.mailer is not None,
        states=[
            ("all", href("/letters", asked, state=""), not state),
            *((one, href("/letters", asked, state=one), state == one) for one in listing.STATES),
        ],
        kinds=[
            ("all", href("/letters", asked, kind=""), not kind),
            *((one, href("/letters", asked, kind=one), kind == one) for one in listing.KINDS),
        ],
        first=href("/letters", asked) if cursor else None,
        following=None if following is None else href("/letters", asked, cursor=following),
    )


@router.get("/letters/{letter}")
def letter(request: Request, letter: int) -> Response:
    """One letter."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    known = letter if 0 < letter < LARGEST else 0
    found = listing.show(product_of(request).lifecycle, caller, known)
    return page.page(request, "letter.html", title=found.letter.subject or f"Letter {known}", found=found)
