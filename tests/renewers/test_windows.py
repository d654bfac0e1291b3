"""Maintenance windows: found across midnight, weeks and changing clocks; and expiry beats every one of them."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ca.errors import Misconfigured
from renewers.timing import lead_time, windows
from renewers.timing.lead_time import DAY, HOUR
from renewers.timing.windows import Window

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Antarctica/Troll")
EVERY_DAY = frozenset(range(7))

times = st.builds(time, st.integers(0, 23), st.integers(0, 59))
every_window = st.builds(
    Window,
    st.just("w"),
    st.sets(st.integers(0, 6), min_size=1).map(frozenset),
    times,
    times,
    st.sampled_from(ZONES),
)
moments = st.integers(1_577_836_800, 2_208_988_800)  # 2020 to 2040


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> int:
    """A local time as seconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


def window(start: str, end: str, days: frozenset[int] = EVERY_DAY, zone: str = "Europe/Berlin") -> Window:
    """A window between two local times."""
    return Window("nights", days, time.fromisoformat(start), time.fromisoformat(end), zone)


def test_a_window_opens_and_closes() -> None:
    """Its first second is in it, its last is not."""
    nights = window("02:00", "04:00")
    assert windows.next_open(nights, at("2026-06-10T01:00")) == at("2026-06-10T02:00")
    assert windows.is_open(nights, at("2026-06-10T02:00"))
    assert windows.next_open(nights, at("2026-06-10T03:59")) == at("2026-06-10T03:59")
    assert not windows.is_open(nights, at("2026-06-10T04:00"))
    assert windows.next_open(nights, at("2026-06-10T04:00")) == at("2026-06-11T02:00")


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    """Saturday from ten to four is open on Sunday at three, and not on Saturday at three."""
    saturdays = window("22:00", "04:00", frozenset({5}))
    assert windows.is_open(saturdays, at("2026-06-14T03:00"))  # a Sunday
    assert not windows.is_open(saturdays, at("2026-06-13T03:00"))
    assert windows.next_open(saturdays, at("2026-06-14T04:00")) == at("2026-06-20T22:00")


def test_a_window_that_begins_when_it_ends_is_a_whole_day() -> None:
    """All of Sunday, local time."""
    sundays = window("00:00", "00:00", frozenset({6}))
    assert windows.is_open(sundays, at("2026-06-14T23:59"))
    assert windows.next_open(sundays, at("2026-06-13T12:00")) == at("2026-06-14T00:00")
    assert windows.next_open(sundays, at("2026-06-15T00:00")) == at("2026-06-21T00:00")


def test_clocks_that_jump_forward_move_a_window_inside_the_jump() -> None:
    """On the last Sunday of March there is no half past two in Berlin: what was to open then does an hour later."""
    short = window("02:15", "02:45")
    assert windows.next_open(short, at("2026-03-28T03:00")) == at("2026-03-29T03:15")
    assert windows.next_open(short, at("2026-03-29T03:45")) == at("2026-03-30T02:15")


def test_a_window_that_would_close_before_it_opens_is_skipped() -> None:
    """From half past two until three there is nothing on that day; the window opens the day after."""
    short = window("02:30", "03:00")
    assert windows.next_open(short, at("2026-03-28T03:00")) == at("2026-03-30T02:30")


def test_clocks_that_jump_forward_shorten_a_window() -> None:
    """From one to four is two hours long that night, and all of them are open."""
    nights = window("01:00", "04:00")
    opening, closing = at("2026-03-29T01:00"), at("2026-03-29T04:00")
    assert closing - opening == 2 * HOUR
    assert [windows.is_open(nights, opening + half * 1800) for half in range(-1, 5)] == [False, *[True] * 4, False]


def test_clocks_that_jump_back_lengthen_a_window() -> None:
    """From one to four is four hours long on the last Sunday of October."""
    nights = window("01:00", "04:00")
    opening = at("2026-10-25T01:00")
    assert [windows.is_open(nights, opening + half * 1800) for half in range(-1, 9)] == [False, *[True] * 8, False]


@pytest.mark.parametrize(
    ("days", "zone"), [(frozenset[int](), "UTC"), (frozenset({7}), "UTC"), (EVERY_DAY, "Moon/Sea"), (EVERY_DAY, "../x")]
)
def test_a_window_that_cannot_be_is_refused(days: frozenset[int], zone: str) -> None:
    """When it is made, not when it is needed."""
    with pytest.raises(Misconfigured):
        window("01:00", "02:00", days, zone)


@pytest.mark.parametrize("zone", ["Europe", "", "/etc/passwd", "a" * 300, "Europe\0Berlin"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    """Whatever is in the way when it is looked up."""
    with pytest.raises(Misconfigured):
        window("01:00", "02:00", EVERY_DAY, zone)


def test_a_time_with_a_zone_of_its_own_is_refused() -> None:
    """There is one zone in a window."""
    with pytest.raises(Misconfigured):
        Window("odd", EVERY_DAY, time(1, tzinfo=UTC), time(2), "UTC")


@given(every_window, moments)
def test_the_next_opening_is_one(some: Window, moment: int) -> None:
    """It is open then, it is not earlier than asked for, and it is the same when asked from in between."""
    opening = windows.next_open(some, moment)
    assert opening >= moment
    assert windows.is_open(some, opening)
    assert windows.next_open(some, (moment + opening) // 2) == opening
    assert opening == moment or not windows.is_open(some, opening - 1)


@given(every_window, moments)
def test_an_open_window_shows_its_local_time(some: Window, moment: int) -> None:
    """Whenever it is open, the clock on the wall agrees, but for the hour after it has jumped."""
    local = datetime.fromtimestamp(moment, ZoneInfo(some.time_zone))
    hours_ago = datetime.fromtimestamp(moment - 3 * HOUR, ZoneInfo(some.time_zone))
    hours_on = datetime.fromtimestamp(moment + 3 * HOUR, ZoneInfo(some.time_zone))
    assume(local.utcoffset() == hours_ago.utcoffset() == hours_on.utcoffset())
    clock, day = local.time().replace(tzinfo=None), local.weekday()
    if some.start < some.end:
        expected = day in some.days and some.start <= clock < some.end
    else:
        yesterday = (day - 1) % 7
        expected = (day in some.days and clock >= some.start) or (yesterday in some.days and clock < some.end)
    assert windows.is_open(some, moment) == expected


@given(every_window, moments)
def test_no_window_stays_closed_longer_than_it_says(some: Window, moment: int) -> None:
    """Clocks may change as they like, days that a whole country skips apart."""
    assert windows.next_open(some, moment) - moment <= windows.longest_closed(some)


@given(
    st.none() | every_window,
    moments,
    st.integers(HOUR, 10 * 365 * DAY),
    st.text(max_size=8),
    st.none() | st.integers(0, 400 * DAY),
    st.integers(-30 * DAY, 400 * DAY),
)
def test_expiry_beats_every_window(
    some: Window | None, start: int, lifetime: int, seed: str, chosen: int | None, passed: int
) -> None:
    """Whatever the window, the lifetime and the time that has passed: never after it is late, or at once if it is."""
    marks = lead_time.milestones(
        start, start + lifetime - 1, seed=seed, chosen=None if chosen is None else start + chosen
    )
    now = start + passed
    at = windows.plan(marks.due, marks.late, some, now)
    assert at >= max(marks.due, now)
    assert at <= max(marks.late, now)
    assert at == now or at <= marks.end
    if some is not None and at not in (now, marks.late):
        assert windows.is_open(some, at)


@given(every_window, moments, st.integers(HOUR, 3 * 365 * DAY), st.text(max_size=8))
def test_a_window_without_complaint_is_reached(some: Window, start: int, lifetime: int, seed: str) -> None:
    """What `check` finds nothing wrong with is open between due and late, every time."""
    marks = lead_time.milestones(start, start + lifetime - 1, seed=seed)
    if not windows.check(some, lifetime):
        assert windows.is_open(some, windows.plan(marks.due, marks.late, some, marks.due))


def test_a_window_that_cannot_be_reached_is_reported() -> None:
    """Weekends are enough for three months and too rare for six days (cert-manager#9146)."""
    weekends = window("22:00", "06:00", frozenset({5, 6}))
    assert windows.check(weekends, 90 * DAY) == []
    (reason,) = windows.check(weekends, 6 * DAY)
    assert reason.code == "window-unreachable"
    assert "stays closed for up to 5 d 18 h" in reason.message


def test_no_window_is_always_open() -> None:
    """Without one, it is renewed when it is due."""
    assert windows.plan(10, 20, None, 5) == 10
    assert windows.plan(10, 20, None, 15) == 15


def test_the_end_of_all_calendars_is_no_error() -> None:
    """A certificate that never ends (RFC 5280 section 4.1.2.5) is planned like another."""
    assert windows.plan(253_402_300_000, 253_402_300_799, window("01:00", "02:00"), 0) == 253_402_300_000
