"""The forecast: against counting one by one, against a CA's limits, and smoothed without making anything late."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renewers.issuers.budget import LETS_ENCRYPT, Limit, Scope
from renewers.timing import forecast, lead_time
from renewers.timing.forecast import Stretch
from renewers.timing.lead_time import DAY, HOUR

NOW = 1_800_000_000
ORDERS = Limit("orders", 300, 3 * HOUR, Scope.ACCOUNT)


def fleet(count: int, lifetime: int, *, age: int = 0, spread: int = 1) -> Iterator[Stretch]:
    """Certificates of one lifetime, the oldest of that age, the others begun within `spread` seconds after it."""
    for place in range(count):
        start = NOW - age + place * spread // count
        yield start, start + lifetime - 1, str(place)


def counted(certificates: list[Stretch], days: int, lifetime: int | None) -> list[int]:
    """The truth: every certificate and every successor, one by one."""
    found = [0] * days
    for start, end, seed in certificates:
        at, following = start, end - start + 1
        generation = 0
        while True:
            due = max(lead_time.due_by_policy(at, at + following - 1, seed=f"{seed}" + "'" * generation), NOW)
            if due >= NOW + days * DAY:
                break
            found[(due - NOW) // DAY] += 1
            at, following = due, following if lifetime is None else min(following, lifetime * DAY)
            generation += 1
    return found


@pytest.mark.parametrize("longest", [None, 45, 6])
def test_it_agrees_with_counting_one_by_one(longest: int | None) -> None:
    """Two thousand certificates of three lifetimes and their successors: the curve is the true one, but for chance."""
    some = [
        *fleet(1000, 90 * DAY, age=60 * DAY, spread=60 * DAY),
        *fleet(500, 398 * DAY, age=390 * DAY, spread=390 * DAY),
        *fleet(500, 7 * DAY, age=4 * DAY, spread=4 * DAY),
    ]
    days = 120
    found = forecast.renewals_a_day(some, now=NOW, days=days, lifetime_days=longest)
    truth = counted(some, days, longest)
    assert sum(found.renewals) == pytest.approx(sum(truth), rel=0.01)
    gaps = [abs(a - b) for a, b in zip(accumulate(found.renewals), accumulate(truth), strict=True)]
    assert max(gaps) < 0.01 * sum(truth) + 25


def test_lives_shorter_than_a_day_are_renewed_many_times_in_it() -> None:
    """A thousand certificates of four hours are about 9,300 renewals a day."""
    found = forecast.renewals_a_day(fleet(1000, 4 * HOUR, age=2 * HOUR, spread=2 * HOUR), now=NOW, days=10)
    truth = counted(list(fleet(1000, 4 * HOUR, age=2 * HOUR, spread=2 * HOUR)), 10, None)
    assert found.renewals[5] == pytest.approx(truth[5], rel=0.05)


def test_a_longest_lifetime_shortens_no_shorter_one() -> None:
    """Under 200 days nothing changes for what lives 90."""
    now, later = forecast.under_each(fleet(100, 90 * DAY), now=NOW, days=200, lifetimes=(None, 200))
    assert now.renewals == later.renewals


def test_shorter_lives_are_more_renewals() -> None:
    """From 365 days down to 6: each curve carries more than the one before, and all are from one pass."""
    certificates = iter(list(fleet(1000, 365 * DAY, age=240 * DAY, spread=240 * DAY)))
    found = forecast.under_each(certificates, now=NOW, days=400)
    assert [curve.lifetime_days for curve in found] == [None, 200, 100, 64, 45, 6]
    totals = [sum(curve.renewals) for curve in found]
    assert totals == sorted(totals)
    assert totals[-1] > 20 * totals[0]


def test_the_day_that_breaks_a_limit_is_named() -> None:
    """Three thousand of one day exceed 300 orders in three hours, however they are spread over it."""
    found = forecast.renewals_a_day(fleet(20_000, 90 * DAY, age=50 * DAY), now=NOW, days=30, limits=[ORDERS])
    assert {item.limit for item in found.breaks} == {"orders"}
    assert all(item.expected > item.allowed == 2400 for item in found.breaks)
    assert {item.day for item in found.breaks} == {d for d, n in enumerate(found.renewals) if n > 2400}
    assert forecast.renewals_a_day(fleet(2_000, 90 * DAY, age=50 * DAY), now=NOW, days=30, limits=[ORDERS]).breaks == ()


def test_a_limit_of_a_week_counts_seven_days_together() -> None:
    """Ten a day are seventy a week: over fifty from the sixth day on."""
    weekly = Limit("per-domain", 50, 7 * DAY, Scope.REGISTERED_DOMAIN)
    steady = [(NOW - 60 * DAY + d * DAY, NOW + 30 * DAY + d * DAY, f"{d}") for d in range(30) for _ in range(10)]
    found = forecast.renewals_a_day(steady, now=NOW, days=20, limits=[weekly], shared=[Scope.REGISTERED_DOMAIN])
    day = next(item.day for item in found.breaks)
    assert sum(found.renewals[max(0, day - 6) : day + 1]) > 50 >= sum(found.renewals[max(0, day - 7) : day])


def test_a_limit_that_cannot_be_judged_is_said_to_be() -> None:
    """Certificates of many domains say nothing about the limit of one."""
    found = forecast.renewals_a_day(fleet(10, 90 * DAY), now=NOW, days=10, limits=LETS_ENCRYPT)
    assert found.unjudged == ("certificates-per-domain", "certificates-per-set", "failed-validations")


def test_what_is_overdue_is_renewed_today() -> None:
    """Expired or only due: it is on the first day, and no day before."""
    overdue = [(NOW - 100 * DAY, NOW - 10 * DAY, "a"), (NOW - 89 * DAY, NOW + DAY, "b")]
    assert forecast.renewals_a_day(overdue, now=NOW, days=5).renewals == (2.0, 0.0, 0.0, 0.0, 0.0)


def test_nothing_is_tracked() -> None:
    """An empty curve has as many days as were asked for."""
    found = forecast.renewals_a_day([], now=NOW, days=3)
    assert (found.renewals, found.smoothed, found.pile_ups, found.peak) == ((0.0,) * 3, (0.0,) * 3, (), 0.0)


def test_a_pile_up_is_seen_and_smoothed() -> None:
    """Ten thousand issued in one second pile up in two months; renewing some earlier halves the peak and more."""
    found = forecast.renewals_a_day(fleet(10_000, 90 * DAY, age=30 * DAY), now=NOW, days=60)
    assert set(found.pile_ups) <= set(range(24, 31))
    assert found.pile_ups
    assert max(found.smoothed) < 0.5 * found.peak
    assert sum(found.smoothed) == pytest.approx(sum(found.renewals))


fleets = st.lists(
    st.tuples(st.integers(0, 400 * DAY), st.integers(HOUR, 400 * DAY), st.integers(1, 60)), min_size=1, max_size=8
)


@settings(max_examples=60)
@given(fleets, st.integers(1, 120), st.sampled_from(forecast.LIFETIMES))
def test_smoothing_makes_nothing_late_and_loses_nothing(
    parts: list[tuple[int, int, int]], days: int, longest: int | None
) -> None:
    """By the end of each day at least as much is done as is due by then, in the end all of it, at no higher peak."""
    some = [item for age, lifetime, count in parts for item in fleet(count, lifetime, age=min(age, lifetime - 1))]
    found = forecast.renewals_a_day(some, now=NOW, days=days, lifetime_days=longest)
    assert len(found.renewals) == len(found.smoothed) == days
    done, due = list(accumulate(found.smoothed)), list(accumulate(found.renewals))
    assert all(a >= b - 1e-6 for a, b in zip(done, due, strict=True))
    assert done[-1] == pytest.approx(due[-1])
    assert max(found.smoothed) <= found.peak + 1e-6
