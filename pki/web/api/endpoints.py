"""Endpoints: places where certificates are seen, and what is wrong with what they show."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from pki.web.answered_inventory import EndpointPage, RemovedView
from pki.web.context import CallerDep, ProductDep
from pki.web.views_inventory import endpoint_view
from renewers.discovery import listing as places
from renewers.discovery import run

router = APIRouter(prefix="/endpoints", tags=["endpoints"])


@router.get("", summary="List endpoints")
def listing(
    product: ProductDep,
    caller: CallerDep,
    finding: Annotated[
        str | None, Query(max_length=64, pattern="^[a-z-]+$", description="such as expired, wrong-name; or any")
    ] = None,
    failing: Annotated[bool | None, Query(description="whether it shows nothing at present")] = None,
    cursor: Annotated[int, Query(ge=0, le=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=places.MAX_PAGE)] = 50,
) -> EndpointPage:
    """In the order in which they were found. A page may be short, or empty, and still have a next one."""
    found, following = places.page(
        product.lifecycle, caller, finding=finding, failing=failing, cursor=cursor, limit=limit
    )
    return EndpointPage(
        items=[endpoint_view(place) for place in found], next=None if following is None else str(following)
    )


@router.delete("/{place:path}", summary="Look no longer at an endpoint")
def forget(product: ProductDep, caller: CallerDep, place: str) -> RemovedView:
    """Its history there is forgotten, and its alarms end; the certificates stay tracked."""
    run.forget(product.lifecycle, caller, place)
    return RemovedView(removed=place)
