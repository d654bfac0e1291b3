"""Restoring a backup: into a sandbox beside the state directory, proven there, and only then put in its place.

What a restore cannot do is bring back what happened after the backup. It says how much that was, as far as the state
that is still there (or a kept head) tells; and since monitors that saw a newer head of the ledger will see a fork, it
wants `accept_fork` where there is one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from ca import clock, files, recording
from ca.authority import ABSENT
from ca.backup.filling import Filler, go_forward
from ca.backup.reading import Found, read
from ca.backup.sealing import bad
from ca.errors import Conflict, Defect, Misconfigured
from ca.keys.passphrase import read_passphrase_file
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.reconcile import audit
from ca.ledger.witness import HEAD_FILE, continues, opened
from ca.store import Store, open_store
from ca.store.engine import ProcessLock
from pki.bygone import Known, known_of
from pki.product import Product
from pki.settings import DATABASE, DATABASE_VARIABLE, FILE, KeySettings, database_url, load_settings, make_settings
from renewers import work

PASSPHRASE = KeySettings().passphrase_file
_URL = re.compile(r"(?ms)(^\[store\]\n(?:(?!^\[).)*?^url = )[^\n]*")
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""
_OURS = (FILE, "keys", "profiles", "lock", "certwright.sock", DATABASE, HEAD_FILE)


@dataclass(slots=True)
class Restored:
    """What a restore came to. What is lost is None where nobody can tell."""

    state: str
    kept_aside: str | None
    entries: int
    certificates: int
    lost_entries: int
    lost_certificates: int | None
    lost_revocations: int | None
    list_numbers_after: int
    intents_given_up: int
    is_fork: bool
    files: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def restore(
    path: Path,
    key: X25519PrivateKey,
    state: Path,
    *,
    url: str | None = None,
    head: str | None = None,
    accept_fork: bool = False,
    passphrase_file: Path | None = None,
    by: str = "local:restore",
    progress: Progress | None = None,
) -> Restored:
    """Restore. Until the very last step nothing that was there is changed; any error leaves it as it is.

    `url` names an empty PostgreSQL database; the environment (`CERTWRIGHT_STORE__URL`) may name it instead, and then
    the restored settings do not.
    """
    url, state = _chosen(url), state.absolute()
    state.parent.mkdir(parents=True, exist_ok=True)
    if state.exists() and any(state.iterdir()) and not (state / FILE).exists():
        raise Conflict(f"there is something else in {state}", hint="name an empty directory or an installation")
    is_there = (state / FILE).exists()
    lock = ProcessLock(state / "lock") if is_there else None
    sandbox = state.with_name(f".{state.name}.restoring-{secrets.token_hex(4)}")
    try:
        known = known_of(state) if is_there else Known()
        files.private_directory(sandbox)
        _take_over(sandbox, state if is_there else None, passphrase_file)
        done = _prove(path, key, sandbox, known, url or _beside(sandbox), head, accept_fork, by, progress)
        done.kept_aside = _swap(sandbox, state)
        done.state = str(state)
        return done
    finally:
        shutil.rmtree(sandbox, ignore_errors=True)
        if lock is not None:
            lock.release()


def _prove(
    path: Path,
    key: X25519PrivateKey,
    sandbox: Path,
    known: Known,
    url: str,
    head: str | None,
    accept_fork: bool,
    by: str,
    progress: Progress | None,
) -> Restored:
    found = _fill(path, key, sandbox, url, progress)
    if found.head is None or found.verifier is None:
        raise bad("the backup has no signed head of its ledger")
    published = _published(found.verifier, known, head)
    lost = max(0, max(known.size, *(one.size for one in published), 0) - found.head.size)
    if lost and not accept_fork:
        raise _forks(f"{lost} ledger entries were published after this backup")
    _name_database(sandbox, url)
    store = open_store(url)  # brings an older backup's tables up to date
    try:
        _must_be_sound(store, found, progress)
        is_fork = lost > 0 or _is_other(store, published, found.head, accept_fork)
        details = {"backup": path.name, "head": found.head.size, "lost_entries": lost, "is_fork": is_fork}
        number = go_forward(store.writing_engine, known.list_number, details, by)
    finally:
        store.close()
    return Restored(
        state="",
        kept_aside=None,
        entries=found.head.size,
        certificates=found.tables.get("certificate", 0),
        lost_entries=lost,
        lost_certificates=_lost(known.certificates, found.tables.get("certificate", 0)),
        lost_revocations=_lost(known.revocations, found.tables.get("revocation", 0)),
        list_numbers_after=number,
        intents_given_up=_open_once(sandbox),
        is_fork=is_fork,
        files=sorted(found.files),
    )


def _published(verifier: Verifier, known: Known, head: str | None) -> Sequence[Head]:
    """Heads of this ledger that somebody has seen: who restores says one, the state directory keeps another."""
    published = [] if head is None else [open_head(head, verifier)]
    seen = None if known.checkpoint is None else opened(known.checkpoint, verifier)
    return published if seen is None else [*published, seen.head]


def _is_other(store: Store, published: Sequence[Head], head: Head, accept_fork: bool) -> bool:
    """Whether the ledger up to `head` is another one than that of a head that was seen. `Conflict` unless accepted."""
    is_other = not all(continues(store, one, head) for one in published)
    if is_other and not accept_fork:
        raise _forks("this backup is of a ledger that does not continue the head that was kept")
    return is_other


def _forks(why: str) -> Conflict:
    return Conflict(
        f"{why}: monitors will see a fork",
        code="ledger-fork",
        hint="restore a newer backup, or say --accept-fork and tell whoever follows the ledger",
    )


def _must_be_sound(store: Store, found: Found, progress: Progress | None) -> None:
    """The ledger says what the tables say, and is as long as the backup claims."""
    assert found.head is not None
    assert found.verifier is not None
    told = None if progress is None else lambda done, of: progress("proving its ledger", done, of)
    report = audit(store, found.verifier, kept=found.head, progress=told)
    if not report.is_sound:
        raise Defect(f"the restored ledger is not sound: {report.first.message if report.first else ''}")
    if report.entries != found.head.size:
        raise Defect("the restored ledger is not as long as the backup's")


def _open_once(sandbox: Path) -> int:
    """Start what was restored: its keys open and fit, nobody holds its work. Returns how many intents were given up."""
    with Product.open(sandbox) as product:
        for row in product.installation.authorities.trusted():
            if row.key_label not in ABSENT:
                product.installation.authorities.issuer(row.name)
        work.release(product.installation.store)  # whoever held any is not of this database
        given_up = 0
        while gone := recording.abandon_intents(product.installation.store, older_than=clock.timestamp() + 1):
            given_up += gone
        product.settle()
    return given_up


def _lost(known: int | None, restored: int) -> int | None:
    return None if known is None else max(0, known - restored)


class _Sandbox(Filler):
    directory: Path

    def file(self, name: str, content: bytes) -> None:
        target = self.directory / name
        files.private_directory(target.parent)
        files.write_new(target, content, mode=0o644 if name.startswith("profiles/") else 0o600)


def _fill(path: Path, key: X25519PrivateKey, sandbox: Path, url: str, progress: Progress | None) -> Found:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif Path(str(parsed.database)).parent != sandbox:
        raise Misconfigured("an SQLite database is restored into the state directory", hint="leave --store away")
    else:
        os.close(os.open(sandbox / DATABASE, os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine, size = create_engine(parsed), path.stat().st_size
    told = None if progress is None else lambda done: progress(f"reading {path.name}", done, size)
    try:
        with engine.begin() as connection:  # PostgreSQL: all of it or nothing
            filler = _Sandbox(connection)
            filler.directory = sandbox
            found = read(path, key, filler, told)
            filler.finish()
        return found
    finally:
        engine.dispose()


def _take_over(sandbox: Path, old: Path | None, passphrase_file: Path | None) -> None:
    """What a backup does not hold: the passphrase file, secrets that settings name."""
    if passphrase_file is not None:
        files.write_new(sandbox / PASSPHRASE, read_passphrase_file(passphrase_file).reveal().encode(), mode=0o400)
    for path in sorted(old.iterdir()) if old is not None else []:
        is_taken = path.name in _OURS or path.name.startswith((DATABASE, "."))
        if not is_taken and path.is_file() and not path.is_symlink() and not (sandbox / path.name).exists():
            shutil.copy2(path, sandbox / path.name)


def _name_database(sandbox: Path, url: str) -> None:
    """In the settings, unless it is the file beside them, or the environment says it: that may hold a password."""
    is_named = make_url(url).get_backend_name() == "postgresql" and not _in_environment()
    settings = sandbox / FILE
    text = settings.read_text()
    settings.write_text(_URL.sub(lambda m: m[1] + json.dumps(url if is_named else ""), text))
    if database_url(sandbox, load_settings(sandbox)) != url:
        raise Defect("what was restored would open another database")


def _in_environment() -> str:
    """The database that the environment names, whatever a settings file says; empty if none."""
    return make_settings({}).store.url.get_secret_value()


def _chosen(url: str | None) -> str | None:
    """The database to restore into; None for the file in the state directory."""
    if (said := _in_environment()) and url not in (None, said):
        raise Misconfigured(
            "the environment names another database, and what is restored would open that one",
            hint=f"unset {DATABASE_VARIABLE}, or leave --store away",
        )
    return said or url


def _beside(state: Path) -> str:
    return f"sqlite:///{state / DATABASE}"


def _swap(sandbox: Path, state: Path) -> str | None:
    aside = None
    if state.exists() and any(state.iterdir()):
        aside = state.with_name(f"{state.name}.before-{clock.timestamp()}-{secrets.token_hex(2)}")
        state.rename(aside)
    elif state.exists():
        state.rmdir()
    sandbox.rename(state)
    files.sync_directory(state.parent)
    return None if aside is None else str(aside)
