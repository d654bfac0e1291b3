"""What somebody who can write to the database would do to the ledger: carelessly, or covering his tracks.

He can change every row, recompute every hash and shift every position. He cannot sign heads, and he cannot change the
head, or the export of leaf hashes, that somebody keeps elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlmodel import col

from ca.ledger.log import encode
from ca.ledger.merkle import leaf_hash
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store
from tests.ca.world import outside

PLACE = col(LedgerEntry.position)
FAR = 1_000_000
FORGED = {"action": "crl-published", "at": 1, "by": "system:crl", "subject": "issuing-1", "number": 7}


@dataclass(frozen=True)
class Attack:
    """One thing done to the tree. `exact` where its traces name the place even without a kept export."""

    name: str
    apply: Callable[[Connection, int], None]
    exact: bool


def _entry(attacker: Connection, position: int) -> Any:
    return attacker.execute(select(LedgerEntry).where(position == PLACE)).one()


def _set(attacker: Connection, at: int, **values: Any) -> None:
    attacker.execute(update(LedgerEntry).where(at == PLACE).values(**values))


def _shift(attacker: Connection, start: int, by: int) -> None:
    """Move everything from `start` on, in two steps because positions are unique."""
    attacker.execute(update(LedgerEntry).where(start <= PLACE).values(position=PLACE + FAR))
    attacker.execute(update(LedgerEntry).where(FAR <= PLACE).values(position=PLACE - FAR + by))


def _edited(attacker: Connection, position: int) -> bytes:
    return bytes(_entry(attacker, position).body).replace(b'"by":"', b'"by":"evil-')


def edit_body(attacker: Connection, position: int) -> None:
    """Change what an entry says."""
    _set(attacker, position, body=_edited(attacker, position))


def edit_body_and_hash(attacker: Connection, position: int) -> None:
    """The same, and recompute its hash."""
    body = _edited(attacker, position)
    _set(attacker, position, body=body, leaf_hash=leaf_hash(body))


def edit_hash(attacker: Connection, position: int) -> None:
    """Change the stored hash alone."""
    _set(attacker, position, leaf_hash=b"\0" * 32)


def edit_subject(attacker: Connection, position: int) -> None:
    """File an entry under another subject, so that nobody finds it."""
    _set(attacker, position, subject="elsewhere")


def destroy_body(attacker: Connection, position: int) -> None:
    """Overwrite an entry with noise."""
    _set(attacker, position, body=b"\xff\xfe not JSON")


def remove(attacker: Connection, position: int) -> None:
    """Delete an entry."""
    attacker.execute(delete(LedgerEntry).where(position == PLACE))


def remove_and_close_up(attacker: Connection, position: int) -> None:
    """Delete an entry and close the gap."""
    remove(attacker, position)
    _shift(attacker, position + 1, -1)


def swap_contents(attacker: Connection, position: int) -> None:
    """Exchange what two neighbours say, and leave their hashes."""
    one, other = _entry(attacker, position), _entry(attacker, position + 1)
    for place, row in ((position, other), (position + 1, one)):
        _set(attacker, place, body=row.body, subject=row.subject)


def swap_places(attacker: Connection, position: int) -> None:
    """Exchange the positions of two neighbours: each is as it was, only not where it was."""
    _set(attacker, position, position=FAR)
    _set(attacker, position + 1, position=position)
    _set(attacker, FAR, position=position + 1)


def insert_roughly(attacker: Connection, position: int) -> None:
    """Put an entry in the middle, shift the rest, and forget about the hash."""
    _shift(attacker, position, 1)
    row = {"subject": "issuing-1", "body": encode(FORGED), "leaf_hash": b"\0" * 32, "position": position}
    attacker.execute(insert(LedgerEntry).values(**row))


def insert_neatly(attacker: Connection, position: int) -> None:
    """Put an entry in the middle, with the right hash, and shift the rest."""
    insert_roughly(attacker, position)
    _set(attacker, position, leaf_hash=leaf_hash(encode(FORGED)))


def cut(attacker: Connection, position: int) -> None:
    """Delete everything from a position on."""
    attacker.execute(delete(LedgerEntry).where(position <= PLACE))
    attacker.execute(delete(LedgerEntry).where(PLACE.is_(None)))


NAIVE = [
    Attack("body edited", edit_body, exact=True),
    Attack("hash edited", edit_hash, exact=True),
    Attack("subject edited", edit_subject, exact=True),
    Attack("body destroyed", destroy_body, exact=True),
    Attack("entry deleted", remove, exact=True),
    Attack("contents swapped", swap_contents, exact=True),
    Attack("entry inserted, hash missing", insert_roughly, exact=True),
    Attack("tail cut, heads left", cut, exact=True),
]
CAREFUL = [
    Attack("body edited, hash recomputed", edit_body_and_hash, exact=False),
    Attack("entry deleted, gap closed", remove_and_close_up, exact=False),
    Attack("entries swapped", swap_places, exact=False),
    Attack("entry inserted, hash computed", insert_neatly, exact=False),
    Attack("tail cut", cut, exact=True),
]


def attack(store: Store, what: Attack, position: int, *, forget_heads: bool) -> None:
    """Do it; with `forget_heads`, delete every head that would tell, too."""
    with outside(store) as attacker:
        what.apply(attacker, position)
        if forget_heads:
            attacker.execute(delete(LedgerHead).where(col(LedgerHead.size) > position))
