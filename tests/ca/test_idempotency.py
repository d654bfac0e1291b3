"""Idempotency keys: the same key and request get the same certificate, however often, however many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from ca import certificates, clock, enrolment, issuance, recording, revocation
from ca.enrolment import Wish
from ca.errors import Conflict, PolicyRefusal
from ca.installation import Installation
from ca.issuance import Issued, issuing
from ca.models import Answer, Certificate, Intent
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import count, entries, perform, replica, rows, url_of

THREADS = 32
ON_SQLITE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
"""For what has nothing to do with the engine."""


@pytest.fixture
def installation(any_store: Store) -> Installation:
    """A root and an issuing CA, on each engine in turn."""
    return rig.make_installation(any_store)


@pytest.fixture
def replicas(installation: Installation) -> Iterator[list[Installation]]:
    """One process on SQLite, two on PostgreSQL."""
    if not installation.store.is_shared:
        yield [installation]
        return
    second = open_store(url_of(installation.store))
    yield [installation, replica(installation, second)]
    second.close()


def make(installation: Installation, key: str = "key", **choices: Any) -> Issued:
    """One certificate under an idempotency key."""
    return rig.issue(installation, idempotency_key=key, **choices)


def test_the_same_request_gets_the_same_certificate(installation: Installation) -> None:
    """A repeated request is answered with what it was answered before, and nothing else happens."""
    first = make(installation)
    ledger = len(entries(installation.store))
    again = [make(installation) for _ in range(3)]
    assert not first.is_repeat
    assert all(repeat.is_repeat for repeat in again)
    fields = ("serial", "certificate", "chain", "authority", "profile", "not_before", "not_after")
    assert {tuple(getattr(one, name) for name in fields) for one in (first, *again)} == {
        tuple(getattr(first, name) for name in fields)
    }
    assert len(entries(installation.store)) == ledger
    assert count(installation.store, Intent) == 0


def test_a_repeat_comes_later_and_after_a_restart(store_url: str) -> None:
    """Hours later, from a new process, when the certificate was even revoked: the same answer, never a second one."""
    store = open_store(store_url)
    installation = rig.make_installation(store)
    first = make(installation)
    revocation.revoke(installation, rig.ADMIN, first.serial, RevocationReason.SUPERSEDED)
    store.close()
    reopened = open_store(store_url)
    try:
        with clock.pinned(clock.now() + timedelta(hours=23)):
            assert make(replica(installation, reopened)).certificate == first.certificate
    finally:
        reopened.close()


def test_many_at_once_get_one_certificate(replicas: list[Installation]) -> None:
    """32 threads, on PostgreSQL over two replicas, ten times over: one certificate a key, and everybody gets it."""
    before = count(replicas[0].store, Certificate)
    for turn in range(10):
        decisions = [rig.decide(replicas[0], idempotency_key=f"key-{turn}") for _ in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as threads:
            places = [replicas[place % len(replicas)] for place in range(THREADS)]
            issued = list(threads.map(issuance.issue, decisions, places))
        assert len({one.certificate for one in issued}) == 1
        assert sum(not one.is_repeat for one in issued) == 1
    assert count(replicas[0].store, Certificate) == before + 10
    assert count(replicas[0].store, Answer) == 10
    assert count(replicas[0].store, Intent) == 0


def test_many_coroutines_get_one_certificate(installation: Installation) -> None:
    """The same for coroutines of one event loop."""
    decisions = [rig.decide(installation, idempotency_key="key") for _ in range(THREADS)]

    async def all_at_once() -> list[Issued]:
        return await asyncio.gather(*(issuance.aissue(decision, installation) for decision in decisions))

    issued = asyncio.run(all_at_once())
    assert len({one.certificate for one in issued}) == 1
    assert sum(not one.is_repeat for one in issued) == 1


def other_names(installation: Installation) -> None:
    """Ask for a second name."""
    rig.issue(installation, rig.WORKLOAD, "api.payments.svc.example.internal", idempotency_key="key")


def other_lifetime(installation: Installation) -> None:
    """Ask for an hour."""
    make(installation, lifetime=timedelta(hours=1))


def other_profile(installation: Installation) -> None:
    """Ask for the same names under another profile, for as long."""
    make(installation, profile="ephemeral", lifetime=timedelta(hours=12))


def other_key(installation: Installation) -> None:
    """Bring another key."""
    rig.issue(installation, key=rig.pooled_key(place=1), idempotency_key="key")


def renewal(installation: Installation) -> None:
    """Renew a certificate instead of asking for a new one."""
    stored = certificates.find(installation.store, make(installation, "another").serial)
    request = rig.make_request(rig.WORKLOAD)
    wish = Wish(idempotency_key="key")
    issuance.issue(enrolment.authorise_renewal(installation, rig.OPERATOR, stored, request, wish), installation)


@ON_SQLITE
@pytest.mark.parametrize("ask", [other_names, other_lifetime, other_profile, other_key, renewal])
def test_a_different_request_is_a_mismatch(installation: Installation, ask: Callable[[Installation], None]) -> None:
    """Another question under a used key is told so, and is neither answered with the old certificate nor a new one."""
    make(installation, lifetime=timedelta(hours=12))
    before = count(installation.store, Certificate) + (ask is renewal)
    with pytest.raises(Conflict) as caught:
        ask(installation)
    assert caught.value.code == "idempotency-mismatch"
    assert count(installation.store, Certificate) == before


@ON_SQLITE
def test_another_subject_is_a_different_request(installation: Installation) -> None:
    """Two OCSP responders with different subjects are two requests, although key and lifetime are the same."""
    request = rig.make_request()

    def ask(subject: str) -> Issued:
        wish = Wish(subject=rig.common_name(subject), idempotency_key="key")
        decision = enrolment.authorise_issue(installation, rig.ADMIN, "ocsp-signer", request, wish)
        return issuance.issue(decision, installation)

    ask("Responder of the north")
    with pytest.raises(Conflict):
        ask("Responder of the south")


@ON_SQLITE
def test_callers_do_not_share_keys(installation: Installation) -> None:
    """The same key and request of two callers are two certificates: nobody gets, or blocks, what belongs to another."""
    names = {"profile": "mesh", "idempotency_key": "key"}
    mine = rig.issue(installation, caller=rig.OPERATOR, **names)
    theirs = rig.issue(installation, caller=rig.REQUESTER, **names)
    assert mine.serial != theirs.serial
    assert not theirs.is_repeat
    assert rig.issue(installation, caller=rig.REQUESTER, **names).serial == theirs.serial


@ON_SQLITE
def test_a_refusal_uses_no_key_up(installation: Installation) -> None:
    """A request that was refused may be mended and sent again under its key."""
    with pytest.raises(PolicyRefusal):
        rig.issue(installation, "spiffe://elsewhere.example/ns/a/sa/b", idempotency_key="key")
    assert not make(installation).is_repeat


def test_a_twin_in_progress_is_waited_for(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first is being answered its twin waits, gets the same, and after a while is told to come back."""
    story = issuing(rig.decide(installation, idempotency_key="key"), installation)
    installation.store.write(next(story))  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(issuance, "WAIT_FOR_TWIN", 0.05)
        with pytest.raises(Conflict) as caught:
            make(installation)
    assert caught.value.code == "in-progress"
    with ThreadPoolExecutor(1) as threads:
        twin = threads.submit(make, installation)
        time.sleep(0.1)
        assert not twin.done()
        installation.store.write(story.send(None))  # type: ignore[arg-type]
        with pytest.raises(StopIteration) as end:
            story.send(None)
        assert twin.result(60).serial == end.value.value.serial


def test_giving_up_an_intent_frees_its_key(installation: Installation) -> None:
    """When the first answer never came, the key is good for a new certificate, with another serial number."""
    assert perform(issuing(rig.decide(installation, idempotency_key="key"), installation), installation, 1) is None
    (abandoned,) = [row.serial for row in rows(installation.store, Answer)]
    recording.abandon_intents(installation.store, older_than=clock.timestamp() + 1)
    issued = make(installation)
    assert not issued.is_repeat
    assert issued.serial != abandoned
    assert make(installation).serial == issued.serial
