"""Renewals a second, end to end: key, order, challenge, certificate, record; by a real Pebble and by our own CA."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.store import Store, open_store
from ca.x509 import names
from renewers.duties import DUTIES
from renewers.inventory import lineages
from renewers.inventory.lineages import LineagePlan
from renewers.issuers.internal import InternalIssuer
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Lineage, Tracked, Work
from renewers.runner import Runner
from tests import rig
from tests.bench.due import append, tracked_row, work_row
from tests.bench.report import Figure, cpu, heading, show
from tests.flows import orders

SIZES = (0, 100_000, 1_000_000)
COUNT = 120


def run(*, quick: bool) -> None:
    """Print the figures for each size."""
    heading("Renewals end to end (SQLite; Pebble validates, and takes its share of the same two cores)")
    with (
        tempfile.TemporaryDirectory(prefix="certwright-bench-") as home,
        orders.surroundings(Path(home), nonce_reject=0, va_sleep=False) as (named, ca),
    ):
        store = open_store(f"sqlite:///{home}/certwright.db")
        try:
            public = orders.wired(store, named, ca, workers=16)
            rig.make_hierarchy(public.installation)
            own = Lifecycle(
                public.installation,
                orders.SEALER,
                issuers={"internal": InternalIssuer(public.installation)},
                policy=Policy(workers=16),
            )
            stored = 0
            for round_, size in enumerate(SIZES[:2] if quick else SIZES):
                _fill(store, range(stored, size))
                stored = size
                for kind in ("http-01", "dns-01"):
                    _measure(public, f"{size:>9,} tracked: over ACME, {kind}", round_, kind, "example.test")
                _measure(own, f"{size:>9,} tracked: by our own CA", round_, "internal", "example.internal")
        finally:
            store.close()


def _fill(store: Store, places: range) -> None:
    """What is tracked and planned, and not due for months."""
    later = clock.timestamp() + 90 * 86400
    append(store, Tracked, places, lambda place: {**tracked_row(place, later), "lineage_id": None, "next_look": later})
    append(store, Work, places, lambda place: {**work_row(place, later), "kind": "look", "due_at": later})


def _measure(lifecycle: Lifecycle, label: str, round_: int, issuer: str, domain: str) -> None:
    for place in range(COUNT):
        name = names.parse(f"r{round_}-{issuer[:4]}-{place}.{domain}")
        plan = LineagePlan(name=name.value, names=(name,), issuers=(issuer,))
        lineages.create(lifecycle, rig.ADMIN, plan)
    runner = Runner(lifecycle, DUTIES)
    before, spent = time.perf_counter(), cpu()
    runner.drain()
    seconds, spent = time.perf_counter() - before, cpu() - spent
    runner.stop()
    with lifecycle.store.read() as connection:
        missing = connection.execute(select(col(Lineage.name)).where(col(Lineage.current_id).is_(None))).all()
    note = f"{1e3 * spent / COUNT:.1f} ms of our CPU each" + (f"; {len(missing)} MISSING" if missing else "")
    show(Figure(label, COUNT / seconds, "/s", note=note))
