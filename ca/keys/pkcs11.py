"""Keys in a hardware module or a token, over PKCS#11: made there, sensitive, not extractable, never anywhere else.

An object's label (CKA_LABEL) is the key's, and a random CKA_ID tells it from whatever may come under that label later.
`pkcs11_uri` says which token, `pkcs11_sessions` how it is reached and reached again, `pkcs11_keys` what is handed out.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pkcs11 import Attribute, Mechanism, MechanismFlag, ObjectClass
from pkcs11 import KeyType as Kind

from ca import der
from ca.errors import BadRequest, Conflict, KeyUnavailable
from ca.keys import check_label
from ca.keys.algorithms import KeyType, PrivateKey
from ca.keys.pkcs11_keys import shaped
from ca.keys.pkcs11_module import open_module
from ca.keys.pkcs11_sessions import Lease, Sessions
from ca.keys.pkcs11_uri import TokenUri
from ca.secret import Secret

_ED25519 = der.tagged(0x13, b"edwards25519")
"""The curve by its name (PKCS#11 3.0 section 2.3.5): older tokens know no other way."""
_CURVES: dict[KeyType, tuple[Kind, bytes, Mechanism]] = {
    KeyType.P256: (Kind.EC, der.oid("1.2.840.10045.3.1.7"), Mechanism.EC_KEY_PAIR_GEN),
    KeyType.P384: (Kind.EC, der.oid("1.3.132.0.34"), Mechanism.EC_KEY_PAIR_GEN),
    KeyType.ED25519: (Kind.EC_EDWARDS, _ED25519, Mechanism.EC_EDWARDS_KEY_PAIR_GEN),
}
_RSA = {KeyType.RSA2048: 2048, KeyType.RSA3072: 3072, KeyType.RSA4096: 4096}
_KEPT_IN = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_CANNOT = (
    pkcs11.MechanismInvalid,
    pkcs11.MechanismParamInvalid,
    pkcs11.DomainParamsInvalid,
    pkcs11.KeySizeRange,
    pkcs11.AttributeValueInvalid,
    pkcs11.AttributeTypeInvalid,
    pkcs11.TemplateInconsistent,
    pkcs11.FunctionNotSupported,
)


class Pkcs11KeyStore:
    """A `KeyStore` over one token. Not a `KeyImport`: a key that was outside once is no hardware key."""

    def __init__(self, uri: TokenUri, pin: Callable[[], Secret]) -> None:
        if uri.module is None:
            raise BadRequest("the PKCS#11 URI has no module-path", code="bad-key-store")
        self._sessions = Sessions(open_module(uri.module), uri, pin)
        self._changing = threading.Lock()

    def create(self, label: str, key_type: KeyType) -> PrivateKey:
        """Make a key in the token. `BadRequest` if the token cannot make this kind."""
        check_label(label)
        if key_type not in _CURVES and key_type not in _RSA:
            raise _cannot(key_type)
        with self._changing:
            if self._sessions.use(lambda lease: lease.find(ObjectClass.PRIVATE_KEY, label), repeatable=True):
                raise _taken(label)
            identifier = secrets.token_bytes(16)
            self._sessions.use(lambda lease: _generate(lease, label, identifier, key_type), repeatable=True)
            return self.load(label)

    def load(self, label: str) -> PrivateKey:
        """The key: its public half, and the way to the token. The token is asked whether it keeps the key in."""
        check_label(label)
        identifier, public = self._sessions.use(lambda lease: _look(lease, label), repeatable=True)
        return shaped(label, public, partial(self._sign, label, identifier), self._sessions.check)

    def destroy(self, label: str) -> None:
        """Remove the key from the token, for ever: there is no copy."""
        check_label(label)
        with self._changing:
            self._sessions.use(lambda lease: _remove(lease, label), repeatable=True)

    def _sign(self, label: str, identifier: bytes, mechanism: Mechanism, data: bytes) -> bytes:
        return self._sessions.use(lambda lease: bytes(lease.private(label, identifier).sign(data, mechanism=mechanism)))


def _generate(lease: Lease, label: str, identifier: bytes, key_type: KeyType) -> None:
    """Make a pair in a session that may write, and see to it that it is as asked, and alone under its label."""
    wanted: dict[str, Any] = {
        "id": identifier,
        "label": label,
        "store": True,
        "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
        "private_template": _KEPT_IN,
    }
    writing = lease.session.token.open(rw=True)
    try:
        _remove_all(Lease(writing, lease.epoch), label, identifier)  # of an attempt that the token did not finish
        try:
            pair = _pair(writing, key_type, wanted)
        except _CANNOT:  # SoftHSM 2.6 says so once in some 2,500 times while other threads use the token
            pair = _pair(writing, key_type, wanted)
        problem = _leak(pair[1])
        if problem is None and len(lease.find(ObjectClass.PRIVATE_KEY, label)) == 1:
            return
        for each in pair:
            each.destroy()
        raise _taken(label) if problem is None else KeyUnavailable(f"the token made a key that it lets out: {problem}")
    except _CANNOT:
        raise _cannot(key_type) from None
    finally:
        with suppress(pkcs11.PKCS11Error):
            writing.close()


def _pair(writing: Any, key_type: KeyType, wanted: dict[str, Any]) -> Any:
    if key_type in _RSA:
        exponent = {Attribute.PUBLIC_EXPONENT: (65537).to_bytes(3)}
        return writing.generate_keypair(Kind.RSA, _RSA[key_type], public_template=exponent, **wanted)
    kind, parameters, mechanism = _CURVES[key_type]
    curve = writing.create_domain_parameters(kind, {Attribute.EC_PARAMS: parameters}, local=True)
    return curve.generate_keypair(mechanism=mechanism, **wanted)


def _look(lease: Lease, label: str) -> tuple[bytes, Any]:
    found = lease.find(ObjectClass.PRIVATE_KEY, label)
    if not found:
        raise KeyUnavailable(f"there is no key {label!r} in the token")
    if len(found) > 1:
        raise KeyUnavailable(f"there are {len(found)} keys {label!r} in the token", hint="remove what is not ours")
    if problem := _leak(found[0]):
        raise KeyUnavailable(f"the key {label!r} is one that the token lets out: {problem}", hint="use another key")
    identifier = bytes(found[0][Attribute.ID])
    public = lease.find(ObjectClass.PUBLIC_KEY, label, identifier)
    if len(public) != 1:
        raise KeyUnavailable(f"the public half of the key {label!r} is not in the token")
    return identifier, _public_key(label, public[0])


def _leak(key: pkcs11.Object) -> str | None:
    """Which promise of a hardware key this one does not keep."""
    wrong = [name.name for name, value in _KEPT_IN.items() if bool(key[name]) is not value]
    return f"{', '.join(wrong)} is not as it has to be" if wrong else None


def _public_key(label: str, key: pkcs11.Object) -> Any:
    try:
        if key[Attribute.KEY_TYPE] == Kind.RSA:
            exponent, modulus = (int.from_bytes(key[name]) for name in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
            return rsa.RSAPublicNumbers(exponent, modulus).public_key()
        point = _content(key[Attribute.EC_POINT])
        if key[Attribute.KEY_TYPE] == Kind.EC_EDWARDS:
            return ed25519.Ed25519PublicKey.from_public_bytes(point)
        curves: Iterable[tuple[KeyType, ec.EllipticCurve]] = (
            (KeyType.P256, ec.SECP256R1()),
            (KeyType.P384, ec.SECP384R1()),
        )
        for key_type, curve in curves:
            if key[Attribute.EC_PARAMS] == _CURVES[key_type][1]:
                return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    except ValueError:
        pass
    raise KeyUnavailable(f"the public half of the key {label!r} cannot be read, or is of a kind that is not used here")


def _content(octets: bytes) -> bytes:
    """What is in a DER OCTET STRING, which a point is wrapped in (PKCS#11 3.0 section 2.3.3)."""
    _, start, end = der.header(octets, 0)
    return bytes(octets[start:end])


def _remove(lease: Lease, label: str) -> None:
    writing = Lease(lease.session.token.open(rw=True), lease.epoch)
    try:
        _remove_all(writing, label)
    finally:
        with suppress(pkcs11.PKCS11Error):
            writing.session.close()


def _remove_all(writing: Lease, label: str, identifier: bytes | None = None) -> None:
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        for each in writing.find(kind, label, identifier):
            each.destroy()


def _taken(label: str) -> Conflict:
    return Conflict(f"there is already a key {label!r}", code="key-exists")


def _cannot(key_type: KeyType) -> BadRequest:
    return BadRequest(
        f"this token cannot make {key_type} keys", code="key-type-unsupported", hint="use P-256, P-384 or RSA-3072"
    )
