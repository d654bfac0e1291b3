"""Whether this process can do its work now: sign with every active CA, believe its clock, and write to the store.

A load balancer asks every few seconds and sends nobody here while the answer is no. Nothing is restarted for it: what
is away comes back (a token that is plugged in again, a database after its failover), and the next look finds it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ca import clock, facts
from ca.authority import ABSENT, State
from ca.errors import CertwrightError
from ca.installation import Installation
from ca.keys import check_reachable

FRESH_FOR = 2.0
"""Seconds for which an answer is given again: whoever asks cannot make us write more often than this."""
PATIENCE = 3.0
"""Seconds a look may take before the others say that it hangs."""
ROOM = 1 << 20
"""Bytes that have to be free beside the state."""
DRAINING = "this process ends, and takes nothing new"


class Readiness:
    """What stands in the way of signing and writing. Safe to be asked by many threads at once."""

    def __init__(self, installation: Installation, state: Path) -> None:
        self._installation = installation
        self._state = state
        self._looking = threading.Lock()
        self._began = 0.0
        self._seen: tuple[float, Sequence[str]] | None = None
        self.is_draining = False

    def drain(self) -> None:
        """From now on the answer is no: the process is about to end."""
        self.is_draining = True

    def problems(self) -> Sequence[str]:
        """Why nobody should be sent here; empty if all is well."""
        if self.is_draining:
            return (DRAINING,)
        seen = self._seen
        if seen is not None and clock.monotonic() - seen[0] < FRESH_FOR:
            return seen[1]
        if not self._looking.acquire(blocking=False):
            is_stuck = clock.monotonic() - self._began > PATIENCE
            if is_stuck or seen is None:
                return ("the store or a key has not answered yet",)
            return seen[1]
        try:
            self._began = clock.monotonic()
            found = (*self._unsigned(), *self._undated(), *self._unwritten())
            self._seen = (clock.monotonic(), found)
        finally:
            self._looking.release()
        return found

    def _unsigned(self) -> Sequence[str]:
        """An active CA whose key is not at hand. A CA's key is not made to sign something to find out."""
        authorities = self._installation.authorities
        found = []
        try:
            rows = [row for row in authorities.all() if row.state == State.ACTIVE and row.key_label not in ABSENT]
        except CertwrightError as error:
            return (f"the store does not answer: {error.message}",)
        for row in rows:
            try:
                check_reachable(authorities.issuer(row.name).key)
            except CertwrightError as error:
                found.append(f"{row.name} cannot sign: {error.message}")
        return found

    def _undated(self) -> Sequence[str]:
        """A clock that cannot be believed; looked at anew, so that one that was set right is seen at once."""
        timekeeper = self._installation.timekeeper
        with suppress(CertwrightError):  # that the store does not answer is said by those who ask it for more
            timekeeper.compare(self._installation.store)
        return () if timekeeper.objection is None else (timekeeper.objection,)

    def _unwritten(self) -> Sequence[str]:
        """That nothing can be written. A little always fits somewhere, so that room is looked at besides."""
        if (free := shutil.disk_usage(self._state).free) < ROOM:
            return (f"the disk is full: {free} bytes are left",)
        try:
            facts.write_again(self._installation.store)
        except CertwrightError as error:
            return (f"nothing can be written: {error.message}",)
        return ()
