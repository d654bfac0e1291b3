"""Writing down what was seen where: the endpoint as it is now, and every certificate it ever showed, from when to when.

Runs in the transaction of whoever looked; asks nobody. What a certificate is, is the inventory's; what is wrong with a
chain, is `findings.py`'s; here is added what only the tables know. Read `trouble.py` next.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.discovery import trouble
from renewers.discovery.findings import NOT_THE_ISSUED, SHARED_KEY
from renewers.discovery.pace import next_look
from renewers.inventory import shown
from renewers.inventory.joining import RENEWED
from renewers.inventory.track import seen_instead
from renewers.models import Endpoint, Lineage, Sighting, Tracked
from renewers.plain import one_line
from renewers.telling import events
from renewers.telling.alarms import BY

LONGEST_PLACE = 1000
DAY = 86400
"""What was not seen for so long is not known to be in use: to see it again is news for the watch."""
SOON = 60
"""Seconds until what nobody has judged is looked at."""
MOST_SHARING = 100
"""Endpoints with the same key that are compared with one."""

# Built once: building them costs more than running them.
_ENDPOINT = select(Endpoint).where(col(Endpoint.place) == bindparam("at")).with_for_update()
_NEW = insert(Endpoint).on_conflict_do_nothing(index_elements=["place"])
_UPDATE = update(Endpoint).where(col(Endpoint.id) == bindparam("endpoint"))
_TRACKED = select(Tracked).where(col(Tracked.id) == bindparam("tracked"))
_LINEAGES = select(Lineage).where(col(Lineage.id).in_(bindparam("ids", expanding=True)))
_SIGHT = insert(Sighting)
_SIGHT = _SIGHT.on_conflict_do_update(
    index_elements=["endpoint_id", "tracked_id"], set_={"last_seen": _SIGHT.excluded.last_seen}
)
_FIRST_SEEN = select(col(Sighting.first_seen)).where(
    col(Sighting.endpoint_id) == bindparam("endpoint"), col(Sighting.tracked_id) == bindparam("tracked")
)
_WITH_KEY = select(col(Tracked.id)).where(col(Tracked.spki_sha256) == bindparam("key"))
_SHARING = (
    select(col(Endpoint.place))
    .where(col(Endpoint.tracked_id).in_(_WITH_KEY), col(Endpoint.id) != bindparam("endpoint"))
    .limit(MOST_SHARING)
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The rows that a sighting is about."""

    endpoint: Any
    before_id: int | None
    tracked: Any
    lineage: Any | None
    now: int


def saw(tx: Transaction, place: str, tracked_id: int, *, found_by: str, findings: Collection[str] | None = None) -> int:
    """This certificate was seen at that place, now. Returns the id of the endpoint.

    Without `findings` nobody has judged what was shown: then the place is looked at again soon, by who does.
    """
    now = clock.timestamp()
    endpoint = _endpoint(tx, place, found_by, now)
    tracked = tx.execute(_TRACKED, {"tracked": tracked_id}).one()
    lineage = _expected(tx, endpoint, tracked)
    seen = _Seen(endpoint, endpoint.tracked_id, tracked, lineage, now)
    first_seen = _sight(tx, seen)
    found = sorted({*(findings or ()), *_standing(tx, seen)})
    values = {
        "lineage_id": lineage.id if lineage is not None else None,
        "tracked_id": tracked_id,
        "findings": json.dumps(found),
        "last_seen": now,
        "last_asked": now,
        "failing_since": None,
        "last_error": None,
    }
    tx.execute(_UPDATE.values(values), {"endpoint": endpoint.id})
    if seen.before_id != tracked_id:
        _changed(tx, seen)
    elif (endpoint.last_seen or 0) < now - DAY:
        _tell_the_watch(tx, [tracked_id], now)
    if host_of(place) is not None and (findings is None or seen.before_id is None):
        at = now + SOON if findings is None else next_look(place, tracked.not_after, found, now)
        work.schedule(tx, "look", str(endpoint.id), at)
    trouble.weigh_seen(tx, endpoint, tracked, lineage, found, first_seen)
    return int(endpoint.id)


def missed(tx: Transaction, place: str, reason: str) -> int | None:
    """Nothing was seen at that place, now. Returns the id of the endpoint, if it is one that was ever seen."""
    now = clock.timestamp()
    found = tx.execute(_ENDPOINT, {"at": stored(place)}).first()
    if found is None:
        return None
    values = {"last_asked": now, "failing_since": found.failing_since or now, "last_error": one_line(reason)}
    tx.execute(_UPDATE.values(values), {"endpoint": found.id})
    return int(found.id)


def stored(place: str) -> str:
    """A place as it stands in the tables: an index takes no endless path."""
    return shown.capped(place, LONGEST_PLACE)


def _endpoint(tx: Transaction, place: str, found_by: str, now: int) -> Any:
    """The row of a place, locked; made if there is none."""
    at = stored(place)
    found = tx.execute(_ENDPOINT, {"at": at}).first()
    if found is not None:
        return found
    tx.execute(_NEW, {"place": at, "found_by": found_by, "findings": "[]", "last_asked": now})
    return tx.execute(_ENDPOINT, {"at": at}).one()


def _expected(tx: Transaction, endpoint: Any, tracked: Any) -> Any | None:
    """The lineage that belongs there: the one that we renew and that was there before, else that of what is seen."""
    wanted = list({id_ for id_ in (endpoint.lineage_id, tracked.lineage_id) if id_ is not None})
    rows = {row.id: row for row in tx.execute(_LINEAGES, {"ids": wanted})} if wanted else {}
    before = rows.get(endpoint.lineage_id)
    return before if before is not None and before.mode == RENEWED else rows.get(tracked.lineage_id)


def _sight(tx: Transaction, seen: _Seen) -> int:
    """Keep the history; returns when this certificate was first seen there."""
    ids = {"endpoint_id": seen.endpoint.id, "tracked_id": seen.tracked.id}
    tx.execute(_SIGHT, {**ids, "first_seen": seen.now, "last_seen": seen.now})
    return int(tx.execute(_FIRST_SEEN, {"endpoint": seen.endpoint.id, "tracked": seen.tracked.id}).scalar_one())


def _standing(tx: Transaction, seen: _Seen) -> Iterable[str]:
    if _is_not_the_issued(seen):
        yield NOT_THE_ISSUED
    if _shares_its_key(tx, seen):
        yield SHARED_KEY


def _is_not_the_issued(seen: _Seen) -> bool:
    """Something took its place, or it is not what we renewed last. Who has many of one name may serve any of them."""
    if seen.tracked.replaced_by is not None:
        return True
    lineage = seen.lineage
    if lineage is None or lineage.mode != RENEWED or lineage.current_id is None:
        return False
    return bool(lineage.current_id != seen.tracked.id)


def _shares_its_key(tx: Transaction, seen: _Seen) -> bool:
    """Whether another host shows the same key. Files are copies, and hosts of their own."""
    host = host_of(seen.endpoint.place)
    if seen.tracked.spki_sha256 is None or host is None:
        return False
    sharing = tx.execute(_SHARING, {"key": seen.tracked.spki_sha256, "endpoint": seen.endpoint.id})
    return any(host_of(place) not in (None, host) for place in sharing.scalars())


def host_of(place: str) -> str | None:
    """The host of an endpoint's place; a file has none."""
    kind, _, rest = place.partition(":")
    return None if kind == "file" else rest.partition("#")[0].rpartition(":")[0]


def _changed(tx: Transaction, seen: _Seen) -> None:
    """An endpoint shows another certificate than before, or its first one."""
    after, before_id = seen.tracked, seen.before_id
    _tell_the_watch(tx, [id_ for id_ in (before_id, after.id) if id_ is not None], seen.now)
    before = tx.execute(_TRACKED, {"tracked": before_id}).first() if before_id is not None else None
    if before is None:
        return
    seen_instead(tx, before.id, after.id)
    details = {"before": before.identity, "after": after.identity, "shown_as": after.shown_as}
    place = seen.endpoint.place
    owner = after.owner_id or (seen.lineage.owner_id if seen.lineage is not None else None)
    if _is_expected(before, after):
        events.record(tx, "endpoint-changed", place, f"{place} shows a successor", owner=owner, **details)
        return
    message = f"{place} shows another certificate, which is no successor of the one before"
    kind = "endpoint-changed-unexpectedly"
    events.record(tx, kind, place, message, severity="warning", owner=owner, **details)
    log.append(tx, kind, one_line(place), BY, before=before.identity, after=after.identity)


def _is_expected(before: Any, after: Any) -> bool:
    """A later one of the same lineage; to go back to an earlier one is not."""
    if before.lineage_id is None or before.lineage_id != after.lineage_id:
        return False
    return (after.not_before, after.id) > (before.not_before, before.id)


def _tell_the_watch(tx: Transaction, tracked_ids: list[int], now: int) -> None:
    """Whether something is in use decides what its end means: `renewers/timing/watch.py` is to look again."""
    tx.execute(update(Tracked).where(col(Tracked.id).in_(tracked_ids)).values(next_look=now))
