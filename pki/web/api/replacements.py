"""Mass replacements: plan, start, list, show, report, stop; and their drill, whose answer comes line by line."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from ca.access import Caller, Operation
from ca.revocation import parse_reason
from pki.product import Product
from pki.web.answered_replacements import (
    ItemPage,
    ReplacementPage,
    ReplacementPreview,
    ReplacementReport,
    ReplacementShown,
)
from pki.web.asked_replacements import DrillRequest, ReplacementRequest
from pki.web.asked_rotations import SteerRequest
from pki.web.context import CallerDep, ProductDep, read_duration
from pki.web.lines import Line, Long, Say
from pki.web.views import cost_view
from pki.web.views_replacements import (
    drill_view,
    item_view,
    preview_view,
    replacement_shown,
    replacement_view,
    report_view,
)
from renewers.distribution import carrying
from renewers.lifecycle import Lifecycle
from renewers.replacing import drill, plans, preview, replacement, report, showing
from renewers.replacing.plans import ReplacementPlan
from renewers.replacing.selection import read_selection

router = APIRouter(prefix="/replacements", tags=["replacements"])
_DRILL = Long("drill", "a drill is running already", "it ends by itself: wait")


@router.get("", summary="List mass replacements")
def listing(
    product: ProductDep,
    caller: CallerDep,
    state: Literal["open", "done", "stopped"] | None = None,
    cursor: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
    limit: Annotated[int, Query(ge=1, le=showing.MAX_PAGE)] = 50,
) -> ReplacementPage:
    """Newest first, those of rotations among them."""
    rows, following = showing.page(product.lifecycle, caller, state=state, cursor=cursor, limit=limit)
    return ReplacementPage(items=[replacement_view(row) for row in rows], next=following)


@router.post("", status_code=201, summary="Replace certificates in numbers")
def start(product: ProductDep, caller: CallerDep, body: ReplacementRequest) -> ReplacementShown:
    """Each with a new key, in order of what is at stake, at most so many a minute; as due work, accounted for."""
    made = replacement.begin(product.lifecycle, caller, _plan(product, body))
    return replacement_shown(showing.show(product.lifecycle, caller, made))


@router.post("/plan", summary="Show what a mass replacement would do")
def plan(product: ProductDep, caller: CallerDep, body: ReplacementRequest) -> ReplacementPreview:
    """How many, how long, in which order, and who else has to act. Changes nothing."""
    found = preview.plan(product.lifecycle, caller, _plan(product, body))
    cost = None if found.cost is None else cost_view(found.cost, carrying.carried_to(product.lifecycle), 0)
    return preview_view(found, cost)


@router.post("/drill", summary="Drill a mass replacement in a sandbox", response_class=StreamingResponse)
def run_drill(product: ProductDep, caller: CallerDep, body: DrillRequest) -> StreamingResponse:
    """Answers with one JSON object a line: `{"done", "of"}` while it runs, then the report.

    A throwaway installation like this one issues as many certificates and replaces them; of this one it only reads.
    """
    caller.must(Operation.MANAGE_INVENTORY)
    wanted = _plan(product, body)
    plans.check(wanted)
    return _DRILL.answer(
        partial(_run, product.lifecycle, caller, wanted, body.count),
        lambda why: {"error": why, "done": 0, "of": 0},
    )


@router.get("/{replacement}", summary="Show a mass replacement")
def show(product: ProductDep, caller: CallerDep, replacement: int) -> ReplacementShown:
    """Its account, and when it is looked at next."""
    return replacement_shown(showing.show(product.lifecycle, caller, _known(replacement)))


@router.get("/{replacement}/certificates", summary="List the certificates of a mass replacement")
def items(
    product: ProductDep,
    caller: CallerDep,
    replacement: int,
    state: Literal["waiting", "renewing", "replaced", "verified", "revoked", "ended"] | None = None,
    cursor: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=showing.MAX_PAGE)] = 50,
) -> ItemPage:
    """What became of each, and why."""
    known = _known(replacement)
    rows, following = showing.items(product.lifecycle, caller, known, state=state, cursor=cursor, limit=limit)
    return ItemPage(items=[item_view(row) for row in rows], next=following)


@router.get("/{replacement}/report", summary="Report on a mass replacement")
def show_report(product: ProductDep, caller: CallerDep, replacement: int) -> ReplacementReport:
    """Counts, times, owners, what is left and why, and the ledger's entries that prove it."""
    return report_view(report.report(product.lifecycle, caller, _known(replacement)))


@router.post("/{replacement}/stop", summary="Stop a mass replacement")
def stop(product: ProductDep, caller: CallerDep, replacement: int, body: SteerRequest) -> ReplacementShown:
    """Nothing more begins; what is replaced stays so."""
    _stop(product.lifecycle, caller, _known(replacement), body.reason)
    return replacement_shown(showing.show(product.lifecycle, caller, _known(replacement)))


_stop = replacement.stop
"""By another name, since a path's parameter has its own."""


def _known(identity: int) -> int:
    """An id that the database can look for; no other number is anybody's."""
    return identity if 0 < identity < 1 << 53 else 0


def _plan(product: Product, body: ReplacementRequest) -> ReplacementPlan:
    deadline = read_duration(body.deadline)
    return ReplacementPlan(
        selection=read_selection(body.selection.model_dump(exclude_none=True)),
        reason=body.reason,
        per_minute=product.settings.rotation.per_minute if body.per_minute is None else body.per_minute,
        revokes=body.revokes,
        revocation_reason=parse_reason(body.revocation_reason),
        deadline=None if deadline is None else int(deadline.total_seconds()),
    )


def _run(lifecycle: Lifecycle, caller: Caller, wanted: ReplacementPlan, count: int | None, say: Say) -> Line:
    """Run the drill, saying how far it is."""
    found = drill.drill(lifecycle, caller, wanted, lambda done, of: say({"done": done, "of": of}), count=count)
    ends = 2 * found.lineages
    return {"error": None, "done": ends, "of": ends, **drill_view(found).model_dump()}
