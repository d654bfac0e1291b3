"""Lists against tables: sound through a whole life of holds, releases and expiry; and what was changed is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import col

from ca import certificates, clock, completeness, crl, delta, holding, retention, revocation, unrecorded
from ca.crl import COMPLETE, CrlPolicy
from ca.installation import Installation
from ca.models import DeltaList, Revocation, RevocationList, RevocationListContent
from ca.signing import seal_list
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason, ToBeSignedList, entries_of, entry, read_entries
from tests import rig
from tests.ca.test_unrecorded import signed
from tests.ca.world import outside, publish

SUPERSEDED = RevocationReason.SUPERSEDED


def publish_all(installation: Installation) -> None:
    publish(installation)
    delta.publish_due(installation, CrlPolicy())


def findings(installation: Installation) -> list[str]:
    """Everything that is wrong."""
    return [message for found in completeness.check_all(installation) for message in found.findings]


def test_a_whole_life_is_sound(any_store: Store) -> None:
    """Whatever is done, after each step, published or not yet: nothing is found that is not wrong."""
    installation = rig.make_installation(any_store)
    chance, issued, now = Random(7), list[str](), clock.now()
    for turn in range(60):
        now += (passed := timedelta(minutes=chance.choice((0, 1, 90, 300))))
        with clock.pinned(now):
            if passed > timedelta(minutes=1):  # what waits does not wait for hours
                publish_all(installation)
            found = {one.serial: one for one in certificates.find_many(any_store, issued)}
            alive = [one for one in issued if one in found and found[one].not_after >= clock.timestamp()]
            states = {one: found[one].state for one in alive}
            act = chance.random()
            if act < 0.45 or not alive:
                lifetime = timedelta(hours=chance.choice((1, 6, 24)))
                issued.append(rig.issue(installation, lifetime=lifetime).serial)
            elif (chosen := chance.choice(alive)) and states[chosen] == "held":
                (holding.release if chance.random() < 0.6 else taken_back)(installation, rig.OPERATOR, chosen)
            elif states[chosen] == "valid":
                (holding.hold if act < 0.8 else taken_back)(installation, rig.OPERATOR, chosen)
            elif turn % 3 == 0:
                stranger = signed(installation, 1000 + turn, shard=chance.choice((None, 1)), lasts=timedelta(hours=2))
                unrecorded.revoke(installation, rig.ADMIN, stranger, SUPERSEDED)
            assert findings(installation) == [], turn
            if chance.random() < 0.5:
                publish_all(installation)
                if chance.random() < 0.3:
                    retention.prune_certificates(installation, timedelta(hours=2))
                assert findings(installation) == [], turn
    with clock.pinned(now):
        publish_all(installation)
        every = list(completeness.check_all(installation))
    assert [one.authority for one in every if one.shard == COMPLETE] == ["root-1", "issuing-1"]
    assert len(every) == 4 + 2 + 2
    assert sum(one.entries for one in every) >= 5


def taken_back(installation: Installation, caller: Any, serial: str) -> None:
    revocation.revoke(installation, caller, serial, SUPERSEDED)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, list[str]]]:
    """Revoked, held, released certificates; all lists made a while ago."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('lists')}/certwright.db")
    installation = rig.make_installation(store)
    publish_all(installation)
    issued = [rig.issue(installation).serial for _ in range(8)]
    for serial in issued[:4]:
        taken_back(installation, rig.OPERATOR, serial)
    for serial in issued[4:7]:
        holding.hold(installation, rig.OPERATOR, serial)
    holding.release(installation, rig.OPERATOR, issued[6])
    unrecorded.revoke(installation, rig.ADMIN, signed(installation), SUPERSEDED)
    publish_all(installation)
    assert findings(installation) == []
    yield installation, issued
    store.close()


Change = Callable[[list[tuple[int, int, int]]], list[tuple[int, int, int]]]


def rewritten(installation: Installation, shard: int, change: Change) -> bytes:
    """A list with other entries, signed by the CA's own key all the same."""
    issuer = installation.authorities.issuer("issuing-1")
    row = crl.load(installation, "issuing-1", shard) if shard != delta.DELTA else delta.load(installation, "issuing-1")
    assert row is not None
    entries = change(list(read_entries(entries_of(row.crl))))
    unsigned = ToBeSignedList(
        algorithm=issuer.scheme.identifier,
        issuer=issuer.subject,
        this_update=row.this_update,
        next_update=row.next_update,
        entries=b"".join(entry(*one) for one in entries),
        number=row.number,
        key_identifier=issuer.facts.key_identifier,
        distribution_point=None,
    )
    return seal_list(unsigned.encode(), issuer)


def put(installation: Installation, shard: int, crl_: bytes, *, digest: bool = True) -> None:
    """In the place of what is served."""
    authority_id = installation.authorities.get("issuing-1").id
    values: dict[str, Any] = {"sha256": sha256(crl_).digest()} if digest else {}
    with outside(installation.store) as connection:
        if shard == delta.DELTA:
            connection.execute(
                update(DeltaList).where(col(DeltaList.authority_id) == authority_id).values(crl=crl_, **values)
            )
            return
        tables = (RevocationListContent, {"crl": crl_}), (RevocationList, values)
        for table, what in tables:
            where = col(table.authority_id) == authority_id, col(table.shard) == shard
            if what:
                connection.execute(update(table).where(*where).values(**what))


CHANGES: dict[str, tuple[Change, str]] = {
    "one is not there": (lambda found: found[1:], "does not stand there"),
    "one too many": (lambda found: [*found, (0xBAD, 1_700_000_000, 4)], "bad stands there, and is not revoked"),
    "another reason": (lambda found: [(found[0][0], found[0][1], 1), *found[1:]], "another time or reason"),
    "another time": (lambda found: [(found[0][0], found[0][1] + 1, found[0][2]), *found[1:]], "another time or reason"),
    "one twice": (lambda found: [found[0], *found], "twice"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("of", ["shard", "complete", "delta"])
def test_what_was_changed_is_found(past: tuple[Installation, list[str]], of: str, what: str) -> None:
    """An entry that is missing, made up, or says something else; on each kind of list."""
    installation, issued = past
    first = certificates.find(installation.store, issued[0]).shard or 0
    shard = {"shard": first, "complete": COMPLETE, "delta": delta.DELTA}[of]
    change, message = CHANGES[what]
    row = crl.load(installation, "issuing-1", shard) if of != "delta" else delta.load(installation, "issuing-1")
    assert row is not None
    try:
        put(installation, shard, rewritten(installation, shard, change))
        found = findings(installation)
        assert len(found) == 1, found
        assert message in found[0]
    finally:
        put(installation, shard, row.crl)
    assert findings(installation) == []


def test_bytes_that_nobody_signed_are_found(past: tuple[Installation, list[str]]) -> None:
    """Garbage; a signature by another key; bytes that are not those that were published."""
    installation, _ = past
    row = crl.load(installation, "issuing-1", COMPLETE)
    assert row is not None
    broken = bytearray(row.crl)
    broken[-1] ^= 1
    for bytes_, message in ((b"garbage", "cannot be read"), (bytes(broken), "not by the CA's key")):
        try:
            put(installation, COMPLETE, bytes_)
            assert any(message in one for one in findings(installation)), findings(installation)
        finally:
            put(installation, COMPLETE, row.crl)
    try:
        put(installation, COMPLETE, rewritten(installation, COMPLETE, lambda found: found), digest=False)
        assert any("not those that were published" in one for one in findings(installation))
    finally:
        put(installation, COMPLETE, row.crl)
    assert findings(installation) == []


def test_rows_behind_everybodys_back_are_found(past: tuple[Installation, list[str]]) -> None:
    """A revocation that was taken out of the table, or marked as if it had left; one that was released in secret."""
    installation, issued = past
    of_it = col(Revocation.serial) == issued[0]
    with outside(installation.store) as connection:
        kept = connection.execute(Revocation.__table__.select().where(of_it)).mappings().one()  # type: ignore[attr-defined]
        connection.execute(delete(Revocation).where(of_it))
    found = findings(installation)
    assert len(found) == 3
    assert all(f"{issued[0]} stands there, and is not revoked" in one for one in found)
    with outside(installation.store) as connection:
        connection.execute(Revocation.__table__.insert(), dict(kept))  # type: ignore[attr-defined]
    assert findings(installation) == []


def test_a_list_that_waits_may_lack_what_is_young(installation: Installation) -> None:
    """For ten minutes, and not for longer: then a revocation is published nowhere."""
    publish_all(installation)
    start = clock.now()
    with clock.pinned(start):
        taken_back(installation, rig.OPERATOR, rig.issue(installation).serial)
        assert findings(installation) == []
    with clock.pinned(start + timedelta(seconds=completeness.GRACE + 1)):
        found = findings(installation)
        assert len(found) == 2, "the shard and the complete list; the delta has not counted it yet"
        assert all("does not stand there" in one for one in found)
        publish_all(installation)
        assert findings(installation) == []
