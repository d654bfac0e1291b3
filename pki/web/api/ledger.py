"""The ledger: its head, its entries, and the audit that holds the whole store against a head kept elsewhere."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlmodel import col
from starlette.responses import StreamingResponse

from ca.access import Operation
from ca.errors import Conflict, NotFound
from ca.ledger.checkpoint import Head, open_head
from ca.ledger.reconcile import audit
from ca.models import LedgerEntry
from pki.product import Product
from pki.web.answered import EntryPage, EntryView, HeadView
from pki.web.asked import PLAIN, VerifyRequest
from pki.web.context import CallerDep, ProductDep

router = APIRouter(prefix="/ledger", tags=["ledger"])
NDJSON = "application/x-ndjson"


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
    """Answers with one JSON object a line: `{"checked", "of"}` while it runs, then the report."""
    caller.must(Operation.READ_LEDGER)
    ledger = product.installation.ledger
    kept = open_head(body.checkpoint, ledger.verifier) if body.checkpoint is not None else None
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        raise Conflict("an audit is running already", code="audit-running", hint="it reads the whole store: wait")
    said: Said = queue.SimpleQueue()
    threading.Thread(target=_audit, args=(product, kept, said), name="ledger-audit", daemon=True).start()
    return StreamingResponse(_lines(said), media_type=NDJSON)


Said = queue.SimpleQueue[dict[str, Any] | None]
_ONE_AT_A_TIME = threading.Lock()


def _audit(product: Product, kept: Head | None, said: Said) -> None:
    """Run the audit, saying how far it is and what it came to. It ends by itself, whether or not anybody listens."""
    try:
        ledger = product.installation.ledger
        ledger.sequence()
        report = audit(
            product.installation.store,
            ledger.verifier,
            kept=kept,
            progress=lambda done, of: said.put({"checked": done, "of": of}),
        )
        findings = [{"kind": f.kind, "message": f.message, "position": f.position} for f in report.findings]
        first = None if report.first is None else report.first.message
        counts = {"entries": report.entries, "heads": report.heads, "certificates": report.certificates}
        said.put({"is_sound": report.is_sound, "first": first, "findings": findings, **counts})
    except Exception as error:  # noqa: BLE001 - the headers are sent: the stream has to say it
        said.put({"is_sound": False, "first": f"the audit failed: {type(error).__name__}", "findings": []})
    finally:
        _ONE_AT_A_TIME.release()
        said.put(None)


def _lines(said: Said) -> Iterator[str]:
    while (line := said.get()) is not None:
        yield json.dumps(line) + "\n"


def _body(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {"unreadable": raw.hex()}
    return found if isinstance(found, dict) else {"unreadable": raw.hex()}
