"""A manifest: what one stream holds at one version, as canonical JSON (sorted keys, no spaces, ASCII).

There is one spelling of each manifest, so that its SHA-256 names it, and the next version names it by that. Whatever is
read was checked field by field, and whatever is built is held to the same rules: we never sign what we would not read.
Nothing here is about signatures or about time; see `opening`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from cryptography import x509

from ca.errors import BadRequest
from ca.publication.strict import LARGEST_NUMBER, read_object, write_object

TYPE = "certwright.publication/1"
LARGEST = 1 << 20
LARGEST_CERTIFICATE = 64 * 1024

_DOMAIN = r"[a-z0-9._-]{1,255}"
_TRUST_DOMAIN = re.compile(_DOMAIN)
_STREAM = re.compile(rf"(?:trust|crl):({_DOMAIN})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMPLETE = -1


class ListKind(StrEnum):
    """How much of an authority's revocations a list holds."""

    COMPLETE = "complete"
    SHARD = "shard"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Previous:
    """The version before, and the hash of its manifest."""

    version: int
    sha256: str

    def __post_init__(self) -> None:
        _number(self.version, "previous.version", least=1)
        _text(self.sha256, _SHA256, "previous.sha256")


@dataclass(frozen=True, slots=True)
class Entry:
    """A CA certificate under its name, DER."""

    name: str
    certificate: bytes

    def __post_init__(self) -> None:
        _text(self.name, _NAME, "the name of a certificate")
        if not isinstance(self.certificate, bytes) or len(self.certificate) > LARGEST_CERTIFICATE:
            raise _bad(f"the certificate {self.name} is no DER of at most {LARGEST_CERTIFICATE} bytes")
        try:
            x509.load_der_x509_certificate(self.certificate)
        except Exception as error:  # noqa: BLE001 - parsers raise what they like
            raise _bad(f"the certificate {self.name} cannot be parsed ({type(error).__name__})") from None

    @property
    def sha256(self) -> str:
        """Fingerprint, hex."""
        return sha256(self.certificate).hexdigest()


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One CRL, which is fetched apart: whose, which, and its hash. `shard` is -1 unless `kind` is `shard`."""

    authority: str
    shard: int
    kind: ListKind
    number: int
    this_update: int
    next_update: int
    sha256: str
    size: int

    def __post_init__(self) -> None:
        _text(self.authority, _NAME, "lists.authority")
        if self.kind not in list(ListKind):
            raise _bad("lists.kind is not complete, shard or delta")
        object.__setattr__(self, "kind", ListKind(self.kind))
        _number(self.shard, "lists.shard", least=_COMPLETE)
        if (self.kind is ListKind.SHARD) != (self.shard > _COMPLETE):
            raise _bad(f"a {self.kind} list of {self.authority} cannot be shard {self.shard}")
        _number(self.number, "lists.number", least=0)
        _number(self.this_update, "lists.this_update", least=0)
        _number(self.next_update, "lists.next_update", least=self.this_update)
        _text(self.sha256, _SHA256, "lists.sha256")
        _number(self.size, "lists.size", least=0)

    @property
    def key(self) -> str:
        """What tells it from the other lists of its stream: `issuing-1/complete`, `issuing-1/delta`, `issuing-1/3`."""
        return f"{self.authority}/{self.shard if self.kind is ListKind.SHARD else self.kind.value}"


@dataclass(frozen=True, slots=True)
class Item:
    """One file that is made of the stream, byte for byte the same wherever it is made."""

    name: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        _text(self.name, _NAME, "items.name")
        _text(self.sha256, _SHA256, "items.sha256")
        _number(self.size, "items.size", least=0)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of one stream. `BadRequest` (`bad-manifest`) says what a manifest cannot say."""

    stream: str
    trust_domain: str
    version: int
    previous: Previous | None
    issued_at: int
    expires_at: int
    anchors: Sequence[Entry] = ()
    authorities: Sequence[Entry] = ()
    lists: Sequence[ListEntry] = ()
    items: Sequence[Item] = ()

    def __post_init__(self) -> None:
        _text(self.trust_domain, _TRUST_DOMAIN, "trust_domain")
        _text(self.stream, _STREAM, "stream")
        _number(self.version, "version", least=1)
        if self.previous is not None and self.previous.version >= self.version:
            raise _bad("the previous version is not lower than its own")
        _number(self.issued_at, "issued_at", least=0)
        _number(self.expires_at, "expires_at", least=self.issued_at + 1)
        for field in ("anchors", "authorities", "lists", "items"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        _unique("certificates", (entry.name for entry in (*self.anchors, *self.authorities)))
        _unique("lists", (entry.key for entry in self.lists))
        _unique("items", (item.name for item in self.items))

    def encode(self) -> bytes:
        """Its bytes, which are signed and hashed."""
        encoded = write_object({"type": TYPE, **_plain(self)})
        if len(encoded) > LARGEST:
            raise _bad(f"the manifest is larger than {LARGEST} bytes")
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read one; `BadRequest` unless each byte is as `encode` would write it."""
        found = read_object(data, most=LARGEST, code="bad-manifest", what="the manifest")
        if found.pop("type", None) != TYPE:
            raise _bad(f"the manifest is not of the type {TYPE}", hint="is this certwright older than what it reads?")
        manifest = _manifest(found)
        if manifest.encode() != data:
            raise _bad("the manifest is not canonical JSON")
        return manifest

    @property
    def sha256(self) -> str:
        """Hash of its bytes, hex: its name in the version that follows."""
        return sha256(self.encode()).hexdigest()


def _plain(manifest: Manifest) -> dict[str, Any]:
    previous = manifest.previous
    return {
        "stream": manifest.stream,
        "trust_domain": manifest.trust_domain,
        "version": manifest.version,
        "previous": None if previous is None else {"version": previous.version, "sha256": previous.sha256},
        "issued_at": manifest.issued_at,
        "expires_at": manifest.expires_at,
        "anchors": [_plain_entry(entry) for entry in manifest.anchors],
        "authorities": [_plain_entry(entry) for entry in manifest.authorities],
        "lists": [{field: getattr(entry, field) for field in _fields(ListEntry)} for entry in manifest.lists],
        "items": [{field: getattr(item, field) for field in _fields(Item)} for item in manifest.items],
    }


def _plain_entry(entry: Entry) -> dict[str, str]:
    certificate = base64.b64encode(entry.certificate).decode()
    return {"name": entry.name, "sha256": entry.sha256, "certificate": certificate}


def _manifest(found: dict[str, Any]) -> Manifest:
    _exactly(found, _fields(Manifest), "the manifest")
    made = {field: _several(found[field], field, make) for field, make in _PARTS.items()}
    previous = found["previous"]
    made["previous"] = None if previous is None else _part(previous, Previous, "previous")
    return Manifest(**{**found, **made})


def _several(found: object, field: str, make: Callable[[object, str], object]) -> Any:
    if not isinstance(found, list):
        raise _bad(f"{field} is no array")
    return [make(one, field) for one in found]


def _part(found: object, kind: Callable[..., Any], where: str) -> Any:
    return kind(**_exactly(found, _fields(kind), where))


def _entry(found: object, where: str) -> Entry:
    fields = _exactly(found, ("name", "sha256", "certificate"), where)
    try:
        entry = Entry(fields["name"], base64.b64decode(fields["certificate"], validate=True))
    except (binascii.Error, TypeError, ValueError):
        raise _bad(f"a certificate of {where} is no base64") from None
    if entry.sha256 != fields["sha256"]:
        raise _bad(f"the certificate {entry.name} does not have the hash that stands beside it")
    return entry


_PARTS: Mapping[str, Callable[[object, str], object]] = {
    "anchors": _entry,
    "authorities": _entry,
    "lists": lambda found, where: _part(found, ListEntry, where),
    "items": lambda found, where: _part(found, Item, where),
}


def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)


def _exactly(found: object, fields: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(found, dict) or set(found) != set(fields):
        raise _bad(f"{where} does not have just the keys {', '.join(sorted(fields))}")
    return found


def _text(value: object, pattern: re.Pattern[str], field: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _bad(f"{field} is not what it can be: {pattern.pattern}")


def _number(value: object, field: str, *, least: int) -> None:
    if type(value) is not int or not least <= value <= LARGEST_NUMBER:  # True is an int, too
        raise _bad(f"{field} is no whole number from {least} to {LARGEST_NUMBER}")


def _unique(what: str, keys: Any) -> None:
    found: list[Hashable] = list(keys)
    if len(set(found)) != len(found):
        raise _bad(f"two of its {what} have the same name")


def _bad(message: str, hint: str | None = None) -> BadRequest:
    return BadRequest(message, code="bad-manifest", hint=hint)
