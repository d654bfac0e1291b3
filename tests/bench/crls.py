"""CRLs: all shards for 1,000,000 revoked certificates, and one revocation among them. In a process of its own."""

from __future__ import annotations

import json
import resource
import secrets
import subprocess
import sys
import time

from sqlalchemy import update

from ca import clock, crl, issuance, revocation
from ca.crl import CrlPolicy, CrlPublisher
from ca.installation import Installation
from ca.models import Revocation, RevocationList
from ca.store import Transaction
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.bench.issuing import SHARDS, fresh_installation
from tests.bench.report import Figure, cpu, heading, show

CPU_BUDGET, MEMORY_BUDGET, ONE_BUDGET = 6.0, 256.0, 50.0
PAGE = 20_000


def run(*, quick: bool) -> None:
    """Print the figures for growing numbers of revoked certificates."""
    heading("CRLs (128 shards of one CA, every certificate revoked)")
    for size in (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        argv = [sys.executable, "-m", "tests.bench.crls", str(size)]
        found = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        is_whole = size == 1_000_000
        label = f"{size:>9,} revoked:"
        show(Figure(f"{label} all shards, CPU", found["cpu"], "s", CPU_BUDGET if is_whole else None))
        show(
            Figure(
                f"{label} all shards, peak memory of the process",
                found["rss"],
                "MiB",
                MEMORY_BUDGET if is_whole else None,
            )
        )
        show(Figure(f"{label} one more, its shard rebuilt", found["one"], "ms", ONE_BUDGET if is_whole else None))
        show(Figure(f"{label} the complete list, CPU", found["complete"], "s", note=f"{found['bytes'] / 1e6:.1f} MB"))


def measure(size: int) -> dict[str, float]:
    """Fill a store with revocations, build everything, then revoke one more."""
    with fresh_installation() as installation:
        fill(installation, size)
        publisher = CrlPublisher(installation, CrlPolicy())
        before = cpu()
        publisher.publish_due(limit=SHARDS)
        shards_cpu = cpu() - before
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        before = cpu()
        publisher.publish_due()
        complete_cpu = cpu() - before
        one = _one_more(installation, publisher)
        complete = crl.load(installation, "issuing", crl.COMPLETE)
        assert complete is not None
        assert complete.entries == size
        return {"cpu": shards_cpu, "rss": rss, "one": one * 1e3, "complete": complete_cpu, "bytes": len(complete.crl)}


def _one_more(installation: Installation, publisher: CrlPublisher) -> float:
    """Seconds from a revocation's call to its shard being published; the median of 15."""
    import statistics

    found = []
    for _ in range(15):
        issued = rig.issue(installation)
        started = time.perf_counter()
        revocation.revoke(installation, rig.OPERATOR, issued.serial, RevocationReason.SUPERSEDED)
        done = publisher.publish_due(limit=1)
        found.append(time.perf_counter() - started)
        assert [published.shard for published in done] == [int(issued.serial, 16) % SHARDS]
    return statistics.median(found)


def fill(installation: Installation, count: int) -> None:
    """Add revocations, as `revoke` would have, and make every list due."""
    issuer = installation.authorities.issuer_for("issuing")
    now = clock.timestamp()
    for start in range(0, count, PAGE):
        rows = [_row(issuer.id, now) for _ in range(min(PAGE, count - start))]

        def unit(tx: Transaction, rows: list[dict[str, object]] = rows) -> None:
            for row in rows:
                tx.add(Revocation, row)

        installation.store.write(unit)

    def touch(tx: Transaction) -> None:
        tx.execute(update(RevocationList).values(due_at=0, changes=1))

    installation.store.write(touch)


def _row(authority_id: int, now: int) -> dict[str, object]:
    serial = issuance.new_serial()
    return {
        "serial": f"{serial:x}",
        "authority_id": authority_id,
        "shard": serial % SHARDS,
        "reason": secrets.choice((0, 1, 4)),
        "revoked_at": now,
        "not_after": now + 86400 * 365,
        "revoked_by": "token:bench",
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
