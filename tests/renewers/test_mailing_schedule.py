"""The hours of regular letters, wherever an owner lives, and on the two days on which clocks are changed."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewers.mailing import schedule

DAY, WEEK, HOUR = 86400, 7 * 86400, 3600
ZONES = sorted(zoneinfo.available_timezones())


def at(text: str) -> int:
    """A moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def local(moment: int, zone: str) -> datetime:
    """The same where somebody lives."""
    return datetime.fromtimestamp(moment, UTC).astimezone(zoneinfo.ZoneInfo(zone))


def test_nine_in_the_morning_is_nine_in_the_morning() -> None:
    """Berlin in winter and in summer, Kathmandu with its three quarters of an hour."""
    assert schedule.next_daily("Europe/Berlin", 9, at("2027-01-04T00:00")) == at("2027-01-04T08:00")
    assert schedule.next_daily("Europe/Berlin", 9, at("2027-07-05T00:00")) == at("2027-07-05T07:00")
    assert schedule.next_daily("Asia/Kathmandu", 9, at("2027-01-04T00:00")) == at("2027-01-04T03:15")


def test_the_moment_itself_is_over() -> None:
    """Whoever was written to at nine is written to tomorrow at nine."""
    nine = at("2027-01-04T08:00")
    assert schedule.next_daily("Europe/Berlin", 9, nine - 1) == nine
    assert schedule.next_daily("Europe/Berlin", 9, nine) == nine + DAY


def test_an_hour_that_a_clock_skips_is_the_one_after_it() -> None:
    """On 2027-03-28 there is no half past two in Berlin: the letter of two o'clock comes at three, once."""
    before = at("2027-03-27T12:00")
    first = schedule.next_daily("Europe/Berlin", 2, before)
    assert local(first, "Europe/Berlin").isoformat() == "2027-03-28T03:00:00+02:00"
    assert local(schedule.next_daily("Europe/Berlin", 2, first), "Europe/Berlin").day == 29


def test_an_hour_that_comes_twice_is_the_first_of_the_two() -> None:
    """On 2027-10-31 it is two o'clock twice in Berlin: one letter, at the first."""
    first = schedule.next_daily("Europe/Berlin", 2, at("2027-10-30T12:00"))
    assert local(first, "Europe/Berlin").isoformat() == "2027-10-31T02:00:00+02:00"
    assert local(schedule.next_daily("Europe/Berlin", 2, first), "Europe/Berlin").day == 1


def test_the_week_of_a_changed_clock_has_one_digest() -> None:
    """Both ways: Monday at nine is followed by Monday at nine, an hour less or more apart than a week."""
    for month, apart in (("2027-03-22T12:00", WEEK - HOUR), ("2027-10-25T12:00", WEEK + HOUR)):
        this = schedule.next_weekly("Europe/Berlin", 0, 9, at(month) - WEEK)
        assert schedule.next_weekly("Europe/Berlin", 0, 9, this) - this == apart


def test_a_zone_that_this_machine_does_not_know_is_utc() -> None:
    """Letters go out all the same."""
    assert schedule.next_daily("Mars/Olympus", 9, at("2027-01-04T00:00")) == at("2027-01-04T09:00")


@given(
    zone=st.sampled_from(ZONES),
    day=st.integers(0, 6),
    hour=st.integers(0, 23),
    after=st.integers(at("2020-01-01T00:00"), at("2037-01-01T00:00")),
)
def test_nobody_is_written_to_twice_a_day_or_never(zone: str, day: int, hour: int, after: int) -> None:
    """In every zone of the world: each next letter is within a day (or week) and a changed clock, on another date."""
    this = schedule.next_daily(zone, hour, after)
    following = schedule.next_daily(zone, hour, this)
    assert after < this <= after + DAY + 2 * HOUR
    assert DAY - 2 * HOUR <= following - this <= DAY + 2 * HOUR
    assert local(this, zone).date() != local(following, zone).date()
    assert local(this, zone).hour - hour in (0, 1)
    weekly = schedule.next_weekly(zone, day, hour, after)
    assert after < weekly <= after + WEEK + 2 * HOUR
    assert local(weekly, zone).weekday() == day


@pytest.mark.parametrize("zone", ["Pacific/Apia", "America/Sao_Paulo", "Antarctica/Troll", "Australia/Lord_Howe"])
def test_odd_clocks(zone: str) -> None:
    """A day that was left out, midnights that do not exist, two hours or half an hour at once: it goes on."""
    moment = at("2011-12-20T00:00")
    for _ in range(400):
        following = schedule.next_daily(zone, 0, moment)
        assert 0 < following - moment <= 2 * DAY + 2 * HOUR
        moment = following
