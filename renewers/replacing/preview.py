"""What a mass replacement would do: how many certificates, how long, in which order, and who else has to act.

Nothing here changes anything. A selection that no index answers (a type of keys, a host, an owner) reads the inventory
once, from end to end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select
from sqlmodel import col

from ca import certificates, cost
from ca.access import Caller, Operation
from ca.certificates import Stored
from ca.cost import Cost
from ca.errors import Reason
from renewers.inventory.joining import RENEWED
from renewers.inventory.ownership import owners_of
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked
from renewers.replacing import listing, plans, selection
from renewers.replacing.listing import OWN, Candidate
from renewers.replacing.plans import ReplacementPlan

FIRST = 20
OWNERS_AMONG = 2000
"""Of how many certificates that others replace the owners are looked up: to know whose one is costs several queries."""
NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a plan comes to."""

    total: int
    ours: int
    """Those that we renew, and so replace."""
    own: int
    """Those of our own machinery, which renews them by itself."""
    others: int
    """Those that somebody else has to replace."""
    others_by_owner: Mapping[str, int]
    """Whose those are, among the first of them."""
    seconds: int
    """How long ours take at the pace of the plan, at least."""
    first: Sequence[str]
    """Whose turn comes first."""
    objections: Sequence[Reason]
    cost: Cost | None
    """What revoking ours in the end comes to; None if the plan does not."""


@dataclass(slots=True)
class _Tally:
    counts: dict[str, int] = field(default_factory=dict)
    first: list[tuple[int, int, str]] = field(default_factory=list)
    elsewhere: list[int] = field(default_factory=list)
    renewed: list[int] = field(default_factory=list)

    def add(self, one: Candidate) -> None:
        """Count one, and remember it if it is among the first."""
        self.counts[one.renewer] = self.counts.get(one.renewer, 0) + 1
        if one.renewer == RENEWED:
            entry = (-one.place, -one.id, one.shown_as)
            self.renewed.append(one.id)
            (heapq.heappush if len(self.first) < FIRST else heapq.heappushpop)(self.first, entry)
        elif one.renewer != OWN and len(self.elsewhere) < OWNERS_AMONG:
            self.elsewhere.append(one.id)


def plan(lifecycle: Lifecycle, caller: Caller, wanted: ReplacementPlan) -> Preview:
    """What a plan would do, objections included."""
    caller.must(Operation.READ_INVENTORY)
    tally = _Tally()
    with lifecycle.store.read(snapshot=True) as connection:
        resolved = selection.resolve(lifecycle, connection, wanted.selection)
        for page in listing.pages(connection, resolved):
            for one in page.candidates:
                tally.add(one)
        owners = _owners(connection, tally.elsewhere)
    total, ours, own = sum(tally.counts.values()), tally.counts.get(RENEWED, 0), tally.counts.get(OWN, 0)
    return Preview(
        total=total,
        ours=ours,
        own=own,
        others=total - ours - own,
        others_by_owner=owners,
        seconds=-(-60 * ours // max(wanted.per_minute, 1)),
        first=tuple(shown for _, _, shown in sorted(tally.first, reverse=True)),
        objections=tuple(plans.objections(wanted)),
        cost=_cost(lifecycle, tally.renewed, wanted) if wanted.revokes else None,
    )


def _cost(lifecycle: Lifecycle, ids: Sequence[int], wanted: ReplacementPlan) -> Cost:
    return cost.estimate(lifecycle.installation, _issued(lifecycle, ids), wanted.revocation_reason)


def _issued(lifecycle: Lifecycle, ids: Sequence[int]) -> Iterator[list[Stored]]:
    """Those among them that our own CA has issued."""
    for start in range(0, len(ids), listing.WINDOW):
        columns = (col(Tracked.serial), col(Tracked.spki_sha256))
        query = select(*columns).where(col(Tracked.id).in_(ids[start : start + listing.WINDOW]))
        with lifecycle.store.read() as connection:
            keys = {row.serial: row.spki_sha256 for row in connection.execute(query)}
        found = certificates.find_many(lifecycle.store, list(keys))
        yield [one for one in found if keys[one.serial] == one.spki_sha256 and one.state in ("valid", "held")]


def _owners(connection: Connection, ids: Sequence[int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for start in range(0, len(ids), listing.WINDOW):
        some = ids[start : start + listing.WINDOW]
        rows = connection.execute(select(Tracked).where(col(Tracked.id).in_(some))).all()
        for ownership in owners_of(connection, rows).values():
            name = NOBODY if ownership.owner is None else ownership.owner.name
            counts[name] = counts.get(name, 0) + 1
    return counts
