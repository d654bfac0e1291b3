"""Writing down what exists: one row for everything that ends, with its names, its bytes and its lineage.

Tracking the same thing again changes nothing, except that a better source counts (what a scan found may turn out to be
ours). A CRL or a bundle has one row that moves with it. Many at once cost few statements. Read `joining` and
`succession` for the lineages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlmodel import col

from ca import clock
from ca.ledger import log
from ca.store import Transaction
from renewers.inventory import answering
from renewers.inventory.facts import BUNDLE, LIST, Facts, successor_key
from renewers.inventory.joining import BY_US, ISSUED, OWN, RANKS, RENEWED, Entry, insert_new, join
from renewers.inventory.succession import ENDED, forget_empty, seen_instead, settle
from renewers.models import Endpoint, Lineage, Tracked, TrackedContent, TrackedName

__all__ = ["Entry", "end", "seen_instead", "track", "track_many"]

FINE = "fine"
NEVER_DUE_BEFORE = 0.4
"""The part of a life in which nothing comes due: half of it, less the jitter (`renewers/timing/lead_time.py`).

With `renewals.fraction` set below it, a stage that nobody acts on is written down later than it begins, and no more.
"""
BY = "system:inventory"
_QUIET = (ISSUED, BY_US)
"""Sources whose own ledger entries say it already: `certificate-issued`, `certificate-renewed`."""
_KNOWN = (
    *(col(Tracked.id), col(Tracked.identity), col(Tracked.source), col(Tracked.lineage_id), col(Tracked.owner_id)),
    *(col(Tracked.not_before), col(Tracked.not_after), col(Tracked.shown_as), col(Tracked.stage)),
)


_RENAME = (
    update(Lineage)
    .where(col(Lineage.id) == bindparam("of"), col(Lineage.mode) != RENEWED)
    .where(col(Lineage.names_key) != bindparam("key"))
    .values(names=bindparam("texts"), names_key=bindparam("key"))
)


def track(
    tx: Transaction,
    facts: Facts,
    *,
    source: str,
    lineage_id: int | None = None,
    owner_id: int | None = None,
    chain: str = "",
    by: str = BY,
) -> int:
    """Make sure that this is tracked; returns the id of its row. `chain` is PEM, from its issuer upwards."""
    return track_many(tx, [Entry(facts, source, lineage_id, owner_id, chain)], by=by)[0]


def track_many(tx: Transaction, entries: Sequence[Entry], *, by: str = BY) -> list[int]:
    """The same for many at once: the ids of their rows, in their order."""
    wanted: dict[str, Entry] = {}
    for entry in entries:  # the same certificate may come from several places in one go
        known = wanted.get(entry.facts.identity)
        if known is None or RANKS[entry.source] > RANKS[known.source]:
            wanted[entry.facts.identity] = entry
    before = _known(tx, wanted)
    fresh = [entry for identity, entry in wanted.items() if identity not in before]
    touched = _insert(tx, fresh, by) if fresh else set()
    again, changed = _again(tx, [(before[identity], entry) for identity, entry in wanted.items() if identity in before])
    settle(tx, touched | again)
    after = before if not fresh else _known(tx, wanted)
    answering.settle(tx, changed | {after[entry.facts.identity].id for entry in fresh})  # their lineages are ours now
    return [after[entry.facts.identity].id for entry in entries]


def end(tx: Transaction, ids: Sequence[int]) -> int:
    """Nobody waits for the end of these any more: revoked, given up, out of use. Returns how many are new to that."""
    if not ids:
        return 0
    found = select(col(Tracked.id), col(Tracked.lineage_id))
    rows = tx.execute(found.where(col(Tracked.id).in_(ids), col(Tracked.stage) != ENDED)).all()
    if rows:
        over = {"stage": ENDED, "stage_since": clock.timestamp(), "next_look": clock.timestamp()}
        tx.execute(update(Tracked).where(col(Tracked.id).in_([row.id for row in rows])).values(**over))
        settle(tx, {row.lineage_id for row in rows if row.lineage_id is not None})
    return len(rows)


def _known(tx: Transaction, identities: Iterable[str]) -> dict[str, Any]:
    query = select(*_KNOWN).where(col(Tracked.identity).in_(list(identities)))
    return {row.identity: row for row in tx.execute(query)}


def _insert(tx: Transaction, fresh: Sequence[Entry], by: str) -> set[int]:
    """Insert what is new; returns the lineages that it belongs to."""
    lineages = join(tx, fresh)
    _rename(tx, fresh, lineages)
    insert_new(tx, Tracked, [_row(entry, place) for entry, place in zip(fresh, lineages, strict=True)])
    ids = {identity: row.id for identity, row in _known(tx, [entry.facts.identity for entry in fresh]).items()}
    names = sorted((name, ids[entry.facts.identity]) for entry in fresh for name in entry.facts.names)
    insert_new(tx, TrackedName, [{"name": name, "tracked_id": id_} for name, id_ in names])
    kept = [entry for entry in fresh if entry.source != ISSUED and entry.facts.der]
    insert_new(tx, TrackedContent, [_content(ids[entry.facts.identity], entry) for entry in kept])
    for entry in fresh:
        if entry.source not in _QUIET:
            _say(tx, entry, by)
    return {place for place in lineages if place is not None}


def _rename(tx: Transaction, fresh: Sequence[Entry], lineages: Sequence[int | None]) -> None:
    """A renewal may have other names than what it renews: then successors are known by the new ones."""
    following = [
        (place, entry.facts) for entry, place in zip(fresh, lineages, strict=True) if entry.follows is not None
    ]
    newest: dict[int, Facts] = {}
    for place, facts in following:
        if place is not None and (place not in newest or facts.not_before >= newest[place].not_before):
            newest[place] = facts
    changes = [
        {"of": place, "key": successor_key(facts), "texts": json.dumps(facts.names)} for place, facts in newest.items()
    ]
    if changes:
        tx.execute(_RENAME, sorted(changes, key=lambda change: change["of"]))


def _again(tx: Transaction, known: Sequence[tuple[Any, Entry]]) -> tuple[set[int], set[int]]:
    """What is tracked already: it moves if it is a list or a bundle, and a better source counts.

    Returns the lineages that this touches, and the rows that are another's now, perhaps.
    """
    touched, changed, left = set[int](), set[int](), set[int]()
    for row, entry in known:
        if entry.facts.kind in (LIST, BUNDLE):
            _move(tx, row, entry)
            continue
        changes: dict[str, Any] = {}
        if RANKS[entry.source] >= RANKS[row.source]:
            if entry.source != row.source:
                changes["source"] = entry.source
            if entry.lineage_id is not None and entry.lineage_id != row.lineage_id:
                changes |= {"lineage_id": entry.lineage_id, "replaced_by": None}
                moved = update(Endpoint).where(col(Endpoint.tracked_id) == row.id)
                tx.execute(moved.values(lineage_id=entry.lineage_id))
                left |= set() if row.lineage_id is None else {row.lineage_id}
        if entry.owner_id is not None and row.owner_id is None:
            changes["owner_id"] = entry.owner_id
        if changes:
            changes["next_look"] = clock.timestamp()
            tx.execute(update(Tracked).where(col(Tracked.id) == row.id).values(**changes))
            touched |= {place for place in (row.lineage_id, changes.get("lineage_id")) if place is not None}
            if row.source == ISSUED and "source" in changes:
                insert_new(tx, TrackedContent, [_content(row.id, entry)])
            changed.add(row.id)
        if entry.is_over:
            end(tx, [row.id])
    forget_empty(tx, left)
    return touched, changed


def _move(tx: Transaction, row: Any, entry: Entry) -> None:
    """The next CRL, or bundle, in the row of the one before; an older one changes nothing."""
    facts = entry.facts
    if facts.not_before < row.not_before and entry.source != OWN:
        return
    if (facts.not_before, facts.not_after, facts.shown_as) == (row.not_before, row.not_after, row.shown_as):
        if row.stage != ENDED:
            return
    now = clock.timestamp()
    stage = {"stage": FINE, "stage_since": now} if row.stage == ENDED else {}
    changes = {"not_before": facts.not_before, "not_after": facts.not_after, "serial": facts.serial}
    moved = update(Tracked).where(col(Tracked.id) == row.id)
    tx.execute(moved.values(**changes, **stage, shown_as=facts.shown_as, issuer=facts.issuer, next_look=now))
    if facts.der:
        tx.execute(delete(TrackedContent).where(col(TrackedContent.tracked_id) == row.id))
        tx.execute(insert(TrackedContent).values(**_content(row.id, entry)))


def _row(entry: Entry, lineage_id: int | None) -> dict[str, Any]:
    facts, now = entry.facts, clock.timestamp()
    return {
        "identity": facts.identity,
        "kind": facts.kind,
        "source": entry.source,
        "shown_as": facts.shown_as,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "spki_sha256": facts.spki_sha256,
        "key_type": facts.key_type,
        "not_before": facts.not_before,
        "not_after": facts.not_after,
        "lineage_id": lineage_id,
        "owner_id": entry.owner_id,
        "stage": ENDED if entry.is_over else FINE,
        "stage_since": now,
        "next_look": None if entry.is_over else _first_look(entry, now),
        "recorded_at": now,
    }


def _first_look(entry: Entry, now: int) -> int:
    """When the watch looks for the first time: now, but at what we have just issued when it may first come due.

    Nothing is wrong with it before, and a busy CA issues far more than it is worth looking at twice.
    """
    if entry.source != ISSUED:
        return now
    facts = entry.facts
    return max(now, facts.not_before + int((facts.not_after - facts.not_before) * NEVER_DUE_BEFORE))


def _content(tracked_id: int, entry: Entry) -> Mapping[str, Any]:
    return {"tracked_id": tracked_id, "der": entry.facts.der, "chain": entry.chain}


def _say(tx: Transaction, entry: Entry, by: str) -> None:
    facts = entry.facts
    details = {"shown_as": facts.shown_as, "kind": facts.kind, "source": entry.source, "not_after": facts.not_after}
    log.append(tx, "certificate-tracked", facts.identity, by, **details, owner=entry.owner_id)
