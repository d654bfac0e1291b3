"""The inventory in the order of its ends: whatever is asked and however small the pages, each row comes once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, NotFound
from ca.store import Store, open_store
from renewers.inventory import answering, owners
from renewers.inventory.owners import OwnerPlan
from renewers.models import Lineage, Tracked, TrackedName
from renewers.overview import browsing, typed
from renewers.overview.browsing import GROUPS, Wish
from tests import rig
from tests.conftest import fresh_database
from tests.renewers import foreign, tracking
from tests.renewers.tracking import DAY, START

STAGES = ("fine", "due", "late", "urgent", "critical", "expired", "replaced", "ended")
MODES = ("renewed", "manual", "holder")
KINDS = ("certificate", "certificate", "certificate", "authority", "crl")
SOURCES = ("issued", "scanned", "imported")
COUNT = 160


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A hundred and sixty things of every kind, many of which end in the same second."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('browsing')}/certwright.db")
    populate(store)
    yield store
    store.close()


def populate(store: Store) -> None:
    """Rows whose features go through all combinations."""
    life = foreign.lifecycle(rig.make_installation(store, with_hierarchy=False))
    for name in ("ops", "pay"):
        owners.add(life, rig.ADMIN, OwnerPlan(name, f"{name}@example.org"))
    pay = next(row.id for row in owners.listing(life, rig.ADMIN) if row.name == "pay")
    for place in range(COUNT):
        lineage = None
        if place % 4:
            owner = pay if place % 5 == 0 else None
            lineage = tracking.add_lineage(store, MODES[place % 3], name=f"lineage-{place}", owner_id=owner)
        id_ = tracking.add_tracked(
            store,
            kind=KINDS[place % 5],
            source=SOURCES[place % 3],
            stage=STAGES[place * 7 % 8],
            issuer=f"CN=CA {place % 6}",
            lineage_id=lineage,
            not_before=START,
            not_after=START + place * 13 % 40 * DAY,
            spki_sha256=bytes([place % 256]) * 32,
            serial=f"{place + 1:x}",
        )
        row = {"name": f"dns:host-{place}.example", "tracked_id": id_}
        store.write(lambda tx, row=row: tx.add(TrackedName, row))
    while answering.walk(life):
        continue


def expected(store: Store, wish: Wish) -> list[int]:
    """The same by looking at everything."""
    with store.read() as connection:
        lineages = {row.id: row for row in connection.execute(select(Lineage))}
        rows = connection.execute(select(Tracked)).all()
        names = {row.tracked_id: row.name for row in connection.execute(select(TrackedName))}
        whose = {row.id: row.name for row in connection.execute(text("SELECT id, name FROM owner"))}

    def fits(row: Any) -> bool:
        lineage = lineages.get(row.lineage_id)
        mode = ("manual" if lineage is None else lineage.mode) if row.kind == "certificate" else None
        return (
            row.stage in browsing.stages_of(wish)
            and wish.mode in (None, mode)
            and (wish.owner is None or whose.get(row.answering_id) == wish.owner)
            and (not wish.orphan or row.is_orphan)
            and wish.issuer in (None, row.issuer)
            and wish.kind in (None, row.kind)
            and wish.source in (None, row.source)
            and (wish.ends_from is None or row.not_after >= wish.ends_from)
            and (wish.ends_before is None or row.not_after < wish.ends_before)
            and (not wish.text or names[row.id].startswith(f"dns:{wish.text}"))
        )

    ordered = sorted((row for row in rows if fits(row)), key=lambda row: (row.not_after, row.id))
    return [row.id for row in (reversed(ordered) if wish.backwards else ordered)]


def walked(store: Store, wish: Wish, limit: int) -> list[int]:
    """All pages, one after the other."""
    found: list[int] = []
    cursor = None
    for _ in range(4 * COUNT):
        page = browsing.page(store, wish, cursor=cursor, limit=limit)
        found += [line.tracked.id or 0 for line in page.lines]
        cursor = page.next
        if cursor is None:
            return found
    raise AssertionError("there is no last page")


WISHES = st.builds(
    Wish,
    text=st.sampled_from(["", "", "", "host-1", "host-12.example", "nobody"]),
    stage=st.sampled_from([*GROUPS, *STAGES]),
    mode=st.none() | st.sampled_from(MODES),
    owner=st.none() | st.sampled_from(["ops", "pay"]),
    orphan=st.booleans(),
    issuer=st.none() | st.sampled_from(["CN=CA 1", "CN=CA 5", "CN=nobody"]),
    kind=st.none() | st.sampled_from(KINDS),
    source=st.none() | st.sampled_from(SOURCES),
    ends_from=st.none() | st.integers(0, 40).map(lambda day: START + day * DAY),
    ends_before=st.none() | st.integers(0, 40).map(lambda day: START + day * DAY),
    backwards=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(wish=WISHES, limit=st.integers(1, 30), most=st.sampled_from([10, 60, 6000]), narrow=st.sampled_from([5, 2000]))
def test_every_row_that_fits_comes_once_and_in_order(
    stored: Store, wish: Wish, limit: int, most: int, narrow: int
) -> None:
    """However small a page is, however few rows are looked at for one, and whichever way the rows are found."""
    if wish.text:
        narrow = 2000  # what is typed is looked up, never walked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browsing, "MOST", most)
        patch.setattr(browsing, "STEPS", (3, 7, 11))
        patch.setattr(typed, "MOST", narrow)
        assert walked(stored, wish, limit) == expected(stored, wish)


def test_both_databases_find_the_same(any_store: Store) -> None:
    """PostgreSQL and SQLite, by names, filters and cursors."""
    populate(any_store)
    for wish in (
        Wish(),
        Wish(text="host-1"),
        Wish(text="HOST-12.example"),
        Wish(stage="attention", mode="manual"),
        Wish(stage="all", kind="crl", backwards=True),
        Wish(stage="all", orphan=True),
        Wish(stage="all", owner="pay"),
        Wish(stage="all", issuer="CN=CA 3", source="issued"),
    ):
        small = replace(wish, text=wish.text.lower())
        assert walked(any_store, wish, 7) == expected(any_store, small), wish


def test_one_field_takes_whatever_somebody_has(stored: Store) -> None:
    """A serial number, a SHA-256 of the certificate or of its key, a number, a lineage, a name with its kind."""
    row = tracking.find(stored, 50)
    for given_text in (
        row.identity,
        row.identity.removeprefix("sha256:").upper(),
        row.spki_sha256.hex(),
        f"#{row.id}",
        "dns:host-49.example",
        "lineage-49",
    ):
        found = [line.tracked.id for line in browsing.page(stored, Wish(text=given_text)).lines]
        assert row.id in found, given_text
    assert browsing.page(stored, Wish(text="32")).lines[0].tracked.serial == "32"


@pytest.mark.parametrize("odd", ["%", "_", "' OR 1=1 --", "\x00", "a" * 5000, "\u202e", "#99999999999999999999", "\\"])
def test_what_means_nothing_finds_nothing(any_store: Store, odd: str) -> None:
    """Wildcards of a database, NULs, what is endless: looked for as it stands, or not at all."""
    tracking.add_tracked(any_store)
    assert browsing.page(any_store, Wish(text=odd)).lines == ()


def test_a_wrong_cursor_stage_or_owner_is_refused(stored: Store) -> None:
    """Each with its reason."""
    for cursor in ("", "1", "a:b", "1:", ":1", "1:2:3", f"{'9' * 30}:1"):
        with pytest.raises(BadRequest):
            browsing.page(stored, Wish(), cursor=cursor)
    with pytest.raises(BadRequest, match="stage"):
        browsing.page(stored, Wish(stage="rotten"))
    with pytest.raises(NotFound):
        browsing.page(stored, Wish(owner="nobody"))


def test_no_page_looks_at_everything(stored: Store) -> None:
    """SQLite is asked how it goes about the walk: along an index, without sorting."""
    for wish in (Wish(), Wish(owner="pay"), Wish(orphan=True), Wish(kind="crl"), Wish(backwards=True)):
        with stored.read() as connection:
            walk = browsing._Walk(connection, wish, (clock.timestamp(), 1))
            query = (
                walk._statement("fine", (START, 1))
                .limit(50)
                .compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            )
            plan = " ".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
        assert "USING INDEX tracked_" in plan or "USING COVERING INDEX tracked_" in plan, (wish, plan)
        assert "TEMP B-TREE FOR ORDER BY" not in plan, (wish, plan)
        assert "SCAN" not in plan, (wish, plan)
    assert "tracked_orphan" in _plan(stored, Wish(orphan=True))
    assert "tracked_signing" in _plan(stored, Wish(kind="crl"))
    assert "tracked_answering" in _plan(stored, Wish(owner="pay"))


def _plan(store: Store, wish: Wish) -> str:
    with store.read() as connection:
        query = browsing._Walk(connection, wish, None)._statement("fine", None).limit(50)
        told = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        return " ".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {told}")))


def test_the_columns_that_are_walked_by_are_those_of_the_table() -> None:
    """`IS_ORPHAN` and `IS_SIGNING` are text: the model must have what they name."""
    assert col(Tracked.is_orphan).key in str(browsing.IS_ORPHAN)
    assert col(Tracked.kind).key in str(browsing.IS_SIGNING)


def test_postgresql_finds_a_beginning_along_an_index(postgresql: str) -> None:
    """Whatever language the database is made for: names are compared by their bytes."""
    store = open_store(fresh_database(postgresql))
    try:
        populate(store)
        query = select(TrackedName).where(typed._begins(col(TrackedName.name), ["dns:host-1", "uri:host-1"]))
        with store.read() as connection:
            connection.execute(text("SET enable_seqscan = off"))
            told = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            plan = " ".join(row[0] for row in connection.execute(text(f"EXPLAIN {told}")))
        assert "Index Cond: ((name >= 'dns:host-1'" in plan, plan
    finally:
        store.close()
