"""What is still alive beneath a CA: leaves that somebody holds, places that serve one, destinations not yet reached.

A leaf is alive until it expires, is revoked, or is replaced. That another certificate of the same names exists is no
proof of that where holders renew by themselves: two replicas of a workload share their names, and that one of them has
a new certificate says nothing of the other. There, only a renewal of this very certificate counts, or its end. Where
we renew, the old one counts until no place serves it and no destination waits for the new one. Leaves of our own
signer and probes do not count: what they are for is looked at itself, where it matters (`evidence.withdrawn`), and that
an old CA is trusted no more can only be seen with a leaf of it.

Nothing here reads more than it says: leaves by the index of their issuer, from where the last look has stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import col

from ca import certificates, clock
from ca.models import Authority, Certificate, Fact, LedgerEntry, Revocation
from ca.publication.signer import CALLER as SIGNER
from renewers.distribution.leaves import PROBER
from renewers.inventory import issued
from renewers.inventory.facts import CERTIFICATE, read_certificate
from renewers.inventory.joining import HOLDER
from renewers.inventory.succession import ENDED
from renewers.lifecycle import Lifecycle
from renewers.models import Destination, Endpoint, Lineage, Tracked

OURS = "system:"
"""Who asks for leaves of our own machinery, each of which is replaced in one place by whoever holds it."""
TOOLS = (SIGNER.identity, PROBER.identity)
"""Who asks for leaves that show something and let nobody in."""
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Leaf:
    """A live leaf: its place in the inventory, what people call it, its serial number and when it ends."""

    id: int
    shown_as: str
    serial: str
    not_after: int


def issuers_of(rows: Collection[Authority]) -> list[str]:
    """The names by which the inventory knows these CAs as issuers: each generation has one of its own."""
    return sorted({read_certificate(row.certificate).subject for row in rows})


def live(connection: Connection, issuers: Sequence[str], *, after: int = 0, limit: int = SHOWN) -> list[Leaf]:
    """The first live leaves of these issuers after a place in the inventory."""
    columns = (col(Tracked.id), col(Tracked.shown_as), col(Tracked.serial), col(Tracked.not_after))
    query = joined(*columns).where(is_alive(issuers, clock.timestamp()), col(Tracked.id) > after)
    rows = connection.execute(query.order_by(col(Tracked.id)).limit(limit)).all()
    return [Leaf(*row) for row in rows]


def count(connection: Connection, issuers: Sequence[str], *, after: int = 0, most: int = 10_000) -> int:
    """How many live leaves there are after a place, counted up to `most`."""
    query = joined(col(Tracked.id)).where(is_alive(issuers, clock.timestamp()), col(Tracked.id) > after)
    return connection.execute(select(func.count()).select_from(query.limit(most).subquery())).scalar_one()


def joined(*columns: Any) -> Select[Any]:
    """Tracked certificates with their lineage and, if they are ours, what our CA knows of them."""
    return (
        select(*columns)
        .select_from(Tracked)
        .outerjoin(Lineage, col(Lineage.id) == col(Tracked.lineage_id))
        .outerjoin(Certificate, col(Certificate.serial) == col(Tracked.serial))
        .outerjoin(Revocation, certificates.is_revoked_for_good(Tracked.serial))
    )


def is_alive(issuers: Sequence[str], now: int) -> ColumnElement[bool]:
    """The condition on `joined`."""
    return and_(col(Tracked.issuer).in_(issuers), is_standing(now))


def is_standing(now: int) -> ColumnElement[bool]:
    """The same, whoever has issued it."""
    return and_(
        col(Tracked.kind) == CERTIFICATE,
        col(Tracked.not_after) >= now,
        col(Tracked.stage) != ENDED,
        col(Revocation.serial).is_(None),
        _asked_by().not_in(TOOLS),
        or_(col(Tracked.replaced_by).is_(None), and_(_renews_itself(), ~_was_renewed())),
    )


def _renews_itself() -> ColumnElement[bool]:
    by_holder = func.coalesce(col(Lineage.mode), "") == HOLDER
    return and_(by_holder, _asked_by().not_like(f"{OURS}%"))


def _asked_by() -> ColumnElement[str]:
    return func.coalesce(col(Certificate.requested_by), "")


def _was_renewed() -> ColumnElement[bool]:
    """Whether a younger certificate of its lineage renews this very one."""
    younger, said = aliased(Tracked), aliased(Certificate)
    return (
        select(col(younger.id))
        .join(said, col(said.serial) == col(younger.serial))
        .where(col(younger.lineage_id) == col(Tracked.lineage_id), col(younger.id) > col(Tracked.id))
        .where(col(said.renews) == col(Tracked.serial))
        .correlate(Tracked)
        .exists()
    )


def still_served(connection: Connection, issuers: Sequence[str], limit: int = SHOWN) -> list[str]:
    """Places where a leaf of these issuers was seen last that has not expired, whatever has replaced it."""
    query = (
        select(col(Endpoint.place))
        .join(Tracked, col(Tracked.id) == col(Endpoint.tracked_id))
        .where(*_unexpired(issuers), col(Tracked.stage) != ENDED)
        .order_by(col(Endpoint.place))
    )
    return list(connection.execute(query.limit(limit)).scalars())


def undelivered(connection: Connection, issuers: Sequence[str], limit: int = SHOWN) -> list[str]:
    """Destinations where a leaf of these issuers was committed last that has not expired."""
    query = (
        select(col(Destination.name))
        .join(Tracked, col(Tracked.id) == col(Destination.delivered_id))
        .where(*_unexpired(issuers), col(Tracked.stage) != ENDED)
        .order_by(col(Destination.name))
    )
    return list(connection.execute(query.limit(limit)).scalars())


def _unexpired(issuers: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return col(Tracked.issuer).in_(issuers), col(Tracked.not_after) >= clock.timestamp()


def newest_entry(connection: Connection) -> int:
    """The newest entry of the ledger: everything that was issued before now stands up to there."""
    return int(connection.execute(select(func.max(col(LedgerEntry.id)))).scalar() or 0)


def is_behind(lifecycle: Lifecycle, entry: int) -> bool:
    """Whether something that was issued up to that entry of the ledger may not be in the inventory yet."""
    issued.catch_up(lifecycle)
    with lifecycle.store.read(snapshot=True) as connection:
        cursor = connection.execute(select(col(Fact.value)).where(col(Fact.name) == issued.CURSOR)).scalar()
        unread = col(LedgerEntry.position) >= int(cursor or 0)
        placed = select(col(LedgerEntry.id)).where(unread, col(LedgerEntry.id) <= entry).limit(1)
        return connection.execute(placed).first() is not None
