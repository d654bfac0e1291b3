"""Until every authoritative server shows a record: a CA asks any of them, and from several places of the world.

One server that lags or is silent fails the whole, with its name: a validation that fails costs one of few tries, and
the owner of the zone wants to know. An address of a family that this machine has no way to (IPv6, mostly) is passed
over, if another address of the same server shows the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat

from ca import clock
from ca.errors import NotDelivered
from renewers.solvers.questions import NO_ROUTE, SECONDS, SILENT, Server, texts_at
from renewers.solvers.zones import Zones

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between looks; the last one again and again."""
LONGEST_WAIT = 900.0
UNSEEN = "not-propagated"
"""The code where a server answers, and not as it should."""

Judge = Callable[[tuple[str, ...]], str | None]
"""What is wrong with the TXT records that a server shows, or None."""


def wait_until_seen(zones: Zones, name: str, judge: Judge, deadline: float, *, is_patient: bool = True) -> None:
    """Return when every server shows what it should; `NotDelivered` names one that does not. Impatient: one look."""
    deadline = min(deadline, clock.monotonic() + LONGEST_WAIT)
    servers = zones.servers_of(zones.zone_of(name, deadline), deadline)
    waiting, shown, said = list(servers), set[str](), dict[Server, NotDelivered]()
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        is_hurried = deadline - clock.monotonic() < SECONDS
        found = list(_look(waiting, name, judge, deadline))
        shown |= {server.name for server, problem in found if problem is None}
        missing = [
            (server, p) for server, p in found if p is not None and not (p.code == NO_ROUTE and server.name in shown)
        ]
        if not missing:
            return
        for server, problem in missing:
            if problem.code != SILENT or not is_hurried:
                said[server] = problem
        waiting = [server for server, _ in missing]
        left = deadline - clock.monotonic()
        if not is_patient or left < PAUSES[0]:
            server, problem = missing[0]  # what it said before says more than that the last look had no time left
            raise _unseen(name, said.get(server, problem), len(missing), len(servers))
        time.sleep(min(pause, left / 2))


def _look(
    servers: list[Server], name: str, judge: Judge, deadline: float
) -> Iterator[tuple[Server, NotDelivered | None]]:
    for server in servers:
        try:
            problem = judge(texts_at(server, name, deadline))
        except NotDelivered as error:
            yield server, error
        else:
            yield server, None if problem is None else NotDelivered(f"{server}: {problem}", code=UNSEEN)


def _unseen(name: str, problem: NotDelivered, missing: int, servers: int) -> NotDelivered:
    return NotDelivered(
        f"{name} is not as it should be at {missing} of {servers} authoritative servers: {problem.message}",
        code=problem.code,
        hint="every name server of the zone has to show it: see its transfers and its reachability from here",
    )
