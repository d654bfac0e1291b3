"""A head that is kept outside of the database: what it sees, what it keeps, and where it is silent."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, update
from sqlmodel import col

from ca.installation import Installation
from ca.ledger import log
from ca.ledger.checkpoint import open_head, sign_head
from ca.ledger.witness import HEAD_FILE, Witness
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store
from tests import rig
from tests.ca.world import outside

SIZES = range(1, 12)


@pytest.fixture
def ledger(any_store: Store) -> Installation:
    """An installation with a ledger of a few entries."""
    made = rig.make_installation(any_store)
    made.ledger.sequence()
    return made


def grow(made: Installation, count: int = 1, what: str = "something-done") -> int:
    """So many more entries under a head; its size."""
    made.store.write(lambda tx: [log.append(tx, what, str(number), "test") for number in range(count)] and None)
    made.ledger.sequence()
    head = made.ledger.head()
    assert head is not None
    return head.size


def cut(made: Installation, size: int) -> None:
    """Take everything away from there on."""
    with outside(made.store) as attacker:
        attacker.execute(delete(LedgerEntry).where(col(LedgerEntry.position) >= size))
        attacker.execute(delete(LedgerHead).where(col(LedgerHead.size) > size))


def witness(made: Installation, directory: Path) -> Witness:
    """That of a process which starts."""
    return Witness(made.store, made.ledger, directory / HEAD_FILE)


def size_of(one: Witness) -> int:
    """How large the ledger was that it keeps."""
    return max((kept.head.size for kept in one.kept()), default=0)


def test_it_follows_a_ledger_that_grows(ledger: Installation, tmp_path: Path) -> None:
    """By any number of entries; the file always holds the newest, for its owner alone."""
    one = witness(ledger, tmp_path)
    for count in SIZES:
        size = grow(ledger, count)
        assert one.look()
        assert size_of(one) == size
        text = (tmp_path / HEAD_FILE).read_text()
        assert open_head(text, ledger.ledger.verifier).size == size
    assert (tmp_path / HEAD_FILE).stat().st_mode & 0o777 == 0o600
    assert size_of(witness(ledger, tmp_path)) == size


@pytest.mark.parametrize("by", SIZES)
def test_any_cut_is_seen(ledger: Installation, tmp_path: Path, by: int) -> None:
    """And stays seen while the ledger goes on, shorter, as long and longer than it was; by the next process, too."""
    before = grow(ledger)
    grow(ledger, by)
    one = witness(ledger, tmp_path)
    assert one.look()
    cut(ledger, before)
    for _ in range(by + 2):
        assert not one.look()
        assert not witness(ledger, tmp_path).look()
        grow(ledger, what="something-else")
    assert size_of(one) == before + by


def test_a_head_that_was_told_elsewhere_is_one_more(ledger: Installation, tmp_path: Path) -> None:
    """The machine is gone with all that its process had seen; a directory on another one tells."""
    before = grow(ledger)
    grow(ledger, 3)
    row, told = ledger.ledger.head(), tmp_path / "told"
    assert row is not None
    assert Witness(ledger.store, ledger.ledger, tmp_path / HEAD_FILE, told).look(), "nobody has told any yet"
    (tmp_path / HEAD_FILE).unlink()
    told.write_text(row.checkpoint)
    cut(ledger, before)
    assert witness(ledger, tmp_path).look()
    (tmp_path / HEAD_FILE).unlink()
    one = Witness(ledger.store, ledger.ledger, tmp_path / HEAD_FILE, told)
    assert not one.look()
    assert size_of(one) == before + 3
    assert not (tmp_path / HEAD_FILE).exists()


def test_a_cut_of_everything_is_seen(ledger: Installation, tmp_path: Path) -> None:
    """A ledger without any head continues nothing."""
    one = witness(ledger, tmp_path)
    assert one.look()
    with outside(ledger.store) as attacker:
        attacker.execute(delete(LedgerHead))
    assert not one.look()


def test_a_head_that_nobody_signed_is_none(ledger: Installation, tmp_path: Path) -> None:
    """However large it says it is: neither from the database nor from the file."""
    one = witness(ledger, tmp_path)
    assert one.look()
    row = ledger.ledger.head()
    assert row is not None
    head = open_head(row.checkpoint, ledger.ledger.verifier)
    forged = sign_head(head, Ed25519PrivateKey.generate())
    (tmp_path / HEAD_FILE).write_text(forged)
    assert list(witness(ledger, tmp_path).kept()) == []
    with outside(ledger.store) as attacker:
        attacker.execute(update(LedgerHead).values(checkpoint=forged))
    assert not one.look()
    assert witness(ledger, tmp_path).look(), "who has seen nothing cannot say anything"
    assert (tmp_path / HEAD_FILE).read_text() == forged, "and keeps nothing of it"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a ledger\n1\nAAAA\n"])
def test_a_file_that_says_nothing_is_made_anew(ledger: Installation, tmp_path: Path, content: bytes) -> None:
    """A disk lost it."""
    (tmp_path / HEAD_FILE).write_bytes(content)
    assert witness(ledger, tmp_path).look()
    assert size_of(witness(ledger, tmp_path)) > 0


def test_a_directory_that_takes_nothing_is_made_up_for(ledger: Installation, tmp_path: Path) -> None:
    """What was seen is in memory, and is written as soon as that is possible, though nothing has grown since."""
    away = tmp_path / "away"
    one = witness(ledger, away)
    assert one.look()
    grow(ledger)
    assert one.look()
    away.mkdir()
    assert one.look()
    assert size_of(witness(ledger, away)) == size_of(one)
