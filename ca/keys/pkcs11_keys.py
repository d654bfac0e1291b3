"""Keys that are in a token, in the shape of `cryptography`'s private keys: whatever signs takes them unchanged.

They sign and say what their public half is. Everything else that a private key can do is refused: it would need the
key itself, which nobody has. What is signed is hashed here, so that the token gets a digest and never a document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.utils import Buffer
from pkcs11 import Mechanism

from ca import der
from ca.errors import BadRequest

SignInToken = Callable[[Mechanism, bytes], bytes]
_DIGEST_INFO = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}


class _InToken:
    """What all of them share. A copy is the key itself: there is nothing that could be copied."""

    def __init__(self, label: str, public: Any, sign: SignInToken, check: Callable[[], None]) -> None:
        self._label = label
        self._public = public
        self._sign = sign
        self._check = check

    def check_reachable(self) -> None:
        """`KeyUnavailable` if the token is known to be away, or cannot be opened."""
        self._check()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._label!r}>"

    def _stays(self) -> NoReturn:
        raise BadRequest(f"the key {self._label!r} is in a token and never leaves it", code="key-in-token")


class TokenEcKey(_InToken, ec.EllipticCurvePrivateKey):
    """A P-256 or P-384 key."""

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public  # type: ignore[no-any-return]

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self.public_key().curve

    @property
    def key_size(self) -> int:
        """Bits of the curve."""
        return self.public_key().key_size

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """An ECDSA signature, DER (RFC 3279 section 2.2.3). `KeyUnavailable` if the token does not make one."""
        raw = self._sign(Mechanism.ECDSA, _digest(bytes(data), signature_algorithm.algorithm)[1])
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Refused: these keys sign."""
        raise UnsupportedAlgorithm("keys in a token sign and do nothing else")

    def private_numbers(self) -> NoReturn:
        """Refused."""
        self._stays()

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002
        """Refused."""
        self._stays()


class TokenRsaKey(_InToken, rsa.RSAPrivateKey):
    """An RSA key."""

    def public_key(self) -> rsa.RSAPublicKey:
        """The public half."""
        return self._public  # type: ignore[no-any-return]

    @property
    def key_size(self) -> int:
        """Bits of the modulus."""
        return self.public_key().key_size

    def sign(self, data: Buffer, padding: padding.AsymmetricPadding, algorithm: Any) -> bytes:
        """An RSASSA-PKCS1-v1_5 signature (RFC 8017 section 8.2). `KeyUnavailable` if the token does not make one."""
        if padding.name != "EMSA-PKCS1-v1_5":
            raise UnsupportedAlgorithm("RSA keys in a token sign with PKCS#1 v1.5, as the CAs here do")
        name, digest = _digest(bytes(data), algorithm)
        if name not in _DIGEST_INFO:
            raise UnsupportedAlgorithm(f"RSA keys in a token do not sign over {name}")
        identifier = der.sequence(der.oid(_DIGEST_INFO[name]), der.NULL)
        return self._sign(Mechanism.RSA_PKCS, der.sequence(identifier, der.octet_string(digest)))

    def decrypt(self, ciphertext: Buffer, padding: padding.AsymmetricPadding) -> bytes:
        """Refused: these keys sign."""
        raise UnsupportedAlgorithm("keys in a token sign and do nothing else")

    def private_numbers(self) -> NoReturn:
        """Refused."""
        self._stays()

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002
        """Refused."""
        self._stays()


class TokenEd25519Key(_InToken, ed25519.Ed25519PrivateKey):
    """An Ed25519 key, for tokens that can."""

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """The public half."""
        return self._public  # type: ignore[no-any-return]

    def sign(self, data: Buffer) -> bytes:
        """An Ed25519 signature (RFC 8032). `KeyUnavailable` if the token does not make one."""
        return self._sign(Mechanism.EDDSA, bytes(data))

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002
        """Refused."""
        self._stays()

    def private_bytes_raw(self) -> NoReturn:
        """Refused."""
        self._stays()


TokenKey = TokenEcKey | TokenRsaKey | TokenEd25519Key


def _digest(data: bytes, algorithm: Any) -> tuple[str, bytes]:
    """The hash's name, and the hash of what is signed, unless that is one already."""
    if isinstance(algorithm, Prehashed):
        return algorithm._algorithm.name, data  # the library has no public name for it
    hashing = hashes.Hash(algorithm)
    hashing.update(data)
    return algorithm.name, hashing.finalize()


def shaped(label: str, public: Any, sign: SignInToken, check: Callable[[], None]) -> TokenKey:
    """The private key that goes with a public one."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        return TokenEcKey(label, public, sign, check)
    if isinstance(public, rsa.RSAPublicKey):
        return TokenRsaKey(label, public, sign, check)
    return TokenEd25519Key(label, public, sign, check)
