"""One thing that somebody names: an owner, a lineage, or something tracked by what they have of it."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.certificates import normalise_serial
from ca.errors import BadRequest, Conflict, NotFound
from renewers.inventory import shown
from renewers.models import Lineage, Owner, Tracked

_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_ID = re.compile(r"#?([0-9]{1,18})")


def find_owner(connection: Connection, name: str) -> Any:
    """The owner of this name. `NotFound` if there is none."""
    row = connection.execute(select(Owner).where(col(Owner.name) == _plain(name))).first()
    if row is None:
        raise NotFound(
            f"there is no owner {shown.line(name, 80)!r}", code="unknown-owner", hint="certwright owner list"
        )
    return row


def find_lineage(connection: Connection, name: str) -> Any:
    """The lineage of this name, or with this id. `NotFound` if there is none."""
    row = connection.execute(select(Lineage).where(col(Lineage.name) == _plain(name))).first()
    if row is None and (match := _ID.fullmatch(name)):
        row = connection.execute(select(Lineage).where(col(Lineage.id) == int(match[1]))).first()
    if row is None:
        raise NotFound(f"there is no lineage {shown.line(name, 80)!r}", code="unknown-lineage")
    return row


def find_tracked(connection: Connection, text: str) -> Any:
    """Something tracked by its identity, its SHA-256, its serial number, or as #12 by its id.

    A serial number belongs to an issuer: where it names several certificates, none is chosen (row 20 of the field's
    failures). `NotFound`, or `Conflict` with what there is.
    """
    plain = _plain(text).strip()
    match = _SHA256.fullmatch(plain.lower().replace(":", "").removeprefix("sha256"))
    identity = f"sha256:{match[1]}" if match else plain
    row = connection.execute(select(Tracked).where(col(Tracked.identity) == identity)).first()
    if row is None and plain.startswith("#") and (match := _ID.fullmatch(plain)):
        row = connection.execute(select(Tracked).where(col(Tracked.id) == int(match[1]))).first()
    if row is None:
        row = _by_serial(connection, plain)
    if row is None:
        raise NotFound(f"nothing like {shown.line(text, 80)!r} is tracked", code="unknown-tracked")
    return row


def _by_serial(connection: Connection, text: str) -> Any:
    try:
        serial = normalise_serial(text)
    except BadRequest:
        return None
    rows = connection.execute(select(Tracked).where(col(Tracked.serial) == serial).limit(10)).all()
    if len(rows) > 1:
        which = ", ".join(row.identity for row in rows)
        raise Conflict(
            f"several certificates have the serial number {serial}", code="ambiguous", hint=f"name one: {which}"
        )
    return rows[0] if rows else None


def _plain(text: str) -> str:
    """Text that a database takes: one without NULs, which no name of ours has."""
    return text if text.isprintable() and len(text) <= 600 else ""
