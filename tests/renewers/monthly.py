"""A small installation with a month behind it: owners, certificates, renewals, a CA, revocations."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store
from renewers.issuers.internal import InternalIssuer
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.mailers.memory import MemoryMailer
from renewers.models import Event, Lineage, Renewal
from renewers.reports.monthly.months import Month
from renewers.timing.lead_time import DAY
from tests import rig
from tests.renewers.tracking import add, add_lineage, add_owner, add_tracked, change

MONTH = Month(2027, 1)
BEFORE = datetime(2027, 1, 2, tzinfo=UTC)
AFTER = datetime(2027, 2, 1, 0, 10, tzinfo=UTC)
"""Ten minutes after its end."""
HOSTILE = "<script>alert(1)</script>{{ 8191*9973 }}{% x %}\u202egro.live\r\nBcc: a@b" + "A" * 65536


def make_lifecycle(store: Store, *, mailer: MemoryMailer | None = None, with_hierarchy: bool = True) -> Lifecycle:
    """The parts that the report needs."""
    installation = rig.make_installation(store, with_hierarchy=with_hierarchy)
    return Lifecycle(
        installation=installation,
        sealer=Sealer(Secret("only for tests"), bytes(16)),
        issuers={"internal": InternalIssuer(installation)},
        mailer=mailer,
        mail=MailPolicy(sender="Certwright <pki@example.org>", link_url="https://ca.example.internal:8443"),
        trust_domain=rig.DOMAIN,
    )


def add_certificate(store: Store, mode: str | None = None, *, life: int = 90 * DAY, **values: Any) -> int:
    """A certificate that stands at the month's end, in a lineage of that mode whose current one it is."""
    start = int(AFTER.timestamp()) - 10 * DAY
    lineage_id = None if mode is None else add_lineage(store, mode)
    row = {"start": start, "lifetime": life, "lineage_id": lineage_id, "key_type": "P-256", "next_look": None}
    id_ = add_tracked(store, **(row | values))
    if lineage_id is not None:
        change(store, Lineage, lineage_id, current_id=id_)
    return id_


def add_renewal(store: Store, *, day: int = 5, took: int = 30, attempts: int | None = 1, **values: Any) -> int:
    """A renewal that was issued on a day of the month, and its event."""
    at = MONTH.start + day * DAY
    id_ = add_certificate(store, "renewed")
    row = {"lineage_id": 1, "state": "done", "reason": "asked", "issuer": "internal", "csr": b"", "key_made_at": at}
    times = {"started_at": at - took, "issued_at": at, "finished_at": at}
    add(store, Renewal, **(row | times | {"tracked_id": id_} | values))
    if attempts is not None:
        add_event(store, "certificate-renewed", "a", at, attempts=attempts, failed_since=None if attempts < 2 else at)
    return id_


def add_event(store: Store, kind: str, subject: str, at: int, **details: Any) -> int:
    """Something that happened then."""
    body = json.dumps({"message": "said", **details})
    return add(store, Event, kind=kind, subject=subject, severity="info", at=at, body=body, is_pending=False)


def add_world(store: Store) -> dict[str, int]:
    """Owners, something of each kind, a renewal: ids by name."""
    payments, fallback = add_owner(store, "payments"), add_owner(store, "fallback", is_fallback=True)
    return {
        "payments": payments,
        "fallback": fallback,
        "program": add_certificate(store, "renewed", owner_id=payments),
        "holder": add_certificate(store, "holder", owner_id=payments, life=DAY),
        "person": add_certificate(store, "manual", owner_id=payments, life=398 * DAY, key_type="RSA-2048"),
        "orphan": add_certificate(store, None, life=398 * DAY, key_type="RSA-1024"),
        "renewed": add_renewal(store),
    }
