"""Any owner's letter for any day, to be looked at: nothing is sent, nothing written down, and no link in it works.

For a day to come it says what would be so, were nothing done until then; for one that is past, how things would have
looked to somebody who knew then what is known now. A day alone means the hour of regular letters in the owner's zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.message import EmailMessage

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest
from renewers.inventory.finding import find_owner
from renewers.lifecycle import Lifecycle
from renewers.mailing import schedule
from renewers.models import Letter
from renewers.reports import compose, digest, headers
from renewers.reports.content import DIGEST, ESCALATION, KINDS, Digest
from renewers.timing.lead_time import DAY

FURTHEST = 3660 * DAY
"""Seconds before and after the present within which a letter can be looked at."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A letter as it would be, and what it was made of."""

    digest: Digest
    subject: str
    message: EmailMessage


def preview(
    lifecycle: Lifecycle, caller: Caller, owner: str, *, at: str | int | None = None, kind: str = DIGEST
) -> Preview:
    """The letter that an owner would get. `at` is a day, a moment (RFC 3339), or seconds since the epoch.

    `NotFound` if there is no such owner, `BadRequest` for another kind of letter or a moment that cannot be read.
    """
    caller.must(Operation.READ_INVENTORY)
    if kind not in KINDS:
        raise BadRequest("there is no such kind of letter", code="bad-kind", hint=", ".join(KINDS))
    with lifecycle.store.read() as connection:
        row = find_owner(connection, owner)
    moment = _moment(at, row.time_zone, lifecycle.mail.digest_hour)
    step = 1 if kind == ESCALATION else 0
    found = digest.gather(lifecycle, row.id, kind=kind, at=moment, step=step)
    message = compose.compose(lifecycle, found, _letter(found))
    return Preview(found, headers.subject(found), message)


def text_of(message: EmailMessage) -> str:
    """The text part of a letter."""
    part = next(part for part in message.walk() if part.get_content_type() == "text/plain")
    content = part.get_payload(decode=True)
    return content.decode() if isinstance(content, bytes) else ""


def _letter(found: Digest) -> Letter:
    """One that is never written down: without an id, its links have ended already."""
    path = (found.owner.email, *found.owner.path)
    return Letter(
        key="",
        kind=found.kind,
        owner_id=found.owner.id,
        recipient=path[min(found.step, len(path) - 1)],
        step=found.step,
        message_id=f"preview-{found.owner.id}-{found.at}",
        reason=f"{found.owner.name} answers for these; this is a preview, and its links do not work",
        opened_at=found.at,
        state="open",
    )


def _moment(at: str | int | None, time_zone: str, hour: int) -> int:
    now = clock.timestamp()
    if at is None:
        return now
    moment = at if isinstance(at, int) else _read(at, time_zone, hour)
    if not max(0, now - FURTHEST) <= moment <= now + FURTHEST:
        raise BadRequest("a letter can be looked at within ten years", code="bad-moment")
    return moment


def _read(text: str, time_zone: str, hour: int) -> int:
    try:
        if len(text) == len("2027-01-04"):
            local = datetime.combine(date.fromisoformat(text), time(hour), schedule.zone_of(time_zone))
            return int(local.timestamp())
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        hint = "a day such as 2027-01-04, or a moment such as 2027-01-04T09:00:00Z"
        raise BadRequest("that is not a moment", code="bad-moment", hint=hint) from None
