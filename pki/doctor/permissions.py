"""Nobody else reads what is secret; and what is there can be read by whoever runs this. Needs no open installation."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pki.doctor.finding import Finding, Level
from pki.settings import FILE, KeySettings

PERMISSIONS = "permissions"


def permissions(state: Path, keys: KeySettings) -> Iterator[Finding]:
    """The state directory, its keys, the passphrase, the PIN and the settings."""
    named = [state / keys.passphrase_file, *([state / keys.pin_file] if keys.pin_file else []), state / FILE]
    wrong = False
    for path in (state, state / "keys", *named, *_key_files(state)):
        if (finding := _judged(path)) is not None:
            wrong = True
            yield finding
    if not wrong:
        yield Finding(PERMISSIONS, Level.OK, "keys, passphrase and settings are the owner's alone")


def _key_files(state: Path) -> list[Path]:
    try:
        return sorted((state / "keys").glob("*.pem"))
    except OSError:
        return []  # that it cannot be read is said of the directory


def _judged(path: Path) -> Finding | None:
    try:
        mode, is_directory = path.stat().st_mode, path.is_dir()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Finding(PERMISSIONS, Level.PROBLEM, f"{path}: {error.strerror}", whose(path.parent))
    wanted = os.R_OK | (os.X_OK | os.W_OK if is_directory else 0)
    if not os.access(path, wanted):
        verb = "read and write" if is_directory else "read"
        return Finding(PERMISSIONS, Level.PROBLEM, f"we may not {verb} {path}", whose(path))
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        advice = f"chmod {'0700' if is_directory else '0400'} {path}"
        return Finding(PERMISSIONS, Level.PROBLEM, f"others may read or write {path}", advice)
    return None


def whose(path: Path) -> str:
    """What to do where we may not: the owner does it."""
    try:
        owner = path.stat().st_uid
    except OSError:
        return "run it as the owner of the state directory"
    return f"run it as its owner: sudo -u '#{owner}' certwright doctor; this is user {os.geteuid()}"
