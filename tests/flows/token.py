"""Issuance by a token that loses its sessions and is pulled out and put back, again and again, while it signs.

`python -m tests.flows.token [COUNT]`: every issuance is answered or refused, every answer is on record, every refusal
says so, and the ledger is whole.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select
from sqlmodel import col

from ca.errors import KeyUnavailable
from ca.keys.algorithms import KeyType
from ca.keys.divided import DividedKeyStore
from ca.keys.memory import MemoryKeyStore
from ca.ledger.reconcile import audit
from ca.models import Certificate, Intent
from ca.store import Store, open_store
from tests import rig
from tests.softhsm import SoftToken, soft_token

CALLERS = 4
EVERY = 0.15
"""Seconds between two blows."""
AWAY = 0.1


@dataclass
class Outcome:
    """What became of the issuances."""

    answered: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    failed: list[BaseException] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    recorded: int = 0
    abandoned: int = 0
    intents: int = 0
    is_sound: bool = False


def run(count: int, directory: Path, store: Store, key_type: KeyType = KeyType.P256) -> Outcome:
    """Ask for `count` certificates while the token is mistreated; what is refused is not asked for again."""
    outcome, lock = Outcome(), threading.Lock()
    with soft_token(directory) as token:
        keys = DividedKeyStore(token.store(), MemoryKeyStore(), ledger_in_hardware=True)
        installation = rig.make_installation(store, keys=keys, key_type=key_type)
        before = _count(store, signed=True)

        def caller() -> None:
            for _ in range(count // CALLERS):
                try:
                    serial = rig.issue(installation).serial
                except KeyUnavailable as error:
                    with lock:
                        outcome.refused[error.message] += 1
                    time.sleep(0.1)  # somebody who is refused waits, and asks for something else
                except BaseException as error:
                    outcome.failed.append(error)
                else:
                    with lock:
                        outcome.answered.add(serial)

        started = time.monotonic()
        with _mistreated(token, outcome.blows):
            threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        outcome.seconds = time.monotonic() - started
        _until(lambda: _signs(installation))
        installation.ledger.sequence()
        outcome.recorded = _count(store, signed=True) - before - 1
        outcome.abandoned = _count(store, signed=False)
        with store.read() as connection:
            outcome.intents = connection.execute(select(func.count()).select_from(Intent)).scalar_one()
        outcome.is_sound = audit(store, installation.ledger.verifier).is_sound
    return outcome


@contextmanager
def _mistreated(token: SoftToken, blows: Counter[str]) -> Iterator[None]:
    stop = threading.Event()

    def strike() -> None:
        while not stop.wait(EVERY):
            token.kill_sessions()
            blows["sessions killed"] += 1
            if stop.wait(EVERY):
                return
            token.take_away()
            stop.wait(AWAY)
            token.put_back()
            blows["token away and back"] += 1

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _signs(installation: object) -> bool:
    try:
        rig.issue(installation)  # type: ignore[arg-type]
    except KeyUnavailable:
        return False
    return True


def _until(condition: Callable[[], bool], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "the token did not come back"
        time.sleep(0.05)


def _count(store: Store, *, signed: bool) -> int:
    has = col(Certificate.signature).is_not(None) if signed else col(Certificate.signature).is_(None)
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(Certificate).where(has)).scalar_one()


def judge(outcome: Outcome, count: int) -> None:
    """Answered or refused, none lost, and the books are right."""
    assert outcome.failed == []
    assert len(outcome.answered) + sum(outcome.refused.values()) == count // CALLERS * CALLERS
    assert outcome.recorded == len(outcome.answered), "an answer is not on record, or a record was not answered"
    assert outcome.intents == 0
    assert outcome.abandoned <= sum(outcome.refused.values())
    assert outcome.is_sound
    assert outcome.answered


def main() -> None:
    """The full run."""
    parser = argparse.ArgumentParser(prog="python -m tests.flows.token", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory(prefix="certwright-token-") as directory:
        store = open_store(f"sqlite:///{directory}/certwright.db")
        try:
            outcome = run(count, Path(directory) / "token", store)
        finally:
            store.close()
    print(f"{len(outcome.answered)} answered, {sum(outcome.refused.values())} refused in {outcome.seconds:.1f} s")
    print(f"{dict(outcome.blows)}; {outcome.abandoned} intents given up; ledger sound: {outcome.is_sound}")
    for message, times in outcome.refused.most_common():
        print(f"  {times} x {message}")
    judge(outcome, count)


if __name__ == "__main__":
    main()
