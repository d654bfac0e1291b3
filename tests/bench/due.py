"""Due work and due looks: finding the next 1,000 among what is stored, from 1,000 to 1,000,000."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import SQLModel

from ca import clock
from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store, Transaction, open_store
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Tracked, Work
from renewers.timing import forecast, watch
from renewers.timing.lead_time import DAY
from tests import rig
from tests.bench.report import Figure, heading, show, wall

SIZES = (1_000, 1_000_000)
DUE = 1_000
PAGE = 20_000
BUDGET = 50.0
ROUNDS = 5
LIFE = 90 * DAY


def run(*, quick: bool) -> None:
    """Print the figures for each size."""
    heading(f"Due work: the next {DUE:,} among what is stored (SQLite)")
    for size in (SIZES[0], 100_000) if quick else SIZES:
        with tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory:
            store = open_store(f"sqlite:///{Path(directory)}/certwright.db")
            try:
                _measure(store, size)
            finally:
                store.close()
    count = 100_000 if quick else 1_000_000
    taken = wall(lambda: forecast.under_each(_stretches(count), now=clock.timestamp(), days=365))
    show(Figure(f"{count:>9,} certificates: a year ahead under six lifetimes", taken, "s"))


def _measure(store: Store, size: int) -> None:
    now = clock.timestamp()
    lifecycle = Lifecycle(rig.make_installation(store, with_hierarchy=False), Sealer(Secret("bench"), bytes(16)))
    fill(store, Tracked, size, lambda place: tracked_row(place, now))
    fill(store, Work, size, lambda place: work_row(place, now))
    fill(store, Lineage, 1000, _lineage)
    label = f"{size:>9,} stored:"
    found = statistics.median(wall(lambda: _find(store, now)) for _ in range(ROUNDS))
    show(Figure(f"{label} find the next {DUE:,} that are due", found * 1e3, "ms", BUDGET))
    idle = statistics.median(wall(lambda: _find(store, now - 1)) for _ in range(ROUNDS))
    show(Figure(f"{label} find that nothing is due", idle * 1e3, "ms"))
    claimed = statistics.median(_claim(store) for _ in range(ROUNDS))
    show(Figure(f"{label} claim {DUE:,} pieces of due work", claimed * 1e3, "ms", BUDGET))
    looked = statistics.median(_look(lifecycle, now) for _ in range(ROUNDS))
    show(Figure(f"{label} judge {DUE:,} and write that down", looked * 1e3, "ms"))


def _find(store: Store, now: int) -> int:
    with store.read() as connection:
        return len(connection.execute(watch._due(now, DUE)).all())


def _claim(store: Store) -> float:
    taken = wall(lambda: work.claim(store, ["renew"], limit=DUE, lease=3600))
    back = update(Work).where(Work.holder.is_not(None)).values(holder=None, due_at=Work.due_since)  # type: ignore[union-attr]
    store.write(lambda tx: tx.execute(back) and None)
    return taken


def _look(lifecycle: Lifecycle, now: int) -> float:
    taken = wall(lambda: watch.watch_due(lifecycle, limit=DUE))
    again = update(Tracked).where(Tracked.id <= DUE).values(next_look=now)  # type: ignore[operator]
    lifecycle.store.write(lambda tx: tx.execute(again) and None)
    return taken


def fill(store: Store, model: type[SQLModel], count: int, row: Callable[[int], dict[str, Any]]) -> None:
    """Nothing but `count` rows of a table."""
    store.write(lambda tx: tx.execute(delete(model)) and None)
    append(store, model, range(count), row)


def append(store: Store, model: type[SQLModel], places: range, row: Callable[[int], dict[str, Any]]) -> None:
    """More rows of a table."""
    for start in range(places.start, places.stop, PAGE):

        def unit(tx: Transaction, start: int = start) -> None:
            for place in range(start, min(start + PAGE, places.stop)):
                tx.add(model, row(place))

        store.write(unit)


def tracked_row(place: int, now: int) -> dict[str, Any]:
    """The first thousand are due; the others come due over the next weeks."""
    start = now - place % (LIFE // 2)
    texts = {"kind": "certificate", "source": "renewed", "issuer": "CN=Issuing", "key_type": "p256"}
    return texts | {
        "identity": f"sha256:{place * 0x9E3779B97F4A7C15 % (1 << 64):064x}",
        "shown_as": f"host-{place}.example.internal",
        "subject": f"CN=host-{place}.example.internal",
        "serial": f"{place * 0x9E3779B97F4A7C15 % (1 << 64):040x}",
        "spki_sha256": place.to_bytes(32, "big"),
        "not_before": start,
        "not_after": start + LIFE - 1,
        "lineage_id": place % 1000 + 1,
        "owner_id": None,
        "replaced_by": None,
        "stage": "fine",
        "stage_since": start,
        "next_look": now if place < DUE else now + 1 + place % (30 * DAY),
        "recorded_at": start,
    }


def work_row(place: int, now: int) -> dict[str, Any]:
    due = now - 10 if place < DUE else now + 86400 + place % (30 * DAY)
    lease = {"state": "waiting", "holder": None, "fence": 0, "attempts": 0}
    return {"kind": "renew", "subject": str(place), "due_at": due, "due_since": due, **lease}


def _lineage(place: int) -> dict[str, Any]:
    texts = {"names": "[]", "names_key": f"{place}", "issuers": "[]", "profile": "", "key_type": "", "window": ""}
    made = {"created_at": 0, "created_by": "bench", "key_age": 0, "may_shrink": False}
    return {"name": f"host-{place}", "mode": "renewed", "current_id": place + 1, **texts, **made}


def _stretches(count: int) -> Any:
    now = clock.timestamp()
    for place in range(count):
        life = (90 * DAY, 47 * DAY, 398 * DAY, 6 * DAY)[place % 4]
        start = now - place * 7919 % life
        yield start, start + life - 1, f"{place}/{place}"
