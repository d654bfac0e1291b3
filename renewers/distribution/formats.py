"""The files that a trust manifest comes to: the same bytes wherever they are made, so that their hashes stand in it.

`bundle.*`, `spiffe.json`, `jwks.json` and `NAME.cer` are the trust anchors alone; `cas.pem` has the CA certificates
beneath, for servers that are to find chains by themselves. Cross-certificates for what is an anchor here stand in the
manifest and in no file: whoever holds the file trusts that key already, and OpenSSL 3.0, when it meets such a one
first, goes on to look for the old root, and refuses everybody once that is no longer there.

A JWK of an ML-DSA key is an `AKP` (draft-ietf-cose-dilithium); whoever does not know these skips it (RFC 7517
section 5). A Java truststore is salted at random: `truststore` is no file of the manifest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs7, pkcs12

from ca.errors import BadRequest
from ca.publication.manifest import Entry, Item
from ca.x509.bundle import pem_chain
from ca.x509.certificate import spki_of, subject_of

EDITION = 1
"""Raised whenever the same certificates come to other files than before: each stream then gets a new version."""
REFRESH_HINT = 60
"""Seconds after which a SPIFFE consumer should look again; one that waits for changes hears of them sooner."""
TRUSTSTORE_PASSWORD = b"changeit"
"""Java's own default. It keeps nothing secret: there are only public certificates in a truststore."""
FILES = {
    "pem": ("bundle.pem", "cas.pem"),
    "pkcs7": ("bundle.p7b",),
    "spiffe": ("spiffe.json",),
    "jwks": ("jwks.json",),
}
"""The files of each format, but for `der`, which has one of each anchor, and `pkcs12`."""
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""RFC 7518 section 6.2.1.1."""


def trust_files(anchored: Sequence[Entry], authorities: Sequence[Entry], version: int) -> Mapping[str, bytes]:
    """Every deterministic file of a version of a trust stream, by its name."""
    anchors = [entry.certificate for entry in anchored]
    files = {
        "bundle.pem": pem_chain(anchors).encode(),
        "cas.pem": pem_chain([*anchors, *_beneath(anchors, authorities)]).encode(),
        "bundle.p7b": pkcs7.serialize_certificates([_parsed(der) for der in anchors], Encoding.DER),
        "spiffe.json": spiffe_bundle(anchors, version),
        "jwks.json": key_set(anchors),
    }
    return files | {f"{entry.name}.cer": entry.certificate for entry in anchored}


def items_of(files: Mapping[str, bytes]) -> tuple[Item, ...]:
    """How a manifest names them."""
    return tuple(Item(name, sha256(data).hexdigest(), len(data)) for name, data in sorted(files.items()))


def names_of(bundle: Sequence[str], anchors: Sequence[Entry]) -> list[str]:
    """Which of the files a choice of formats comes to; a truststore is not among them."""
    found = [name for word in bundle for name in FILES.get(word, ())]
    return found + [f"{entry.name}.cer" for entry in anchors] if "der" in bundle else found


def spiffe_bundle(anchors: Sequence[bytes], version: int) -> bytes:
    """A SPIFFE trust bundle ("SPIFFE Trust Domain and Bundle", section 4): one JWK for each anchor."""
    keys = [{**_jwk(der), "use": "x509-svid", "x5c": [_base64(der)]} for der in anchors]
    return _json({"keys": keys, "spiffe_sequence": version, "spiffe_refresh_hint": REFRESH_HINT})


def key_set(anchors: Sequence[bytes]) -> bytes:
    """The anchors' keys as a JWK set (RFC 7517), each under its thumbprint (RFC 7638) and with its certificate."""
    return _json({"keys": [_named(der) for der in anchors]})


@lru_cache(maxsize=64)
def truststore(anchors: tuple[tuple[str, bytes], ...]) -> bytes:
    """A PKCS#12 file that Java takes for a truststore: name and certificate of each anchor."""
    entries = [pkcs12.PKCS12Certificate(_parsed(der), name.encode()) for name, der in anchors]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(TRUSTSTORE_PASSWORD))


def check_anchor_key(certificate: x509.Certificate) -> None:
    """`BadRequest` for a key that no JWK can say."""
    _key_fields(certificate.public_key())


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638: SHA-256 over the required members alone, which are all that `_jwk` makes."""
    return _url64(sha256(_json(jwk)).digest())


def _beneath(anchors: Sequence[bytes], authorities: Sequence[Entry]) -> list[bytes]:
    """The CA certificates that are not for a key which is an anchor itself."""
    known = {_who(der) for der in anchors}
    return [entry.certificate for entry in authorities if _who(entry.certificate) not in known]


def _who(der: bytes) -> tuple[bytes, bytes]:
    tbs = _parsed(der).tbs_certificate_bytes
    return subject_of(tbs), spki_of(tbs)


def _named(der: bytes) -> Mapping[str, Any]:
    jwk = _jwk(der)
    fingerprint = _url64(sha256(der).digest())
    return {**jwk, "kid": thumbprint(jwk), "use": "sig", "x5c": [_base64(der)], "x5t#S256": fingerprint}


def _jwk(der: bytes) -> dict[str, str]:
    return _key_fields(_parsed(der).public_key())


def _key_fields(key: Any) -> dict[str, str]:
    """RFC 7518 section 6 (EC, RSA), RFC 8037 (OKP), draft-ietf-cose-dilithium (AKP)."""
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in CURVES:
            size, numbers = (key.curve.key_size + 7) // 8, key.public_numbers()
            point = {"x": numbers.x, "y": numbers.y}
            fields = {name: _url64(value.to_bytes(size, "big")) for name, value in point.items()}
            return {"kty": "EC", "crv": CURVES[key.curve.name], **fields}
        case rsa.RSAPublicKey():
            public = key.public_numbers()
            return {"kty": "RSA", "n": _number(public.n), "e": _number(public.e)}
        case ed25519.Ed25519PublicKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": _url64(key.public_bytes_raw())}
        case ed448.Ed448PublicKey():
            return {"kty": "OKP", "crv": "Ed448", "x": _url64(key.public_bytes_raw())}
        case mldsa.MLDSA44PublicKey() | mldsa.MLDSA65PublicKey() | mldsa.MLDSA87PublicKey():
            return {"kty": "AKP", "alg": _ALGORITHMS[type(key).__name__], "pub": _url64(key.public_bytes_raw())}
    raise BadRequest(f"a key of this kind ({type(key).__name__}) cannot be published", code="bad-anchor")


_ALGORITHMS = {f"MLDSA{size}PublicKey": f"ML-DSA-{size}" for size in (44, 65, 87)}


@lru_cache(maxsize=256)
def _parsed(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def _number(value: int) -> str:
    """Base64urlUInt, RFC 7518 section 2: as few octets as it takes."""
    return _url64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
