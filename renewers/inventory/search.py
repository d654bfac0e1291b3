"""Finding what is tracked: pages of it by what it says and whose it is, and the whole story of one.

Every search walks an index and looks at a bounded number of rows, however many there are; a page may be short, or
empty, and still have a next one. What it shows of strangers' text was made harmless when it was written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, or_, select, tuple_
from sqlmodel import col

from ca.certificates import normalise_serial
from ca.errors import BadRequest
from ca.store import Store
from renewers.inventory import shown
from renewers.inventory.finding import find_owner
from renewers.inventory.findings import differences, same_keys
from renewers.inventory.names import spellings
from renewers.inventory.ownership import Ownership, owners_of
from renewers.inventory.story import show
from renewers.models import Lineage, Tracked, TrackedName

__all__ = ["Found", "Query", "differences", "page", "same_keys", "show"]

MAX_PAGE = 500
PAGES = 20
"""How many pages of candidates are looked through for one answer."""
MAX_ISSUERS = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; every field narrows."""

    name: str | None = None
    """One of its names, or what it is shown as."""
    serial: str | None = None
    issuer: str | None = None
    """A part of its issuer's name."""
    key: str | None = None
    """The SHA-256 of its public key, hex."""
    owner: str | None = None
    kind: str | None = None
    source: str | None = None
    stage: str | None = None
    mode: str | None = None
    expires_before: int | None = None
    orphan: bool = False
    replaced: bool = False
    """Whether to list what has been replaced, too. Who asks for a serial number or a key sees it anyway."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something tracked, its lineage by name and mode, and whose it is."""

    tracked: Tracked
    lineage: str | None
    mode: str | None
    ownership: Ownership


def page(store: Store, query: Query, cursor: str | None = None, limit: int = 50) -> tuple[list[Found], str | None]:
    """A page, newest first (soonest to end first with `expires_before`), and where the next one starts."""
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    place = None if cursor is None else _read_cursor(cursor)
    found: list[Found] = []
    size = limit + 1 if query.owner is None and not query.orphan else MAX_PAGE
    with store.read() as connection:
        statement = _filtered(connection, query)
        owner = None if query.owner is None else find_owner(connection, query.owner)
        for _ in range(PAGES):
            rows = connection.execute(_after(statement, query, place).limit(size)).all()
            answers = owners_of(connection, rows)
            for row in rows:
                if not _is_theirs(answers[row.id], query, owner):
                    continue
                if len(found) == limit:
                    return found, _cursor(place)
                place = (row.not_after, row.id)
                found.append(_found(row, answers[row.id]))
            if len(rows) < size:
                return found, None
            place = (rows[-1].not_after, rows[-1].id)
    return found, _cursor(place)


def issuers(connection: Connection, part: str) -> list[str]:
    """The issuers in whose names `part` occurs: one look at an index for each issuer that there is."""
    found, last = [], ""
    for _ in range(MAX_ISSUERS):
        following = select(col(Tracked.issuer)).where(col(Tracked.issuer) > last).order_by(col(Tracked.issuer)).limit(1)
        name = connection.execute(following).scalar()
        if name is None:
            break
        if part.casefold() in name.casefold():
            found.append(name)
        last = name
    return found


def _filtered(connection: Connection, query: Query) -> Select[Any]:
    columns: tuple[Any, ...] = (col(Lineage.name).label("lineage_name"), col(Lineage.mode).label("lineage_mode"))
    statement: Select[Any] = select(Tracked, *columns).outerjoin(Lineage, col(Lineage.id) == col(Tracked.lineage_id))
    if query.name is not None:
        statement = statement.where(_named(query.name))
    if query.serial is not None:
        statement = statement.where(col(Tracked.serial) == normalise_serial(query.serial))
    if query.key is not None:
        statement = statement.where(col(Tracked.spki_sha256) == _key(query.key))
    if query.issuer is not None:
        statement = statement.where(col(Tracked.issuer).in_(issuers(connection, query.issuer)))
    for column, value in ((Tracked.kind, query.kind), (Tracked.source, query.source), (Tracked.stage, query.stage)):
        if value is not None:
            statement = statement.where(col(column) == shown.line(value, 60))
    if query.mode is not None:
        statement = statement.where(col(Lineage.mode) == shown.line(query.mode, 60))
    if query.expires_before is not None:
        statement = statement.where(col(Tracked.not_after) < query.expires_before)
    if not query.replaced and query.serial is None and query.key is None:
        statement = statement.where(col(Tracked.replaced_by).is_(None))
    if query.owner is not None:
        owner = find_owner(connection, query.owner)
        explicit = or_(col(Tracked.owner_id) == owner.id, col(Lineage.owner_id) == owner.id)
        unsaid = and_(col(Tracked.owner_id).is_(None), col(Lineage.owner_id).is_(None))
        statement = statement.where(or_(explicit, unsaid))
    return statement


def _named(name: str) -> Any:
    wanted = [spelling for spelling in spellings(name) if spelling.isprintable()]
    ids = select(col(TrackedName.tracked_id)).where(col(TrackedName.name).in_(wanted))
    lineages = select(col(Lineage.id)).where(col(Lineage.name) == shown.line(name))
    return or_(col(Tracked.id).in_(ids), col(Tracked.lineage_id).in_(lineages))


def _key(text: str) -> bytes:
    plain = text.strip().lower().replace(":", "").removeprefix("sha256")
    try:
        found = bytes.fromhex(plain)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise BadRequest(f"{shown.line(text, 80)!r} is not a SHA-256 of a public key in hex", code="bad-key")
    return found


def _after(statement: Select[Any], query: Query, place: tuple[int, int] | None) -> Select[Any]:
    if query.expires_before is not None:
        order = (col(Tracked.not_after), col(Tracked.id))
        return (statement if place is None else statement.where(tuple_(*order) > place)).order_by(*order)
    found = statement if place is None else statement.where(col(Tracked.id) < place[1])
    return found.order_by(col(Tracked.id).desc())


def _is_theirs(ownership: Ownership, query: Query, owner: Any) -> bool:
    if query.orphan and not ownership.is_orphan:
        return False
    return owner is None or (ownership.owner is not None and ownership.owner.id == owner.id)


def _found(row: Any, ownership: Ownership) -> Found:
    values = {name: row._mapping[name] for name in Tracked.model_fields}
    return Found(Tracked(**values), row.lineage_name, row.lineage_mode, ownership)


def _cursor(place: tuple[int, int] | None) -> str | None:
    return None if place is None else f"{place[0]}:{place[1]}"


def _read_cursor(cursor: str) -> tuple[int, int]:
    not_after, _, identity = cursor.partition(":")
    digits = not_after.removeprefix("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (digits, identity)):
        raise BadRequest("this cursor is not one that we gave out", code="bad-cursor")
    return int(not_after), int(identity)
