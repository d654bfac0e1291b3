"""A directory on this machine: versions side by side, a link to the one in use, a command that has it read again.

    DIRECTORY/versions/VERSION/...               cert.pem, fullchain.pem, key.pem; or bundle.pem, crl.pem
    DIRECTORY/live      -> versions/VERSION      what is in use
    DIRECTORY/previous  -> versions/VERSION      what was before

A version is written aside and then named, and never changed afterwards; `live` is exchanged in one step. Who needs a
certificate and its key reads both through one look at `live`, or `combined.pem` (key first, as HAProxy takes it). A
version that was damaged or has other owners now is written once more, as `VERSION+1`. Where nothing was in use before,
`restore` leaves what there is: nothing at all would be worse. Read `openat.py` for how files are reached.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ca.errors import BadRequest, NotDelivered
from renewers.publishers import Material, Publisher, openat
from renewers.publishers.command import run
from renewers.publishers.filesettings import FilesConfig, read_settings
from renewers.publishers.naming import VERSION, check_names
from renewers.publishers.openat import FileSpec

LIVE, PREVIOUS, VERSIONS = "live", "previous", "versions"
_TARGET = re.compile(rf"versions/({VERSION.pattern}(?:\+[1-9][0-9]?)?)")
_LEFT_OVER = re.compile(r"\.(?:live|previous|stage|gone)-[0-9a-f]{12}")
_MENDED = 99


def make_files(settings: Mapping[str, Any], *, programs: Collection[str] | None = None) -> Publisher:
    """The publisher of one destination. `BadRequest` names everything that is wrong with its settings.

    `programs` are those that may be run, by this machine's own settings; None where whoever calls answers for it.
    """
    config = read_settings(settings)
    if programs is not None and config.reload and config.reload[0] not in programs:
        raise BadRequest(
            f"{config.reload[0]} is no program that a destination may run on this machine",
            code="program-not-allowed",
            hint="name it in renewals.programs of certwright.toml: neither a token nor a row is a shell",
        )
    return Files(config)


@dataclass(frozen=True, slots=True)
class _Place:
    """The two directories, open and locked."""

    top: int
    versions: int


class Files:
    """A `Publisher` into a directory. One call at a time has the directory, whichever process it comes from."""

    keeps_secrets = True

    def __init__(self, config: FilesConfig) -> None:
        self._config = config

    def stage(self, material: Material) -> None:
        """Write the version, unless it is there. What a crash has left is swept, and what is too old."""
        files = self._files(material)
        with self._opened(material) as place:
            self._sweep(place)
            if self._find(place, material.version, files) is None:
                self._write(place, _free_name(place, material.version), files)
            self._prune(place)

    def swap(self, material: Material) -> None:
        """Exchange `live`, after `previous` was made to say what it was; then run the command."""
        with self._opened(material) as place:
            target = self._find(place, material.version, self._files(material))
            if target is None:
                raise NotDelivered(f"{material.version} is not in {self._config.directory}: it was not staged, or lost")
            live = _target(place, LIVE)
            if live is None:
                with suppress(FileNotFoundError):
                    os.unlink(PREVIOUS, dir_fd=place.top)
            elif _version(live) != material.version:
                openat.point(place.top, PREVIOUS, f"{VERSIONS}/{live}")
            if live != target:
                openat.point(place.top, LIVE, f"{VERSIONS}/{target}")
        self._reload()

    def restore(self, material: Material) -> None:
        """Exchange `live` back. If it has been already, by a call that died, the command is still run."""
        with self._opened(material) as place:
            live, previous = _target(place, LIVE), _target(place, PREVIOUS)
            if live is None or previous is None:
                return
            if _version(live) == material.version:
                if not _exists(place, previous):
                    raise NotDelivered(f"{previous}, which was in use before, is gone from {self._config.directory}")
                openat.point(place.top, LIVE, f"{VERSIONS}/{previous}")
            elif live != previous:
                return
        self._reload()

    def _reload(self) -> None:
        if self._config.reload:
            run(self._config.reload, self._config.reload_timeout)

    @contextmanager
    def _opened(self, material: Material) -> Iterator[_Place]:
        directory = self._config.directory
        check_names(material)
        try:
            with openat.opened(directory) as top:
                fcntl.flock(top, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    yield from self._inside(top)
                finally:  # closing is not enough: a program that is just being started has a copy of the descriptor
                    fcntl.flock(top, fcntl.LOCK_UN)
        except BlockingIOError:
            raise NotDelivered(f"another process is writing to {directory} at this moment") from None
        except NotDelivered as error:
            raise NotDelivered(_within(directory, error.message), hint=error.hint) from None
        except OSError as error:
            name = f" ({error.filename})" if isinstance(error.filename, str) else ""
            raise NotDelivered(f"{directory} cannot be written: {error.strerror}{name}") from None

    def _inside(self, top: int) -> Iterator[_Place]:
        with suppress(FileExistsError):
            os.close(openat.make_directory(top, VERSIONS))
            os.fsync(top)
        with openat.below(top, VERSIONS) as versions:
            os.fchmod(versions, 0o755)  # where it was made and the process died
            yield _Place(top, versions)

    def _files(self, material: Material) -> dict[str, FileSpec]:
        """What a version is made of. Whatever has a key in it is for its owner."""
        config = self._config
        files = {name: FileSpec(content, 0o644) for name, content in material.files.items()}
        for name, secret in material.secrets.items():
            files[name] = FileSpec(secret.reveal().encode(), config.mode, config.owner, config.group)
        return files

    def _find(self, place: _Place, version: str, files: Mapping[str, FileSpec]) -> str | None:
        """The directory that holds this version whole; the one in use, if it does."""
        live = _target(place, LIVE)
        whole = [name for name in _names(place, version) if _is_whole(place, name, files)]
        return live if live in whole else next(iter(whole), None)

    def _write(self, place: _Place, name: str, files: Mapping[str, FileSpec]) -> None:
        aside = f".stage-{secrets.token_hex(6)}"
        inside = openat.make_directory(place.versions, aside)
        try:
            for file, content in files.items():
                openat.write(inside, file, content)
            os.fsync(inside)
        finally:
            os.close(inside)
        os.rename(aside, name, src_dir_fd=place.versions, dst_dir_fd=place.versions)
        os.fsync(place.versions)

    def _sweep(self, place: _Place) -> None:
        for directory in (place.top, place.versions):
            for name in filter(_LEFT_OVER.fullmatch, openat.names(directory)):
                with suppress(OSError):
                    openat.remove(directory, name)

    def _prune(self, place: _Place) -> None:
        """Keep the newest, and what is in use. What cannot be removed is no reason to deliver nothing."""
        ages = sorted(((_age(place, name), name) for name in _names(place)), reverse=True)
        kept = {_target(place, LIVE), _target(place, PREVIOUS)}
        for _, name in ages[self._config.keep :]:
            if name not in kept:
                aside = f".gone-{secrets.token_hex(6)}"
                with suppress(OSError):
                    os.rename(name, aside, src_dir_fd=place.versions, dst_dir_fd=place.versions)
                    openat.remove(place.versions, aside)


def _target(place: _Place, name: str) -> str | None:
    """Which version's directory `live` or `previous` points to."""
    target = openat.link(place.top, name)
    if target is None:
        return None
    match = _TARGET.fullmatch(target)
    if match is None:
        raise NotDelivered(f"{name} points to {target[:100]!r}, which is no version of ours", hint="remove the link")
    return match[1]


def _names(place: _Place, version: str | None = None) -> Sequence[str]:
    """The directories of versions, or of one version: the one that was written last comes first."""
    found = [name for name in openat.names(place.versions) if _TARGET.fullmatch(f"{VERSIONS}/{name}")]
    return sorted((name for name in found if version in (None, _version(name))), key=_number, reverse=True)


def _version(name: str) -> str:
    return name.partition("+")[0]


def _number(name: str) -> int:
    return int(name.partition("+")[2] or 0)


def _free_name(place: _Place, version: str) -> str:
    taken = _names(place, version)
    if not taken:
        return version
    if _number(taken[0]) >= _MENDED:
        raise NotDelivered(f"{version} was damaged {_MENDED} times", hint="find out who writes to this directory")
    return f"{version}+{_number(taken[0]) + 1}"


def _is_whole(place: _Place, name: str, files: Mapping[str, FileSpec]) -> bool:
    try:
        with openat.below(place.versions, name) as inside:
            return set(openat.names(inside)) == set(files) and all(openat.holds(inside, n, f) for n, f in files.items())
    except (OSError, NotDelivered):
        return False


def _exists(place: _Place, name: str) -> bool:
    return name in openat.names(place.versions)


def _age(place: _Place, name: str) -> int:
    return os.stat(name, dir_fd=place.versions, follow_symlinks=False).st_mtime_ns


def _within(directory: str, message: str) -> str:
    return message if message.startswith("/") or directory in message else f"{directory}: {message}"
