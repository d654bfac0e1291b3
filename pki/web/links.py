"""The pages that letters lead to: answer for one certificate, unsubscribe, preferences; and an owner's calendar.

Opening one changes nothing: mail scanners open every link that they find. What a POST does is done by the verbs of
`renewers/answering`, which ask once more whether the link holds and fits. Where it comes from and how it is bounded is
`link_route.py`. Only the TLS listener serves these.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.requests import Request
from starlette.responses import Response

from ca import clock
from ca.errors import BadRequest
from pki.web.context import product_of
from pki.web.dashboard.page import page
from pki.web.link_route import form, link_pages
from renewers.answering import answers, feed, links, mailboxes, preferences
from renewers.answering.links import Link, Purpose
from renewers.answering.questions import Answer, Question
from renewers.lifecycle import Lifecycle

router = link_pages()
READ = ["GET", "HEAD"]
ONE_CLICK = ("List-Unsubscribe", "One-Click")
"""What a mail program posts, and our own button as well (RFC 8058 section 3.1)."""


@router.api_route("/act/{token}", methods=READ)
def question(request: Request, token: str) -> Response:
    """What can be answered for one certificate."""
    life, link = _read(request, Purpose.ACT, token)
    return _asked(request, answers.look(life, link))


@router.post("/act/{token}")
def answer(request: Request, token: str) -> Response:
    """Answer, once. What does not fit is said above the form; the link is not used up by it."""
    life, link = _read(request, Purpose.ACT, token)
    asked = answers.look(life, link)
    try:
        done = _answer(life, asked, form(request))
    except BadRequest as error:
        return _asked(request, asked, status=400, wrong=error.message)
    return page(request, "answers/answered.html", title="Thank you", name=asked.name, done=done, question=asked)


@router.api_route("/unsubscribe/{token}", methods=READ)
def unsubscribing(request: Request, token: str) -> Response:
    """The button that does what a mail program does by itself."""
    _, link = _read(request, Purpose.UNSUBSCRIBE, token)
    return page(request, "answers/unsubscribe.html", title="No more regular letters?", address=link.recipient)


@router.post("/unsubscribe/{token}")
def unsubscribe(request: Request, token: str) -> Response:
    """One click, without login; the second one says the same."""
    life, link = _read(request, Purpose.UNSUBSCRIBE, token)
    if form(request).get(ONE_CLICK[0]) != ONE_CLICK[1]:
        raise BadRequest("this form does not say that somebody wants no more letters", code="bad-form")
    preferences.decline(life, link)
    return page(request, "answers/unsubscribed.html", title="No more regular letters", address=link.recipient)


@router.api_route("/preferences/{token}", methods=READ)
def preferring(request: Request, token: str) -> Response:
    """Which letters an address gets, who comes after it, where the calendar is."""
    life, link = _read(request, Purpose.PREFERENCES, token)
    return _preferred(request, life, link)


@router.post("/preferences/{token}")
def prefer(request: Request, token: str) -> Response:
    """Choose. Choosing twice is choosing once."""
    life, link = _read(request, Purpose.PREFERENCES, token)
    match form(request).get("choice"):
        case "decline":
            preferences.decline(life, link)
            said = "No regular letters are sent to this address any more."
        case "resume":
            preferences.resume(life, link)
            said = "Regular letters are sent to this address again."
        case "move-calendar":
            preferences.move_calendar(life, link)
            said = "The calendar has another address; the old one shows nothing any more."
        case _:
            raise BadRequest("that cannot be chosen here", code="bad-form")
    return _preferred(request, life, link, said=said)


@router.api_route("/feeds/{token}.ics", methods=READ)
def calendar(request: Request, token: str) -> Response:
    """An owner's calendar, for a program that asks again and again."""
    content = feed.read(product_of(request).lifecycle, token)
    return Response(content, media_type="text/calendar; charset=utf-8")


def _read(request: Request, purpose: Purpose, token: str) -> tuple[Lifecycle, Link]:
    life = product_of(request).lifecycle
    return life, links.read(life, purpose, token)


def _asked(request: Request, asked: Question, *, status: int = 200, wrong: str = "") -> Response:
    zone, now = _zone(asked), clock.timestamp()
    values = {
        "question": asked,
        "first_day": _day(now, zone),
        "last_day": _day(asked.until, zone) if asked.until is not None else "",
        "path": mailboxes.addresses_of(asked.owner),
        "wrong": wrong,
        "filled": form(request),
    }
    return page(request, "answers/question.html", title=asked.name, status=status, **values)


def _answer(life: Lifecycle, asked: Question, filled: Mapping[str, str]) -> dict[str, Any]:
    """Do what was chosen; what a page says of it afterwards."""
    chosen = filled.get("answer", "")
    match chosen:
        case Answer.RENEW:
            answers.renew(life, asked.link)
            return {"answer": chosen}
        case Answer.ACKNOWLEDGE:
            until = _until(asked, filled.get("until", ""))
            row = answers.acknowledge(life, asked.link, until, filled.get("reason", ""))
            return {"answer": chosen, "until": row.until, "reason": row.reason}
        case Answer.REFUSE:
            answers.refuse(life, asked.link)
            return {"answer": chosen}
        case Answer.RETIRE:
            answers.retire(life, asked.link, filled.get("reason", ""))
            return {"answer": chosen}
    raise BadRequest("choose one of the answers", code="bad-form")


def _until(asked: Question, text: str) -> int:
    """The last second of a day in the owner's time zone; on the last possible day, the last possible moment."""
    try:
        day = date.fromisoformat(text.strip()[:10])
        end = int(datetime.combine(day, time(23, 59, 59), _zone(asked)).timestamp())
    except (ValueError, OverflowError):
        raise BadRequest("say until which day, such as 2027-03-31", code="bad-until") from None
    if asked.until is not None and _day(asked.until, _zone(asked)) == day.isoformat():
        return min(end, asked.until)
    return end


def _day(moment: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).date().isoformat()


def _zone(asked: Question) -> tzinfo:
    try:
        return ZoneInfo(asked.owner.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _preferred(request: Request, life: Lifecycle, link: Link, *, said: str | None = None) -> Response:
    found = preferences.look(life, link)
    values: dict[str, Any] = {"said": said, "found": found}
    return page(request, "answers/preferences.html", title="Letters and calendar", **values)
