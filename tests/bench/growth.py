"""How the cost of issuing, finding, revoking and publishing grows with what is stored: 1,000 to 1,000,000."""

from __future__ import annotations

import secrets
import statistics
import time

from ca import certificates, clock, issuance, revocation
from ca.certificates import Query
from ca.crl import CrlPolicy, CrlPublisher
from ca.installation import Installation
from ca.models import Certificate, CertificateName, LedgerEntry
from ca.store import Transaction
from ca.x509.names import parse
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.bench.floor import measure_floor
from tests.bench.issuing import fresh_installation, issue_many
from tests.bench.report import Figure, heading, show, wall

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PAGE = 20_000


def run(*, quick: bool) -> None:
    """Print the figures for each size."""
    heading("Growth with what is stored (the same installation, filled further each time)")
    sizes = SIZES[:3] if quick else SIZES
    with fresh_installation() as installation:
        issue_many(installation, 640)
        stored = 0
        for size in sizes:
            fill(installation, size - stored)
            stored = size
            _measure(installation, size)


def _measure(installation: Installation, size: int) -> None:
    floor = measure_floor()
    each = issue_many(installation, 1600)
    issued = [rig.issue(installation) for _ in range(20)]
    publisher = CrlPublisher(installation, CrlPolicy())
    publisher.publish_due()
    find = statistics.median(wall(lambda: certificates.find(installation.store, issued[0].serial)) for _ in range(50))
    named = Query(name=parse(rig.WORKLOAD))
    listed = statistics.median(wall(lambda: certificates.page(installation.store, named, limit=50)) for _ in range(20))
    revoked = [_revoke_and_publish(installation, publisher, one) for one in issued]
    label = f"{size:>9,} stored:"
    show(Figure(f"{label} issuance, ratio to the floor", each / floor, "x"))
    show(Figure(f"{label} find one by serial number", find * 1e3, "ms"))
    show(Figure(f"{label} list 50 by name", listed * 1e3, "ms"))
    show(Figure(f"{label} revoke one and rebuild its lists", statistics.median(revoked) * 1e3, "ms"))


def _revoke_and_publish(installation: Installation, publisher: CrlPublisher, issued: issuance.Issued) -> float:
    before = time.perf_counter()
    revocation.revoke(installation, rig.OPERATOR, issued.serial, RevocationReason.SUPERSEDED)
    publisher.publish_due()
    return time.perf_counter() - before


def fill(installation: Installation, count: int) -> None:
    """Add rows as issuance would have left them: same sizes, random serial numbers and keys, names, entries."""
    template = certificates.find(installation.store, rig.issue(installation).serial)
    issuer = installation.authorities.issuer_for("issuing")
    now = clock.timestamp()
    for start in range(0, count, PAGE):
        rows = [_row(template, issuer.id, start + place, now) for place in range(min(PAGE, count - start))]

        def unit(tx: Transaction, rows: list[dict[str, object]] = rows) -> None:
            for row in rows:
                tx.add(Certificate, row)
                name = f"uri:spiffe://example.internal/ns/n{row['serial']}/sa/a"
                tx.add(CertificateName, {"name": name, "serial": row["serial"]})
                tx.add(LedgerEntry, {"subject": row["serial"], "leaf_hash": row["spki_sha256"], "body": b"x" * 520})

        installation.store.write(unit)
    installation.ledger.sequence()  # else the first measured issuance would number all of them


def _row(template: certificates.Stored, authority_id: int, place: int, now: int) -> dict[str, object]:
    serial = issuance.new_serial()
    return {
        "serial": f"{serial:x}",
        "authority_id": authority_id,
        "profile": template.profile,
        "subject": template.subject,
        "shard": serial % 128,
        "spki_sha256": secrets.token_bytes(32),
        "not_before": now - 60,
        "not_after": now + 86400 + place % 86400,
        "requested_by": template.requested_by,
        "renews": None,
        "tbs": template.tbs,
        "signature": template.signature,
        "recorded_at": now,
    }
