"""Files beneath one directory, reached without following a link: every step is taken from an open directory.

What stands in a path today may be a link tomorrow; a name that is looked up from a descriptor, with O_NOFOLLOW, is what
it was when it was checked. Nothing here decides what is written; `files.py` does.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ca.errors import NotDelivered

_PLAIN = os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _PLAIN
_STEP = os.O_PATH | os.O_DIRECTORY | _PLAIN
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class FileSpec:
    """What a file is to hold, and who may read it; None leaves the owner or the group as it comes."""

    content: bytes
    mode: int
    owner: int | None = None
    group: int | None = None


@contextmanager
def opened(path: str) -> Iterator[int]:
    """An absolute path's directory, made if only the last step is missing.

    `NotDelivered` if there is a link on the way, or somebody else than we or root could put another one in its place.
    """
    at, done = os.open("/", _STEP), ""
    try:
        *above, last = path.strip("/").split("/")
        for name in above:
            at, done = _step(at, name, done, _STEP)
            _refuse_foreign(at, done, allow_sticky=True)
        with suppress(FileExistsError):
            os.close(make_directory(at, last))
            with _readable(at) as above_it:
                os.fsync(above_it)
        at, done = _step(at, last, done, _DIRECTORY)
        _refuse_foreign(at, done, allow_sticky=False)
        yield at
    finally:
        os.close(at)


@contextmanager
def below(at: int, name: str) -> Iterator[int]:
    """A directory in a directory, which has to exist, and which nobody else may write."""
    descriptor = os.open(name, _DIRECTORY, dir_fd=at)
    try:
        _refuse_foreign(descriptor, name, allow_sticky=False)
        yield descriptor
    finally:
        os.close(descriptor)


def make_directory(at: int, name: str) -> int:
    """Make a directory that everybody may enter, whatever the umask, and open it."""
    os.mkdir(name, 0o755, dir_fd=at)
    descriptor = os.open(name, _DIRECTORY, dir_fd=at)
    os.fchmod(descriptor, 0o755)
    return descriptor


def names(at: int) -> list[str]:
    """What is in an open directory."""
    with os.scandir(at) as entries:
        return [entry.name for entry in entries]


def write(at: int, name: str, file: FileSpec) -> None:
    """Write a file that does not exist yet, durably. Nobody else can open it before its owner and mode are right."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o600, dir_fd=at)
    try:
        if file.owner is not None or file.group is not None:
            os.fchown(descriptor, -1 if file.owner is None else file.owner, -1 if file.group is None else file.group)
        os.fchmod(descriptor, file.mode)
        left = memoryview(file.content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def holds(at: int, name: str, file: FileSpec) -> bool:
    """Whether there is such a file, a plain one, that holds just this and belongs to whom it should."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _PLAIN, dir_fd=at)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != file.mode:
            return False
        if file.owner not in (None, found.st_uid) or file.group not in (None, found.st_gid):
            return False
        return found.st_size == len(file.content) and _read(descriptor, len(file.content)) == file.content
    finally:
        os.close(descriptor)


def link(at: int, name: str) -> str | None:
    """Where a symbolic link points; None if there is nothing. `NotDelivered` if something else has its name."""
    try:
        return os.readlink(name, dir_fd=at)
    except FileNotFoundError:
        return None
    except OSError:
        raise NotDelivered(f"{name} is not a symbolic link", hint="move it out of the way") from None


def point(at: int, name: str, target: str) -> None:
    """Have a link point there: made anew or exchanged in one step, durable when this returns."""
    aside = f".{name}-{secrets.token_hex(6)}"
    os.symlink(target, aside, dir_fd=at)
    os.rename(aside, name, src_dir_fd=at, dst_dir_fd=at)
    os.fsync(at)


def remove(at: int, name: str) -> None:
    """Remove a directory of plain files, or one file. What is gone already is passed over."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=at)
    except FileNotFoundError:
        return
    except OSError:
        os.unlink(name, dir_fd=at)
        return
    try:
        for inner in names(descriptor):
            os.unlink(inner, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=at)


@contextmanager
def _readable(at: int) -> Iterator[int]:
    """The same directory, opened so that it can be synced."""
    descriptor = os.open(".", _DIRECTORY, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _step(at: int, name: str, done: str, flags: int) -> tuple[int, str]:
    done = f"{done}/{name}"
    try:
        further = os.open(name, flags, dir_fd=at)
    except NotADirectoryError:  # O_DIRECTORY wins over O_NOFOLLOW
        raise NotDelivered(f"{done} is a symbolic link or no directory", hint="name the real path") from None
    os.close(at)
    return further, done


def _refuse_foreign(at: int, name: str, *, allow_sticky: bool) -> None:
    found = os.fstat(at)
    if found.st_uid not in (0, os.geteuid()):
        raise NotDelivered(f"{name} belongs to somebody else, who could put other files there", hint=f"chown {name}")
    is_sticky = allow_sticky and bool(found.st_mode & stat.S_ISVTX)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
        raise NotDelivered(f"others may write {name}", hint=f"chmod go-w {name}")


def _read(descriptor: int, size: int) -> bytes:
    content = bytearray()
    while len(content) <= min(size, _LARGEST) and (more := os.read(descriptor, 1 << 16)):
        content += more
    return bytes(content)
