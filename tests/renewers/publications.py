"""An installation that publishes: CAs to add and take away, revocations, other trust domains, an unsigned envelope."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select, update
from sqlmodel import SQLModel, col

from ca import clock, hierarchy, revocation
from ca.authority import State
from ca.crl import CrlPolicy, CrlPublisher
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.keys.sealed import Sealer
from ca.models import Authority, LedgerEntry
from ca.publication.manifest import Manifest
from ca.secret import Secret
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from renewers.distribution import publishing
from renewers.distribution.needs import Needs, read_needs
from renewers.distribution.streams import crl_stream, trust_stream
from renewers.lifecycle import Lifecycle
from renewers.models import Publication
from tests import rig

OWN = rig.DOMAIN
TRUST, CRL = trust_stream(OWN), crl_stream(OWN)
PARTNER = "partner.example"


def envelope(manifest: bytes) -> bytes:
    """The form of a signed publication, without a signature: what is checked here is what is in it."""
    payload = base64.urlsafe_b64encode(manifest).rstrip(b"=").decode()
    return json.dumps({"payload": payload, "protected": "", "signature": ""}).encode()


def make_lifecycle(store: Store, **choices: Any) -> Lifecycle:
    """A root, an issuing CA, their first CRLs; nothing published yet."""
    installation = rig.make_installation(store, **choices)
    sealer = Sealer(Secret("only for tests"), bytes(16))
    return Lifecycle(installation=installation, sealer=sealer, trust_domain=OWN, sign_manifest=envelope)


@contextmanager
def standing(directory: Path) -> Iterator[Lifecycle]:
    """One that several tests share, since they change nothing."""
    opened = open_store(f"sqlite:///{directory}/certwright.db")
    yield make_lifecycle(opened)
    opened.close()


def add_root(lifecycle: Lifecycle, name: str = "Second Root", **choices: Any) -> Authority:
    """The next generation of the root."""
    plan = Plan("root", rig.common_name(name), KeyType.P256)
    return hierarchy.create_root(lifecycle.installation, rig.ADMIN, plan, **choices)


def move(lifecycle: Lifecycle, name: str, *states: State) -> None:
    """Take an authority through states."""
    for state in states:
        hierarchy.transition(lifecycle.installation, rig.ADMIN, name, state)


def set_state(lifecycle: Lifecycle, name: str, state: State) -> None:
    """Put an authority into a state, whatever it was in, as another replica does: behind this one's cache."""
    changed = update(Authority).where(col(Authority.name) == name).values(state=state.value)
    lifecycle.store.write(lambda tx: tx.execute(changed) and None)


def list_revoked(lifecycle: Lifecycle, count: int = 1) -> None:
    """Revoke so many certificates and make the CRLs that say so."""
    for _ in range(count):
        issued = rig.issue(lifecycle.installation)
        revocation.revoke(lifecycle.installation, rig.OPERATOR, issued.serial, RevocationReason.SUPERSEDED)
    make_lists(lifecycle)


def make_lists(lifecycle: Lifecycle) -> None:
    """Make every CRL that is due."""
    CrlPublisher(lifecycle.installation, CrlPolicy()).publish_due()


def published(lifecycle: Lifecycle, stream: str) -> Manifest:
    """The newest manifest of a stream."""
    with lifecycle.store.read() as connection:
        row = publishing.newest(connection, stream)
    assert row is not None
    manifest = publishing.manifest_of(row.signed)
    assert (row.version, row.sha256, row.expires_at) == (manifest.version, manifest.sha256, manifest.expires_at)
    return manifest


def versions(lifecycle: Lifecycle, stream: str) -> list[Any]:
    """The rows of a stream, oldest first."""
    return [row for row in rows(lifecycle, Publication) if row.stream == stream]


def check_chain(lifecycle: Lifecycle, stream: str) -> list[int]:
    """Each version is larger than the one before, and names it; returns the versions."""
    found = versions(lifecycle, stream)
    manifests = [publishing.manifest_of(row.signed) for row in found]
    assert manifests[0].previous is None
    for before, after in itertools.pairwise(manifests):
        assert after.version > before.version
        assert after.previous is not None
        assert (after.previous.version, after.previous.sha256) == (before.version, before.sha256)
    return [row.version for row in found]


def rows(lifecycle: Lifecycle, table: type[SQLModel]) -> Sequence[Any]:
    """Rows of a table, by primary key."""
    with lifecycle.store.read() as connection:
        return connection.execute(select(table).order_by(*table.__table__.primary_key)).all()  # type: ignore[attr-defined]


def ledger(lifecycle: Lifecycle, action: str) -> list[dict[str, Any]]:
    """The ledger's entries of one kind, in order."""
    entries = [json.loads(row.body) for row in rows(lifecycle, LedgerEntry)]
    return [entry for entry in entries if entry["action"] == action]


def needs(**found: Any) -> Needs:
    """Needs of our own trust domain, unless it says otherwise."""
    return read_needs(found, OWN)


def ca_certificate(
    name: str = "Partner Root",
    key_type: KeyType = KeyType.P256,
    *,
    place: int = 0,
    key: Any = None,
    issuer: str | None = None,
    issuer_key: Any = None,
    is_ca: bool = True,
    may_sign: bool = True,
    ends: timedelta = timedelta(days=365),
) -> bytes:
    """A certificate, DER, as another organisation makes its own; self-signed unless it has an issuer."""
    key = key or rig.pooled_key(key_type, place)
    signer, subject = issuer_key or key, rig.common_name(name)
    usage = x509.KeyUsage(True, False, False, False, False, may_sign, True, False, False)
    builder = (
        x509.CertificateBuilder(rig.common_name(issuer or name), subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(days=30))
        .not_valid_after(clock.now() + ends)
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(usage, critical=True)
    )
    digest = None if type(signer).__name__.startswith(("Ed", "MLDSA")) else hashes.SHA256()
    return builder.sign(signer, digest).public_bytes(Encoding.DER)
