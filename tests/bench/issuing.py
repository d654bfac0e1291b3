"""Issuance in process: policy, lint, ledger, durable on SQLite, 32 callers at once; alone, and with much stored."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from ca import enrolment, issuance
from ca.enrolment import Wish
from ca.installation import Installation
from ca.store import open_store
from ca.x509.request import read_request
from tests import rig
from tests.bench.floor import measure_floor
from tests.bench.report import Figure, cpu, heading, show

CALLERS = 32
SHARDS = 128
BUDGET = 4.5


@contextmanager
def fresh_installation() -> Iterator[Installation]:
    """An installation on SQLite in a temporary directory, with as many CRL shards as a real one."""
    with tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory:
        store = open_store(f"sqlite:///{Path(directory)}/certwright.db")
        try:
            yield rig.make_installation(store, shards=SHARDS)
        finally:
            store.close()


def issue_many(installation: Installation, count: int) -> float:
    """Issue `count` certificates for 32 callers and give their ledger entries a place; CPU seconds for each."""
    request = rig.make_csr(rig.WORKLOAD, "api.payments.svc.example.internal")

    async def caller(certificates: int) -> None:
        for _ in range(certificates):
            decision = enrolment.authorise_issue(installation, rig.OPERATOR, "mesh", read_request(request), Wish())
            await issuance.aissue(decision, installation)

    async def everybody() -> None:
        await asyncio.gather(*(caller(count // CALLERS) for _ in range(CALLERS)))

    before = cpu()
    uvloop.run(everybody())
    installation.ledger.sequence()
    return (cpu() - before) / (count // CALLERS * CALLERS)


def run(*, quick: bool) -> None:
    """Print the figures."""
    heading("Issuance in process (P-256, policy, lint, ledger, durable on SQLite, 32 callers)")
    count = 1600 if quick else 4800
    with fresh_installation() as installation:
        issue_many(installation, 640)
        pairs = [(measure_floor(), issue_many(installation, count)) for _ in range(3)]
    floor = statistics.median(pair[0] for pair in pairs)
    each = statistics.median(pair[1] for pair in pairs)
    ratio = statistics.median(cost / below for below, cost in pairs)
    show(Figure("floor: check a request's signature, make one", floor * 1e6, "us"))
    show(Figure("CPU of one certificate", each * 1e6, "us"))
    show(Figure("ratio to the floor", ratio, "x", BUDGET))
