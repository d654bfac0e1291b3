"""Certificates in files of this machine, read here and sent in batches. Private keys are never sent.

Directories are walked as `renewers/discovery/directories.py` does it: no link leads out, nothing but plain files is
opened, depth and sizes are bounded. Each file that gives nothing is said once, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ca.errors import BadRequest
from ca.files import pem
from ca.secret import Secret
from ca.x509.bundle import pem_certificate
from renewers.discovery.directories import Unreadable, walk
from renewers.inventory.reading import Brought, is_pkcs12, read_any, read_pkcs12

LARGEST = 150_000
"""Characters of one batch: well below the limit of a request's body."""
MOST = 100
"""Items of one batch."""
Passphrase = Callable[[Path], Secret | None]


@dataclass(frozen=True, slots=True)
class Part:
    """Some certificates and CRLs of one file, PEM."""

    path: Path
    pem: str


@dataclass(frozen=True, slots=True)
class Useless:
    """A file, or a part of one, that gave nothing, and why."""

    path: Path
    why: str


def gather(paths: Iterable[Path], passphrase: Passphrase) -> Iterator[Part | Useless]:
    """What is in files and beneath directories, in pieces that one request can take."""
    for path in paths:
        for found in walk(path):
            if isinstance(found, Unreadable):
                yield Useless(found.path, found.reason)
                continue
            try:
                brought = _read(found.path, found.content, passphrase)
            except BadRequest as error:
                yield Useless(found.path, error.message)
                continue
            yield from _parts(found.path, brought)


def batches(parts: Iterable[Part | Useless]) -> Iterator[tuple[list[Part], list[Useless]]]:
    """The same in batches, each with what gave nothing on the way."""
    taken: list[Part] = []
    useless: list[Useless] = []
    size = 0
    for part in parts:
        if isinstance(part, Useless):
            useless.append(part)
            continue
        if taken and (size + len(part.pem) > LARGEST or len(taken) >= MOST):
            yield taken, useless
            taken, useless, size = [], [], 0
        taken.append(part)
        size += len(part.pem)
    if taken or useless:
        yield taken, useless


def _read(path: Path, content: bytes, passphrase: Passphrase) -> Brought:
    if not is_pkcs12(content):
        return read_any(content)
    try:
        return read_pkcs12(content, None)
    except BadRequest:
        secret = passphrase(path)
        if secret is None:
            raise
        return read_pkcs12(content, secret)


def _parts(path: Path, brought: Brought) -> Iterator[Part | Useless]:
    """In the order of the file, so that a chain stays beside its certificate as long as there is room."""
    yield from (Useless(path, f"{refused.what}: {refused.why}") for refused in brought.refused)
    texts = [pem_certificate(der) for der in brought.certificates]
    texts += [pem("X509 CRL", der).decode() for der in brought.lists]
    if not texts and not brought.refused:
        yield Useless(path, "there is no certificate in it")
    piece = ""
    for text in texts:
        if len(text) > LARGEST:
            yield Useless(path, f"something in it is larger than {LARGEST} characters")
            continue
        if len(piece) + len(text) > LARGEST:
            yield Part(path, piece)
            piece = ""
        piece += text
    if piece:
        yield Part(path, piece)
