"""The ledger: appended with the change, numbered without gaps, one tree over all replicas, its heads signed."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from sqlalchemy import delete, select
from sqlmodel import col

from ca import clock
from ca.installation import Installation
from ca.ledger import log
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.reconcile import audit
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store, Transaction, open_store
from tests import rig
from tests.ca.world import count, outside, replica, rows
from tests.conftest import fresh_database


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162 section 2.1.1, as the RFC writes it: an implementation that shares nothing with ours."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256(b"").digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def note(place: int | str) -> object:
    """A unit that appends one entry."""
    return lambda tx: log.append(tx, "noted", f"note-{place}", "test", place=place)


def leaves_of(store: Store) -> list[bytes]:
    """The leaf hashes in the order of the tree, recomputed from what the entries say."""
    with outside(store) as connection:
        numbered = select(LedgerEntry).where(col(LedgerEntry.position).is_not(None))
        found = connection.execute(numbered.order_by(col(LedgerEntry.position))).all()
    assert [row.position for row in found] == list(range(len(found)))
    return [sha256(b"\x00" + row.body).digest() for row in found]


def check_heads(installation: Installation) -> list[Head]:
    """Every stored head, opened with the verifier that was handed out and held against the tree by the RFC."""
    verifier = Verifier.parse(str(installation.ledger.verifier))
    heads = [open_head(row.checkpoint, verifier) for row in rows(installation.store, LedgerHead)]
    leaves = leaves_of(installation.store)
    for head in heads:
        assert head.root == tree_root(leaves[: head.size])
        assert head.origin == installation.ledger.origin
    return sorted(heads, key=lambda head: head.size)


@pytest.fixture
def bare(any_store: Store) -> Installation:
    """An installation whose ledger is empty, on each engine in turn."""
    return rig.make_installation(any_store, with_hierarchy=False)


def test_an_entry_is_appended_with_its_change(bare: Installation) -> None:
    """It waits until it is numbered; a unit that fails leaves none; what it says is JSON in one form."""
    bare.store.write(note("first"))  # type: ignore[arg-type]

    def failing(tx: Transaction) -> None:
        log.append(tx, "noted", "never", "test")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bare.store.write(failing)
    (row,) = rows(bare.store, LedgerEntry)
    assert row.position is None
    assert row.leaf_hash == sha256(b"\x00" + row.body).digest()
    body = json.loads(row.body)
    assert row.body == json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert (body["action"], body["subject"], body["by"]) == ("noted", "note-first", "test")
    assert abs(body["at"] - clock.timestamp()) <= 5
    assert (bare.ledger.waiting(), bare.ledger.head()) == (1, None)


def test_entries_are_numbered_in_their_order(bare: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions are gapless and follow the order of appending; every page ends in a signed head."""
    monkeypatch.setattr(log, "_WAITING", log._WAITING.limit(5))
    for place in range(13):
        bare.store.write(note(place))  # type: ignore[arg-type]
    assert bare.ledger.sequence() == 13
    assert bare.ledger.sequence() == 0
    found = sorted(rows(bare.store, LedgerEntry), key=lambda row: row.position)
    assert [row.subject for row in found] == [f"note-{place}" for place in range(13)]
    assert [head.size for head in check_heads(bare)] == [5, 10, 13]
    head = bare.ledger.head()
    assert head is not None
    assert (head.size, bare.ledger.waiting()) == (13, 0)


def test_gaps_in_the_ids_are_no_gaps_in_the_tree(bare: Installation) -> None:
    """Ids that a failed transaction has used up, or rows that came late, leave the positions gapless."""
    for turn in range(4):
        for place in range(4):
            bare.store.write(note(f"{turn}-{place}"))  # type: ignore[arg-type]
        with outside(bare.store) as connection:  # two are taken out before anybody has numbered them
            waiting = select(col(LedgerEntry.id)).where(col(LedgerEntry.position).is_(None))
            ids = sorted(connection.execute(waiting).scalars())
            connection.execute(delete(LedgerEntry).where(col(LedgerEntry.id).in_([ids[0], ids[2]])))
        assert bare.ledger.sequence() == 2
    assert [head.size for head in check_heads(bare)] == [2, 4, 6, 8]


def test_heads_continue_over_a_restart(bare: Installation) -> None:
    """The right edge that is stored with a head is all that the next one needs, at every size."""
    for place in range(20):
        bare.store.write(note(place))  # type: ignore[arg-type]
        assert replica(bare, bare.store).ledger.sequence() == 1
    assert [head.size for head in check_heads(bare)] == list(range(1, 21))


def test_two_replicas_make_one_tree(postgresql: str) -> None:
    """Two PostgreSQL replicas that append and number at full speed make one gapless tree with valid heads."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    first = rig.make_installation(stores[0])
    both = [first, replica(first, stores[1])]
    stop = threading.Event()

    def number(installation: Installation) -> int:
        total = 0
        while not stop.is_set():
            total += installation.ledger.sequence()
        return total

    try:
        with ThreadPoolExecutor(10) as threads:
            numbering = [threads.submit(number, installation) for installation in both]
            decisions = [rig.decide(first) for _ in range(240)]
            list(threads.map(lambda d: rig.issuance.issue(d[1], both[d[0] % 2]), enumerate(decisions)))
            stop.set()
            numbered = sum(future.result() for future in numbering) + first.ledger.sequence()
        assert numbered == count(stores[0], LedgerEntry)
        heads = check_heads(both[1])
        assert heads[-1].size == numbered
        assert len(heads) > 5
        assert audit(stores[1], first.ledger.verifier, kept=heads[len(heads) // 2]).findings == []
    finally:
        for store in stores:
            store.close()
