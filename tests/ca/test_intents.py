"""Issuances that were never finished: given up, they are listed, searchable, revocable, and can no longer complete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256

import pytest

from ca import certificates, clock, recording, revocation
from ca.certificates import Query
from ca.errors import NotFound, PolicyRefusal
from ca.installation import Installation
from ca.issuance import Story, issuing
from ca.models import Intent
from ca.recording import abandon_intents
from ca.store import Store, open_store
from ca.store.commit import StaleChange
from ca.x509.names import parse
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import count, entries, listed, publish, rows
from tests.conftest import fresh_database

ON_SQLITE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
"""For what has nothing to do with the engine."""


@pytest.fixture
def installation(any_store: Store) -> Installation:
    """A root and an issuing CA, on each engine in turn."""
    return rig.make_installation(any_store)


def start(installation: Installation, *names: str) -> tuple[Story, str]:
    """An issuance whose intent is durable and whose process then dies; its story, and its serial number."""
    before = {row.serial for row in rows(installation.store, Intent)}
    story = issuing(rig.decide(installation, *names), installation)
    installation.store.write(next(story))  # type: ignore[arg-type]
    (serial,) = {row.serial for row in rows(installation.store, Intent)} - before
    return story, serial


def abandon_all(installation: Installation) -> int:
    """Give up every intent there is."""
    return abandon_intents(installation.store, older_than=clock.timestamp() + 1)


@ON_SQLITE
def test_an_abandoned_intent_is_listed(installation: Installation) -> None:
    """It is found by serial number, by name, by key and by state, and says of itself that it was never signed."""
    names = (rig.WORKLOAD, "api.payments.svc.example.internal")
    _, serial = start(installation, *names)
    with pytest.raises(NotFound):
        certificates.find(installation.store, serial)
    assert abandon_all(installation) == 1
    stored = certificates.find(installation.store, serial)
    assert stored.state == "abandoned"
    assert [str(name) for name in stored.names()] == [str(parse(name)) for name in names]
    spki = sha256(rig.make_request(rig.WORKLOAD).spki).digest()
    queries = [Query(state="abandoned"), *(Query(name=parse(name)) for name in names), Query(spki_sha256=spki)]
    for query in queries:
        assert [one.serial for one in certificates.page(installation.store, query)[0]] == [serial]
    assert certificates.page(installation.store, Query(state="valid", profile="mesh"))[0] == []
    with pytest.raises(NotFound) as caught:
        _ = stored.der
    assert caught.value.code == "never-signed"
    (entry,) = entries(installation.store, "issuance-abandoned")
    assert entry["subject"] == serial


def test_an_abandoned_intent_is_revoked_and_on_the_crl(installation: Installation) -> None:
    """That the key signed it cannot be ruled out, so it is revocable like any certificate, shard and complete list."""
    _, serial = start(installation)
    abandon_all(installation)
    shard = certificates.find(installation.store, serial).shard
    assert shard is not None
    revoked = revocation.revoke(installation, rig.OPERATOR, serial, RevocationReason.SUPERSEDED)
    assert revoked.serials == (serial,)
    assert certificates.find(installation.store, serial).state == "revoked"
    publish(installation)
    assert listed(installation, shard=shard) == listed(installation) == {serial}


def test_a_late_completion_is_refused(installation: Installation) -> None:
    """A process that was only slow finds its intent given up: it answers nobody, and the record stays as it is."""
    story, serial = start(installation)
    complete = story.send(None)
    abandon_all(installation)
    with pytest.raises(StaleChange):
        installation.store.write(complete)  # type: ignore[arg-type]
    assert certificates.find(installation.store, serial).state == "abandoned"
    assert entries(installation.store, "certificate-issued", subject=serial) == []


@ON_SQLITE
def test_only_old_intents_are_given_up(installation: Installation) -> None:
    """`older_than` is a bound in seconds that spares what is not older, so that running issuances go on."""
    now = clock.now()
    with clock.pinned(now - timedelta(seconds=60)):
        _, old = start(installation)
    with clock.pinned(now):
        young_story, young = start(installation)
        assert abandon_intents(installation.store, older_than=clock.timestamp() - 60) == 0
        assert abandon_intents(installation.store, older_than=clock.timestamp()) == 1
        assert [row.serial for row in rows(installation.store, Intent)] == [young]
        installation.store.write(young_story.send(None))  # type: ignore[arg-type]
    assert certificates.find(installation.store, old).state == "abandoned"
    assert certificates.find(installation.store, young).state == "valid"


def test_intents_are_given_up_in_pages(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, one transaction takes a page of them, the oldest first."""
    serials = [start(installation)[1] for _ in range(7)]
    monkeypatch.setattr(recording, "PAGE", 3)
    assert [abandon_all(installation) for _ in range(4)] == [3, 3, 1, 0]
    assert [entry["subject"] for entry in entries(installation.store, "issuance-abandoned")] == serials


def test_two_replicas_share_the_clean_up(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas that recover at the same time give up every intent once, and neither fails."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    first = rig.make_installation(stores[0])
    serials = {start(first)[1] for _ in range(60)}
    monkeypatch.setattr(recording, "PAGE", 7)

    def clean_up(store: Store) -> int:
        total = 0
        while any(rows(store, Intent)):
            total += abandon_intents(store, older_than=clock.timestamp() + 1)
        return total

    try:
        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(clean_up, stores * 2)) == 60
        subjects = [entry["subject"] for entry in entries(stores[0], "issuance-abandoned")]
        assert sorted(subjects) == sorted(serials)
    finally:
        for store in stores:
            store.close()


def test_completing_and_giving_up_race(store: Store) -> None:
    """Whoever is first wins: every issuance is either a certificate or abandoned, never both and never neither."""
    installation = rig.make_installation(store)
    started = [start(installation) for _ in range(80)]
    effects = [story.send(None) for story, _ in started]

    def complete(place: int) -> bool:
        try:
            store.write(effects[place])  # type: ignore[arg-type]
        except StaleChange:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        completing = [threads.submit(complete, place) for place in range(80)]
        given_up = threads.submit(abandon_all, installation)
        outcomes = [future.result() for future in completing]
    states = [certificates.find(store, serial).state for _, serial in started]
    assert states == ["valid" if completed else "abandoned" for completed in outcomes]
    assert given_up.result() == outcomes.count(False)
    assert count(store, Intent) == 0


def test_an_intent_with_a_blocked_key_is_revoked(installation: Installation) -> None:
    """Revoking for key compromise reaches what is only intended: it is on the CRL although nobody ever had it."""
    story, serial = start(installation)
    complete = story.send(None)
    spki = sha256(rig.make_request(rig.WORKLOAD).spki).digest()
    revoked = revocation.revoke_key(installation, rig.OPERATOR, spki, RevocationReason.KEY_COMPROMISE)
    assert revoked.serials == (serial,)
    with pytest.raises(PolicyRefusal):
        installation.store.write(complete)  # type: ignore[arg-type]
    publish(installation)
    assert listed(installation) == {serial}
    abandon_all(installation)
    assert certificates.find(installation.store, serial).state == "revoked"


def test_an_intent_that_slipped_in_beside_a_block_is_revoked(installation: Installation) -> None:
    """An intent that was committed just behind the block of its key was perhaps signed: given up, it is revoked."""
    spki = sha256(rig.make_request(rig.WORKLOAD).spki).digest()
    story = issuing(rig.decide(installation), installation)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recording.Draft, "_guard", lambda *_: None)  # it looked before the block was committed
        intend = next(story)
        revocation.revoke_key(installation, rig.OPERATOR, spki, RevocationReason.KEY_COMPROMISE)
        installation.store.write(intend)  # type: ignore[arg-type]
    with pytest.raises(PolicyRefusal):
        installation.store.write(story.send(None))  # type: ignore[arg-type]
    (intent,) = rows(installation.store, Intent)
    abandon_all(installation)
    assert certificates.find(installation.store, intent.serial).state == "revoked"
