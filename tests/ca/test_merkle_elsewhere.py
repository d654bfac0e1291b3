"""Another library's Merkle tree (pymerkle, which the product does not use) comes to our heads and takes our proofs.

`tests/peers/test_tlog.py` asks the reference implementation, in Go, about signed heads, consistency and tiles, too.
"""

from __future__ import annotations

import pytest
from pymerkle import InclusionProof, InmemoryTree, InvalidProof, verify_inclusion
from pymerkle.core import _inclusion_path_layout

from ca.installation import Installation
from ca.ledger import log, proving
from ca.ledger.checkpoint import open_head
from ca.store import Transaction

ENTRIES = 70
"""Beyond a power of two, so that trees of every shape below it are asked about."""


@pytest.fixture
def filled(installation: Installation) -> Installation:
    """An installation whose ledger has a signed head at each of many sizes."""
    for place in range(ENTRIES):

        def unit(tx: Transaction, place: int = place) -> None:
            log.append(tx, "noted", f"note-{place}", "test", text="ä € \u2028 \\ /")

        installation.store.write(unit)
        installation.ledger.sequence()
    return installation


def theirs(proof: proving.Proof, inclusion: list[bytes], leaf: bytes) -> InclusionProof:
    """A proof of ours as they have it: with the leaf's own hash first, counted from one, its shape theirs."""
    rule, _ = _inclusion_path_layout(proof.position + 1, proof.size)
    return InclusionProof("sha256", True, proof.size, proof.position + 1, rule, [leaf, *inclusion])


def test_it_comes_to_our_heads_and_takes_our_proofs(filled: Installation) -> None:
    """RFC 9162 2.1: the root over the entries as they are written, and the way from each of them to it."""
    size = proving.prove_consistency(filled.store, 1).new
    tree, proofs = InmemoryTree(algorithm="sha256"), [proving.prove_entry(filled.store, n) for n in range(size)]
    for proof in proofs:
        tree.append_entry(proof.entry)
    heads = 0
    for at in range(1, size + 1):
        kept = proving.prove_consistency(filled.store, 0, at).checkpoint
        if kept is not None:
            heads += 1
            assert open_head(kept, filled.ledger.verifier).root == tree.get_root(at)
    assert heads >= ENTRIES
    for proof in proofs:
        leaf, root = tree.get_leaf(proof.position + 1), tree.get_root(proof.size)
        good = theirs(proof, list(proof.inclusion), leaf)
        verify_inclusion(leaf, root, good, index=proof.position + 1, size=proof.size)
        for bad in (
            theirs(proof, [bytes(32), *proof.inclusion[1:]], leaf),
            theirs(proof, list(proof.inclusion)[:-1], leaf),
        ):
            with pytest.raises(InvalidProof):
                verify_inclusion(leaf, root, bad)
