"""Counts of everything that is tracked: by stage, owner, issuer, day of its end. Made by a beat, shown with their age.

The table is read in stretches of ids, each a short look of its own, so that nobody waits and nothing is held back. What
is counted while others write may be off by what they wrote: these are figures for people, and nothing is decided by
them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, case, func, select
from sqlmodel import col

from ca import clock
from ca.models import Certificate, Revocation
from ca.store import Store
from ca.store.lease import leased
from ca.x509.revocation_list import HOLD
from renewers.inventory.facts import CERTIFICATE
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint, Lineage, Tracked
from renewers.overview import kept
from renewers.overview.kept import Kept
from renewers.timing.lead_time import DAY, Stage

NAME = "tallies"
LEASE = 900
EVERY, FRESH = 300, 240
"""Seconds from one count to the next, and for how long one is not made again."""
STRETCH = 20_000
DAYS = 7 * 13
ISSUERS, KEYS = 30, 20
ALIVE = tuple(stage.value for stage in Stage if stage not in (Stage.REPLACED, Stage.ENDED))
TROUBLED = (Stage.LATE.value, Stage.URGENT.value, Stage.CRITICAL.value, Stage.EXPIRED.value)
"""Stages in which something that renews itself should not be."""
NOBODY = 0
"""The owner of what nobody answers for, not even a fallback owner."""


@dataclass(slots=True)
class _Sums:
    """What was counted so far."""

    stages: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    owners: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    issuers: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    days: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    orphans: int = 0

    def body(self, begin: int, last_scan: int | None, profiles: Mapping[str, Any]) -> dict[str, Any]:
        """As it is kept."""
        by_mode: dict[str, dict[str, int]] = defaultdict(dict)
        for (mode, stage), count in self.stages.items():
            by_mode[mode][stage] = count
        return {
            "stages": by_mode,
            "kinds": dict(self.kinds),
            "sources": dict(self.sources),
            "owners": {str(owner): dict(stages) for owner, stages in self.owners.items()},
            "issuers": self.issuers.most_common(ISSUERS),
            "keys": self.keys.most_common(KEYS),
            "begin": begin,
            "days": [dict(self.days.get(day, ())) for day in range(DAYS)],
            "orphans": self.orphans,
            "last_scan": last_scan,
            "profiles": profiles,
        }


def take_due(lifecycle: Lifecycle, *, is_start: bool = False) -> bool:
    """Count everything, unless that was just done; a start does not wait until a million rows are counted."""
    store = lifecycle.store
    if kept.is_fresh(store, NAME, FRESH) or (is_start and not kept.is_quick(store, col(Tracked.id))):
        return False
    return take(lifecycle)


def take(lifecycle: Lifecycle) -> bool:
    """Count everything once. False while another replica does."""
    with leased(lifecycle.store, NAME, LEASE) as held:
        if held is None:
            return False
        sums, begin = _Sums(), clock.timestamp() // DAY * DAY
        for low, high in _stretches(lifecycle.store, col(Tracked.id)):
            with lifecycle.store.read() as connection:
                _count(connection, low, high, begin, sums)
        with lifecycle.store.read() as connection:
            last_scan = connection.execute(select(func.max(col(Endpoint.last_asked)))).scalar()
        kept.keep(lifecycle.store, NAME, sums.body(begin, last_scan, _profiles(lifecycle.store)))
        return True


def find(connection: Connection) -> Kept | None:
    """The newest counts."""
    return kept.find(connection, NAME)


def by_stage(counted: Kept) -> dict[str, int]:
    """How many there are of each stage, whoever renews them."""
    found = Counter[str]()
    for stages in counted.body["stages"].values():
        found.update(stages)
    return dict(found)


def _stretches(store: Store, key: Any) -> Iterator[tuple[int, int]]:
    """From one id to the other, from the first to the last row."""
    with store.read() as connection:
        first, last = connection.execute(select(func.min(key), func.max(key))).one()
    if first is not None:
        yield from ((low, low + STRETCH) for low in range(first, last + 1, STRETCH))


def _count(connection: Connection, low: int, high: int, begin: int, sums: _Sums) -> None:
    """Count one stretch: several plain groupings are far cheaper than one that tells everything apart."""
    here = (col(Tracked.id) >= low, col(Tracked.id) < high)
    alive = (*here, col(Tracked.stage).in_(ALIVE))
    mode = case((col(Tracked.kind) != CERTIFICATE, col(Tracked.kind)), else_=func.coalesce(col(Lineage.mode), "manual"))
    joined = select(mode, col(Tracked.stage), func.count()).outerjoin(
        Lineage, col(Lineage.id) == col(Tracked.lineage_id)
    )
    for name, stage, count in connection.execute(joined.where(*here).group_by(mode, col(Tracked.stage))):
        sums.stages[(name, stage)] += count
    for column, into in (
        (col(Tracked.kind), sums.kinds),
        (col(Tracked.source), sums.sources),
        (col(Tracked.issuer), sums.issuers),
        (col(Tracked.key_type), sums.keys),
    ):
        for value, count in connection.execute(select(column, func.count()).where(*alive).group_by(column)):
            into[value] += count
    whose = (col(Tracked.answering_id), col(Tracked.is_orphan), col(Tracked.stage))
    for owner, is_orphan, stage, count in connection.execute(
        select(*whose, func.count()).where(*alive).group_by(*whose)
    ):
        sums.owners[owner or NOBODY][stage] += count
        sums.orphans += count if is_orphan else 0
    _count_days(connection, alive, begin, sums)


def _count_days(connection: Connection, alive: tuple[Any, ...], begin: int, sums: _Sums) -> None:
    day = (col(Tracked.not_after) - begin) // DAY
    is_manual = (col(Tracked.kind) != CERTIFICATE) | (func.coalesce(col(Lineage.mode), "manual") == "manual")
    how = case((is_manual, "manual"), (col(Tracked.stage).in_(TROUBLED), "failing"), else_="automatic")
    query = select(day, how, func.count()).outerjoin(Lineage, col(Lineage.id) == col(Tracked.lineage_id))
    soon = (col(Tracked.not_after) >= begin, col(Tracked.not_after) < begin + DAYS * DAY)
    for number, name, count in connection.execute(query.where(*alive, *soon).group_by(day, how)):
        sums.days[int(number)][name] += count


def _profiles(store: Store) -> Mapping[str, Any]:
    """What our own CA has issued, by profile: how much is in force, how much of it ends soon, and when it was last."""
    now, found = clock.timestamp(), dict[str, Counter[str]]()
    last: dict[str, dict[str, int]] = defaultdict(dict)
    in_force = case(((col(Certificate.not_after) >= now) & col(Revocation.serial).is_(None), 1), else_=0)
    renewed = case((col(Certificate.renews).is_not(None), col(Certificate.recorded_at)))
    sums = {
        "issued": func.count(),
        "valid": func.sum(in_force),
        "revoked": func.sum(case((col(Revocation.reason) != HOLD, 1), else_=0)),
        "held": func.sum(case((col(Revocation.reason) == HOLD, 1), else_=0)),
        "ends_today": func.sum(case((col(Certificate.not_after) < now + DAY, in_force), else_=0)),
        "ends_this_week": func.sum(case((col(Certificate.not_after) < now + 7 * DAY, in_force), else_=0)),
        "today": func.sum(case((col(Certificate.recorded_at) > now - DAY, 1), else_=0)),
        "renewed": func.count(col(Certificate.renews)),
    }
    columns = [value.label(name) for name, value in sums.items()]
    newest = [func.max(col(Certificate.recorded_at)).label("last_issued"), func.max(renewed).label("last_renewed")]
    query = select(col(Certificate.profile), *columns, *newest)
    query = query.outerjoin(Revocation, col(Revocation.serial) == col(Certificate.serial))
    query = query.where(col(Certificate.signature).is_not(None)).group_by(col(Certificate.profile))
    for low, high in _stretches(store, col(Certificate.id)):
        with store.read() as connection:
            for row in connection.execute(query.where(col(Certificate.id) >= low, col(Certificate.id) < high)):
                found.setdefault(row.profile, Counter()).update({name: row._mapping[name] or 0 for name in sums})
                for name in ("last_issued", "last_renewed"):
                    last[row.profile][name] = max(last[row.profile].get(name, 0), row._mapping[name] or 0)
    return {profile: {**counts, **last[profile]} for profile, counts in found.items()}
