"""The settings of the `files` publisher: read strictly, all that is wrong said at once."""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from renewers.publishers.naming import Read, read_with

MOST_ARGUMENTS, LONGEST = 32, 1024


@dataclass(frozen=True, slots=True)
class FilesConfig:
    """Where the files go, whose they are, and what is run afterwards."""

    directory: str
    owner: int | None = None
    group: int | None = None
    mode: int = 0o600
    """Of the files that have the key in them."""
    reload: tuple[str, ...] = ()
    reload_timeout: float = 30.0
    keep: int = 3
    """How many versions stay; what is in use and what was before stay anyway."""


def read_settings(settings: Mapping[str, Any]) -> FilesConfig:
    """`BadRequest` names every setting that is wrong."""
    values = read_with(_READERS, settings, makes="a directory of files", required=("directory",))
    return FilesConfig(**values)


def _directory(value: Any) -> str:
    path = _path(value)
    if path == "/":
        raise ValueError("is not /")
    return path


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or len(value) > LONGEST:
        raise ValueError("is not an absolute path")
    steps = value[1:].split("/")
    if value != "/" and any(step in ("", ".", "..") or len(step.encode()) > 255 for step in steps):
        raise ValueError("is not a plain path: no `..`, no `.`, no empty or overlong names")
    if not value.isprintable() or "\\" in value:
        raise ValueError("has control characters or backslashes in it")
    return value


def _owner(value: Any) -> int:
    return _looked_up(value, lambda name: pwd.getpwnam(name).pw_uid, "user")


def _group(value: Any) -> int:
    return _looked_up(value, lambda name: grp.getgrnam(name).gr_gid, "group")


def _looked_up(value: Any, find: Callable[[str], int], what: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError(f"is not the name of a {what}")
    try:
        return find(value)
    except KeyError:
        raise ValueError(f"names a {what} that this machine does not know: {value}") from None


def _mode(value: Any) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError('is not written like "0640"')
    mode = int(value, 8)
    if mode & 0o007:
        raise ValueError(f"{value} lets everybody read the key")
    if mode & ~0o640 or not mode & 0o400:
        raise ValueError(f"{value} is not for a key: 0400, 0600, 0440 or 0640")
    return mode


def _reload(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple) or not value:
        raise ValueError("is not a list of arguments, the program first; there is no shell to take a string apart")
    if len(value) > MOST_ARGUMENTS:
        raise ValueError(f"has more than {MOST_ARGUMENTS} arguments")
    if not all(isinstance(one, str) and len(one) <= LONGEST and "\0" not in one for one in value):
        raise ValueError("has an argument that is no text, or too long")
    try:
        return (_path(value[0]), *value[1:])
    except ValueError as error:
        raise ValueError(f"begins with a program that {error}") from None


def _timeout(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 300:
        raise ValueError("is not between 1 and 300 seconds")
    return float(value)


def _keep(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 100:
        raise ValueError("is not between 2 and 100")
    return value


_READERS: Mapping[str, Read] = {
    "directory": _directory,
    "owner": _owner,
    "group": _group,
    "mode": _mode,
    "reload": _reload,
    "reload_timeout": _timeout,
    "keep": _keep,
}
