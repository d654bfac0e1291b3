"""Somebody else's verifier reads our ledger: the reference implementation of notes, tree proofs and tiles, in Go.

It shares nothing with us but the specifications: c2sp.org/signed-note and tlog-checkpoint, RFC 9162 (as RFC 6962).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from ca.installation import Installation
from ca.ledger import log, proving
from ca.ledger.proving import Proof
from ca.store import Store, Transaction
from tests import peer, rig

ENTRIES = 300
"""More than a tile of 256."""


@pytest.fixture
def filled(store: Store) -> Installation:
    """An installation with some entries, a head over the first few, and one over all."""
    installation = rig.make_installation(store)
    rig.issue(installation)
    installation.ledger.sequence()

    def unit(tx: Transaction) -> None:
        for place in range(ENTRIES):
            log.append(tx, "noted", f"note-{place}", "test", text="ä € \u2028 \\ /")

    store.write(unit)
    installation.ledger.sequence()
    return installation


def asked(questions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the verifier says to each question."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = peer.run(peer.require("tlog-check"), stdin=lines.encode())
    assert done.returncode == 0, done.stderr
    answers = done.stdout.decode().splitlines()
    assert len(answers) == len(questions)
    return answers


def question(installation: Installation, proof: Proof, kept: str = "") -> dict[str, Any]:
    """A proof as the verifier reads it."""
    return {
        "verifier": str(installation.ledger.verifier),
        "head": proof.checkpoint,
        "entry": proof.entry.decode(),
        "position": proof.position,
        "inclusion": [one.hex() for one in proof.inclusion],
        "kept": kept,
        "proof": [one.hex() for one in proof.consistency or ()],
    }


def test_every_proof_of_ours_is_accepted(filled: Installation) -> None:
    """Of every entry under the newest head, and from an older head of ours to it."""
    store = filled.store
    newest = proving.prove_consistency(store, 1).new
    heads = {size: proving.prove_consistency(store, 0, size).checkpoint for size in range(1, newest)}
    size, kept = next((size, head) for size, head in heads.items() if head is not None)
    questions = [
        question(filled, proof, kept if proof.consistency is not None else "")
        for proof in (proving.prove_entry(store, place, kept=size) for place in range(newest))
    ]
    assert sum(bool(one["kept"]) for one in questions) >= ENTRIES
    assert set(asked(questions)) == {"ok"}


def test_what_was_changed_is_refused_by_it_too(filled: Installation) -> None:
    """A bit of the entry, of a hash, of the head or of the signature, another place, another key: the same verdicts."""
    good = question(filled, proving.prove_entry(filled.store, 5))
    assert asked([good]) == ["ok"]
    changed = [good | {field: value} for field, value in _changes(good)]
    assert all(answer.startswith("refused: ") for answer in asked(changed))


def _changes(good: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "entry", good["entry"].replace("a", "b", 1)
    yield "position", good["position"] + 1
    for place, one in enumerate(good["inclusion"]):
        flipped = f"{int(one, 16) ^ 1:064x}"
        yield "inclusion", [*good["inclusion"][:place], flipped, *good["inclusion"][place + 1 :]]
    yield "inclusion", good["inclusion"][:-1]
    text, _, signature = good["head"].rpartition("\n\n")
    origin, size, root = text.split("\n")
    yield "head", f"{origin}\n{int(size) - 1}\n{root}\n\n{signature}"
    yield "head", good["head"].replace(signature[-8:-4], "AAAA")
    name, _, _ = good["verifier"].split("+", 2)
    yield "verifier", good["verifier"].replace(name, f"{name}x", 1)
