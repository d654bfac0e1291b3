"""Why somebody was told of something, or was not: for any certificate and any moment, in plain sentences.

It reads what was written down (crossings, letters, the sent ledger) and, for what is still to come, asks the same
functions that will decide then. Of a moment in the past it says what had been by then. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, or_, select
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, NotFound
from renewers.answering import acknowledged
from renewers.inventory.finding import find_lineage, find_tracked
from renewers.inventory.ownership import Ownership, owner_of
from renewers.inventory.succession import ENDED
from renewers.lifecycle import Lifecycle
from renewers.mailing import recipients, thresholds, why
from renewers.mailing.thresholds import Threshold
from renewers.mailing.why import Way
from renewers.models import Crossing, Endpoint, Letter, Lineage, Told, Tracked
from renewers.plain import one_line
from renewers.timing import deadlines, judging
from renewers.timing.judging import Circumstances
from renewers.timing.watch import FRESH

MOST = 200
"""Crossings of alarms that are shown, the newest."""
FURTHEST = 1 << 40


@dataclass(frozen=True, slots=True)
class Step:
    """One threshold, or one thing that was wrong, and what was said of it. `crossing_id` is None if nothing was."""

    threshold: str
    urgency: str
    at: int
    state: str
    sentence: str
    crossing_id: int | None = None
    letters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why (not), for one certificate at one moment."""

    tracked_id: int
    identity: str
    subject: str
    lineage: str | None
    owner: str | None
    at: int
    summary: tuple[str, ...]
    """Sentences on how it stands, and who would be told now."""
    steps: tuple[Step, ...]
    """Its thresholds in their order."""
    others: tuple[Step, ...]
    """What else was wrong with it: deliveries, stopped renewals, a CA that wants it replaced."""


def explain(lifecycle: Lifecycle, caller: Caller, what: str, at: str | int | None = None) -> Explanation:
    """Why somebody was (not) told of what an identity, a serial number, #id or a lineage's name means, as of `at`.

    `at` is a day, which means its end in UTC, a moment (RFC 3339), or seconds since the epoch.
    """
    caller.must(Operation.READ_INVENTORY)
    now = clock.timestamp()
    moment = now if at is None else _moment(at)
    with lifecycle.store.read(snapshot=True) as connection:
        return _Explaining(lifecycle, connection, _find(connection, what), moment, now).explanation()


class _Explaining:
    """One look at the tables."""

    def __init__(self, lifecycle: Lifecycle, connection: Connection, row: Any, at: int, now: int) -> None:
        self._connection, self._row, self._at, self._now = connection, row, at, now
        lineage = select(Lineage).where(col(Lineage.id) == row.lineage_id)
        self._lineage = connection.execute(lineage).first()
        self._whose = owner_of(connection, row)
        self._way = _way(lifecycle, connection, self._whose)
        mode = deadlines.mode_of(self._lineage)
        measured = lifecycle.lead_times.seconds(connection, row.lineage_id) if mode == "renewed" else None
        fraction = lifecycle.policy.fraction
        marks = deadlines.deadlines(row, self._lineage, fraction=fraction, measured_p99=measured)
        self._thresholds = thresholds.of(row, self._lineage, marks)
        self._crossings = _crossings(connection, row)
        self._letters = _letters(connection, [each.id for each in self._crossings], at)

    def explanation(self) -> Explanation:
        """All of it."""
        row, about = self._row, f"tracked:{self._row.id}"
        own = {each.threshold: each for each in self._crossings if each.about == about}
        steps = [
            self._threshold(each, own.pop(each.name, None)) for each in self._thresholds if self._counts(each, own)
        ]
        known = [each for each in self._crossings if each.noted_at <= self._at]
        earlier = [self._crossing(each) for each in own.values() if each in known]  # of a mode that it had before
        others = [self._crossing(each) for each in known if each.about != about]
        return Explanation(
            tracked_id=row.id,
            identity=row.identity,
            subject=judging.name_of(row),
            lineage=None if self._lineage is None else self._lineage.name,
            owner=None if self._whose.owner is None else self._whose.owner.name,
            at=self._at,
            summary=tuple(self._summary(steps)),
            steps=tuple(sorted([*earlier, *steps], key=lambda step: step.at)),
            others=tuple(others),
        )

    def _counts(self, each: Threshold, own: Mapping[str, Any]) -> bool:
        """Whether a threshold is worth a line: what counts only if something is served, only if it came to that."""
        is_over = self._row.replaced_by is not None or self._row.stage == ENDED
        return not each.if_served or each.name in own or (not is_over and each.at > min(self._at, self._now))

    def _threshold(self, each: Threshold, crossing: Any | None) -> Step:
        if crossing is not None and crossing.noted_at <= self._at:
            return self._crossing(crossing)
        named = (each.name, each.urgency, each.at)
        if each.at > min(self._at, self._now):
            return Step(*named, "ahead", why.ahead(*named, self._way))
        because = self._not_noted(each) if crossing is None else f"it was seen only {why.date(crossing.noted_at)}"
        return Step(*named, "quiet", why.quiet(*named, because))

    def _crossing(self, row: Any) -> Step:
        found = self._letters.get(row.id, ())
        sentence = why.told(row, found, self._way, self._at)
        if not row.about.startswith("tracked:"):
            sentence = f"{one_line(row.message, 300)}. {sentence}"
        letters = tuple(one.letter_id for one in found)
        return Step(row.threshold, row.urgency, row.crossed_at, row.state, sentence, row.id, letters)

    def _not_noted(self, each: Threshold) -> str:
        """Why a threshold that lies behind was never written down."""
        row = self._row
        if row.replaced_by is not None or row.stage == ENDED:
            return "by then nobody waited for its end any more: it was replaced, or is out of use"
        if row.recorded_at > each.at:
            return f"it was not known then, but only from {why.date(row.recorded_at)} on"
        if self._is_silent():
            return "only its holder renews it, nobody owns it and nobody has seen it: nobody would miss it"
        return "it has not been looked at since; that happens within seconds while the schedule runs"

    def _summary(self, steps: Sequence[Step]) -> list[str]:
        said = [self._owned(), *self._standing(steps)]
        care = acknowledged.standing(self._connection, [acknowledged.about_of(self._row)], self._at)
        said += [f"{one.by} takes care of it until {why.date(one.until)}: {one.reason}." for one in care.values()]
        if self._row.replaced_by is None and self._row.stage != ENDED:
            said.append(f"As of now, {why.standing(self._way)}")
        return said

    def _owned(self) -> str:
        if self._whose.owner is None:
            return "Nobody owns it, and there is no fallback owner."
        orphan = ", since nobody claims it" if self._whose.is_orphan else f": {self._whose.why}"
        return f"{self._whose.owner.name} is told of it{orphan}."

    def _standing(self, steps: Sequence[Step]) -> list[str]:
        row = self._row
        if row.replaced_by is not None:
            return [f"It was replaced by #{row.replaced_by}: nothing is said of it unless it is still served."]
        if row.stage == ENDED:
            return ["It is out of use: nothing is said of it unless it is still served."]
        if self._is_silent():
            return ["Only its holder renews it, nobody owns it and nobody has seen it lately: it may end silently."]
        following = next((step for step in steps if step.state == "ahead" and step.urgency != thresholds.SILENT), None)
        if following is None or any(step.crossing_id for step in steps):
            return []
        renews = deadlines.kind_of(row) == deadlines.CERTIFICATE and deadlines.mode_of(self._lineage) != "manual"
        begins = "It renews itself, and that goes well" if renews else "Nothing that concerns anybody is crossed yet"
        return [f"{begins}: the next threshold is {why.label(following.threshold)}, {why.date(following.at)}."]

    def _is_silent(self) -> bool:
        query = select(col(Endpoint.place), col(Endpoint.last_seen)).where(col(Endpoint.tracked_id) == self._row.id)
        seen = [each for each in self._connection.execute(query) if each.last_seen is not None]
        places = tuple(each.place for each in seen if each.last_seen >= self._now - FRESH)
        last = max((each.last_seen for each in seen), default=None)
        found = Circumstances(self._lineage, is_orphan=self._whose.is_orphan, last_seen=last, places=places)
        return judging.is_silent(self._row, found, self._now)


def _moment(at: str | int) -> int:
    try:
        if isinstance(at, str):
            found = datetime.fromisoformat(f"{at}T23:59:59" if len(at) == len("2027-01-04") else at)
            at = int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        at = -1
    if not 0 <= at <= FURTHEST:
        hint = "a day such as 2027-01-04, or a moment such as 2027-01-04T09:00:00Z"
        raise BadRequest("that is not a moment", code="bad-moment", hint=hint)
    return at


def _find(connection: Connection, what: str) -> Any:
    """Something tracked, or the current certificate of a lineage."""
    try:
        return find_tracked(connection, what)
    except NotFound as unknown:
        try:
            lineage = find_lineage(connection, what.removeprefix("lineage:"))
        except NotFound:
            raise unknown from None
    row = connection.execute(select(Tracked).where(col(Tracked.id) == lineage.current_id)).first()
    if row is None:
        raise NotFound(f"{lineage.name} has no certificate yet", code="unknown-tracked", hint="certwright renew due")
    return row


def _way(lifecycle: Lifecycle, connection: Connection, whose: Ownership) -> Way:
    recipient = None if whose.owner is None else recipients.reachable(connection, whose.owner)
    declines = recipient is not None and recipients.declines(connection, recipient.address)
    return Way(whose.owner, recipient, lifecycle.mailer is not None, declines)


def _crossings(connection: Connection, row: Any) -> list[Any]:
    """Those about it, and those about its lineage as a whole; the oldest first."""
    about = [col(Crossing.tracked_id) == row.id]
    if row.lineage_id is not None:
        about.append((col(Crossing.lineage_id) == row.lineage_id) & col(Crossing.tracked_id).is_(None))
    newest = select(Crossing).where(or_(*about)).order_by(col(Crossing.id).desc())
    return list(reversed(connection.execute(newest.limit(MOST)).all()))


def _letters(connection: Connection, ids: Sequence[int], at: int) -> Mapping[int, tuple[Any, ...]]:
    """The letters that tell of these and were opened by then, by the crossings' ids."""
    columns: tuple[Any, ...] = (Told, col(Letter.kind), col(Letter.state), col(Letter.sent_at), col(Letter.opened_at))
    more: tuple[Any, ...] = (col(Letter.error), col(Letter.reason))
    query = select(*columns, *more).join(Letter, col(Letter.id) == col(Told.letter_id))
    of_these = col(Told.crossing_id).in_(ids), col(Letter.opened_at) <= at
    found: dict[int, tuple[Any, ...]] = {}
    for row in connection.execute(query.where(*of_these).order_by(col(Told.letter_id))):
        found[row.crossing_id] = (*found.get(row.crossing_id, ()), row)
    return found
