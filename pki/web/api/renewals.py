"""Renewals: what is to be done and how it stands, doing it now, and how many the coming days bring."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from ca.access import Caller, Operation
from pki.catching_up import catch_up
from pki.product import Product
from pki.web.answered_renewals import ForecastView, WorkPage
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep
from pki.web.lines import Line, Long, Say
from pki.web.views_renewals import forecast_view, work_view
from renewers import agenda
from renewers.timing import outlook

router = APIRouter(prefix="/renewals", tags=["renewals"])
Kind = Literal["renew", "ask-window", "deliver", "look", "notify"]
Standing = Literal["planned", "due", "failing", "stopped"]
MOST_SHOWN = 200
_RUN = Long("run", "due work is being done already", "wait, or look at certwright renew due")


@router.get("", summary="List due work")
def listing(
    product: ProductDep,
    caller: CallerDep,
    kind: Kind | None = None,
    standing: Annotated[Standing | None, Query(description="what is due, failing or stopped if left out")] = None,
    cursor: Annotated[int, Query(ge=0, le=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=agenda.MAX_PAGE)] = 50,
) -> WorkPage:
    """Renewals, deliveries, looks and notices: since when, the last error, the next attempt."""
    items, following = agenda.page(product.lifecycle, caller, standing=standing, kind=kind, cursor=cursor, limit=limit)
    return WorkPage(items=[work_view(item) for item in items], next=None if following is None else str(following))


@router.post("/run", summary="Do what is due now", response_class=StreamingResponse)
def run(product: ProductDep, caller: CallerDep, body: Nothing) -> StreamingResponse:
    """Answers with one JSON object a line: `{"done"}` while it runs, then the report. Harmless beside the schedule."""
    caller.must(Operation.RENEW_ANY)
    return _RUN.answer(lambda say: _run(product, caller, say), lambda why: {"error": why, "done": 0, "troubled": []})


@router.get("/plan", summary="Look ahead at renewals")
def plan(
    product: ProductDep,
    caller: CallerDep,
    lifetimes: Annotated[
        str,
        Query(
            max_length=64,
            pattern="^(now|[1-9][0-9]{0,3})(,(now|[1-9][0-9]{0,3})){0,7}$",
            description="longest lifetimes in days, and `now` for as it is today",
        ),
    ] = "now,200,100,64,45,6",
    days: Annotated[int, Query(ge=1, le=outlook.MOST_DAYS)] = 90,
    issuer: Annotated[str | None, Query(max_length=64, pattern="^[a-z0-9._-]+$", description="hold its limits")] = None,
    everything: Annotated[bool, Query(description="with what others renew")] = False,
) -> list[ForecastView]:
    """Renewals of each coming day under each lifetime, the limits that they would break, and where they pile up."""
    wanted = [None if word == "now" else int(word) for word in lifetimes.split(",")]
    found = outlook.look_ahead(
        product.lifecycle, caller, lifetimes=wanted, days=days, issuer=issuer, everything=everything
    )
    return [forecast_view(one) for one in found]


def _run(product: Product, caller: Caller, say: Say) -> Line:
    """Do it, saying how far it is. Returns how much that was, and what has trouble."""
    done = catch_up(product, lambda count: say({"done": count}))
    items, _ = agenda.page(product.lifecycle, caller, limit=MOST_SHOWN)
    return {"error": None, "done": done, "troubled": [work_view(item).model_dump() for item in items]}
