"""Acts that take two persons: what waits for the second one, with everything that decides what it will do.

What is granted is exactly what stands on the page, once; whoever asked for it says it again. The page is a door like
the API's: `ca.approval` decides who may, and whether two identities can be two persons.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ca import approval
from ca.access import Operation
from ca.errors import CertwrightError, NotFound
from pki.web import problems
from pki.web.context import product_of
from pki.web.dashboard import page, routes

router = routes.pages()
LARGEST = 1 << 53
WORDS = {"grant": True, "refuse": False}


@router.get("/approvals")
def approvals(request: Request) -> Response:
    """What waits first, then what was decided, newest first."""
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    installation = product_of(request).installation
    found = approval.listing(installation, caller)
    return page.page(
        request,
        "approvals.html",
        title="Approvals",
        waiting=[one for one in found if one.state == "waits"],
        others=[one for one in found if one.state != "waits"],
        takes_two=installation.approval.two_persons,
    )


@router.get("/approvals/{number}")
def one(request: Request, number: int) -> Response:
    """One act, and what can be said to it."""
    page.signed_in(request).must(Operation.READ_INVENTORY)
    return _shown(request, number)


@router.post("/approvals/{number}/{word}")
def decide(request: Request, number: int, word: str) -> Response:
    """Grant it or refuse it. A form that is sent twice finds it decided."""
    caller = page.signed_in(request)
    caller.must(Operation.MANAGE_AUTHORITIES)
    if word not in WORDS:
        raise NotFound("there is no such action", code="unknown-action")
    installation = product_of(request).installation
    try:
        approval.decide(installation, caller, _known(number), is_granted=WORDS[word])
    except NotFound:
        raise
    except CertwrightError as error:
        if problems.status_of(error) >= 500:
            raise
        problems.note(request, error)
        return _shown(request, number, error)
    return RedirectResponse(f"/approvals/{number}?said={word}", 303)


def _shown(request: Request, number: int, refusal: CertwrightError | None = None) -> Response:
    caller = page.signed_in(request)
    found = approval.find(product_of(request).installation, caller, _known(number))
    return page.page(
        request,
        "approval.html",
        title=f"{found.act[:1].upper()}{found.act[1:]}",
        status=200 if refusal is None else problems.status_of(refusal),
        it=found,
        may_decide=caller.may(Operation.MANAGE_AUTHORITIES) and found.state == "waits",
        is_own=caller.identity == found.asked_by,
        refusal=refusal,
    )


def _known(number: int) -> int:
    return number if 0 < number < LARGEST else 0
