"""The monthly report: as JSON for programs, as one HTML file for a screen, as PDF for whoever signs it."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from pki.product import Product
from pki.web.context import CallerDep, ProductDep
from pki.web.described import bytes_of
from pki.web.views import moment
from renewers.reports.monthly import snapshots
from renewers.reports.monthly.months import parse
from renewers.reports.monthly.snapshots import Kept

router = APIRouter(prefix="/reports", tags=["reports"])
Format = Literal["json", "html", "pdf"]
TYPES: dict[str, Format] = {"application/json": "json", "text/html": "html", "application/pdf": "pdf"}


@router.get("/monthly", summary="The report of a month", response_class=Response, responses=bytes_of(*TYPES))
def show(
    product: ProductDep,
    caller: CallerDep,
    month: Annotated[
        str | None,
        Query(pattern="^[0-9]{4}-[0-9]{2}$", description="such as 2026-11; the last one that is over if left out"),
    ] = None,
    format: Annotated[  # noqa: A002 - the word that callers write
        Format | None, Query(description="`json`, `html` or `pdf`; what Accept says if left out")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Figures as they were kept when the month was over; of the present month those so far, which are not kept."""
    kept = snapshots.report(product.lifecycle, caller, None if month is None else parse(month))
    return answer(product, kept, format or wanted(accept))


def answer(product: Product, kept: Kept, format_: Format) -> Response:
    """A report in one of its forms."""
    name = f"certificates-{kept.month}.{format_}"
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'inline; filename="{name}"', "Vary": "Accept"}
    if format_ == "json":
        return Response(text_of(kept), headers=headers, media_type="application/json")
    from renewers.reports.monthly import chapters, html, paper  # fonts and templates: most requests need neither

    report = chapters.compose(kept)
    if format_ == "pdf":
        return Response(paper.render(report), headers=headers, media_type="application/pdf")
    templates = product.lifecycle.templates
    headers |= {"Content-Security-Policy": html.policy(templates), "X-Content-Type-Options": "nosniff"}
    return Response(html.render(report, templates), headers=headers, media_type="text/html; charset=utf-8")


def text_of(kept: Kept) -> str:
    """As JSON. `sha256` is that of the figures' own text: sorted keys, no spaces, ASCII."""
    named = {"month": str(kept.month), "taken_at": moment(kept.at), "sha256": kept.sha256}
    return json.dumps({**named, "figures": kept.figures}, sort_keys=True, separators=(",", ":"))


def wanted(accept: str) -> Format:
    """What a request prefers of what there is (RFC 9110 section 12.5.1); JSON where it does not say."""
    best: tuple[float, Format] = (0.0, "json")
    for part in accept.split(","):
        type_, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = next((_number(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
        if type_ in TYPES and quality > best[0]:
            best = (quality, TYPES[type_])
    return best[1]


def _number(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
