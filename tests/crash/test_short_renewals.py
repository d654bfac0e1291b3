"""A short run of the renewal campaign: two replicas on one PostgreSQL, killed again and again."""

from __future__ import annotations

from tests.conftest import fresh_database
from tests.crash import renewals


def test_each_due_certificate_is_renewed_exactly_once(postgresql: str) -> None:
    """Whatever dies in between: one certificate, one renewal, and it is where it is used, with its own key."""
    report = renewals.campaign(fresh_database(postgresql), count=60, kills=12)
    assert report.wrong == []
    assert report.kills == 12
