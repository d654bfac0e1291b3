"""Devices and workloads: what our own CA has issued to whom, by profile."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from renewers.overview import devices as issued

router = routes.pages()
PATH = "/devices"


@router.get(PATH)
def devices(
    request: Request,
    name: Annotated[str, Query(max_length=2048)] = "",
    profile: Annotated[str, Query(max_length=100)] = "",
    cursor: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
) -> Response:
    """By profile, and the newest of it."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    product = product_of(request)
    listed = issued.page(product.lifecycle, caller, name=name.strip(), profile=profile or None, cursor=cursor)
    asked = {"name": name.strip(), "profile": profile}
    known = {one.name: one for one in product.installation.profiles}
    counts = {} if listed.counted is None else listed.counted.body["profiles"]
    return page.page(
        request,
        "devices.html",
        title="Devices and workloads",
        listed=listed,
        asked=asked,
        profiles=sorted({*known, *counts}),
        counts=counts,
        links={one: href(PATH, asked, profile="" if one == profile else one) for one in {*known, *counts}},
        first=href(PATH, asked) if cursor is not None else None,
        following=None if listed.next is None else href(PATH, asked, cursor=listed.next),
    )
