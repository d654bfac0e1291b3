"""Acts that take two persons: what waits for another one, granting it, refusing it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from ca import approval
from ca.access import Operation
from ca.approval import Shown
from pki.web.answered_approvals import ApprovalView
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep
from pki.web.views import moment

router = APIRouter(prefix="/approvals", tags=["authorities"])
Number = Annotated[int, Path(ge=1, lt=1 << 63)]


@router.get("", summary="List what took or takes two persons")
def listing(product: ProductDep, caller: CallerDep) -> list[ApprovalView]:
    """The newest first, at most 200."""
    return [_view(one) for one in approval.listing(product.installation, caller)]


@router.get("/{number}", summary="Show an act that takes two persons")
def show(product: ProductDep, caller: CallerDep, number: Number) -> ApprovalView:
    """With everything that decides what it will do."""
    return _view(approval.find(product.installation, caller, number))


@router.post("/{number}/grant", summary="Grant an act of somebody else")
def grant(product: ProductDep, caller: CallerDep, number: Number, body: Nothing) -> ApprovalView:
    """Exactly this, once, until it expires. Whoever asked then says it again."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    return _view(approval.decide(product.installation, caller, number, is_granted=True))


@router.post("/{number}/refuse", summary="Refuse an act of somebody else")
def refuse(product: ProductDep, caller: CallerDep, number: Number, body: Nothing) -> ApprovalView:
    """Whoever asked may take it back in this way."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    return _view(approval.decide(product.installation, caller, number, is_granted=False))


def _view(one: Shown) -> ApprovalView:
    return ApprovalView(
        id=one.id,
        act=one.act,
        subject=one.subject,
        details=one.details,
        state=one.state,
        asked_by=one.asked_by,
        asked_at=moment(one.asked_at),
        expires_at=moment(one.expires_at),
        decided_by=one.decided_by,
        decided_at=None if one.decided_at is None else moment(one.decided_at),
        used_at=None if one.used_at is None else moment(one.used_at),
    )
