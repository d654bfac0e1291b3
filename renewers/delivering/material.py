"""What a destination gets, put together: the certificate, its chain, and the key where we made it.

The one place where a key that we made becomes PEM; it goes from here to a publisher and is kept by nobody. Certificates
that our own CA issued are read where it keeps them, others where the inventory does. Read `delivery.py` for who asks.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select
from sqlmodel import col

from ca import certificates
from ca.errors import BadRequest, KeyUnavailable, NotFound
from ca.keys.algorithms import PrivateKey, spki
from ca.secret import Secret
from ca.x509.bundle import pem_certificate, pem_chain
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Renewal, Tracked, TrackedContent
from renewers.publishers import Material

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def material_of(lifecycle: Lifecycle, lineage_id: int, tracked_id: int) -> Material:
    """A certificate of a lineage as a publisher takes it. `KeyUnavailable` if we made its key and have it no more."""
    with lifecycle.store.read() as connection:
        lineage = connection.execute(select(Lineage).where(col(Lineage.id) == lineage_id)).first()
        tracked = connection.execute(select(Tracked).where(col(Tracked.id) == tracked_id)).first()
        content = connection.execute(select(TrackedContent).where(col(TrackedContent.tracked_id) == tracked_id)).first()
        renewal = connection.execute(_RENEWAL.where(col(Renewal.tracked_id) == tracked_id).limit(1)).first()
    if lineage is None or tracked is None:
        raise NotFound("the certificate is no longer tracked", code="unknown-certificate")
    der, chain = (content.der, content.chain) if content is not None else (b"", "")
    if not der or not chain:
        der, chain = _issued(lifecycle, tracked, der)
    fingerprint = sha256(der).hexdigest()
    if tracked.identity != f"sha256:{fingerprint}":
        raise NotFound(f"the bytes of {tracked.shown_as} are not at hand", code="unknown-certificate")
    version = f"{slug(lineage.name)}-{tracked_id}-{fingerprint[:12]}"
    key = _key(lifecycle, lineage, renewal, der)
    return laid_out(lineage.name, version, fingerprint, pem_certificate(der), chain, key)


def laid_out(
    subject: str, version: str, fingerprint: str, certificate: str, chain: str, key: Secret | None
) -> Material:
    """A certificate, its chain and its key, all PEM, as the files that servers take; `combined.pem` is HAProxy's."""
    full = certificate + chain
    public = {"cert.pem": certificate, "chain.pem": chain, "fullchain.pem": full}
    secrets = {} if key is None else {"key.pem": key, "combined.pem": Secret(key.reveal() + full)}
    return Material(subject, version, fingerprint, {name: text.encode() for name, text in public.items()}, secrets)


def chain_of(material: Material) -> tuple[bytes, ...]:
    """DER of what is served behind the certificate, in order."""
    blocks = _CERTIFICATE.findall(material.files["chain.pem"].decode())
    return tuple(x509.load_pem_x509_certificate(block.encode()).public_bytes(Encoding.DER) for block in blocks)


def slug(name: str) -> str:
    """A name as a part of a file's name: lower case, nothing but letters, digits and dashes."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-")
    return plain or "lineage"


_RENEWAL = select(Renewal).order_by(col(Renewal.id).desc())


def _issued(lifecycle: Lifecycle, tracked: Any, der: bytes) -> tuple[bytes, str]:
    """The certificate and chain as our own CA has them; `der` and no chain, if it is not ours but at hand."""
    installation = lifecycle.installation
    try:
        stored = certificates.find(installation.store, tracked.serial)
    except (NotFound, BadRequest):  # nobody else has to number theirs as we do
        if der:
            return der, ""
        raise
    if der and stored.der != der:  # another CA's, with the same number
        return der, ""
    return stored.der, pem_chain(installation.authorities.chain(stored.authority))


def _key(lifecycle: Lifecycle, lineage: Any, renewal: Any | None, der: bytes) -> Secret | None:
    """The key as PEM; None where its holder made it."""
    if renewal is None and lineage.mode != "renewed":
        return None
    if renewal is None or renewal.sealed_key is None:
        raise KeyUnavailable(
            f"the key of this certificate of {lineage.name} is not kept any more",
            hint="certwright renew now makes a new key and a certificate for it",
        )
    key = lifecycle.sealer.unwrap(renewal.sealed_key, f"lineage:{lineage.id}")
    certified = x509.load_der_x509_certificate(der).public_key()
    if not hmac.compare_digest(spki(key.public_key()), spki(certified)):  # type: ignore[arg-type]
        raise KeyUnavailable(f"the key that is kept for {lineage.name} is not that of its certificate")
    return Secret(_pem(key))


def _pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
