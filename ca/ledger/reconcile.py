"""Do the tables say what the ledger says? Every certificate, revocation, authority, token and blocked key, both ways.

The tree proves that entries are what they were; this proves that nothing was put into, changed in or taken out of the
tables behind the ledger's back. What was pruned by retention is known from the ledger itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any

from sqlalchemy import exists, func, select
from sqlmodel import SQLModel, col

from ca import certificates, clock
from ca.certificates import Stored
from ca.ledger import revocations, rows
from ca.ledger.checkpoint import Head, Verifier
from ca.ledger.revocations import Revocations
from ca.ledger.verify import Entry, Progress, Report, verify_tree
from ca.models import (
    ApiToken,
    Authority,
    BlockedKey,
    Ceremony,
    Certificate,
    CrossCertificate,
    LedgerEntry,
    Revocation,
)
from ca.store import Store

BATCH = 500


def audit(
    store: Store,
    verifier: Verifier,
    *,
    kept: Head | None = None,
    kept_leaves: dict[int, bytes] | None = None,
    progress: Progress | None = None,
) -> Report:
    """The whole audit: the tree against its heads, the tables against the tree, all as they are at one moment."""
    report = Report()
    with store.at_one_moment() as still:  # else what is issued and revoked meanwhile would be in one and not the other
        tables = _Tables(still, report)
        entries = verify_tree(still, verifier, report, kept=kept, kept_leaves=kept_leaves, progress=progress)
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
        self._revocations = Revocations(store, report, self._pruned_before)
        self._crossed: set[str] = set()
        self._moved: dict[tuple[str, str], tuple[int | None, str]] = {}
        self._tokens_revoked: dict[str, tuple[int | None, object]] = {}
        self._checks: dict[str, Callable[[Sequence[Entry]], None]] = {
            "certificate-issued": self._compare_issued,
            "issuance-abandoned": self._compare_abandoned,
            revocations.REVOKED: self._revocations.compare,
            revocations.UNRECORDED: self._revocations.compare_unrecorded,
            "authority-created": self._compare_authorities,
            "authority-cross-certified": self._compare_crosses,
            "token-created": self._compare_tokens,
            "key-blocked": self._compare_blocked,
            "approval-used": self._compare_used,
            "ceremony-requested": self._compare_ceremonies,
        }
        self._granted: set[str] = set()

    def compare(self, batch: Sequence[Entry]) -> None:
        by_action: dict[str, list[Entry]] = {}
        for entry in batch:
            action = str(entry.body.get("action"))
            kept = revocations.REVOKED if action in revocations.HISTORY else action
            by_action.setdefault(kept, []).append(entry)
            for column in _MOVING if str(entry.body.get("action")).startswith("authority-") else ():
                if column in entry.body:
                    self._moved[entry.subject, column] = (entry.position, str(entry.body[column]))
            if entry.body.get("action") == "approval-granted" and entry.body.get("by") != entry.body.get("asked_by"):
                self._granted.add(entry.subject)
            if entry.body.get("action") == "token-revoked":
                self._tokens_revoked[entry.subject] = (entry.position, entry.body.get("revoked_at"))
        for action, entries in by_action.items():
            if action in self._checks:
                self._checks[action](entries)

    def finish(self) -> None:
        for (name, column), (position, said) in self._moved.items():
            row = self._rows(Authority, Authority.name, [name]).get(name)
            if row is not None and getattr(row, column) != said:
                self._changed(position, f"authority {name} is not as it was left: its {column} is not {said}")
        self._finish_tokens()
        self._finish_keys()
        self._revocations.finish()
        self._find_unrecorded()

    def _compare_issued(self, entries: Sequence[Entry]) -> None:
        stored = self._stored(entries)
        for entry in entries:
            row = stored.get(entry.subject)
            if row is None or row.signature is None:
                self._missed(entry, f"certificate {entry.subject} is in the ledger alone")
                continue
            self._issued += 1
            self._report.certificates += 1
            if wrong := rows.wrong_in_issued(row, entry):
                self._changed(entry.position, f"certificate {entry.subject} is not the one that was issued{_in(wrong)}")

    def _compare_abandoned(self, entries: Sequence[Entry]) -> None:
        stored = self._stored(entries)
        for entry in entries:
            row = stored.get(entry.subject)
            if row is None:
                self._missed(entry, f"the abandoned certificate {entry.subject} is in the ledger alone")
            elif wrong := rows.wrong_in_abandoned(row, entry):
                self._changed(entry.position, f"the abandoned certificate {entry.subject} was changed{_in(wrong)}")

    def _missed(self, entry: Entry, message: str) -> None:
        """A certificate is not there: lost, unless it may have been pruned."""
        if int(entry.body.get("not_after", 0)) >= self._pruned_before:
            self._report.add("lost", message, entry.position)

    def _compare_authorities(self, entries: Sequence[Entry]) -> None:
        found = self._rows(Authority, Authority.name, [entry.subject for entry in entries])
        for entry in entries:
            row = found.get(entry.subject)
            if row is None:
                self._report.add("lost", f"authority {entry.subject} is in the ledger alone", entry.position)
            elif wrong := rows.wrong_in_authority(row, entry):
                self._changed(entry.position, f"authority {entry.subject} is not what was made{_in(wrong)}")

    def _compare_crosses(self, entries: Sequence[Entry]) -> None:
        found = self._rows(CrossCertificate, CrossCertificate.serial, [entry.body.get("serial") for entry in entries])
        names = {str(name) for entry in entries for name in (entry.subject, entry.body.get("issuer"))}
        ids = {name: row.id for name, row in self._rows(Authority, Authority.name, names).items()}
        for entry in entries:
            what, row = f"the cross-certificate of {entry.subject}", found.get(entry.body.get("serial"))
            if row is None:
                self._report.add("lost", f"{what} is in the ledger alone", entry.position)
                continue
            self._crossed.add(row.serial)
            if wrong := rows.wrong_in_cross(row, entry, ids):
                self._changed(entry.position, f"{what} is not what was made{_in(wrong)}")

    def _compare_tokens(self, entries: Sequence[Entry]) -> None:
        found = self._rows(ApiToken, ApiToken.id, [entry.subject for entry in entries])
        for entry in entries:
            row = found.get(entry.subject)
            if row is None:
                self._report.add("lost", f"token {entry.body.get('name')} is in the ledger alone", entry.position)
            elif wrong := rows.wrong_in_token(row, entry):
                self._changed(entry.position, f"token {row.name} is not what it was made as{_in(wrong)}")

    def _compare_blocked(self, entries: Sequence[Entry]) -> None:
        found = self._rows(BlockedKey, BlockedKey.spki_sha256, [bytes.fromhex(entry.subject) for entry in entries])
        for entry in entries:
            row = found.get(bytes.fromhex(entry.subject))
            if row is None:
                self._report.add("lost", f"the block on key {entry.subject[:16]}... was taken back", entry.position)
            elif wrong := rows.wrong_in_blocked(row, entry):
                self._changed(entry.position, f"the block on key {entry.subject[:16]}... was changed{_in(wrong)}")

    def _compare_used(self, entries: Sequence[Entry]) -> None:
        """What took two persons was granted by a second one."""
        for entry in entries:
            if entry.subject not in self._granted:
                message = f"approval {entry.subject} was used by {entry.body.get('by')}, and nobody else has granted it"
                self._report.add("added", message, entry.position)

    def _compare_ceremonies(self, entries: Sequence[Entry]) -> None:
        """The file that an offline CA was asked to sign is the one that was given out."""
        found = self._rows(Ceremony, Ceremony.name, [entry.subject for entry in entries])
        for entry in entries:
            row = found.get(entry.subject)
            if row is None:
                self._report.add("lost", f"{entry.subject} is in the ledger alone", entry.position)
            elif sha256(row.document).hexdigest() != entry.body.get("document_sha256"):
                self._changed(entry.position, f"what {entry.subject} asked for was changed")

    def _finish_tokens(self) -> None:
        """A token is revoked exactly if the ledger says so, and since when."""
        with self._store.read() as connection:
            revoked = {row.id: row for row in connection.execute(_TOKENS.where(col(ApiToken.revoked_at).is_not(None)))}
        for identity, found in revoked.items():
            if identity not in self._tokens_revoked:
                self._report.add("added", f"token {found.name} is revoked, which no ledger entry says")
        for identity, (position, at) in self._tokens_revoked.items():
            row = revoked.get(identity)
            if row is not None and row.revoked_at != at:
                self._changed(position, f"the revocation of token {row.name} was changed")
            elif row is None and self._rows(ApiToken, ApiToken.id, [identity]):
                self._changed(position, f"the revoked token {identity} is in force again")

    def _finish_keys(self) -> None:
        """Every CA's key is blocked, and besides these only what an entry blocked."""
        with self._store.read() as connection:
            authorities = list(connection.execute(select(Authority)))
            blocked = {row.spki_sha256: row for row in connection.execute(select(BlockedKey))}
        for authority in authorities:
            row = blocked.pop(authority.spki_sha256, None)
            if row is None:
                self._report.add("lost", f"the key of {authority.name} is not blocked any more")
            elif (row.reason, row.blocked_at) != ("authority", authority.created_at):
                self._report.add("changed", f"the block on the key of {authority.name} was changed")
        for batch in _batches(list(blocked)):
            known = self._rows(LedgerEntry, LedgerEntry.subject, [key.hex() for key in batch])
            for key in batch:
                if key.hex() not in known:
                    self._report.add("added", f"the block on key {key.hex()[:16]}... is in no ledger entry")

    def _find_unrecorded(self) -> None:
        """Rows that no entry speaks of: issued, revoked or granted behind the ledger's back."""
        signed = col(Certificate.signature).is_not(None)
        self._unrecorded("certificate", select(col(Certificate.serial)).where(signed, ~_spoken_of(Certificate.serial)))
        self._unrecorded("revocation of", select(col(Revocation.serial)).where(~_spoken_of(Revocation.serial)))
        self._unrecorded("authority", select(col(Authority.name)).where(~_spoken_of(Authority.name)))
        crosses = select(col(CrossCertificate.serial)).where(col(CrossCertificate.serial).not_in(sorted(self._crossed)))
        self._unrecorded("cross-certificate", crosses)
        self._unrecorded("token", select(col(ApiToken.id)).where(~_spoken_of(ApiToken.id)))
        with self._store.read() as connection:
            issued = connection.execute(select(func.count()).select_from(Certificate).where(signed)).scalar_one()
        if self._report.is_sound and issued != self._issued:
            self._report.add("added", f"{issued} certificates are stored, the ledger has issued {self._issued} of them")
        self._revocations.count()

    def _unrecorded(self, what: str, query: Any) -> None:
        with self._store.read() as connection:
            for (subject,) in connection.execute(query.limit(10)):
                self._report.add("added", f"{what} {subject} is in no ledger entry")

    def _changed(self, position: int | None, message: str) -> None:
        self._report.add("changed", message, position)

    def _stored(self, entries: Sequence[Entry]) -> dict[str, Stored]:
        return {row.serial: row for row in certificates.find_many(self._store, [entry.subject for entry in entries])}

    def _rows(self, table: type[SQLModel], key: Any, values: Iterable[Any]) -> dict[Any, Any]:
        with self._store.read() as connection:
            found = connection.execute(select(table).where(col(key).in_(list(values)))).all()
        return {getattr(row, key.key): row for row in found}

    def _horizon(self) -> int:
        """Up to which expiry certificates were pruned, as the ledger says; what has not expired, nobody prunes."""
        with self._store.read() as connection:
            bodies = connection.execute(select(col(LedgerEntry.body)).where(col(LedgerEntry.subject) == "retention"))
            found = [json.loads(row.body) for row in bodies]
        now = clock.timestamp()
        pruned = [
            min(int(body["before"]), int(body["at"]), now)
            for body in found
            if body.get("action") == "certificates-pruned"
        ]
        return max(pruned, default=0)


def _in(wrong: Sequence[str]) -> str:
    return f" ({', '.join(wrong)})"


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _spoken_of(subject: Any) -> Any:
    return exists().where(col(LedgerEntry.subject) == col(subject))


_MOVING = ("state", "key_label")
"""What an authority's row may come to say after its creation; the last entry that says it holds."""
_TOKENS = select(col(ApiToken.id), col(ApiToken.name), col(ApiToken.revoked_at))
