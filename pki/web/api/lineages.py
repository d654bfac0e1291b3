"""Lineages: plan, list, show, change, remove; and renew one now."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query

from ca.access import Caller, Operation
from pki.product import Product
from pki.web.answered_inventory import LineagePage, RemovedView
from pki.web.answered_renewals import AskedView, LineageShown
from pki.web.asked import PLAIN
from pki.web.asked_inventory import LineageChange, LineageRequest, Mode, Nothing
from pki.web.context import CallerDep, ProductDep, read_duration, read_names
from pki.web.views_inventory import lineage_view
from pki.web.views_renewals import lineage_shown
from renewers.inventory import lineages
from renewers.inventory.lineages import LineagePlan
from renewers.renewing import course, renewal

router = APIRouter(prefix="/lineages", tags=["lineages"])


@router.get("", summary="List lineages")
def listing(
    product: ProductDep,
    caller: CallerDep,
    mode: Mode | None = None,
    cursor: Annotated[str, Query(max_length=2048, pattern=PLAIN)] = "",
    limit: Annotated[int, Query(ge=1, le=lineages.MAX_PAGE)] = 50,
) -> LineagePage:
    """By name; with `mode`, those that we renew, that a person renews, or that the holder of the key does."""
    rows, following = lineages.listing(product.lifecycle, caller, mode=mode, cursor=cursor, limit=limit)
    return LineagePage(items=[lineage_view(row) for row in rows], next=following)


@router.post("", status_code=201, summary="Plan a lineage")
def create(product: ProductDep, caller: CallerDep, body: LineageRequest) -> LineageShown:
    """A certificate for these names from now on. If they are tracked already, their history is taken over."""
    plan = LineagePlan(
        name=body.name,
        names=read_names(body.names) or (),
        mode=body.mode,
        issuers=tuple(body.issuers),
        profile=body.profile,
        key_type=body.key_type,
        key_age=_seconds(body.key_age) or 0,
        lifetime=_seconds(body.lifetime),
        window=body.window,
        owner=body.owner,
        may_shrink=body.may_shrink,
    )
    lineages.create(product.lifecycle, caller, plan)
    return _shown(product, caller, body.name)


@router.post("/{name:path}/renew", status_code=202, summary="Renew a lineage now")
def renew(product: ProductDep, caller: CallerDep, name: str, body: Nothing) -> AskedView:
    """Whatever the plan: overrides a back-off and a stop. It is done as due work, within seconds."""
    caller.must(Operation.RENEW_ANY)
    row = lineages.find(product.lifecycle.store, name)
    return AskedView(begins=renewal.now(product.lifecycle, caller, row.id))


@router.get("/{name:path}", summary="Show a lineage")
def show(product: ProductDep, caller: CallerDep, name: str) -> LineageShown:
    """Its plan, its current certificate, when it is due and why, where it is brought, its last renewals."""
    return _shown(product, caller, name)


@router.patch("/{name:path}", summary="Change a lineage")
def change(product: ProductDep, caller: CallerDep, name: str, body: LineageChange) -> LineageShown:
    """What is left out stays. Other names or issuers are due at once."""
    changes = _changes(body)
    lineages.change(product.lifecycle, caller, name, lambda plan: replace(plan, **changes))
    return _shown(product, caller, changes.get("name", name))


@router.delete("/{name:path}", summary="Plan a lineage no more")
def remove(
    product: ProductDep,
    caller: CallerDep,
    name: str,
    force: Annotated[bool, Query(description="with its destinations")] = False,
) -> RemovedView:
    """Its certificates stay tracked. One that is brought somewhere goes with its destinations, if forced."""
    lineages.remove(product.lifecycle, caller, name, is_forced=force)
    return RemovedView(removed=name)


def _changes(body: LineageChange) -> dict[str, Any]:
    """The fields of a plan that a body changes. Null empties what may be empty, and elsewhere says nothing."""
    given: dict[str, Any] = body.model_dump(exclude_unset=True)
    found = {field: given[field] for field in ("name", "mode", "may_shrink") if given.get(field) is not None}
    found |= {field: given[field] or "" for field in ("profile", "key_type", "window") if field in given}
    if given.get("names") is not None:
        found["names"] = read_names(given["names"])
    if "issuers" in given:
        found["issuers"] = tuple(given["issuers"] or ())
    if "key_age" in given:
        found["key_age"] = _seconds(given["key_age"]) or 0
    if "lifetime" in given:
        found["lifetime"] = _seconds(given["lifetime"])
    return found | ({"owner": given["owner"]} if "owner" in given else {})


def _seconds(duration: str | None) -> int | None:
    found = read_duration(duration)
    return None if found is None else int(found.total_seconds())


def _shown(product: Product, caller: Caller, name: str) -> LineageShown:
    return lineage_shown(course.show(product.lifecycle, caller, name))
