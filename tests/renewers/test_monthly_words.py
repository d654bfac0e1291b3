"""Months, counting in little memory, words for numbers, and the geometry of charts: what the report is made with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import BadRequest
from renewers.reports.monthly import wording
from renewers.reports.monthly.blocks import Bars, Series
from renewers.reports.monthly.drawing import plot
from renewers.reports.monthly.months import Month, month_of, parse
from renewers.reports.monthly.tallying import BOUNDS, Durations, First, Tally

MONTHS = st.builds(Month, st.integers(2000, 9998), st.integers(1, 12))


@given(MONTHS)
def test_a_month_ends_where_the_next_begins(month: Month) -> None:
    """No second lies in two months, and none in none; the written form comes back as the same month."""
    assert month.end == month.after.start
    assert month.after.before == month
    assert month_of(month.start) == month_of(month.end - 1) == month
    assert parse(str(month)) == month
    assert (datetime.fromtimestamp(month.start, UTC) + timedelta(days=month.days)).day == 1


@pytest.mark.parametrize(
    "text", ["2026-13", "2026-00", "26-11", "2026-1", "1999-12", "9999-01", "2026-11-01", "x" * 9999]
)
def test_what_is_no_month_is_refused(text: str) -> None:
    """In a few words, however long it is."""
    with pytest.raises(BadRequest) as refused:
        parse(text)
    assert len(refused.value.message) < 100


def test_quarters_are_signed_in_their_last_month() -> None:
    """Which month closes the quarter."""
    assert Month(2026, 11).closing == Month(2026, 12) == Month(2026, 12).closing
    assert Month(2027, 1).closing == Month(2027, 3)
    assert Month(2026, 11).quarter == "4th quarter of 2026"


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_percentiles_are_times_that_were_measured(seconds: list[int]) -> None:
    """By nearest rank, as sorting all of them would say."""
    counted, ordered = Durations(), sorted(seconds)
    for one in seconds:
        counted.add(one)
    p50, p99, longest = counted.at(50, 99, 100)
    assert (p50, longest) == (ordered[(len(ordered) + 1) // 2 - 1], ordered[-1])
    assert p99 == ordered[-(-99 * len(ordered) // 100) - 1]
    assert sum(counted.histogram()) == counted.count == len(seconds)
    assert counted.histogram()[0] == sum(one <= BOUNDS[0] for one in seconds)


def test_nothing_measured_is_not_known() -> None:
    """None, and not zero."""
    assert Durations().at(50, 99) == [None, None]
    assert wording.span(None) == wording.percent(0, 0) == "not known"


@given(st.lists(st.text(max_size=3)), st.integers(1, 5))
def test_a_tally_keeps_few_words_and_loses_no_count(words: list[str], most: int) -> None:
    """However many different words strangers send."""
    tally = Tally(most)
    for word in words:
        tally.add(word)
    top, others = tally.top(most)
    assert len(top) <= most
    assert sum(count for _, count in top) + others == tally.total() == len(words)


@given(st.lists(st.integers(0, 100)), st.integers(1, 6))
def test_the_first_to_end_are_kept_whatever_their_order(ends: list[int], most: int) -> None:
    """As sorting all of them would say."""
    first = First(most)
    for place, end in enumerate(ends):
        first.add(end, place, lambda place=place: {"place": place})  # type: ignore[misc]
    expected = sorted(range(len(ends)), key=lambda place: (ends[place], place))[:most]
    assert [row["place"] for row in first.rows()] == expected
    assert first.count == len(ends)


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_share_is_never_rounded_to_all_or_nothing(part: int, more: int) -> None:
    """99.99 % is not 100 %: somebody signs for the difference."""
    said = wording.percent(part, part + more)
    assert said != "100.0 %"
    assert (said == "0.0 %") == (part == 0)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (3600, "1 h"), (90061, "1 d 1 h"), (86400 * 100 + 61, "100 d 1 min")],
)
def test_lengths_of_time_are_said_in_two_units(seconds: int, said: str) -> None:
    """The largest two."""
    assert wording.span(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(1, "1 entry"), (2, "2 entries"), (1000, "1,000 entries")])
def test_counts_agree_with_their_nouns(count: int, said: str) -> None:
    """One entry, two entries."""
    assert wording.counted(count, "entry") == said
    assert wording.day(1 << 60) == "beyond all calendars"


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
def test_every_bar_is_within_its_chart_and_none_is_lost(values: list[float]) -> None:
    """What is not nothing is seen, and the highest fits."""
    bars = Bars("c", tuple(map(str, range(len(values)))), (Series("s", tuple(values)),), "alt")
    drawn = plot(bars, 100, 50, left=10, below=5, above=2)
    assert len(drawn.bars) == sum(value > 0 for value in values)
    for bar in drawn.bars:
        assert bar.x >= 10
        assert bar.x + bar.width <= 100
        assert 1.9 <= bar.y < 45 + 1e-6
        assert bar.height > 0
