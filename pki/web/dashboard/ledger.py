"""The ledger: its newest signed head, its newest entries, and how to check that nothing of it was changed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from renewers.overview import recorded
from renewers.telling import audits

router = routes.pages()


@router.get("/ledger")
def ledger(
    request: Request,
    subject: Annotated[str, Query(max_length=600)] = "",
    cursor: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
) -> Response:
    """The head, and what was written down last."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_LEDGER)
    installation = product_of(request).installation
    found = recorded.show(installation, caller, subject=subject.strip() or None, cursor=cursor)
    return page.page(
        request,
        "ledger.html",
        title="Ledger",
        found=found,
        audited=audits.newest(installation.store),
        subject=subject.strip(),
        first=href("/ledger", subject=subject.strip()) if cursor is not None else None,
        following=None if found.next is None else href("/ledger", subject=subject.strip(), cursor=found.next),
    )
