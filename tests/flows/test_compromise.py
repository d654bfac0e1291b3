"""A declared compromise, a short one; the full run is `make compromise`."""

from __future__ import annotations

from pathlib import Path

from tests.flows.compromise import compromise

LINEAGES = 40


def test_everything_beneath_a_compromised_ca_is_replaced_and_accounted_for(tmp_path: Path) -> None:
    """100 %: replaced with new keys beneath the next CA, where it is used, the old ones revoked, the old CA gone."""
    outcome = compromise(tmp_path, LINEAGES, say=lambda _text: None)
    assert outcome.wrong == []
    assert (outcome.state, outcome.stage) == ("done", "done")
    assert outcome.account.progress.revoked == LINEAGES
    assert [entry.action for entry in outcome.account.proof] == ["replacement-begun", "replacement-done"]
    assert all(entry.position is not None for entry in outcome.account.proof)
