"""A place in this process's memory, for tests and drills: what is in use there, and failures on order.

Settings: `place` names it; `fail_stage`, `fail_swap`, `fail_reload`, `fail_restore` are how many calls in a row fail
(-1: all of them). `fail_swap` fails before the exchange, `fail_reload` after it, as a command would.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ca.errors import BadRequest, NotDelivered
from renewers.publishers import Material, Publisher

STEPS = ("stage", "swap", "reload", "restore")


@dataclass(slots=True)
class Place:
    """What a destination in memory holds. `reloads` is what its user read, each time that it did."""

    staged: dict[str, Material] = field(default_factory=dict)
    live: Material | None = None
    previous: Material | None = None
    reloads: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


PLACES: dict[str, Place] = {}
"""All places, by name; they live as long as the process."""


def make_memory(settings: Mapping[str, Any]) -> Publisher:
    """The publisher of one destination. `BadRequest` names everything that is wrong with its settings."""
    known = {"place", *(f"fail_{step}" for step in STEPS)}
    wrong = [f"{str(name)[:40]!r} is not a setting" for name in settings if name not in known]
    wrong += [] if isinstance(settings.get("place"), str) and settings["place"] else ["place is not a name"]
    failures = {name: value for name, value in settings.items() if name in known and name != "place"}
    wrong += [f"{name} is not a number of calls" for name, value in failures.items() if type(value) is not int]
    if wrong:
        raise BadRequest(f"these settings do not make a place: {'; '.join(wrong)}", code="bad-settings")
    failing = {name.removeprefix("fail_"): value for name, value in failures.items()}
    return MemoryPublisher(PLACES.setdefault(settings["place"], Place()), failing)


class MemoryPublisher:
    """A `Publisher` into a `Place`."""

    keeps_secrets = True

    def __init__(self, place: Place, failing: Mapping[str, int]) -> None:
        self._place = place
        self._failing = failing

    def stage(self, material: Material) -> None:
        """Put it beside what is in use."""
        with self._place.lock:
            self._fail("stage")
            self._place.staged[material.version] = material

    def swap(self, material: Material) -> None:
        """Put it into use, and read it."""
        place = self._place
        with place.lock:
            self._fail("swap")
            if material.version not in place.staged:
                raise NotDelivered(f"{material.version} was not staged")
            if place.live is None or place.live.version != material.version:
                place.previous = place.live
            place.live = place.staged[material.version]
            self._reload(place.live)

    def restore(self, material: Material) -> None:
        """Put back what was in use before; where nothing was, it stays."""
        place = self._place
        with place.lock:
            self._fail("restore")
            if place.live is None or place.previous is None:
                return
            if place.live.version == material.version:
                place.live = place.previous
            elif place.live.version != place.previous.version:
                return
            self._reload(place.live)

    def _reload(self, live: Material) -> None:
        self._fail("reload")
        self._place.reloads.append(live.version)

    def _fail(self, step: str) -> None:
        limit, done = self._failing.get(step, 0), self._place.failed.get(step, 0)
        if limit < 0 or done < limit:
            self._place.failed[step] = done + 1
            raise NotDelivered(f"{step} fails on order")
