"""Lead time: milestones in order for every life, the same for the same seed, spread for different ones."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewers.inventory import track
from renewers.timing import lead_time
from renewers.timing.lead_time import DAY, HOUR, MONTH, Milestones, Stage

NOW = 1_800_000_000
YEAR = 365 * DAY
ORDER = [Stage.FINE, Stage.DUE, Stage.LATE, Stage.URGENT, Stage.CRITICAL, Stage.EXPIRED]

lifetimes = st.integers(HOUR, 30 * YEAR)
fractions = st.floats(0.1, 0.95)
choices = st.none() | st.integers(-60 * DAY, 31 * YEAR)
lead_times = st.none() | st.integers(0, 120 * DAY)
starts = st.integers(-10 * YEAR, 200 * YEAR)
seeds = st.text(max_size=20)


def of(lifetime: int, *, seed: str = "a", **more: object) -> Milestones:
    """The milestones of a life that begins at `NOW`."""
    return lead_time.milestones(NOW, NOW + lifetime - 1, seed=seed, **more)  # type: ignore[arg-type]


def in_order(start: int, marks: Milestones) -> bool:
    """Whether each milestone is where the next may be."""
    return start <= marks.due <= marks.late <= marks.urgent <= marks.critical <= marks.end


@given(starts, lifetimes, seeds, fractions, choices, lead_times)
def test_milestones_are_in_order(
    start: int, lifetime: int, seed: str, fraction: float, chosen: int | None, p99: int | None
) -> None:
    """From one hour to thirty years, whatever an issuer suggests and however slow we are."""
    moment = None if chosen is None else start + chosen
    end = start + lifetime - 1
    marks = lead_time.milestones(start, end, seed=seed, fraction=fraction, chosen=moment, measured_p99=p99)
    assert in_order(start, marks)
    assert marks.end == end


@given(starts, st.integers(-YEAR, HOUR), seeds)
def test_a_life_that_is_none_has_milestones(start: int, lifetime: int, seed: str) -> None:
    """A stranger's certificate may end before it begins; nothing here fails, and it has expired."""
    marks = lead_time.milestones(start, start + lifetime, seed=seed)
    assert marks.due <= marks.late <= marks.urgent <= marks.critical <= marks.end == start + lifetime
    assert lead_time.stage(marks, start + lifetime + 1) is Stage.EXPIRED


@given(lifetimes, seeds, st.lists(st.integers(-DAY, 31 * YEAR), min_size=2))
def test_stages_only_go_on(lifetime: int, seed: str, moments: list[int]) -> None:
    """A later look never finds an earlier stage."""
    marks = of(lifetime, seed=seed)
    found = [ORDER.index(lead_time.stage(marks, NOW + moment)) for moment in sorted(moments)]
    assert found == sorted(found)


@given(lifetimes, seeds, st.integers(-DAY, 31 * YEAR))
def test_nothing_changes_before_the_next_change(lifetime: int, seed: str, moment: int) -> None:
    """Until then the stage stays, and then it is another one; each stage began at or before now."""
    marks, now = of(lifetime, seed=seed), NOW + moment
    stage, change = lead_time.stage(marks, now), lead_time.next_change(marks, now)
    assert lead_time.began(marks, stage, NOW) <= max(now, NOW)
    if change is None:
        assert stage is Stage.EXPIRED
    else:
        assert change > now
        assert lead_time.stage(marks, change - 1) is stage
        assert ORDER.index(lead_time.stage(marks, change)) > ORDER.index(stage)


def test_the_last_second_is_still_valid() -> None:
    """Lifetimes are inclusive of their last second (failure 56)."""
    marks = of(90 * DAY)
    assert lead_time.stage(marks, marks.end) is Stage.CRITICAL
    assert lead_time.stage(marks, marks.end + 1) is Stage.EXPIRED


def test_a_certificate_of_ninety_days() -> None:
    """Due around two thirds, late a tenth of its life after that, urgent half-way, critical two days before the end."""
    marks = of(90 * DAY, seed="x")
    assert 54 * DAY - 1 <= marks.due - NOW <= 60 * DAY
    assert marks.late - marks.due in (9 * DAY, 9 * DAY - 1)
    assert abs((marks.urgent - marks.due) - (marks.end - marks.urgent)) <= 1
    assert marks.critical == marks.end - 48 * HOUR


def test_ten_thousand_of_one_second_do_not_come_due_in_one() -> None:
    """They are spread evenly over a fifth of their lead time (failure 78), hardly two at one moment."""
    due = [of(90 * DAY, seed=f"{i}/1").due for i in range(10_000)]
    assert max(Counter(due).values()) <= 5
    hours = Counter((moment - min(due)) // HOUR for moment in due)
    assert len(hours) >= 143
    assert max(hours.values()) < 3 * 10_000 / len(hours)
    lead = 30 * DAY
    assert 0.19 * lead < max(due) - min(due) <= 0.2 * lead


@given(lifetimes, seeds)
def test_the_same_seed_comes_due_at_the_same_moment(lifetime: int, seed: str) -> None:
    """Another process, or the same one after a crash, plans the same."""
    assert of(lifetime, seed=seed) == of(lifetime, seed=seed)


@given(lifetimes, seeds, fractions, st.integers(0, 31 * YEAR))
def test_an_issuer_that_wants_it_earlier_gets_it_earlier(
    lifetime: int, seed: str, fraction: float, chosen: int
) -> None:
    """A suggested moment beats policy, but nobody waits for it until it would be late by policy."""
    policy = of(lifetime, seed=seed, fraction=fraction)
    marks = of(lifetime, seed=seed, fraction=fraction, chosen=NOW + chosen)
    assert marks.due == min(NOW + chosen, policy.late)


def test_a_window_in_the_past_means_now() -> None:
    """A CA that is about to revoke moves its window into the past: it is due from the first second on."""
    marks = of(90 * DAY, chosen=NOW - DAY)
    assert marks.due == NOW
    assert lead_time.stage(marks, NOW) is Stage.DUE


@given(lifetimes, seeds, fractions, st.integers(0, 120 * DAY))
def test_slowness_makes_everything_earlier(lifetime: int, seed: str, fraction: float, p99: int) -> None:
    """A long measured lead time never makes anything later, and leaves time for four of them where half a life does."""
    quick, slow = (
        of(lifetime, seed=seed, fraction=fraction),
        of(lifetime, seed=seed, fraction=fraction, measured_p99=p99),
    )
    assert slow.due <= quick.due
    assert slow.critical <= quick.critical
    assert slow.end - slow.due >= min(4 * p99, (lifetime - 1) // 2)
    assert slow.end - slow.critical >= min(2 * p99, (slow.end - slow.due) // 2)


def test_one_slow_renewal_does_not_start_a_circle() -> None:
    """However slow the last ones were, nothing is renewed in the first two fifths of its life (cert-manager#5838)."""
    assert of(HOUR, measured_p99=30 * DAY).due - NOW >= 0.39 * HOUR


@given(st.integers(0, YEAR), st.integers(0, YEAR), seeds, st.integers(-YEAR, 2 * YEAR))
def test_a_choice_lies_in_its_window(start: int, length: int, seed: str, now: int) -> None:
    """In the window, or now if that has passed; the same when it is made again (RFC 9773 section 4.2)."""
    first = lead_time.choose_in_window(start, start + length, seed=seed, now=0)
    assert start <= first <= start + length
    assert lead_time.choose_in_window(start, start + length, seed=seed, now=now) == max(first, now)


def test_choices_are_spread_over_the_window() -> None:
    """No tenth of a window gets more than its share by much."""
    tenths = Counter(lead_time.choose_in_window(0, 9_999, seed=str(i), now=0) // 1000 for i in range(5_000))
    assert len(tenths) == 10
    assert max(tenths.values()) < 600


@pytest.mark.parametrize(
    ("kind", "mode", "lifetime", "days"),
    [
        ("certificate", "manual", 365 * DAY, [60, 30, 14, 7, 3, 1]),
        ("certificate", "manual", 100 * DAY, [60, 30, 14, 7, 3, 1]),
        ("certificate", "manual", 90 * DAY, [30, 21, 15, 2]),
        ("certificate", "renewed", 365 * DAY, [122, 85, 61, 2]),
        ("intermediate", "manual", 5 * YEAR, [180, 90, 60, 30]),
        ("intermediate", "manual", 90 * DAY, [45, 22, 15, 7]),
        ("root", "manual", 20 * YEAR, [720, 540, 360, 180]),
        ("crl", "manual", 72 * HOUR, [1, 1, 0, 0]),
        ("bundle", "manual", 12 * DAY, [4, 3, 2, 1]),
        ("bundle", "manual", 36500 * DAY, [720, 540, 360, 180]),  # with its root
    ],
)
def test_thresholds(kind: str, mode: str, lifetime: int, days: list[int]) -> None:
    """Fixed times for what people do in long lives, parts of the life for the rest."""
    assert [round(left / DAY - 0.01) for left in lead_time.thresholds(kind, mode, lifetime)] == days
    assert MONTH == 30 * DAY


@given(
    st.sampled_from(["certificate", "root", "intermediate", "crl", "bundle"]),
    st.sampled_from(["manual", "renewed", "holder"]),
    lifetimes,
)
def test_thresholds_give_milestones_in_order(kind: str, mode: str, lifetime: int) -> None:
    """For everything that is tracked: at least four, falling, none of them before its life."""
    left = lead_time.thresholds(kind, mode, lifetime)
    assert len(left) >= 4
    assert list(left) == sorted(left, reverse=True)
    assert 0 <= left[-1] <= left[0] < lifetime
    assert in_order(NOW, lead_time.before_the_end(NOW, NOW + lifetime - 1, left))


@given(st.integers(1, 30 * YEAR // DAY))
def test_a_root_is_never_young_and_due(days: int) -> None:
    """What was made today is not due today: a life too short for the fixed times has shorter ones."""
    for kind in ("root", "intermediate"):
        marks = lead_time.before_the_end(NOW, NOW + days * DAY, lead_time.thresholds(kind, "manual", days * DAY))
        assert marks.due - NOW >= days * DAY // 2


@given(st.integers(3600, 3650 * DAY), st.text(max_size=8), st.integers(0, 400 * DAY))
def test_nothing_comes_due_in_the_first_part_of_its_life(lifetime: int, seed: str, p99: int) -> None:
    """What is tracked at its issuance need not be looked at before: `track` counts on it."""
    marks = lead_time.milestones(NOW, NOW + lifetime, seed=seed, measured_p99=p99)
    assert marks.due >= NOW + int(lifetime * track.NEVER_DUE_BEFORE)
