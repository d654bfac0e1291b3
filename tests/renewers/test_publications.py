"""Publications: what is in a stream, when it gets a new version, and that versions only grow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlmodel import col

from ca import clock, hierarchy
from ca.authority import State
from ca.crl import COMPLETE, CrlPolicy
from ca.errors import BadRequest, NotFound, Unavailable
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.models import Authority, RevocationList
from ca.publication.manifest import ListKind
from ca.store import Store
from renewers.distribution import publishing, spreading, streams
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Event, Publication
from tests import rig
from tests.renewers.publications import (
    CRL,
    TRUST,
    add_root,
    check_chain,
    ledger,
    list_revoked,
    make_lifecycle,
    make_lists,
    move,
    published,
    rows,
    set_state,
    standing,
    versions,
)

DAY = timedelta(days=1)


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """A root, an issuing CA, their CRLs; nothing published yet."""
    return make_lifecycle(store)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifecycle]:
    """The same, for what is refused."""
    with standing(tmp_path_factory.mktemp("standing")) as lifecycle:
        yield lifecycle


def causes(lifecycle: Lifecycle, stream: str) -> list[str]:
    """Why each version was made, oldest first."""
    return [row.cause for row in versions(lifecycle, stream)]


def test_the_first_versions_say_what_there_is(lifecycle: Lifecycle) -> None:
    """Anchors and CA certificates in one stream, every list in the other, each under its number and hash."""
    made = publishing.publish_due(lifecycle)
    assert [(one.stream, one.cause) for one in made] == [(TRUST, "the first version"), (CRL, "the first version")]
    trust, crl = published(lifecycle, TRUST), published(lifecycle, CRL)
    assert ([e.name for e in trust.anchors], [e.name for e in trust.authorities]) == (["root-1"], ["issuing-1"])
    assert {item.name for item in trust.items} >= {"bundle.pem", "cas.pem", "bundle.p7b", "spiffe.json", "jwks.json"}
    assert trust.expires_at - trust.issued_at == publishing.TRUST_LIFE
    stored = {(row.authority_id, row.shard): row for row in rows(lifecycle, RevocationList)}
    ids = {row.name: row.id for row in rows(lifecycle, Authority)}
    assert len(crl.lists) == len(stored) == 6
    for entry in crl.lists:
        row = stored[ids[entry.authority], entry.shard]
        assert (entry.number, entry.sha256, entry.next_update) == (row.number, row.sha256.hex(), row.next_update)
        assert (entry.kind is ListKind.COMPLETE) == (entry.shard == COMPLETE)
        assert entry.size > 100
    assert crl.expires_at == min(entry.next_update for entry in crl.lists)
    assert (crl.items, crl.anchors) == ((), ())


def test_what_has_not_changed_is_not_published_again(lifecycle: Lifecycle) -> None:
    """However often one looks."""
    publishing.publish_due(lifecycle)
    assert [publishing.publish_due(lifecycle) for _ in range(3)] == [[], [], []]


def test_a_change_is_one_new_version_of_its_stream_alone(lifecycle: Lifecycle) -> None:
    """A revocation touches the lists; a new root touches its own stream, and who signs all of them."""
    publishing.publish_due(lifecycle)
    list_revoked(lifecycle)
    assert [(one.stream, one.cause) for one in publishing.publish_due(lifecycle)] == [(CRL, "CRL of issuing-1 changed")]
    add_root(lifecycle)
    make_lists(lifecycle)
    made = {one.stream: one.cause for one in publishing.publish_due(lifecycle)}
    assert made == {TRUST: "root-2 is new", CRL: "CRL of root-2 changed"}
    assert len(check_chain(lifecycle, CRL)) == 3
    assert len(check_chain(lifecycle, TRUST)) == 2


def test_a_version_is_told_in_the_transaction_that_makes_it(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row, ledger, event and who gets it: all of them or none."""
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(spreading, "wanted", lambda tx, stream, version: asked.append((stream, version)) or 7)
    made = publishing.publish_stream(lifecycle, TRUST)
    assert made is not None
    assert asked == [(TRUST, made.version)]
    entry = ledger(lifecycle, "publication-made")[0]
    assert (entry["subject"], entry["version"], entry["sha256"], entry["cause"]) == (TRUST, *made_of(made))
    events = [row for row in rows(lifecycle, Event) if row.kind == "publication-made"]
    assert [row.subject for row in events] == [TRUST]
    assert '"consumers":7' in events[0].body

    def refuses(*_: Any) -> int:
        raise Unavailable("nobody can be told")

    monkeypatch.setattr(spreading, "wanted", refuses)
    with pytest.raises(Unavailable):
        publishing.publish_stream(lifecycle, CRL)
    assert versions(lifecycle, CRL) == []
    assert len(ledger(lifecycle, "publication-made")) == 1


def made_of(made: publishing.Published) -> tuple[Any, ...]:
    return made.version, made.sha256, made.cause


def test_trust_is_published_again_at_half_of_its_life(lifecycle: Lifecycle) -> None:
    """So that who fetches it always has a fortnight at least."""
    publishing.publish_due(lifecycle)
    begin = clock.now()
    with clock.pinned(begin + 15 * DAY - timedelta(hours=1)):
        assert publishing.publish_stream(lifecycle, TRUST) is None
    with clock.pinned(begin + 15 * DAY + timedelta(minutes=1)):
        made = publishing.publish_stream(lifecycle, TRUST)
        assert made is not None
        assert made.cause == "renewed before it expires"
        assert publishing.publish_stream(lifecycle, TRUST) is None


def test_lists_that_end_soon_are_not_published_over_and_over(lifecycle: Lifecycle) -> None:
    """A new version would end with them, too. Once the first has ended, one more lives until the next one's end."""
    begin = clock.now()
    sooner = update(RevocationList).where(col(RevocationList.authority_id) == 1)
    ends = int(begin.timestamp()) + 1000
    lifecycle.store.write(lambda tx: tx.execute(sooner.values(next_update=ends)) and None)
    publishing.publish_due(lifecycle)
    assert published(lifecycle, CRL).expires_at == ends
    for seconds in (600, 998):
        with clock.pinned(begin + timedelta(seconds=seconds)):
            assert publishing.publish_stream(lifecycle, CRL) is None
    with clock.pinned(begin + timedelta(seconds=1001)):
        made = publishing.publish_stream(lifecycle, CRL)
        assert made is not None
        assert published(lifecycle, CRL).expires_at > ends
        assert publishing.publish_stream(lifecycle, CRL) is None


def test_a_ca_whose_key_is_gone_does_not_take_the_others_along(lifecycle: Lifecycle) -> None:
    """Its list has ended and stays named; the version lives as long as the lists of the others."""
    ended = update(RevocationList).where(col(RevocationList.authority_id) == 1)
    now = clock.timestamp()
    lifecycle.store.write(lambda tx: tx.execute(ended.values(this_update=now - 9, next_update=now - 1)) and None)
    assert publishing.publish_stream(lifecycle, CRL) is not None
    crl = published(lifecycle, CRL)
    assert {entry.authority for entry in crl.lists} == {"root-1", "issuing-1"}
    assert crl.expires_at > now + 3600


def test_versions_grow_though_the_clock_steps_back(lifecycle: Lifecycle) -> None:
    """By a year, by an hour; several in one second; and forward again."""
    start = clock.now()
    for step in (timedelta(0), timedelta(0), -365 * DAY, timedelta(hours=-1), timedelta(minutes=5), -30 * DAY):
        with clock.pinned(start + step):
            bump(lifecycle)
            assert publishing.publish_stream(lifecycle, CRL) is not None
    assert len(check_chain(lifecycle, CRL)) == 6


def bump(lifecycle: Lifecycle) -> None:
    """Change a list as far as a publication can tell."""
    of = update(RevocationList).where(col(RevocationList.authority_id) == 2, col(RevocationList.shard) == COMPLETE)
    values = {"number": col(RevocationList.number) + 1, "next_update": clock.timestamp() + 10**8}

    def unit(tx: Any) -> None:
        tx.execute(of.values(**values))
        number = tx.execute(rows_of()).scalar_one()
        tx.execute(of.values(sha256=number.to_bytes(32, "big")))

    lifecycle.store.write(unit)


def rows_of() -> Any:
    of = col(RevocationList.authority_id) == 2, col(RevocationList.shard) == COMPLETE
    return select(col(RevocationList.number)).where(*of)


def test_versions_grow_over_an_old_backup(lifecycle: Lifecycle) -> None:
    """The rows that consumers have seen are gone; what follows is newer than those all the same."""
    start = clock.now()
    for minute in range(3):
        with clock.pinned(start + timedelta(minutes=minute)):
            bump(lifecycle)
            publishing.publish_stream(lifecycle, CRL)
    seen = [row.version for row in versions(lifecycle, CRL)]
    lost = delete(Publication).where(col(Publication.stream) == CRL, col(Publication.version) > seen[0])
    lifecycle.store.write(lambda tx: tx.execute(lost) and None)
    with clock.pinned(start + timedelta(minutes=3)):
        bump(lifecycle)
        made = publishing.publish_stream(lifecycle, CRL)
    assert made is not None
    assert made.version > max(seen)
    previous = published(lifecycle, CRL).previous
    assert previous is not None
    assert previous.version == seen[0]


def test_a_bundle_without_an_anchor_is_never_published(lifecycle: Lifecycle) -> None:
    """Consumers keep what they have, somebody is told, once; and it is over when there is an anchor again."""
    publishing.publish_due(lifecycle)
    set_state(lifecycle, "root-1", State.DISTRUSTED)
    for _ in range(3):
        assert publishing.publish_stream(lifecycle, TRUST) is None
    assert len(versions(lifecycle, TRUST)) == 1
    assert [(row.kind, row.subject, row.severity) for row in rows(lifecycle, Alarm)] == [
        (publishing.ALARM, TRUST, "critical")
    ]
    assert len(ledger(lifecycle, "alarm-raised")) == 1
    set_state(lifecycle, "root-1", State.TAINTED)
    assert publishing.publish_stream(lifecycle, TRUST) is None  # as it was
    assert rows(lifecycle, Alarm) == []


def test_lists_that_have_all_ended_are_not_published(lifecycle: Lifecycle) -> None:
    """A version that is born expired would make consumers refuse whatever comes with it."""
    publishing.publish_due(lifecycle)
    bump(lifecycle)
    ended = update(RevocationList).values(this_update=1, next_update=2)
    lifecycle.store.write(lambda tx: tx.execute(ended) and None)
    assert publishing.publish_stream(lifecycle, CRL) is None
    assert [(row.kind, row.subject) for row in rows(lifecycle, Alarm)] == [(publishing.ALARM, CRL)]


def test_an_installation_without_cas_says_nothing(store: Store) -> None:
    """And is not an alarm, either: there is nobody yet who could miss it."""
    lifecycle = make_lifecycle(store, with_hierarchy=False)
    assert publishing.publish_due(lifecycle) == []
    assert rows(lifecycle, Alarm) == []


def test_a_ca_without_all_of_its_lists_has_none_yet(lifecycle: Lifecycle) -> None:
    """A consumer that lacks one of a CA's lists refuses all whom that CA has certified."""
    hierarchy.create_subordinate(
        lifecycle.installation, rig.ADMIN, "sub-ca", Plan("devices", rig.common_name("D"), KeyType.P256, crl_shards=2)
    )
    publishing.publish_due(lifecycle)
    assert {entry.authority for entry in published(lifecycle, CRL).lists} == {"root-1", "issuing-1"}
    make_lists(lifecycle)
    last = update(RevocationList).where(col(RevocationList.authority_id) == 3, col(RevocationList.shard) == 1)
    number = {row.shard: row.number for row in rows(lifecycle, RevocationList) if row.authority_id == 3}[1]
    lifecycle.store.write(lambda tx: tx.execute(last.values(number=0)) and None)  # as while it is being made
    assert publishing.publish_stream(lifecycle, CRL) is None
    lifecycle.store.write(lambda tx: tx.execute(last.values(number=number)) and None)
    publishing.publish_due(lifecycle)
    lists = published(lifecycle, CRL).lists
    assert sorted(entry.shard for entry in lists if entry.authority == "devices-1") == [-1, 0, 1]


def test_what_ended_or_is_retired_is_left_out(lifecycle: Lifecycle) -> None:
    """No expired anchor, no lists of who publishes none any more."""
    add_root(lifecycle)
    make_lists(lifecycle)
    publishing.publish_due(lifecycle)
    ended = update(Authority).where(col(Authority.name) == "root-2").values(not_after=clock.timestamp())
    lifecycle.store.write(lambda tx: tx.execute(ended) and None)
    publishing.publish_due(lifecycle)
    assert [entry.name for entry in published(lifecycle, TRUST).anchors] == ["root-1"]
    assert {entry.authority for entry in published(lifecycle, CRL).lists} == {"root-1", "issuing-1"}
    set_state(lifecycle, "issuing-1", State.RETIRED)
    publishing.publish_due(lifecycle)
    assert published(lifecycle, TRUST).authorities == ()
    assert {entry.authority for entry in published(lifecycle, CRL).lists} == {"root-1"}


def test_a_root_goes_and_the_way_from_it_stays(lifecycle: Lifecycle) -> None:
    """Through a whole rotation: what is an anchor, which CA certificates stand beside it, which lists."""
    add_root(lifecycle, cross_by="root-1")
    plan = Plan("issuing", rig.common_name("Second Issuing"), KeyType.P256)
    hierarchy.create_subordinate(lifecycle.installation, rig.ADMIN, "sub-ca", plan, parent="root-2")
    make_lists(lifecycle)

    def stands() -> tuple[list[str], list[str]]:
        publishing.publish_due(lifecycle)
        trust = published(lifecycle, TRUST)
        return [entry.name for entry in trust.anchors], [entry.name for entry in trust.authorities]

    cross = "root-2-by-root-1"
    assert stands() == (["root-1", "root-2"], ["issuing-1", "issuing-2", cross])
    move(lifecycle, "root-2", State.ACTIVE)
    move(lifecycle, "issuing-2", State.ACTIVE)
    assert stands() == (["root-1", "root-2"], ["issuing-1", "issuing-2", cross])
    move(lifecycle, "root-1", State.DISTRUSTED)
    # issuing-1 is tainted and beneath a root that is no anchor: who stops at it would still trust that root's leaves.
    assert stands() == (["root-2"], ["issuing-2", cross])
    assert {entry.authority for entry in published(lifecycle, CRL).lists} >= {"root-1", "issuing-1"}
    move(lifecycle, "issuing-1", State.RETIRED)
    move(lifecycle, "root-1", State.RETIRED)
    assert stands() == (["root-2"], ["issuing-2"])
    assert {entry.authority for entry in published(lifecycle, CRL).lists} == {"root-2", "issuing-2"}
    assert "root-1 is gone" in "; ".join(causes(lifecycle, TRUST))


def test_the_way_to_a_root_that_was_given_up_goes_at_once(lifecycle: Lifecycle) -> None:
    """An aborted rotation: the new root's cross-certificate would lead back to it."""
    add_root(lifecycle, cross_by="root-1")
    publishing.publish_due(lifecycle)
    assert [entry.name for entry in published(lifecycle, TRUST).authorities] == ["issuing-1", "root-2-by-root-1"]
    set_state(lifecycle, "root-2", State.DISTRUSTED)
    publishing.publish_due(lifecycle)
    assert [entry.name for entry in published(lifecycle, TRUST).authorities] == ["issuing-1"]


def test_all_streams_are_signed_anew_when_our_anchors_change(lifecycle: Lifecycle) -> None:
    """A list's manifest that was signed beneath a root that is gone could be checked by nobody."""
    add_root(lifecycle)
    make_lists(lifecycle)
    publishing.publish_due(lifecycle)
    set_state(lifecycle, "root-2", State.DISTRUSTED)  # its lists stay
    made = {one.stream: one.cause for one in publishing.publish_due(lifecycle)}
    assert made == {TRUST: "root-2 is gone", CRL: "our own anchors changed"}


def test_until_when_revocations_are_in_it(lifecycle: Lifecycle) -> None:
    """A lower bound: the second before the look, or the making of a list that waits to be made again; never lower."""
    begin = clock.now()
    with clock.pinned(begin + timedelta(minutes=5)):
        publishing.publish_due(lifecycle)
        assert versions(lifecycle, CRL)[-1].revoked_until == clock.timestamp() - 1
    with clock.pinned(begin + timedelta(minutes=6)):
        waits = update(RevocationList).where(col(RevocationList.shard) == COMPLETE).values(due_at=0)
        lifecycle.store.write(lambda tx: tx.execute(waits) and None)
        content = streams.compose(lifecycle, CRL)
        backdate = int(CrlPolicy().backdate.total_seconds())
        assert content.revoked_until <= int(begin.timestamp()) - backdate + 5
        bump(lifecycle)
        publishing.publish_due(lifecycle)
        first, second = versions(lifecycle, CRL)
        assert second.revoked_until == first.revoked_until
    assert versions(lifecycle, TRUST)[-1].revoked_until == 0


def test_one_stream_that_fails_keeps_no_other_back(lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is raised in the end."""
    compose = streams.compose

    def broken(lifecycle: Lifecycle, stream: str) -> streams.Content:
        if stream == TRUST:
            raise Unavailable("not this one", code="broken")
        return compose(lifecycle, stream)

    monkeypatch.setattr(streams, "compose", broken)
    with pytest.raises(Unavailable, match="not this one"):
        publishing.publish_due(lifecycle)
    assert (len(versions(lifecycle, TRUST)), len(versions(lifecycle, CRL))) == (0, 1)


@pytest.mark.parametrize("stream", ["trust:nobody.example", "crl:partner.example", "", "x", "trust:", "a\nb"])
def test_a_stream_that_is_none_is_refused(unchanged: Lifecycle, stream: str) -> None:
    """And nothing is raised as an alarm for it."""
    with pytest.raises(NotFound) as caught:
        publishing.publish_stream(unchanged, stream)
    assert caught.value.code == "unknown-stream"
    assert rows(unchanged, Alarm) == []


def test_old_versions_of_lists_are_forgotten_and_none_of_trust(
    lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest thousand stay, whatever their age."""
    monkeypatch.setattr(publishing, "KEPT", 3)
    monkeypatch.setattr(publishing, "_PRUNED_AT_ONCE", 2)
    start = clock.now()
    for day in range(12):
        with clock.pinned(start + day * DAY):
            bump(lifecycle)
            publishing.publish_stream(lifecycle, CRL)
            add_root(lifecycle, f"Root {day}")
            publishing.publish_stream(lifecycle, TRUST)
    before = [row.version for row in versions(lifecycle, CRL)]
    assert publishing.prune(lifecycle) == 9
    assert publishing.prune(lifecycle) == 0
    assert [row.version for row in versions(lifecycle, CRL)] == before[-3:]
    assert len(versions(lifecycle, TRUST)) == 12
    assert sum(entry["count"] for entry in ledger(lifecycle, "publications-pruned")) == 9


def test_versions_are_paged_and_loaded(lifecycle: Lifecycle) -> None:
    """Newest first, without their bytes; each of them to be had as it was signed."""
    for _ in range(5):
        bump(lifecycle)
        publishing.publish_stream(lifecycle, CRL)
    found: list[int] = []
    cursor = None
    with lifecycle.store.read() as connection:
        while True:
            page, cursor = publishing.page(connection, CRL, cursor, 2)
            found += [row.version for row in page]
            assert all(not hasattr(row, "signed") for row in page)
            if cursor is None:
                break
        rows_ = {row.version: row for row in versions(lifecycle, CRL)}
        assert found == sorted(rows_, reverse=True)
        for version in found:
            assert publishing.load(connection, CRL, version) == rows_[version].signed
        assert publishing.count(connection, CRL) == 5
        heads = publishing.heads(connection, [CRL, TRUST])
        assert (list(heads), heads[CRL].version) == ([CRL], found[0])
        with pytest.raises(NotFound):
            publishing.load(connection, CRL, 1)
        with pytest.raises(BadRequest):
            publishing.page(connection, CRL, None, 0)
