"""Canaries: leaves that are revoked on purpose, so that a consumer which refuses one is known to have read that list.

A canary is sent when consumers lack the newest list and the last one is old enough to tell nothing more. It counts from
the first published version whose list has it; that is looked up in the list itself and never reckoned from times.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlmodel import col

from ca import clock, crl
from ca.authority import State
from ca.crl import COMPLETE
from ca.models import Authority
from ca.publication.manifest import ListKind
from ca.store import Transaction
from renewers.distribution import leaves, published, streams
from renewers.distribution.leaves import CANARY, Leaf
from renewers.lifecycle import Lifecycle
from renewers.models import Consumer, Holding, ProbeLeaf, Rotation

WAITED_FOR = 10
"""Seconds between canaries while a rotation waits for proof."""
OVERDUE = 60
"""Seconds after which a consumer that lets a listed canary in is an alarm."""


def send_due(lifecycle: Lifecycle) -> bool:
    """Send one if somebody who can be probed lacks the newest list, and the last one is old enough."""
    stream = streams.crl_stream(lifecycle.trust_domain)
    with lifecycle.store.read() as connection:
        newest = published.newest(connection, stream)
        last = connection.execute(_last()).first()
        if newest is None or not connection.execute(_lacking(stream, newest.version)).first():
            return False
        is_waited_for = connection.execute(select(col(Rotation.id)).where(col(Rotation.state) == "open")).first()
    authority = _author(lifecycle)
    if authority is None:
        return False
    if last is not None and last.authority == authority.name:
        age = clock.timestamp() - last.made_at
        if last.listed_in is None and age < OVERDUE:  # on its way
            return False
        usual = lifecycle.policy.canary_every
        wait = min(WAITED_FOR, usual) if is_waited_for is not None else usual
        if age < wait or (last.listed_in or 0) >= newest.version:
            return False
    leaves.send_canary(lifecycle, authority)
    return True


def listed(lifecycle: Lifecycle) -> Leaf | None:
    """The newest canary that a published list has; notes which version that was first."""
    author = _author(lifecycle)
    if author is None:
        return None
    leaf = leaves.newest_canary(lifecycle, author)
    if leaf is None:
        return None
    with lifecycle.store.read() as connection:
        known = connection.execute(_IS_LISTED.where(col(ProbeLeaf.id) == leaf.id)).scalar()
    if known is None and not _note(lifecycle, author, leaf):
        return None
    return leaf


def listed_in(tx: Transaction, leaf_id: int) -> int | None:
    """The first version of our CRL stream that has it."""
    return tx.execute(_IS_LISTED.where(col(ProbeLeaf.id) == leaf_id)).scalar()


def is_overdue(tx: Transaction, leaf_id: int) -> bool:
    """Whether consumers have had time enough to refuse it."""
    row = tx.execute(select(col(ProbeLeaf.revoked_at)).where(col(ProbeLeaf.id) == leaf_id)).scalar()
    return row is not None and clock.exactly() - row > OVERDUE


def _note(lifecycle: Lifecycle, author: Authority, leaf: Leaf) -> bool:
    """Look whether the newest published version has it, and write that down."""
    stream = streams.crl_stream(lifecycle.trust_domain)
    with lifecycle.store.read() as connection:
        newest = published.newest(connection, stream)
    if newest is None:
        return False
    stored = crl.load(lifecycle.installation, author.name, COMPLETE)
    manifest = published.manifest_of(newest.signed)
    is_the_same = any(
        entry.authority == author.name and entry.kind is ListKind.COMPLETE and entry.sha256 == stored.sha256.hex()
        for entry in manifest.lists
        if stored is not None
    )
    if stored is None or not is_the_same or _encoded(leaf) not in stored.crl:
        return False
    row = update(ProbeLeaf).where(col(ProbeLeaf.id) == leaf.id, col(ProbeLeaf.listed_in).is_(None))
    lifecycle.store.write(lambda tx: tx.execute(row.values(listed_in=newest.version)) and None)
    return True


def _encoded(leaf: Leaf) -> bytes:
    """The serial number as a list has it: twenty random octets stand for nothing else."""
    serial = leaf.identity.certificate.serial_number
    content = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return bytes((2, len(content))) + content


def _author(lifecycle: Lifecycle) -> Authority | None:
    """The issuing CA whose leaf is revoked: the newest that signs."""
    signing = [
        row
        for row in lifecycle.installation.authorities.all()
        if row.parent_id is not None and row.state == State.ACTIVE and row.not_after > clock.timestamp()
    ]
    return max(signing, key=lambda row: row.id or 0, default=None)


def _last() -> Any:
    return select(ProbeLeaf).where(col(ProbeLeaf.purpose) == CANARY).order_by(col(ProbeLeaf.id).desc()).limit(1)


def _lacking(stream: str, version: int) -> Any:
    """Consumers that can be probed and have not proved to hold this version."""
    return (
        select(col(Consumer.id))
        .join(Holding, col(Holding.consumer_id) == col(Consumer.id))
        .where(col(Holding.stream) == stream, col(Holding.held_version) < version)
        .where(col(Holding.sent_version) >= version, col(Consumer.probe) != "", col(Consumer.state) != "paused")
        .limit(1)
    )


_IS_LISTED = select(col(ProbeLeaf.listed_in))
