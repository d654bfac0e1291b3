"""The short run of the campaign: a token mistreated in the middle of issuances."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca.keys import pkcs11_sessions
from ca.store import Store
from tests.flows import token


def test_a_token_is_mistreated_while_it_signs(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions killed, token away and back: each issuance is answered or refused, and none lost."""
    monkeypatch.setattr(pkcs11_sessions, "PAUSE", 0.05)
    outcome = token.run(600, tmp_path / "token", store)
    token.judge(outcome, 600)
    assert outcome.blows["sessions killed"] > 0
