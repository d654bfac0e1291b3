"""Callers that wait for the next version of a publication, on one look a moment for all of them.

A waiting caller costs a future and no thread. One task looks which versions are newest while anybody waits; the number
of those who wait is bounded, and whoever comes beyond it is answered at once with what there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from ca.errors import CertwrightError
from pki.product import Product
from renewers.distribution import published

LOOK_EVERY = 0.25
LONGEST = 60.0
"""Seconds that a caller may wait."""


class Arrivals:
    """Who waits for which stream, in one process."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._count = 0
        self._looking: asyncio.Task[None] | None = None

    async def after(self, stream: str, version: int, seconds: float) -> None:
        """Return when a stream has a version larger than this one, or the time is up, or too many wait."""
        if seconds <= 0 or self._count >= self._product.settings.consumers.long_polls:
            return
        come = asyncio.get_running_loop().create_future()
        entry = (version, come)
        self._waiting.setdefault(stream, []).append(entry)
        self._count += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(come, min(seconds, LONGEST))
        finally:
            self._count -= 1
            others = self._waiting[stream]
            others.remove(entry)
            if not others:
                del self._waiting[stream]

    async def _look(self) -> None:
        while self._waiting:
            with suppress(CertwrightError):  # the store is away: whoever waits is told by what it asks for next
                for stream, newest in (await asyncio.to_thread(self._newest, list(self._waiting))).items():
                    for version, come in list(self._waiting.get(stream, ())):
                        if newest > version and not come.done():
                            come.set_result(None)
            await asyncio.sleep(LOOK_EVERY)

    def _newest(self, streams: list[str]) -> Mapping[str, int]:
        with self._product.installation.store.read() as connection:
            return {stream: row.version for stream, row in published.heads(connection, streams).items()}
