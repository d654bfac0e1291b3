"""What every action of a page has in common: it is asked about first, done once, and said afterwards.

GET shows what would happen, in words and with the facts of this moment, and changes nothing. POST does it, through the
function that the API calls, for who may; a form that is sent twice acts once. A refusal is shown above the form that it
is about, with its reason and hint.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import delete, insert
from sqlmodel import col
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, CertwrightError, Conflict
from ca.store import Transaction
from pki.product import Product
from pki.web import problems
from pki.web.context import product_of
from pki.web.dashboard import forms, page
from pki.web.dashboard.words import Tone
from renewers.inventory.story import Story
from renewers.models import SpentLink

GOOD, HELD = "valid", "held"
FORM_KEPT = 86400
"""Seconds for which a form is known as used; by then, nobody who opened it is signed in any more."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that stands on the page of an action: text of anybody, or a moment."""

    name: str
    value: str | int
    kind: Literal["text", "moment", "mono"] = "text"


@dataclass(frozen=True, slots=True)
class Field:
    """Something to fill in. `choices` are values with their labels; `suggested` are offered and not the only ones."""

    name: str
    label: str
    kind: Literal["text", "choice", "sure"] = "text"
    choices: Sequence[tuple[str, str]] = ()
    suggested: Sequence[str] = ()
    value: str = ""
    note: str = ""
    longest: int = 300
    is_needed: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action would do, as its page says it."""

    facts: Sequence[Fact]
    effects: Sequence[str]
    button: str
    fields: Sequence[Field] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Doing:
    """One request to act: who asks, about what."""

    request: Request
    caller: Caller
    story: Story

    @property
    def product(self) -> Product:
        """The product that is acted on."""
        return product_of(self.request)

    @property
    def what(self) -> str:
        """How the functions below are told what it is about."""
        return f"#{self.story.tracked.id}"

    def field(self, name: str, *, longest: int = 300) -> str:
        """What was filled in."""
        return forms.field(self.request, name, longest=longest)


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done with one tracked thing."""

    word: str
    title: str
    needs: Operation
    fits: Callable[[Story, str], bool]
    """Whether it means anything for what the story is about; of our own CA's, its state (`GOOD`, `HELD`), else ""."""
    plan: Callable[[Doing], Plan]
    act: Callable[[Doing], str]
    """Does it; returns the word of `said.py` for what was done."""
    tone: Tone = "plain"


def confirm(action: Action, doing: Doing, refusal: CertwrightError | None = None) -> Response:
    """The page that says what would happen, and asks."""
    return page.page(
        doing.request,
        "action.html",
        title=action.title,
        status=200 if refusal is None else problems.status_of(refusal),
        action=action,
        plan=action.plan(doing),
        name=doing.story.tracked.shown_as,
        back=where(doing),
        once=secrets.token_hex(16),
        given=forms.form(doing.request),
        refusal=refusal,
    )


def perform(action: Action, doing: Doing) -> Response:
    """Do it, once for each form, and say so on the page of what it was about."""
    if not _is_first(doing):
        return RedirectResponse(f"{where(doing)}?said=done-already", 303)
    try:
        said = action.act(doing)
    except CertwrightError as error:
        _give_back(doing)
        if problems.status_of(error) >= 500:
            raise
        problems.note(doing.request, error)
        return confirm(action, doing, error)
    return RedirectResponse(f"{where(doing)}?said={said}", 303)


def where(doing: Doing) -> str:
    """The page of what it is about."""
    return f"/inventory/{doing.story.tracked.id}"


def _is_first(doing: Doing) -> bool:
    """Whether this form was not sent before: a second click, or a browser that sends it again, does nothing."""
    now = clock.timestamp()
    row = {"nonce": _nonce(doing), "spent_at": now, "expires_at": now + FORM_KEPT}

    def unit(tx: Transaction) -> None:
        tx.execute(insert(SpentLink), row)

    try:
        doing.product.lifecycle.store.write(unit)
    except Conflict:
        return False
    return True


def _give_back(doing: Doing) -> None:
    """Nothing was done: the same form may be sent again."""
    used = delete(SpentLink).where(col(SpentLink.nonce) == _nonce(doing))
    with suppress(CertwrightError):  # the store is away: then the page is opened anew, with a form of its own
        doing.product.lifecycle.store.write(lambda tx: tx.execute(used).rowcount)


def _nonce(doing: Doing) -> str:
    once = doing.field("once", longest=64)
    if len(once) < len(secrets.token_hex(16)):
        raise BadRequest("this form says nothing of itself", code="bad-form", hint="open the page again")
    return f"form:{doing.caller.identity}:{once}"
