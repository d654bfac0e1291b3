"""Many endpoints, each looked at once: few sockets at a time, at most two to a host, no haste, no second try.

What is sent is a ClientHello, before it the words of STARTTLS, and `close_notify`; never anything else. One loop holds
all sockets and runs while its results are taken: whoever stops taking them ends the scan, and every socket with it.
Measured against a pool of threads that call `handshake.look`: the loop needs less than half of the CPU and no threads
to end. Names alone are resolved in threads. Read `visits.py` next.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from selectors import DefaultSelector

from ca.errors import NotDelivered
from renewers.addresses import as_address, resolve
from renewers.discovery.targets import Target
from renewers.discovery.visits import Visit
from renewers.handshake import Presented

AHEAD = 2_000
"""Targets that are held while they wait for their turn."""
PAUSE = 0.02
"""Seconds a host is left alone between two connections."""
RESOLVERS = 8
GLANCE = 0.02
"""Seconds between two looks at deadlines and at names that were resolved."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An endpoint that showed a chain."""

    target: Target
    presented: Presented


@dataclass(frozen=True, slots=True)
class Unseen:
    """An endpoint that did not, and why: the code and message of a `NotDelivered`."""

    target: Target
    code: str
    reason: str


def scan(
    targets: Iterable[Target],
    *,
    sockets: int = 200,
    per_host: int = 2,
    timeout: float = 3.0,
    a_second: float = 500.0,
    pause: float = PAUSE,
) -> Generator[Seen | Unseen]:
    """Look at each target once; results come as they fall. Closing the iterator ends it.

    At most `sockets` are open at once and `per_host` of them to one address; at most `a_second` connections begin in a
    second, and each has `timeout` seconds for everything.
    """
    loop = _Loop(iter(targets), sockets, per_host, timeout, 1 / a_second, pause)
    try:
        while not loop.is_done:
            yield from loop.turn()
    finally:
        loop.close()


class _Loop:
    """All sockets of one scan, and what waits for one."""

    def __init__(
        self, targets: Iterator[Target], sockets: int, per_host: int, timeout: float, interval: float, pause: float
    ) -> None:
        self._targets: Iterator[Target] | None = targets
        self._sockets, self._per_host, self._timeout = sockets, per_host, timeout
        self._interval, self._pause = interval, pause
        self._selector = DefaultSelector()
        self._resolver = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="scan-resolve")
        self._resolving: dict[Future[list[str]], list[Target]] = {}
        self._names: dict[str, Future[list[str]]] = {}
        self._waiting: dict[str, deque[tuple[Target, list[str]]]] = {}
        self._held = 0
        self._ready: list[tuple[float, str]] = []
        self._offered: set[str] = set()
        self._busy: dict[str, int] = {}
        self._visits: set[Visit] = set()
        self._next_start = self._next_glance = 0.0
        self._results: list[Seen | Unseen] = []

    @property
    def is_done(self) -> bool:
        """Whether every target was looked at and every socket is closed."""
        return self._targets is None and not (self._held or self._visits)

    def close(self) -> None:
        """End every socket, whatever it is at."""
        for visit in self._visits:
            visit.close()
        self._selector.close()
        self._resolver.shutdown(wait=False, cancel_futures=True)

    def turn(self) -> list[Seen | Unseen]:
        """Do what can be done now; return what came of it."""
        self._pull()
        self._start()
        for key, _ in self._selector.select(self._idle()):
            key.data.advance()
            self._look_after(key.data)
        if time.monotonic() >= self._next_glance:
            self._glance()
        results, self._results = self._results, []
        return results

    def _glance(self) -> None:
        """After the sockets were seen to: whoever takes the results slowly makes nobody late."""
        self._take_names()
        now = time.monotonic()
        for visit in [visit for visit in self._visits if visit.deadline <= now]:
            visit.give_up()
            self._look_after(visit)
        self._next_glance = now + GLANCE

    def _pull(self) -> None:
        """Take targets in hand, as many as may wait."""
        while self._targets is not None and self._held < AHEAD:
            target = next(self._targets, None)
            if target is None:
                self._targets = None
                return
            self._held += 1
            if as_address(target.host) is not None:
                self._park(target, [target.host])
            else:
                self._ask(target)

    def _ask(self, target: Target) -> None:
        """Have the name resolved; once a scan, however many of its ports are looked at."""
        future = self._names.get(target.host)
        if future is None:
            future = self._resolver.submit(resolve, target.host, target.port, self._timeout)
            self._names[target.host] = future
        self._resolving.setdefault(future, []).append(target)

    def _take_names(self) -> None:
        for future in [future for future in self._resolving if future.done()]:
            for target in self._resolving.pop(future):
                try:
                    addresses = future.result()
                except NotDelivered as error:
                    self._held -= 1
                    self._results.append(Unseen(target, error.code, error.message))
                else:
                    self._park(target, addresses)

    def _park(self, target: Target, addresses: list[str]) -> None:
        """Let it wait for its host's turn."""
        self._waiting.setdefault(addresses[0], deque()).append((target, addresses))
        self._offer(addresses[0], 0.0)

    def _start(self) -> None:
        """Begin what may begin: a socket is free, the host has had its pause, the second is not used up."""
        now = time.monotonic()
        self._next_start = max(self._next_start, now - GLANCE)
        while (
            self._ready and self._ready[0][0] <= now and len(self._visits) < self._sockets and self._next_start <= now
        ):
            _, address = heapq.heappop(self._ready)
            self._offered.discard(address)
            target, addresses = self._waiting[address].popleft()
            self._held -= 1
            self._next_start += self._interval
            self._busy[address] = self._busy.get(address, 0) + 1
            self._offer(address, now + self._pause)
            visit = Visit(target, addresses, now + self._timeout)
            self._visits.add(visit)
            visit.begin(self._selector)
            self._look_after(visit)

    def _offer(self, address: str, at: float) -> None:
        """Let the next that waits for this host come at that time, if the host has room; forget who is done."""
        busy = self._busy.get(address, 0)
        if not self._waiting.get(address):
            self._waiting.pop(address, None)
            if not busy:
                self._busy.pop(address, None)
        elif busy < self._per_host and address not in self._offered:
            self._offered.add(address)
            heapq.heappush(self._ready, (at, address))

    def _look_after(self, visit: Visit) -> None:
        """Hand on what a visit came to, and let the next in when its socket is closed."""
        self._results += self._came_to(visit)
        if visit.is_closed and visit in self._visits:
            self._visits.discard(visit)
            self._busy[visit.address] -= 1
            self._offer(visit.address, time.monotonic() + self._pause)

    def _came_to(self, visit: Visit) -> Iterator[Seen | Unseen]:
        if not visit.is_to_tell():
            return
        try:
            yield Seen(visit.target, visit.outcome())
        except NotDelivered as error:
            if visit.is_unconnected and len(visit.addresses) > 1:  # its other address, in its turn
                self._held += 1
                self._park(visit.target, visit.addresses[1:])
            else:
                yield Unseen(visit.target, error.code, error.message)

    def _idle(self) -> float:
        """How long nothing can happen but on a socket."""
        now = time.monotonic()
        wait = GLANCE
        if self._ready and len(self._visits) < self._sockets:
            wait = min(wait, max(self._ready[0][0], self._next_start) - now)
        return max(wait, 0.0)
