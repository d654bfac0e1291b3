"""The ground of the publisher into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ca.errors import NotDelivered
from renewers.publishers import Publisher
from renewers.publishers.memory import PLACES, make_memory
from tests.contracts.grounds import seen


class MemoryGround:
    """A place in memory."""

    hidden = ()
    tells_staged = True

    def __init__(self, name: str) -> None:
        self.settings: dict[str, Any] = {"place": name}

    def make(self, settings: Mapping[str, Any]) -> Publisher:
        return make_memory(settings)

    def live(self) -> dict[str, bytes] | None:
        place = PLACES.get(self.settings["place"])
        live = None if place is None else place.live
        return None if live is None else seen(live)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        before = dict(self.settings)
        self.settings |= {"fail_stage": -1}
        yield
        self.settings = before

    def cut(self, step: int, work: Callable[[Publisher], None]) -> bool:
        order = ["stage", "swap", "reload"]
        if step > len(order):
            work(self.make(self.settings))
            return False
        PLACES[self.settings["place"]].failed.clear()
        try:
            work(self.make({**self.settings, f"fail_{order[step - 1]}": 1}))
        except NotDelivered:
            return True
        return False

    def read(self) -> list[str]:
        return PLACES[self.settings["place"]].reloads

    def break_reload(self, *, broken: bool) -> None:
        self.settings["fail_reload"] = -1 if broken else 0


@contextmanager
def opened(home: Path) -> Iterator[MemoryGround]:
    """A place of its own."""
    yield MemoryGround(str(home))
    PLACES.pop(str(home), None)
