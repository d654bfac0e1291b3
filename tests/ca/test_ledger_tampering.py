"""The ledger against somebody who can write to the database: what he did is found, and named as exactly as can be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, select, update
from sqlmodel import col

from ca import revocation
from ca.errors import BadRequest
from ca.installation import Installation
from ca.ledger import log
from ca.ledger.checkpoint import Head, open_head, sign_head
from ca.ledger.reconcile import audit
from ca.ledger.verify import Report
from ca.models import LedgerEntry, LedgerHead
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.tampering import CAREFUL, NAIVE, Attack, attack, cut
from tests.ca.test_ledger import leaves_of, tree_root
from tests.ca.world import count, outside, publish, rows


@dataclass
class Kept:
    """A ledger with heads at several sizes, and what somebody keeps elsewhere: one head, an export of the leaves."""

    installation: Installation
    head: Head
    leaves: dict[int, bytes]
    sizes: list[int]
    target: int
    """The position of a CRL's entry, which no table knows; so is the one behind it."""

    def audit(self, *, with_leaves: bool = False) -> Report:
        """Audit against the kept head and, if wanted, the export."""
        leaves = self.leaves if with_leaves else None
        installation = self.installation
        return audit(installation.store, installation.ledger.verifier, kept=self.head, kept_leaves=leaves)


@pytest.fixture
def kept(store: Store) -> Kept:
    """Five heads; the kept one is the fourth, the target lies between the second and the third."""
    installation = rig.make_installation(store)
    installation.ledger.sequence()
    heads = []
    target = 0
    for turn in range(5):
        issued = [rig.issue(installation) for _ in range(2)]
        if turn == 2:
            revocation.revoke(installation, rig.OPERATOR, issued[0].serial, RevocationReason.SUPERSEDED)
            target = len(publish(installation)) - 2 + count(store, LedgerEntry) - 2
        rig.issue(installation)
        installation.ledger.sequence()
        row = installation.ledger.head()
        assert row is not None
        heads.append(open_head(row.checkpoint, installation.ledger.verifier))
    for _ in range(2):
        rig.issue(installation)
    result = Kept(installation, heads[3], dict(enumerate(leaves_of(store))), [head.size for head in heads], target)
    assert result.audit(with_leaves=True).findings == []
    assert result.sizes[1] < target < result.sizes[2] - 1
    return result


def named_places(report: Report) -> range:
    """The places that the first finding names: one, or a range of them."""
    first = report.first
    assert first is not None
    assert first.position is not None
    between = re.search(r"from (\d+) to (\d+)", first.message)
    if between is None or first.kind == "lost":
        return range(first.position, first.position + 1)
    assert int(between[1]) == first.position
    return range(int(between[1]), int(between[2]) + 1)


def cases(attacks: Sequence[Attack]) -> list[Any]:
    """Attacks as parameters."""
    return [pytest.param(one, id=one.name) for one in attacks]


@pytest.mark.parametrize("what", cases(NAIVE))
def test_careless_tampering_is_named_exactly(kept: Kept, what: Attack) -> None:
    """Who leaves a trace in the tree itself is found at the very entry, with no more than one head kept elsewhere."""
    attack(kept.installation.store, what, kept.target, forget_heads=False)
    report = kept.audit()
    assert not report.is_sound
    assert list(named_places(report)) == [kept.target]


@pytest.mark.parametrize("forget_heads", [False, True], ids=["heads left", "later heads deleted"])
@pytest.mark.parametrize("what", cases(CAREFUL))
def test_careful_tampering_is_found_between_two_heads(kept: Kept, what: Attack, forget_heads: bool) -> None:
    """Who recomputes hashes and positions is found, too: the first finding's range contains the place."""
    attack(kept.installation.store, what, kept.target, forget_heads=forget_heads)
    report = kept.audit()
    assert not report.is_sound
    places = named_places(report)
    assert kept.target in places
    last = kept.sizes[3] if forget_heads else kept.sizes[2]
    assert places == (range(kept.target, kept.target + 1) if what.exact else range(kept.sizes[1], last))


@pytest.mark.parametrize("forget_heads", [False, True], ids=["heads left", "later heads deleted"])
@pytest.mark.parametrize("what", cases(CAREFUL))
def test_a_kept_export_names_the_place(kept: Kept, what: Attack, forget_heads: bool) -> None:
    """Who also kept the leaf hashes is told the very entry, however carefully it was done."""
    attack(kept.installation.store, what, kept.target, forget_heads=forget_heads)
    report = kept.audit(with_leaves=True)
    assert list(named_places(report)) == [kept.target]


def test_a_tail_is_missed_as_far_as_anybody_knows(kept: Kept) -> None:
    """A tail that is cut with its heads is missed by the head that was kept; what came later, by the tables."""
    store = kept.installation.store
    with outside(store) as attacker:
        cut(attacker, kept.sizes[3])
        attacker.execute(delete(LedgerHead).where(col(LedgerHead.size) > kept.sizes[3]))
    report = kept.audit()
    assert {finding.kind for finding in report.findings} == {"added"}
    assert all("certificate" in finding.message for finding in report.findings)
    with outside(store) as attacker:
        cut(attacker, kept.sizes[3] - 1)
        attacker.execute(delete(LedgerHead).where(col(LedgerHead.size) >= kept.sizes[3]))
    first = kept.audit().first
    assert first is not None
    assert (first.kind, first.position) == ("lost", kept.sizes[3] - 1)


def test_another_history_that_our_own_key_signed_is_a_fork(kept: Kept) -> None:
    """A tail was cut, and the ledger went on to the very size that somebody has kept a head of."""
    installation = kept.installation
    size = kept.head.size
    with outside(installation.store) as attacker:
        cut(attacker, kept.sizes[2])
        attacker.execute(delete(LedgerHead).where(col(LedgerHead.size) > kept.sizes[2]))
    for number in range(size - kept.sizes[2]):
        installation.store.write(lambda tx, n=number: log.append(tx, "something-else", str(n), "test"))
    installation.ledger.sequence()
    report = kept.audit()
    (found,) = [finding for finding in report.findings if finding.kind == "forked"]
    assert f"at size {size} it was signed twice" in found.message


def test_entries_that_nobody_signed_for_are_reported(kept: Kept) -> None:
    """An entry that was given a place without a head over it did not come from us."""
    with outside(kept.installation.store) as attacker:
        waiting = update(LedgerEntry).where(col(LedgerEntry.position).is_(None), col(LedgerEntry.subject) != "")
        first = (
            attacker.execute(select(col(LedgerEntry.id)).where(col(LedgerEntry.position).is_(None))).scalars().first()
        )
        attacker.execute(waiting.where(col(LedgerEntry.id) == first).values(position=kept.sizes[4]))
    found = kept.audit().first
    assert found is not None
    assert (found.kind, found.position) == ("added", kept.sizes[4])


@pytest.mark.parametrize("how", ["other key", "other root", "no checkpoint", "row differs"])
def test_forged_heads_are_reported(kept: Kept, how: str) -> None:
    """A head that our key did not sign, or that is not what was signed, is named as forged."""
    store, size = kept.installation.store, kept.sizes[2]
    (row,) = rows(store, LedgerHead, size=size)
    head = open_head(row.checkpoint, kept.installation.ledger.verifier)
    stranger = Ed25519PrivateKey.generate()
    changes = {
        "other key": {"checkpoint": sign_head(head, stranger)},
        "other root": {"checkpoint": row.checkpoint.replace(row.checkpoint.splitlines()[2][:8], "AAAAAAAA")},
        "no checkpoint": {"checkpoint": ""},
        "row differs": {"root": b"\0" * 32},
    }
    with outside(store) as attacker:
        attacker.execute(update(LedgerHead).where(col(LedgerHead.size) == size).values(**changes[how]))
    report = kept.audit()
    assert "forged-head" in {finding.kind for finding in report.findings}
    assert any(str(size) in finding.message for finding in report.findings)


def test_a_strangers_ledger_is_not_ours(kept: Kept) -> None:
    """A whole ledger that was made anew, entries and signed heads, does not pass for the one whose head was kept."""
    with pytest.raises(BadRequest):
        open_head(sign_head(kept.head, Ed25519PrivateKey.generate()), kept.installation.ledger.verifier)
    attack(kept.installation.store, CAREFUL[0], kept.target, forget_heads=True)
    leaves = leaves_of(kept.installation.store)
    own = kept.installation.keys.load("ledger")  # worse: he has even got our key
    assert isinstance(own, Ed25519PrivateKey)
    for size in kept.sizes[2:]:
        forged = Head(kept.installation.ledger.origin, size, tree_root(leaves[:size]))
        with outside(kept.installation.store) as attacker:
            values = {"size": size, "root": forged.root, "edge": b"", "signed_at": 1}
            attacker.execute(LedgerHead.__table__.insert().values(checkpoint=sign_head(forged, own), **values))  # type: ignore[attr-defined]
    assert audit(kept.installation.store, kept.installation.ledger.verifier).is_sound, "without a kept head he wins"
    assert "forked" in {finding.kind for finding in kept.audit().findings}
