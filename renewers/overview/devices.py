"""Devices and workloads: what our own CA has issued, by profile, and the newest of it; found by the name of one.

How much there is comes from the tallies. Of a list only so many of the newest certificates are looked through: a rare
profile may show none of them, and then its name leads further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.certificates import names_of
from ca.errors import BadRequest
from ca.models import Authority, Certificate, Revocation
from ca.x509.certificate import algorithm_of, preview
from ca.x509.revocation_list import HOLD
from renewers.lifecycle import Lifecycle
from renewers.models import Tracked, TrackedName
from renewers.overview import tallies, typed
from renewers.overview.kept import Kept

LOOKED_AT = 4000
"""Certificates that are looked through for one page of a profile's."""
MOST = 500


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate of ours: what it is called, who asked, what became of it; under which number it is tracked."""

    id: int
    serial: str
    names: tuple[str, ...]
    subject: str
    profile: str
    authority: str
    requested_by: str
    recorded_at: int
    not_before: int
    not_after: int
    renews: str | None
    revoked_at: int | None
    is_held: bool
    """Whether it is on hold, and not revoked for good."""
    tracked_id: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of what was issued, newest first, and where the next one starts."""

    rows: tuple[Issued, ...]
    next: int | None
    is_cut: bool
    counted: Kept | None


def page(
    lifecycle: Lifecycle,
    caller: Caller,
    *,
    name: str = "",
    profile: str | None = None,
    cursor: int | None = None,
    limit: int = 50,
) -> Listed:
    """What was issued under a profile, or all of it, or what has a name or one that begins so."""
    caller.must(Operation.READ_INVENTORY)
    if cursor is not None and cursor < 0:
        raise BadRequest("this cursor is not one that we gave out", code="bad-cursor")
    with lifecycle.store.read(snapshot=True) as connection:
        if name:
            rows, following, is_cut = _named(connection, name, profile, cursor, limit)
        else:
            rows, following, is_cut = _newest(connection, profile, cursor, limit)
        return Listed(tuple(_issued(connection, rows)), following, is_cut, tallies.find(connection))


_COLUMNS: Any = (
    *(Certificate.id, Certificate.serial, Certificate.subject, Certificate.profile, Certificate.authority_id),
    *(Certificate.requested_by, Certificate.recorded_at, Certificate.not_before, Certificate.not_after),
    *(Certificate.renews, Certificate.spki_sha256),
)
_ROWS = select(*_COLUMNS).where(col(Certificate.signature).is_not(None))


def _newest(
    connection: Connection, profile: str | None, cursor: int | None, limit: int
) -> tuple[Sequence[Any], int | None, bool]:
    newest = connection.execute(select(func.max(col(Certificate.id)))).scalar() or 0
    start = newest + 1 if cursor is None else min(cursor, newest + 1)
    end = 0 if profile is None else max(0, start - 1 - LOOKED_AT)
    query = _ROWS.where(col(Certificate.id) < start, col(Certificate.id) > end)
    if profile is not None:
        query = query.where(func.coalesce(col(Certificate.profile), "") == profile)
    rows = connection.execute(query.order_by(col(Certificate.id).desc()).limit(limit + 1)).all()
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1].id, False
    return rows, end + 1 if end > 0 else None, end > 0


def _named(
    connection: Connection, name: str, profile: str | None, cursor: int | None, limit: int
) -> tuple[Sequence[Any], int | None, bool]:
    """Those few whose name says so, sorted where they are."""
    serials = typed.serials(connection, name)
    rows: list[Any] = []
    for start in range(0, len(serials), MOST):
        rows += connection.execute(_ROWS.where(col(Certificate.serial).in_(serials[start : start + MOST])))
    kept = [row for row in rows if (profile is None or row.profile == profile) and (cursor is None or row.id < cursor)]
    ordered = sorted(kept, key=lambda row: -int(row.id))
    following = ordered[limit - 1].id if len(ordered) > limit else None
    return ordered[:limit], following, len(serials) >= typed.MOST


def _issued(connection: Connection, rows: Sequence[Any]) -> list[Issued]:
    """With their names, their state and their places in the inventory."""
    serials = [row.serial for row in rows]
    authorities = {row.id: row.name for row in connection.execute(select(col(Authority.id), col(Authority.name)))}
    columns = (col(Revocation.serial), col(Revocation.revoked_at), col(Revocation.reason))
    gone = connection.execute(select(*columns).where(col(Revocation.serial).in_(serials))).all()
    revoked = {row.serial: row.revoked_at for row in gone}
    held = {row.serial for row in gone if row.reason == HOLD}
    known = select(col(Tracked.id), col(Tracked.serial), col(Tracked.spki_sha256))
    here = connection.execute(known.where(col(Tracked.serial).in_(serials))).all()
    tracked = {(row.serial, row.spki_sha256): row.id for row in here}
    names = _names(connection, [(row, tracked.get((row.serial, row.spki_sha256))) for row in rows])
    return [
        Issued(
            *(row.id, row.serial, names.get(row.serial, ()), row.subject, row.profile),
            *(authorities.get(row.authority_id, "?"), row.requested_by, row.recorded_at, row.not_before, row.not_after),
            *(row.renews, revoked.get(row.serial), row.serial in held, tracked.get((row.serial, row.spki_sha256))),
        )
        for row in rows
    ]


def _names(connection: Connection, rows: Sequence[tuple[Any, int | None]]) -> dict[str, tuple[str, ...]]:
    """By serial number: as they are tracked, or where they are not, as the certificate says them.

    The names of the CA's own table are found by name alone: by serial number that would be a look at all of them.
    """
    serials = {id_: row.serial for row, id_ in rows if id_ is not None}
    found: dict[str, list[str]] = {}
    for each in connection.execute(select(TrackedName).where(col(TrackedName.tracked_id).in_(serials))):
        found.setdefault(serials[each.tracked_id], []).append(each.name)
    others = [row.serial for row, id_ in rows if id_ is None]
    signed = select(col(Certificate.serial), col(Certificate.tbs)).where(col(Certificate.serial).in_(others))
    for serial, tbs in connection.execute(signed).all() if others else ():
        found[serial] = [str(name) for name in names_of(preview(tbs, algorithm_of(tbs)))]
    return {serial: tuple(sorted(names)) for serial, names in found.items()}
