"""One row for everything that ends, one lineage through all renewals, and nobody's alarm silenced by a stranger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import clock
from ca.store import Store, Transaction, open_store
from renewers.inventory.facts import names_key, read_crl
from renewers.inventory.track import Entry, end, seen_instead, track, track_many
from renewers.models import Endpoint, Lineage, Tracked, TrackedContent, TrackedName
from tests.ca.world import entries
from tests.conftest import fresh_database
from tests.renewers import foreign
from tests.renewers.foreign import DAY, facts, numbered

BEGIN = 1_790_000_000
NAME = "dns:api.example"


@pytest.fixture(autouse=True)
def today() -> Iterator[None]:
    """A day on which all certificates here have begun."""
    with clock.pinned(clock.from_timestamp(BEGIN + 20 * DAY)):
        yield


def put(store: Store, found: Any, source: str = "scanned", **choices: Any) -> int:
    """Track one thing."""
    return store.write(lambda tx: track(tx, found, source=source, **choices))


def row(store: Store, id_: int) -> Any:
    """A tracked row."""
    with store.read() as connection:
        return connection.execute(select(Tracked).where(col(Tracked.id) == id_)).one()


def lineage_of(store: Store, id_: int) -> Any:
    """The lineage of a tracked row."""
    with store.read() as connection:
        of = select(Lineage).join(Tracked, col(Tracked.lineage_id) == col(Lineage.id))
        return connection.execute(of.where(col(Tracked.id) == id_)).one()


def plan(store: Store, mode: str = "renewed", name: str = "planned", *names: str) -> int:
    """A lineage as people plan one."""
    values = {"name": name, "mode": mode, "names": "[]", "names_key": names_key(names or (NAME,)), "issuers": "[]"}
    rest = {"profile": "", "key_type": "", "key_age": 0, "window": "", "created_at": BEGIN, "created_by": "test"}
    made = insert(Lineage).values(**values, **rest).returning(col(Lineage.id))
    return store.write(lambda tx: int(tx.execute(made).scalar_one()))


def a(number: int, day: float = 0, *names: str, **choices: Any) -> Any:
    """The certificate that begins on a day; `number` tells two apart."""
    return facts(*(names or (NAME,)), serial=numbered(number), begin=BEGIN + int(day * DAY), **choices)


def test_what_is_tracked_is_all_there(any_store: Store) -> None:
    """The row, the names, the bytes, the lineage, a look that is due at once, and the ledger."""
    found = a(7, 0, NAME, "ip:10.0.0.1")
    id_ = put(any_store, found, chain="a chain")
    kept = row(any_store, id_)
    same = ("identity", "kind", "shown_as", "subject", "issuer", "serial", "key_type", "not_before", "not_after")
    assert {name: getattr(kept, name) for name in same} == {name: getattr(found, name) for name in same}
    assert (kept.source, kept.stage, kept.next_look, kept.replaced_by) == ("scanned", "fine", clock.timestamp(), None)
    with any_store.read() as connection:
        names = set(connection.execute(select(col(TrackedName.name))).scalars())
        content = connection.execute(select(TrackedContent)).one()
    assert names == set(found.names)
    assert (content.tracked_id, bytes(content.der), content.chain) == (id_, found.der, "a chain")
    lineage = lineage_of(any_store, id_)
    assert (lineage.name, lineage.mode, lineage.current_id) == ("api.example", "manual", id_)
    assert [entry["subject"] for entry in entries(any_store, "certificate-tracked")] == [found.identity]


def test_the_same_certificate_is_one_row(any_store: Store) -> None:
    """Tracked twice, apart or in one go, it is there once, and the second time changes nothing."""
    first = put(any_store, a(1))
    before = row(any_store, first)
    with clock.pinned(clock.from_timestamp(BEGIN + 21 * DAY)):
        twice = any_store.write(lambda tx: track_many(tx, [Entry(a(1), "scanned"), Entry(a(1), "scanned")]))
    assert twice == [first, first]
    assert row(any_store, first) == before
    assert len(entries(any_store, "certificate-tracked")) == 1


def test_a_successor_replaces(store: Store) -> None:
    """What somebody may import is current when it begins last, and what it replaces is told to the watch."""
    old, new = put(store, a(1, 0), "imported"), put(store, a(2, 10), "imported")
    late = put(store, a(3, 5), "imported")
    assert [row(store, id_).replaced_by for id_ in (old, new, late)] == [new, None, new]
    assert lineage_of(store, old).current_id == new
    assert row(store, old).lineage_id == row(store, late).lineage_id
    assert put(store, facts("dns:other.example", begin=BEGIN), "imported") != new


def test_of_two_that_begin_at_once_the_later_counts(store: Store) -> None:
    """By the id of the row."""
    first, second = put(store, a(1), "imported"), put(store, a(2), "imported")
    assert row(store, first).replaced_by == second


def test_a_stranger_silences_nobody(store: Store) -> None:
    """A newer certificate with the same names, merely seen, replaces none that somebody vouched for (rows 20, 21)."""
    ours = put(store, a(1, 0), "imported")
    strange = put(store, a(2, 10), "scanned")
    assert row(store, ours).replaced_by is None
    assert lineage_of(store, ours).current_id == ours
    assert row(store, strange).lineage_id == row(store, ours).lineage_id


def test_among_strangers_the_newest_is_current_but_silences_nobody(store: Store) -> None:
    """Nobody vouches for either: both are watched. One that begins years ahead is not even current."""
    old, new = put(store, a(1, 0)), put(store, a(2, 10))
    future = put(store, a(3, 400))
    assert lineage_of(store, old).current_id == new
    assert [row(store, id_).replaced_by for id_ in (old, new, future)] == [None, None, None]


def test_the_same_ca_key_vouches(store: Store) -> None:
    """A certificate that was seen, and that the CA of the older one has signed, replaces it; one of another CA not."""
    key, other = foreign.another_key(1), foreign.another_key(2)
    chain = foreign.bundle(foreign.signed(by=key, is_ca=True, begin=BEGIN))
    by_same = [foreign.read(foreign.signed(NAME, by=key, begin=BEGIN + day * DAY)) for day in (0, 5)]
    by_other = foreign.read(foreign.signed(NAME, by=other, begin=BEGIN + 8 * DAY))
    old = put(store, by_same[0], chain=chain)
    fake = put(store, by_other, chain=foreign.bundle(foreign.signed(by=other, is_ca=True, begin=BEGIN)))
    assert row(store, old).replaced_by is None
    assert lineage_of(store, old).current_id == fake
    new = put(store, by_same[1], chain=chain)
    assert row(store, old).replaced_by is None, "what is current has not signed it"
    assert row(store, new).replaced_by is None


def test_the_same_ca_key_replaces(store: Store) -> None:
    """The ordinary case: the endpoint's CA has issued the next one."""
    key = foreign.another_key(1)
    chain = foreign.bundle(foreign.signed(by=key, is_ca=True, begin=BEGIN))
    old, new = (
        put(store, foreign.read(foreign.signed(NAME, by=key, begin=BEGIN + day * DAY)), chain=chain) for day in (0, 5)
    )
    assert row(store, old).replaced_by == new


def test_a_place_that_shows_another_one_vouches(any_store: Store) -> None:
    """Seen instead of it at the same place, and nowhere else any more: that is a replacement."""
    old, new = put(any_store, a(1, 0), "imported"), put(any_store, a(2, 10))
    place(any_store, "tls:a:443", old)
    place(any_store, "tls:b:443", old)
    move(any_store, "tls:a:443", new)
    assert not any_store.write(lambda tx: seen_instead(tx, old, new))
    assert row(any_store, old).replaced_by is None
    move(any_store, "tls:b:443", new)
    assert any_store.write(lambda tx: seen_instead(tx, old, new))
    assert row(any_store, old).replaced_by == new
    assert lineage_of(any_store, new).current_id == new
    assert not any_store.write(lambda tx: seen_instead(tx, old, new))
    assert not any_store.write(lambda tx: seen_instead(tx, new, old))


def test_in_a_lineage_that_we_renew_only_we_replace(store: Store) -> None:
    """Whatever else is imported or seen joins it and replaces nothing; our renewal replaces all before it."""
    planned = plan(store)
    brought = put(store, a(1, 5), "imported")
    assert lineage_of(store, brought).id == planned
    assert lineage_of(store, brought).current_id is None
    mine = put(store, a(2, 6), "renewed", lineage_id=planned)
    strange = put(store, a(3, 8), "imported")
    assert lineage_of(store, mine).current_id == mine
    assert [row(store, id_).replaced_by for id_ in (brought, mine, strange)] == [mine, None, None]
    place(store, "tls:a:443", strange)
    assert not store.write(lambda tx: seen_instead(tx, mine, strange))
    again = put(store, a(4, 10), "renewed", lineage_id=planned)
    assert [row(store, id_).replaced_by for id_ in (mine, strange)] == [again, again]
    assert lineage_of(store, again).current_id == again


def test_what_a_scan_found_may_turn_out_to_be_ours(any_store: Store) -> None:
    """A better source counts, and brings its lineage; a worse one changes nothing."""
    planned = plan(any_store, "renewed", "planned", "dns:else.example")
    seen = put(any_store, a(1))
    assert put(any_store, a(1), "renewed", lineage_id=planned) == seen
    kept = row(any_store, seen)
    assert (kept.source, kept.lineage_id) == ("renewed", planned)
    put(any_store, a(1), "scanned")
    assert row(any_store, seen).source == "renewed"
    with any_store.read() as connection:
        names = set(connection.execute(select(col(Lineage.name))).scalars())
    assert names == {"planned"}, "a lineage of which nothing is left is gone"


def test_a_revoked_one_gives_its_place_back(any_store: Store) -> None:
    """The newest that is still valid is waited for again; with the last one the lineage is empty."""
    old, new = put(any_store, a(1, 0), "issued"), put(any_store, a(2, 10), "issued")
    assert any_store.write(lambda tx: end(tx, [new])) == 1
    assert lineage_of(any_store, old).current_id == old
    assert (row(any_store, old).replaced_by, row(any_store, old).next_look) == (None, clock.timestamp())
    assert (row(any_store, new).stage, any_store.write(lambda tx: end(tx, [new]))) == ("ended", 0)
    any_store.write(lambda tx: end(tx, [old]))
    assert lineage_of(any_store, old).current_id is None


def test_what_was_over_before_it_was_tracked_is_nobodys_successor(store: Store) -> None:
    """Revoked certificates are part of the story and are not watched."""
    good = put(store, a(1, 0), "issued")
    revoked = store.write(lambda tx: track_many(tx, [Entry(a(2, 10), "issued", is_over=True)]))[0]
    assert (row(store, revoked).stage, row(store, revoked).next_look) == ("ended", None)
    assert lineage_of(store, good).current_id == good
    newest = put(store, a(3, 12), "issued")
    assert (row(store, revoked).stage, row(store, revoked).next_look) == ("ended", None)
    assert row(store, good).replaced_by == newest


def test_authorities_and_lists_have_no_lineage(store: Store) -> None:
    """A CA's certificate is of a kind of its own; a CRL is one row that moves forward, never back."""
    ca = put(store, facts("dns:ca.example", extensions=[foreign.CA], begin=BEGIN))
    assert (row(store, ca).kind, row(store, ca).lineage_id) == ("authority", None)
    key = foreign.another_key()
    first, second = (read_crl(foreign.crl(by=key, begin=BEGIN + n * DAY, number=n)) for n in (1, 2))
    id_ = put(store, first, "imported")
    assert put(store, second, "imported") == id_
    assert put(store, first, "imported") == id_
    kept = row(store, id_)
    assert (kept.serial, kept.not_after, kept.lineage_id) == ("2", second.not_after, None)
    with store.read() as connection:
        content = connection.execute(select(TrackedContent).where(col(TrackedContent.tracked_id) == id_)).one()
    assert bytes(content.der) == second.der


def test_names_that_begin_alike_make_two_lineages(store: Store) -> None:
    """Each has a readable name of its own, the same in every replica."""
    one, other = put(store, a(1, 0, NAME)), put(store, a(2, 0, NAME, "dns:b.example"))
    assert lineage_of(store, one).name == "api.example"
    assert lineage_of(store, other).name.startswith("api.example (")
    assert put(store, a(3, 1, "dns:b.example", NAME)) != other
    assert lineage_of(store, other).id == row(store, other).lineage_id


def test_a_renewal_that_changes_names_stays_in_its_lineage(any_store: Store) -> None:
    """What follows a certificate belongs to its lineage, within one go, too; its successors are known by its names."""
    first, second = a(1, 0), a(2, 1, NAME, "dns:b.example")
    third = a(3, 2, "dns:c.example")
    batch = [
        Entry(first, "issued"),
        Entry(second, "issued", follows=first.identity),
        Entry(third, "issued", follows=second.identity),
    ]
    ids = any_store.write(lambda tx: track_many(tx, batch))
    assert [row(any_store, id_).replaced_by for id_ in ids] == [ids[2], ids[2], None]
    fourth = put(any_store, a(4, 3, "dns:c.example"), "issued")
    assert row(any_store, ids[2]).replaced_by == fourth


def test_an_owner_is_given_and_never_taken(store: Store) -> None:
    """Whoever tracks it again with another owner changes nothing (row 21)."""
    id_ = put(store, a(1), owner_id=5)
    put(store, a(1), "imported", owner_id=6)
    assert (row(store, id_).owner_id, lineage_of(store, id_).owner_id) == (5, 5)
    unowned = put(store, a(2, 0, "dns:free.example"))
    put(store, a(2, 0, "dns:free.example"), owner_id=6)
    assert row(store, unowned).owner_id == 6


STEPS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 4), st.sampled_from(["imported", "issued", "scanned", "renewed"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.booleans())
def test_there_is_one_current_and_all_else_is_explained(store: Store, steps: list[Any], in_one_go: bool) -> None:
    """Whatever comes in whatever order: what is replaced is older than what replaced it, and who vouched is current."""
    name = f"dns:{store.write(lambda tx: len(tx.execute(select(col(Lineage.id))).all()))}.example"
    batch = [Entry(a(number, day, name), source) for number, day, source in steps]
    if in_one_go:
        ids = store.write(lambda tx: track_many(tx, batch))
    else:
        ids = [store.write(lambda tx, entry=entry: track_many(tx, [entry]))[0] for entry in batch]
    rows = {id_: row(store, id_) for id_ in ids}
    lineage = lineage_of(store, ids[0])
    vouched = [kept for kept in rows.values() if kept.source != "scanned"]
    for kept in rows.values():
        if kept.replaced_by is not None:
            by = row(store, kept.replaced_by)
            assert (by.not_before, by.id) > (kept.not_before, kept.id)
            assert by.source != "scanned"
    newest = max(vouched or rows.values(), key=lambda kept: (kept.not_before, kept.id))
    assert lineage.current_id == newest.id
    if vouched:
        older = [kept for kept in rows.values() if (kept.not_before, kept.id) < (newest.not_before, newest.id)]
        assert all(kept.replaced_by is not None for kept in older)


def test_replicas_that_find_the_same_at_once_agree(postgresql: str) -> None:
    """Two processes' worth of stores, the same certificates in other orders: one row, one lineage, one current each."""
    url = fresh_database(postgresql)
    stores = [open_store(url) for _ in range(3)]
    found = [a(number, number % 3, f"dns:n{number % 7}.example") for number in range(1, 41)]
    errors: list[Exception] = []

    def work(store: Store, place: int) -> None:
        ordered = found[place * 11 :] + found[: place * 11]
        try:
            for start in range(0, len(ordered), 5):
                batch = [Entry(one, "imported") for one in ordered[start : start + 5]]
                store.write(lambda tx, batch=batch: track_many(tx, batch))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(store, place)) for place, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stores[0].read() as connection:
        rows = connection.execute(select(Tracked)).all()
        lineages = connection.execute(select(Lineage)).all()
    for store in stores:
        store.close()
    assert errors == []
    assert len(rows) == 40
    assert len(lineages) == 7
    for lineage in lineages:
        members = [kept for kept in rows if kept.lineage_id == lineage.id]
        newest = max(members, key=lambda kept: (kept.not_before, kept.id))
        assert lineage.current_id == newest.id
        assert [kept.id for kept in members if kept.replaced_by is None] == [newest.id]


def test_many_cost_few_statements(store: Store) -> None:
    """Two hundred certificates of as many names are tracked with a bounded number of statements."""
    batch = [Entry(a(number, 0, f"dns:n{number}.example"), "issued") for number in range(1, 201)]
    calls = []

    def unit(tx: Transaction) -> None:
        execute = tx.execute
        tx.execute = lambda *given, **named: calls.append(given) or execute(*given, **named)  # type: ignore[method-assign]
        track_many(tx, batch)

    store.write(unit)
    assert len(calls) <= 18


def place(store: Store, where: str, tracked_id: int) -> None:
    """A place that shows a certificate."""
    values = {"place": where, "tracked_id": tracked_id, "found_by": "scan", "findings": "[]", "last_asked": BEGIN}
    store.write(lambda tx: tx.execute(insert(Endpoint).values(**values)) and None)


def move(store: Store, where: str, tracked_id: int) -> None:
    """The place shows another one."""
    moved = update(Endpoint).where(col(Endpoint.place) == where).values(tracked_id=tracked_id)
    store.write(lambda tx: tx.execute(moved) and None)


def test_what_we_renew_comes_first(store: Store) -> None:
    """Of two lineages with the same names, a certificate that turns up joins the one that we renew."""
    plan(store, "manual", "by hand")
    ours = plan(store, "renewed", "planned")
    plan(store, "renewed", "planned later")
    assert row(store, put(store, a(1))).lineage_id == ours
