"""Calendar months in UTC: where they begin and end, what people call them, which of them end a quarter. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ca import clock
from ca.errors import BadRequest

FIRST_YEAR, LAST_YEAR = 2000, 9998
_WRITTEN = re.compile(r"([0-9]{4})-([0-9]{2})")
_NAMES = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ORDINALS = ("1st", "2nd", "3rd", "4th")


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One month; `str` writes it as `2026-11`."""

    year: int
    number: int

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    @property
    def start(self) -> int:
        """Its first second, seconds since the epoch."""
        return int(datetime(self.year, self.number, 1, tzinfo=UTC).timestamp())

    @property
    def end(self) -> int:
        """The first second after it."""
        return self.after.start

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.end - self.start) // 86400

    @property
    def after(self) -> Month:
        """The next one."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def before(self) -> Month:
        """The one before it."""
        return Month(self.year - (self.number == 1), (self.number - 2) % 12 + 1)

    @property
    def name(self) -> str:
        """`November 2026`."""
        return f"{_NAMES[self.number - 1]} {self.year}"

    @property
    def quarter(self) -> str:
        """The quarter that it lies in: `4th quarter of 2026`."""
        return f"{_ORDINALS[(self.number - 1) // 3]} quarter of {self.year}"

    @property
    def closing(self) -> Month:
        """The month that ends its quarter; itself, if it does."""
        return Month(self.year, (self.number + 2) // 3 * 3)


def parse(text: str) -> Month:
    """Read `2026-11`. `BadRequest` if it is no month."""
    match = _WRITTEN.fullmatch(text)
    year, number = (int(match[1]), int(match[2])) if match else (0, 0)
    if not FIRST_YEAR <= year <= LAST_YEAR or not 1 <= number <= 12:
        raise BadRequest(f"{text[:20]!r} is not a month such as 2026-11", code="bad-month")
    return Month(year, number)


def month_of(moment: int) -> Month:
    """The month in which a moment lies, seconds since the epoch."""
    at = clock.from_timestamp(moment)
    return Month(at.year, at.month)
