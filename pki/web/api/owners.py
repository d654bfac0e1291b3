"""Owners: add, list, show, change, remove; and the rules by which certificates are theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query

from ca.access import Caller
from pki.product import Product
from pki.web.answered_inventory import OwnerShown, OwnerView, ReleasedView, RemovedView
from pki.web.asked import PLAIN
from pki.web.asked_inventory import ClaimRequest, OwnerChange, OwnerRequest
from pki.web.context import CallerDep, ProductDep
from pki.web.views_inventory import owner_shown, owner_view
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan

router = APIRouter(prefix="/owners", tags=["owners"])


@router.get("", summary="List owners")
def listing(product: ProductDep, caller: CallerDep) -> list[OwnerView]:
    """Everybody who answers for certificates, by name."""
    return [owner_view(row) for row in owners.listing(product.lifecycle, caller)]


@router.post("", status_code=201, summary="Add an owner")
def add(product: ProductDep, caller: CallerDep, body: OwnerRequest) -> OwnerShown:
    """Add somebody who answers for certificates. The first one is who orphans fall to."""
    plan = OwnerPlan(body.name, body.email, tuple(body.escalation), body.time_zone, body.is_fallback)
    return owner_shown(owners.add(product.lifecycle, caller, plan), [])


@router.post("/{name:path}/claims", status_code=201, summary="Give an owner what fits a rule")
def claim(product: ProductDep, caller: CallerDep, name: str, body: ClaimRequest) -> OwnerShown:
    """Everything that one requester asked for, or that has a name beneath something, is its from now on."""
    owners.claim(product.lifecycle, caller, name, body.kind, body.pattern)
    return _shown(product, caller, name)


@router.post("/{name:path}/releases", summary="Take a rule back")
def release(product: ProductDep, caller: CallerDep, name: str, body: ClaimRequest) -> ReleasedView:
    """What fits the rule is no longer the owner's because of it."""
    return ReleasedView(was_there=owners.release(product.lifecycle, caller, name, body.kind, body.pattern))


@router.get("/{name:path}", summary="Show an owner")
def show(product: ProductDep, caller: CallerDep, name: str) -> OwnerShown:
    """One owner with its rules."""
    return _shown(product, caller, name)


@router.patch("/{name:path}", summary="Change an owner")
def change(product: ProductDep, caller: CallerDep, name: str, body: OwnerChange) -> OwnerShown:
    """What is left out stays. To make another one the fallback, make that one so."""
    changes: dict[str, Any] = body.model_dump(exclude_none=True)
    if body.escalation is not None:
        changes["escalation"] = tuple(body.escalation)
    row = owners.change(product.lifecycle, caller, name, lambda plan: replace(plan, **changes))
    return owner_shown(row, owners.claims_of(product.lifecycle, caller, row.name))


@router.delete("/{name:path}", summary="Remove an owner")
def remove(
    product: ProductDep,
    caller: CallerDep,
    name: str,
    heir: Annotated[str | None, Query(max_length=128, pattern=PLAIN, description="who takes what is its")] = None,
) -> RemovedView:
    """Who owns something is removed only if an heir is named, who takes it all."""
    owners.remove(product.lifecycle, caller, name, heir=heir)
    return RemovedView(removed=name)


def _shown(product: Product, caller: Caller, name: str) -> OwnerShown:
    row = owners.show(product.lifecycle, caller, name)
    return owner_shown(row, owners.claims_of(product.lifecycle, caller, name))
