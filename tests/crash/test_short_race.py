"""A short run of the race: two replicas on one PostgreSQL do everything at once, one is killed again and again."""

from __future__ import annotations

from tests.conftest import fresh_database
from tests.crash import racing


def test_what_was_answered_holds_whoever_dies(postgresql: str) -> None:
    """No serial number twice, nothing answered and missing, no link spent twice, CRL numbers up, the ledger whole."""
    report = racing.campaign(fresh_database(postgresql), issuances=100, pause=1.0)
    assert report.wrong == []
    assert report.kills > 0
    assert min(report.counted[kind] for kind in ("issued", "spent", "too-late", "revoked", "published")) > 0
