"""The sentences that say why somebody was told, or was not. Pure; `explaining.py` finds out what is to be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ca import clock
from renewers.mailing import crossings, letters, thresholds
from renewers.mailing.recipients import Recipient
from renewers.models import Owner
from renewers.plain import one_line

HOWS = {
    thresholds.DIGEST: "the weekly digest",
    thresholds.DAILY: "a letter at the next local hour of letters",
    thresholds.IMMEDIATE: "a letter at once",
}
LETTERS = {
    letters.DIGEST: "digest",
    letters.DAILY: "daily letter",
    letters.URGENT: "urgent letter",
    letters.ESCALATION: "letter of the escalation",
    letters.MONTHLY: "monthly report",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How an owner would be told now: by whom, to which mailbox, and what is in the way."""

    owner: Owner | None
    recipient: Recipient | None
    has_mailer: bool
    declines: bool = False
    """Whether that mailbox wants no digests."""


def date(moment: int) -> str:
    """A moment, for people."""
    try:
        return f"{clock.from_timestamp(moment):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # a stranger's certificate may say anything
        return "a day beyond all calendars"


def label(threshold: str) -> str:
    """What a threshold is, in words."""
    if threshold.endswith("d") and threshold[:-1].isdecimal():
        days = int(threshold[:-1])
        return f"{days} days before its end" if days > 1 else "one day before its end"
    words = {
        "due": "the time of its renewal",
        "late": "the time from which its renewal is late",
        "urgent": "the time from which it is urgent",
        "critical": "the time from which it is critical",
        thresholds.EXPIRED: "its end",
        thresholds.DAY_AFTER: "one day after its end, if it is still served",
        thresholds.WEEK_AFTER: "seven days after its end, if it is still served",
        thresholds.OLD_SERVED: "its last days, if it is still served though it was replaced",
        thresholds.URGED: "its issuer wants it replaced",
        thresholds.COMPROMISE: "a compromise",
        thresholds.REVOKED: "its revocation",
    }
    return words.get(threshold, threshold)


def how(way: Way, urgency: str) -> str:
    """How somebody would be told, or what is in the way."""
    if way.owner is None:
        return "nobody would be told by mail: there is no owner, not even a fallback owner"
    if not way.has_mailer:
        return "nobody would be told by mail: neither a mail server nor a directory is configured in [mail]"
    if way.recipient is None:
        return f"nobody would be told by mail: no mailbox of {way.owner.name} or of the fallback owner takes mail"
    if urgency == thresholds.DIGEST and way.declines:
        return f"nobody would be told by mail: {way.recipient.address} has unsubscribed from digests"
    return f"{HOWS.get(urgency, 'a letter')} to {way.recipient.address} would say so"


def standing(way: Way) -> str:
    """Where mail about it goes, or why none does."""
    if way.recipient is None or not way.has_mailer:
        return f"{how(way, thresholds.IMMEDIATE)}."
    declined = "; it has unsubscribed from digests, not from what is late or urgent" if way.declines else ""
    return f"mail about it goes to {way.recipient.address}, since {way.recipient.reason}{declined}."


def ahead(threshold: str, urgency: str, at: int, way: Way) -> str:
    """Of a threshold that is not crossed yet."""
    begins = f"{label(threshold)}, {date(at)}: not crossed yet; then"
    if urgency == thresholds.SILENT:
        return f"{begins} nothing is said, since that needs nobody"
    return f"{begins} {how(way, urgency)}"


def quiet(threshold: str, urgency: str, at: int, because: str) -> str:
    """Of a threshold that was passed without anything being written down."""
    if urgency == thresholds.SILENT:
        because = "nothing is said at this threshold, since that needs nobody"
    return f"{label(threshold)}, {date(at)}: {because}"


def told(row: Any, found: Sequence[Any], way: Way, at: int) -> str:
    """Of a crossing (a row of `Crossing`), with the letters that tell of it (rows of `Told` with `Letter`)."""
    begins = f"{label(row.threshold)}, crossed {date(row.crossed_at)}"
    if row.noted_at > row.crossed_at + 3600:
        begins += f" and seen {date(row.noted_at)}"
    if found:
        return f"{begins}: " + "; ".join(_letter(one, at) for one in found)
    if row.settled_at is None or row.settled_at > at:
        return f"{begins}: {_waits(row, way)}"
    return f"{begins}: {_settled(row)}"


def _settled(row: Any) -> str:
    match row.state:
        case crossings.COLLAPSED:
            return one_line(row.why)
        case crossings.OVERTAKEN:
            return f"nobody was told, since {one_line(row.why) or 'it was over'}"
        case _:
            return f"it was told ({one_line(row.why)})" if row.why else "it was told"


def _waits(row: Any, way: Way) -> str:
    if row.state == crossings.ACKNOWLEDGED:
        return f"nobody is told for now: {one_line(row.why)}"
    later = f"; {one_line(row.why)}" if row.why else ""
    if way.owner is None or way.recipient is None or not way.has_mailer:
        return f"it waits: {how(way, row.urgency)}{later}"
    if row.urgency == thresholds.DIGEST and way.declines:
        return f"it waits: {how(way, row.urgency)}{later}"
    return f"it waits for {HOWS.get(row.urgency, 'a letter')} to {way.recipient.address}{later}"


def _letter(one: Any, at: int) -> str:
    """One letter that tells of it."""
    name = f"{LETTERS.get(one.kind, 'letter')} {one.letter_id} to {one.recipient}"
    if one.state == letters.BOUNCED:
        return f"{name} came back: {one_line(one.error or 'no reason is known')}"
    if one.state == letters.REFUSED:
        return f"{name} was refused: {one_line(one.error or 'no reason is known')}"
    if one.sent_at is not None and one.sent_at <= at:
        return f"told in {name}, sent {date(one.sent_at)}, since {one_line(one.reason)}"
    if one.state == letters.OVERTAKEN:
        return f"{name} was not sent: {one_line(one.error or 'there was nothing left to say')}"
    trouble = f"; the last attempt failed: {one_line(one.error)}" if one.error else ""
    return f"{name} has waited since {date(one.opened_at)}{trouble}"
