"""What a letter says, put in order: the sections, what is for now and what for soon, the coming weeks. Pure.

`digest.gather` fills it; `compose`, `calendar` and `table` read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from renewers.reports.notices import Notice
from renewers.reports.rows import Need, Row
from renewers.timing.deadlines import CERTIFICATE
from renewers.timing.lead_time import DAY

DIGEST, DAILY, URGENT, ESCALATION = "digest", "daily", "urgent", "escalation"
KINDS = (DIGEST, DAILY, URGENT, ESCALATION)
WEEK, WEEKS = 7 * DAY, 13


@dataclass(frozen=True, slots=True)
class Addressee:
    """The owner: how it is called and reached, and who hears of it next when nobody answers."""

    id: int
    name: str
    email: str
    time_zone: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What people must do the same about, the most pressing first."""

    need: Need
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Week:
    """How many end in one of the coming weeks, by who renews them; `failing` are those whose renewal is in trouble."""

    begins: int
    automatic: int
    manual: int
    failing: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """All three, in this order."""
        return self.automatic, self.manual, self.failing

    @property
    def total(self) -> int:
        """How many end in it."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Hearer:
    """Somebody who was told before, at which step of the escalation, and when."""

    recipient: str
    step: int
    at: int


@dataclass(frozen=True, slots=True)
class Over:
    """Something that stood in a letter and is over: its place in a calendar is given up."""

    tracked_id: int
    lineage_id: int | None
    name: str
    ends: int
    changed_at: int


@dataclass(frozen=True, slots=True)
class Digest:
    """All that a letter to an owner says."""

    kind: str
    at: int
    step: int
    owner: Addressee
    sections: tuple[Section, ...]
    notices: tuple[Notice, ...]
    resting: tuple[Row, ...]
    """What somebody takes care of until a day."""
    everything: tuple[Row, ...]
    """All that the owner answers for, what ends first first: as many as `reading` looks at."""
    total: int
    healthy: int
    weeks: tuple[Week, ...]
    last_scan: int | None
    """When a place where one of these is used was looked at last."""
    told_before: tuple[Hearer, ...] = ()
    over: tuple[Over, ...] = ()
    changed: Mapping[int, int] | None = None
    """When something last changed in the lineages of what is listed."""

    @property
    def listed(self) -> tuple[Row, ...]:
        """The rows of all sections, in their order."""
        return tuple(row for section in self.sections for row in section.rows)

    @property
    def now_count(self) -> int:
        """How many things are for now."""
        return sum(row.is_now for row in self.listed) + sum(notice.is_now for notice in self.notices)

    @property
    def soon_count(self) -> int:
        """How many are for soon."""
        return len(self.listed) + len(self.notices) - self.now_count

    @property
    def nearest(self) -> Row | None:
        """What is listed and ends first; what has not expired yet comes first."""
        return min(self.listed, key=lambda row: (row.left <= 0, abs(row.left)), default=None)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing needs anybody."""
        return not self.listed and not self.notices

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write about: of a regular digest, that the owner answers for nothing."""
        return self.is_healthy and (self.kind != DIGEST or not (self.total or self.resting))


def sections(listed: Iterable[Row]) -> tuple[Section, ...]:
    """Rows by what people must do about them, in the order in which that is said, the most pressing first."""
    by_need: dict[Need, list[Row]] = {need: [] for need in Need}
    for row in listed:
        by_need[row.need].append(row)
    pressing = {need: sorted(found, key=lambda row: (not row.is_now, row.ends)) for need, found in by_need.items()}
    return tuple(Section(need, tuple(found)) for need, found in pressing.items() if found)


def weeks(found: Iterable[Row], at: int) -> tuple[Week, ...]:
    """The coming 13 weeks. What has expired is in none of them."""
    counts = [[0, 0, 0] for _ in range(WEEKS)]
    for row in found:
        week = (row.ends - at) // WEEK
        if 0 <= week < WEEKS:
            is_manual = row.mode == "manual" or row.kind != CERTIFICATE
            counts[week][2 if row.need in (Need.BROKEN, Need.OLD) else 1 if is_manual else 0] += 1
    return tuple(Week(at + place * WEEK, *count) for place, count in enumerate(counts))
