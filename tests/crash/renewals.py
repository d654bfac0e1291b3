"""Two replicas renew, on one PostgreSQL, and are killed with -9 at random: what is due is renewed exactly once.

Replicas are forked from a server that has imported everything, so that a new one is at work within a tenth of a second
of the death of the last. Renewals come due spread over the time that the kills take. Judged at the end, from the tables
and from the files at the destinations.
"""

from __future__ import annotations

import multiprocessing
import secrets
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from sqlalchemy import func, select, update
from sqlmodel import col

from ca import clock
from ca.keys.algorithms import KeyType
from ca.keys.sealed import Sealer
from ca.ledger.reconcile import audit
from ca.models import Certificate
from ca.recording import abandon_intents
from ca.store import Store, Transaction, open_store
from ca.x509 import names
from ca.x509.certificate import fingerprint
from renewers import work
from renewers.delivering import destinations
from renewers.delivering.destinations import DestinationPlan
from renewers.duties import DUTIES
from renewers.inventory import lineages
from renewers.inventory.lineages import LineagePlan
from renewers.issuers.internal import InternalIssuer
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Destination, Lineage, Renewal, Tracked, Work
from renewers.publishers import files
from renewers.runner import Runner
from tests import rig
from tests.crash import worker

LEASE = 3
"""Seconds: whoever was killed is followed so soon."""
GIVEN_UP = 8
"""Seconds: longer than a living replica ever is between an intent and its certificate."""
PAUSE = 0.4
"""Seconds between two kills, on average."""
REPLICAS = 2


@dataclass
class Report:
    """What became of it."""

    renewals: int
    kills: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    resumed: int = 0
    """Pieces of work that more than one process had to take up."""
    hurried: list[str] = field(default_factory=list)
    """What waited on the ladder at the end, and why; it was hurried."""
    given_up: int = 0
    """Intents of processes that died before the signature was recorded: listed, revocable, handed to nobody."""


def wired(store: Store, home: Path) -> Lifecycle:
    """The floor that reaches out, as a replica has it."""
    installation = worker.open_installation(store, worker.open_keys(home))
    return Lifecycle(
        installation=installation,
        sealer=Sealer(worker.PASSPHRASE, bytes(16)),
        issuers={"internal": InternalIssuer(installation)},
        publishers={"files": files.make_files},
        policy=Policy(lease=LEASE, workers=4),
    )


def replica(url: str, home: Path) -> None:
    """Do what is due, until somebody kills it."""
    store = open_store(url)
    runner = Runner(wired(store, home), DUTIES)
    while True:
        runner.tick()
        # As the schedule's `recover`, only sooner: what a dead replica was about to have signed is given up.
        abandon_intents(store, older_than=clock.timestamp() - GIVEN_UP)
        time.sleep(0.02)


def prepare(url: str, home: Path, count: int, span: float) -> None:
    """An installation with `count` lineages, whose renewals come due one after the other over `span` seconds."""
    store = open_store(url)
    try:
        keys = worker.open_keys(home)
        keys.create("ledger", KeyType.ED25519)
        rig.make_hierarchy(worker.open_installation(store, keys))
        lifecycle = wired(store, home)
        for place in range(count):
            name = f"w{place}.example.internal"
            plan = LineagePlan(name=name, names=(names.parse(name),), mode="renewed", profile="server")
            lineages.create(lifecycle, rig.ADMIN, plan)
            settings = {"directory": str(home / "live" / name)}
            where = DestinationPlan(name=name, lineage=name, publisher="files", settings=settings)
            destinations.add(lifecycle, rig.ADMIN, where)
        now = clock.timestamp() + 2

        def spread(tx: Transaction) -> None:
            for row in tx.execute(select(Work).where(col(Work.kind) == "renew").order_by(col(Work.id))).all():
                at = now + int(span * (row.id % count) / count)
                tx.execute(update(Work).where(col(Work.id) == row.id).values(due_at=at, due_since=at))

        store.write(spread)
    finally:
        store.close()


def campaign(url: str, count: int, kills: int) -> Report:
    """Renew `count` certificates while `kills` processes die, and judge."""
    before, report = time.perf_counter(), Report(count)
    home = Path(tempfile.mkdtemp(prefix="certwright-renewals-"))
    (home / "keys").mkdir(mode=0o700)
    (home / "live").mkdir(mode=0o700)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.renewals"])
    try:
        prepare(url, home, count, kills * PAUSE)
        running: list[BaseProcess] = [_started(context, url, home) for _ in range(REPLICAS)]
        while report.kills < kills:
            time.sleep(PAUSE * (0.25 + 1.5 * secrets.randbelow(1000) / 1000))
            place = secrets.randbelow(REPLICAS)
            _kill(running[place])
            report.kills += 1
            running[place] = _started(context, url, home)
        _wait(url, count, report)
        for process in running:
            _kill(process)
        _judge(url, home, report)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report.seconds = time.perf_counter() - before
    return report


def _started(context: Any, url: str, home: Path) -> BaseProcess:
    process = context.Process(target=replica, args=(url, home), daemon=True)
    process.start()
    return process  # type: ignore[no-any-return]


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _wait(url: str, count: int, report: Report, seconds: float = 120) -> None:
    """Until everything is delivered, or for so long. What failed twice waits longer than we do: then it is hurried."""
    store = open_store(url)
    try:
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            with store.read() as connection:
                done = select(func.count()).select_from(Renewal).where(col(Renewal.state) == "done")
                if connection.execute(done).scalar_one() >= count:
                    return
            if time.monotonic() > started + seconds / 2 and not report.hurried:
                report.hurried = store.write(_hurry_all)
            time.sleep(0.2)
    finally:
        store.close()


def _hurry_all(tx: Transaction) -> list[str]:
    """What a person does who does not want to wait for the ladder."""
    rows = tx.execute(select(Work).where(col(Work.failing_since).is_not(None))).all()
    for row in rows:
        work.hurry(tx, row.kind, row.subject)
    return [f"{row.kind} of {row.subject}, {row.attempts} times: {row.last_error}" for row in rows]


def _judge(url: str, home: Path, report: Report) -> None:
    store = open_store(url)
    try:
        with store.read() as connection:
            signed = Counter(
                connection.execute(
                    select(col(Certificate.subject)).where(
                        col(Certificate.requested_by) == "system:renewers", col(Certificate.signature).is_not(None)
                    )
                ).scalars()
            )
            renewals = Counter(connection.execute(select(col(Renewal.lineage_id), col(Renewal.state))).all())
            rows = connection.execute(
                select(col(Lineage.id), col(Lineage.name), col(Lineage.current_id), col(Destination.delivered_id))
                .join(Destination, col(Destination.lineage_id) == col(Lineage.id))
                .order_by(col(Lineage.id))
            ).all()
            known = dict(connection.execute(select(col(Tracked.id), col(Tracked.identity))).all())
            given_up = select(func.count()).select_from(Certificate).where(col(Certificate.signature).is_(None))
            report.given_up = connection.execute(given_up).scalar_one()
            report.resumed = connection.execute(
                select(func.count()).select_from(Work).where(col(Work.fence) > 1)
            ).scalar_one()
        unfinished = _unfinished(store)
        for row in rows:
            if row.current_id is None:
                report.wrong.append(f"{row.name}: {unfinished.get(str(row.id), 'no work')}")
            _judge_one(row, signed, renewals, known, home, report)
        installation = worker.open_installation(store, worker.open_keys(home))
        installation.ledger.sequence()
        found = audit(store, installation.ledger.verifier)
        if not found.is_sound:
            report.wrong.append(f"the audit: {found.first}")
    finally:
        store.close()


def _unfinished(store: Store) -> dict[str, str]:
    """What is still to be done for which lineage, and why it is not."""
    now = clock.timestamp()
    with store.read() as connection:
        rows = connection.execute(select(Work).where(col(Work.kind) == "renew")).all()
    words = ("state", "attempts", "fence", "holder", "last_code", "last_error")
    return {row.subject: f"{[getattr(row, word) for word in words]} in {row.due_at - now} s" for row in rows}


def _judge_one(row: Any, signed: Any, renewals: Any, known: Any, home: Path, report: Report) -> None:
    if signed[row.name] != 1:
        report.wrong.append(f"{row.name}: {signed[row.name]} certificates")
    if renewals[(row.id, "done")] != 1 or sum(n for (lineage, _), n in renewals.items() if lineage == row.id) != 1:
        report.wrong.append(f"{row.name}: its renewals are {[k for k in renewals if k[0] == row.id]}")
    if row.current_id is None or row.delivered_id != row.current_id:
        report.wrong.append(f"{row.name}: {row.delivered_id} delivered, {row.current_id} current")
        return
    live = home / "live" / row.name / "live"
    certificate = x509.load_pem_x509_certificate((live / "cert.pem").read_bytes())
    key = load_pem_private_key((live / "key.pem").read_bytes(), None)
    if certificate.public_key() != key.public_key():
        report.wrong.append(f"{row.name}: the key at the destination is another certificate's")
    if known[row.current_id] != f"sha256:{fingerprint(certificate.public_bytes(Encoding.DER))}":
        report.wrong.append(f"{row.name}: another certificate is at the destination")
