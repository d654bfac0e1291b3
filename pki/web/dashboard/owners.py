"""Owners: what is theirs and how it stands, whether mail reaches them, and what they were written."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from pki.web.dashboard.words import tone
from renewers.mailing import listing
from renewers.overview import browsing, owned
from renewers.overview.browsing import Wish

router = routes.pages()
STAGES = ("fine", "due", "late", "urgent", "critical", "expired")
LINES, LETTERS = 15, 10


@router.get("/owners")
def owners(request: Request, cursor: Annotated[str, Query(max_length=300)] = "") -> Response:
    """All owners."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    found, following, counted = owned.page(product_of(request).lifecycle, caller, cursor=cursor)
    return page.page(
        request,
        "owners.html",
        title="Owners",
        owners=found,
        counted=counted,
        stages=STAGES,
        first="/owners" if cursor else None,
        following=None if following is None else href("/owners", cursor=following),
    )


@router.get("/owners/{name:path}")
def owner(request: Request, name: str) -> Response:
    """One owner."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    lifecycle = product_of(request).lifecycle
    found = owned.show(lifecycle, caller, name)
    theirs = found.summary.owner.name
    letters, _ = listing.page(lifecycle, caller, owner=theirs, limit=LETTERS)
    return page.page(
        request,
        "owner.html",
        title=theirs,
        found=found,
        bars_of=[
            (stage, (found.summary.stages or {}).get(stage, 0), tone(stage), _list_of(theirs, stage))
            for stage in STAGES
        ],
        worst=browsing.page(lifecycle.store, Wish(owner=theirs, stage="attention"), limit=LINES),
        first=browsing.page(lifecycle.store, Wish(owner=theirs), limit=LINES),
        letters=letters,
    )


def _list_of(owner: str, stage: str) -> str:
    return href("/inventory", owner=owner, stage=stage)
