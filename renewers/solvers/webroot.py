"""http-01 through somebody else's web server: a file in its document root (RFC 8555 section 8.3).

Only `.well-known/acme-challenge` below the directory in the settings is written to; links there are never followed, so
that whoever owns the web site cannot send our writes elsewhere. Whether the server shows the file is not looked at:
this machine may not reach it by its public name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ca.errors import Misconfigured, NotDelivered
from ca.x509.names import Kind, Name
from renewers.solvers import Challenge
from renewers.solvers.shared import Shared
from renewers.solvers.tokens import checked
from renewers.solvers.zoned import closest, domain_of

WAY = (".well-known", "acme-challenge")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Webroot:
    """Document roots by the domain whose names they serve, subdomains included; `*` serves every name."""

    kind = "http-01"

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = {key if key == "*" else domain_of(key): root for key, root in roots.items()}
        self._shared = Shared()
        for root in self._roots.values():
            if not root.is_absolute():
                raise Misconfigured(f"the document root {root} is not an absolute path")

    def solves(self, name: Name, *, is_wildcard: bool) -> bool:
        """Hosts and addresses that have a document root, no wildcards."""
        return not is_wildcard and not name.is_wildcard and self._root_of(name) is not None

    @contextmanager
    def answer(self, challenge: Challenge, *, deadline: float) -> Iterator[None]:
        """Have the file there. `NotDelivered` says why it could not be written."""
        token, content = checked(challenge).token, challenge.authorization.encode()
        root = self._root_of(challenge.name)
        if root is None:
            raise NotDelivered(f"there is no document root for {challenge.name}", code="no-webroot")
        with self._shared.held((root, token), lambda: _write(root, token, content), lambda: _remove(root, token)):
            yield

    def _root_of(self, name: Name) -> Path | None:
        if name.kind not in (Kind.DNS, Kind.IP):
            return None
        if name.kind is Kind.IP:
            return self._roots.get(name.value, self._roots.get("*"))
        found = closest(name.value, [key for key in self._roots if key != "*"])
        return self._roots[found] if found is not None else self._roots.get("*")


def _write(root: Path, token: str, content: bytes) -> None:
    try:
        with _folder(root, is_made=True) as folder:
            aside = f".{token[:64]}.{secrets.token_hex(6)}"
            try:
                _write_aside(folder, aside, content)
                os.rename(aside, token, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(aside, dir_fd=folder)
                raise
    except OSError as error:
        raise _not_written(root, error) from None


def _write_aside(folder: int, name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o644)


def _remove(root: Path, token: str) -> None:
    """Its own file, if it is still there."""
    with suppress(OSError), _folder(root, is_made=False) as folder:
        os.unlink(token, dir_fd=folder)


@contextmanager
def _folder(root: Path, *, is_made: bool) -> Iterator[int]:
    """A descriptor of the folder of tokens, each step of the way opened in the one before, and no link among them."""
    descriptor = os.open(root, DIRECTORY)
    try:
        for step in WAY:
            inner = _step(descriptor, step, is_made=is_made)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _step(parent: int, name: str, *, is_made: bool) -> int:
    made = False
    if is_made:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
            made = True
    descriptor = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    if made:
        os.fchmod(descriptor, 0o755)  # whatever the umask says: the web server is another user
    return descriptor


def _not_written(root: Path, error: OSError) -> NotDelivered:
    why = os.strerror(error.errno) if error.errno else "a link is in the way"
    return NotDelivered(
        f"the challenge cannot be written below {root}: {why.lower()}",
        code="not-written",
        hint=f"{root}/{'/'.join(WAY)} has to be a plain directory that this process may write to, without links",
    )
