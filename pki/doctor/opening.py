"""What keeps an installation from being opened, step by step, and what to do; nothing is opened, made or changed.

Each step needs those before it: without settings nobody knows where the keys are. What does not depend on the others is
said all the same, so that everything that is wrong is known at once. `checks.py` looks at an installation that opens.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from ca.errors import CertwrightError, KeyUnavailable, Misconfigured
from ca.keys.passphrase import find_passphrase
from ca.store import migrate
from pki.doctor.finding import Finding, Level
from pki.doctor.permissions import permissions, whose
from pki.settings import FILE, Settings, database_url, load_settings

SMALLEST_DISK = 512 << 20
CONNECT_SECONDS = 5
RESTORE = "certwright backup restore brings it back from a backup"
OPENS = "certwright serve would say the same: nothing was changed"
DATABASES = "store.url is sqlite:////path/to/file or postgresql://..."
NEEDED = ("state", "settings", "keys", "database")
"""What has to be in order before there is any use in opening it."""


def is_openable(found: Sequence[Finding]) -> bool:
    """Whether it is worth a try. A database of an older version would be brought up to date by that: not by us."""
    bad = (Level.PROBLEM, Level.WARNING)
    return not any(each.check in NEEDED and each.level in bad for each in found)


def preliminary(state: Path) -> list[Finding]:
    """Everything that can be said without opening it."""
    found = list(_directory(state))
    if not is_openable(found):
        return found
    try:
        settings = load_settings(state)
    except Misconfigured as error:
        return [*found, Finding("settings", Level.PROBLEM, error.message, error.hint)]
    found += permissions(state, settings.keys)
    found += _disk(state)
    found += _held(state)
    found += _keys(state, settings)
    found += _database(state, settings)
    return found


def refused(error: CertwrightError | OSError) -> Finding:
    """What it means that it did not open all the same."""
    if isinstance(error, OSError):
        return Finding("opening", Level.PROBLEM, f"it cannot be opened: {error}", OPENS)
    check = "keys" if isinstance(error, KeyUnavailable) else "opening"
    advice = error.hint or (f"put the file back; {RESTORE}" if check == "keys" else OPENS)
    return Finding(check, Level.PROBLEM, f"it cannot be opened: {error.message}", advice)


def _directory(state: Path) -> Iterator[Finding]:
    """The state directory and its settings file are there, and ours to read."""
    init = f"certwright init --state {state}, or name the right directory: certwright --state DIRECTORY doctor"
    try:
        is_there = state.is_dir()
        inside = sorted(path.name for path in state.iterdir()) if is_there else []
    except OSError as error:
        yield Finding("state", Level.PROBLEM, f"{state}: {error.strerror}", whose(state))
        return
    if not is_there:
        yield Finding("state", Level.PROBLEM, f"there is no directory {state}", init)
    elif FILE in inside and not os.access(state / FILE, os.R_OK):
        yield Finding("state", Level.PROBLEM, f"we may not read {state / FILE}", whose(state / FILE))
    elif FILE in inside:
        yield Finding("state", Level.OK, f"{state} is an installation")
    elif inside:
        message = f"{state} has no {FILE}, but {', '.join(inside[:4])}: an init or a restore that was interrupted"
        advice = f"put {FILE} back if this was an installation; else empty the directory and begin again"
        yield Finding("state", Level.PROBLEM, message, advice)
    else:
        yield Finding("state", Level.PROBLEM, f"{state} is empty", init)


def _disk(state: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(state).free
    if free < SMALLEST_DISK:
        advice = "make room: without it nothing is issued"
        yield Finding("disk", Level.PROBLEM, f"{free >> 20} MiB are free for {state}", advice)


def _held(state: Path) -> Iterator[Finding]:
    """Whoever has the installation open answers on its socket; this is asked where nobody does."""
    try:
        descriptor = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        message = f"process {holder} has {state} open, and nobody answers on its socket"
        advice = "a command that runs, or serve --only schedule: wait, or ask a replica that listens; else see its log"
        yield Finding("state", Level.PROBLEM, message, advice)
    finally:
        os.close(descriptor)


def _keys(state: Path, settings: Settings) -> Iterator[Finding]:
    """The passphrase is found, and so is the directory of what is encrypted with it. Tokens are not asked here."""
    try:
        find_passphrase(state / settings.keys.passphrase_file)
        if not (state / "keys").is_dir():
            yield Finding("keys", Level.PROBLEM, f"there is no directory {state / 'keys'}", RESTORE)
    except CertwrightError as error:
        yield Finding("keys", Level.PROBLEM, error.message, error.hint)
    except OSError as error:
        yield Finding("keys", Level.PROBLEM, f"the keys cannot be read: {error}", whose(state))


def _database(state: Path, settings: Settings) -> Iterator[Finding]:
    """It answers, and has tables that this version knows. It is only read."""
    try:
        url = make_url(database_url(state, settings))
        backend = url.get_backend_name()
    except (SQLAlchemyError, ValueError):
        yield Finding("database", Level.PROBLEM, "the database URL cannot be read", DATABASES)
        return
    if backend not in ("sqlite", "postgresql"):
        yield Finding("database", Level.PROBLEM, f"databases of the kind {backend!r} are not supported", DATABASES)
        return
    if backend == "sqlite" and not Path(url.database or "").is_file():
        yield Finding("database", Level.PROBLEM, f"there is no database {url.database}", RESTORE)
        return
    try:
        is_newest = _looked_at(url)
    except Misconfigured as error:
        yield Finding("database", Level.PROBLEM, error.message, error.hint)
    except SQLAlchemyError as error:
        reason = (str(getattr(error, "orig", error)).strip().splitlines() or ["it does not answer"])[0]
        where = url.database if backend == "sqlite" else f"{url.host or 'localhost'}:{url.port or 5432}"
        advice = RESTORE if backend == "sqlite" else "start it, or mend store.url; psql with that URL says the same"
        yield Finding("database", Level.PROBLEM, f"the database at {where} cannot be opened: {reason}", advice)
    else:
        if not is_newest:
            message = "the database is of an older version; the rest is looked at once it is brought up to date"
            yield Finding(
                "database", Level.WARNING, message, "make a backup, then start certwright serve: it does that"
            )


def _looked_at(url: URL) -> bool:
    """Whether its tables are this version's. Of SQLite, which nobody else has open, not even a journal is made."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "").absolute()
        mode = {"mode": "ro"} if path.with_name(f"{path.name}-wal").exists() else {"immutable": "1"}
        url = URL.create("sqlite", database=f"file:{path.as_posix()}", query={**mode, "uri": "true"})
        engine = create_engine(url, poolclass=NullPool)
    else:
        arguments = {"connect_timeout": CONNECT_SECONDS, "options": "-c default_transaction_read_only=on"}
        engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, connect_args=arguments)
    with closing(engine.connect()) as connection:
        return migrate.is_newest(connection)
