"""Walking a directory for files that may hold certificates, on a machine that is not ours to disturb.

No link is followed, no device, pipe or socket is opened, no other file system is entered; depth, number and size are
bounded. What cannot be read is said and the rest goes on. What is in the files, `files.py` says.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from ca.errors import BadRequest
from renewers.plain import one_line

DEPTH = 12
MOST = 100_000
"""Entries that one walk looks at, of every kind."""
LARGEST = 1024 * 1024
"""Bytes of a file beyond which it is not read."""
SUFFIXES = (".pem", ".crt", ".cer", ".cert", ".der", ".p7b", ".p7c", ".p12", ".pfx", ".ca-bundle")
"""Names by which a file claims to hold certificates; others are read, too, and are passed over in silence if not."""
_PLAIN = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in "%#")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may hold certificates, and its content."""

    path: Path
    content: bytes

    @property
    def place(self) -> str:
        """How it is written down: `file:/etc/ssl/api.pem`."""
        return place_of(self.path)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that was not looked into, and why."""

    path: Path
    reason: str

    @property
    def place(self) -> str:
        """How it is written down."""
        return place_of(self.path)


def place_of(path: Path) -> str:
    """A path as a place; bytes that are no printable ASCII are escaped as in a URL."""
    return f"file:{quote(os.fsencode(path), safe=_PLAIN)}"


def path_of(place: str) -> Path:
    """Read back what `place_of` wrote."""
    kind, _, rest = place.partition(":")
    path = Path(os.fsdecode(unquote_to_bytes(rest)))
    if kind != "file" or not path.is_absolute() or "\0" in str(path):
        raise BadRequest(f"{one_line(place, 100)!r} is not the place of a file")
    return path


def walk(root: Path, *, depth: int = DEPTH, most: int = MOST, largest: int = LARGEST) -> Iterator[Found | Unreadable]:
    """What lies beneath `root`, which may itself be a link, or a file. `BadRequest` if there is no such thing."""
    try:
        start = Path(root).resolve(strict=True)
        kind = start.lstat()
    except (OSError, ValueError, RuntimeError) as error:
        raise BadRequest(f"there is nothing to walk at {one_line(str(root), 200)}: {_why(error)}") from None
    if stat.S_ISDIR(kind.st_mode):
        return _Walk(start, kind.st_dev, most, largest).directory(start, depth)
    return iter([read(start, largest=largest)])


def read(path: Path, *, largest: int = LARGEST) -> Found | Unreadable:
    """One file, if it is a plain one and not too large."""
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            return Unreadable(path, "is not a plain file")
        return _content(path, os.open(path, _OPEN), largest)
    except OSError as error:
        return Unreadable(path, _why(error))


class _Walk:
    """One walk: where it began, and what it may still look at."""

    def __init__(self, root: Path, device: int, most: int, largest: int) -> None:
        self._root, self._device, self._left, self._largest = root, device, most, largest

    def directory(self, path: Path, depth: int, parent: int | None = None) -> Iterator[Found | Unreadable]:
        """Everything in a directory, opened beneath its parent so that nobody can put a link in its place."""
        try:
            here = os.open(path if parent is None else path.name, _OPEN | os.O_DIRECTORY, dir_fd=parent)
        except OSError as error:
            yield Unreadable(path, _why(error))
            return
        try:
            if os.fstat(here).st_dev != self._device:
                yield Unreadable(path, "is another file system")
                return
            with os.scandir(here) as entries:
                for entry in entries:
                    if self._left <= 0:
                        return
                    self._left -= 1
                    if self._left == 0:
                        yield Unreadable(path, "the walk ends here: there is too much")
                        return
                    yield from self._entry(path / entry.name, entry, here, depth)
        except OSError as error:
            yield Unreadable(path, _why(error))
        finally:
            os.close(here)

    def _entry(self, path: Path, entry: os.DirEntry[str], here: int, depth: int) -> Iterator[Found | Unreadable]:
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                if not path.resolve().is_relative_to(self._root):
                    yield Unreadable(path, "is a link that leads out of the directory")
            elif stat.S_ISDIR(status.st_mode):
                if depth > 1:
                    yield from self.directory(path, depth - 1, here)
                else:
                    yield Unreadable(path, "lies too deep")
            elif stat.S_ISREG(status.st_mode) and (status.st_size <= self._largest or _claims(path)):
                found = _content(path, os.open(entry.name, _OPEN, dir_fd=here), self._largest)
                if isinstance(found, Unreadable) or _may_hold(found):
                    yield found
        except (OSError, RuntimeError) as error:
            yield Unreadable(path, _why(error))


def _content(path: Path, descriptor: int, largest: int) -> Found | Unreadable:
    """Read what was opened, having looked once more at what it is."""
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return Unreadable(path, "is not a plain file")
        content = bytearray()
        while len(content) <= largest and (chunk := file.read(largest + 1 - len(content))):
            content += chunk
    if len(content) > largest:
        return Unreadable(path, f"is larger than {largest} bytes")
    return Found(path, bytes(content))


def _claims(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _may_hold(found: Found) -> bool:
    """PEM text, an ASN.1 SEQUENCE of a certificate's size, or what claims to be one and shall hear that it is not."""
    content = found.content
    return b"-----BEGIN " in content or content[:2] in (b"\x30\x82", b"\x30\x81", b"\x30\x83") or _claims(found.path)


def _why(error: Exception) -> str:
    if isinstance(error, RuntimeError):
        return "is a link that leads in a circle"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return one_line(text, 200)
