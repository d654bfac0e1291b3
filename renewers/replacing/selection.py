"""Which certificates a mass replacement is about: every criterion narrows, and at least one is needed.

A selection is kept as it was said and resolved at each look, since authorities change their state meanwhile. It is read
along the best index that it allows (a `Resolved.roads`), a bounded number of rows at a time, never all at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select, true
from sqlmodel import col

from ca.authority import State
from ca.certificates import normalise_serial
from ca.errors import BadRequest
from ca.keys.algorithms import KeyType
from ca.models import Certificate
from ca.x509 import names
from ca.x509.names import Kind
from renewers.inventory import shown
from renewers.inventory.finding import find_lineage, find_owner
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint, Tracked, TrackedName
from renewers.rotation import leaves

MOST = 1000
"""Values of one criterion at most."""
LISTS = ("authorities", "spki_sha256", "serials", "lineages")
TEXTS = ("key_type", "host", "profile", "owner")
_HOST = re.compile(r"[0-9a-z_*:.\-]{1,253}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Selection:
    """What certificates are selected by."""

    authorities: tuple[str, ...] = ()
    """Names of authorities of ours: what one of them has issued."""
    spki_sha256: tuple[str, ...] = ()
    """SHA-256 of public keys, hex."""
    key_type: str | None = None
    host: str | None = None
    """A host where it was seen, or a DNS name or address in it: this one, or one beneath it."""
    profile: str | None = None
    owner: str | None = None
    serials: tuple[str, ...] = ()
    lineages: tuple[str, ...] = ()

    def encode(self) -> str:
        """JSON of what was said."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({name: value for name, value in said.items() if value}, sort_keys=True)


def decode(text: str) -> Selection:
    """The same back."""
    return read_selection(json.loads(text))


def read_selection(found: Mapping[str, Any]) -> Selection:
    """What somebody asks for. `BadRequest` says what is wrong with it."""
    if unknown := sorted(set(found) - {*LISTS, *TEXTS}):
        raise _bad(f"nothing is selected by {shown.line(unknown[0], 60)!r}")
    lists = {name: _list(name, found.get(name)) for name in LISTS}
    texts = {name: _text(name, found.get(name)) for name in TEXTS}
    if not any(lists.values()) and not any(texts.values()):
        raise _bad("a selection of everything is refused: name at least one criterion")
    if texts["key_type"] is not None and texts["key_type"] not in [kind.value for kind in KeyType]:
        raise _bad(f"there is no type of keys {texts['key_type']!r}")
    if texts["host"] is not None:
        texts["host"] = _host(texts["host"])
    lists["spki_sha256"] = tuple(map(_key, lists["spki_sha256"]))
    lists["serials"] = tuple(map(normalise_serial, lists["serials"]))
    return Selection(
        authorities=lists["authorities"],
        spki_sha256=lists["spki_sha256"],
        serials=lists["serials"],
        lineages=lists["lineages"],
        **texts,
    )


@dataclass(frozen=True, slots=True)
class Resolved:
    """A selection as it stands now, in the words of the inventory."""

    selection: Selection
    issuers: tuple[str, ...]
    outgoing: frozenset[str]
    """Those of the issuers that sign no more: what one of them has issued replaces nothing."""
    keys: frozenset[bytes]
    lineage_ids: tuple[int, ...]
    owner_id: int | None

    @property
    def roads(self) -> Mapping[str, ColumnElement[bool]]:
        """Along which conditions the inventory is read: each has an index that ends with the id, or few rows."""
        if self.selection.serials:
            return {"serials": col(Tracked.serial).in_(self.selection.serials)}
        if self.keys:
            return {"keys": col(Tracked.spki_sha256).in_(self.keys)}
        if self.selection.lineages:
            return {"lineages": col(Tracked.lineage_id).in_(self.lineage_ids)}
        if self.selection.authorities:
            return {f"issuer {issuer}": col(Tracked.issuer) == issuer for issuer in self.issuers}
        return {"all": true()}

    @property
    def is_open(self) -> bool:
        """Whether what is tracked later may belong to it: not what replaces something of it, but what came late."""
        return bool(self.keys) or (bool(self.issuers) and set(self.issuers) == self.outgoing)

    def filters(self) -> list[ColumnElement[bool]]:
        """All criteria, on `leaves.joined`, but the owner: whose something is, is worked out."""
        said, found = self.selection, list[ColumnElement[bool]]()
        if said.authorities:
            found.append(col(Tracked.issuer).in_(self.issuers))
        if self.keys:
            found.append(col(Tracked.spki_sha256).in_(self.keys))
        if said.serials:
            found.append(col(Tracked.serial).in_(said.serials))
        if said.lineages:
            found.append(col(Tracked.lineage_id).in_(self.lineage_ids))
        if said.key_type is not None:
            found.append(col(Tracked.key_type) == said.key_type)
        if said.profile is not None:
            found.append(col(Certificate.profile) == said.profile)
        if said.host is not None:
            found.append(_at_host(said.host))
        return found

    def replaces(self, before: bytes | None, after: Any) -> bool:
        """Whether something tracked replaces what had a key (its SHA-256): with another, and nothing that is wrong."""
        if after.issuer in self.outgoing or after.spki_sha256 in self.keys:
            return False
        if self.selection.key_type is not None and after.key_type == self.selection.key_type:
            return False
        return bool(after.spki_sha256 != before)


def pinned(lifecycle: Lifecycle, selection: Selection) -> Selection:
    """The same with generations of authorities where lines were named: what a line means changes with time."""
    authorities = lifecycle.installation.authorities
    names = dict.fromkeys(authorities.get(name).name for name in selection.authorities)
    return replace(selection, authorities=tuple(names))


def resolve(lifecycle: Lifecycle, connection: Connection, selection: Selection) -> Resolved:
    """What a selection comes to. `NotFound` if it names something that there is not."""
    authorities = lifecycle.installation.authorities
    rows = [authorities.get(name) for name in selection.authorities]
    stopped = [row for row in rows if row.state != State.ACTIVE]
    owner = None if selection.owner is None else find_owner(connection, selection.owner)
    return Resolved(
        selection=selection,
        issuers=tuple(leaves.issuers_of(rows)),
        outgoing=frozenset(leaves.issuers_of(stopped)),
        keys=frozenset(map(bytes.fromhex, selection.spki_sha256)),
        lineage_ids=tuple(find_lineage(connection, name).id for name in selection.lineages),
        owner_id=None if owner is None else owner.id,
    )


def _at_host(host: str) -> ColumnElement[bool]:
    """By its names, or by where it was seen; `host` has no character that LIKE takes for something else but `_`."""
    plain = host.replace("_", "\\_")
    name, place = col(TrackedName.name), col(Endpoint.place)
    exact = name.in_([f"dns:{host}", f"ip:{host}"])
    named = select(col(TrackedName.tracked_id)).where(col(TrackedName.tracked_id) == col(Tracked.id))
    named = named.where(or_(exact, name.like(f"dns:%.{plain}", escape="\\")))
    at = [place.like(f"%:{plain}:%", escape="\\"), place.like(f"%.{plain}:%", escape="\\")]
    at.append(place.like(f"%[{plain}]:%", escape="\\"))
    seen = select(col(Endpoint.id)).where(col(Endpoint.tracked_id) == col(Tracked.id))
    seen = seen.where(or_(*at), place.not_like("file:%"))
    return or_(named.exists(), seen.exists())


def _list(name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > MOST:
        raise _bad(f"{name} is a list of at most {MOST} texts")
    return tuple(dict.fromkeys(_one(name, each) for each in value))


def _text(name: str, value: Any) -> str | None:
    return None if value is None else _one(name, value)


def _one(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > shown.MAX_NAME:
        raise _bad(f"{name} is no text of at most {shown.MAX_NAME} characters that can be printed")
    return value.strip()


def _host(text: str) -> str:
    try:
        parsed = names.parse(text)
    except BadRequest:
        parsed = None
    plain = parsed.value if parsed is not None and parsed.kind in (Kind.DNS, Kind.IP) else text.lower()
    if not _HOST.fullmatch(plain):
        raise _bad(f"{shown.line(text, 80)!r} is no host")
    return plain


def _key(text: str) -> str:
    plain = text.lower().replace(":", "").removeprefix("sha256")
    if not _SHA256.fullmatch(plain):
        raise _bad(f"{shown.line(text, 80)!r} is not a SHA-256 of a public key in hex")
    return plain


def _bad(message: str) -> BadRequest:
    return BadRequest(message, code="bad-selection", hint=f"criteria are {', '.join((*LISTS, *TEXTS))}")
