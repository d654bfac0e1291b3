"""What happened, for whoever wants to know: written in the transaction that made it so, and sent afterwards.

Kinds are past tense and stable, part of the interface: `certificate-renewed`, `renewal-failed`, `alarm-raised`. Nothing
secret goes into an event. Sending is `renewers/telling/notices`.
"""

from __future__ import annotations

import json
from typing import Any

from ca import clock
from ca.store import Transaction
from renewers.models import Event
from renewers.plain import one_line

SEVERITIES = ("info", "warning", "error", "critical")
LONGEST_BODY = 16 * 1024
"""Characters of JSON; details that make an event longer are left out, and it says so."""


def record(tx: Transaction, kind: str, subject: str, message: str, *, severity: str = "info", **details: Any) -> None:
    """Record that `kind` happened to `subject`; `message` is a sentence for people, `details` are JSON values."""
    said = one_line(message, 1000)
    body = _json({"message": said, **details})
    if len(body) > LONGEST_BODY:
        body = _json({"message": said, "is_truncated": True})
    named = {"kind": kind, "subject": one_line(subject), "severity": severity}
    tx.add(Event, {**named, "at": clock.timestamp(), "body": body, "is_pending": True})


def rank(severity: str) -> int:
    """How bad it is, to compare with; a word that we do not know counts as the worst."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _json(value: dict[str, Any]) -> str:
    """ASCII, whatever is in it: every database and every recipient takes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
