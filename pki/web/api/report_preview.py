"""Letters to owners, before they are sent: any owner's, for any day."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from pki.web.answered_reports import LetterPreview
from pki.web.asked import PLAIN
from pki.web.context import CallerDep, ProductDep
from pki.web.views import moment
from renewers.reports import preview
from renewers.reports.preview import Preview

router = APIRouter(prefix="/reports", tags=["reports"])


@router.get("/preview", summary="Preview a letter to an owner")
def show(
    product: ProductDep,
    caller: CallerDep,
    owner: Annotated[str, Query(min_length=1, max_length=128, pattern=PLAIN, description="an owner's name")],
    at: Annotated[
        str | None,
        Query(max_length=40, pattern=PLAIN, description="a day, or a moment as RFC 3339 has it; now if left out"),
    ] = None,
    kind: Annotated[
        str, Query(max_length=20, pattern=PLAIN, description="`digest`, `daily`, `urgent` or `escalation`")
    ] = "digest",
) -> LetterPreview:
    """What an owner would be written at that moment, were nothing done until then. Nothing is sent."""
    return _view(preview.preview(product.lifecycle, caller, owner, at=at, kind=kind))


def _view(found: Preview) -> LetterPreview:
    digest, message = found.digest, found.message
    return LetterPreview(
        owner=digest.owner.name,
        kind=digest.kind,
        at=moment(digest.at),
        subject=found.subject,
        recipient=str(message["To"]),
        act_now=digest.now_count,
        soon=digest.soon_count,
        healthy=digest.healthy,
        is_empty=digest.is_empty,
        text=preview.text_of(message),
        message=message.as_bytes().decode("ascii"),
    )
