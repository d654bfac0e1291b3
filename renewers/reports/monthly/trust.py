"""What signs and what that trust rests on: milestones to come, revocations, changes of trust, the ledger's head.

The ledger is walked in stretches between the heads of the month's beginning and end; nothing in it is verified here:
`certwright ledger verify` does that, and whoever holds the head of a signed report can hold it against a later one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, func, or_, select
from sqlmodel import col

from ca.models import LedgerEntry, LedgerHead, Revocation
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.inventory import shown
from renewers.inventory.issued import PROBER
from renewers.lifecycle import Lifecycle
from renewers.models import Rotation, RotationStep
from renewers.reports.monthly.months import Month
from renewers.reports.monthly.walking import Owned, is_leaf, kind_of
from renewers.timing import deadlines
from renewers.timing.lead_time import AUTHORITIES, MONTH

HORIZON = 24 * MONTH + 10 * 86400
"""How far ahead milestones are listed: two years."""
MOST = 100
STRETCH = 20_000
TEXT = 160
_CHANGES = (b'{"action":"authority-', b'{"action":"foreign-anchors-')
_WORDS = {"due": "its successor has to be prepared", "end": "it ends"}


class Milestones:
    """Collects what CAs, CRLs and bundles have before them."""

    def __init__(self, now: int, fraction: float) -> None:
        self._now, self._fraction = now, fraction
        self._rows: list[dict[str, Any]] = []
        self._count = 0

    def add(self, row: Any, owned: Owned) -> None:
        """One more; leaves do not count."""
        del owned
        if is_leaf(row):
            return
        self._count += 1
        kind = kind_of(row)
        marks = deadlines.deadlines(row, None, fraction=self._fraction)
        moments = {"end": marks.end}
        if kind in AUTHORITIES:
            moments = {"due": marks.due, "end": marks.end}
        for word, at in moments.items():
            if at <= self._now + HORIZON and marks.end >= self._now:
                named = {"name": shown.line(row.shown_as, TEXT), "kind": kind, "what": word}
                self._rows.append({**named, "at": at, "is_past": at < self._now})
        if len(self._rows) > 10 * MOST:
            self._cut()

    def figures(self) -> dict[str, Any]:
        """As the report keeps it: the first of them, and how many things were looked at."""
        listed = len(self._rows)
        self._cut()
        return {"looked_at": self._count, "listed": min(listed, MOST), "is_cut": listed > MOST, "rows": self._rows}

    def _cut(self) -> None:
        self._rows = sorted(self._rows, key=lambda row: (row["at"], row["name"], row["what"]))[:MOST]


def revocations(store: Store, month: Month) -> dict[str, Any]:
    """Revocations of a month by reason; those of leaves that are revoked on purpose, as canaries, apart."""
    within = col(Revocation.revoked_at) >= month.start, col(Revocation.revoked_at) < month.end
    is_canary = col(Revocation.revoked_by) == PROBER
    query = select(col(Revocation.reason), is_canary, func.count()).where(*within)
    with store.read() as connection:
        rows = connection.execute(query.group_by(col(Revocation.reason), is_canary)).all()
    known = {int(reason): reason.word for reason in RevocationReason}
    reasons = {known.get(row[0], str(row[0])): row[2] for row in rows if not row[1]}
    canaries = sum(row[2] for row in rows if row[1])
    return {"reasons": dict(sorted(reasons.items())), "total": sum(reasons.values()), "canaries": canaries}


def changes(lifecycle: Lifecycle, month: Month) -> dict[str, Any]:
    """Rotations that were open in a month with their steps in it, and what the ledger says of authorities."""
    with lifecycle.store.read() as connection:
        open_then = or_(col(Rotation.ended_at).is_(None), col(Rotation.ended_at) >= month.start)
        query = select(Rotation).where(col(Rotation.started_at) < month.end, open_then)
        rotations = [_rotation(row) for row in connection.execute(query.order_by(col(Rotation.id)).limit(MOST))]
        steps = [_step(row) for row in connection.execute(_steps(month))]
    states = list(_authority_changes(lifecycle.store, month))
    return {"rotations": rotations, "steps": steps, "authorities": states[:MOST], "authorities_count": len(states)}


def head(lifecycle: Lifecycle, month: Month, until: int) -> dict[str, Any] | None:
    """The last head that was signed before `until`, and the key that it can be checked with; None if there is none."""
    with lifecycle.store.read() as connection:
        found = _head_before(connection, min(until, month.end))
    if found is None:
        return None
    verifier = str(lifecycle.installation.ledger.verifier)
    named = {"size": found.size, "root": bytes(found.root).hex(), "signed_at": found.signed_at}
    return {**named, "checkpoint": found.checkpoint, "verifier": verifier}


def _head_before(connection: Connection, moment: int) -> Any | None:
    query = select(LedgerHead).where(col(LedgerHead.signed_at) < moment)
    return connection.execute(query.order_by(col(LedgerHead.size).desc()).limit(1)).first()


def _rotation(row: Any) -> dict[str, Any]:
    lines = {"outgoing": json.loads(row.outgoing), "incoming": json.loads(row.incoming)}
    named = {"id": row.id, "line": shown.line(row.line, TEXT), "stage": row.stage, "state": row.state}
    more = {"is_compromise": row.is_compromise, "reason": shown.line(row.reason, TEXT)}
    return {**named, **lines, **more, "started_at": row.started_at, "ended_at": row.ended_at}


def _steps(month: Month) -> Any:
    within = col(RotationStep.at) >= month.start, col(RotationStep.at) < month.end
    columns = (col(Rotation.line), col(RotationStep.stage), col(RotationStep.what), col(RotationStep.at))
    query = select(*columns, col(RotationStep.by)).join(Rotation, col(Rotation.id) == col(RotationStep.rotation_id))
    return query.where(*within).order_by(col(RotationStep.id)).limit(MOST)


def _step(row: Any) -> dict[str, Any]:
    said = {"what": shown.line(row.what, TEXT), "by": shown.line(row.by, 80)}
    return {"line": shown.line(row.line, TEXT), "stage": row.stage, "at": row.at, **said}


def _authority_changes(store: Store, month: Month) -> Iterator[dict[str, Any]]:
    """What happened to authorities and to anchors of others, as the ledger has it."""
    with store.read() as connection:
        first, last = _head_before(connection, month.start), _head_before(connection, month.end)
    low, high = (0 if found is None else int(found.size) for found in (first, last))
    place = col(LedgerEntry.position)
    prefixes = [func.substr(col(LedgerEntry.body), 1, len(word)) == word for word in _CHANGES]
    for start in range(low, high, STRETCH):
        within = place >= start, place < min(start + STRETCH, high)
        query = select(col(LedgerEntry.body)).where(*within, or_(*prefixes)).order_by(place)
        with store.read() as connection:
            bodies = connection.execute(query).scalars().all()
        yield from (_change(json.loads(bytes(body))) for body in bodies)


def _change(entry: dict[str, Any]) -> dict[str, Any]:
    subject, by = shown.line(str(entry.get("subject")), TEXT), shown.line(str(entry.get("by")), 80)
    return {"what": str(entry.get("action")), "subject": subject, "by": by, "at": int(entry.get("at", 0))}
