"""Scans: looking once at many endpoints, which are looked at again from then on, or at the files of a directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from ca.access import Caller
from ca.errors import BadRequest
from pki.product import Product
from pki.web.asked_inventory import ScanRequest
from pki.web.context import CallerDep, ProductDep
from pki.web.lines import Line, Long, Say
from pki.web.views_inventory import endpoint_view
from renewers.discovery import listing
from renewers.discovery.files import Read, discover_files
from renewers.discovery.run import Pace, Progress, discover
from renewers.discovery.targets import MOST
from renewers.inventory import owners
from renewers.lifecycle import Lifecycle

router = APIRouter(prefix="/scans", tags=["scans"])
MOST_SHOWN = 1000
"""How many places, those with findings first, and how many that showed nothing, a report names."""
_SCAN = Long("scan", "a scan is running already", "it ends by itself: wait")


@dataclass(frozen=True, slots=True)
class _Step:
    """How far it is, and what came of the newest endpoint or file."""

    done: int
    of: int | None
    seen: int
    place: str
    showing: tuple[str, ...]
    problem: str | None


@router.post("", summary="Scan endpoints, or a directory", response_class=StreamingResponse)
def scan(product: ProductDep, caller: CallerDep, body: ScanRequest) -> StreamingResponse:
    """Answers with one JSON object a line: `{"done", "of", "seen"}` while it runs, then the report.

    Of endpoints, how many answered is what was seen. Of a directory, `done` counts files and `seen` the certificates in
    them; how many files there are is not known before the end.
    """
    steps = _steps(product, caller, body)
    return _SCAN.answer(
        partial(_run, product.lifecycle, steps), lambda why: {"error": why, "done": 0, "of": 0, "seen": 0}
    )


def _steps(product: Product, caller: Caller, body: ScanRequest) -> Iterator[_Step]:
    """What was asked for, ready to run."""
    lifecycle = product.lifecycle
    owner_id = None if body.owner is None else owners.show(lifecycle, caller, body.owner).id
    if body.targets is not None and body.directory is None:
        pace = Pace(sockets=product.settings.inventory.scan_sockets)
        return _of_endpoints(discover(lifecycle, caller, body.targets, owner_id=owner_id, pace=pace))
    if body.directory is not None and body.targets is None:
        return _of_files(discover_files(lifecycle, caller, Path(body.directory), owner_id=owner_id))
    raise BadRequest("say exactly one of targets and directory")


def _of_endpoints(steps: Iterator[Progress]) -> Iterator[_Step]:
    for step in steps:
        showing = (step.place,) if step.problem is None else ()
        yield _Step(step.done, step.total, step.seen, step.place, showing, step.problem)


def _of_files(files: Iterator[Read]) -> Iterator[_Step]:
    seen = 0
    for done, file in enumerate(files, start=1):
        seen += len(file.places)
        yield _Step(done, None, seen, file.place, file.places, file.problem)


def _run(lifecycle: Lifecycle, steps: Iterator[_Step], say: Say) -> Line:
    """Run the scan, saying how far it is. Returns what it came to."""
    last, seen = _Step(0, 0, 0, "", (), None), list[str]()
    unseen, reasons = list[dict[str, str]](), Counter[str]()
    for last in steps:
        seen += last.showing[: MOST - len(seen)]
        if last.problem is not None:
            reasons[last.problem.removeprefix(f"{last.place}: ")] += 1
            unseen += [{"place": last.place, "reason": last.problem}] if len(unseen) < MOST_SHOWN else []
        say({"done": last.done, "of": last.of, "seen": last.seen})
    places = [endpoint_view(place) for place in listing.at(lifecycle, seen)]
    shown = sorted(places, key=lambda place: not place.findings)
    return {
        "error": None,
        "done": last.done,
        "of": last.done if last.of is None else last.of,
        "seen": last.seen,
        "findings": dict(Counter(code for place in places for code in place.findings)),
        "endpoints": [place.model_dump() for place in shown[:MOST_SHOWN]],
        "unseen": unseen,
        "reasons": dict(reasons.most_common(20)),
    }
