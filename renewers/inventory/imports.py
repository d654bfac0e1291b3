"""Bringing in certificates that others issued: a bundle, a PKCS#12 file, a directory tree of files.

Whatever cannot be taken is said with its reason, and the rest goes on. Who imports vouches for what it replaces, so it
takes the right to manage the inventory. Private keys are passed over; nothing of them is kept or said.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest, CertwrightError
from ca.secret import Secret
from ca.store import Transaction
from renewers.inventory import shown
from renewers.inventory.facts import AUTHORITY, CERTIFICATE, Facts, read_certificate, read_crl
from renewers.inventory.finding import find_lineage, find_owner
from renewers.inventory.joining import IMPORTED, Entry
from renewers.inventory.reading import Brought, Refused, chain_of, read_any, read_pkcs12
from renewers.inventory.track import track_many
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked

__all__ = ["Imported", "Outcome", "Refused", "Target", "import_directory", "import_pem", "import_pkcs12"]

MAX_FILE = 4 * 1024 * 1024
MAX_FILES = 100_000
MAX_DEPTH = 16
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file of a directory; `why` is set where it was not read. `number` counts them."""

    path: str
    number: int
    imported: Imported = Imported()
    why: str | None = None


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


def import_directory(lifecycle: Lifecycle, caller: Caller, path: Path, target: Target = Target()) -> Iterator[Outcome]:
    """Track what is in the files beneath a directory; yields what became of each while it goes on.

    Links to files are followed, links to directories are not. What is no regular file is never opened.
    """
    caller.must(Operation.MANAGE_INVENTORY)
    if not path.is_dir():
        raise BadRequest(f"{_shown(path)} is not a directory that we can see", code="bad-directory")
    return _import_files(lifecycle, caller, path, _resolve(lifecycle, target))


def _import_files(lifecycle: Lifecycle, caller: Caller, path: Path, target: _Target) -> Iterator[Outcome]:
    for number, (place, why) in enumerate(_walk(path), start=1):
        if number > MAX_FILES:
            yield Outcome(
                _shown(place), number, why=f"there are more than {MAX_FILES} files: import the rest by itself"
            )
            return
        if why is not None:
            yield Outcome(_shown(place), number, why=why)
            continue
        try:
            brought = read_any(_content(place))
            if brought.is_empty:
                yield Outcome(_shown(place), number, why="there is no certificate in it")
                continue
            yield Outcome(_shown(place), number, _track(lifecycle, caller, brought, target))
        except OSError as error:
            yield Outcome(_shown(place), number, why=_reason(error))
        except BadRequest as error:
            yield Outcome(_shown(place), number, why=error.message)


def _walk(top: Path) -> Iterator[tuple[Path, str | None]]:
    """Every file beneath a directory, in order, or why it is not one."""
    pending = [(top, 0)]
    while pending:
        directory, depth = pending.pop()
        try:
            with os.scandir(directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield directory, _reason(error)
            continue
        below = []
        for entry in found:
            place = directory / entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(place)
                else:
                    yield place, _unfit(place)
            except OSError as error:
                yield place, _reason(error)
        if depth == MAX_DEPTH and below:
            yield from ((place, f"it is deeper than {MAX_DEPTH} directories") for place in below)
        else:
            pending += [(place, depth + 1) for place in reversed(below)]


def _unfit(place: Path) -> str | None:
    """Why a file is not to be opened, or None."""
    status = place.stat()
    if stat.S_ISDIR(status.st_mode):
        return "a link to a directory is not followed"
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    return f"it is larger than {MAX_FILE} bytes" if status.st_size > MAX_FILE else None


def _content(place: Path) -> bytes:
    """The bytes of a file that is still a regular one when it is open."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadRequest("it is not a regular file", code="bad-file")
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise BadRequest(f"it is larger than {MAX_FILE} bytes", code="bad-file")
    return content


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its links lead in a circle"
    return f"it cannot be read: {os.strerror(error.errno) if error.errno else type(error).__name__}"


def _shown(place: Path) -> str:
    return shown.line(str(place), 1000)


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
