"""Rows of tracked things, lineages, sightings and renewals, written as the inventory and the renewals would."""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import SQLModel, col

from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store
from renewers.lifecycle import Lifecycle
from renewers.models import Alarm, Endpoint, Event, Lineage, Owner, Tracked
from renewers.timing.lead_time import DAY
from tests import rig

START = 1_800_000_000
_numbers = count(1)


def make_lifecycle(store: Store) -> Lifecycle:
    """The parts that the watch needs, over an open store."""
    installation = rig.make_installation(store, with_hierarchy=False)
    return Lifecycle(installation=installation, sealer=Sealer(Secret("only for tests"), bytes(16)))


def add(store: Store, model: type[SQLModel], **values: Any) -> int:
    """Insert a row and return its id."""
    statement = insert(model).values(**values).returning(model.id)  # type: ignore[attr-defined]
    return int(store.write(lambda tx: tx.execute(statement).scalar_one()))


def change(store: Store, model: type[SQLModel], id_: int, **values: Any) -> None:
    """Change a row."""
    statement = update(model).where(model.id == id_).values(**values)  # type: ignore[attr-defined]
    store.write(lambda tx: tx.execute(statement) and None)


def add_owner(store: Store, name: str = "payments", *, is_fallback: bool = False) -> int:
    """Somebody who answers for certificates."""
    words = {"name": name, "email": f"{name}@example.org", "escalation": "", "time_zone": "UTC"}
    return add(store, Owner, **words, is_fallback=is_fallback, created_at=START, created_by="test")


def add_lineage(store: Store, mode: str, **values: Any) -> int:
    """A lineage of that mode."""
    return add(store, Lineage, **lineage_columns(mode, **values))


def lineage_columns(mode: str, **values: Any) -> dict[str, Any]:
    """A row of `Lineage`."""
    number = next(_numbers)
    texts = {"names": "[]", "names_key": f"{number}", "issuers": "[]", "profile": "", "key_type": "", "window": ""}
    row = {"name": f"lineage-{number}", "mode": mode, "key_age": 0, "created_at": START, "created_by": "test"}
    return row | texts | values


def tracked_row(*, start: int = START, lifetime: int = 90 * DAY, **values: Any) -> dict[str, Any]:
    """A row of `Tracked` that has not been looked at."""
    number = next(_numbers)
    texts = {"source": "imported", "subject": f"CN=n{number}", "issuer": "CN=ca", "serial": f"{number:x}"}
    row = {
        "identity": f"sha256:{sha256(str(number).encode()).hexdigest()}",
        "kind": "certificate",
        "shown_as": f"n{number}.example.org",
        "key_type": "p256",
        "not_before": start,
        "not_after": start + lifetime - 1,
        "lineage_id": None,
        "owner_id": None,
        "replaced_by": None,
        "stage": "fine",
        "stage_since": start,
        "next_look": start,
        "recorded_at": start,
    }
    return row | texts | values


def add_tracked(store: Store, **values: Any) -> int:
    """Something tracked."""
    return add(store, Tracked, **tracked_row(**values))


def add_endpoint(store: Store, tracked_id: int, seen: int, place: str | None = None) -> int:
    """A place where it was seen then."""
    named = {"place": place or f"tls:host-{next(_numbers)}:443", "found_by": "test", "findings": "[]"}
    return add(store, Endpoint, **named, tracked_id=tracked_id, last_seen=seen, last_asked=seen)


def find(store: Store, id_: int) -> Any:
    """A row of `Tracked` as it stands."""
    with store.read() as connection:
        return connection.execute(select(Tracked).where(col(Tracked.id) == id_)).one()


def alarms_of(store: Store, id_: int | None = None) -> dict[str, str]:
    """The severity of each alarm that stands, by kind; of one tracked thing or of all."""
    query = select(Alarm) if id_ is None else select(Alarm).where(col(Alarm.subject) == find(store, id_).identity)
    with store.read() as connection:
        return {row.kind: row.severity for row in connection.execute(query)}


def messages(store: Store) -> list[str]:
    """What the alarms that stand say."""
    with store.read() as connection:
        return list(connection.execute(select(col(Alarm.message)).order_by(col(Alarm.since))).scalars())


def events_of(store: Store, *kinds: str) -> list[tuple[str, str, str]]:
    """Kind, subject and severity of events, in their order."""
    query = select(col(Event.kind), col(Event.subject), col(Event.severity)).order_by(col(Event.id))
    with store.read() as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(query) if not kinds or row[0] in kinds]


def forget_place(store: Store, endpoint_id: int) -> None:
    """Nobody looks there any more."""
    store.write(lambda tx: tx.execute(delete(Endpoint).where(col(Endpoint.id) == endpoint_id)) and None)
