"""What our CA issues and revokes is tracked by itself: everything exactly once, in whatever order it was committed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import update
from sqlmodel import col

from ca import clock, hierarchy, issuance, recording, revocation
from ca.crl import CrlPolicy, CrlPublisher
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.models import Authority, Certificate, LedgerEntry
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from renewers.inventory import issued, own, track
from renewers.inventory.facts import read_certificate
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Tracked, TrackedContent, TrackedName
from tests import rig
from tests.ca.world import entries, rows
from tests.conftest import fresh_database
from tests.renewers import foreign
from tests.renewers.foreign import tracked


@pytest.fixture
def life(store: Store) -> Lifecycle:
    """An installation with its CA."""
    return foreign.lifecycle(rig.make_installation(store, shards=2))


@pytest.fixture
def any_life(any_store: Store) -> Lifecycle:
    """The same on each engine."""
    return foreign.lifecycle(rig.make_installation(any_store, shards=2))


def by_serial(life: Lifecycle) -> dict[str, Any]:
    """What is tracked of what we issued."""
    return {row.serial: row for row in rows(life.store, Tracked) if row.source == "issued"}


def certificates(life: Lifecycle) -> set[str]:
    """The serial numbers of everything that our CA has signed for others."""
    return {row.serial for row in rows(life.store, Certificate)} - {row.serial for row in rows(life.store, Authority)}


def test_what_is_issued_is_tracked_as_it_is(any_life: Lifecycle) -> None:
    """With its facts, its names and a lineage that its holder renews; not with its bytes, which the CA keeps."""
    certificate = rig.issue(any_life.installation)
    assert issued.catch_up(any_life) == 1
    (row,) = rows(any_life.store, Tracked)
    found = read_certificate(certificate.certificate)
    assert (row.identity, row.source, row.kind, row.serial) == (found.identity, "issued", "certificate", found.serial)
    assert [name.name for name in rows(any_life.store, TrackedName)] == [f"uri:{rig.WORKLOAD}"]
    assert rows(any_life.store, TrackedContent) == []
    (lineage,) = rows(any_life.store, Lineage)
    assert (lineage.mode, lineage.current_id) == ("holder", row.id)
    assert entries(any_life.store, "certificate-tracked") == []


def test_each_is_tracked_once_before_and_after_it_has_a_place(any_life: Lifecycle) -> None:
    """Looking again is no news, sequenced or not, and costs what is new alone."""
    for number in range(3):
        rig.issue(any_life.installation, f"dns:n{number}.example.internal", profile="server")
    assert issued.catch_up(any_life) == 3
    assert issued.catch_up(any_life) == 0
    any_life.installation.ledger.sequence()
    assert issued.catch_up(any_life) == 0
    rig.issue(any_life.installation, "dns:late.example.internal", profile="server")
    any_life.installation.ledger.sequence()
    assert [issued.catch_up(any_life), issued.catch_up(any_life)] == [1, 0]
    assert set(by_serial(any_life)) == certificates(any_life)


def test_a_limit_is_a_limit(life: Lifecycle) -> None:
    """A long backlog is worked off in pieces."""
    for number in range(7):
        rig.issue(life.installation, f"dns:n{number}.example.internal", profile="server")
    life.installation.ledger.sequence()
    total, rounds = 0, 0
    while len(by_serial(life)) < 7:
        total, rounds = total + issued.catch_up(life, limit=3), rounds + 1
    assert (total, rounds > 2) == (7, True)


def test_a_renewal_follows_what_it_renews(life: Lifecycle) -> None:
    """It is in the same lineage, whatever its names, and replaces it."""
    first = rig.issue(life.installation)
    second = rig.issue(life.installation, "spiffe://example.internal/ns/payments/sa/other")
    renews = update(Certificate).where(col(Certificate.serial) == second.serial).values(renews=first.serial)
    life.store.write(lambda tx: tx.execute(renews) and None)
    issued.catch_up(life)
    found = by_serial(life)
    assert found[first.serial].replaced_by == found[second.serial].id
    assert found[first.serial].lineage_id == found[second.serial].lineage_id


def test_what_is_revoked_is_not_waited_for(any_life: Lifecycle) -> None:
    """Before it was tracked or after: it has ended, and the one before it counts again."""
    before, after = rig.issue(any_life.installation), rig.issue(any_life.installation)
    revocation.revoke(any_life.installation, rig.ADMIN, before.serial, RevocationReason.SUPERSEDED)
    issued.catch_up(any_life)
    assert (by_serial(any_life)[before.serial].stage, by_serial(any_life)[before.serial].next_look) == ("ended", None)
    any_life.installation.ledger.sequence()
    revocation.revoke(any_life.installation, rig.ADMIN, after.serial, RevocationReason.KEY_COMPROMISE)
    assert issued.catch_up(any_life) == 1
    assert by_serial(any_life)[after.serial].stage == "ended"
    assert rows(any_life.store, Lineage)[0].current_id is None


def test_the_serial_number_of_another_ca_ends_nothing(life: Lifecycle) -> None:
    """A stranger's certificate with the serial number of one that we revoke is a stranger's (row 20)."""
    ours = rig.issue(life.installation)
    theirs = tracked(life, foreign.facts("dns:x.example", serial=foreign.numbered(int(ours.serial, 16))), "imported")
    issued.catch_up(life)
    revocation.revoke(life.installation, rig.ADMIN, ours.serial, RevocationReason.SUPERSEDED)
    issued.catch_up(life)
    assert {row.id: row.stage for row in rows(life.store, Tracked) if row.id == theirs} == {theirs: "fine"}


def test_what_was_given_up_is_known_and_not_waited_for(life: Lifecycle) -> None:
    """An intent whose process died is a certificate that nobody has, as revocable as any."""
    decision = rig.decide(life.installation)
    intend_only(life, decision)
    recording.abandon_intents(life.store, older_than=clock.timestamp() + 1)
    assert issued.catch_up(life) == 1
    (row,) = rows(life.store, Tracked)
    assert (row.identity, row.stage, row.next_look) == (f"abandoned:{row.serial}", "ended", None)
    assert set(by_serial(life)) == certificates(life)


def test_a_scan_that_was_faster_changes_nothing(life: Lifecycle) -> None:
    """What was seen before it was caught up becomes ours: one row, and it replaces like any of ours."""
    first = rig.issue(life.installation)
    with clock.pinned(clock.from_timestamp(clock.timestamp() + 3600)):
        second = rig.issue(life.installation)
    seen = tracked(life, read_certificate(second.certificate))
    issued.catch_up(life)
    found = by_serial(life)
    assert found[second.serial].id == seen
    assert found[first.serial].replaced_by == seen


def test_our_own_authorities_are_none_of_it(life: Lifecycle) -> None:
    """A subordinate CA's certificate is an authority, not a leaf that somebody holds."""
    issued.catch_up(life)
    assert by_serial(life) == {}


def test_whatever_the_order_of_commits_everything_is_tracked_once(postgresql: str) -> None:
    """Transactions that hold early ids and end late: PostgreSQL shows later ids first, and nothing is missed."""
    url = fresh_database(postgresql)
    store = open_store(url)
    life = foreign.lifecycle(rig.make_installation(store, shards=0))
    for number in range(8):
        rig.issue(life.installation, f"dns:n{number}.example.internal", profile="server")
    copies = rows(store, Certificate)[-8:], rows(store, LedgerEntry)[-8:]
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("TRUNCATE certificate, certificate_name")
        admin.execute("DELETE FROM ledger_entry WHERE id >= %s", [copies[1][0].id])
    writers = [psycopg.connect(url) for _ in range(8)]
    for writer, certificate, entry in zip(writers, *copies, strict=True):
        put_back(writer, "certificate", certificate)
        put_back(writer, "ledger_entry", entry)
    for place in (5, 1, 7, 0, 3, 6, 2, 4):
        writers[place].commit()
        if place % 2:
            life.installation.ledger.sequence()
        issued.catch_up(life)
    life.installation.ledger.sequence()
    issued.catch_up(life)
    for writer in writers:
        writer.close()
    assert set(by_serial(life)) == {row.serial for row in copies[0]}
    assert len(rows(store, Tracked)) == 8
    store.close()


def test_replicas_catch_up_together(postgresql: str) -> None:
    """Three at once, while certificates are issued: each is tracked once, and nobody fails."""
    url = fresh_database(postgresql)
    stores = [open_store(url) for _ in range(3)]
    life = foreign.lifecycle(rig.make_installation(stores[0], shards=0))
    lives = [life, *(foreign.lifecycle(other(life, store)) for store in stores[1:])]
    errors: list[Exception] = []
    is_over = threading.Event()

    def follow(one: Lifecycle) -> None:
        try:
            while not is_over.is_set():
                issued.catch_up(one, limit=7)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=follow, args=(one,)) for one in lives]
    for thread in threads:
        thread.start()
    for number in range(30):
        rig.issue(life.installation, f"dns:n{number % 5}.example.internal", profile="server")
        if number % 6 == 0:
            life.installation.ledger.sequence()
    life.installation.ledger.sequence()
    is_over.set()
    for thread in threads:
        thread.join()
    while issued.catch_up(life):
        pass
    found = rows(stores[0], Tracked)
    for store in stores:
        store.close()
    assert errors == []
    assert len(found) == 30
    assert len([row for row in found if row.replaced_by is None]) == 5


@pytest.fixture
def own_life(store: Store) -> Iterator[Lifecycle]:
    """The same on SQLite, at one moment."""
    with clock.pinned(clock.from_timestamp(1_790_000_000)):
        yield foreign.lifecycle(rig.make_installation(store, shards=2))


def test_our_own_cas_lists_and_bundle_are_tracked(own_life: Lifecycle) -> None:
    """Two authorities, their CRLs and the bundle; looking again changes nothing."""
    assert own.catch_up(own_life) == 5
    assert own.catch_up(own_life) == 0
    found = {row.identity: row for row in rows(own_life.store, Tracked)}
    authorities = {row.name: row for row in own_life.installation.authorities.all()}
    lists = {name: found[f"crl:own/{name}"] for name in authorities}
    assert {row.not_after for row in lists.values()} == {clock.timestamp() + 72 * 3600}
    assert found["bundle:roots"].not_after == own_life.installation.authorities.get("root").not_after
    assert {row.kind for row in found.values()} == {"authority", "crl", "bundle"}
    assert all(row.lineage_id is None and row.source == "authority" for row in found.values())


def test_lists_move_in_place_and_the_latest_shard_counts(own_life: Lifecycle) -> None:
    """The CRLs of a CA end with the first of its lists; a newer one moves them on."""
    own.catch_up(own_life)
    before = rows(own_life.store, Tracked, identity="crl:own/issuing-1")[0]
    with clock.pinned(clock.from_timestamp(clock.timestamp() + 13 * 3600)):
        CrlPublisher(own_life.installation, CrlPolicy()).publish_due(limit=1)
        own.catch_up(own_life)
        partly = rows(own_life.store, Tracked, identity="crl:own/issuing-1")[0]
        CrlPublisher(own_life.installation, CrlPolicy()).publish_due()
        own.catch_up(own_life)
    after = rows(own_life.store, Tracked, identity="crl:own/issuing-1")[0]
    assert (partly.not_after, after.id) == (before.not_after, before.id)
    assert after.not_after == before.not_after + 13 * 3600
    assert len(rows(own_life.store, Tracked)) == 5


def test_a_list_that_was_never_made_ends_soon(own_life: Lifecycle) -> None:
    """A new CA has an hour for its first list: then that is an alarm, not a surprise."""
    installation = own_life.installation
    plan = Plan("later", rig.common_name("Later CA"), KeyType.P256)
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan)
    own.catch_up(own_life)
    row = rows(own_life.store, Tracked, identity="crl:own/later-1")[0]
    assert row.not_after == clock.timestamp() + own.FIRST


def test_what_is_retired_is_not_waited_for(own_life: Lifecycle) -> None:
    """Its certificate and its CRLs have ended, and the bundle says how many are left."""
    own.catch_up(own_life)
    own_life.store.write(lambda tx: tx.execute(update(Authority).values(state="retired")) and None)
    own_life.installation.authorities.forget()
    assert own.catch_up(own_life) == 5
    assert {row.stage for row in rows(own_life.store, Tracked)} == {"ended"}
    assert own.catch_up(own_life) == 0


def test_what_is_distrusted_still_has_lists_that_end(own_life: Lifecycle) -> None:
    """It is no anchor of the bundle any more, but its CRLs are owed until it is retired."""
    own.catch_up(own_life)
    own_life.store.write(lambda tx: tx.execute(update(Authority).values(state="distrusted")) and None)
    own_life.installation.authorities.forget()
    assert own.catch_up(own_life) == 1
    stages = {row.identity: row.stage for row in rows(own_life.store, Tracked)}
    assert [identity for identity, stage in stages.items() if stage == "ended"] == ["bundle:roots"]


def put_back(writer: Any, table: str, row: Any) -> None:
    """Insert a row as it was, in a transaction that is still open."""
    values = dict(row._mapping)
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    writer.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", list(values.values()))


def intend_only(life: Lifecycle, decision: Any) -> None:
    """An issuance whose process dies between the intent and the signature."""
    steps = issuance.issuing(decision, life.installation)
    unit = next(steps)
    life.store.write(unit)
    steps.close()


def other(life: Lifecycle, store: Store) -> Any:
    """The same installation seen by another replica."""
    return replace(life.installation, store=store)


def test_what_was_just_issued_is_looked_at_when_it_may_first_come_due(life: Lifecycle) -> None:
    """Not before: a busy CA issues more than it is worth looking at twice. What was imported is looked at at once."""
    rig.issue(life.installation)
    issued.catch_up(life)
    (row,) = rows(life.store, Tracked)
    assert row.next_look == row.not_before + int((row.not_after - row.not_before) * 0.4)
    life.store.write(
        lambda tx: track.track(tx, read_certificate(foreign.certificate("dns:a.example")), source="imported")
    )
    assert rows(life.store, Tracked)[1].next_look <= clock.timestamp()
