"""A mesh that never rests while its CAs are rotated, before real nginx and Mosquitto.

The full campaigns are `make rotations` and `make rotations-kill`; these are their short runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import peer
from tests.flows import revocations, rotations

pytestmark = [pytest.mark.peer("nginx"), pytest.mark.xdist_group("mesh")]


@pytest.fixture(autouse=True)
def _counterparts() -> None:
    for program in ("nginx", "mosquitto", "certtool"):
        peer.require(program)


def test_both_rotations_break_no_handshake_whoever_dies_or_is_silent(tmp_path: Path) -> None:
    """Issuing CA, then root: every server and client moves on, every consumer proves it, no connection fails.

    In the root's rotation the server is killed whenever it enters a stage, and goes on where it was; and one consumer
    never says what it holds: the rotation names it and waits, until a person lets it pass, in writing.
    """
    report = rotations.campaign(tmp_path, clients=4, pace=0.5, kills=("root",), silent=("root",), look_every=0.5)
    assert report.wrong == []
    assert report.handshakes > 100
    assert report.looks > 20
    assert len(report.issuers) == 3
    assert len(report.kills) >= 4
    assert report.waited == {"root": ["prove", "distrust"]}


def test_what_is_revoked_is_refused_by_every_server(tmp_path: Path) -> None:
    """At nginx and at Mosquitto, by itself, after it was let in; how fast that is, the campaign prints."""
    report = revocations.campaign(tmp_path, revocations=2)
    assert report.wrong == []
    assert {name: len(found) for name, found in report.seconds.items()} == {"web-1": 2, "web-2": 2, "broker-1": 2}
