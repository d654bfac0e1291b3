"""Acknowledgements: somebody knows that something is about to end, and takes care of it until a day, for a reason.

Until that day it is left out of letters and escalates to nobody. It ends by itself: on its day, which is never after
the end of what it is about, or when a newer certificate has come. That something has expired is told all the same. One
about a certificate that has a lineage is about the lineage. Who may answer by a letter's link: `answers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import BadRequest, Conflict
from ca.ledger import log
from ca.store import Transaction
from renewers.inventory.finding import find_lineage, find_tracked
from renewers.inventory.joining import HOLDER
from renewers.inventory.succession import ENDED
from renewers.lifecycle import Lifecycle
from renewers.models import Acknowledged, Lineage, Tracked
from renewers.plain import one_line
from renewers.telling import events

DAY = 86400
LONGEST = 90 * DAY
MAX_REASON = 300
MAX_PAGE = 500
PAGE = 500


@dataclass(frozen=True, slots=True)
class Matter:
    """What an acknowledgement is about: its key in the table, what people call it, and when it ends, if it does."""

    about: str
    subject: str
    end: int | None
    tracked_id: int | None
    lineage_id: int | None


def about_of(row: Any) -> str:
    """The key of what a row of `Tracked` (or of `Crossing`: anything with a lineage) is acknowledged under."""
    if row.lineage_id is not None:
        return f"lineage:{row.lineage_id}"
    return f"tracked:{row.id if hasattr(row, 'not_after') else row.tracked_id}"


def acknowledge(lifecycle: Lifecycle, caller: Caller, what: str, until: int, reason: str) -> Acknowledged:
    """Say that somebody takes care of it until then. A newer one takes an older one's place.

    `what` is `lineage:NAME`, or names something tracked as everywhere. `BadRequest` if `until` is in the past, after
    the end of it, or more than 90 days ahead; `Conflict` if there is nothing to take care of.
    """
    return acknowledge_named(lifecycle, caller, what, until, reason)[0]


def acknowledge_named(
    lifecycle: Lifecycle, caller: Caller, what: str, until: int, reason: str
) -> tuple[Acknowledged, str]:
    """The same, with what people call that which it is about."""
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> tuple[Acknowledged, str]:
        matter = find(tx.connection, what)
        return settle(tx, caller, matter, until, reason), matter.subject

    return lifecycle.store.write(unit)


def settle(tx: Transaction, caller: Caller, matter: Matter, until: int, reason: str) -> Acknowledged:
    """The same in a transaction, for whoever has checked that the caller may."""
    now = clock.timestamp()
    said = _reason(reason)
    _check(matter, until, now)
    row = Acknowledged(about=matter.about, until=until, reason=said, by=caller.identity, at=now)
    values = row.model_dump()
    new = insert(Acknowledged).values(**values)
    tx.execute(new.on_conflict_do_update(index_elements=["about"], set_=values))
    log.append(tx, "acknowledged", matter.subject, caller.identity, about=matter.about, until=until, reason=said)
    message = f"somebody takes care of {matter.subject} until {clock.from_timestamp(until):%Y-%m-%d %H:%M} UTC: {said}"
    details = {"about": matter.about, "reason": said, "by": caller.identity}
    events.record(tx, "acknowledged", matter.subject, message, until=until, **details)
    return row


def withdraw(lifecycle: Lifecycle, caller: Caller, what: str) -> bool:
    """Take it back: letters about it are written again. False if there was none."""
    caller.must(Operation.MANAGE_INVENTORY)

    def unit(tx: Transaction) -> bool:
        matter = find(tx.connection, what, is_open=False)
        gone = tx.execute(delete(Acknowledged).where(col(Acknowledged.about) == matter.about)).rowcount
        if gone:
            log.append(tx, "acknowledgement-withdrawn", matter.subject, caller.identity, about=matter.about)
            message = f"nobody says any more that they take care of {matter.subject}"
            by = caller.identity
            events.record(tx, "acknowledgement-withdrawn", matter.subject, message, about=matter.about, by=by)
        return gone > 0

    return lifecycle.store.write(unit)


def standing(connection: Connection, abouts: Iterable[str], now: int) -> Mapping[str, Acknowledged]:
    """Those of these that are acknowledged at `now`, by their keys (`about_of`)."""
    wanted, found = sorted(set(abouts)), {}
    for start in range(0, len(wanted), PAGE):
        of = col(Acknowledged.about).in_(wanted[start : start + PAGE]), col(Acknowledged.until) > now
        for row in connection.execute(select(Acknowledged).where(*of)):
            found[row.about] = Acknowledged(**row._mapping)
    outdated = _outdated(connection, found)
    return {about: row for about, row in found.items() if about not in outdated}


def of_tracked(connection: Connection, row: Any) -> Acknowledged | None:
    """That of one row of `Tracked`, if one stands now."""
    return standing(connection, [about_of(row)], clock.timestamp()).get(about_of(row))


def listing(
    lifecycle: Lifecycle, caller: Caller, *, cursor: str = "", limit: int = 50
) -> tuple[list[tuple[Acknowledged, str]], str | None]:
    """A page of what is acknowledged now, each with what people call it, and where the next page starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    now = clock.timestamp()
    query = select(col(Acknowledged.about)).where(col(Acknowledged.until) > now, col(Acknowledged.about) > cursor)
    with lifecycle.store.read() as connection:
        abouts = list(connection.execute(query.order_by(col(Acknowledged.about)).limit(limit + 1)).scalars())
        found = standing(connection, abouts[:limit], now)
        names = _names(connection, found)
    rows = [(found[about], names.get(about, about)) for about in abouts[:limit] if about in found]
    return rows, abouts[limit - 1] if len(abouts) > limit else None


def prune(lifecycle: Lifecycle, *, keep: int = 30 * DAY) -> int:
    """Forget a page of those that ended longer than `keep` ago; the ledger has them. Returns how many; 0 when done."""
    old = select(col(Acknowledged.about)).where(col(Acknowledged.until) < clock.timestamp() - keep).limit(PAGE)

    def unit(tx: Transaction) -> int:
        abouts = tx.execute(old.with_for_update(skip_locked=True)).scalars().all()
        if abouts:
            tx.execute(delete(Acknowledged).where(col(Acknowledged.about).in_(abouts)))
        return len(abouts)

    with lifecycle.store.read() as connection:
        if connection.execute(old.limit(1)).first() is None:
            return 0
    return lifecycle.store.write(unit)


def find(connection: Connection, what: str, *, is_open: bool = True) -> Matter:
    """What somebody names. `Conflict` if it has to be open and is not: replaced, ended, or expired."""
    kind, _, name = what.partition(":")
    if kind == "lineage":
        return of_lineage(connection, find_lineage(connection, name), is_open=is_open)
    row = find_tracked(connection, f"#{name}" if kind == "tracked" else what)
    named = select(col(Lineage.name)).where(col(Lineage.id) == row.lineage_id)
    subject = row.identity if row.lineage_id is None else connection.execute(named).scalar() or row.identity
    return Matter(about_of(row), subject, _end(row, is_open=is_open), row.id, row.lineage_id)


def of_lineage(connection: Connection, lineage: Any, *, is_open: bool = True) -> Matter:
    """A lineage as its current certificate ends."""
    current = connection.execute(select(Tracked).where(col(Tracked.id) == lineage.current_id)).first()
    end = None if current is None else _end(current, is_open=is_open)
    return Matter(f"lineage:{lineage.id}", lineage.name, end, lineage.current_id, lineage.id)


def _end(row: Any, *, is_open: bool) -> int:
    name = one_line(row.shown_as, 120)
    if is_open and row.replaced_by is not None:
        raise Conflict(f"{name} has been replaced: there is nothing to take care of", code="replaced-already")
    if is_open and row.stage == ENDED:
        raise Conflict(f"{name} is over: there is nothing to take care of", code="ended-already")
    return int(row.not_after)


def _check(matter: Matter, until: int, now: int) -> None:
    if until <= now:
        raise BadRequest("an acknowledgement ends in the future", code="bad-until")
    if matter.end is not None and until > matter.end:
        raise BadRequest(
            f"{one_line(matter.subject, 120)} ends before that; until then at most",
            code="bad-until",
            hint="that something has expired cannot be acknowledged away",
        )
    if until > now + LONGEST:
        raise BadRequest(f"an acknowledgement lasts at most {LONGEST // DAY} days", code="bad-until")


def _reason(text: str) -> str:
    said = one_line(text, MAX_REASON)
    if len(said) < 3:
        raise BadRequest("an acknowledgement has a reason", code="reason-missing", hint="what is being done about it")
    return said


def _outdated(connection: Connection, found: Mapping[str, Acknowledged]) -> set[str]:
    """Those of lineages to which a newer certificate came after they were made: it was taken care of.

    Where many hold one name each by itself, a newer one of one of them says nothing of the others.
    """
    ids = [int(about.partition(":")[2]) for about in found if about.startswith("lineage:")]
    query = select(col(Lineage.id), col(Tracked.recorded_at)).join(Tracked, col(Tracked.id) == col(Lineage.current_id))
    of = col(Lineage.id).in_(ids), col(Lineage.mode) != HOLDER
    rows = connection.execute(query.where(*of)).all() if ids else ()
    return {f"lineage:{row.id}" for row in rows if row.recorded_at > found[f"lineage:{row.id}"].at}


def _names(connection: Connection, abouts: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """What people call these."""
    names: dict[str, str] = {}
    for kind, key, name in (
        ("lineage", col(Lineage.id), col(Lineage.name)),
        ("tracked", col(Tracked.id), col(Tracked.identity)),
    ):
        ids = [int(about.partition(":")[2]) for about in abouts if about.startswith(f"{kind}:")]
        if ids:
            rows = connection.execute(select(key, name).where(key.in_(ids)))
            names |= {f"{kind}:{row[0]}": str(row[1]) for row in rows}
    return names
