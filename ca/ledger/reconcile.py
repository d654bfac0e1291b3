"""Do the tables say what the ledger says? Every certificate, revocation, authority, token and blocked key, both ways.

The tree proves that entries are what they were; this proves that nothing was put into, changed in or taken out of the
tables behind the ledger's back. What was pruned by retention is known from the ledger itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import exists, func, select
from sqlmodel import SQLModel, col

from ca import certificates
from ca.certificates import Stored
from ca.ledger.checkpoint import Head, Verifier
from ca.ledger.verify import Entry, Progress, Report, verify_tree
from ca.models import ApiToken, Authority, BlockedKey, Certificate, LedgerEntry, Revocation
from ca.store import Store
from ca.x509.certificate import fingerprint
from ca.x509.revocation_list import REASONS

BATCH = 500


def audit(
    store: Store,
    verifier: Verifier,
    *,
    kept: Head | None = None,
    kept_leaves: dict[int, bytes] | None = None,
    progress: Progress | None = None,
) -> Report:
    """The whole audit: the tree against its heads, the tables against the tree."""
    report = Report()
    tables = _Tables(store, report)
    entries = verify_tree(store, verifier, report, kept=kept, kept_leaves=kept_leaves, progress=progress)
    while batch := list(islice(entries, BATCH)):
        tables.compare(batch)
    tables.finish()
    return report


class _Tables:
    """Compares batches of entries with the rows that they speak of, and in the end the rows with what was seen."""

    def __init__(self, store: Store, report: Report) -> None:
        self._store = store
        self._report = report
        self._pruned_before = self._horizon()
        self._issued = 0
        self._revoked = 0
        self._states: dict[str, tuple[int | None, str]] = {}
        self._tokens_revoked: dict[str, int | None] = {}
        self._checks: dict[str, Callable[[Sequence[Entry]], None]] = {
            "certificate-issued": self._compare_issued,
            "certificate-revoked": self._compare_revoked,
            "authority-created": self._compare_authorities,
            "token-created": self._compare_tokens,
            "key-blocked": self._compare_blocked,
        }

    def compare(self, batch: Sequence[Entry]) -> None:
        by_action: dict[str, list[Entry]] = {}
        for entry in batch:
            by_action.setdefault(str(entry.body.get("action")), []).append(entry)
            if "state" in entry.body and str(entry.body["action"]).startswith("authority-"):
                self._states[entry.subject] = (entry.position, str(entry.body["state"]))
            if entry.body.get("action") == "token-revoked":
                self._tokens_revoked[entry.subject] = entry.position
        for action, entries in by_action.items():
            if action in self._checks:
                self._checks[action](entries)

    def finish(self) -> None:
        for name, (position, state) in self._states.items():
            row = self._rows(Authority, Authority.name, [name]).get(name)
            if row is not None and row.state != state:
                self._changed(position, f"authority {name} is {row.state}, the ledger says {state}")
        for identity, row in self._rows(ApiToken, ApiToken.id, list(self._tokens_revoked)).items():
            if row.revoked_at is None:
                self._changed(self._tokens_revoked[identity], f"the revoked token {row.name} is in force again")
        self._find_unrecorded()

    def _compare_issued(self, entries: Sequence[Entry]) -> None:
        stored = {s.serial: s for s in certificates.find_many(self._store, [e.subject for e in entries])}
        for entry in entries:
            row = stored.get(entry.subject)
            if row is None or row.signature is None:
                if int(entry.body.get("not_after", 0)) >= self._pruned_before:
                    self._report.add("lost", f"certificate {entry.subject} is in the ledger alone", entry.position)
                continue
            self._issued += 1
            self._report.certificates += 1
            if _differs(row, entry):
                self._changed(entry.position, f"certificate {entry.subject} is not the one that was issued")

    def _compare_revoked(self, entries: Sequence[Entry]) -> None:
        rows = self._rows(Revocation, Revocation.serial, [entry.subject for entry in entries])
        issued = {s.serial for s in certificates.find_many(self._store, [entry.subject for entry in entries])}
        for entry in entries:
            row = rows.get(entry.subject)
            if row is not None:
                self._revoked += 1
                expected = (entry.body.get("revoked_at"), REASONS.get(str(entry.body.get("reason"))), entry.body["by"])
                if (row.revoked_at, row.reason, row.revoked_by) != expected:
                    self._changed(entry.position, f"the revocation of {entry.subject} was changed")
            elif entry.subject in issued:
                self._report.add("lost", f"the revocation of {entry.subject} was taken back", entry.position)

    def _compare_authorities(self, entries: Sequence[Entry]) -> None:
        rows = self._rows(Authority, Authority.name, [entry.subject for entry in entries])
        for entry in entries:
            row = rows.get(entry.subject)
            if row is None:
                self._report.add("lost", f"authority {entry.subject} is in the ledger alone", entry.position)
            elif (fingerprint(row.certificate), row.serial) != (entry.body.get("sha256"), entry.body.get("serial")):
                self._changed(
                    entry.position, f"authority {entry.subject} has another certificate than it was made with"
                )

    def _compare_tokens(self, entries: Sequence[Entry]) -> None:
        rows = self._rows(ApiToken, ApiToken.id, [entry.subject for entry in entries])
        for entry in entries:
            row = rows.get(entry.subject)
            if row is None:
                self._report.add("lost", f"token {entry.body.get('name')} is in the ledger alone", entry.position)
                continue
            recorded = {key: getattr(row, key) for key in ("name", "role", "profiles", "attributes", "expires_at")}
            recorded["secret_sha256"] = row.secret_sha256.hex()
            if any(entry.body.get(key) != value for key, value in recorded.items()):
                self._changed(entry.position, f"token {row.name} is not what it was made as")

    def _compare_blocked(self, entries: Sequence[Entry]) -> None:
        rows = self._rows(BlockedKey, BlockedKey.spki_sha256, [bytes.fromhex(entry.subject) for entry in entries])
        for entry in entries:
            if bytes.fromhex(entry.subject) not in rows:
                self._report.add("lost", f"the block on key {entry.subject[:16]}... was taken back", entry.position)

    def _find_unrecorded(self) -> None:
        """Rows that no entry speaks of: issued, revoked or granted behind the ledger's back."""
        signed = col(Certificate.signature).is_not(None)
        self._unrecorded("certificate", select(col(Certificate.serial)).where(signed, ~_spoken_of(Certificate.serial)))
        self._unrecorded("revocation of", select(col(Revocation.serial)).where(~_spoken_of(Revocation.serial)))
        self._unrecorded("authority", select(col(Authority.name)).where(~_spoken_of(Authority.name)))
        self._unrecorded("token", select(col(ApiToken.id)).where(~_spoken_of(ApiToken.id)))
        with self._store.read() as connection:
            issued = connection.execute(select(func.count()).select_from(Certificate).where(signed)).scalar_one()
            revoked = connection.execute(select(func.count()).select_from(Revocation)).scalar_one()
        if self._report.is_sound and issued != self._issued:
            self._report.add("added", f"{issued} certificates are stored, the ledger has issued {self._issued} of them")
        if self._report.is_sound and revoked != self._revoked:
            self._report.add("added", f"{revoked} revocations are stored, the ledger knows {self._revoked} of them")

    def _unrecorded(self, what: str, query: Any) -> None:
        with self._store.read() as connection:
            for (subject,) in connection.execute(query.limit(10)):
                self._report.add("added", f"{what} {subject} is in no ledger entry")

    def _changed(self, position: int | None, message: str) -> None:
        self._report.add("changed", message, position)

    def _rows(self, table: type[SQLModel], key: Any, values: Iterable[Any]) -> dict[Any, Any]:
        with self._store.read() as connection:
            rows = connection.execute(select(table).where(col(key).in_(list(values)))).all()
        return {getattr(row, key.key): row for row in rows}

    def _horizon(self) -> int:
        """Up to which expiry certificates were pruned, as the ledger says."""
        with self._store.read() as connection:
            bodies = connection.execute(select(col(LedgerEntry.body)).where(col(LedgerEntry.subject) == "retention"))
            found = [json.loads(row.body) for row in bodies]
        pruned = [int(body["before"]) for body in found if body.get("action") == "certificates-pruned"]
        return max(pruned, default=0)


def _differs(row: Stored, entry: Entry) -> bool:
    body = entry.body
    return (
        fingerprint(row.der) != body.get("sha256")
        or (row.authority, row.profile, row.requested_by)
        != (body.get("authority"), body.get("profile"), body.get("by"))
        or (row.not_after, row.renews) != (body.get("not_after"), body.get("renews"))
    )


def _spoken_of(subject: Any) -> Any:
    return exists().where(col(LedgerEntry.subject) == col(subject))
