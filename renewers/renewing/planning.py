"""When a lineage is to be renewed, and why: read from what is, never from what somebody once announced.

A tick that was missed, a name that was added, a window that an issuer has moved: each is found by looking at the rows,
so that nothing depends on having been told. The times themselves are `renewers/timing/lead_time`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, func, select
from sqlmodel import col

from ca.x509 import names
from ca.x509.names import Name
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Renewal, Replacement, ReplacementItem, Tracked, TrackedName
from renewers.timing import lead_time, windows
from renewers.timing.lead_time import Milestones

YOUNG = 86400
"""Seconds for which a new certificate is left alone, whatever its issuer suggests; less in a short life."""


@dataclass(frozen=True, slots=True)
class Situation:
    """A lineage as it stands: its row, its current certificate and the renewal under way, if there are such."""

    lineage: Any
    current: Any | None
    current_names: frozenset[str]
    open: Any | None
    replacing_since: int | None = None
    """When the turn of its current certificate came in a mass replacement that is open; None if there is none."""

    @property
    def names(self) -> tuple[Name, ...]:
        """The names that it is to have."""
        return tuple(names.parse(text) for text in json.loads(self.lineage.names))

    @property
    def wanted(self) -> tuple[Name, ...]:
        """The names of the renewal that is under way: all, but for those that it goes without."""
        left_out = set(json.loads(self.open.left_out)) if self.open is not None else set()
        return tuple(name for name in self.names if str(name) not in left_out)

    @property
    def issuers(self) -> tuple[str, ...]:
        """Who is asked, in this order; empty for the policy's."""
        return tuple(json.loads(self.lineage.issuers))


@dataclass(frozen=True, slots=True)
class Due:
    """When it is to be renewed, and the word for why."""

    at: int
    reason: str


def situation(connection: Connection, lineage_id: int) -> Situation | None:
    """How a lineage stands; None if there is none."""
    of = {"which": lineage_id}
    lineage = connection.execute(_LINEAGE, of).first()
    if lineage is None:
        return None
    current, known, since = None, frozenset[str](), None
    if lineage.current_id is not None:
        current = connection.execute(_CURRENT, {"which": lineage.current_id}).first()
        known = frozenset(connection.execute(_NAMES, {"which": lineage.current_id}).scalars())
        since = connection.execute(_REPLACING, {"which": lineage_id, "present": lineage.current_id}).scalar()
    return Situation(lineage, current, known, connection.execute(_OPEN, of).first(), since)


# Made once: every step of every renewal asks for these.
_WHICH: BindParameter[int] = bindparam("which")
_LINEAGE = select(Lineage).where(col(Lineage.id) == _WHICH)
_CURRENT = select(Tracked).where(col(Tracked.id) == _WHICH)
_NAMES = select(col(TrackedName.name)).where(col(TrackedName.tracked_id) == _WHICH)
_OPEN = select(Renewal).where(col(Renewal.lineage_id) == _WHICH, col(Renewal.state) == "open")
_REPLACING = (
    select(func.max(col(ReplacementItem.changed_at)))
    .join(Replacement, col(Replacement.id) == col(ReplacementItem.replacement_id))
    .where(col(ReplacementItem.lineage_id) == _WHICH, col(ReplacementItem.tracked_id) == bindparam("present"))
    .where(col(ReplacementItem.state) == "renewing", col(Replacement.state) == "open")
)


def due(connection: Connection, found: Situation, lifecycle: Lifecycle, now: int) -> Due:
    """When a lineage that we renew is to be renewed, and why."""
    if found.replacing_since is not None:
        return Due(now, "replacement")
    if found.open is not None:
        return Due(now, found.open.reason)
    if found.current is None:
        return Due(now, "first")
    if found.current_names != frozenset(map(str, found.names)):
        return Due(now, "names")
    marks = milestones(connection, found, lifecycle)
    reason = "suggested" if found.lineage.ari_chosen is not None and marks.due == found.lineage.ari_chosen else "due"
    window = lifecycle.policy.windows.get(found.lineage.window)
    at = marks.due if window is None or reason == "suggested" else windows.plan(marks.due, marks.late, window, now)
    return Due(max(at, _soonest(found.current)), reason)


def _soonest(current: Any) -> int:
    """Nobody, not even its issuer, gets a certificate renewed again and again (cert-manager#5838)."""
    lifetime = current.not_after - current.not_before
    return int(min(current.recorded_at + min(YOUNG, lifetime // 10), current.not_after))


def milestones(connection: Connection, found: Situation, lifecycle: Lifecycle) -> Milestones:
    """The way of its current certificate to its end."""
    current = found.current
    assert current is not None
    return lead_time.milestones(
        current.not_before,
        current.not_after,
        seed=f"{found.lineage.id}/{current.id}",
        fraction=lifecycle.policy.fraction,
        chosen=found.lineage.ari_chosen,
        measured_p99=lifecycle.lead_times.seconds(connection, found.lineage.id),
    )
