"""How many renewals the coming days bring, now and under shorter lifetimes, and which limits of a CA they would break.

Pure arithmetic over a stream of certificates: what is kept of them is one count for each lifetime and day. Certificates
that exist are renewed when they are due; what follows them lives at most as long as the forecast assumes, and comes due
spread by the jitter of `lead_time`, in expectation. It counts renewals alone, not what will be added, and it
takes no exemption for granted (renewals with ARI are free at some CAs).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from renewers.issuers.budget import Limit, Scope
from renewers.timing.lead_time import DAY, FRACTION, HOUR, JITTER, due_by_policy

LIFETIMES = (None, 200, 100, 64, 45, 6)
"""Longest lifetimes in days to look ahead under; None is as it is today."""
PILE_UP = 3.0
"""How many times the average a day is that piles up."""
EARLY = 1 / 8
"""The part of its life by which smoothing may renew a certificate earlier than it is due."""
EARLIEST_DAYS = 30
POINTS = 32
"""In how many places the jitter is looked at."""

Stretch = tuple[int, int, str]
"""A certificate as the forecast sees it: not before, not after, and the seed of its jitter."""


@dataclass(frozen=True, slots=True)
class Break:
    """A day whose renewals, with those of the days before it that count together, are more than a limit allows."""

    day: int
    limit: str
    expected: float
    allowed: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected renewals of each coming day; days are 24 hours and begin at `start`."""

    lifetime_days: int | None
    start: int
    renewals: tuple[float, ...]
    smoothed: tuple[float, ...]
    """The same with as low a peak as renewing earlier can bring; never later than due."""
    pile_ups: tuple[int, ...]
    breaks: tuple[Break, ...]
    unjudged: tuple[str, ...]
    """Limits that count apart for something in which these certificates differ."""

    @property
    def peak(self) -> float:
        """The busiest day's renewals."""
        return max(self.renewals, default=0.0)


def renewals_a_day(
    certificates: Iterable[Stretch],
    *,
    now: int,
    days: int = 90,
    lifetime_days: int | None = None,
    fraction: float = FRACTION,
    limits: Sequence[Limit] = (),
    shared: Collection[str] = (Scope.ACCOUNT,),
) -> Forecast:
    """The forecast under one lifetime; see `under_each`."""
    found = under_each(
        certificates, now=now, days=days, lifetimes=(lifetime_days,), fraction=fraction, limits=limits, shared=shared
    )
    return found[0]


def under_each(
    certificates: Iterable[Stretch],
    *,
    now: int,
    days: int = 90,
    lifetimes: Sequence[int | None] = LIFETIMES,
    fraction: float = FRACTION,
    limits: Sequence[Limit] = (),
    shared: Collection[str] = (Scope.ACCOUNT,),
) -> tuple[Forecast, ...]:
    """One forecast for each longest lifetime, from one pass over the certificates.

    `shared` names the scopes that all of them have in common; a limit of another scope is not judged: for the limit of
    a domain, give that domain's certificates, and say that they share it.
    """
    coming = Coming(now=now, days=days, fraction=fraction)
    for certificate in certificates:
        coming.add(certificate)
    return coming.under_each(lifetimes, limits=limits, shared=shared)


class Coming:
    """Certificates counted one by one by when they come due: for whoever counts other things on the same pass."""

    def __init__(self, *, now: int, days: int, fraction: float = FRACTION) -> None:
        self._now, self._days, self._fraction = now, days, fraction
        self._first: defaultdict[int, list[float]] = defaultdict(lambda: [0.0] * days)
        self.count = 0

    def add(self, certificate: Stretch) -> None:
        """One more that exists. What is overdue is due on the first day."""
        not_before, not_after, seed = certificate
        due = due_by_policy(not_before, not_after, seed=seed, fraction=self._fraction)
        day = max(0, due - self._now) // DAY
        self.count += 1
        if day < self._days:
            self._first[_rounded(not_after - not_before + 1)][day] += 1

    def under_each(
        self,
        lifetimes: Sequence[int | None],
        *,
        limits: Sequence[Limit] = (),
        shared: Collection[str] = (Scope.ACCOUNT,),
    ) -> tuple[Forecast, ...]:
        """One forecast for each longest lifetime."""
        of = (self._first, self._now, self._days)
        return tuple(_forecast(*of, longest, self._fraction, limits, shared) for longest in lifetimes)


def _rounded(lifetime: int) -> int:
    """Lifetimes that need no telling apart are one: whole days from ten days up, else whole hours."""
    unit = DAY if lifetime >= 10 * DAY else HOUR
    return max(HOUR, (lifetime + unit // 2) // unit * unit)


def _forecast(
    first: Mapping[int, Sequence[float]],
    now: int,
    days: int,
    longest: int | None,
    fraction: float,
    limits: Sequence[Limit],
    shared: Collection[str],
) -> Forecast:
    by_freedom: dict[int, list[float]] = {}
    for lifetime, due in _grouped(first, longest):
        freedom = min(EARLIEST_DAYS, int(lifetime * EARLY) // DAY)
        curve = _with_successors(due, _waits(lifetime, fraction))
        by_freedom[freedom] = _added(by_freedom.get(freedom), curve)
    total = [sum(counts) for counts in zip(*by_freedom.values(), strict=True)] or [0.0] * days
    return Forecast(
        lifetime_days=longest,
        start=now,
        renewals=tuple(total),
        smoothed=tuple(_smoothed(by_freedom, total)),
        pile_ups=tuple(_pile_ups(total)),
        breaks=tuple(_breaks(total, [limit for limit in limits if limit.scope in shared])),
        unjudged=tuple(limit.name for limit in limits if limit.scope not in shared),
    )


def _grouped(first: Mapping[int, Sequence[float]], longest: int | None) -> Iterator[tuple[int, list[float]]]:
    """The same by the lifetime that a successor has."""
    found: dict[int, list[float]] = {}
    for lifetime, due in first.items():
        following = lifetime if longest is None else min(lifetime, longest * DAY)
        found[following] = _added(found.get(following), due)
    yield from found.items()


def _added(one: Sequence[float] | None, other: Sequence[float]) -> list[float]:
    return list(other) if one is None else [a + b for a, b in zip(one, other, strict=True)]


def _waits(lifetime: int, fraction: float) -> Mapping[int, float]:
    """How likely a certificate that was renewed at some time of a day is renewed again so many days later."""
    latest = int(lifetime * fraction)
    earliest = max(0.0, latest - (lifetime - latest) * JITTER)
    found: defaultdict[int, float] = defaultdict(float)
    for point in range(POINTS):
        wait = (earliest + (latest - earliest) * (point + 0.5) / POINTS) / DAY
        found[int(wait)] += (1 - wait % 1) / POINTS
        found[int(wait) + 1] += wait % 1 / POINTS
    return found


def _with_successors(due: Sequence[float], waits: Mapping[int, float]) -> list[float]:
    """All renewals of each day: those that exist come due, and those that follow renewals of earlier days."""
    on_the_same_day = min(waits.get(0, 0.0), 1 - 1e-3)
    later = [(wait, part) for wait, part in waits.items() if wait > 0 and part > 0]
    curve: list[float] = []
    for day, count in enumerate(due):
        followed = sum(part * curve[day - wait] for wait, part in later if wait <= day)
        curve.append((count + followed) / (1 - on_the_same_day))
    return curve


def _pile_ups(total: Sequence[float]) -> Iterator[int]:
    average = sum(total) / max(1, len(total))
    yield from (day for day, count in enumerate(total) if count > max(1.0, PILE_UP * average))


def _breaks(total: Sequence[float], limits: Iterable[Limit]) -> Iterator[Break]:
    """A limit that counts within less than a day is held against a day that is spread evenly."""
    for limit in limits:
        together = max(1, -(-limit.period_seconds // DAY))
        allowed = limit.count * max(1.0, DAY / limit.period_seconds)
        for day in range(len(total)):
            expected = sum(total[max(0, day - together + 1) : day + 1])
            if expected > allowed:
                yield Break(day, limit.name, expected, allowed)


def _smoothed(by_freedom: Mapping[int, Sequence[float]], total: Sequence[float]) -> list[float]:
    """The lowest peak, found by halving, at which everything is still renewed by the day it is due."""
    low, high = sum(total) / max(1, len(total)), max(total, default=0.0)
    best = list(total)
    while high - low > max(0.5, high / 100):
        middle = (low + high) / 2
        plan = _planned(by_freedom, len(total), middle)
        if plan is None:
            low = middle
        else:
            best, high = plan, middle
    return best


def _planned(by_freedom: Mapping[int, Sequence[float]], days: int, most: float) -> list[float] | None:
    """A plan with at most that many a day, or None: from the last day back, what may be moved least far goes first.

    The first day takes what is due on it in any case: there is no day before it.
    """
    plan, waiting = [0.0] * days, list[tuple[int, float]]()
    for day in reversed(range(days)):
        for freedom, curve in by_freedom.items():
            if curve[day]:
                heappush(waiting, (-max(0, day - freedom), curve[day]))
        room = most if day else max(most, sum(curve[0] for curve in by_freedom.values()))
        while waiting and room > 0:
            bound, count = heappop(waiting)
            done = min(count, room)
            plan[day], room = plan[day] + done, room - done
            if done < count:
                heappush(waiting, (bound, count - done))
        if waiting and -waiting[0][0] >= day:
            return None
    return plan
