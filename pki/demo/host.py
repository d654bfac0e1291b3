"""A host that trusts what is published: it fetches by itself, checks, puts it into use, and signs that it has."""

from __future__ import annotations

import threading
from pathlib import Path

from ca.errors import CertwrightError
from pki.following import Following, follow

WAIT = 2.0
"""Seconds for which it waits to hear of something newer; so long a demo takes at most to end."""
PAUSE = 0.2


class Host:
    """Follows until it is closed, as `certwright bundle follow` does."""

    def __init__(self, plan: Following) -> None:
        self._plan = plan
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="host", daemon=True)
        self._thread.start()

    @property
    def trusted(self) -> Path:
        """The trust anchors that are in use there, PEM."""
        return self._plan.directory / "live" / "bundle.pem"

    def close(self) -> None:
        """Stop following."""
        self._over.set()
        self._thread.join(10 * WAIT)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                follow(self._plan, wait=WAIT)
            except CertwrightError:  # what it did not get or did not believe, it asks for again
                self._over.wait(PAUSE)
