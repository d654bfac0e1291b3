"""Bringing in certificates that others issued: a bundle, or a PKCS#12 file.

Whatever cannot be taken is said with its reason, and the rest goes on. Who imports vouches for what it replaces, so it
takes the right to manage the inventory. Private keys are passed over; nothing of them is kept or said. Directories are
walked by `renewers/discovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest, CertwrightError
from ca.secret import Secret
from ca.store import Transaction
from renewers.inventory.facts import AUTHORITY, CERTIFICATE, Facts, read_certificate, read_crl
from renewers.inventory.finding import find_lineage, find_owner
from renewers.inventory.joining import IMPORTED, Entry
from renewers.inventory.reading import Brought, Refused, chain_of, read_any, read_pkcs12
from renewers.inventory.track import track_many
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked

__all__ = ["Imported", "Refused", "Target", "import_pem", "import_pkcs12"]

PAGE = 250


@dataclass(frozen=True, slots=True)
class Target:
    """Whose what is imported shall be, and which lineage it continues; neither has to be said."""

    owner: str | None = None
    lineage: str | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    owner_id: int | None
    lineage_id: int | None


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of it: identities that are new, identities that were tracked already, parts that were refused."""

    tracked: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


def import_pem(lifecycle: Lifecycle, caller: Caller, data: bytes, target: Target = Target()) -> Imported:
    """Track everything in PEM text or in one DER certificate, CRL or PKCS#7 message."""
    caller.must(Operation.MANAGE_INVENTORY)
    brought = read_any(data)
    if brought.is_empty:
        raise BadRequest("there is no certificate in it", code="bad-certificate", hint="PEM, DER or PKCS#7 is read")
    return _track(lifecycle, caller, brought, _resolve(lifecycle, target))


def import_pkcs12(
    lifecycle: Lifecycle, caller: Caller, data: bytes, passphrase: Secret | None, target: Target = Target()
) -> Imported:
    """Track the certificates in a PKCS#12 file. The keys in it are not kept."""
    caller.must(Operation.MANAGE_INVENTORY)
    return _track(lifecycle, caller, read_pkcs12(data, passphrase), _resolve(lifecycle, target))


def _track(lifecycle: Lifecycle, caller: Caller, brought: Brought, target: _Target) -> Imported:
    refused = list(brought.refused)
    certificates = _read_all(brought.certificates, read_certificate, "certificate", refused)
    lists = _read_all(brought.lists, read_crl, "CRL", refused)
    entries = _entries(certificates + lists, target)
    authorities = [facts.der for facts in certificates if facts.kind == AUTHORITY]
    tracked: list[str] = []
    known: list[str] = []
    for start in range(0, len(entries), PAGE):
        page = [
            _with_chain(entry, authorities) if entry.facts.kind == CERTIFICATE else entry
            for entry in entries[start : start + PAGE]
        ]
        identities = [entry.facts.identity for entry in page]

        def unit(tx: Transaction, page: Sequence[Entry] = page, identities: Sequence[str] = identities) -> set[str]:
            before = select(col(Tracked.identity)).where(col(Tracked.identity).in_(identities))
            there = set(tx.execute(before).scalars())
            track_many(tx, page, by=caller.identity)
            return there

        there = lifecycle.store.write(unit)
        known += [identity for identity in identities if identity in there]
        tracked += [identity for identity in identities if identity not in there]
    return Imported(tuple(dict.fromkeys(tracked)), tuple(dict.fromkeys(known)), tuple(refused))


def _read_all(parts: Sequence[bytes], read: Callable[[bytes], Facts], what: str, refused: list[Refused]) -> list[Facts]:
    found = []
    for number, der in enumerate(parts, start=1):
        try:
            found.append(read(der))
        except CertwrightError as error:
            refused.append(Refused(f"{what} {number}", error.message))
    return found


def _entries(found: Sequence[Facts], target: _Target) -> list[Entry]:
    leaves = [facts for facts in found if facts.kind == CERTIFICATE]
    if target.lineage_id is not None and len(leaves) != 1:
        raise BadRequest(f"there are {len(leaves)} certificates in it to continue one lineage", code="bad-certificate")
    return [
        Entry(facts, IMPORTED, target.lineage_id if facts.kind == CERTIFICATE else None, target.owner_id)
        for facts in found
    ]


def _resolve(lifecycle: Lifecycle, target: Target) -> _Target:
    with lifecycle.store.read() as connection:
        owner_id = None if target.owner is None else find_owner(connection, target.owner).id
        lineage_id = None if target.lineage is None else find_lineage(connection, target.lineage).id
    return _Target(owner_id, lineage_id)


def _with_chain(entry: Entry, authorities: Sequence[bytes]) -> Entry:
    return Entry(entry.facts, entry.source, entry.lineage_id, entry.owner_id, chain_of(entry.facts.der, authorities))
