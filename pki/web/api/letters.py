"""Letters to owners: which were sent to whom, sending what is due now, and why somebody was told or was not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from starlette.responses import StreamingResponse

from ca.access import Operation
from pki.catching_up import send_letters
from pki.product import Product
from pki.web.answered_letters import CrossingView, ExplanationView, LetterPage, LetterShown, LetterView, StepView
from pki.web.asked import PLAIN
from pki.web.asked_inventory import Nothing
from pki.web.context import CallerDep, ProductDep
from pki.web.lines import Line, Long, Say
from pki.web.views import moment
from pki.web.views_inventory import maybe, reference
from renewers.mailing import explaining, listing
from renewers.mailing.explaining import Step
from renewers.models import Crossing, Letter

router = APIRouter(prefix="/letters", tags=["letters"])
Kind = Literal["digest", "daily", "urgent", "escalation", "monthly"]
State = Literal["open", "sent", "refused", "bounced", "overtaken"]
_RUN = Long("letters", "letters are being sent already", "wait, or look at certwright report list")


@router.get("", summary="List letters")
def page(
    product: ProductDep,
    caller: CallerDep,
    owner: Annotated[str | None, Query(max_length=128, pattern=PLAIN)] = None,
    kind: Kind | None = None,
    state: Annotated[State | None, Query(description="all but `overtaken` if left out")] = None,
    cursor: Annotated[int | None, Query(ge=0, le=1 << 53)] = None,
    limit: Annotated[int, Query(ge=1, le=listing.MAX_PAGE)] = 50,
) -> LetterPage:
    """Newest first: to whom, about what, and what became of it."""
    found, following = listing.page(
        product.lifecycle, caller, owner=owner, kind=kind, state=state, cursor=cursor, limit=limit
    )
    items = [LetterView(**_letter(one.letter, one.owner)) for one in found]
    return LetterPage(items=items, next=None if following is None else str(following))


@router.post("/run", summary="Send the letters that are due now", response_class=StreamingResponse)
def run(product: ProductDep, caller: CallerDep, body: Nothing) -> StreamingResponse:
    """Answers with one JSON object a line, the report last. What a mail server did not take is tried again now, too."""
    caller.must(Operation.MANAGE_INVENTORY)
    return _RUN.answer(lambda say: _run(product, say), lambda why: {**_report(0, 0, 0), "error": why})


@router.get("/explain", summary="Explain why somebody was told")
def explain(
    product: ProductDep,
    caller: CallerDep,
    what: Annotated[
        str, Query(min_length=1, max_length=2048, pattern=PLAIN, description="as /tracked names it, or a lineage")
    ],
    at: Annotated[
        str | None, Query(max_length=40, pattern=PLAIN, description="a day, or a moment as RFC 3339 has it")
    ] = None,
) -> ExplanationView:
    """Each threshold of one certificate: who was told of it in which letter, who will be, or why nobody was."""
    found = explaining.explain(product.lifecycle, caller, what, at)
    return ExplanationView(
        certificate=f"#{found.tracked_id}",
        identity=found.identity,
        subject=found.subject,
        lineage=found.lineage,
        owner=found.owner,
        at=moment(found.at),
        summary=list(found.summary),
        steps=[_step(step) for step in found.steps],
        others=[_step(step) for step in found.others],
    )


@router.get("/{letter}", summary="Show a letter")
def show(
    product: ProductDep, caller: CallerDep, letter: Annotated[int, Path(ge=1, le=1 << 53, description="its number")]
) -> LetterShown:
    """One letter, and all that it tells of."""
    found = listing.show(product.lifecycle, caller, letter)
    return LetterShown(**_letter(found.letter, found.owner), crossings=[_crossing(one) for one in found.crossings])


def _run(product: Product, say: Say) -> Line:
    done = send_letters(product, lambda sent: say({**_report(0, sent, 0), "error": None}))
    return {**_report(done.opened, done.sent, done.waiting), "error": None}


def _report(opened: int, sent: int, waiting: int) -> Line:
    return {"opened": opened, "sent": sent, "waiting": waiting}


def _letter(row: Letter, owner: str | None) -> dict[str, Any]:
    names = ("id", "kind", "recipient", "step", "state", "subject", "reason", "rows", "error", "message_id")
    times = {"opened_at": moment(row.opened_at), "sent_at": maybe(row.sent_at)}
    return {name: getattr(row, name) for name in names} | times | {"owner": owner}


def _crossing(row: Crossing) -> CrossingView:
    return CrossingView(
        id=row.id or 0,
        about=row.about,
        threshold=row.threshold,
        urgency=row.urgency,
        certificate=reference(row.tracked_id),
        subject=row.subject,
        message=row.message,
        hint=row.hint,
        crossed_at=moment(row.crossed_at),
        noted_at=moment(row.noted_at),
        state=row.state,
        why=row.why,
    )


def _step(step: Step) -> StepView:
    return StepView(
        threshold=step.threshold,
        urgency=step.urgency,
        at=moment(step.at),
        state=step.state,
        sentence=step.sentence,
        crossing=step.crossing_id,
        letters=list(step.letters),
    )
