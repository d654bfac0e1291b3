"""Which keys exist and how each signs: one table, so that nobody branches on key classes elsewhere.

A CA signs with the one algorithm that fits its key (RFC 5758 for ECDSA, RFC 4055 for RSA, RFC 8410 for Ed25519,
RFC 9881 for ML-DSA). SHA-1 and MD5 are not in the table and so cannot be configured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der

PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)
PublicKey = (
    ec.EllipticCurvePublicKey
    | rsa.RSAPublicKey
    | ed25519.Ed25519PublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
)


class KeyType(StrEnum):
    """The key algorithms and sizes that this product makes and certifies, under the names that profiles use."""

    P256 = "P-256"
    P384 = "P-384"
    RSA2048 = "RSA-2048"
    RSA3072 = "RSA-3072"
    RSA4096 = "RSA-4096"
    ED25519 = "Ed25519"
    MLDSA44 = "ML-DSA-44"
    MLDSA65 = "ML-DSA-65"
    MLDSA87 = "ML-DSA-87"

    @property
    def is_rsa(self) -> bool:
        """True for the RSA sizes, which alone may encipher keys."""
        return self.value.startswith("RSA")

    def generate(self) -> PrivateKey:
        """A fresh private key of this type."""
        return _GENERATE[self]()


AUTHORITY_KEY_TYPES = (
    KeyType.P256,
    KeyType.P384,
    KeyType.RSA3072,
    KeyType.RSA4096,
    KeyType.ED25519,
    KeyType.MLDSA65,
    KeyType.MLDSA87,
)
"""What a CA may sign with. RSA-2048 and ML-DSA-44 are for subjects alone."""

_GENERATE: dict[KeyType, Callable[[], PrivateKey]] = {
    KeyType.P256: lambda: ec.generate_private_key(ec.SECP256R1()),
    KeyType.P384: lambda: ec.generate_private_key(ec.SECP384R1()),
    KeyType.RSA2048: lambda: rsa.generate_private_key(65537, 2048),
    KeyType.RSA3072: lambda: rsa.generate_private_key(65537, 3072),
    KeyType.RSA4096: lambda: rsa.generate_private_key(65537, 4096),
    KeyType.ED25519: ed25519.Ed25519PrivateKey.generate,
    KeyType.MLDSA44: mldsa.MLDSA44PrivateKey.generate,
    KeyType.MLDSA65: mldsa.MLDSA65PrivateKey.generate,
    KeyType.MLDSA87: mldsa.MLDSA87PrivateKey.generate,
}


def key_type_of(key: PublicKey) -> KeyType | None:
    """The type of a public key, or None if it is of no type that this product certifies."""
    classify = _classifier(type(key))
    return None if classify is None else classify(key)


@cache
def _classifier(kind: type) -> Callable[[Any], KeyType | None] | None:
    """How keys of one class are told apart. Cached: these are abstract classes, whose instance checks are slow."""
    return next((classify for base, classify in _CLASSIFIERS.items() if issubclass(kind, base)), None)


_CURVES = {"secp256r1": KeyType.P256, "secp384r1": KeyType.P384}
_RSA_SIZES = {2048: KeyType.RSA2048, 3072: KeyType.RSA3072, 4096: KeyType.RSA4096}
_CLASSIFIERS: dict[type, Callable[[Any], KeyType | None]] = {
    ec.EllipticCurvePublicKey: lambda key: _CURVES.get(key.curve.name),
    rsa.RSAPublicKey: lambda key: _RSA_SIZES.get(key.key_size),
    ed25519.Ed25519PublicKey: lambda key: KeyType.ED25519,
    mldsa.MLDSA44PublicKey: lambda key: KeyType.MLDSA44,
    mldsa.MLDSA65PublicKey: lambda key: KeyType.MLDSA65,
    mldsa.MLDSA87PublicKey: lambda key: KeyType.MLDSA87,
}


def spki(key: PublicKey) -> bytes:
    """DER SubjectPublicKeyInfo of a public key: what a certificate carries and what a key is recognised by."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """How one key type signs: the DER AlgorithmIdentifier and the arguments that `cryptography` wants for it."""

    identifier: bytes
    arguments: tuple[Any, ...]

    def sign(self, key: PrivateKey, data: bytes) -> bytes:
        """A signature by `key` over `data`."""
        return key.sign(data, *self.arguments)

    def verify(self, key: PublicKey, signature: bytes, data: bytes) -> bool:
        """Whether `signature` over `data` was made by `key`. Anything but a clear yes is a no."""
        try:
            key.verify(signature, data, *self.arguments)
        except (InvalidSignature, ValueError):
            return False
        return True


_RSA_SHA256 = SignatureScheme(
    der.sequence(der.oid("1.2.840.113549.1.1.11"), der.NULL), (padding.PKCS1v15(), hashes.SHA256())
)
_SCHEMES: dict[KeyType, SignatureScheme] = {
    KeyType.P256: SignatureScheme(der.sequence(der.oid("1.2.840.10045.4.3.2")), (ec.ECDSA(hashes.SHA256()),)),
    KeyType.P384: SignatureScheme(der.sequence(der.oid("1.2.840.10045.4.3.3")), (ec.ECDSA(hashes.SHA384()),)),
    KeyType.RSA2048: _RSA_SHA256,
    KeyType.RSA3072: _RSA_SHA256,
    KeyType.RSA4096: _RSA_SHA256,
    KeyType.ED25519: SignatureScheme(der.sequence(der.oid("1.3.101.112")), ()),
    KeyType.MLDSA44: SignatureScheme(der.sequence(der.oid("2.16.840.1.101.3.4.3.17")), ()),
    KeyType.MLDSA65: SignatureScheme(der.sequence(der.oid("2.16.840.1.101.3.4.3.18")), ()),
    KeyType.MLDSA87: SignatureScheme(der.sequence(der.oid("2.16.840.1.101.3.4.3.19")), ()),
}


def scheme_of(key_type: KeyType) -> SignatureScheme:
    """The signature scheme that goes with a key type."""
    return _SCHEMES[key_type]
