"""Keys in files: one encrypted PKCS#8 file a key (RFC 5958), scrypt and AES-256-CBC (RFC 7914 section 7, RFC 8018).

`openssl pkey -in FILE` opens them with the passphrase, so a key is never hostage to this program. The encryption has
no tag of its own, so a line before the PEM names the public key, and a damaged file is found; an exchanged one is found
when the key does not fit the certificate that goes with it (`ca/authority`). Directories are 0700 and files 0600.
"""

from __future__ import annotations

from pathlib import Path

from ca import files
from ca.errors import Conflict, KeyUnavailable
from ca.keys import check_label
from ca.keys.algorithms import KeyType, PrivateKey
from ca.keys.pkcs8 import decrypt_pkcs8, encrypt_pkcs8
from ca.secret import Secret


class SoftwareKeyStore:
    """A `KeyStore` and `KeyImport` over a directory. Loaded keys stay in this process's memory."""

    def __init__(self, directory: Path, passphrase: Secret) -> None:
        self._directory = directory
        self._passphrase = passphrase
        self._loaded: dict[str, PrivateKey] = {}
        files.private_directory(directory)

    def create(self, label: str, key_type: KeyType) -> PrivateKey:
        """Make a key; its file is on the disk before this returns."""
        key = key_type.generate()
        self.put(label, key)
        return key

    def put(self, label: str, key: PrivateKey) -> None:
        """Write a key under a new label."""
        path = self._path(label)
        try:
            files.write_new(path, encrypt_pkcs8(key, self._passphrase), mode=0o600)
        except FileExistsError:
            raise Conflict(f"there is already a key {label!r}", code="key-exists") from None
        self._loaded[label] = key

    def load(self, label: str) -> PrivateKey:
        """The key, decrypted on first use."""
        if label not in self._loaded:
            path = self._path(label)
            try:
                pem = path.read_bytes()
            except OSError as error:
                raise KeyUnavailable(f"cannot read the key {label!r}: {error.strerror} ({path})") from error
            self._loaded[label] = decrypt_pkcs8(pem, self._passphrase, str(path))
        return self._loaded[label]

    def destroy(self, label: str) -> None:
        """Remove the file; what a disk or a backup still holds stays encrypted."""
        self._loaded.pop(label, None)
        self._path(label).unlink(missing_ok=True)

    def _path(self, label: str) -> Path:
        return self._directory / f"{check_label(label)}.pem"
