"""The dashboard's pages over a million tracked things: how long each takes, asked in process, HTML included.

The database lies in a temporary directory. What beats have to do for the pages is measured, too: the walk that writes
who answers for what, the counting, the forecast.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import httpx
from sqlalchemy import text

from ca import clock
from ca.keys import pkcs8, sealed
from pki.initialise import InitPlan, initialise
from pki.product import Product
from renewers.inventory import answering
from renewers.overview import ahead, tallies
from tests import rig
from tests.bench import million
from tests.bench.report import Figure, heading, show, wall
from tests.pki.conftest import World, bearer
from tests.postgresql import cluster, fresh_database

BUDGET = 300.0
ROUNDS = 60
CHANGES = {
    "installation.domain": f'"{rig.DOMAIN}"',
    "installation.public_url": f'"{rig.PUBLIC_URL}"',
    "limits.per_second": "1000000.0",
    "limits.burst": "1000000",
}
Address = Callable[[int], str]


def run(*, quick: bool) -> None:
    """Print the figures on SQLite, then on PostgreSQL where there is one."""
    size, rounds = (50_000, 10) if quick else (1_000_000, ROUNDS)
    _measure(size, rounds, None)
    with cluster() as server:
        _measure(size if quick else size // 5, rounds, fresh_database(server))


def pages(size: int) -> Mapping[str, Address]:
    """Every page by its route, with an address for each round: another thing, another filter each time."""
    alive = size * 4 // 5

    def some(place: int) -> int:
        return million.pick(place, alive, 99) + 1

    lists = (
        *("/inventory", "/inventory?stage=attention", "/inventory?stage=fine&order=last", "/inventory?mode=manual"),
        *(
            "/inventory?orphan=1",
            "/inventory?within=7",
            "/inventory?stage=over",
            "/inventory?source=issued&mode=holder",
        ),
    )
    return {
        "/": lambda _: "/",
        "/calendar": lambda _: "/calendar",
        "/inventory": lambda place: lists[place % len(lists)],
        "/inventory, a rare filter": lambda place: ("/inventory?kind=crl", "/inventory?source=imported")[place % 2],
        "/inventory, an owner": lambda place: f"/inventory?owner=team-{place % 1000}&mode=manual",
        "/inventory, an issuer": lambda place: f"/inventory?issuer=CN%3DIssuing+CA+{place % 40}%2CO%3DExample",
        "/inventory, a name": lambda place: f"/inventory?name=host-{some(place)}",
        "/inventory, a beginning": lambda place: f"/inventory?name=host-{some(place) % 100}",
        "/inventory, nothing there": lambda place: f"/inventory?name=nobody-{place}.example",
        "/inventory/{id}": lambda place: f"/inventory/{some(place)}",
        "/owners": lambda place: ("/owners", "/owners?cursor=team-5")[place % 2],
        "/owners/{name}": lambda place: f"/owners/team-{place % 1000}",
        "/authorities": lambda _: "/authorities",
        "/authorities/{name}": lambda place: ("/authorities/root-1", "/authorities/issuing-1")[place % 2],
        "/consumers": lambda place: ("/consumers", "/consumers?stream=trust%3Abench")[place % 2],
        "/consumers/{name}": lambda place: f"/consumers/proxy-{place % 500:04}",
        "/devices": lambda place: ("/devices", "/devices?profile=device", "/devices?profile=cross-ca")[place % 3],
        "/devices, a name": lambda place: f"/devices?name=host-{some(place)}",
        "/work": lambda place: ("/work", "/work?standing=failing", "/work?standing=planned")[place % 3],
        "/alarms": lambda place: ("/alarms", "/alarms?severity=info", "/alarms?kind=expiring")[place % 3],
        "/events": lambda place: ("/events", "/events?severity=critical", f"/events?subject=lineage-{place}")[
            place % 3
        ],
        "/letters": lambda place: ("/letters", f"/letters?owner=team-{place % 1000}", "/letters?kind=urgent")[
            place % 3
        ],
        "/letters/{id}": lambda place: f"/letters/{place % 1000 + 1}",
        "/ledger": lambda place: ("/ledger", f"/ledger?subject=lineage-{place}")[place % 2],
    }


def _measure(size: int, rounds: int, url: str | None) -> None:
    heading(f"The dashboard over {size:,} tracked things ({'SQLite' if url is None else 'PostgreSQL'}, one process)")
    with _opened(url) as (product, token), asyncio.Runner() as loop:
        store = product.installation.store
        authority = next(row.id for row in product.installation.authorities.all() if row.parent_id is not None)
        filled = wall(lambda: million.fill(store, size, clock.timestamp(), authority or 0))
        if url is not None:
            with store.read() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
        show(Figure("written", filled, "s"))
        show(Figure("who answers for each: the walk from nothing", wall(lambda: _walk(product)), "s"))
        show(
            Figure(
                "everything counted (a beat, every five minutes)", wall(lambda: tallies.take(product.lifecycle)), "s"
            )
        )
        show(Figure("the forecast (a beat, every hour)", wall(lambda: ahead.take(product.lifecycle)), "s"))
        client = World(product, loop).as_(bearer(token))
        for name, address in pages(size).items():
            _show(name, [_ask(client, address(place)) for place in range(-2, rounds)][2:])


def _walk(product: Product) -> None:
    while answering.walk(product.lifecycle):
        continue


def _ask(client: httpx.Client, address: str) -> float:
    before = time.perf_counter()
    answer = client.get(address, headers={"accept": "text/html"})
    taken = (time.perf_counter() - before) * 1e3
    if answer.status_code != 200:
        raise AssertionError(f"{address}: {answer.status_code}")
    return taken


def _show(name: str, taken: list[float]) -> None:
    worst = sorted(taken)[min(len(taken) - 1, int(len(taken) * 0.99))]
    show(Figure(name, statistics.median(taken), "ms", BUDGET, f"p99 {worst:,.0f} ms"))


@contextmanager
def _opened(url: str | None) -> Iterator[tuple[Product, str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CERTWRIGHT_")}
    with (
        tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory,
        mock.patch.dict(os.environ, clean, clear=True),
        mock.patch.object(pkcs8, "SCRYPT_N", 1 << 4),
        mock.patch.object(sealed, "SCRYPT_N", 1 << 4),
    ):
        state = Path(directory) / "state"
        changes = CHANGES if url is None else {**CHANGES, "store.url": f'"{url}"'}
        made = initialise(state, InitPlan(name="Bench", changes=changes))
        with Product.open(state) as product:
            yield product, made.token.reveal()
