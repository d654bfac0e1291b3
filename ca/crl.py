"""Certificate revocation lists: one shard of an authority at a time, and its complete list for those who load one file.

Which shard a certificate belongs to was fixed when it was issued and stands in its CDP. A revocation touches its shard
and the complete list, nothing else is rebuilt. Numbers grow strictly, whoever builds: a list is stored only over the
number that it was built after, and numbers follow the time, so that not even an old backup makes them go back. An
entry leaves when one list was signed after its certificate expired (RFC 5280 section 3.3), never before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlmodel import col

from ca import clock, listing
from ca.authority import OFFLINE, Issuer, State
from ca.errors import CertwrightError
from ca.installation import Installation
from ca.listdraft import DraftList, draw_up
from ca.models import Authority, RevocationList, RevocationListContent
from ca.signing import seal_list
from ca.store import Transaction
from ca.store.commit import StaleChange

COMPLETE = listing.COMPLETE
"""The shard number under which an authority's complete list is stored."""
THROTTLE = 20
"""A complete list is rebuilt again after at least this many times what its last build took."""


@dataclass(frozen=True, slots=True)
class CrlPolicy:
    """How long a list is good, and how often a new one is made although nothing was revoked."""

    lifetime: timedelta = timedelta(hours=72)
    refresh: timedelta = timedelta(hours=12)
    backdate: timedelta = timedelta(seconds=60)
    """For consumers whose clocks are behind: a list from their future would make them refuse everybody."""


@dataclass(frozen=True, slots=True)
class Published:
    """A list that was just made."""

    authority: str
    shard: int
    number: int
    entries: int
    size: int


@dataclass(frozen=True, slots=True)
class Status:
    """How fresh a stored list is; times in seconds since the epoch."""

    authority: str
    shard: int
    number: int
    this_update: int
    next_update: int
    due_at: int
    entries: int
    sha256: str


class StoredList(NamedTuple):
    """The newest list of a shard: when it was made, until when it is good, and its bytes, DER."""

    number: int
    this_update: int
    next_update: int
    entries: int
    sha256: bytes
    crl: bytes


class CrlPublisher:
    """Builds what is due. Several replicas may run one: the slower of two finds its work done and drops it."""

    def __init__(self, installation: Installation, policy: CrlPolicy) -> None:
        self._installation = installation
        self._policy = policy
        self._not_before: dict[str, float] = {}

    def publish_due(self, *, limit: int = 1000) -> list[Published]:
        """Rebuild the lists whose time has come or that a revocation touched; shards first, then complete lists.

        A CA whose key does not work keeps no other's lists from being made: its error is raised in the end.
        """
        done: list[Published] = []
        failed: dict[str, CertwrightError] = {}
        if (now := self._installation.timekeeper.horizon) and (ahead := self._from_the_future(now)):
            self._installation.store.write(lambda tx: _bring_back(tx, ahead, now))
        for authority, shard in self._due(limit):
            if authority in failed or (shard == COMPLETE and clock.monotonic() < self._not_before.get(authority, 0)):
                continue
            try:
                published = self._publish(authority, shard)
            except CertwrightError as error:
                failed[authority] = error
            else:
                done += [published] if published is not None else []
        for failure in failed.values():
            raise failure
        return done

    def _publish(self, authority: str, shard: int) -> Published | None:
        started = clock.monotonic()
        published = self.rebuild(self._installation.authorities.issuer(authority), shard)
        if shard == COMPLETE:
            self._not_before[authority] = started + (clock.monotonic() - started) * THROTTLE
        return published

    def _due(self, limit: int) -> list[tuple[str, int]]:
        now = clock.timestamp()
        query = (
            select(col(Authority.name), col(RevocationList.shard))
            .join(Authority, col(Authority.id) == col(RevocationList.authority_id))
            .where(col(RevocationList.due_at) <= now, col(Authority.state) != State.RETIRED)
            .where(col(Authority.not_after) > now)  # a list would end before it begins
            .where(col(Authority.key_label) != OFFLINE)  # its lists are made in ceremonies
            .order_by(col(RevocationList.shard) == COMPLETE, col(RevocationList.due_at))
            .limit(limit)
        )
        with self._installation.store.read() as connection:
            return [(row.name, row.shard) for row in connection.execute(query)]

    def _from_the_future(self, now: int) -> list[int]:
        """Authorities with a list of a time that has not come, made while a clock was ahead: consumers refuse it."""
        query = (
            select(col(Authority.id))
            .join(RevocationList, col(Authority.id) == col(RevocationList.authority_id))
            .where(col(RevocationList.this_update) > now, col(Authority.not_before) <= now)
            .where(col(Authority.state) != State.RETIRED, col(Authority.not_after) > now)
            .where(col(Authority.key_label) != OFFLINE)
            .distinct()
        )
        with self._installation.store.read() as connection:
            return [int(found) for found in connection.execute(query).scalars() if found is not None]

    def rebuild(self, issuer: Issuer, shard: int) -> Published | None:
        """Make one list anew, due or not; None if another replica was faster or a shard has to come first."""
        policy = self._policy
        draft = draw_up(
            self._installation,
            issuer,
            shard,
            lifetime=policy.lifetime,
            refresh=policy.refresh,
            backdate=policy.backdate,
        )
        return None if draft is None else publish(self._installation, draft, seal_list(draft.tbs, issuer))


def publish(installation: Installation, draft: DraftList, crl: bytes) -> Published | None:
    """Store a list that was signed; None if another one was published since it was drawn up."""
    try:
        installation.store.write(draft.keep(crl))
    except StaleChange:
        return None
    return Published(draft.authority, draft.shard, draft.number, draft.entries, len(crl))


def touch(tx: Transaction, authority_id: int, shards: Iterable[int | None]) -> int | None:
    """Make the lists that a revocation touches due at once: its shard, and the complete list.

    Returns the complete list's count of changes. Its row stays locked until the end of the transaction, so that the
    counts are in the order in which revocations are committed.
    """
    touched = {COMPLETE, *(shard for shard in shards if shard is not None)}
    counted = tx.execute(
        update(RevocationList)
        .where(col(RevocationList.authority_id) == authority_id, col(RevocationList.shard).in_(touched))
        .values(due_at=0, changes=col(RevocationList.changes) + 1)
        .returning(col(RevocationList.shard), col(RevocationList.changes))
    )
    return next((row.changes for row in counted.all() if row.shard == COMPLETE), None)


def _bring_back(tx: Transaction, authorities: Iterable[int], now: int) -> None:
    """Make the lists due at once that a clock which was ahead has made, with all that left them before its end."""
    for id_ in authorities:
        lists = col(RevocationList.authority_id) == id_, col(RevocationList.this_update) > now
        tx.execute(update(RevocationList).where(*lists).values(due_at=0))
        for table in listing.TABLES:
            left = col(table.authority_id) == id_, col(table.last_listed).is_not(None), col(table.not_after) >= now
            if shards := set(tx.execute(select(col(table.shard)).where(*left)).scalars()):
                tx.execute(update(table).where(*left).values(last_listed=None, change=touch(tx, id_, shards)))


def statuses(installation: Installation) -> list[Status]:
    """Every list of every authority that still signs lists: one that is retired or has expired makes none."""
    lists = (
        select(RevocationList, col(Authority.name))
        .join(Authority, col(Authority.id) == col(RevocationList.authority_id))
        .where(col(Authority.state) != State.RETIRED, col(Authority.not_after) > clock.timestamp())
        .order_by(col(Authority.id), col(RevocationList.shard))
    )
    columns = [lists.selected_columns[name] for name in Status.__dataclass_fields__ if name != "authority"]
    with installation.store.read() as connection:
        rows = connection.execute(lists.with_only_columns(col(Authority.name).label("authority"), *columns)).mappings()
        return [Status(**{**row, "sha256": row["sha256"].hex()}) for row in rows]


def complete_number(installation: Installation, authority: str) -> int | None:
    """The number of the newest complete list of an authority; None if it signs none any more."""
    own = (each for each in statuses(installation) if (each.authority, each.shard) == (authority, COMPLETE))
    return next((each.number for each in own), None)


def load(installation: Installation, authority: str, shard: int) -> StoredList | None:
    """The newest list of one shard, or of all (`COMPLETE`); None if there is no such list yet."""
    row_id = installation.authorities.get(authority).id
    query = _CONTENT.where(col(RevocationList.authority_id) == row_id, col(RevocationList.shard) == shard)
    with installation.store.read() as connection:
        row = connection.execute(query).first()
    return None if row is None else StoredList._make(row)


_CONTENT = (
    select(*(col(getattr(RevocationList, name)) for name in StoredList._fields[:-1]), col(RevocationListContent.crl))
    .join(RevocationListContent, listing.CONTENT_OF_LIST)
    .order_by(col(RevocationList.shard))
)


def overdue(status: Status, now: int) -> bool:
    """Whether consumers of this list are about to refuse, or already refuse, everybody: an alarm, not a colour."""
    return status.number == 0 or status.next_update <= now


def count_entries(installation: Installation) -> int:
    """How many revocations are listed at present."""
    with installation.store.read() as connection:
        counts = (
            select(func.count()).select_from(table).where(col(table.last_listed).is_(None)) for table in listing.TABLES
        )
        return sum(connection.execute(query).scalar_one() for query in counts)
