"""The ledger: its head, its entries, and the audit that holds the whole store against a head kept elsewhere."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlmodel import col
from starlette.responses import StreamingResponse

from ca.access import Operation
from ca.errors import NotFound
from ca.ledger.checkpoint import Head, open_head
from ca.ledger.reconcile import audit
from ca.models import LedgerEntry
from pki.product import Product
from pki.web.answered import EntryPage, EntryView, HeadView
from pki.web.asked import PLAIN, VerifyRequest
from pki.web.context import CallerDep, ProductDep
from pki.web.lines import Line, Long, Say

router = APIRouter(prefix="/ledger", tags=["ledger"])


@router.get("/head", summary="The newest signed head")
def head(product: ProductDep, caller: CallerDep) -> HeadView:
    """Keep it elsewhere: it is what the ledger can be held against later."""
    caller.must(Operation.READ_LEDGER)
    ledger = product.installation.ledger
    ledger.sequence()
    newest = ledger.head()
    if newest is None:
        raise NotFound("the ledger is empty", code="empty-ledger")
    return HeadView(
        checkpoint=newest.checkpoint, verifier=str(ledger.verifier), size=newest.size, waiting=ledger.waiting()
    )


@router.get("/entries", summary="Entries of the ledger")
def entries(
    product: ProductDep,
    caller: CallerDep,
    subject: Annotated[
        str | None, Query(max_length=128, pattern=PLAIN, description="a serial number, an authority's name...")
    ] = None,
    after: Annotated[int, Query(ge=0, le=1 << 53, description="entries with a larger id")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EntryPage:
    """Oldest first; everything that ever happened, or what happened to one subject."""
    caller.must(Operation.READ_LEDGER)
    query = select(LedgerEntry).where(col(LedgerEntry.id) > after).order_by(col(LedgerEntry.id)).limit(limit + 1)
    if subject is not None:
        query = query.where(col(LedgerEntry.subject) == subject)
    with product.installation.store.read() as connection:
        rows = connection.execute(query).all()
    items = [
        EntryView(id=row.id, position=row.position, leaf_hash=row.leaf_hash.hex(), entry=_body(row.body))
        for row in rows[:limit]
    ]
    return EntryPage(items=items, next=str(items[-1].id) if len(rows) > limit else None)


@router.post("/verify", summary="Audit the whole store", response_class=StreamingResponse)
def verify(product: ProductDep, caller: CallerDep, body: VerifyRequest) -> StreamingResponse:
    """Answers with one JSON object a line: `{"checked", "of"}` while it runs, then the report.

    Without a checkpoint it is held against the newest head that this installation keeps outside of its database.
    """
    caller.must(Operation.READ_LEDGER)
    ledger = product.installation.ledger
    kept = open_head(body.checkpoint, ledger.verifier) if body.checkpoint is not None else None
    return _AUDIT.answer(
        lambda say: _audit(product, kept, say), lambda why: {"is_sound": False, "first": why, "findings": []}
    )


_AUDIT = Long("audit", "an audit is running already", "it reads the whole store: wait")


def _audit(product: Product, kept: Head | None, say: Say) -> Line:
    """Run the audit, saying how far it is. Returns what it came to."""
    ledger, own = product.installation.ledger, product.audits.kept()
    ledger.sequence()
    report = audit(
        product.installation.store,
        ledger.verifier,
        kept=kept or (None if own is None else own.head),
        progress=lambda done, of: say({"checked": done, "of": of}),
    )
    if kept is not None and own is not None and not product.audits.is_continued(own):
        report.add("lost", f"the ledger does not continue the head of {own.head.size} entries that was seen here")
    findings = [{"kind": f.kind, "message": f.message, "position": f.position} for f in report.findings]
    first = None if report.first is None else report.first.message
    counts = {"entries": report.entries, "heads": report.heads, "certificates": report.certificates}
    return {"is_sound": report.is_sound, "first": first, "findings": findings, **counts}


def _body(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {"unreadable": raw.hex()}
    return found if isinstance(found, dict) else {"unreadable": raw.hex()}
