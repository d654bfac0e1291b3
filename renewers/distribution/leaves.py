"""Leaves to shake hands with: one of each authority that is to be let in, and canaries that are revoked on purpose.

They are made while their authority may still sign, and kept (sealed, like every key here) until it is gone: that an old
CA is no longer trusted can only be seen with a leaf that it has signed. Their profile gives them a name that nobody
else gets and that no service lets do anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography import x509
from sqlalchemy import delete, insert, select, update
from sqlmodel import col

from ca import clock, enrolment, issuance, revocation
from ca.access import Caller, Role
from ca.authority import State
from ca.keys.algorithms import KeyType
from ca.models import Authority
from ca.store import Transaction
from ca.x509.bundle import pem_chain
from ca.x509.certificate import serial_text
from ca.x509.request import make_request, read_request
from ca.x509.revocation_list import RevocationReason
from renewers.inventory import issued
from renewers.lifecycle import Lifecycle
from renewers.models import ProbeLeaf
from renewers.mutual import Identity

PROBER = Caller(issued.PROBER, Role.ADMIN)
GOOD, CANARY = "good", "canary"
SIGNING = (State.PREPARED, State.ACTIVE)
_PURPOSE = "probe:"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf as it is shown. `revoked_at` is when a canary's revocation was durable, with its fraction."""

    id: int
    authority: str
    serial: str
    identity: Identity
    revoked_at: float | None


def good_leaf(lifecycle: Lifecycle, authority: Authority) -> Leaf | None:
    """A leaf of this authority that is to be let in; None if there is none and it signs no more."""
    found = _newest(lifecycle, authority.name, GOOD)
    may_sign = authority.state in SIGNING
    if found is not None and (not may_sign or found.not_after - clock.timestamp() > _half(found)):
        return _opened(lifecycle, found)
    if may_sign:
        return _made(lifecycle, authority, GOOD)
    return None


def newest_canary(lifecycle: Lifecycle, authority: Authority) -> Leaf | None:
    """The leaf of this authority that was revoked last, if there is one that has not expired."""
    found = _newest(lifecycle, authority.name, CANARY)
    return None if found is None or found.revoked_at is None else _opened(lifecycle, found)


def send_canary(lifecycle: Lifecycle, authority: Authority) -> Leaf:
    """Make a leaf, revoke it, and say when that was: whoever holds the list after that refuses it."""
    leaf = _made(lifecycle, authority, CANARY)
    revocation.revoke(lifecycle.installation, PROBER, leaf.serial, RevocationReason.SUPERSEDED)
    revoked_at = clock.exactly()
    of = col(ProbeLeaf.id) == leaf.id
    lifecycle.store.write(lambda tx: tx.execute(update(ProbeLeaf).where(of).values(revoked_at=revoked_at)) and None)
    return Leaf(leaf.id, leaf.authority, leaf.serial, leaf.identity, revoked_at)


def prune(lifecycle: Lifecycle) -> int:
    """Forget leaves that have expired. Returns how many those were."""
    over = delete(ProbeLeaf).where(col(ProbeLeaf.not_after) < clock.timestamp())
    return lifecycle.store.write(lambda tx: int(tx.execute(over).rowcount))


def _newest(lifecycle: Lifecycle, authority: str, purpose: str) -> ProbeLeaf | None:
    query = (
        select(ProbeLeaf)
        .where(col(ProbeLeaf.authority) == authority, col(ProbeLeaf.purpose) == purpose)
        .where(col(ProbeLeaf.not_after) > clock.timestamp())
        .order_by(col(ProbeLeaf.id).desc())
        .limit(1)
    )
    with lifecycle.store.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else ProbeLeaf(**row._mapping)


def _half(leaf: ProbeLeaf) -> int:
    return (leaf.not_after - leaf.made_at) // 2


def _made(lifecycle: Lifecycle, authority: Authority, purpose: str) -> Leaf:
    key = KeyType.P256.generate()
    request = read_request(make_request(key))
    installation = lifecycle.installation
    decision = enrolment.authorise_probe(installation, PROBER, request, authority=authority.name)
    made = issuance.issue(decision, installation)
    row: dict[str, Any] = {
        "authority": authority.name,
        "purpose": purpose,
        "serial": made.serial,
        "certificate": made.certificate,
        "chain": pem_chain(made.chain),
        "sealed_key": lifecycle.sealer.wrap(key, _PURPOSE + made.serial),
        "not_after": made.not_after,
        "made_at": clock.timestamp(),
    }

    def unit(tx: Transaction) -> int:
        return int(tx.execute(insert(ProbeLeaf).values(**row).returning(col(ProbeLeaf.id))).scalar_one())

    return _opened(lifecycle, ProbeLeaf(id=lifecycle.store.write(unit), revoked_at=None, **row))


def _opened(lifecycle: Lifecycle, row: ProbeLeaf) -> Leaf:
    certificate = x509.load_der_x509_certificate(row.certificate)
    chain = x509.load_pem_x509_certificates(row.chain.encode()) if row.chain else []
    key = lifecycle.sealer.unwrap(row.sealed_key, _PURPOSE + serial_text(certificate.serial_number))
    return Leaf(row.id or 0, row.authority, row.serial, Identity(certificate, chain, key), row.revoked_at)
