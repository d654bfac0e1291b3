"""From what a place presented to what is written down: facts, findings, and one row for the leaf.

Parsing happens here, before any transaction begins; `Observation.record` then runs inside one, as often as it must.
Read `record.py` next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import bindparam, select, text
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.store import Transaction
from ca.x509 import bundle
from renewers.discovery import findings, record
from renewers.discovery.findings import Known
from renewers.discovery.targets import Target
from renewers.handshake import Presented
from renewers.inventory.facts import Facts, fingerprint_identity, read_certificate
from renewers.inventory.joining import BY_US, SCANNED
from renewers.inventory.track import track
from renewers.models import Tracked, TrackedContent

IS_AUTHORITY = text("kind = 'authority'")
"""In words of SQL, else SQLite does not see that its index of authorities answers this."""
_AUTHORITIES = select(col(Tracked.identity), col(Tracked.subject), col(Tracked.issuer), col(Tracked.replaced_by)).where(
    IS_AUTHORITY, col(Tracked.subject).in_(bindparam("names", expanding=True))
)
_HANDED = (
    select(col(TrackedContent.chain))
    .join(Tracked, col(Tracked.id) == col(TrackedContent.tracked_id))
    .where(col(Tracked.id) == bindparam("tracked"), col(Tracked.source) == BY_US)
)


@dataclass(frozen=True, slots=True)
class Observation:
    """What was presented where, read."""

    place: str
    chain: tuple[Facts, ...]
    server_name: str | None
    version: str

    @property
    def leaf(self) -> Facts:
        """What the place shows first."""
        return self.chain[0]

    def record(self, tx: Transaction, *, found_by: str, owner_id: int | None = None) -> int:
        """Track the leaf and write down that it was seen. Returns the id of the endpoint."""
        above = bundle.pem_chain(facts.der for facts in self.chain[1:])
        tracked_id = track(tx, self.leaf, source=SCANNED, owner_id=owner_id, chain=above)
        judged = findings.judge(
            self.chain,
            server_name=self.server_name,
            version=self.version,
            now=clock.timestamp(),
            known=_known(tx, self.chain, tracked_id),
        )
        if self.place.startswith("file:"):  # a file may hold the leaf alone, or its chain in any order
            judged = [code for code in judged if code not in (findings.INCOMPLETE_CHAIN, findings.WRONG_ORDER)]
        return record.saw(tx, self.place, tracked_id, found_by=found_by, findings=judged)


def read(target: Target, presented: Presented) -> Observation:
    """Read what was presented. `NotDelivered` if the leaf is not a certificate that anybody could read."""
    try:
        leaf = read_certificate(presented.chain[0])
    except BadRequest as error:
        raise NotDelivered(f"{target.place} shows something unreadable: {error.message}", code="unreadable") from None
    return Observation(target.place, (leaf, *_readable(presented.chain[1:])), target.expected_name, presented.version)


def _readable(chain: Sequence[bytes]) -> list[Facts]:
    found = []
    for der in chain:
        try:
            found.append(read_certificate(der))
        except BadRequest:
            continue
    return found


def _known(tx: Transaction, chain: Sequence[Facts], tracked_id: int) -> Known:
    """What the inventory knows of the authorities that are named in a chain, and of what the leaf was issued with."""
    named = {facts.issuer for facts in chain} | {facts.subject for facts in chain[1:]}
    found = tx.execute(_AUTHORITIES, {"names": list(named)}).all()
    handed = tx.execute(_HANDED, {"tracked": tracked_id}).scalar() if len(chain) > 1 else None
    return Known(
        roots={row.subject for row in found if row.subject == row.issuer},
        intermediates={row.subject for row in found if row.subject != row.issuer},
        replaced={row.identity for row in found if row.replaced_by is not None},
        issued_with=_identities(handed or ""),
    )


def _identities(pem: str) -> frozenset[str]:
    if not pem:
        return frozenset()
    certificates = bundle.read_certificates(pem.encode())
    return frozenset(fingerprint_identity(one.public_bytes(Encoding.DER)) for one in certificates)
