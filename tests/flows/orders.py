"""Renewals end to end before a hostile Pebble: http-01, dns-01 through a real BIND, tls-alpn-01, each exactly once.

    python -m tests.flows.orders [COUNT]

Half of all good nonces are refused, validation sleeps, no authorization is reused. What is judged is what Pebble itself
has logged: as many certificates as lineages, and each order finalized once.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store, open_store
from ca.x509 import names
from renewers.duties import DUTIES
from renewers.inventory import lineages
from renewers.inventory.lineages import LineagePlan
from renewers.issuers.acme import AcmeIssuer
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Lineage, Renewal, Work
from renewers.runner import Runner
from renewers.solvers import Solver
from renewers.solvers.dns01 import Dns01
from renewers.solvers.http01 import Http01Listener
from renewers.solvers.rfc2136 import Rfc2136Writer
from renewers.solvers.tls_alpn01 import TlsAlpn01Listener
from renewers.solvers.zoned import Zoned
from renewers.solvers.zones import Zones
from tests import rig
from tests.acme_rig import config
from tests.bind import Bind, Zone, bind
from tests.pebble import Pebble, pebble

KINDS = ("http-01", "dns-01", "tls-alpn-01")
WORKERS = 48
SEALER = Sealer(Secret("only for the orders"), bytes(16))


@dataclass
class Report:
    """What became of it."""

    orders: int
    seconds: float = 0.0
    issued: int = 0
    finalized: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def surroundings(home: Path, *, nonce_reject: int = 50, va_sleep: bool = True) -> Iterator[tuple[Bind, Pebble]]:
    """A BIND whose names all lead to this machine, and a Pebble that asks it."""
    with ExitStack() as stack:
        zone = Zone("example.test", records=["@ A 127.0.0.1", "* A 127.0.0.1"])
        named = stack.enter_context(bind(home / "bind", [zone], is_resolver=True))
        ca = stack.enter_context(
            pebble(home, dns=named.place, nonce_reject=nonce_reject, va_sleep=va_sleep, retry_after=0)
        )
        yield named, ca


def solvers(named: Bind, ca: Pebble) -> list[Solver]:
    """One of each kind."""
    writer = Rfc2136Writer(named.address, named.port, named.key_name, named.secret, named.algorithm)
    return [
        Http01Listener("127.0.0.1", ca.http_port),
        Dns01([Zoned("example.test", writer)], Zones(named.nameservers, port=named.port)),
        TlsAlpn01Listener("127.0.0.1", ca.tls_port),
    ]


def wired(store: Store, named: Bind, ca: Pebble, *, workers: int = WORKERS) -> Lifecycle:
    """A lifecycle with one issuer a kind of challenge, all of them that Pebble."""
    ways = solvers(named, ca)
    issuers = {
        kind: AcmeIssuer(config(ca, name=kind, challenges=(kind,)), store=store, sealer=SEALER, solvers=ways)
        for kind in KINDS
    }
    installation = rig.make_installation(store, with_hierarchy=False)
    return Lifecycle(installation, SEALER, issuers=issuers, policy=Policy(workers=workers, issuers=KINDS))


def plan(lifecycle: Lifecycle, place: int, kind: str) -> int:
    """A lineage whose names are proved in one way; one in five of those over DNS is a wildcard beside its name."""
    name = f"{kind[:3]}{place}.example.test"
    wanted = [name]
    if kind == "dns-01" and place % 5 == 0:
        wanted.append(f"*.{name}")
    made = LineagePlan(name=name, names=tuple(map(names.parse, wanted)), issuers=(kind,))
    return lineages.create(lifecycle, rig.ADMIN, made)


def campaign(count: int) -> Report:
    """Order `count` certificates and judge."""
    report = Report(count)
    with tempfile.TemporaryDirectory(prefix="certwright-orders-") as name, surroundings(Path(name)) as (named, ca):
        store = open_store(f"sqlite:///{name}/certwright.db")
        try:
            lifecycle = wired(store, named, ca)
            for place in range(count):
                plan(lifecycle, place, KINDS[place % len(KINDS)])
            runner = Runner(lifecycle, DUTIES)
            before = time.perf_counter()
            _until_done(store, runner, deadline=time.monotonic() + 60 + 2 * count)
            report.seconds = time.perf_counter() - before
            runner.stop()
            _judge(store, ca, report)
        finally:
            store.close()
    return report


def _until_done(store: Store, runner: Runner, deadline: float) -> None:
    """Tick until every lineage has its certificate; what failed is hurried, as a person would."""
    while time.monotonic() < deadline:
        runner.tick()
        time.sleep(0.05)
        with store.read() as connection:
            if connection.execute(select(col(Lineage.id)).where(col(Lineage.current_id).is_(None))).first() is None:
                return


def _judge(store: Store, ca: Pebble, report: Report) -> None:
    report.issued = ca.issued()
    report.finalized = ca.logged("is fully authorized. Processing finalization")
    with store.read() as connection:
        rows = connection.execute(select(Renewal)).all()
        failing = connection.execute(select(Work).where(col(Work.failing_since).is_not(None))).all()
    report.kinds = Counter(row.issuer for row in rows if row.issued_at is not None)
    report.wrong += [f"{row.kind} of {row.subject}: {row.last_error}" for row in failing]
    by_lineage = Counter(row.lineage_id for row in rows)
    report.wrong += [f"lineage {lineage}: {times} renewals" for lineage, times in by_lineage.items() if times != 1]
    if not report.issued == len(by_lineage) == report.orders:
        report.wrong.append(f"{report.issued} issued, {len(by_lineage)} renewed, {report.orders} wanted")


def main(arguments: list[str]) -> int:
    """Run it, print what became of it."""
    report = campaign(int(arguments[0]) if arguments else 500)
    print(
        f"{report.orders} orders in {report.seconds:,.0f} s, half of all nonces refused, validation sleeping: "
        f"{report.issued} issued, {dict(report.kinds)}; wrong: {len(report.wrong)} {report.wrong[:3]}"
    )
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
