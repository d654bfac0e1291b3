"""Events: what has happened that others want to know."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from pki.web.answered_renewals import EventPage
from pki.web.asked import PLAIN
from pki.web.context import CallerDep, ProductDep
from pki.web.views_renewals import event_view
from renewers.telling import chronicle

router = APIRouter(prefix="/events", tags=["events"])
Text = Annotated[str | None, Query(max_length=2048, pattern=PLAIN)]
Severity = Literal["info", "warning", "error", "critical"]


@router.get("", summary="List events")
def listing(
    product: ProductDep,
    caller: CallerDep,
    kind: Text = None,
    subject: Text = None,
    severity: Annotated[Severity | None, Query(description="at least this severe")] = None,
    cursor: Annotated[int | None, Query(ge=0, le=1 << 53)] = None,
    limit: Annotated[int, Query(ge=1, le=chronicle.MAX_PAGE)] = 50,
) -> EventPage:
    """Newest first. A page may be short, or empty, and still have a next one."""
    wanted = {"kind": kind, "subject": subject, "severity": severity}
    rows, following = chronicle.events(product.lifecycle, caller, **wanted, cursor=cursor, limit=limit)
    return EventPage(items=[event_view(row) for row in rows], next=None if following is None else str(following))
