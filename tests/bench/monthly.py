"""The monthly report among 1,000,000 tracked: gathering its figures, and setting them as HTML and as PDF."""

from __future__ import annotations

import json
import resource
import tempfile
from pathlib import Path
from typing import Any

from ca import clock
from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store, open_store
from renewers.lifecycle import Lifecycle
from renewers.models import Event, Lineage, Owner, Renewal, Tracked
from renewers.reports.monthly import chapters, figures, html, paper, snapshots
from renewers.reports.monthly.months import Month, month_of
from renewers.reports.monthly.snapshots import Kept
from renewers.timing.lead_time import DAY
from tests import rig
from tests.bench.due import append, tracked_row
from tests.bench.report import Figure, heading, show, wall

SIZE, QUICK = 1_000_000, 100_000
OWNERS = 1000
BUDGET = 120.0
KEYS = ("P-256", "RSA-2048", "P-384", "RSA-4096", "Ed25519", "ML-DSA-65")
MODES = ("renewed", "renewed", "renewed", "holder", "manual")


def run(*, quick: bool) -> None:
    """Print the figures."""
    size = QUICK if quick else SIZE
    heading(f"The monthly report among {size:,} tracked, {OWNERS:,} owners (SQLite)")
    with tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory:
        store = open_store(f"sqlite:///{Path(directory)}/certwright.db")
        try:
            _measure(store, size)
        finally:
            store.close()


def _measure(store: Store, size: int) -> None:
    lifecycle = Lifecycle(rig.make_installation(store, with_hierarchy=False), Sealer(Secret("bench"), bytes(16)))
    month = month_of(clock.timestamp()).before
    fill(store, size, month)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, Any] = {}
    taken = wall(lambda: found.update(figures.gather(lifecycle, month)))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    show(Figure("gather all figures of a month", taken, "s", BUDGET * size / SIZE))
    show(Figure("memory that this takes besides", grown, "MB", 300))
    body = snapshots._written(found)
    show(Figure("what is kept of it", len(body) / 1e6, "MB"))
    kept = Kept(month, int(found["taken_at"]), snapshots._hash(body), json.loads(body))
    report = chapters.compose(kept)
    pages: list[bytes] = []
    show(Figure("set it as HTML", wall(lambda: html.render(report, lifecycle.templates)), "s"))
    show(Figure("set it as PDF", wall(lambda: pages.append(paper.render(report))), "s", 30.0))
    show(Figure("the PDF", len(pages[0]) / 1e6, "MB"))


def fill(store: Store, size: int, month: Month) -> None:
    """An inventory with owners, and half of it renewed within a month."""
    now = clock.timestamp()
    append(store, Owner, range(OWNERS), lambda place: _owner(place, now))
    append(store, Lineage, range(size), lambda place: _lineage(place, now))
    append(store, Tracked, range(size), lambda place: _tracked(place, now))
    append(store, Renewal, range(size // 2), lambda place: _renewal(place, size // 2, month))
    append(store, Event, range(size // 2), lambda place: _event(place, size // 2, month))


def _owner(place: int, now: int) -> dict[str, Any]:
    words = {"name": f"team-{place:04}", "email": f"team-{place}@example.org", "escalation": "[]", "time_zone": "UTC"}
    return {**words, "is_fallback": place == 0, "created_at": now, "created_by": "bench"}


def _lineage(place: int, now: int) -> dict[str, Any]:
    texts = {"names": "[]", "names_key": str(place), "issuers": "[]", "profile": "server", "key_type": "", "window": ""}
    more = {"key_age": 0, "may_shrink": False, "created_at": now, "created_by": "bench"}
    whose = {"owner_id": place % OWNERS + 1, "mode": MODES[place % len(MODES)], "current_id": place + 1}
    return {"name": f"lineage-{place}", **texts, **more, **whose}


def _tracked(place: int, now: int) -> dict[str, Any]:
    whose = {"lineage_id": place + 1, "answering_id": place % OWNERS + 1, "is_orphan": place % 200 == 0}
    life = (90, 365, 47, 100)[place % 4] * DAY
    start = now - place % (life // 2)
    times = {"not_before": start, "not_after": start + life - 1, "issuer": f"CN=Issuing {place % 7}"}
    key = (place if place % 500 else 0).to_bytes(32, "big")
    return tracked_row(place, now) | whose | times | {"key_type": KEYS[place % len(KEYS)], "spki_sha256": key}


def _renewal(place: int, count: int, month: Month) -> dict[str, Any]:
    issued = month.start + place * (month.end - month.start) // count
    made = {"lineage_id": place + 1, "tracked_id": place + 1, "replaces_id": None, "state": "done", "reason": "due"}
    times = {"started_at": issued - place % 40, "issued_at": issued, "finished_at": issued + place % 300}
    key = {"csr": b"", "sealed_key": None, "key_made_at": issued, "order_url": None, "finalized_at": None}
    return {**made, **times, **key, "issuer": "internal", "left_out": "[]", "error": None}


def _event(place: int, count: int, month: Month) -> dict[str, Any]:
    at = month.start + place * (month.end - month.start) // count
    body = json.dumps({"message": "renewed", "attempts": 1 + (place % 50 == 0), "failed_since": None})
    named = {"kind": "certificate-renewed", "subject": f"lineage-{place}", "severity": "info"}
    return {**named, "at": at, "body": body, "is_pending": False}
