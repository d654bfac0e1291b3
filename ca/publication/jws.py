"""Signed manifests as bytes: JWS, flattened JSON serialization (RFC 7515 section 7.2.2), ES256, and nothing else.

There is one form: a payload, a protected header with just `alg`, `typ` and `x5c`, a signature. What other JWS may carry
(`none`, MACs, `jwk`, `kid`, `jku`, `crit`, headers that nobody signed) is not looked at and refused, since each of
them has been the way past somebody's check. Whether the certificates are to be believed is judged in `chain`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ca.errors import BadRequest, Defect
from ca.publication import manifest
from ca.publication.strict import read_object, write_object

ALGORITHM, TYPE = "ES256", "certwright-publication+json"
LONGEST_CHAIN = 10
LARGEST_HEADER = 256 * 1024
LARGEST = 2 << 20
"""More than the largest manifest and the largest header have in base64."""
_COORDINATE = 32
_ECDSA = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Signed:
    """What stands in a signed manifest. Nothing of it is to be believed yet."""

    payload: bytes
    chain: tuple[x509.Certificate, ...]
    """The signer's certificate, then the CAs above it that came along."""
    _signing_input: bytes
    _signature: bytes

    def is_signed_by_its_leaf(self) -> bool:
        """Whether the key in the signer's certificate has signed; not if there is none that can be read."""
        try:
            return self.is_signed_by(self.chain[0].public_key())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False

    def is_signed_by(self, key: object) -> bool:
        """Whether `key`, which has to be one on P-256, has signed payload and header (RFC 7518 section 3.4)."""
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            return False
        r, s = (int.from_bytes(self._signature[half : half + _COORDINATE], "big") for half in (0, _COORDINATE))
        try:
            key.verify(encode_dss_signature(r, s), self._signing_input, _ECDSA)
        except InvalidSignature:
            return False
        return True


def enclose(payload: bytes, key: Any, chain: Sequence[bytes]) -> bytes:
    """The payload, signed by a P-256 key whose certificate (DER) is first in `chain`."""
    x5c = [base64.b64encode(certificate).decode() for certificate in chain]
    protected = _encode(write_object({"alg": ALGORITHM, "typ": TYPE, "x5c": x5c}))
    encoded = _encode(payload)
    r, s = decode_dss_signature(key.sign(f"{protected}.{encoded}".encode(), _ECDSA))
    signature = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    signed = write_object({"payload": encoded, "protected": protected, "signature": _encode(signature)})
    found = read(signed)
    if found.payload != payload or not found.is_signed_by_its_leaf():
        raise Defect("the signature that was made over a manifest does not verify; it was not released")
    return signed


def read(data: bytes) -> Signed:
    """Take a signed manifest apart; `BadRequest` (`bad-manifest`) unless it has the one form. Checks no signature."""
    outer = read_object(data, most=LARGEST, code="bad-manifest", what="the signed manifest")
    if set(outer) != {"payload", "protected", "signature"}:
        raise _bad("it has other members than payload, protected and signature")
    if write_object(outer) != data:
        raise _bad("it is not written as it was signed")
    protected, payload, signature = (_decode(outer[name], name) for name in ("protected", "payload", "signature"))
    if len(payload) > manifest.LARGEST:
        raise _bad(f"its payload is larger than {manifest.LARGEST} bytes")
    if len(signature) != 2 * _COORDINATE:
        raise _bad(f"its signature does not have {2 * _COORDINATE} bytes")
    header = read_object(protected, most=LARGEST_HEADER, code="bad-manifest", what="the header of the signed manifest")
    if set(header) != {"alg", "typ", "x5c"}:
        raise _bad("its header has other members than alg, typ and x5c")
    if header["alg"] != ALGORITHM:
        raise _bad(f"it is not signed with {ALGORITHM}")
    if header["typ"] != TYPE:
        raise _bad(f"it is not of the type {TYPE}")
    signing_input = f"{outer['protected']}.{outer['payload']}".encode()
    return Signed(payload, _chain(header["x5c"]), signing_input, signature)


def _chain(x5c: object) -> tuple[x509.Certificate, ...]:
    """RFC 7515 section 4.1.6: base64, not base64url, each one DER certificate."""
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= LONGEST_CHAIN:
        raise _bad(f"its x5c does not hold 1 to {LONGEST_CHAIN} certificates")
    try:
        found = [base64.b64decode(one, validate=True) for one in x5c if isinstance(one, str)]
        certificates = tuple(map(x509.load_der_x509_certificate, found))
    except Exception as error:  # noqa: BLE001 - parsers raise what they like
        raise _bad(f"a certificate in its x5c cannot be parsed ({type(error).__name__})") from None
    if [base64.b64encode(one).decode() for one in found] != x5c:
        raise _bad("its x5c is not base64")
    return certificates


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: object, name: str) -> bytes:
    """Base64url without padding, the one spelling that `_encode` has (RFC 7515 section 2)."""
    try:
        if isinstance(text, str):
            decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if _encode(decoded) == text:
                return decoded
    except (binascii.Error, ValueError):
        pass
    raise _bad(f"its {name} is not base64url")


def _bad(why: str) -> BadRequest:
    return BadRequest(f"this is no signed manifest: {why}", code="bad-manifest")
