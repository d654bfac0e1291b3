"""Finding what is tracked: by everything it says and whose it is, in pages that miss nothing, with its whole story."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import insert, text
from sqlmodel import SQLModel

from ca import clock
from ca.errors import BadRequest, Conflict, NotFound
from ca.store import Store
from ca.x509.names import parse
from renewers.inventory import ending, findings, issued, lineages, owners, ownership, search
from renewers.inventory.lineages import LineagePlan
from renewers.inventory.owners import OwnerPlan
from renewers.inventory.search import Query
from renewers.inventory.track import Entry, end, track_many
from renewers.lifecycle import Lifecycle
from renewers.models import Delivery, Destination, Endpoint, Lineage, Renewal, Sighting, Tracked, TrackedName
from tests import rig
from tests.ca.world import entries, rows
from tests.renewers import foreign
from tests.renewers.foreign import DAY, another_key, facts, numbered, spki, tracked

ADMIN = rig.ADMIN
BEGIN = 1_790_000_000


@pytest.fixture
def life(store: Store) -> Iterator[Lifecycle]:
    """An installation without a CA, at one moment."""
    with clock.pinned(clock.from_timestamp(BEGIN)):
        yield foreign.lifecycle(rig.make_installation(store, with_hierarchy=False))


@pytest.fixture
def any_life(any_store: Store) -> Iterator[Lifecycle]:
    """The same on each engine."""
    with clock.pinned(clock.from_timestamp(BEGIN)):
        yield foreign.lifecycle(rig.make_installation(any_store, with_hierarchy=False))


def add(life: Lifecycle, model: type[SQLModel], **values: Any) -> None:
    """Insert a row."""
    life.store.write(lambda tx: tx.execute(insert(model).values(**values)) and None)


def ids(life: Lifecycle, query: Query, limit: int = 2) -> list[int]:
    """Everything that a query finds, page by page."""
    found: list[int] = []
    cursor: str | None = None
    while True:
        page, cursor = search.page(life.store, query, cursor, limit)
        assert len(page) <= limit
        found += [one.tracked.id or 0 for one in page]
        if cursor is None:
            return found


def test_everything_it_says_finds_it(any_life: Lifecycle) -> None:
    """By name in every spelling, serial, issuer, key, kind, source, stage, mode, owner, end; and nothing else does."""
    other, names = spki(another_key().public_key()), ("dns:api.example", "ip:10.0.0.1")
    mine = tracked(
        any_life,
        facts(*names, serial=numbered(0xABC), issuer=foreign.dn(b"Fine CA"), days=5, key=other),
        "imported",
    )
    for number in range(5):
        tracked(any_life, facts(f"dns:n{number}.example", serial=numbered(number + 1)))
    owners.add(any_life, ADMIN, OwnerPlan("fallback", "f@example.org"))
    owners.add(any_life, ADMIN, OwnerPlan("web", "w@example.org"))
    owners.assign(any_life, ADMIN, "web", lineage="api.example")
    row = rows(any_life.store, Tracked, id=mine)[0]
    finding = [
        *(Query(name=name) for name in ("dns:api.example", "api.example", "API.example", "10.0.0.1", "ip:10.0.0.1")),
        *(Query(serial=serial) for serial in ("abc", "0x0ABC", "0a:bc")),
        *(Query(issuer=issuer) for issuer in ("fine", "CN=Fine CA")),
        Query(key=row.spki_sha256.hex()),
        Query(owner="web"),
        Query(source="imported"),
        Query(expires_before=BEGIN + 6 * DAY),
        Query(kind="certificate", stage="fine", mode="manual", name="api.example"),
    ]
    for query in finding:
        assert ids(any_life, query) == [mine], query
    for query in (
        *(Query(name=name) for name in ("api", "example", "dns:10.0.0.1", "api.example.", "%", "a\0b")),
        *(Query(issuer="CN=Fine CA!"), Query(kind="crl"), Query(stage="due"), Query(mode="holder")),
        replace(finding[0], mode="renewed"),
    ):
        assert ids(any_life, query) == [], query


def test_pages_miss_nothing_and_repeat_nothing(any_life: Lifecycle) -> None:
    """In both orders, with several that end in the same second."""
    made = [
        tracked(any_life, facts(f"dns:n{number}.example", serial=numbered(number + 1), days=1 + number % 2))
        for number in range(9)
    ]
    assert ids(any_life, Query()) == made[::-1]
    by_end = ids(any_life, Query(expires_before=BEGIN + 9 * DAY))
    assert by_end == sorted(made, key=lambda id_: (rows(any_life.store, Tracked, id=id_)[0].not_after, id_))


def test_what_was_replaced_is_out_of_the_way(life: Lifecycle) -> None:
    """Unless it is asked for, or for a serial number or a key."""
    old = tracked(life, facts("dns:a.example", serial=numbered(1), begin=BEGIN), "imported")
    new = tracked(life, facts("dns:a.example", serial=numbered(2), begin=BEGIN + 1), "imported")
    assert ids(life, Query(name="a.example")) == [new]
    assert ids(life, Query(name="a.example", replaced=True)) == [new, old]
    assert ids(life, Query(serial="1")) == [old]


def test_owners_and_orphans_are_found_by_their_rules(any_life: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims count as much as what is set, however few fit among many, over many pages."""
    monkeypatch.setattr(search, "MAX_PAGE", 3)
    owners.add(any_life, ADMIN, OwnerPlan("fallback", "f@example.org"))
    owners.add(any_life, ADMIN, OwnerPlan("web", "w@example.org"))
    owners.claim(any_life, ADMIN, "web", "name", "dns:*.web.example")
    made = [
        tracked(any_life, facts(f"dns:n{n}.{'web' if n % 5 == 0 else 'lost'}.example", serial=numbered(n + 1)))
        for n in range(20)
    ]
    theirs = [id_ for n, id_ in enumerate(made) if n % 5 == 0]
    assert ids(any_life, Query(owner="web")) == theirs[::-1]
    assert (
        ids(any_life, Query(orphan=True))
        == ids(any_life, Query(owner="fallback"))
        == sorted(set(made) - set(theirs))[::-1]
    )
    with pytest.raises(NotFound):
        ids(any_life, Query(owner="nobody"))


@pytest.mark.parametrize(
    ("query", "cursor", "limit"),
    [
        (Query(serial="xyz"), None, 10),
        (Query(key="abc"), None, 10),
        (Query(), "nonsense", 10),
        (Query(), "1:2:3", 10),
        (Query(), "9" * 30 + ":1", 10),
        (Query(), "²:1", 10),
        (Query(), None, 0),
        (Query(), None, 501),
    ],
)
def test_a_bad_question_is_refused(store: Store, query: Query, cursor: str | None, limit: int) -> None:
    """Plainly, before anything is looked for."""
    with pytest.raises(BadRequest):
        search.page(store, query, cursor, limit)


def test_a_story_is_whole(any_life: Lifecycle) -> None:
    """Where it comes from, what it replaced, where it was seen, how it got there, whose it is."""
    made = lineages.create(any_life, ADMIN, LineagePlan("shop", (parse("dns:shop.example"),)))
    old = tracked(any_life, facts("dns:shop.example", serial=numbered(1)), "renewed", lineage_id=made)
    new_facts = facts("dns:shop.example", serial=numbered(2), begin=BEGIN + 5)
    new = tracked(any_life, new_facts, "renewed", lineage_id=made, chain="a chain")
    add(any_life, Endpoint, place="tls:a:443", tracked_id=new, found_by="scan", findings="[]", last_asked=1)
    endpoint = rows(any_life.store, Endpoint)[0].id
    for id_ in (old, new):
        add(any_life, Sighting, endpoint_id=endpoint, tracked_id=id_, first_seen=id_, last_seen=id_)
    common = {"publisher": "files", "settings": "{}", "probe": "", "rank": 0, "state": "seen", "changed_at": 1}
    add(any_life, Destination, name="edge", lineage_id=made, created_at=1, created_by="test", **common)
    destination = rows(any_life.store, Destination)[0].id
    add(any_life, Delivery, destination_id=destination, tracked_id=new, started_at=7, seen_at=9, outcome="seen")
    renewal = {"reason": "due", "issuer": "internal", "csr": b"", "key_made_at": 1, "started_at": 3}
    add(any_life, Renewal, lineage_id=made, state="done", replaces_id=old, tracked_id=new, **renewal)
    story = search.show(any_life.store, new_facts.identity)
    assert (story.tracked.id, story.names, story.is_current) == (new, ("dns:shop.example",), True)
    assert (story.lineage and story.lineage.name, story.replaced_by, story.chain) == ("shop", None, "a chain")
    before = search.show(any_life.store, f"#{old}")
    assert (story.replaced, before.replaced_by, before.is_current) == (
        (before.tracked.identity,),
        new_facts.identity,
        False,
    )
    assert [(seen.place, seen.is_there) for seen in (*story.places, *before.places)] == [
        ("tls:a:443", True),
        ("tls:a:443", False),
    ]
    assert [(one.destination, one.outcome, one.seen_at) for one in story.deliveries] == [("edge", "seen", 9)]
    assert [one.reason for one in story.renewals] == [one.reason for one in before.renewals] == ["due"]
    assert story.ownership.is_orphan
    assert story.certificate is not None
    assert story.certificate.startswith("-----BEGIN CERTIFICATE")


def test_a_serial_number_alone_may_mean_several(life: Lifecycle) -> None:
    """Then none is chosen, and the refusal says which there are (row 20)."""
    one = facts("dns:a.example", serial=numbered(7), issuer=foreign.dn(b"One"))
    two = facts("dns:a.example", serial=numbered(7), issuer=foreign.dn(b"Two"))
    tracked(life, one)
    assert search.show(life.store, "07").tracked.identity == one.identity
    tracked(life, two)
    with pytest.raises(Conflict) as caught:
        search.show(life.store, "7")
    assert one.identity in (caught.value.hint or "")
    digest = one.identity.removeprefix("sha256:").upper()
    spaced = ":".join(digest[start : start + 2] for start in range(0, 64, 2))
    for spelling in (one.identity, digest, spaced, f" {digest} "):
        assert search.show(life.store, spelling).tracked.identity == one.identity
    for nothing in ("", "\0", "#99", "#" * 700, "zz", "sha256:00"):
        with pytest.raises(NotFound):
            search.show(life.store, nothing)


def test_the_story_of_what_we_issued_has_its_certificate(store: Store) -> None:
    """The CA keeps the bytes, and the story shows them."""
    life = foreign.lifecycle(rig.make_installation(store))
    certificate = rig.issue(life.installation)
    issued.catch_up(life)
    story = search.show(store, certificate.serial)
    assert story.certificate is not None
    assert rig.parsed(certificate) == x509.load_pem_x509_certificate(story.certificate.encode())


def all_shared(life: Lifecycle) -> list[findings.SharedKey]:
    """All pages."""
    found: list[findings.SharedKey] = []
    cursor: str | None = None
    while True:
        page, cursor = search.same_keys(life.store, cursor)
        found += page
        if cursor is None:
            return found


@pytest.mark.parametrize("size", [2000, 3])
def test_one_key_in_two_places_is_found(life: Lifecycle, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """In two lineages, at two endpoints, with two owners; not in one lineage at one place, nor in what was replaced."""
    monkeypatch.setattr(findings, "PAGE", size)
    keys = [spki(another_key(n).public_key()) for n in range(1, 5)]
    names = ("a", "b", "c", "d")
    for place, key in enumerate(keys):
        tracked(life, facts(f"dns:{names[place]}.example", serial=numbered(1), key=key), "imported")
    shared = tracked(life, facts("dns:z.example", serial=numbered(2), key=keys[0]), "imported")
    tracked(life, facts("dns:b.example", serial=numbered(3), key=keys[1], begin=BEGIN + 1), "imported")
    third = rows(life.store, Tracked, shown_as="c.example")[0].id
    for place in ("tls:x:443", "tls:y:443"):
        add(life, Endpoint, place=place, tracked_id=third, found_by="scan", findings="[]", last_asked=1)
    found = {one.lineages: one for one in all_shared(life)}
    assert set(found) == {("a.example", "z.example"), ("c.example",)}
    assert found[("c.example",)].places == ("tls:x:443", "tls:y:443")
    assert len(found[("a.example", "z.example")].tracked) == 2
    life.store.write(lambda tx: end(tx, [shared]))
    assert [one.lineages for one in all_shared(life)] == [("c.example",)]


@pytest.mark.parametrize("size", [2000, 1])
def test_what_is_served_current_and_wanted_is_compared(
    life: Lifecycle, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A place that shows another than the current one, a destination that does not want it, one that has not got it."""
    monkeypatch.setattr(findings, "PAGE", size)
    made = lineages.create(life, ADMIN, LineagePlan("shop", (parse("dns:shop.example"),)))
    old, new = (
        tracked(life, facts("dns:shop.example", serial=numbered(n), begin=BEGIN + n), "renewed", lineage_id=made)
        for n in (1, 2)
    )
    for place, id_ in (("tls:old:443", old), ("tls:new:443", new)):
        add(life, Endpoint, place=place, lineage_id=made, tracked_id=id_, found_by="x", findings="[]", last_asked=1)
    common = {"publisher": "files", "settings": "{}", "probe": "", "rank": 0, "state": "seen", "changed_at": 1}
    common |= {"lineage_id": made, "created_at": 1, "created_by": "test"}
    add(life, Destination, name="behind", wanted_id=old, delivered_id=old, **common)
    add(life, Destination, name="on-its-way", wanted_id=new, delivered_id=old, **common)
    add(life, Destination, name="there", wanted_id=new, delivered_id=new, **common)
    found, cursor = [], None
    while True:
        page, cursor = search.differences(life.store, cursor)
        found += page
        if cursor is None:
            break
    identity = {row.id: row.identity for row in rows(life.store, Tracked)}
    assert [(one.where, one.what, one.there, one.wanted) for one in found] == [
        ("tls:old:443", "served", identity[old], identity[new]),
        ("behind", "wanted", identity[old], identity[new]),
        ("on-its-way", "delivered", identity[old], identity[new]),
    ]
    for bad in ("x-1", "e-", "e-²"):
        with pytest.raises(BadRequest):
            search.differences(life.store, bad)
    with pytest.raises(BadRequest):
        search.same_keys(life.store, "nonsense")


def test_what_is_out_of_use_is_said_once(life: Lifecycle) -> None:
    """By whoever may, with the reason in the ledger; what we renew ourselves is not retired from under us."""
    id_ = tracked(life, facts("dns:a.example"))
    assert ending.retire(life, ADMIN, f"#{id_}", "host\nis gone")
    assert not ending.retire(life, ADMIN, f"#{id_}", "again")
    assert rows(life.store, Tracked, id=id_)[0].stage == "ended"
    assert [entry["reason"] for entry in entries(life.store, "certificate-retired")] == ["host\\x0ais gone"]
    made = lineages.create(life, ADMIN, LineagePlan("shop", (parse("dns:shop.example"),)))
    ours = tracked(life, facts("dns:shop.example"), "renewed", lineage_id=made)
    with pytest.raises(Conflict):
        ending.retire(life, ADMIN, f"#{ours}", "why not")


def test_a_person_may_say_what_replaced_what(life: Lifecycle) -> None:
    """Where nothing else proves it: across names, too; never in a circle."""
    old, new = tracked(life, facts("dns:a.example")), tracked(life, facts("dns:b.example"))
    assert ending.replace(life, ADMIN, f"#{old}", f"#{new}")
    assert not ending.replace(life, ADMIN, f"#{old}", f"#{new}")
    assert rows(life.store, Tracked, id=old)[0].replaced_by == new
    for one, other in ((new, old), (new, new)):
        with pytest.raises(BadRequest):
            ending.replace(life, ADMIN, f"#{one}", f"#{other}")


def test_what_is_long_over_is_forgotten(any_life: Lifecycle) -> None:
    """What was replaced or has ended, and is seen nowhere; with its names, and with lineages that nobody cares for."""
    kept = tracked(any_life, facts("dns:expired.example", serial=numbered(1), begin=BEGIN - 99 * DAY))
    seen = tracked(any_life, facts("dns:seen.example", serial=numbered(2), begin=BEGIN - 99 * DAY))
    gone = tracked(any_life, facts("dns:gone.example", serial=numbered(3), begin=BEGIN - 99 * DAY))
    old = tracked(any_life, facts("dns:a.example", serial=numbered(4), begin=BEGIN - 99 * DAY), "imported")
    new = tracked(any_life, facts("dns:a.example", serial=numbered(5), begin=BEGIN), "imported")
    add(any_life, Endpoint, place="tls:a:443", tracked_id=seen, found_by="scan", findings="[]", last_asked=1)
    any_life.store.write(lambda tx: end(tx, [seen, gone]))
    assert ending.prune(any_life, timedelta(days=10)) == 0
    with clock.pinned(clock.from_timestamp(BEGIN + 20 * DAY)):
        assert [ending.prune(any_life, timedelta(days=10)), ending.prune(any_life, timedelta(days=10))] == [2, 0]
    assert {row.id for row in rows(any_life.store, Tracked)} == {kept, seen, new}
    assert {row.name for row in rows(any_life.store, Lineage)} == {"expired.example", "seen.example", "a.example"}
    assert {row.tracked_id for row in rows(any_life.store, TrackedName)} == {kept, seen, new}
    assert old not in {kept, seen, new}


def test_a_search_walks_an_index(store: Store) -> None:
    """What SQLite would do for each question never begins with a scan of everything that is tracked."""
    batch = [Entry(facts(f"dns:n{n}.example", serial=numbered(n + 1)), "issued") for n in range(300)]
    store.write(lambda tx: track_many(tx, batch))
    store.write(lambda tx: tx.execute(text("ANALYZE")) and None)
    questions = [
        Query(serial="5"),
        Query(key="41" * 32),
        Query(expires_before=BEGIN),
        Query(name="dns:n5.example"),
        Query(name="dns:n5.example", expires_before=BEGIN),
    ]
    with store.read() as connection:
        for query in questions:
            statement = search._after(search._filtered(connection, query), query, None).limit(10)
            compiled = statement.compile(connection.engine, compile_kwargs={"literal_binds": True})
            plan = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))]
            assert not any(detail == "SCAN tracked" for detail in plan), (query, plan)


def test_an_answer_looks_at_a_bounded_number_of_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few fit among very many, pages come back short, with a place to go on from."""
    life = foreign.lifecycle(rig.make_installation(store, with_hierarchy=False))
    for name in ("fallback", "rare"):
        owners.add(life, ADMIN, OwnerPlan(name, f"{name}@example.org"))
    batch = [Entry(facts(f"dns:n{n}.example", serial=numbered(n + 1)), "imported") for n in range(60)]
    made = store.write(lambda tx: track_many(tx, batch))
    owners.claim(life, ADMIN, "rare", "name", "dns:n0.example")
    owners.claim(life, ADMIN, "rare", "name", "dns:n59.example")
    for room in (search, ownership):
        monkeypatch.setattr(room, "PAGES", 2)
    monkeypatch.setattr(search, "MAX_PAGE", 5)
    pages, cursor = [], None
    while True:
        page, cursor = search.page(store, Query(owner="rare"), cursor, 2)
        pages.append([one.tracked.id for one in page])
        if cursor is None:
            break
    assert len(pages) > 3
    assert [id_ for page in pages for id_ in page] == [made[59], made[0]]
