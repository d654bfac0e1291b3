"""A short run of the simulated years: some hundred days, with an outage and clock jumps."""

from __future__ import annotations

import os
import tempfile

import pytest

from tests.flows import letterbox, years

IN_MEMORY = "/dev/shm"


def test_nothing_expires_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could be renewed is, once; of what could not, the owner was written to long before it expired."""
    monkeypatch.setattr(years, "OUTAGES", ((40, 41), (90, 91)))
    monkeypatch.setattr(years, "JUMPS", {60: 2 * years.DAY, 75: -years.DAY // 2})
    monkeypatch.setattr(letterbox, "AWAY", ((70.0, 70.5), (110.2, 110.7)))
    monkeypatch.setattr(letterbox, "DIES", 50)
    monkeypatch.setattr(letterbox, "MANUAL", 0.2)
    monkeypatch.setattr(letterbox, "MANUAL_LIVES", (30, 90, 105))
    monkeypatch.setattr(years, "LIVES", {6: 0.02, 45: 0.2, 64: 0.3, 90: 0.48})
    if os.access(IN_MEMORY, os.W_OK):  # nothing here asks what a disk has kept, and years are many commits
        monkeypatch.setattr(tempfile, "tempdir", IN_MEMORY)
    report = years.simulate(24, 125, first=360)
    assert (report.expired, report.unannounced, report.twice, report.early) == ([], [], [], [])
    mailed = report.letters
    assert (mailed.untold, mailed.repeated, mailed.stuck) == ([], [], [])
    assert mailed.expired > 0
    assert mailed.counts
    assert report.broken > 0
    assert report.renewed > 45
    assert report.attempts > report.renewed * 1.05
