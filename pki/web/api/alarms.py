"""Alarms: what is wrong now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from pki.web.answered_renewals import AlarmPage
from pki.web.asked import PLAIN
from pki.web.context import CallerDep, ProductDep, read_pair
from pki.web.views_renewals import alarm_view
from renewers.telling import chronicle

router = APIRouter(prefix="/alarms", tags=["alarms"])


@router.get("", summary="List alarms")
def listing(
    product: ProductDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=2048, pattern=PLAIN)] = None,
    limit: Annotated[int, Query(ge=1, le=chronicle.MAX_PAGE)] = 50,
) -> AlarmPage:
    """Everything that is wrong now, each with its age and whose it is. What has recovered is an event."""
    found, following = chronicle.standing(product.lifecycle, caller, cursor=read_pair(cursor), limit=limit)
    return AlarmPage(
        items=[alarm_view(row, owner) for row, owner in found],
        next=None if following is None else ":".join(following),
    )
