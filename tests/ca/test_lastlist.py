"""The last CRLs of a CA: good until its end, kept by the publisher, made anew for a revocation alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ca import clock, crl, hierarchy, lastlist, revocation
from ca.authority import State
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher, StoredList
from ca.errors import Conflict, NotFound, Unavailable
from ca.installation import Installation
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import listed, load_crl, publish, replica

SHARDS = range(4)
ALL = (COMPLETE, *SHARDS)
DAY = timedelta(days=1)


def lists(installation: Installation, authority: str = "issuing-1") -> dict[int, StoredList]:
    """The stored lists of an authority, by shard."""
    shards = ALL if authority == "issuing-1" else (COMPLETE,)
    found = {shard: crl.load(installation, authority, shard) for shard in shards}
    return {shard: each for shard, each in found.items() if each is not None}


def revoke(installation: Installation, count: int = 1) -> set[str]:
    """Revoke so many new certificates; returns their serial numbers."""
    serials = [rig.issue(installation, lifetime=timedelta(days=7)).serial for _ in range(count)]
    return {
        revocation.revoke(installation, rig.OPERATOR, each, RevocationReason.SUPERSEDED).serials[0] for each in serials
    }


def ends(installation: Installation, authority: str = "issuing-1") -> int:
    """The last second of a CA."""
    return installation.authorities.get(authority).not_after


@pytest.mark.parametrize("state", [State.ACTIVE, State.TAINTED, State.DISTRUSTED])
def test_every_list_is_good_until_the_end_of_its_ca(any_store: Store, state: State) -> None:
    """Complete and shards, with all that is revoked, under numbers larger than before, and as X.509 says it."""
    installation = rig.make_installation(any_store)
    serials = revoke(installation, 12)
    before = lists(installation)
    road = {State.ACTIVE: [], State.TAINTED: [State.TAINTED], State.DISTRUSTED: [State.TAINTED, State.DISTRUSTED]}
    for step in road[state]:
        hierarchy.transition(installation, rig.ADMIN, "issuing-1", step)
    assert not lastlist.has_last(installation, "issuing-1")
    published = lastlist.publish_last(installation, "issuing-1")
    after = lists(installation)
    assert lastlist.has_last(installation, "issuing-1")
    assert (published.authority, published.shard, published.number) == ("issuing-1", COMPLETE, after[COMPLETE].number)
    for shard in ALL:
        assert after[shard].number > before[shard].number
        parsed = load_crl(installation, shard=shard)
        assert parsed.next_update_utc == clock.from_timestamp(ends(installation))
        assert parsed.is_signature_valid(installation.authorities.issuer("issuing-1").public_key)
    assert listed(installation) == serials
    assert set().union(*(listed(installation, shard=shard) for shard in SHARDS)) == serials


def test_a_root_has_one_last_list(installation: Installation) -> None:
    """Without shards the complete list is all there is."""
    lastlist.publish_last(installation, "root")
    assert lastlist.has_last(installation, "root-1")
    assert crl.load(installation, "root-1", COMPLETE).next_update == ends(installation, "root-1")  # type: ignore[union-attr]


@pytest.mark.parametrize("later", [timedelta(0), timedelta(hours=13), timedelta(days=4), timedelta(days=1000)])
def test_the_publisher_leaves_it_alone(installation: Installation, later: timedelta) -> None:
    """Hours, days and years later nothing of this CA is due, while the lists of others are."""
    lastlist.publish_last(installation, "issuing-1")
    before = lists(installation)
    with clock.pinned(clock.now() + later):
        made = publish(installation)
        assert {each.authority for each in made} == ({"root-1"} if later else set())
        assert publish(replica(installation, installation.store)) == []
    assert lists(installation) == before


def test_a_revocation_makes_another_last_list(installation: Installation) -> None:
    """It is published at once, with a larger number, and ends with the CA as the one before it did."""
    first = revoke(installation)
    lastlist.publish_last(installation, "issuing-1")
    before = lists(installation)
    second = revoke(installation)
    assert not lastlist.has_last(installation, "issuing-1"), "one of them waits to be made anew"
    made = publish(installation, CrlPolicy(lifetime=timedelta(hours=1), refresh=timedelta(minutes=10)))
    assert len(made) == 2
    after = lists(installation)
    assert {shard for shard in ALL if after[shard] != before[shard]} == {each.shard for each in made}
    assert all(after[each.shard].number > before[each.shard].number for each in made)
    assert {each.next_update for each in after.values()} == {ends(installation)}
    assert listed(installation) == first | second
    assert lastlist.has_last(installation, "issuing-1")
    with clock.pinned(clock.now() + DAY):
        assert {each.authority for each in publish(installation)} == {"root-1"}


def test_it_may_be_done_again(installation: Installation) -> None:
    """After a crash, say: numbers grow, the ends stay."""
    lastlist.publish_last(installation, "issuing-1")
    before = lists(installation)
    lastlist.publish_last(installation, "issuing-1")
    after = lists(installation)
    assert all(after[shard].number > before[shard].number for shard in ALL)
    assert {each.next_update for each in after.values()} == {ends(installation)}


@pytest.mark.parametrize("is_after", [False, True])
def test_a_revocation_while_they_are_made_is_in_them(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, is_after: bool
) -> None:
    """One that comes between a shard and the complete list makes them all anew, and so does one right after it."""
    rebuild = CrlPublisher.rebuild
    late: set[str] = set()

    def disturbed(self: CrlPublisher, issuer: object, shard: int) -> object:
        disturb = shard == COMPLETE and not late
        if disturb and not is_after:
            late.update(revoke(installation, 3))
        made = rebuild(self, issuer, shard)  # type: ignore[arg-type]
        if disturb and is_after:
            late.update(revoke(installation, 3))
        return made

    monkeypatch.setattr(CrlPublisher, "rebuild", disturbed)
    lastlist.publish_last(installation, "issuing-1")
    assert listed(installation) == late
    assert lastlist.has_last(installation, "issuing-1")


def test_who_is_disturbed_all_the_time_gives_up(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that says so; what was published is good."""
    rebuild = CrlPublisher.rebuild

    def disturbed(self: CrlPublisher, issuer: object, shard: int) -> object:
        if shard == COMPLETE:
            revoke(installation)
        return rebuild(self, issuer, shard)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(CrlPublisher, "rebuild", disturbed)
        with pytest.raises(Conflict) as caught:
            lastlist.publish_last(installation, "issuing-1")
    assert caught.value.code == "changed-meanwhile"
    lastlist.publish_last(installation, "issuing-1")
    assert lastlist.has_last(installation, "issuing-1")


def test_near_its_end_a_ca_has_ordinary_lists_that_end_with_it(installation: Installation) -> None:
    """They are refreshed as ever, to the last hour: nobody asked for last ones."""
    with clock.pinned(clock.from_timestamp(ends(installation)) - DAY):
        publish(installation)
        before = lists(installation)
        assert {each.next_update for each in before.values()} == {ends(installation)}
    for left in (DAY / 3, DAY / 6, DAY / 12):
        with clock.pinned(clock.from_timestamp(ends(installation)) - left):
            made = publish(installation, CrlPolicy(refresh=timedelta(hours=1)))
            assert {each.shard for each in made if each.authority == "issuing-1"} == set(ALL)


def test_who_signs_nothing_any_more_has_no_last_list(installation: Installation) -> None:
    """Retired, expired or unknown: refused with the reason."""
    with pytest.raises(NotFound):
        lastlist.publish_last(installation, "nobody")
    before = lists(installation)
    with clock.pinned(clock.from_timestamp(ends(installation))), pytest.raises(Unavailable) as expired:
        lastlist.publish_last(installation, "issuing-1")
    assert expired.value.code == "authority-expired"
    for step in (State.TAINTED, State.RETIRED):
        hierarchy.transition(installation, rig.ADMIN, "issuing-1", step)
    with pytest.raises(Conflict) as caught:
        lastlist.publish_last(installation, "issuing-1")
    assert caught.value.code == "authority-retired"
    assert lists(installation) == before
