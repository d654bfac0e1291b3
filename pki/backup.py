"""Backups of an installation: made while it runs, listed, kept so many, and checked with the recipient's key."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ca import clock, files
from ca.backup import snapshot
from ca.backup.packing import Packer
from ca.backup.reading import Found, Taker, read
from ca.backup.sealing import Sealed, read_recipient, recipient_text
from ca.errors import Conflict, KeyUnavailable
from ca.keys.algorithms import spki
from ca.keys.passphrase import find_passphrase
from ca.keys.pkcs8 import decrypt_pkcs8, encrypt_pkcs8
from ca.ledger import log
from ca.ledger.checkpoint import claimed_size
from ca.secret import Secret
from ca.store.lease import leased
from pki.product import Product
from pki.settings import FILE

SUFFIX = ".cwbackup"
_URL = re.compile(r"(?m)^url = .*$")
LEASE = 3600


def make_key(path: Path, passphrase: Secret) -> str:
    """Write a new private key, encrypted; returns the recipient that settings name."""
    key = X25519PrivateKey.generate()
    try:
        files.write_new(path, encrypt_pkcs8(key, passphrase), mode=0o600)  # type: ignore[arg-type]  # it is PKCS#8
    except FileExistsError:
        raise Conflict(f"there is already a file {path}", code="key-exists") from None
    return recipient_text(key.public_key())


def load_key(path: Path, passphrase: Secret) -> X25519PrivateKey:
    """The private key of a recipient."""
    key: object = decrypt_pkcs8(path.read_bytes(), passphrase, str(path))
    if not isinstance(key, X25519PrivateKey):
        raise KeyUnavailable(f"{path} is not the key of a recipient", hint="certwright backup key makes one")
    return key


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is there."""

    path: Path
    made_at: int
    size: int


def target(product: Product) -> Path:
    """The directory that backups go to. `Conflict` if none is named, or no recipient."""
    asked = product.settings.backup
    if not asked.recipient:
        raise Conflict(
            "no recipient of backups is named, and an open one is not made",
            code="no-recipient",
            hint="certwright backup key --out FILE elsewhere, then backup.recipient",
        )
    if not asked.to:
        raise Conflict("no directory for backups is named", code="no-place", hint="set backup.to, on another disk")
    return product.state / asked.to


def listing(product: Product) -> list[Backup]:
    """What is there, the newest first."""
    directory = product.state / product.settings.backup.to
    if not product.settings.backup.to or not directory.is_dir():
        return []
    found = [(path, path.stat()) for path in directory.glob(f"certwright-*{SUFFIX}")]
    return sorted((Backup(p, int(s.st_mtime), s.st_size) for p, s in found), key=lambda b: b.path.name, reverse=True)


def create(product: Product, by: str, progress: snapshot.Progress | None = None) -> tuple[Backup, dict[str, Any]]:
    """Make one, and let the oldest go. It is whole and on the disk before it has its name."""
    directory, recipient = target(product), read_recipient(product.settings.backup.recipient)
    files.private_directory(directory)
    installation = product.installation
    with leased(installation.store, "backup", LEASE) as held:
        if held is None:
            raise Conflict("a backup is being made already", code="backup-running", hint="wait for it")
        installation.ledger.sequence()
        stamp = datetime.fromtimestamp(clock.timestamp(), UTC).strftime("%Y%m%dT%H%M%SZ")
        for left in directory.glob(f".certwright-*{SUFFIX}.part"):  # by a process that died at it: we alone make any
            left.unlink(missing_ok=True)
        path = directory / f"certwright-{stamp}-{secrets.token_hex(2)}{SUFFIX}"
        aside = path.with_name(f".{path.name}.part")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                packer = Packer(Sealed(file, recipient))
                manifest = snapshot.pack(installation.store, lambda: _files(product.state), packer, progress)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            files.sync_directory(directory)
        finally:
            aside.unlink(missing_ok=True)
        made = Backup(path, clock.timestamp(), path.stat().st_size)
        rows = sum(manifest["tables"].values())
        installation.store.write(lambda tx: log.append(tx, "backup-created", path.name, by, rows=rows, bytes=made.size))
    for old in listing(product)[product.settings.backup.keep :]:
        old.path.unlink(missing_ok=True)
    return made, manifest


def create_due(product: Product) -> None:
    """Make one if the newest is older than it should be; nothing where none are wanted."""
    asked = product.settings.backup
    if not asked.to:
        return
    newest = next(iter(listing(product)), None)
    if newest is None or clock.timestamp() - newest.made_at >= asked.every.total_seconds():
        create(product, "system:backup")


def _files(state: Path) -> Iterator[tuple[str, bytes]]:
    for folder in ("keys", "profiles"):
        for path in sorted((state / folder).glob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                yield f"{folder}/{path.name}", path.read_bytes()
    text = (state / FILE).read_text()
    yield FILE, _URL.sub('url = ""', text).encode()  # a database URL may carry a password


class _Keys(Taker):
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def file(self, name: str, content: bytes) -> None:
        if name.startswith("keys/"):
            self.files[name] = content


def verify(
    path: Path, key: X25519PrivateKey, passphrase_file: Path | None, progress: Callable[[int], None] | None = None
) -> tuple[Found, str]:
    """Read all of it; returns what it holds, and whether its keys open: `opened`, or why that was not tried."""
    taker = _Keys()
    found = read(path, key, taker, progress)
    if not taker.files:
        return found, "no key files in it: the keys are in a token"
    try:
        passphrase = find_passphrase(passphrase_file)
    except KeyUnavailable:
        return found, "not tried: no passphrase at hand"
    belongs = {f"keys/{row['key_label']}.pem": row["spki_sha256"] for row in found.authorities}
    for name, content in taker.files.items():
        opened = decrypt_pkcs8(content, passphrase, name)
        if name in belongs and sha256(spki(opened.public_key())).digest() != belongs[name]:
            raise KeyUnavailable(f"the key {name} does not belong to its CA's certificate")
    return found, "opened"


def moment(seconds: object) -> str:
    """A time for people and JSON, RFC 3339."""
    return datetime.fromtimestamp(int(str(seconds)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def head_size(manifest: dict[str, Any]) -> int:
    """How many ledger entries a backup's head covers."""
    return 0 if manifest["head"] is None else claimed_size(manifest["head"])


def age(product: Product) -> float:
    """Seconds since the newest backup was made: 0 where none are wanted, infinity before the first."""
    if not product.settings.backup.to:
        return 0.0
    newest = next(iter(listing(product)), None)
    return float("inf") if newest is None else max(0.0, clock.timestamp() - newest.made_at)


def is_late(product: Product) -> bool:
    """Whether the newest is older than twice what was asked for."""
    return age(product) > 2 * product.settings.backup.every.total_seconds()
