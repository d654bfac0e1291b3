"""Chains that end in a signer of publications, made by hand with `cryptography`, and manifests to sign with them.

Nothing here is a test. The checking side must not need an installation; neither does this.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import clock
from ca.errors import BadRequest
from ca.keys.algorithms import KeyType, PrivateKey
from ca.publication import jws
from ca.publication.manifest import Entry, Item, ListEntry, Manifest, Previous
from ca.publication.opening import Held, open_signed
from tests import rig

DOMAIN = rig.DOMAIN
STREAM = f"trust:{DOMAIN}"
NAME = f"spiffe://{DOMAIN}/certwright/publications"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Node:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def make(
    subject: str,
    key: PrivateKey,
    issuer: Node | None = None,
    *,
    names: Sequence[x509.GeneralName] = (),
    is_ca: bool = True,
    path_length: int | None = None,
    life: tuple[datetime, datetime] | None = None,
    usage: Sequence[str] | None = None,
    extended: Sequence[x509.ObjectIdentifier] = (),
    digest: Any = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Node:
    """A certificate, self-signed without an issuer."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    begins, ends = life or (clock.now() - DAY, clock.now() + 30 * DAY)
    wanted = set(usage if usage is not None else (["cert", "crl"] if is_ca else ["signature"]))
    bits = ("signature", "-", "-", "-", "-", "cert", "crl", "-", "-")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
        .add_extension(x509.KeyUsage(*(bit in wanted for bit in bits)), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    signing = issuer.key if issuer else key
    is_hashed = not type(signing).__name__.startswith(("Ed", "MLDSA"))
    return Node(builder.sign(signing, (digest or hashes.SHA256()) if is_hashed else None), key)


def make_leaf(issuer: Node, name: str = NAME, **choices: Any) -> Node:
    """A signer of publications, or somebody else."""
    wanted = {
        "is_ca": False,
        "names": [x509.UniformResourceIdentifier(name)],
        "extended": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        **choices,
    }
    return make("", rig.pooled_key(KeyType.P256, 9), issuer, **wanted)


@dataclass(frozen=True)
class World:
    """A root, an issuing CA, a signer; `old` is another root, `cross` its certificate for the new one."""

    root: Node
    issuing: Node
    leaf: Node
    old: Node
    cross: Node

    @property
    def chain(self) -> list[bytes]:
        return [self.leaf.der, self.issuing.der, self.cross.der]

    def sign(self, manifest: Manifest | bytes, chain: Sequence[bytes] | None = None) -> bytes:
        payload = manifest if isinstance(manifest, bytes) else manifest.encode()
        return jws.enclose(payload, self.leaf.key, self.chain if chain is None else chain)


def make_world(key_type: KeyType = KeyType.P256) -> World:
    """Everything valid, all CA keys of one type."""
    keys = [rig.pooled_key(key_type, place) for place in range(3)]
    root, old = make("New Root", keys[0]), make("Old Root", keys[1])
    cross = make("New Root", keys[0], old)
    issuing = make("Issuing", keys[2], root, path_length=0)
    return World(root, issuing, make_leaf(issuing), old, cross)


def make_manifest(version: int = 100, **changes: Any) -> Manifest:
    """A manifest of the trust stream, with one file."""
    now = clock.timestamp()
    made = Manifest(
        stream=STREAM,
        trust_domain=DOMAIN,
        version=version,
        previous=Previous(version - 1, "0" * 64),
        issued_at=now,
        expires_at=now + 7 * 86400,
        items=[Item("bundle.pem", sha256(b"bundle").hexdigest(), 6)],
    )
    return replace(made, **changes)


def opened(
    signed: bytes,
    anchors: Sequence[Node],
    *,
    held: Held | None = None,
    now: int | None = None,
    stream: str = STREAM,
    trust_domain: str = DOMAIN,
) -> Manifest:
    """What the checking side says now."""
    now = clock.timestamp() if now is None else now
    ders = [anchor.der for anchor in anchors]
    return open_signed(signed, ders, trust_domain=trust_domain, stream=stream, now=now, held=held)


def refusal(ask: Callable[..., Any], *arguments: Any, **choices: Any) -> str:
    """The code of the refusal that asking ends in."""
    try:
        ask(*arguments, **choices)
    except BadRequest as error:
        return error.code
    raise AssertionError("it was accepted")


def encode(data: bytes | dict[str, Any]) -> str:
    """Base64url, of JSON if it is an object."""
    raw = data if isinstance(data, bytes) else json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_signature(key: ec.EllipticCurvePrivateKey, signing_input: str) -> bytes:
    """r and s, as JWS wants them."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def header_of(chain: Sequence[bytes], **changes: Any) -> dict[str, Any]:
    """The right header, with changes; a value of None leaves one out."""
    header = {"alg": jws.ALGORITHM, "typ": jws.TYPE, "x5c": [base64.b64encode(one).decode() for one in chain]}
    return {name: value for name, value in {**header, **changes}.items() if value is not None}


def joined(outer: dict[str, Any]) -> bytes:
    """An envelope, written as the product does."""
    return json.dumps(outer, sort_keys=True, separators=(",", ":")).encode()


__all__ = ["Entry", "Held", "ListEntry"]
