"""Notices kept in memory: for tests, and for looking at what would be told."""

from __future__ import annotations

from collections.abc import Sequence

from ca.errors import NotDelivered
from renewers.notifiers import Notice, Selection


class MemoryNotifier:
    """A `Notifier` that remembers what it was told, and can be made not to answer."""

    def __init__(self, *, severity: str = "info", kinds: Sequence[str] = ("*",)) -> None:
        self._selection = Selection(severity, kinds)
        self.told: list[Notice] = []
        self.is_down = False

    def wants(self, notice: Notice) -> bool:
        """What it was made to select."""
        return self._selection.takes(notice)

    def tell(self, notice: Notice) -> None:
        """Remember it."""
        if self.is_down:
            raise NotDelivered("it is down")
        self.told.append(notice)
