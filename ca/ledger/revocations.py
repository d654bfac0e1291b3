"""Are the tables of revocations what the ledger says? Every one, held or for good, of ours and of strangers, both ways.

A certificate that was ever on hold has a history, and its tables have its end: it is compared with its last entry once
all were read. Others are compared as their entry comes. Part of `reconcile`, which reads the entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from ca.ledger import rows
from ca.ledger.verify import Entry, Report
from ca.models import Authority, Certificate, Intent, Released, Revocation, UnrecordedRevocation
from ca.store import Store

BATCH = 500
REVOKED, HELD, RELEASED = "certificate-revoked", "certificate-held", "certificate-released"
UNRECORDED = "unrecorded-certificate-revoked"
HISTORY = (REVOKED, HELD, RELEASED)
"""What happens to one certificate, one after the other: never read apart."""
_CERTIFICATE = ("serial", "authority_id", "shard", "not_after")


class Revocations:
    """Compares entries with rows, and in the end rows with what was seen."""

    def __init__(self, store: Store, report: Report, pruned_before: int) -> None:
        self._store = store
        self._report = report
        self._pruned_before = pruned_before
        self._known: dict[type[Any], int] = {Revocation: 0, Released: 0, UnrecordedRevocation: 0}
        self._last: dict[str, Entry] = {}

    def compare(self, entries: Sequence[Entry]) -> None:
        """Entries of `HISTORY`, in their order."""
        plain = []
        for entry in entries:
            if entry.body.get("action") == REVOKED and "was" not in entry.body and entry.subject not in self._last:
                plain.append(entry)
            else:
                self._last[entry.subject] = entry
        self._compare(plain)

    def compare_unrecorded(self, entries: Sequence[Entry]) -> None:
        """Entries about certificates that our tables do not know."""
        found = {(row.authority_id, row.serial): row for row in self._rows(UnrecordedRevocation, _subjects(entries))}
        with self._store.read() as connection:
            ids = {row.name: row.id for row in connection.execute(select(col(Authority.id), col(Authority.name)))}
        for entry in entries:
            row = found.get((ids.get(entry.body.get("authority")), entry.subject))
            what = f"the revocation of {entry.subject}, which we do not know,"
            if row is None:
                if int(entry.body.get("not_after", 0)) >= self._pruned_before:
                    self._report.add("lost", f"{what} was taken back", entry.position)
                continue
            self._known[UnrecordedRevocation] += 1
            if wrong := rows.wrong_in_unrecorded(row, entry):
                self._report.add("changed", f"{what} was changed ({', '.join(wrong)})", entry.position)

    def finish(self) -> None:
        """What is known of those with a history; and nothing left the lists before its certificate had expired."""
        last = list(self._last.values())
        for start in range(0, len(last), BATCH):
            self._compare(last[start : start + BATCH])
        for table in (Revocation, UnrecordedRevocation):  # a CRL's number is never below its time
            early = select(col(table.serial)).where(col(table.last_listed) <= col(table.not_after)).limit(10)
            with self._store.read() as connection:
                for (serial,) in connection.execute(early):
                    self._report.add("changed", f"certificate {serial} was taken off the CRLs before it expired")

    def count(self) -> None:
        """As many rows as the ledger knows, and no more."""
        words: dict[type[Any], str] = {
            Revocation: "revocations",
            Released: "releases",
            UnrecordedRevocation: "revocations of strangers",
        }
        for table, known in self._known.items():
            with self._store.read() as connection:
                stored = connection.execute(select(func.count()).select_from(table)).scalar_one()
            if self._report.is_sound and stored != known:
                self._report.add("added", f"{stored} {words[table]} are stored, the ledger knows {known} of them")

    def _compare(self, entries: Sequence[Entry]) -> None:
        subjects = _subjects(entries)
        revoked = {row.serial: row for row in self._rows(Revocation, subjects)}
        released = {row.serial: row for row in self._rows(Released, subjects)}
        stored = {row["serial"]: row for row in self._certificates(subjects)}
        for entry in entries:
            if entry.body.get("action") == RELEASED:
                self._compare_released(entry, released.get(entry.subject), revoked, stored)
            else:
                self._compare_revoked(entry, revoked.get(entry.subject), stored.get(entry.subject))

    def _compare_revoked(self, entry: Entry, row: Any, certificate: Any) -> None:
        what = "hold" if entry.body.get("action") == HELD else "revocation"
        if row is not None:
            self._known[Revocation] += 1
            if wrong := rows.wrong_in_revocation(row, entry, certificate):
                message = f"the {what} of {entry.subject} was changed ({', '.join(wrong)})"
                self._report.add("changed", message, entry.position)
        elif certificate is not None:
            self._report.add("lost", f"the {what} of {entry.subject} was taken back", entry.position)

    def _compare_released(self, entry: Entry, row: Any, revoked: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        if entry.subject in revoked:
            message = f"certificate {entry.subject} is revoked or held, the ledger says that it was released"
            self._report.add("added", message, entry.position)
        if row is not None:
            self._known[Released] += 1
            if wrong := rows.wrong_in_release(row, entry, stored.get(entry.subject)):
                message = f"the release of {entry.subject} was changed ({', '.join(wrong)})"
                self._report.add("changed", message, entry.position)
        elif entry.subject in stored:
            message = f"the release of {entry.subject} is in the ledger alone"
            self._report.add("lost", message, entry.position)

    def _rows(self, table: type[Any], serials: Iterable[str]) -> Sequence[Any]:
        with self._store.read() as connection:
            return connection.execute(select(table).where(col(table.serial).in_(list(serials)))).all()

    def _certificates(self, serials: Iterable[str]) -> Iterator[Any]:
        with self._store.read() as connection:
            for table in (Intent, Certificate):
                columns = (col(getattr(table, name)) for name in _CERTIFICATE)
                query = select(*columns).where(col(table.serial).in_(list(serials)))
                yield from connection.execute(query).mappings()


def _subjects(entries: Sequence[Entry]) -> list[str]:
    return [entry.subject for entry in entries]
