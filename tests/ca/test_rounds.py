"""All lists in their turn; what lets somebody in is made anew, and what a list alone still knows is left on it."""

from __future__ import annotations

import pytest
from cryptography import x509
from sqlalchemy import delete, update
from sqlmodel import col

from ca import certificates, clock, completeness, crl, delta, rounds
from ca.authority import OFFLINE
from ca.completeness import Checked
from ca.crl import COMPLETE, StoredList
from ca.installation import Installation
from ca.models import Authority, Revocation
from ca.rounds import Rounds
from tests import rig
from tests.ca.test_completeness import CHANGES, findings, past, publish_all, put, rewritten, taken_back
from tests.ca.world import outside, replica

__all__ = ["past"]


def test_rounds_go_through_all_lists(past: tuple[Installation, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at a time; what is wrong stands until the next look at that list finds it right."""
    installation, _ = past
    rounds, looked = Rounds(installation), []
    check = completeness.check

    def noted(one: Installation, place: completeness.Place) -> Checked:
        looked.append(place)
        return check(one, place)

    monkeypatch.setattr(completeness, "check", noted)
    every = completeness.places(installation)
    for _ in every:
        assert rounds.step(0) == []
    assert looked == every
    assert rounds.counts.keys() == {"root-1", "issuing-1"}
    assert rounds.troubles == {}
    row = crl.load(installation, "issuing-1", COMPLETE)
    assert row is not None
    put(installation, COMPLETE, rewritten(installation, COMPLETE, lambda found: found[2:]))
    wrong = rounds.step(60)
    assert [(one.authority, one.shard, one.wrong) for one in wrong] == [("issuing-1", COMPLETE, 2)]
    assert len(rounds.troubles["issuing-1"]) == 2
    assert rounds.counts["issuing-1"][0] == 2
    put(installation, COMPLETE, row.crl)
    assert rounds.step(60) == []
    assert rounds.troubles == {}


@pytest.fixture
def lists(installation: Installation) -> tuple[Installation, dict[str, int], str]:
    """Two are revoked, and on all lists: the shard of the first one, the complete list, the delta; and its number."""
    publish_all(installation)
    serials = [rig.issue(installation).serial for _ in range(2)]
    for serial in serials:
        taken_back(installation, rig.OPERATOR, serial)
    publish_all(installation)
    shard = certificates.find(installation.store, serials[0]).shard or 0
    return installation, {"shard": shard, "complete": COMPLETE, "delta": delta.DELTA}, serials[0]


Lists = tuple[Installation, dict[str, int], str]


def served(installation: Installation, shard: int) -> StoredList:
    """What consumers get."""
    row = crl.load(installation, "issuing-1", shard) if shard != delta.DELTA else delta.load(installation, "issuing-1")
    assert row is not None
    return row


def wrong(one: Rounds) -> Checked:
    """The one list that is."""
    (found,) = one.step(60)
    return found


@pytest.mark.parametrize("what", [*CHANGES, "bytes that cannot be read", "bytes of others"])
@pytest.mark.parametrize("of", ["shard", "complete", "delta"])
def test_what_is_wrong_is_made_anew(lists: Lists, of: str, what: str) -> None:
    """Whatever it is, if nobody leaves by that; and it is looked at first, at the next step."""
    installation, shards, _ = lists
    before, one = served(installation, shards[of]), Rounds(installation)
    bad = b"garbage" if what == "bytes that cannot be read" else before.crl[:-1] + bytes([before.crl[-1] ^ 1])
    if what in CHANGES:
        bad = rewritten(installation, shards[of], CHANGES[what][0])
    put(installation, shards[of], bad)
    mended = one.mend(wrong(one))
    assert mended == (what != "one too many")
    publish_all(installation)
    after = served(installation, shards[of])
    if not mended:
        assert after.crl == bad
        return
    assert after.number > before.number
    assert x509.load_der_x509_crl(after.crl).next_update_utc is not None
    assert one.step(0) == []
    assert one.troubles == {}
    assert findings(installation) == []


def test_who_was_taken_out_of_the_table_stays_on_the_lists(lists: Lists) -> None:
    """A list is the better witness: whoever is revoked behind everybody's back would be let in again by a new one."""
    installation, shards, serial = lists
    with outside(installation.store) as connection:
        connection.execute(delete(Revocation).where(col(Revocation.serial) == serial))
    one = Rounds(installation)
    found = one.step(60)
    assert len(found) == 3
    assert not any(one.mend(wrong) for wrong in found)
    before = {shard: served(installation, shard).crl for shard in shards.values()}
    publish_all(installation)
    assert {shard: served(installation, shard).crl for shard in shards.values()} == before


def test_it_is_not_made_anew_again_and_again(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong again at once has a reason that stays; after an hour it is tried again."""
    installation, shards, _ = lists
    one = Rounds(installation)
    put(installation, shards["shard"], b"garbage")
    assert one.mend(wrong(one))
    assert not one.mend(wrong(one))
    later = clock.monotonic() + rounds.AGAIN.total_seconds() + 1
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    assert one.mend(wrong(one))


def test_what_was_found_of_a_list_goes_with_it(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA that signs no lists any more leaves no trouble behind."""
    installation, shards, _ = lists
    put(installation, shards["complete"], b"garbage")
    one = Rounds(installation)
    assert wrong(one).wrong
    assert one.troubles.keys() == {"issuing-1"}
    issuing = installation.authorities.get("issuing-1").id
    left = [place for place in completeness.places(installation) if place[0] != issuing]
    monkeypatch.setattr(completeness, "places", lambda _: left)
    assert one.step(60) == []
    assert one.troubles == {}
    assert one.counts.keys() == {"root-1"}


def test_lists_of_an_offline_key_wait_for_people(lists: Lists) -> None:
    """Nothing here can sign them."""
    installation, shards, _ = lists
    put(installation, shards["complete"], b"garbage")
    with outside(installation.store) as connection:
        connection.execute(update(Authority).where(col(Authority.name) == "issuing-1").values(key_label=OFFLINE))
    one = Rounds(replica(installation, installation.store))
    assert not one.mend(wrong(one))
