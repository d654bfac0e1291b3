"""What several threads need at once: the first one makes it, the last one takes it away.

Two orders may answer the same challenge at the same time, and one listener answers for all of them. Nobody may take
away what another still shows to a CA. Making and taking away of one thing never overlap; different things do not wait
for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Thing:
    lock: threading.Lock = field(default_factory=threading.Lock)
    holders: int = 0
    is_made: bool = False


class Shared:
    """Counts who holds what, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._things: dict[Hashable, _Thing] = {}

    @contextmanager
    def held(self, key: Hashable, make: Callable[[], None], unmake: Callable[[], None]) -> Iterator[None]:
        """Within it, what `make` made is there. What a failed `make` left behind is its own to clean up."""
        thing = self._enter(key)
        try:
            with thing.lock:
                if not thing.is_made:
                    make()
                    thing.is_made = True
            yield
        finally:
            self._leave(key, thing, unmake)

    def _enter(self, key: Hashable) -> _Thing:
        with self._lock:
            thing = self._things.setdefault(key, _Thing())
            thing.holders += 1
            return thing

    def _leave(self, key: Hashable, thing: _Thing, unmake: Callable[[], None]) -> None:
        """Whoever comes while it is taken away waits at its lock, and makes it anew."""
        with thing.lock:
            with self._lock:
                thing.holders -= 1
                is_last = thing.holders == 0
            try:
                if is_last and thing.is_made:
                    thing.is_made = False
                    unmake()
            finally:
                with self._lock:
                    if thing.holders == 0:
                        self._things.pop(key, None)
