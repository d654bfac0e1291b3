"""Numbers of revocation lists grow: over restarts, restored backups, steps of the clock, and rivals (row 73)."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from ca import certificates, clock, crl, revocation
from ca.installation import Installation
from ca.issuance import Issued
from ca.models import RevocationList
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import listed, publish, replica, rows
from tests.conftest import fresh_database

SUPERSEDED = RevocationReason.SUPERSEDED


def revoke(installation: Installation, issued: Issued) -> str:
    """Revoke a certificate; returns its serial number."""
    return revocation.revoke(installation, rig.OPERATOR, issued.serial, SUPERSEDED).serials[0]


def numbers(installation: Installation) -> dict[tuple[int, int], int]:
    """The number of every stored list."""
    return {(row.authority_id, row.shard): row.number for row in rows(installation.store, RevocationList)}


@pytest.mark.parametrize("step", [timedelta(0), timedelta(hours=-1), timedelta(days=-400), timedelta(hours=1)])
def test_numbers_grow_whatever_the_clock_does(installation: Installation, step: timedelta) -> None:
    """Several lists in one second, and after the clock was set back or forth: each has a larger number."""
    issued = [rig.issue(installation) for _ in range(6)]
    for turn, one in enumerate(issued):
        before = numbers(installation)
        with clock.pinned(clock.now() + (step if turn > 2 else timedelta(0))):
            revocation._revoke_all(installation, rig.OPERATOR, [one.serial], SUPERSEDED)
            made = publish(installation)
        after = numbers(installation)
        assert len(made) == sum(after[place] > before[place] for place in before) >= 2
        assert all(after[place] >= before[place] for place in before)


def test_numbers_grow_over_restarts_and_old_backups(tmp_path: Path) -> None:
    """A consumer that saw the lists before a restore takes the ones after it: their numbers are larger."""
    path = tmp_path / "certwright.db"
    store = open_store(f"sqlite:///{path}")
    installation = rig.make_installation(store)
    issued = [rig.issue(installation) for _ in range(12)]
    highest = numbers(installation)
    start = clock.now()

    def after(turn: int, store: Store) -> None:
        """A later process revokes and publishes; every number that changes grows beyond all that were seen."""
        with clock.pinned(start + timedelta(minutes=turn + 1)):
            later = replica(installation, store)
            revoke(later, issued[turn])
            for one in publish(later):
                place = (later.authorities.get(one.authority).id, one.shard)
                assert one.number > highest[place]
                highest[place] = one.number

    for turn in range(6):
        after(turn, store)
        store.close()
        if turn == 2:
            shutil.copy(path, tmp_path / "backup.db")
        store = open_store(f"sqlite:///{path}")
    store.close()
    shutil.copy(tmp_path / "backup.db", path)
    store = open_store(f"sqlite:///{path}")
    for turn in range(6, 9):
        after(turn, store)
    store.close()


def test_two_publishers_race(postgresql: str) -> None:
    """60 rounds of two replicas that publish the same change: one wins, no number is used twice, no entry is lost."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    installation = rig.make_installation(stores[0])
    installations = [installation, replica(installation, stores[1])]
    issued = [rig.issue(installation) for _ in range(60)]
    highest: dict[int, int] = {}
    try:
        with ThreadPoolExecutor(2) as threads:
            for turn, one in enumerate(issued):
                start = threading.Barrier(2)
                serial = revoke(installations[turn % 2], one)

                def run(place: int) -> list[crl.Published]:
                    start.wait()  # noqa: B023 - each round waits for its own threads
                    return publish(installations[place])

                made = [done for result in threads.map(run, range(2)) for done in result]
                for shard in {done.shard for done in made}:
                    in_order = sorted(done.number for done in made if done.shard == shard)
                    assert len(set(in_order)) == len(in_order)
                    assert in_order[0] > highest.get(shard, 0)
                    highest[shard] = in_order[-1]
                assert serial in listed(installation)
                assert serial in listed(installation, shard=certificates.find(stores[0], serial).shard or 0)
        assert listed(installation) == {one.serial for one in issued}
    finally:
        for store in stores:
            store.close()
