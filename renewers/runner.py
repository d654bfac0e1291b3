"""Doing what is due: claims work, keeps it claimed while it lasts, and sees to it that no failure is silent.

One runner a process, any number of processes. `tick` never blocks; `drain` does everything that is due now and returns,
for commands and tests. What each kind of work means is a `Duty`; the list is `renewers/duties.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ca import clock
from ca.errors import Unavailable
from ca.store import Transaction
from ca.store.commit import StaleChange
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.work import Claim, Failed

Failure = Callable[[Lifecycle, Transaction, Claim, Exception], Failed]


def just_fail(_lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """Put it on the ladder and say nothing more."""
    return work.fail(tx, claim, error)


@dataclass(frozen=True, slots=True)
class Duty:
    """A kind of work: what does it, and what becomes of a failure, in the transaction that records it."""

    run: Callable[[Lifecycle, Claim], None]
    failed: Failure = just_fail
    goes_by_date: bool = True
    """Whether it waits while the clock cannot be believed. What only carries what is published already does not."""


class Runner:
    """Does the due work of one process."""

    def __init__(self, lifecycle: Lifecycle, duties: Mapping[str, Duty]) -> None:
        self._lifecycle = lifecycle
        self._duties = duties
        self._workers = lifecycle.policy.workers
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="renewer")
        self._held: dict[int, Claim] = {}
        self._lock = threading.Lock()
        self._extended = clock.monotonic()
        self.on_error: Callable[[Claim, Exception], None] = lambda _claim, _error: None
        """Told of errors that are not of our tree, so that they reach the log with their traceback."""

    def tick(self) -> int:
        """Extend what is held, and begin as much of what is due as there are free workers. Returns how many began."""
        return len(self._begin())

    def drain(self) -> int:
        """Do everything that is due now, and what comes due by it. Returns how many pieces that were."""
        total = 0
        while begun := self._begin():
            total += len(begun)
            while wait(begun, timeout=1).not_done:
                self._keep()
        return total

    def stop(self) -> None:
        """Wait for what is running. What was claimed and not begun comes due again when its lease ends."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self) -> list[Future[None]]:
        self._keep()
        with self._lock:
            free = self._workers - len(self._held)
        if free <= 0:
            return []
        lease = self._lifecycle.policy.lease
        claims = work.claim(self._lifecycle.store, self._kinds(), limit=free, lease=lease)
        with self._lock:
            self._held |= {claim.id: claim for claim in claims}
        return [self._pool.submit(self._do, claim) for claim in claims]

    def _kinds(self) -> tuple[str, ...]:
        """What may begin now."""
        is_believed = self._lifecycle.installation.timekeeper.objection is None
        return tuple(kind for kind, duty in self._duties.items() if is_believed or not duty.goes_by_date)

    def _keep(self) -> None:
        """Extend the leases of what is running, at a third of their length."""
        lease = self._lifecycle.policy.lease
        with self._lock:
            held = list(self._held.values())
        if held and clock.monotonic() - self._extended >= lease / 3:
            work.extend(self._lifecycle.store, held, lease)
            self._extended = clock.monotonic()

    def _do(self, claim: Claim) -> None:
        try:
            self._duties[claim.kind].run(self._lifecycle, claim)
        except StaleChange:  # somebody else took it over, or it is gone: whatever it needs, it gets there
            pass
        except Exception as error:  # noqa: BLE001 - recorded, said, and tried again
            self._failed(claim, error)
        finally:
            with self._lock:
                self._held.pop(claim.id, None)

    def _failed(self, claim: Claim, error: Exception) -> None:
        self.on_error(claim, error)
        duty = self._duties[claim.kind]
        try:
            self._lifecycle.store.write(lambda tx: duty.failed(self._lifecycle, tx, claim, error))
        except (StaleChange, Unavailable):  # taken over, or the store is away: its lease ends, and it comes due again
            return
        except Exception as second:  # noqa: BLE001 - else it would be swallowed by the future, and never seen
            self.on_error(claim, second)
