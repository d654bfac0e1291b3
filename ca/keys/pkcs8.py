"""A private key in an encrypted file: PKCS#8 (RFC 5958), scrypt and AES-256-CBC (RFC 7914 section 7, RFC 8018), PEM.

`openssl pkey -in FILE` opens it with the passphrase, so a key is never hostage to this program.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ca import der, files
from ca.errors import KeyUnavailable
from ca.keys.algorithms import PrivateKey, spki
from ca.keys.passphrase import CREDENTIAL, VARIABLE
from ca.secret import Secret

SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 5
"""16 MiB and about 0.15 s a guess: of those that OWASP names, the one that OpenSSL's limit of 32 MiB admits."""

_FINGERPRINT = re.compile(rb"Public-Key-SHA256: ([0-9a-f]{64})\n")


def encrypt_pkcs8(key: PrivateKey, passphrase: Secret) -> bytes:
    """PEM EncryptedPrivateKeyInfo. `cryptography` reads scrypt but does not write it, hence the encoding here."""
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    derived = hashlib.scrypt(
        passphrase.reveal().encode(), salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, dklen=32, maxmem=1 << 26
    )
    padder = padding.PKCS7(128).padder()
    clear = padder.update(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) + padder.finalize()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(iv)).encryptor()
    kdf = der.sequence(
        der.oid("1.3.6.1.4.1.11591.4.11"),
        der.sequence(der.octet_string(salt), der.integer(SCRYPT_N), der.integer(SCRYPT_R), der.integer(SCRYPT_P)),
    )
    cipher = der.sequence(der.oid("2.16.840.1.101.3.4.1.42"), der.octet_string(iv))
    info = der.sequence(
        der.sequence(der.oid("1.2.840.113549.1.5.13"), der.sequence(kdf, cipher)),
        der.octet_string(encryptor.update(clear) + encryptor.finalize()),
    )
    return f"Public-Key-SHA256: {_fingerprint(key)}\n".encode() + files.pem("ENCRYPTED PRIVATE KEY", info)


def decrypt_pkcs8(pem: bytes, passphrase: Secret, source: str) -> PrivateKey:
    """The key in an encrypted PEM. `KeyUnavailable` names the file, never its content."""
    try:
        key = load_pem_private_key(pem, passphrase.reveal().encode())
    except Exception as error:  # noqa: BLE001 - whatever the parser raises, the key cannot be used
        raise KeyUnavailable(
            f"cannot open {source}: the passphrase is wrong or the file is damaged ({type(error).__name__})",
            hint=f"the passphrase comes from {VARIABLE}, else the systemd credential {CREDENTIAL}, else a file",
        ) from None
    named = _FINGERPRINT.match(pem)
    if named is not None and named[1].decode() != _fingerprint(key):  # type: ignore[arg-type]
        raise KeyUnavailable(f"cannot open {source}: the file is damaged, its key is not the one that it names")
    return key  # type: ignore[return-value]  # the caller checks it against the certificate it belongs to


def _fingerprint(key: PrivateKey) -> str:
    return hashlib.sha256(spki(key.public_key())).hexdigest()
