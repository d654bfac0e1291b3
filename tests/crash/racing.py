"""Two replicas on one PostgreSQL do everything at once, and are killed (`tests/crash/race.py` runs it).

Both issue, spend the same one-time links, revoke, build CRLs and number the ledger; one of them is killed with -9 every
few seconds and started again. Each writes down what it was told is durable, before it goes on. Judged at the end, from
those notes and from the tables: no serial number twice, nothing answered and missing, no link spent twice, CRL numbers
strictly up, the ledger whole.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cryptography import x509
from sqlalchemy import func, select
from sqlmodel import col

from ca import clock, revocation, sign_in_links
from ca.crl import CrlPolicy, CrlPublisher
from ca.errors import CertwrightError, Unauthenticated, Unavailable
from ca.installation import Installation
from ca.ledger.reconcile import audit
from ca.models import Authority, BrowserSession, Certificate, RevocationList, RevocationListContent, SignInLink
from ca.recording import abandon_intents
from ca.sessions import Terms
from ca.store import Store, open_store
from ca.x509.certificate import algorithm_of, assemble
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.crash import worker

REPLICAS = 2
THREADS = 3
GIVEN_UP = 60
"""Seconds: longer than a living replica ever is between an intent and its certificate."""
TERMS = Terms(timedelta(hours=1), timedelta(hours=1))


@dataclass
class Report:
    """What became of it."""

    kills: int = 0
    seconds: float = 0.0
    counted: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Replica:
    """What the threads of one process share; `front` is where all of them stand in the list of links."""

    installation: Installation
    links: list[str]
    front: Any
    notes: int
    answered: list[str] = field(default_factory=list)

    def note(self, *words: object) -> None:
        """One line in one system call: a kill leaves it whole or not at all."""
        os.write(self.notes, (" ".join(map(str, words)) + "\n").encode())

    def issue(self) -> None:
        """One certificate after the other."""
        thread = secrets.token_hex(6)
        for place in count():
            issued = rig.issue(self.installation, worker.name(f"{thread}-{place}"), idempotency_key=f"{thread}-{place}")
            self.note("issued", issued.serial, sha256(issued.certificate).hexdigest())
            self.answered.append(issued.serial)

    def spend(self) -> None:
        """The link that everybody tries at this moment, then the next."""
        while (place := self.front.value) < len(self.links):
            try:
                sign_in_links.spend(self.installation, self.links[place], TERMS, lambda _: rig.OPERATOR)
                self.note("spent", place)
            except Unauthenticated:
                self.note("too-late", place)
            self.front.value = max(self.front.value, place + 1)

    def revoke(self) -> None:
        """One of ten."""
        for place in count(0, 10):
            while len(self.answered) <= place:
                time.sleep(0.01)
            revocation.revoke(self.installation, rig.OPERATOR, self.answered[place], RevocationReason.SUPERSEDED)
            self.note("revoked", self.answered[place])

    def publish(self) -> None:
        """The lists that are due, and the ledger's numbers and heads."""
        publisher = CrlPublisher(self.installation, CrlPolicy())
        while True:
            for made in publisher.publish_due():
                self.note("published", made.authority, made.shard, made.number)
            self.installation.ledger.sequence()
            abandon_intents(self.installation.store, older_than=clock.timestamp() - GIVEN_UP)
            time.sleep(0.05)

    def without_end(self, job: Callable[[], None]) -> None:
        """A refusal that says 'not now' is tried again; everything else is a finding."""
        while True:
            try:
                return job()
            except Unavailable as error:
                self.note("unavailable", error.code)
            except CertwrightError as error:
                return self.note("broke", job.__name__, error.code, error)
            except Exception as error:  # the judge reads it
                return self.note("broke", job.__name__, repr(error))


def replica(url: str, home: Path, place: int, front: Any) -> None:
    """Everything at once, until somebody kills it."""
    installation = worker.open_installation(open_store(url), worker.open_keys(home))
    notes = os.open(home / f"notes-{place}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    one = Replica(installation, (home / "links").read_text().split(), front, notes)
    jobs = [*[one.issue] * THREADS, one.spend, one.spend, one.revoke, one.publish]
    threads = [threading.Thread(target=one.without_end, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def campaign(
    url: str, issuances: int, *, pause: float = 3.0, seconds: float = 3600.0, processes: int = REPLICAS
) -> Report:
    """Until so much is issued and every link was tried, or the time is over; then judge."""
    report, begun = Report(), time.monotonic()
    until = begun + seconds
    home = Path(tempfile.mkdtemp(prefix="certwright-race-"))
    (home / "keys").mkdir(mode=0o700)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crash.racing"])
    try:
        _prepare(url, home, issuances // 10)
        front = context.RawValue("q", 0)  # without a lock, which a dead process would keep
        running = [_started(context, url, home, place, front) for place in range(processes)]
        said = [0] * processes
        while not _is_done(home, issuances, front.value) and time.monotonic() < until:
            time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
            place = report.kills % processes
            while _said(home, place) <= said[place] and running[place].is_alive() and time.monotonic() < until:
                time.sleep(0.05)  # on a slow machine none would live
            said[place] = _said(home, place)
            _kill(running[place])
            running[place] = _started(context, url, home, place, front)
            report.kills += 1
        for process in running:
            _kill(process)
        _judge(url, home, front.value, report)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report.seconds = time.monotonic() - begun
    return report


def _prepare(url: str, home: Path, links: int) -> None:
    store = open_store(url)
    try:
        installation = rig.make_installation(store, keys=worker.open_keys(home), shards=2)
        hour = timedelta(hours=1)
        made = [sign_in_links.make_link(installation, rig.OPERATOR, role=None, lifetime=hour) for _ in range(links)]
        (home / "links").write_text("\n".join(secret.reveal() for _, secret in made))
    finally:
        store.close()


def _started(context: Any, url: str, home: Path, place: int, front: Any) -> BaseProcess:
    process = context.Process(target=replica, args=(url, home, place, front), daemon=True)
    process.start()
    return process  # type: ignore[no-any-return]


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()


def _said(home: Path, place: int) -> int:
    path = home / f"notes-{place}"
    return path.stat().st_size if path.exists() else 0


def _notes(home: Path) -> list[list[list[str]]]:
    return [[line.split() for line in path.read_text().splitlines()] for path in sorted(home.glob("notes-*"))]


def _is_done(home: Path, issuances: int, front: int) -> bool:
    heard = [line for lines in _notes(home) for line in lines]
    is_enough = sum(line[0] == "issued" for line in heard) >= issuances and front >= issuances // 10
    return is_enough or any(line[0] == "broke" for line in heard)


def _judge(url: str, home: Path, front: int, report: Report) -> None:
    heard = _notes(home)
    lines = [line for each in heard for line in each]
    report.counted = Counter(line[0] for line in lines)
    report.wrong += [" ".join(line) for line in lines if line[0] == "broke"]
    store = open_store(url)
    try:
        installation = worker.open_installation(store, worker.open_keys(home))
        while abandon_intents(store, older_than=clock.timestamp() + 1):
            pass
        CrlPublisher(installation, CrlPolicy()).publish_due()
        installation.ledger.sequence()
        report.wrong += _certificates(store, [line for line in lines if line[0] == "issued"])
        report.wrong += _links(store, front, Counter(line[1] for line in lines if line[0] == "spent"))
        report.wrong += _lists(store, heard, {line[1] for line in lines if line[0] == "revoked"})
        found = audit(store, installation.ledger.verifier)
        report.wrong += [] if found.is_sound else [f"the audit: {found.findings[:3]}"]
    finally:
        store.close()


def _certificates(store: Store, issued: list[list[str]]) -> list[str]:
    """Every serial number once, and every answer as it was given."""
    with store.read() as connection:
        rows = connection.execute(select(Certificate).where(col(Certificate.signature).is_not(None))).all()
    twice = [serial for serial, times in Counter(row.serial for row in rows).items() if times > 1]
    twice += [serial for serial, times in Counter(line[1] for line in issued).items() if times > 1]
    stored = {row.serial: sha256(assemble(row.tbs, algorithm_of(row.tbs), row.signature)).hexdigest() for row in rows}
    missing = [serial for _, serial, fingerprint in issued if stored.get(serial) != fingerprint]
    return [f"{serial} twice" for serial in twice] + [f"{serial} was answered and is missing" for serial in missing]


def _links(store: Store, front: int, spent: Counter[str]) -> list[str]:
    """As many sessions as links that are used, whoever tried; each told to one caller at most."""
    wrong = [f"link {place} was spent {times} times" for place, times in spent.items() if times > 1]
    with store.read() as connection:
        used = connection.execute(
            select(func.count()).select_from(SignInLink).where(col(SignInLink.used_at).is_not(None))
        ).scalar_one()
        sessions = connection.execute(select(func.count()).select_from(BrowserSession)).scalar_one()
    if used != sessions or used < max(front, len(spent)):
        wrong.append(f"{used} links are used, {sessions} sessions were begun, {front} links were tried by all")
    return wrong


def _lists(store: Store, heard: list[list[list[str]]], revoked: set[str]) -> list[str]:
    """No number is given twice, each process sees them rise, the stored one is the last; nothing revoked is absent."""
    given: dict[tuple[str, str], list[list[int]]] = defaultdict(list)
    for lines in heard:
        own: dict[tuple[str, str], list[int]] = defaultdict(list)
        for _, authority, shard, number in (line for line in lines if line[0] == "published"):
            own[authority, shard].append(int(number))
        for place, numbers in own.items():
            given[place].append(numbers)
    wrong = []
    for place, all_numbers in given.items():
        flat = [number for numbers in all_numbers for number in numbers]
        if any(numbers != sorted(numbers) for numbers in all_numbers) or len(set(flat)) != len(flat):
            wrong.append(f"the CRL numbers of {place} are not strictly up")
    with store.read() as connection:
        columns = (col(Authority.name), col(RevocationList.shard), col(RevocationList.number))
        stored = select(*columns).join(Authority, col(Authority.id) == col(RevocationList.authority_id))
        numbers = {(name, shard): number for name, shard, number in connection.execute(stored)}
        contents = connection.execute(select(RevocationListContent)).all()
    for (authority, shard), all_numbers in given.items():
        last = max(number for each in all_numbers for number in each)
        if numbers.get((authority, int(shard)), 0) < last:
            wrong.append(f"list {shard} of {authority} stands before its number {last}")
    listed = {f"{one.serial_number:x}" for row in contents for one in x509.load_der_x509_crl(row.crl)}
    return wrong + [f"{serial} is revoked and in no list" for serial in sorted(revoked - listed)]
