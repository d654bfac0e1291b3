"""Rotations of authorities: plan, start, list, show; pause, resume, hurry, override, abort; what breaks."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from ca.errors import BadRequest
from ca.keys.algorithms import KeyType
from pki.product import Product
from pki.web.answered_rotations import AffectedPage, PreviewView, RotationPage, RotationShown
from pki.web.asked import PLAIN
from pki.web.asked_rotations import OverrideRequest, RotationRequest, SteerRequest
from pki.web.context import CallerDep, ProductDep, read_duration, read_subject
from pki.web.views_rotations import affected_view, preview_view, rotation_shown, rotation_view
from renewers.rotation import impact, showing, starting, steering
from renewers.rotation.plans import RotationPlan

router = APIRouter(prefix="/rotations", tags=["rotations"])


@router.get("", summary="List rotations")
def listing(
    product: ProductDep,
    caller: CallerDep,
    state: Literal["open", "done", "aborted"] | None = None,
    cursor: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
    limit: Annotated[int, Query(ge=1, le=showing.MAX_PAGE)] = 50,
) -> RotationPage:
    """Newest first."""
    rows, following = showing.page(product.lifecycle, caller, state=state, cursor=cursor, limit=limit)
    return RotationPage(items=[rotation_view(row) for row in rows], next=following)


@router.post("", status_code=201, summary="Rotate an authority")
def start(product: ProductDep, caller: CallerDep, body: RotationRequest) -> RotationShown:
    """Prepare, introduce, wait for proof, activate, re-issue, drain, distrust, retire: as due work, by evidence."""
    made = starting.start(product.lifecycle, caller, _plan(product, body))
    return rotation_shown(showing.show(product.lifecycle, caller, made))


@router.post("/plan", summary="Show what a rotation would do")
def plan(product: ProductDep, caller: CallerDep, body: RotationRequest) -> PreviewView:
    """What would be made, who would be waited for, and what would break without waiting. Changes nothing."""
    return preview_view(starting.plan(product.lifecycle, caller, _plan(product, body)))


@router.get("/affected", summary="List what hangs on an authority")
def affected(
    product: ProductDep,
    caller: CallerDep,
    authority: Annotated[str, Query(min_length=1, max_length=128, pattern=PLAIN)],
    cursor: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=impact.MAX_PAGE)] = 50,
) -> AffectedPage:
    """The live leaves beneath it: what breaks if it is distrusted now, whose that is, and where it is seen."""
    rows, following = impact.page(product.lifecycle, caller, [authority], cursor=cursor, limit=limit)
    return AffectedPage(items=[affected_view(row) for row in rows], next=following)


@router.get("/{rotation}", summary="Show a rotation")
def show(product: ProductDep, caller: CallerDep, rotation: int) -> RotationShown:
    """Its stages with their evidence, what it waits for, and what was overridden."""
    return _shown(product, caller, rotation)


@router.post("/{rotation}/pause", summary="Pause a rotation")
def pause(product: ProductDep, caller: CallerDep, rotation: int, body: SteerRequest) -> RotationShown:
    """It does nothing more until it is resumed."""
    steering.pause(product.lifecycle, caller, _known(rotation), body.reason)
    return _shown(product, caller, rotation)


@router.post("/{rotation}/resume", summary="Resume a rotation")
def resume(product: ProductDep, caller: CallerDep, rotation: int, body: SteerRequest) -> RotationShown:
    """It goes on where it was paused, or where it had stopped failing."""
    steering.resume(product.lifecycle, caller, _known(rotation), body.reason)
    return _shown(product, caller, rotation)


@router.post("/{rotation}/hurry", summary="Have a rotation look again now")
def hurry(product: ProductDep, caller: CallerDep, rotation: int, body: SteerRequest) -> RotationShown:
    """And not wait for a time that was named to be kind. Its gates stay what they are."""
    steering.hurry(product.lifecycle, caller, _known(rotation), body.reason)
    return _shown(product, caller, rotation)


@router.post("/{rotation}/override", summary="Let a rotation pass a gate, in writing")
def override(product: ProductDep, caller: CallerDep, rotation: int, body: OverrideRequest) -> RotationShown:
    """Without one consumer, certificate or place, or without `all`."""
    steering.override(product.lifecycle, caller, _known(rotation), body.gate, body.subject, body.reason)
    return _shown(product, caller, rotation)


@router.post("/{rotation}/abort", summary="Abort a rotation")
def abort(product: ProductDep, caller: CallerDep, rotation: int, body: SteerRequest) -> RotationShown:
    """There is a way back at every stage before distrust: after activation the same story runs the other way."""
    steering.abort(product.lifecycle, caller, _known(rotation), body.reason)
    return _shown(product, caller, rotation)


def _shown(product: Product, caller: CallerDep, rotation: int) -> RotationShown:
    return rotation_shown(showing.show(product.lifecycle, caller, _known(rotation)))


def _known(rotation: int) -> int:
    """An id that the database can look for; no other number is anybody's."""
    return rotation if 0 < rotation < 1 << 53 else 0


def _plan(product: Product, body: RotationRequest) -> RotationPlan:
    settings = product.settings.rotation
    return RotationPlan(
        line=body.line,
        reason=body.reason,
        is_compromise=body.compromised,
        key_type=_key_type(body.key_type),
        subject=read_subject(body.subject),
        lifetime=read_duration(body.lifetime),
        cross=body.cross,
        patience=_seconds(body.patience),
        drain_patience=_seconds(body.drain_patience),
        per_minute=settings.per_minute if body.per_minute is None else body.per_minute,
        revokes=body.revokes,
        share=settings.consumers if body.consumers is None else body.consumers,
        leaves_left=settings.leaves_left if body.leaves_left is None else body.leaves_left,
    )


def _seconds(text: str | None) -> int | None:
    found = read_duration(text)
    return None if found is None else int(found.total_seconds())


def _key_type(text: str | None) -> KeyType | None:
    if text is None:
        return None
    try:
        return KeyType(text)
    except ValueError:
        raise BadRequest(f"{text[:40]!r} is not a kind of key", code="bad-key-type", hint="such as P-256") from None
