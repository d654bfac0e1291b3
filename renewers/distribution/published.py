"""Looking at what was published: the newest version of a stream, pages of versions, and one of them as it was signed.

Nothing here makes a version (`publishing.py` does), so that whoever is told of a new one can look at it from here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select
from sqlmodel import col

from ca.errors import BadRequest, Defect, NotFound
from ca.publication.manifest import Manifest
from renewers.models import Publication
from renewers.plain import one_line

MAX_PAGE = 500

_STREAM = col(Publication.stream) == bindparam("of_stream")
_FIRST = col(Publication.version).desc()
_SHOWN = [column for column in Publication.__table__.columns if column.name != "signed"]  # type: ignore[attr-defined]
_NEWEST = select(Publication).where(_STREAM).order_by(_FIRST).limit(1)
_HEAD = select(*_SHOWN).where(_STREAM).order_by(_FIRST).limit(1)
_LOAD = select(col(Publication.signed)).where(_STREAM, col(Publication.version) == bindparam("of_version"))


def newest(connection: Connection, stream: str) -> Row[Any] | None:
    """The newest version of a stream, as it was signed; None before the first."""
    return connection.execute(_NEWEST, {"of_stream": stream}).first()


def head(connection: Connection, stream: str) -> Row[Any] | None:
    """The newest version without its signed bytes, for those who only want to know which it is."""
    return connection.execute(_HEAD, {"of_stream": stream}).first()


def heads(connection: Connection, streams: Sequence[str]) -> Mapping[str, Row[Any]]:
    """The same for several streams; those without a version are left out."""
    found = {stream: head(connection, stream) for stream in dict.fromkeys(streams)}
    return {stream: row for stream, row in found.items() if row is not None}


def known(connection: Connection) -> list[str]:
    """The streams of which something was ever published, by name."""
    return list(
        connection.execute(select(col(Publication.stream)).distinct().order_by(col(Publication.stream))).scalars()
    )


def load(connection: Connection, stream: str, version: int) -> bytes:
    """One version as it was signed."""
    found: bytes | None = connection.execute(_LOAD, {"of_stream": stream, "of_version": version}).scalar()
    if found is None:
        raise NotFound(
            f"there is no version {version} of {one_line(stream, 80)}",
            code="unknown-publication",
            hint="certwright bundle list; old versions of CRLs are not kept for ever",
        )
    return found


def page(
    connection: Connection, stream: str, cursor: int | None = None, limit: int = 50
) -> tuple[list[Row[Any]], int | None]:
    """A page of versions, newest first, without their signed bytes, and where the next one starts."""
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    statement = select(*_SHOWN).where(_STREAM).order_by(_FIRST).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(col(Publication.version) < cursor)
    rows = list(connection.execute(statement, {"of_stream": stream}))
    return rows[:limit], rows[limit - 1].version if len(rows) > limit else None


def count(connection: Connection, stream: str) -> int:
    """How many versions of a stream are kept."""
    return connection.execute(
        select(func.count()).select_from(Publication).where(_STREAM), {"of_stream": stream}
    ).scalar_one()


def manifest_of(signed: bytes) -> Manifest:
    """The manifest in a version that we have stored; its signature is not looked at (`ca/publication/opening` does)."""
    try:
        return Manifest.decode(payload_of(signed))
    except BadRequest as error:
        raise _unreadable(error) from error


def payload_of(signed: bytes) -> bytes:
    """The bytes of that manifest, which were signed."""
    try:
        text = json.loads(signed)["payload"]
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Defect:
    return Defect(f"a publication that is stored cannot be read ({type(error).__name__})")
