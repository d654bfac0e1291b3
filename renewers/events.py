"""What happened, for whoever wants to know: written in the transaction that made it so, and sent afterwards.

Kinds are past tense and stable, part of the interface: `certificate-renewed`, `renewal-failed`, `alarm-raised`. Nothing
secret goes into an event. Sending is `renewers/notices`.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import insert

from ca import clock
from ca.store import Transaction
from renewers.models import Event

SEVERITIES = ("info", "warning", "error", "critical")


def record(tx: Transaction, kind: str, subject: str, message: str, *, severity: str = "info", **details: Any) -> None:
    """Record that `kind` happened to `subject`; `message` is a sentence for people, `details` are JSON values."""
    now = clock.timestamp()
    body = json.dumps({"message": message, **details}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    row = {"kind": kind, "subject": subject, "severity": severity, "at": now, "body": body, "is_pending": True}
    tx.execute(insert(Event).values(**row))
