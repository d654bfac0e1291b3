"""When somebody is to hear of what: the rules, without a clock and without a table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewers.mailing import thresholds
from renewers.mailing.thresholds import DAILY, DIGEST, IMMEDIATE, SILENT
from renewers.timing import deadlines
from renewers.timing.lead_time import DAY, MONTH

START = 1_800_000_000


def found(kind: str, mode: str | None, lifetime: int, **values: Any) -> tuple[thresholds.Threshold, ...]:
    """The thresholds of something that lives so long."""
    named = {"id": 1, "kind": kind, "not_before": START, "not_after": START + lifetime, "subject": "a", "issuer": "b"}
    row = SimpleNamespace(**({**named, "replaced_by": None, "stage": "fine"} | values))
    lineage = None if mode is None else SimpleNamespace(id=1, mode=mode, ari_chosen=None, current_id=1)
    return thresholds.of(row, lineage, deadlines.deadlines(row, lineage, fraction=2 / 3))


def urgencies(every: tuple[thresholds.Threshold, ...]) -> dict[str, str]:
    """Names and urgencies, in their order."""
    return {each.name: each.urgency for each in every}


AFTER = {"expired": IMMEDIATE, "expired+1d": IMMEDIATE, "expired+7d": IMMEDIATE}


def test_what_renews_itself_is_silent_while_it_is_healthy() -> None:
    """Nothing at the time of its renewal; late is for the day, urgent and worse for now."""
    every = found("certificate", "renewed", 90 * DAY)
    assert urgencies(every) == {
        "due": SILENT,
        "late": DAILY,
        "urgent": IMMEDIATE,
        "critical": IMMEDIATE,
        **AFTER,
    }


def test_a_person_hears_sixty_days_before() -> None:
    """Sixty, thirty and fourteen days by the digest, seven by the day, three and one at once."""
    every = found("certificate", "manual", 365 * DAY)
    before = {"60d": DIGEST, "30d": DIGEST, "14d": DIGEST, "7d": DAILY, "3d": IMMEDIATE, "1d": IMMEDIATE}
    assert urgencies(every) == {**before, **AFTER}
    assert [(START + 365 * DAY - each.at) // DAY for each in every[:6]] == [60, 30, 14, 7, 3, 1]


def test_short_lives_know_no_digest_and_no_daily() -> None:
    """A weekly or a daily letter would come too late: what is urgent is said at once, and nothing else."""
    for mode in ("renewed", "holder", "manual"):
        every = urgencies(found("certificate", mode, 6 * DAY))
        assert {name: urgency for name, urgency in every.items() if urgency != IMMEDIATE} == {
            "due": SILENT,
            "late": SILENT,
        }


@pytest.mark.parametrize(
    ("kind", "lefts"),
    [("intermediate", [180, 90, 60, 30]), ("root", [24 * 30, 18 * 30, 12 * 30, 6 * 30])],
)
def test_what_signs_is_announced_long_before(kind: str, lefts: list[int]) -> None:
    """The last two of its thresholds do not wait for a digest."""
    every = found(kind, None, 20 * 365 * DAY)
    assert [(START + 20 * 365 * DAY - each.at) // DAY for each in every[:4]] == lefts
    assert [each.urgency for each in every[:4]] == [DIGEST, DIGEST, IMMEDIATE, IMMEDIATE]


def test_a_list_that_is_late_is_said_within_the_day() -> None:
    """CRLs and bundles, whatever their life: silent while they are merely due, then by the day, then at once."""
    for kind in ("crl", "bundle"):
        every = urgencies(found(kind, None, 3 * DAY))
        assert [every[name] for name in ("due", "late", "urgent", "critical")] == [SILENT, DAILY, IMMEDIATE, IMMEDIATE]


def test_what_was_replaced_is_told_only_where_it_is_served() -> None:
    """Nobody waits for its end; whoever still shows it is to hear of it."""
    every = found("certificate", "manual", 365 * DAY, replaced_by=2)
    assert all(each.if_served for each in every)
    assert [each.name for each in every] == ["replaced-still-served", "expired", "expired+1d", "expired+7d"]


@given(
    kind=st.sampled_from(["certificate", "crl", "bundle", "root", "intermediate"]),
    mode=st.sampled_from([None, "renewed", "manual", "holder"]),
    lifetime=st.integers(min_value=0, max_value=60 * 365 * DAY),
)
def test_thresholds_come_in_order_and_the_end_is_never_missed(kind: str, mode: str | None, lifetime: int) -> None:
    """Whatever lives however long: later ones are not milder, and its end is told at once."""
    every = found(kind, mode, lifetime)
    assert [each.at for each in every] == sorted(each.at for each in every)
    ranks = [thresholds.rank(each.urgency) for each in every]
    assert ranks == sorted(ranks)
    end = next(each for each in every if each.name == "expired")
    assert (end.urgency, end.at, end.if_served) == (IMMEDIATE, START + lifetime + 1, False)
    assert len({each.name for each in every}) == len(every)


@given(lifetime=st.integers(min_value=1, max_value=10 * 365 * DAY), mode=st.sampled_from(["renewed", "manual"]))
def test_somebody_hears_at_once_before_it_ends(lifetime: int, mode: str) -> None:
    """Every life has an immediate threshold that lies before its end, be it a second."""
    every = found("certificate", mode, lifetime)
    assert any(each.urgency == IMMEDIATE and each.at <= START + lifetime for each in every)
    assert MONTH == 30 * DAY


def test_the_next_one_is_found() -> None:
    """The watch looks again when a threshold is crossed, though no stage begins there."""
    every = found("certificate", "manual", 365 * DAY)
    assert thresholds.next_after(every, START + 365 * DAY - 4 * DAY) == START + 365 * DAY - 3 * DAY
    assert thresholds.next_after(every, START + 400 * DAY) is None
