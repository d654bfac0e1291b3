"""What can be done with something tracked: the list of actions, and their pages.

`offered` gives the links that a page shows, for what means something there and for who may. The pages check both
again: a link is a courtesy and no permission.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ca.access import Caller, Operation
from ca.errors import NotFound
from pki.web.context import product_of
from pki.web.dashboard import acting, page, routes
from pki.web.dashboard.acting import Action, Doing
from pki.web.dashboard.acts_answer import ACKNOWLEDGE, OWNER, RETIRE, WITHDRAW
from pki.web.dashboard.acts_hold import HOLD, RELEASE
from pki.web.dashboard.acts_renewal import DELIVER, RENEW
from pki.web.dashboard.acts_revocation import REVOKE, ours
from pki.web.dashboard.words import Tone
from renewers.inventory import search
from renewers.inventory.story import Story

router = routes.pages()
ACTIONS = {
    action.word: action for action in (RENEW, DELIVER, ACKNOWLEDGE, WITHDRAW, OWNER, RETIRE, HOLD, RELEASE, REVOKE)
}
LARGEST = 1 << 53

Link = tuple[str, str, Tone]
"""Where an action's page is, what it is called, and its tone: what the macro `action` takes."""


def offered(caller: Caller, story: Story, *, standing: str, is_acknowledged: bool = False) -> tuple[Link, ...]:
    """The actions for one story. `standing`: the state of what our own CA has issued, if it is good or on hold."""
    hidden = set() if is_acknowledged else {WITHDRAW.word}
    return tuple(
        (f"/inventory/{story.tracked.id}/{each.word}", each.title, each.tone)
        for each in ACTIONS.values()
        if each.word not in hidden and caller.may(each.needs) and each.fits(story, standing)
    )


@router.get("/inventory/{tracked}/{word}")
def ask(request: Request, tracked: int, word: str) -> Response:
    """What an action would do."""
    return acting.confirm(*_doing(request, tracked, word))


@router.post("/inventory/{tracked}/{word}")
def act(request: Request, tracked: int, word: str) -> Response:
    """Do it."""
    return acting.perform(*_doing(request, tracked, word))


def _doing(request: Request, tracked: int, word: str) -> tuple[Action, Doing]:
    caller = page.signed_in(request)
    caller.must(Operation.READ_INVENTORY)
    action = ACTIONS.get(word)
    if action is None:
        raise NotFound("there is no such action", code="unknown-action")
    caller.must(action.needs)
    known = tracked if 0 < tracked < LARGEST else 0
    story = search.show(product_of(request).lifecycle.store, f"#{known}")
    doing = Doing(request, caller, story)
    stored = ours(doing)
    if not action.fits(story, "" if stored is None else stored.state):
        raise NotFound(f"{action.title} means nothing here, or not any more", code="unknown-action")
    return action, doing
