"""Forgetting: in pages, only what has expired and left every list, and never what the ledger remembers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import delete

from ca import clock, hierarchy, revocation
from ca.authority import State
from ca.installation import Installation
from ca.issuance import Issued, issuing
from ca.ledger.reconcile import audit
from ca.models import Answer, Certificate, CertificateName, Revocation
from ca.recording import abandon_intents
from ca.retention import prune_answers, prune_certificates
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import count, entries, listed, outside, perform, publish, replica, rows
from tests.conftest import fresh_database

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
ON_SQLITE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
"""For what has nothing to do with the engine."""


@pytest.fixture
def installation(any_store: Store) -> Installation:
    """A root and an issuing CA, on each engine in turn."""
    return rig.make_installation(any_store)


@contextmanager
def later(by: timedelta) -> Iterator[None]:
    """So much later than now."""
    with clock.pinned(clock.now() + by):
        yield


def stored(installation: Installation) -> set[str]:
    """Serial numbers of the leaves that are not forgotten."""
    return {row.serial for row in rows(installation.store, Certificate) if row.profile != "sub-ca"}


def issue_for(installation: Installation, lifetime: timedelta) -> Issued:
    """A mesh certificate with a life of its own."""
    return rig.issue(installation, lifetime=lifetime)


def test_what_expired_is_forgotten_with_all_its_rows(installation: Installation) -> None:
    """Certificate, names, revocation and idempotency key go together; the ledger keeps what it knows."""
    gone = rig.issue(installation, lifetime=HOUR, idempotency_key="key")
    revoked = issue_for(installation, HOUR)
    revocation.revoke(installation, rig.OPERATOR, revoked.serial, RevocationReason.SUPERSEDED)
    perform(issuing(rig.decide(installation, lifetime=HOUR), installation), installation, steps=1)
    abandon_intents(installation.store, older_than=clock.timestamp() + 1)
    kept = issue_for(installation, WEEK)
    publish(installation)
    installation.ledger.sequence()
    before = len(entries(installation.store))
    with later(timedelta(hours=14)):
        publish(installation)
    with later(timedelta(hours=28)):
        publish(installation)
        assert prune_certificates(installation, timedelta(0)) == 3
        assert prune_certificates(installation, timedelta(0)) == 0
    assert stored(installation) == {kept.serial}
    assert {row.serial for row in rows(installation.store, CertificateName)} == {kept.serial}
    assert count(installation.store, Revocation) == count(installation.store, Answer) == 0
    assert len(entries(installation.store)) > before
    assert entries(installation.store, "certificate-issued", subject=gone.serial)
    (entry,) = entries(installation.store, "certificates-pruned")
    assert entry["count"] == 3
    installation.ledger.sequence()
    with later(timedelta(hours=28)):
        report = audit(installation.store, installation.ledger.verifier)
    assert report.findings == []


def test_it_goes_page_by_page(installation: Installation) -> None:
    """A transaction forgets one page, the longest expired first, and says how many; 0 means done."""
    issued = [issue_for(installation, timedelta(hours=place + 1)) for place in range(7)]
    with later(timedelta(days=1)):
        sizes, left = [], []
        while pruned := prune_certificates(installation, timedelta(0), page=3):
            sizes.append(pruned)
            left.append(stored(installation))
    assert sizes == [3, 3, 1]
    assert left == [{one.serial for one in issued[start:]} for start in (3, 6, 7)]
    assert [entry["count"] for entry in entries(installation.store, "certificates-pruned")] == sizes


@pytest.mark.parametrize("keep", [timedelta(0), timedelta(days=90), timedelta(days=-5)])
def test_the_retention_time_is_kept_to_the_second(store: Store, keep: timedelta) -> None:
    """Nothing is forgotten before it has been expired for the whole retention time; a negative one counts as none."""
    installation = rig.make_installation(store)
    one = issue_for(installation, HOUR)
    due = clock.from_timestamp(one.not_after) + max(keep, timedelta(0))
    for early in (timedelta(hours=-1), timedelta(0), timedelta(seconds=1)):
        with clock.pinned(due + early):
            assert prune_certificates(installation, keep) == 0
    with clock.pinned(due + timedelta(seconds=2)):
        assert prune_certificates(installation, keep) == 1


def test_what_is_still_listed_stays(installation: Installation) -> None:
    """A revoked certificate waits until both its lists were signed after its end, however long ago that was."""
    one = issue_for(installation, HOUR)
    revocation.revoke(installation, rig.OPERATOR, one.serial, RevocationReason.SUPERSEDED)
    publish(installation)
    with later(timedelta(days=400)):
        assert prune_certificates(installation, timedelta(0)) == 0
        publish(installation)
        assert prune_certificates(installation, timedelta(0)) == 0
    with later(timedelta(days=401)):
        publish(installation)
        assert prune_certificates(installation, timedelta(0)) == 1
    with later(timedelta(days=402)):
        publish(installation)
        assert listed(installation) == set()
    assert count(installation.store, Revocation) == 0


@ON_SQLITE
def test_authorities_are_never_forgotten(installation: Installation) -> None:
    """The certificate of a CA stays where it is, however long ago it expired."""
    issuing_ca = installation.authorities.get("issuing")
    with clock.pinned(clock.from_timestamp(issuing_ca.not_after) + timedelta(days=9999)):
        assert prune_certificates(installation, timedelta(0)) == 0
    assert rows(installation.store, Certificate, serial=issuing_ca.serial)


@ON_SQLITE
def test_idempotency_keys_last_a_day(installation: Installation) -> None:
    """For a day the same key gets the same answer; after that it is free, and the certificate stays."""
    first = rig.issue(installation, lifetime=WEEK, idempotency_key="key")
    with later(timedelta(hours=23, minutes=59)):
        assert prune_answers(installation) == 0
        assert rig.issue(installation, lifetime=WEEK, idempotency_key="key").serial == first.serial
    with later(timedelta(days=1, minutes=1)):
        assert prune_answers(installation) == 1
        assert prune_answers(installation) == 0
        assert rig.issue(installation, lifetime=WEEK, idempotency_key="key").serial != first.serial
    assert first.serial in stored(installation)


def test_a_retired_authority_leaves_nothing_for_ever(store: Store) -> None:
    """What was revoked under a CA that is retired is forgotten some day, too."""
    installation = rig.make_installation(store)
    one = issue_for(installation, HOUR)
    revocation.revoke(installation, rig.OPERATOR, one.serial, RevocationReason.SUPERSEDED)
    publish(installation)
    for state in (State.TAINTED, State.RETIRED):
        hierarchy.transition(installation, rig.ADMIN, "issuing-1", state)
    for days in (1, 2, 10_000):
        with later(timedelta(days=days)):
            publish(installation)
            prune_certificates(installation, timedelta(0))
    assert stored(installation) == set()


def test_two_replicas_count_what_they_forgot(postgresql: str) -> None:
    """When another replica was faster, the ledger does not say a second time that so many were forgotten."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    installation = rig.make_installation(stores[0])
    second = replica(installation, stores[1])
    for _ in range(5):
        issue_for(installation, HOUR)
    try:
        with later(timedelta(days=1)), ThreadPoolExecutor(1) as threads, outside(stores[0]) as faster:
            faster.execute(delete(Certificate).where(Certificate.profile == "mesh"))  # type: ignore[arg-type]
            slower = threads.submit(prune_certificates, second, timedelta(0))
            assert slower.result(60) == 0  # what somebody else forgets is passed over, and not waited for
        assert entries(stores[0], "certificates-pruned") == []
    finally:
        for store in stores:
            store.close()
