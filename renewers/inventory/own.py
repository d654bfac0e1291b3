"""Our own CAs, the CRLs that they have to publish, and the trust bundle are tracked like everything else that ends.

An authority is one row, its CRLs are one row that ends when the first of its lists does, and the bundle ends with its
first member. Looking costs three short queries; something is written only where something has changed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import func, select
from sqlmodel import col

from ca import clock
from ca.authority import TRUSTED, State
from ca.models import Authority, RevocationList
from ca.store import Store, Transaction
from renewers.inventory.facts import AUTHORITY, BUNDLE, LIST, Facts, read_certificate
from renewers.inventory.joining import OWN, Entry
from renewers.inventory.succession import ENDED
from renewers.inventory.track import end, track_many
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked

FIRST = 3600
"""Seconds after which a new CA has to have its first list."""
ROOTS = "bundle:roots"

_read = lru_cache(maxsize=256)(read_certificate)


def catch_up(lifecycle: Lifecycle) -> int:
    """Track what is new, move what has moved, end what is retired. Returns how many rows have changed."""
    authorities = lifecycle.installation.authorities.all()
    standing = [row for row in authorities if row.state != State.RETIRED]
    wanted = [_authority(row) for row in standing]
    wanted += _lists(lifecycle.store, [row for row in standing if row.not_after > clock.timestamp()])
    roots = [row for row in standing if row.parent_id is None and row.state in TRUSTED]
    if roots:
        wanted.append(_bundle(roots))
    tracked = {facts.identity for facts in wanted}
    over = {_read(row.certificate).identity for row in authorities} | {f"crl:own/{row.name}" for row in authorities}
    over = (over | {ROOTS}) - tracked
    with lifecycle.store.read() as connection:
        known = {row.identity: row for row in connection.execute(_rows(tracked | over))}
    changed = [Entry(facts, OWN) for facts in wanted if _is_news(facts, known.get(facts.identity))]
    ended = [known[identity].id for identity in sorted(over) if identity in known and known[identity].stage != ENDED]
    if not changed and not ended:
        return 0

    def unit(tx: Transaction) -> int:
        track_many(tx, changed)
        end(tx, ended)
        return len(changed) + len(ended)

    return lifecycle.store.write(unit)


def _rows(identities: set[str]) -> Any:
    return select(Tracked).where(col(Tracked.identity).in_(identities))


def _is_news(facts: Facts, row: Any) -> bool:
    if row is None or row.source != OWN:
        return True
    if facts.kind == AUTHORITY:
        return False
    return row.stage == ENDED or (facts.not_before, facts.not_after, facts.shown_as) != (
        row.not_before,
        row.not_after,
        row.shown_as,
    )


def _authority(row: Authority) -> Facts:
    facts = _read(row.certificate)
    return _made(facts, identity=facts.identity, kind=AUTHORITY, shown_as=f"CA {row.name}")


def _lists(store: Store, authorities: list[Authority]) -> list[Facts]:
    """The lists of each authority as one: it begins and ends with the first of them."""
    columns = (
        col(RevocationList.authority_id),
        func.min(col(RevocationList.number)).label("number"),
        func.min(col(RevocationList.this_update)).label("begin"),
        func.min(col(RevocationList.next_update)).label("end"),
    )
    with store.read() as connection:
        rows = connection.execute(select(*columns).group_by(col(RevocationList.authority_id))).all()
    lists = {row.authority_id: row for row in rows}
    return [_list(row, lists[row.id]) for row in authorities if row.id in lists]


def _list(row: Authority, found: Any) -> Facts:
    begin, over = (found.begin, found.end) if found.number else (row.created_at, row.created_at + FIRST)
    facts = _read(row.certificate)
    shown_as = f"CRLs of {row.name}"
    return Facts(
        *(f"crl:own/{row.name}", LIST, shown_as, "", facts.subject, "", None, ""),
        *(begin, over, (), b""),
    )


def _bundle(roots: list[Authority]) -> Facts:
    """The trust anchors in force: what relying parties hold ends with the first of them."""
    first = min(roots, key=lambda row: (row.not_after, row.name))
    count = "1 root" if len(roots) == 1 else f"{len(roots)} roots"
    shown_as = f"trust bundle of {count}, {first.name} ends first"
    return Facts(ROOTS, BUNDLE, shown_as, "", "", "", None, "", first.not_before, first.not_after, (), b"")


def _made(facts: Facts, *, identity: str, kind: str, shown_as: str) -> Facts:
    return Facts(
        *(identity, kind, shown_as, facts.subject, facts.issuer, facts.serial, facts.spki_sha256, facts.key_type),
        *(facts.not_before, facts.not_after, facts.names, facts.der),
    )
