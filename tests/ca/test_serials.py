"""Serial numbers: random, of the right size, and never used twice, whatever the random numbers do (rows 52 and 53)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from ca import clock, issuance, recording
from ca.errors import CertwrightError, Conflict, Defect
from ca.installation import Installation
from ca.issuance import SERIAL_BITS, issuing, new_serial
from ca.keys.algorithms import SignatureScheme
from ca.models import Certificate, Intent
from ca.store import Store
from tests import rig
from tests.ca.world import count, entries, perform, rows
from tests.contracts.units import held

SAMPLE = 20_000


@pytest.fixture
def installation(any_store: Store) -> Installation:
    """A root and an issuing CA, on each engine in turn."""
    return rig.make_installation(any_store)


@pytest.fixture
def signatures(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What CA keys have signed since the test began."""
    signed: list[bytes] = []
    sign = SignatureScheme.sign

    def remember(self: SignatureScheme, key: Any, data: bytes) -> bytes:
        signed.append(data)
        return sign(self, key, data)

    monkeypatch.setattr(SignatureScheme, "sign", remember)
    return signed


def always(serial: int) -> Callable[[], int]:
    """A source of random numbers that is stuck."""
    return lambda: serial


def test_serials_are_random_positive_and_of_twenty_octets() -> None:
    """Every one is at least 2^128 and below 2^159, none comes twice, and no bit is set more often than by chance."""
    serials = [new_serial() for _ in range(SAMPLE)]
    assert all(1 << 128 <= serial < 1 << 159 for serial in serials)
    assert len(set(serials)) == SAMPLE
    deviations = []
    for bit in range(SERIAL_BITS):
        ones = sum(serial >> bit & 1 for serial in serials)
        deviations.append((2 * ones - SAMPLE) ** 2 / SAMPLE)  # chi-square with one degree of freedom
    assert max(deviations) < 45, "a bit is biased (one such test in ten million fails by chance)"
    assert 70 < sum(deviations) < 300, "the bits together are too far from, or too close to, what chance does"


def test_serials_do_not_follow_each_other() -> None:
    """Neighbours in time have nothing in common: half of the bits differ, up or down alike."""
    serials = [new_serial() for _ in range(2001)]
    pairs = list(pairwise(serials))
    differing = sum((one ^ other).bit_count() for one, other in pairs) / len(pairs)
    assert abs(differing - SERIAL_BITS / 2) < 2
    assert 800 < sum(other > one for one, other in pairs) < 1200


def test_a_serial_drawn_twice_is_a_defect(
    installation: Installation, signatures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that a certificate has already is refused as our own defect before the key signs anything."""
    monkeypatch.setattr(issuance, "new_serial", always(0xABC << 140))
    first = rig.issue(installation)
    assert len(signatures) == 1
    for key in (None, "idempotent"):
        with pytest.raises(Defect):
            rig.issue(installation, idempotency_key=key)
    assert len(signatures) == 1
    assert [row.serial for row in rows(installation.store, Certificate, serial=first.serial)] == [first.serial]
    assert count(installation.store, Intent) == 0


def test_a_serial_of_an_open_intent_is_not_used_again(
    installation: Installation, signatures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that is about to be signed is taken, too, and so is one that was given up."""
    monkeypatch.setattr(issuance, "new_serial", always(0xABC << 140))
    perform(issuing(rig.decide(installation), installation), installation, steps=1)
    signatures.clear()
    with pytest.raises(CertwrightError):
        rig.issue(installation)
    recording.abandon_intents(installation.store, older_than=clock.timestamp() + 1)
    with pytest.raises(Defect):
        rig.issue(installation)
    assert signatures == []


def test_one_of_many_gets_a_serial(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen issuances that draw the same number at the same moment are one certificate and fifteen refusals."""
    decisions = [rig.decide(installation, f"spiffe://example.internal/ns/a/sa/w{place}") for place in range(16)]
    monkeypatch.setattr(issuance, "new_serial", always(0xABC << 140))

    def attempt(decision: Any) -> str:
        try:
            return issuance.issue(decision, installation).serial
        except (Conflict, Defect):
            return "refused"

    with ThreadPoolExecutor(16) as threads:
        outcomes = sorted(threads.map(attempt, decisions))
    assert outcomes == [f"{0xABC << 140:x}", *["refused"] * 15]
    assert len(entries(installation.store, "certificate-issued", subject=outcomes[0])) == 1


def test_a_serial_is_taken_within_a_batch(
    installation: Installation, signatures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent that shares a batch with the completion of its number's first owner is refused like a later one."""
    monkeypatch.setattr(issuance, "new_serial", always(0xABC << 140))
    first, second = (issuing(rig.decide(installation), installation) for _ in range(2))
    installation.store.write(next(first))  # type: ignore[arg-type]
    complete, intend = first.send(None), next(second)
    with ThreadPoolExecutor(2) as threads:
        with held(installation.store) as until_queued:
            completed = threads.submit(installation.store.write, complete)  # type: ignore[arg-type]
            until_queued(1)
            intended = threads.submit(installation.store.write, intend)  # type: ignore[arg-type]
            until_queued(2)
        completed.result()
        assert isinstance(intended.exception(), (Conflict, Defect))
