"""What people answer: acknowledge what is about to end; mailboxes that mail comes back from; an owner's calendar.

That a consumer acknowledges what it holds is another matter: `publications.py`, `consumers.py`. Answers by the links of
letters are `pki/web/links.py`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Query

from ca import clock
from ca.access import Operation
from ca.errors import BadRequest
from pki.web.answered_answers import (
    AcknowledgedPage,
    AcknowledgedView,
    BounceView,
    CalendarView,
    MailboxPage,
    RevivedView,
    WithdrawnView,
)
from pki.web.asked import PLAIN
from pki.web.asked_answers import AcknowledgeRequest, BounceRequest, CalendarRequest
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep, read_duration, read_moment
from pki.web.views_answers import acknowledged_view, bounce_view, mailbox_view
from renewers.answering import acknowledged, bounces, feed, mailboxes

router = APIRouter(tags=["answers"])
Cursor = Annotated[str, Query(max_length=400, pattern=PLAIN)]
Limit = Annotated[int, Query(ge=1, le=acknowledged.MAX_PAGE)]


@router.get("/acknowledged", summary="List what somebody takes care of")
def listing(product: ProductDep, caller: CallerDep, cursor: Cursor = "", limit: Limit = 50) -> AcknowledgedPage:
    """Until when, and why; what has ended is not listed."""
    rows, following = acknowledged.listing(product.lifecycle, caller, cursor=cursor, limit=limit)
    return AcknowledgedPage(items=[acknowledged_view(row, name) for row, name in rows], next=following)


@router.put("/tracked/{identity:path}/acknowledgement", summary="Take care of something tracked")
def acknowledge(product: ProductDep, caller: CallerDep, identity: str, body: AcknowledgeRequest) -> AcknowledgedView:
    """Nobody is reminded of it until then; that it has expired is told all the same. One of a lineage is about that."""
    return _acknowledged(product, caller, identity, body)


@router.put("/lineages/{name:path}/acknowledgement", summary="Take care of a lineage")
def acknowledge_lineage(
    product: ProductDep, caller: CallerDep, name: str, body: AcknowledgeRequest
) -> AcknowledgedView:
    """As for something tracked: never after the end of its current certificate, and for 90 days at most."""
    return _acknowledged(product, caller, f"lineage:{name}", body)


@router.delete("/tracked/{identity:path}/acknowledgement", summary="Take an acknowledgement back")
def withdraw(product: ProductDep, caller: CallerDep, identity: str) -> WithdrawnView:
    """Letters about it are written again."""
    return WithdrawnView(was_there=acknowledged.withdraw(product.lifecycle, caller, identity))


@router.delete("/lineages/{name:path}/acknowledgement", summary="Take a lineage's acknowledgement back")
def withdraw_lineage(product: ProductDep, caller: CallerDep, name: str) -> WithdrawnView:
    """Letters about it are written again."""
    return WithdrawnView(was_there=acknowledged.withdraw(product.lifecycle, caller, f"lineage:{name}"))


@router.get("/mailboxes", summary="List mailboxes that something is known of")
def mailbox_listing(
    product: ProductDep,
    caller: CallerDep,
    dead: Annotated[bool, Query(description="only those that mail comes back from")] = False,
    cursor: Cursor = "",
    limit: Limit = 50,
) -> MailboxPage:
    """Those that mail comes back from, and those that want no regular letters."""
    rows, following = mailboxes.listing(product.lifecycle, caller, dead=dead, cursor=cursor, limit=limit)
    return MailboxPage(items=[mailbox_view(row) for row in rows], next=following)


@router.post("/mailboxes/{address}/revive", summary="Send mail to an address again")
def revive(product: ProductDep, caller: CallerDep, address: str, body: Nothing) -> RevivedView:
    """Somebody has seen to it that mail arrives; the alarm is over."""
    return RevivedView(was_dead=mailboxes.revive(product.lifecycle, caller, address))


@router.post("/bounces", summary="Report a letter that came back")
def report(product: ProductDep, caller: CallerDep, body: BounceRequest) -> BounceView:
    """What a mail server sent to `mail.bounces_to`. A letter of ours that failed for good makes its mailbox dead."""
    caller.must(Operation.MANAGE_INVENTORY)
    try:
        content = base64.b64decode(body.message, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("message is no base64 text", code="bad-report") from None
    return bounce_view(bounces.report(product.lifecycle, caller, content))


@router.post("/owners/{name:path}/calendar", summary="Give the address of an owner's calendar")
def calendar(product: ProductDep, caller: CallerDep, name: str, body: CalendarRequest) -> CalendarView:
    """It is a credential: whoever has it reads the calendar. A renewed one makes the older ones hold no more."""
    give = feed.renew if body.renew else feed.show
    return CalendarView(url=give(product.lifecycle, caller, name))


def _acknowledged(product: ProductDep, caller: CallerDep, what: str, body: AcknowledgeRequest) -> AcknowledgedView:
    row, name = acknowledged.acknowledge_named(product.lifecycle, caller, what, _until(body), body.reason)
    return acknowledged_view(row, name)


def _until(body: AcknowledgeRequest) -> int:
    if (body.until is None) == (body.within is None):
        raise BadRequest("exactly one of until and within is needed", code="bad-until")
    lasting = read_duration(body.within)
    return clock.timestamp() + int(lasting.total_seconds()) if lasting is not None else read_moment(body.until or "")
