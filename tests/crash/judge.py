"""The judge: what must be true of a database whose process was killed, whenever that was.

Nothing that was answered is missing or different; no serial number comes twice; whatever was signed has a row, and what
was only intended is given up in the open; signatures verify; the ledger contains what it contained.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from sqlalchemy import select, text
from sqlmodel import col

from ca import clock
from ca.certificates import find_many
from ca.issuance import issue
from ca.keys.algorithms import KeyType
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.reconcile import audit
from ca.models import Authority, Certificate, Intent, LedgerHead, Revocation, RevocationList, RevocationListContent
from ca.recording import abandon_intents
from ca.store import Store, open_store
from ca.x509.certificate import algorithm_of, assemble
from tests import rig
from tests.crash.worker import last_decision, open_installation, open_keys

PAGE = 400


class Judge:
    """Remembers everything that was answered, over all the lives of the process, and holds the database to it."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._home = home
        self.answered: dict[str, str] = {}
        """Fingerprints of the certificates that somebody was given, by serial number."""
        self.open_intents: set[str] = set()
        self.totals: Counter[str] = Counter()
        self._revoked: set[str] = set()
        self._numbers: dict[tuple[str, str], int] = {}
        self._heads: dict[int, str] = {}
        self._kept: Head | None = None
        self._last_id = 0
        self._keys = open_keys(home)
        with self._opened() as store:
            installation = rig.make_installation(store, keys=self._keys, shards=2)
            self._keys.create("subject", KeyType.P256)
            self._verifier: Verifier = installation.ledger.verifier
        self._key_files = self._hash_keys()

    def after_death(self, lines: Iterable[str]) -> Counter[str]:
        """Hear what the dead process was answered, and look; `AssertionError` names what is wrong."""
        before = self.totals.copy()
        expected_abandoned = self.open_intents if self._hear(lines) else set()
        with self._opened() as store:
            self._wait_for_its_sessions(store)
            self._certificates(store)
            self._intents(store, expected_abandoned)
            self._revocations_and_lists(store)
            self._integrity(store)
            self._ledger(store)
        assert self._hash_keys() == self._key_files, "a key file has changed"
        self.totals["lives"] += 1
        return self.totals - before  # what is larger than before

    def ask_again(self, step: str) -> bool:
        """Send the request again during which the process died; whether it was answered with what had been recorded."""
        with self._opened() as store:
            installation = open_installation(store, self._keys)
            abandon_intents(store, older_than=clock.timestamp() + 1)
            issued = issue(last_decision(installation, step), installation)
        assert issued.serial not in self.answered
        self.answered[issued.serial] = sha256(issued.certificate).hexdigest()
        self.totals["answered"] += 1
        self.totals["recorded, not answered"] -= issued.is_repeat
        return issued.is_repeat

    def at_the_end(self) -> None:
        """Once more everything that was ever answered, and every signature."""
        self._last_id = 0
        with self._opened() as store:
            for page in _pages(sorted(self.answered)):
                found = {row.serial: sha256(row.der).hexdigest() for row in find_many(store, page)}
                assert found == {serial: self.answered[serial] for serial in page}, "an answered certificate is lost"
            self._verify_signatures(store)

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        store = open_store(self._url)
        try:
            yield store
        finally:
            store.close()

    def _hash_keys(self) -> dict[str, str]:
        return {path.name: sha256(path.read_bytes()).hexdigest() for path in (self._home / "keys").iterdir()}

    def _hear(self, lines: Iterable[str]) -> bool:
        """Take note of what was answered; whether the process got so far as to recover."""
        has_recovered = False
        for line in lines:
            match line.split():
                case ["issued", serial, fingerprint]:
                    assert serial not in self.answered, f"serial number {serial} was given out twice"
                    self.answered[serial] = fingerprint
                    self.totals["answered"] += 1
                    has_recovered = True
                case ["revoked", serial]:
                    self._revoked.add(serial)
                    self.totals["revoked"] += 1
                case ["published", authority, shard, number]:
                    last = self._numbers.get((authority, shard), 0)
                    assert int(number) > last, f"list {shard} went from number {last} to {number}"
                    self._numbers[authority, shard] = int(number)
                    self.totals["lists"] += 1
                case ["head", size, root]:
                    assert self._heads.setdefault(int(size), root) == root, f"two heads of size {size}"
                    self.totals["heads"] += 1
                case ["ready", _] | ["abandoned", _]:
                    pass
                case other:
                    raise AssertionError(f"the worker said {other}")
        return has_recovered

    def _certificates(self, store: Store) -> None:
        """Answered means recorded, byte for byte; recorded means well signed."""
        new = self._verify_signatures(store)
        given = {serial for serial in new if serial in self.answered}
        wrong = [serial for serial in given if new[serial] != self.answered[serial]]
        assert not wrong, f"{wrong} are not what was answered"
        self.totals["recorded"] += len(new)
        self.totals["recorded, not answered"] += len(new) - len(given)
        recorded = self.totals["recorded"] - self.totals["recorded, not answered"]
        assert recorded == len(self.answered), f"{len(self.answered) - recorded} answered certificates are lost"

    def _verify_signatures(self, store: Store) -> dict[str, str]:
        """Check what has come since the last look; fingerprints by serial number."""
        issuers = {row.id: x509.load_der_x509_certificate(row.certificate) for row in _rows(store, select(Authority))}
        found: dict[str, str] = {}
        while rows := _rows(store, _SIGNED.where(col(Certificate.id) > self._last_id).limit(PAGE)):
            for row in rows:
                self._last_id = row.id
                assert row.serial not in found
                if row.profile != "mesh":
                    continue
                if row.signature is None:  # given up
                    continue
                der = assemble(row.tbs, algorithm_of(row.tbs), row.signature)
                certificate = x509.load_der_x509_certificate(der)
                certificate.verify_directly_issued_by(issuers[row.authority_id])
                assert f"{certificate.serial_number:x}" == row.serial
                found[row.serial] = sha256(der).hexdigest()
        return found

    def _intents(self, store: Store, expected_abandoned: set[str]) -> None:
        """What was begun is there for all to see; what the one before had begun was given up by the next."""
        intents = {row.serial for row in _rows(store, select(Intent))}
        given_up = {row.serial for row in _rows(store, _UNSIGNED)}
        assert not intents & given_up, "an intent was given up and is still there"
        assert not (intents | given_up) & self.answered.keys(), "what was answered is not recorded"
        assert expected_abandoned <= given_up, "an intent of an earlier life has vanished, or was never given up"
        self.open_intents = intents
        self.totals["intents left"] += len(intents)
        self.totals["given up"] = len(given_up)

    def _revocations_and_lists(self, store: Store) -> None:
        revoked = {row.serial for row in _rows(store, select(col(Revocation.serial)))}
        assert revoked >= self._revoked, "an answered revocation is lost"
        authorities = {row.name: row.id for row in _rows(store, select(Authority))}
        stored = {(row.authority_id, row.shard): row for row in _rows(store, select(RevocationList))}
        contents = {(row.authority_id, row.shard): row.crl for row in _rows(store, select(RevocationListContent))}
        for place, content in contents.items():
            assert sha256(content).digest() == stored[place].sha256
        for (name, shard), number in self._numbers.items():
            row = stored[authorities[name], int(shard)]
            assert row.number >= number, f"list {shard} of {name} is older than one that was published"

    def _integrity(self, store: Store) -> None:
        if store.dialect == "sqlite":
            with store.read() as connection:
                assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]

    def _ledger(self, store: Store) -> None:
        """Sound against the head of the life before; then keep the newest, as somebody elsewhere would."""
        report = audit(store, self._verifier, kept=self._kept)
        assert report.is_sound, report.findings[:3]
        assert report.certificates == self.totals["recorded"] + 1, "a certificate without an entry, or the reverse"
        heads = {row.size: row for row in _rows(store, select(LedgerHead))}
        assert all(heads[size].root.hex() == root for size, root in self._heads.items()), "a published head is lost"
        if heads:
            self._kept = open_head(heads[max(heads)].checkpoint, self._verifier)

    def _wait_for_its_sessions(self, store: Store) -> None:
        """PostgreSQL may still be at work on the last order of a client that is no more."""
        if store.dialect == "sqlite":
            return
        others = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'certwright'"
        )
        for _ in range(6000):
            with store.read() as connection:
                if connection.execute(others).scalar_one() == 0:
                    return
            time.sleep(0.01)
        raise AssertionError("the sessions of the dead process do not end")


_SIGNED = select(Certificate).order_by(col(Certificate.id))
_UNSIGNED = select(col(Certificate.serial)).where(col(Certificate.signature).is_(None))


def _rows(store: Store, query: Any) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(query))


def _pages(serials: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(serials), PAGE):
        yield serials[start : start + PAGE]
