"""Who holds what: one row a consumer and stream, from the moment that the consumer is added.

The rows are made and dropped here with what a consumer needs, marked as sent by `spreading.py`, and get better in
`acknowledging.prove` alone. A version that was sent is not one that is held: rotations wait for those that `lacking`
names. Versions of a stream only grow, and whoever was proved to hold one needs no proof of those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, func, insert, or_, select, update
from sqlmodel import col

from ca import clock
from ca.store import Store, Transaction
from renewers import work
from renewers.distribution import published
from renewers.distribution.places import PULL
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Consumer, Holding, Publication, Rotation
from renewers.telling import alarms

ACTIVE, PAUSED = "active", "paused"
"""A consumer's states: it is brought what it lacks, or a person has said to leave it alone."""
UNREACHABLE_ALARM, STALE_ALARM, REFUSES_ALARM = "consumer-unreachable", "consumer-stale", "consumer-refuses"
MOST_COUNTED = 1000
"""Versions that somebody is behind by are counted up to here."""

_IS_ITS: Any = and_(col(Holding.consumer_id) == bindparam("whose"), col(Holding.stream) == bindparam("of_stream"))
_ITS = select(Holding).where(col(Holding.consumer_id) == bindparam("whose")).order_by(col(Holding.stream))
_SENT = (
    update(Holding)
    .where(_IS_ITS, col(Holding.sent_version) < bindparam("to_version"))
    .values(sent_version=bindparam("to_version"), sent_at=bindparam("now"))
)
_BEHIND = (
    select(col(Publication.version), col(Publication.published_at))
    .where(col(Publication.stream) == bindparam("of_stream"), col(Publication.version) > bindparam("than"))
    .order_by(col(Publication.version))
    .limit(MOST_COUNTED)
)
_OPEN = select(col(Rotation.id)).where(col(Rotation.state) == "open").order_by(col(Rotation.id))


@dataclass(frozen=True, slots=True)
class Lacking:
    """A consumer that was not proved to hold a version, and that a rotation has to wait for."""

    consumer_id: int
    name: str
    owner_id: int | None
    stream: str
    held_version: int
    sent_version: int
    since: int
    """Since when it could hold it: when that was published, or the consumer was added."""
    why: str


@dataclass(frozen=True, slots=True)
class Age:
    """What a consumer holds of one stream, and how old that is."""

    stream: str
    newest_version: int
    sent_version: int
    held_version: int
    behind: int
    """How many versions were published since the one it holds, up to `MOST_COUNTED`."""
    behind_seconds: int
    """How long ago the first of these was published; 0 if it holds the newest."""
    sent_at: int | None
    held_since: int | None
    proved_at: int | None
    proved_by: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How the consumers of one stream stand."""

    consumers: int
    current: int
    """Those that were proved to hold the newest version."""
    never: int
    """Those that were never proved to hold any."""
    behind_seconds: int
    """How long ago the first version was published that somebody does not hold, though he holds one before it."""


def assign(tx: Transaction, consumer_id: int, streams: Sequence[str]) -> None:
    """Make the rows of a consumer those of the streams that it needs; what it holds of those that stay, it holds."""
    has = {row.stream for row in tx.execute(_ITS, {"whose": consumer_id})}
    of_it = col(Holding.consumer_id) == consumer_id
    if has - set(streams):
        tx.execute(delete(Holding).where(of_it, col(Holding.stream).not_in(streams)))
    fresh = {"sent_version": 0, "held_version": 0, "proved_by": "", "reported_at": 0}
    rows = [{"consumer_id": consumer_id, "stream": one, **fresh} for one in streams if one not in has]
    if rows:
        tx.execute(insert(Holding), rows)


def forget_sent(tx: Transaction, consumer_id: int, *, with_proof: bool) -> None:
    """Have everything sent again; `with_proof`, too, where it is another place now, of which nothing was proved."""
    values: dict[str, Any] = {"sent_version": 0, "sent_at": None}
    if with_proof:
        values |= {"held_version": 0, "held_since": clock.timestamp(), "proved_at": None, "proved_by": ""}
    tx.execute(update(Holding).where(col(Holding.consumer_id) == consumer_id).values(**values))


def mark_sent(tx: Transaction, consumer_id: int, versions: Mapping[str, int]) -> None:
    """These versions were brought to it, or lie ready for it; a newer one that was stays."""
    now = clock.timestamp()
    for stream, version in sorted(versions.items()):
        tx.execute(_SENT, {"whose": consumer_id, "of_stream": stream, "to_version": version, "now": now})


def clear_alarms(tx: Transaction, name: str, streams: Sequence[str], *, is_gone: bool = False) -> None:
    """Take back a consumer's alarms about streams that it does not need any more; all of them, if it is gone."""
    query = select(col(Alarm.kind), col(Alarm.subject)).where(col(Alarm.kind).startswith("consumer-"))
    about = or_(col(Alarm.subject) == name, col(Alarm.subject).startswith(f"{name}/", autoescape=True))
    for row in tx.execute(query.where(about)).all():
        of_stream = row.subject.partition("/")[2]
        if is_gone or (of_stream and of_stream not in streams):
            alarms.clear_alarm(tx, row.kind, row.subject)


def of(connection: Connection, consumer_id: int) -> Sequence[Any]:
    """The rows of one consumer, by stream."""
    return connection.execute(_ITS, {"whose": consumer_id}).all()


def hurry_rotations(tx: Transaction) -> None:
    """Have open rotations look again now: what they may be waiting for has changed."""
    for rotation_id in tx.execute(_OPEN).scalars().all():
        work.hurry(tx, "rotate", str(rotation_id))


def lacking(lifecycle: Lifecycle, stream: str, version: int) -> list[Lacking]:
    """Gating consumers that need a stream and were not proved to hold `version` or a later one, by name."""
    first = select(func.min(col(Publication.published_at))).where(
        col(Publication.stream) == stream, col(Publication.version) >= version
    )
    with lifecycle.store.read(snapshot=True) as connection:
        published_at = connection.execute(first).scalar()
        rows = connection.execute(_lacking(stream, version)).all()
    at = clock.timestamp() if published_at is None else int(published_at)
    return [
        Lacking(
            consumer_id=row.id,
            name=row.name,
            owner_id=row.owner_id,
            stream=stream,
            held_version=row.held_version,
            sent_version=row.sent_version,
            since=max(at, row.created_at),
            why=why(row, version),
        )
        for row in rows
    ]


def why(row: Any, version: int) -> str:
    """Why a consumer does not hold a version, as far as is known; `row` is one of `standing`."""
    if row.refusal is not None:
        return str(row.refusal)
    if row.failing_since is not None:
        return f"it is not reached: {row.last_error}"
    if row.state == PAUSED:
        return "it is paused"
    if row.sent_version < version:
        return "it was not brought there yet"
    how = "it lies ready to be fetched" if row.publisher == PULL else "it was brought there"
    return f"{how}, and " + ("nothing was ever acknowledged" if row.held_version == 0 else "was not acknowledged")


def standing(*more: Any) -> Select[*tuple[Any, ...]]:
    """Consumers with each stream of theirs, what they hold of it, and whether they have refused something of it."""
    about = (col(Consumer.id), col(Consumer.name), col(Consumer.owner_id), col(Consumer.publisher))
    state = (col(Consumer.state), col(Consumer.failing_since), col(Consumer.last_error), col(Consumer.created_at))
    held = (col(Holding.stream), col(Holding.held_version), col(Holding.sent_version), col(Holding.held_since))
    is_of_it = and_(
        col(Alarm.kind) == REFUSES_ALARM, col(Alarm.subject) == col(Consumer.name) + "/" + col(Holding.stream)
    )
    query: Select[*tuple[Any, ...]] = (
        select(*about, *state, *held, col(Alarm.message).label("refusal"), *more)
        .select_from(Holding)
        .join(Consumer, col(Consumer.id) == col(Holding.consumer_id))
        .outerjoin(Alarm, is_of_it)
    )
    return query


def ages(connection: Connection, consumer_ids: Sequence[int]) -> Mapping[int, list[Age]]:
    """What each of these consumers holds of each of its streams, and how old it is."""
    query = select(Holding).where(col(Holding.consumer_id).in_(consumer_ids)).order_by(col(Holding.stream))
    rows = connection.execute(query).all()
    heads = published.heads(connection, [row.stream for row in rows])
    behind = _behind(connection, ((row.stream, row.held_version) for row in rows))
    found: dict[int, list[Age]] = {}
    for row in rows:
        head, (count, seconds) = heads.get(row.stream), behind[row.stream, row.held_version]
        age = Age(
            stream=row.stream,
            newest_version=0 if head is None else head.version,
            behind=count,
            behind_seconds=seconds,
            **{name: getattr(row, name) for name in _AS_IT_IS},
        )
        found.setdefault(row.consumer_id, []).append(age)
    return found


_AS_IT_IS = ("sent_version", "held_version", "sent_at", "held_since", "proved_at", "proved_by")


def counts(store: Store) -> Mapping[str, Counts]:
    """How the consumers of each stream stand, for metrics."""
    found = {}
    held = col(Holding.held_version)
    oldest = select(col(Holding.stream), func.min(held)).where(held > 0).group_by(col(Holding.stream))
    with store.read() as connection:
        oldest_held = {row[0]: row[1] for row in connection.execute(oldest)}
        by_version = select(col(Holding.stream), held, func.count()).group_by(col(Holding.stream), held)
        rows = connection.execute(by_version).all()
        heads = published.heads(connection, [row.stream for row in rows])
        behind = _behind(connection, oldest_held.items())
    for stream in sorted({row.stream for row in rows}):
        of_it = [(version, count) for its, version, count in rows if its == stream]
        newest = heads[stream].version if stream in heads else 0
        found[stream] = Counts(
            consumers=sum(count for _, count in of_it),
            current=sum(count for version, count in of_it if version >= newest > 0),
            never=sum(count for version, count in of_it if version == 0),
            behind_seconds=behind[stream, oldest_held[stream]][1] if stream in oldest_held else 0,
        )
    return found


def _lacking(stream: str, version: int) -> Select[*tuple[Any, ...]]:
    too_old = (col(Holding.stream) == stream, col(Holding.held_version) < version)
    return standing().where(*too_old, col(Consumer.gates)).order_by(col(Consumer.name))


def _behind(connection: Connection, held: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], tuple[int, int]]:
    """How many versions were published since each, and how long ago the first of them; looked up once each."""
    found, now = {}, clock.timestamp()
    for stream, version in set(held):
        rows = connection.execute(_BEHIND, {"of_stream": stream, "than": version}).all()
        found[stream, version] = (len(rows), max(now - int(rows[0].published_at), 0) if rows else 0)
    return found
