"""Destinations: add, list, show, change, remove; and deliver to one again now."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query

from ca.access import Caller, Operation
from pki.product import Product
from pki.web.answered_inventory import RemovedView
from pki.web.answered_renewals import AskedView, DestinationPage, DestinationShown
from pki.web.asked import PLAIN
from pki.web.asked_inventory import Nothing
from pki.web.asked_renewals import DestinationChange, DestinationRequest
from pki.web.context import CallerDep, ProductDep
from pki.web.views_renewals import destination_shown, destination_view
from renewers.delivering import destinations
from renewers.delivering.destinations import DestinationPlan
from renewers.inventory import lineages

router = APIRouter(prefix="/destinations", tags=["destinations"])
Named = Annotated[str | None, Query(max_length=128, pattern=PLAIN)]


@router.get("", summary="List destinations")
def listing(
    product: ProductDep,
    caller: CallerDep,
    lineage: Named = None,
    cursor: Named = None,
    limit: Annotated[int, Query(ge=1, le=destinations.MAX_PAGE)] = 50,
) -> DestinationPage:
    """By name; with `lineage`, where its certificate is used."""
    caller.must(Operation.READ_INVENTORY)
    of = None if lineage is None else lineages.find(product.lifecycle.store, lineage).id
    rows, following = destinations.listing(product.lifecycle, caller, lineage_id=of, cursor=cursor, limit=limit)
    return DestinationPage(items=[destination_view(row) for row in rows], next=following)


@router.post("", status_code=201, summary="Add a destination")
def add(product: ProductDep, caller: CallerDep, body: DestinationRequest) -> DestinationShown:
    """What its lineage has is brought there at once. What runs a command or gives a key away is for admins alone."""
    destinations.add(product.lifecycle, caller, DestinationPlan(**body.model_dump()))
    return _shown(product, caller, body.name)


@router.post("/{name}/deliver", status_code=202, summary="Deliver again now")
def deliver(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> AskedView:
    """Whatever it has: overrides a back-off. It is done as due work, within seconds."""
    return AskedView(begins=destinations.deliver_now(product.lifecycle, caller, name))


@router.get("/{name}", summary="Show a destination")
def show(product: ProductDep, caller: CallerDep, name: str) -> DestinationShown:
    """One destination with what was brought there lately."""
    return _shown(product, caller, name)


@router.patch("/{name}", summary="Change a destination")
def change(product: ProductDep, caller: CallerDep, name: str, body: DestinationChange) -> DestinationShown:
    """What is left out stays; settings come as a whole. In another place, it is delivered anew."""
    caller.must(Operation.MANAGE_INVENTORY)
    found = destinations.show(product.lifecycle, caller, name)
    row, changes = found.destination, body.model_dump(exclude_unset=True)
    settings: dict[str, Any] = json.loads(row.settings)
    plan = DestinationPlan(name, found.lineage, row.publisher, settings, row.probe, row.rank, row.bundle)
    kept = {field: value for field, value in changes.items() if value is not None or field == "bundle"}
    destinations.change(product.lifecycle, caller, replace(plan, **kept))
    return _shown(product, caller, name)


@router.delete("/{name}", summary="Remove a destination")
def remove(product: ProductDep, caller: CallerDep, name: str) -> RemovedView:
    """What was brought there stays there; nothing more is brought."""
    destinations.remove(product.lifecycle, caller, name)
    return RemovedView(removed=name)


def _shown(product: Product, caller: Caller, name: str) -> DestinationShown:
    return destination_shown(destinations.show(product.lifecycle, caller, name))
