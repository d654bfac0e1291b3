"""Owners with letters on their way: what the tests of answers start with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import insert, select
from sqlmodel import col

from ca import clock
from ca.models import LedgerEntry
from ca.store import Store
from renewers.answering import links
from renewers.answering.links import Link, Purpose
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.mailing import letters
from renewers.models import Alarm, Crossing, Event, Letter, Owner, Told, Tracked, Work
from tests import rig
from tests.renewers import foreign

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
HOUR, DAY = 3600, 86400
_SERIALS = count(1000)


def lifecycle(store: Store, **choices: Any) -> Lifecycle:
    """The parts of this floor, reached by owners as ca.example.org."""
    mail = MailPolicy(link_url="https://ca.example.org:8443", **choices)
    return foreign.lifecycle(rig.make_installation(store, with_hierarchy=False), mail=mail)


def owner(life: Lifecycle, name: str, *path: str, **choices: Any) -> Owner:
    """An owner; the first one is the fallback."""
    plan = OwnerPlan(name, f"{name}@example.org", tuple(f"{one}@example.org" for one in path), **choices)
    return owners.add(life, rig.ADMIN, plan)


def certificate(life: Lifecycle, name: str, *, days: float = 20, owner_id: int | None = None, **choices: Any) -> Any:
    """A certificate of somebody else's CA, tracked; in a lineage that a person renews."""
    found = foreign.facts(f"dns:{name}", days=days, begin=AT - 10 * DAY, serial=foreign.numbered(next(_SERIALS)))
    id_ = foreign.tracked(life, found, source="imported", owner_id=owner_id, **choices)
    return row(life, Tracked, id_)


def row(life: Lifecycle, table: Any, id_: int) -> Any:
    """A row as it stands."""
    with life.store.read() as connection:
        return connection.execute(select(table).where(table.id == id_)).first()


def rows(life: Lifecycle, table: Any, *where: Any) -> Sequence[Any]:
    """Rows, oldest first."""
    with life.store.read() as connection:
        return connection.execute(select(table).where(*where).order_by(*table.__table__.primary_key)).all()


def crossing(life: Lifecycle, tracked: Any, threshold: str = "urgent", **choices: Any) -> int:
    """A threshold that it has crossed."""
    values = {
        "about": f"tracked:{tracked.id}",
        "threshold": threshold,
        "urgency": "immediate",
        "tracked_id": tracked.id,
        "lineage_id": tracked.lineage_id,
        "owner_id": None,
        "subject": tracked.shown_as,
        "message": "it ends",
        "crossed_at": AT,
        "noted_at": AT,
        "state": "open",
        "why": "",
        **choices,
    }
    new = insert(Crossing).values(**values).returning(col(Crossing.id))
    return int(life.store.write(lambda tx: tx.execute(new).scalar_one()))


def letter(
    life: Lifecycle, whose: Owner, ids: Sequence[int], *, kind: str = "urgent", key: str = "", **how: Any
) -> Any:
    """An open letter that tells of these."""
    named = {"kind": kind, "recipient": whose.email, "step": 0, "reason": "a test", **how}
    id_ = life.store.write(
        lambda tx: letters.open_letter(tx, owner=whose, crossings=ids, key=key or f"{kind}:{ids}", **named)
    )
    assert id_ is not None
    return row(life, Letter, id_)


def link(whose: Owner, about: str, *, purpose: Purpose = Purpose.ACT, recipient: str = "", letter_id: int = 7) -> Link:
    """A link as a letter to an owner carries it."""
    return Link(purpose, about, whose.id or 0, recipient or whose.email, letter_id, AT + links.LIVES[purpose])


def alarms(life: Lifecycle, kind: str) -> list[str]:
    """What alarms of a kind are about."""
    return [alarm.subject for alarm in rows(life, Alarm, col(Alarm.kind) == kind)]


def told(life: Lifecycle) -> dict[tuple[int, str], int]:
    """The sent ledger: who was told of what by which letter."""
    return {(one.crossing_id, one.recipient): one.letter_id for one in rows(life, Told)}


def events(life: Lifecycle) -> list[str]:
    """Kinds of events, in order."""
    return [one.kind for one in rows(life, Event)]


def ledger(life: Lifecycle) -> list[dict[str, Any]]:
    """The ledger's entries, in order."""
    import json

    return [json.loads(one.body) for one in rows(life, LedgerEntry)]


def work(life: Lifecycle, kind: str) -> list[str]:
    """The subjects of what is planned of a kind."""
    return [one.subject for one in rows(life, Work, col(Work.kind) == kind)]


def later(seconds: float) -> datetime:
    """A moment after NOW."""
    return clock.from_timestamp(AT + int(seconds))
