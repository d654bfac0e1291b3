"""Certificates and keys as PEM text: reading what people bring, writing what they take away (RFC 7468)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
    load_pem_public_key,
)

from ca.errors import BadRequest
from ca.files import pem
from ca.keys.algorithms import PrivateKey, key_type_of, spki
from ca.secret import Secret

MAX_BYTES = 64 * 1024
MAX_CHAIN = 10
"""How many certificates a chain may have before anybody tries to build paths through it."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def pem_certificate(der: bytes) -> str:
    """One certificate as PEM."""
    return pem("CERTIFICATE", der).decode()


def pem_chain(certificates: Iterable[bytes]) -> str:
    """Several certificates, one after the other."""
    return "".join(map(pem_certificate, certificates))


def pem_crl(der: bytes) -> str:
    """A certificate revocation list as PEM."""
    return pem("X509 CRL", der).decode()


def read_certificates(data: bytes) -> list[x509.Certificate]:
    """Every certificate in PEM text, or the one in DER; at most `MAX_CHAIN` of them."""
    if len(data) > MAX_BYTES:
        raise BadRequest(f"the certificates are larger than {MAX_BYTES} bytes", code="bad-certificate")
    try:
        if data[:1] == b"\x30":
            return [x509.load_der_x509_certificate(data)]
        blocks = _CERTIFICATE.findall(data)
        if not 0 < len(blocks) <= MAX_CHAIN:
            raise BadRequest(f"there are {len(blocks)} certificates, not 1 to {MAX_CHAIN}", code="bad-certificate")
        return [x509.load_pem_x509_certificate(block) for block in blocks]
    except BadRequest:
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        raise BadRequest(f"a certificate cannot be parsed ({type(error).__name__})", code="bad-certificate") from None


def read_public_key(data: bytes) -> bytes:
    """DER SubjectPublicKeyInfo of the key in a PEM certificate, request or public key."""
    try:
        if b"BEGIN PUBLIC KEY" in data:
            key: Any = load_pem_public_key(data)
        elif b"CERTIFICATE REQUEST" in data:
            key = x509.load_pem_x509_csr(data).public_key()
        else:
            key = x509.load_pem_x509_certificate(data).public_key()
        return spki(key)
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        raise BadRequest(f"there is no public key in it ({type(error).__name__})", code="bad-key") from None


def read_private_key(data: bytes, passphrase: Secret | None) -> PrivateKey:
    """A private key, PEM or DER, encrypted or not. Says nothing about its content when it fails."""
    password = passphrase.reveal().encode() if passphrase is not None else None
    try:
        load = load_der_private_key if data[:1] == b"\x30" else load_pem_private_key
        key = load(data, password)
        if key_type_of(key.public_key()) is not None:  # type: ignore[arg-type]
            return key  # type: ignore[return-value]
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        raise BadRequest(
            f"the private key cannot be read ({type(error).__name__})",
            code="bad-key",
            hint="is it encrypted? then its passphrase is needed",
        ) from None
    raise BadRequest("private keys of this kind are not supported", code="bad-key")
