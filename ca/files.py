"""Files that must never be half there: written aside, synced, then put in place in one step."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from pathlib import Path

from ca.errors import Misconfigured


def private_directory(path: Path) -> Path:
    """Make `path` a directory that only its owner can enter, or refuse one that others can."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXO | stat.S_IRWXG):
        raise Misconfigured(f"others may enter {path}", hint=f"chmod 0700 {path}")
    return path


def write_new(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file that must not exist yet; durable when this returns. `FileExistsError` if it does exist."""
    aside = _write_aside(path, content, mode)
    try:
        os.link(aside, path)
    finally:
        aside.unlink()
    sync_directory(path.parent)


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file or exchange the one that is there, so that a reader sees the old or the new, never a part."""
    aside = _write_aside(path, content, mode)
    try:
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def pem(label: str, content: bytes) -> bytes:
    """RFC 7468 text of DER `content`."""
    text = base64.b64encode(content).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


def _write_aside(path: Path, content: bytes, mode: int) -> Path:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return aside


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on the disk, too."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
