"""The short run of the campaign: what OpenSSL makes of a delta, and that it would see if a release were not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca import listing
from tests.flows import deltas


@pytest.mark.peer("openssl")
def test_a_delta_with_its_base_says_what_the_complete_list_says(tmp_path: Path) -> None:
    """Of every certificate, those among them that were held, released and held again."""
    outcome = deltas.run(100, tmp_path)
    deltas.judge(outcome)
    assert outcome.sizes["delta"] > 0
    assert outcome.entries["complete"] == sum(state == deltas.REVOKED for state in outcome.expected.values())


@pytest.mark.peer("openssl")
def test_a_release_that_no_delta_tells_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without removeFromCRL the base goes on refusing what is good."""
    monkeypatch.setattr(listing, "CHANGES", listing.TABLES)
    with pytest.raises(AssertionError, match="with base and delta"):
        deltas.judge(deltas.run(40, tmp_path))
