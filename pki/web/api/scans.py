"""Scans: looking at many endpoints once; what answers is tracked, and looked at again from then on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from pki.web.asked_inventory import ScanRequest
from pki.web.context import CallerDep, ProductDep
from pki.web.lines import Line, Long, Say
from pki.web.views_inventory import endpoint_view
from renewers.discovery import listing
from renewers.discovery.run import Pace, Progress, discover
from renewers.inventory import owners
from renewers.lifecycle import Lifecycle

router = APIRouter(prefix="/scans", tags=["scans"])
MOST_SHOWN = 1000
"""How many endpoints with findings, and how many that showed nothing, a report names."""
_SCAN = Long("scan", "a scan is running already", "it ends by itself: wait")


@router.post("", summary="Scan endpoints", response_class=StreamingResponse)
def scan(product: ProductDep, caller: CallerDep, body: ScanRequest) -> StreamingResponse:
    """Answers with one JSON object a line: `{"done", "of", "seen"}` while it runs, then the report."""
    lifecycle = product.lifecycle
    owner_id = None if body.owner is None else owners.show(lifecycle, caller, body.owner).id
    pace = Pace(sockets=product.settings.inventory.scan_sockets)
    steps = discover(lifecycle, caller, body.targets, owner_id=owner_id, pace=pace)
    return _SCAN.answer(partial(_run, lifecycle, steps), lambda why: {"error": why, "done": 0, "of": 0, "seen": 0})


def _run(lifecycle: Lifecycle, steps: Iterator[Progress], say: Say) -> Line:
    """Run the scan, saying how far it is. Returns what it came to."""
    last, seen = Progress(0, 0, 0, "", None), list[str]()
    unseen, reasons = list[dict[str, str]](), Counter[str]()
    for last in steps:
        if last.problem is None:
            seen.append(last.place)
        else:
            reasons[last.problem.removeprefix(f"{last.place}: ")] += 1
            unseen += [{"place": last.place, "reason": last.problem}] if len(unseen) < MOST_SHOWN else []
        say({"done": last.done, "of": last.total, "seen": last.seen})
    places = [endpoint_view(place) for place in listing.at(lifecycle, seen)]
    shown = places if len(places) <= MOST_SHOWN else [place for place in places if place.findings]
    return {
        "error": None,
        "done": last.done,
        "of": last.total,
        "seen": last.seen,
        "findings": dict(Counter(code for place in places for code in place.findings)),
        "endpoints": [place.model_dump() for place in shown[:MOST_SHOWN]],
        "unseen": unseen,
        "reasons": dict(reasons.most_common(20)),
    }
