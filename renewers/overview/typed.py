"""What somebody typed into the one field there is: a name or its beginning, a serial number, a fingerprint, `#12`.

Each is looked up along its own index, and not more than `MOST` rows are found. Nothing is ever searched for inside
names: with a million of them that would be a look at every one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select
from sqlmodel import col

from ca.certificates import normalise_serial
from ca.errors import BadRequest
from ca.models import Certificate, CertificateName
from renewers.inventory.names import spellings
from renewers.inventory.shown import line
from renewers.models import Lineage, Tracked, TrackedName

MOST = 2000
KINDS = ("dns:", "uri:", "ip:", "email:")
_HEX = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"#[0-9]{1,18}")
LONGEST = 600


def find(connection: Connection, text: str) -> list[int]:
    """The ids of what it may mean, `MOST` at most: exactly what it says, and names that begin with it."""
    wanted = text.strip()
    if not wanted or len(wanted) > LONGEST or not wanted.isprintable():
        return []
    found: dict[int, None] = {}
    for query in _queries(wanted):
        for id_ in connection.execute(query.limit(MOST + 1 - len(found))).scalars():
            found[id_] = None
        if len(found) > MOST:
            break
    return list(found)[:MOST]


def serials(connection: Connection, text: str) -> list[str]:
    """The serial numbers of our own certificates that it may mean, `MOST` at most."""
    wanted = text.strip()
    if not wanted or len(wanted) > LONGEST or not wanted.isprintable():
        return []
    found: dict[str, None] = {}
    number = _serial(wanted)
    if number is not None:
        exact = select(col(Certificate.serial)).where(col(Certificate.serial) == number)
        found |= dict.fromkeys(connection.execute(exact).scalars())
    name = col(CertificateName.name)
    query = select(col(CertificateName.serial)).where(_begins(name, _beginnings(wanted)))
    found |= dict.fromkeys(connection.execute(query.limit(MOST)).scalars())
    return list(found)[:MOST]


def _queries(text: str) -> Iterator[Any]:
    id_, plain = col(Tracked.id), text.lower().replace(":", "").removeprefix("sha256")
    if _ID.fullmatch(text):
        yield select(id_).where(id_ == int(text[1:]))
    if _HEX.fullmatch(plain):
        yield select(id_).where(col(Tracked.identity) == f"sha256:{plain}")
        yield select(id_).where(col(Tracked.spki_sha256) == bytes.fromhex(plain))
    yield select(id_).where(col(Tracked.identity) == text)
    serial = _serial(text)
    if serial is not None:
        yield select(id_).where(col(Tracked.serial) == serial)
    names = [name for name in spellings(text) if name.isprintable()]
    yield select(col(TrackedName.tracked_id)).where(col(TrackedName.name).in_(names))
    yield select(col(TrackedName.tracked_id)).where(_begins(col(TrackedName.name), _beginnings(text)))
    lineages = select(col(Lineage.id)).where(_begins(col(Lineage.name), [line(text)])).limit(MOST)
    yield select(id_).where(col(Tracked.lineage_id).in_(lineages))


def _beginnings(text: str) -> list[str]:
    """With its kind, which may have been left out."""
    small = text.lower()
    return [small] if small.startswith(KINDS) else [f"{kind}{small}" for kind in KINDS]


def _serial(text: str) -> str | None:
    try:
        return normalise_serial(text)
    except BadRequest:
        return None


def _begins(column: Any, beginnings: Sequence[str]) -> ColumnElement[bool]:
    """These columns are compared by their bytes, so that an index leads to all that begin so."""
    return or_(*((column >= one) & (column < one + chr(0x10FFFF)) for one in beginnings))
