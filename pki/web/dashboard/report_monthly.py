"""The report of a month as a page, and as files to keep. Only what was kept is shown: a page gathers nothing.

The HTML file is handed out to be saved, since its style stands inside it and no page of ours may have that.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from ca.errors import NotFound
from pki.web.api import report_monthly
from pki.web.api.report_monthly import TYPES
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from renewers.reports.monthly import snapshots
from renewers.reports.monthly.blocks import Block, Report, Table
from renewers.reports.monthly.months import Month, parse
from renewers.reports.monthly.snapshots import Kept

router = routes.pages()
ROWS = 50
"""How many rows of a table a page shows; the files have all."""
TEMPLATE = "report_monthly.html"


@router.get("/reports/monthly")
def last(request: Request) -> Response:
    """The newest month that is kept."""
    page.signed_in(request).must(Operation.READ_INVENTORY)
    known = snapshots.months(product_of(request).lifecycle.store)
    if not known:
        return page.page(request, TEMPLATE, title="Monthly report", report=None, months=(), month=None)
    return _shown(request, known[0], known)


@router.get("/reports/monthly/{month}")
def one(request: Request, month: str) -> Response:
    """One month."""
    page.signed_in(request).must(Operation.READ_INVENTORY)
    return _shown(request, parse(month), snapshots.months(product_of(request).lifecycle.store))


@router.get("/reports/monthly/{month}/{form}")
def file(request: Request, month: str, form: str) -> Response:
    """One month as a file: `pdf`, `html` or `json`."""
    page.signed_in(request).must(Operation.READ_INVENTORY)
    kept = _kept(request, parse(month))
    for known in TYPES.values():
        if form == known:
            answer = report_monthly.answer(product_of(request), kept, known)
            name = f"certificates-{kept.month}.{known}"
            answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
            return answer
    raise NotFound("a report is there as pdf, html and json", code="not-found")


def _shown(request: Request, month: Month, known: list[Month]) -> Response:
    from renewers.reports.monthly import chapters

    report = chapters.compose(_kept(request, month))
    values: dict[str, Any] = {
        "report": report,
        "chapters": _chapters(report),
        "months": known,
        "month": month,
        "most": ROWS,
    }
    return page.page(request, TEMPLATE, title=report.title, **values)


def _kept(request: Request, month: Month) -> Kept:
    kept = snapshots.find(product_of(request).lifecycle.store, month)
    if kept is None:
        raise NotFound(f"no report of {month.name} is kept", code="unknown-report")
    return kept


def _chapters(report: Report) -> list[dict[str, Any]]:
    """Chapters with their blocks, each with the word that the template knows it by."""
    return [{"chapter": one, "blocks": [(_kind(block), block) for block in one.blocks]} for one in report.chapters]


def _kind(block: Block) -> str:
    if isinstance(block, Table) and not block.rows:
        return "nothing"
    return type(block).__name__.lower()
