"""A short run of the race: two replicas on one PostgreSQL do everything at once, one is killed again and again."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from ca.installation import Installation
from tests import rig
from tests.conftest import fresh_database
from tests.crash import racing


def test_what_was_answered_holds_whoever_dies(postgresql: str) -> None:
    """No serial number twice, nothing answered and missing, no link spent twice, CRL numbers up, the ledger whole."""
    report = racing.campaign(fresh_database(postgresql), issuances=100, pause=1.0, seconds=120)
    assert report.wrong == []
    assert report.kills > 0
    assert min(report.counted[kind] for kind in ("issued", "spent", "too-late", "revoked", "published")) > 0


def test_the_judge_is_awake(installation: Installation) -> None:
    """Each of the things that must not be is found, and nothing in what is as it should be."""
    store, issued = installation.store, rig.issue(installation)
    good = ["issued", issued.serial, sha256(issued.certificate).hexdigest()]
    assert racing._certificates(store, [good]) == []
    assert racing._certificates(store, [good, good]) == [f"{issued.serial} twice"]
    assert racing._certificates(store, [["issued", issued.serial, "00"]]) == [
        f"{issued.serial} was answered and is missing"
    ]
    assert racing._links(store, 0, Counter()) == []
    assert len(racing._links(store, 0, Counter({"7": 2}))) == 2  # twice, and no session was begun
    made = [["published", "issuing-1", "0", str(1 << 60)], ["published", "issuing-1", "0", str((1 << 60) + 1)]]
    lost = f"list 0 of issuing-1 stands before its number {(1 << 60) + 1}"
    assert racing._lists(store, [made], set()) == [lost]
    strictly = "the CRL numbers of ('issuing-1', '0') are not strictly up"
    assert racing._lists(store, [made[::-1]], set()) == [strictly, lost]
    assert racing._lists(store, [made, made[1:]], set()) == [strictly, lost]
    assert racing._lists(store, [], {issued.serial}) == [f"{issued.serial} is revoked and in no list"]
