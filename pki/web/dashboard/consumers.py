"""Consumers: who has to hold bundles and CRLs, what each holds, how old that is, and how it was proved."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from renewers.distribution import showing

router = routes.pages()
Text = Annotated[str, Query(max_length=300)]


@router.get("/consumers")
def consumers(request: Request, stream: Text = "", cursor: Text = "") -> Response:
    """All consumers, or those of one stream."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    rows, following = showing.page(product_of(request).lifecycle, caller, stream=stream or None, cursor=cursor or None)
    return page.page(
        request,
        "consumers.html",
        title="Consumers",
        consumers=rows,
        stream=stream,
        first=href("/consumers", stream=stream) if cursor else None,
        following=None if following is None else href("/consumers", stream=stream, cursor=following),
    )


@router.get("/consumers/{name:path}")
def consumer(request: Request, name: str) -> Response:
    """One consumer."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    lifecycle = product_of(request).lifecycle
    found = showing.show(lifecycle, caller, name)
    latency = showing.latencies(lifecycle, caller, name=name)
    return page.page(request, "consumer.html", title=found.name, found=found, latency=latency)
