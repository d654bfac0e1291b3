"""A mesh that never rests while its CAs are rotated, before real nginx and Mosquitto.

The full campaigns are `make rotations` and `make rotations-kill`; these are their short runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import peer
from tests.flows import revocations, rotations
from tests.flows.mesh import mesh, tally, until

pytestmark = [pytest.mark.peer("nginx"), pytest.mark.xdist_group("mesh")]


@pytest.fixture(autouse=True)
def _counterparts() -> None:
    for program in ("nginx", "mosquitto", "certtool"):
        peer.require(program)


def test_both_rotations_break_no_handshake(tmp_path: Path) -> None:
    """Issuing CA, then root: every server and client moves on, every consumer proves it, no connection fails."""
    report = rotations.campaign(tmp_path, clients=20, pace=0.3)
    assert report.wrong == []
    assert report.handshakes > 300
    assert report.looks > 20
    assert len(report.issuers) == 3


def test_a_server_that_dies_at_every_stage_ends_the_same(tmp_path: Path) -> None:
    """Killed whenever the root's rotation enters a stage, it goes on where it was."""
    report = rotations.campaign(tmp_path, clients=4, pace=0.2, lines=("root",), kills=True)
    assert report.wrong == []
    assert len(report.kills) >= 4


def test_who_never_says_that_it_holds_it_is_waited_for(tmp_path: Path) -> None:
    """The rotation names it and stays where it is, and nothing breaks; a person lets it pass, in writing."""
    with mesh(tmp_path, clients=3, pace=0.2) as found:
        rotations.stubborn(found)
        rotations.until_current(found, but=("silent-1",))
        identity = found.rotate("root")
        until(lambda: "silent-1" in str(found.rotation(identity)["waits_for"]), lambda: "it is named")
        assert found.rotation(identity)["stage"] == "prove"
        reason = {"reason": "it is a printer, and nobody minds"}
        for gate in ("prove", "distrust"):
            found.ask("POST", f"/rotations/{identity}/override", {"gate": gate, "subject": "silent-1", **reason})
        row = found.until_done(identity, seconds=300)
        assert row["state"] == "done"
        assert [one["subject"] for one in row["overrides"]] == ["silent-1", "silent-1"]
        assert tally(found).failures == []


def test_what_is_revoked_is_refused_by_every_server(tmp_path: Path) -> None:
    """At nginx and at Mosquitto, by itself, after it was let in; how fast that is, the campaign prints."""
    report = revocations.campaign(tmp_path, revocations=2)
    assert report.wrong == []
    assert {name: len(found) for name, found in report.seconds.items()} == {"web-1": 2, "web-2": 2, "broker-1": 2}
