"""A short campaign on both engines, and death at every single step of an issuance (rows 60 to 62)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.campaign import Campaign
from tests.crash.worker import STEPS


@pytest.fixture
def campaign(store_url: str, tmp_path: Path) -> Campaign:
    """An installation with key files, on each engine in turn."""
    return Campaign(store_url, tmp_path, random.Random(60))


def test_nothing_answered_is_lost_whenever_the_process_dies(campaign: Campaign) -> None:
    """Killed at random in the middle of its work, several times over: every invariant holds after each death.

    Where a disk is so slow that these lives come to little, there are more of them.
    """
    few, most = (8, 60) if campaign.url.startswith("sqlite") else (3, 30)
    totals, cycles = campaign.judge.totals, 0
    while cycles < few or (cycles < most and not has_seen_enough(campaign)):
        campaign.kill_at_random(cycles)
        cycles += 1
    campaign.judge.at_the_end()
    assert totals["lives"] == cycles
    assert has_seen_enough(campaign), (len(campaign.judge.answered), totals)


def has_seen_enough(campaign: Campaign) -> bool:
    """Whether enough was answered, and there was something of each kind that a death could have lost."""
    totals = campaign.judge.totals
    return len(campaign.judge.answered) > 50 and all(totals[kind] > 0 for kind in ("revoked", "lists", "heads"))


def test_every_step_leaves_what_belongs_there(campaign: Campaign) -> None:
    """Killed at each step: before the intent nothing, then the intent alone, then the certificate; never less."""
    assert campaign.kill_at_every_step().keys() == STEPS.keys()
    campaign.judge.at_the_end()
    assert len(campaign.judge.answered) == 4 * len(STEPS)
