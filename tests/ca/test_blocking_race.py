"""Row 55: issuing and blocking the same key at the same moment never leaves a live certificate with a blocked key."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from sqlalchemy import insert, select
from sqlmodel import col

from ca import issuance, revocation
from ca.enrolment import Decision
from ca.errors import PolicyRefusal
from ca.installation import Installation
from ca.keys.algorithms import KeyType, spki
from ca.models import BlockedKey, Certificate, Revocation
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import outside, replica, rows, until_it_waits
from tests.conftest import fresh_database

COMPROMISE = RevocationReason.KEY_COMPROMISE
ISSUERS = 3


@pytest.fixture
def replicas(postgresql: str) -> Iterator[list[Installation]]:
    """Two processes' worth of installation on one PostgreSQL database."""
    url = fresh_database(postgresql)
    stores = [open_store(url), open_store(url)]
    first = rig.make_installation(stores[0])
    yield [first, replica(first, stores[1])]
    for store in stores:
        store.close()


def live_with_blocked_key(store: Store) -> list[str]:
    """Serial numbers of signed certificates that are not revoked although their key is blocked, CAs apart."""
    query = (
        select(col(Certificate.serial))
        .join(BlockedKey, col(BlockedKey.spki_sha256) == col(Certificate.spki_sha256))
        .outerjoin(Revocation, col(Revocation.serial) == col(Certificate.serial))
        .where(col(Revocation.serial).is_(None), col(Certificate.signature).is_not(None))
        .where(col(BlockedKey.reason) != "authority")
    )
    with outside(store) as connection:
        return list(connection.execute(query).scalars())


def race(installations: list[Installation], rounds: int, often: int) -> tuple[int, int]:
    """Issue with one key from several threads while it is blocked; how many were issued and how many refused.

    After a minute of a slow disk fewer rounds are enough, if both ends were seen more than `often` times.
    """
    chance = random.Random(55)
    issued = refused = 0
    begun, span = time.monotonic(), spread(installations[0])
    with ThreadPoolExecutor(ISSUERS + 1) as threads:
        for _ in range(rounds):
            delays = [chance.random() * span for _ in range(ISSUERS + 1)]
            outcomes = one_round(threads, installations, delays)
            issued += outcomes.count(True)
            refused += outcomes.count(False)
            if time.monotonic() - begun > 60 and min(issued, refused) > often:
                break
    return issued, refused


def spread(installation: Installation) -> float:
    """Over how many seconds issuers and the block begin, so that either may be first: some issuances' time."""
    rig.issue(installation)  # the first one has more to load
    begun = time.monotonic()
    rig.issue(installation)
    return max(0.004, 3 * (time.monotonic() - begun))


def one_round(threads: ThreadPoolExecutor, installations: list[Installation], delays: list[float]) -> list[bool]:
    """One key, its issuers and its block, each after its delay; whether each issuer got a certificate."""
    key = KeyType.P256.generate()
    decisions = [rig.decide(installations[0], key=key) for _ in range(ISSUERS)]
    start = threading.Barrier(ISSUERS + 1)

    def attempt(place: int, decision: Decision) -> bool:
        start.wait()
        time.sleep(delays[place])
        try:
            issuance.issue(decision, installations[place % len(installations)])
        except PolicyRefusal:
            return False
        return True

    def block(digest: bytes) -> None:
        start.wait()
        time.sleep(delays[ISSUERS])
        revocation.revoke_key(installations[-1], rig.OPERATOR, digest, COMPROMISE)

    issuing = [threads.submit(attempt, place, decision) for place, decision in enumerate(decisions)]
    threads.submit(block, sha256(spki(key.public_key())).digest()).result()
    return [future.result() for future in issuing]


def test_no_live_certificate_has_a_blocked_key_on_sqlite(store: Store) -> None:
    """150 rounds in one process: what was issued is revoked, what came too late was refused."""
    issued, refused = race([rig.make_installation(store)], 150, 30)
    assert live_with_blocked_key(store) == []
    assert issued > 30, "the block was always first"
    assert refused > 30, "the block was always last"


def test_no_live_certificate_has_a_blocked_key_on_two_replicas(replicas: list[Installation]) -> None:
    """80 rounds over two replicas of one PostgreSQL database: the same holds across processes."""
    issued, refused = race(replicas, 80, 15)
    assert live_with_blocked_key(replicas[0].store) == []
    assert issued > 15, "the block was always first"
    assert refused > 15, "the block was always last"


def test_a_block_is_seen_by_the_other_replica_at_once(replicas: list[Installation]) -> None:
    """There is no cache in between: the first request after the block, wherever it arrives, is refused."""
    for turn in range(20):
        key = KeyType.P256.generate()
        assert rig.issue(replicas[turn % 2], key=key)
        digest = sha256(spki(key.public_key())).digest()
        revocation.revoke_key(replicas[turn % 2], rig.OPERATOR, digest, COMPROMISE)
        with pytest.raises(PolicyRefusal):
            rig.issue(replicas[1 - turn % 2], key=key)


def test_two_replicas_may_revoke_the_same_certificate(replicas: list[Installation]) -> None:
    """All that carries a key is revoked, although somebody else revokes one of these at the same moment."""
    issued = [rig.issue(replicas[0]) for _ in range(5)]
    digest = sha256(spki(rig.pooled_key().public_key())).digest()
    (stored,) = rows(replicas[0].store, Certificate, serial=issued[2].serial)
    theirs = {name: getattr(stored, name) for name in ("serial", "authority_id", "shard", "not_after")}
    with ThreadPoolExecutor(1) as threads:
        with outside(replicas[0].store) as connection:
            connection.execute(insert(Revocation).values(**theirs, reason=4, revoked_at=1, revoked_by="token:other"))
            ours = threads.submit(revocation.revoke_key, replicas[1], rig.OPERATOR, digest, COMPROMISE)
            until_it_waits(replicas[0].store)
        ours.result()
    assert live_with_blocked_key(replicas[0].store) == []
