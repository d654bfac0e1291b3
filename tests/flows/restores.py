"""`python -m tests.flows.restores COUNT`: backups taken under load, restored; nothing answered before is lost.

Threads issue and revoke while backups are made. Each backup is restored into a directory of its own: what was answered
before it began, a revocation included, is there, the ledger is sound, every list has a number larger than any that was
published, and serial numbers that are drawn afterwards are new.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select
from sqlmodel import col

from ca import revocation
from ca.ledger.reconcile import audit
from ca.models import Certificate, DeltaList, Revocation, RevocationList
from ca.secret import Secret
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from pki import backup, restoring
from pki.initialise import InitPlan, initialise
from pki.product import Product
from tests import rig
from tests.postgresql import fresh_database

PASSPHRASE = Secret("correct horse battery")
WORKLOAD = "spiffe://certwright.internal/ns/payments/sa/api"
BACKUPS = 2


@dataclass
class Restore:
    """What one restore came to."""

    answered: int
    revoked: int
    missing: list[str]
    is_sound: bool
    lowest_after: int
    highest_before: int
    collisions: int
    seconds: float


@dataclass
class Outcome:
    """A whole run."""

    issued: int = 0
    restores: list[Restore] = field(default_factory=list)


def run(count: int, home: Path, *, source: str | None = None, target: str | None = None) -> Outcome:
    """Issue so many under two backups, restore each; from and to PostgreSQL where a server is given, else SQLite."""
    recipient = backup.make_key(home / "key.pem", PASSPHRASE)
    key = backup.load_key(home / "key.pem", PASSPHRASE)
    changes = {"backup.to": '"../backups"', "backup.recipient": f'"{recipient}"', "crl.shards": "2"}
    if source is not None:
        changes["store.url"] = f'"{fresh_database(source)}"'
    initialise(home / "state", InitPlan(changes=changes))
    outcome, answered, taken = Outcome(), list[str](), list[tuple[list[str], list[str], Path]]()
    revoked = list[str]()
    with Product.open(home / "state") as product:
        failed: list[BaseException] = []

        def load(share: int) -> None:
            try:
                for place in range(share):
                    issued = rig.issue(product.installation, WORKLOAD)
                    answered.append(issued.serial)
                    if place % 4 == 3:
                        revocation.revoke(product.installation, rig.ADMIN, issued.serial, RevocationReason.SUPERSEDED)
                        revoked.append(issued.serial)
                    if place % 8 == 7:
                        product.publish_lists()
            except BaseException as error:
                failed.append(error)
                raise

        threads = [threading.Thread(target=load, args=(count // 2,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for part in range(BACKUPS):
            while len(answered) < count * (part + 1) // (BACKUPS + 1) and any(thread.is_alive() for thread in threads):
                time.sleep(0.002)
            so_far = list(answered), list(revoked)
            taken.append((*so_far, backup.create(product, "local:test")[0].path))
        for thread in threads:
            thread.join()
        assert not failed, failed
        product.settle()
        highest = highest_number(product.installation.store)
    outcome.issued = len(answered)
    for place, (before, gone, path) in enumerate(taken):
        url = fresh_database(target) if target is not None else None
        outcome.restores.append(
            _restore(path, key, home / f"restored-{place}", (before, gone), set(answered), highest, url)
        )
    return outcome


def _restore(
    path: Path,
    key: object,
    state: Path,
    before: tuple[list[str], list[str]],
    answered: set[str],
    highest: int,
    url: str | None,
) -> Restore:
    started = time.monotonic()
    passphrase = state.parent / "state" / "key-passphrase"
    restoring.restore(path, key, state, url=url, passphrase_file=passphrase)  # type: ignore[arg-type]
    seconds = time.monotonic() - started
    with Product.open(state) as product:
        store = product.installation.store
        with store.read() as connection:
            there = set(connection.execute(select(col(Certificate.serial))).scalars())
            refused = set(connection.execute(select(col(Revocation.serial))).scalars())
        fresh = {rig.issue(product.installation, WORKLOAD).serial for _ in range(5)}
        product.settle()
        report = audit(store, product.installation.ledger.verifier)
        lowest = lowest_number(store)
    issued, revoked = before
    missing = [serial for serial in issued if serial not in there] + [one for one in revoked if one not in refused]
    return Restore(len(issued), len(revoked), missing, report.is_sound, lowest, highest, len(fresh & answered), seconds)


def highest_number(store: Store) -> int:
    """The largest number of any list that was published."""
    with store.read() as connection:
        found = (connection.execute(select(func.max(col(t.number)))).scalar() or 0 for t in (RevocationList, DeltaList))
        return max(found)


def lowest_number(store: Store) -> int:
    """The smallest number of any list."""
    with store.read() as connection:
        return int(connection.execute(select(func.min(col(RevocationList.number)))).scalar_one())


def judge(outcome: Outcome) -> None:
    """Nothing lost, nothing back, nothing twice."""
    assert len(outcome.restores) == BACKUPS
    for each in outcome.restores:
        assert not each.missing, f"answered before the backup, and not in it: {each.missing[:5]}"
        assert each.is_sound, "the restored ledger is not sound"
        assert each.lowest_after > each.highest_before, "a list's number went back"
        assert not each.collisions, "a serial number was drawn twice"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        result = run(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, Path(directory))
        judge(result)
        for one in result.restores:
            so_many = f"{one.answered} of {result.issued} answered before, {one.revoked} revoked"
            print(f"{so_many}; restored in {one.seconds:.1f} s; none missing")
