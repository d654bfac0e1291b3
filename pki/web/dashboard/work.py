"""Due work and what fails; alarms that stand; events that were."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from ca.access import Operation
from pki.web.context import product_of
from pki.web.dashboard import page, routes
from pki.web.dashboard.hrefs import href
from renewers import agenda, backlog
from renewers.overview import saying
from renewers.telling import chronicle
from renewers.telling.events import SEVERITIES

router = routes.pages()
Text = Annotated[str, Query(max_length=600)]
Number = Annotated[int | None, Query(ge=0, lt=1 << 53)]
STANDINGS = ("due", "failing", "stopped", "planned")


@router.get("/work")
def work(request: Request, standing: Text = "", kind: Text = "", cursor: Number = None) -> Response:
    """What is due, and what fails."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    lifecycle = product_of(request).lifecycle
    asked = {"standing": standing, "kind": kind}
    items, following = agenda.page(lifecycle, caller, standing=standing or None, kind=kind or None, cursor=cursor or 0)
    counts = backlog.counts(lifecycle.store)
    return page.page(
        request,
        "work.html",
        title="Work",
        items=items,
        asked=asked,
        counts=counts,
        oldest=backlog.oldest_due(lifecycle.store),
        standings=[
            ("due, failing or stopped", href("/work", asked, standing=""), not standing),
            *((one, href("/work", asked, standing=one), standing == one) for one in STANDINGS),
        ],
        kinds=[
            ("all", href("/work", asked, kind=""), not kind),
            *((one, href("/work", asked, kind=one), kind == one) for one in sorted(counts)),
        ],
        first=href("/work", asked) if cursor else None,
        following=None if following is None else href("/work", asked, cursor=following),
    )


@router.get("/alarms")
def alarms(request: Request, severity: Text = "", kind: Text = "", cursor: Text = "") -> Response:
    """What is wrong now, the worst first."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    asked = {"severity": severity, "kind": kind}
    found = saying.alarms(
        product_of(request).lifecycle, caller, severity=severity or None, kind=kind or None, cursor=cursor or None
    )
    return page.page(
        request,
        "alarms.html",
        title="Alarms",
        found=found,
        asked=asked,
        severities=[
            ("all", href("/alarms", asked, severity=""), not severity, sum(found.severities.values())),
            *(
                (one, href("/alarms", asked, severity=one), severity == one, found.severities.get(one, 0))
                for one in reversed(SEVERITIES)
            ),
        ],
        kinds=[
            ("all", href("/alarms", asked, kind=""), not kind),
            *((one, href("/alarms", asked, kind=one), kind == one, n) for one, n in found.kinds.items()),
        ],
        first=href("/alarms", asked) if cursor else None,
        following=None if found.next is None else href("/alarms", asked, cursor=found.next),
    )


@router.get("/events")
def events(
    request: Request, kind: Text = "", subject: Text = "", severity: Text = "", cursor: Number = None
) -> Response:
    """What has happened, newest first."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    asked = {"kind": kind, "subject": subject, "severity": severity}
    rows, following = chronicle.events(
        product_of(request).lifecycle,
        caller,
        kind=kind or None,
        subject=subject or None,
        severity=severity or None,
        cursor=cursor,
    )
    return page.page(
        request,
        "events.html",
        title="Events",
        events=saying.told(product_of(request).lifecycle, rows),
        asked=asked,
        severities=[
            ("all", href("/events", asked, severity=""), not severity),
            *((f"{one} or worse", href("/events", asked, severity=one), severity == one) for one in SEVERITIES[1:]),
        ],
        first=href("/events", asked) if cursor else None,
        following=None if following is None else href("/events", asked, cursor=following),
    )
