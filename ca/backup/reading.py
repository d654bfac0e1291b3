"""Reading a backup as a stream: every chunk, record and hash, the ledger's tree against its signed head.

What comes out of `read` has been checked up to there; the whole is only proven when the stream has ended.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ca.backup.packing import BEGIN, END, FILE, ROWS, TABLE, parsed, records
from ca.backup.sealing import bad, opened
from ca.errors import BadRequest
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.merkle import Edge, leaf_hash

_NAME = re.compile(r"certwright\.toml|(?:keys|profiles)/[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SQL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(slots=True)
class Found:
    """What a backup holds. `head` is None before the first entry of a ledger."""

    begin: Mapping[str, Any] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    authorities: list[dict[str, Any]] = field(default_factory=list)
    head: Head | None = None
    verifier: Verifier | None = None
    edge: Edge = field(default_factory=Edge)


class Taker:
    """What to do with what is read; this one does nothing, and so only checks."""

    def begin(self, begin: Mapping[str, Any]) -> None:
        """Called once, first."""

    def table(self, name: str, columns: list[str]) -> None:
        """The rows that follow are of this table."""

    def rows(self, rows: list[dict[str, Any]]) -> None:
        """Some rows."""

    def file(self, name: str, content: bytes) -> None:
        """A file, whose name is one that we write."""


def read(path: Path, key: X25519PrivateKey, taker: Taker, progress: Callable[[int], None] | None = None) -> Found:
    """Read a backup to its end. `BadRequest` as soon as something is not as it was written."""
    found = Found()
    with path.open("rb") as file:

        def chunks() -> Iterator[bytes]:
            for chunk in opened(file, key):
                if progress is not None:
                    progress(file.tell())
                yield chunk

        _take(records(chunks()), found, taker)
    return found


def _take(stream: Iterator[tuple[bytes, bytes]], found: Found, taker: Taker) -> None:
    name, columns = "", [("", "")]
    for kind, content in stream:
        if (kind == BEGIN) == bool(found.begin):
            raise bad("the backup does not begin as ours do")
        if kind == BEGIN:
            found.begin = _begin(parsed(content))
            taker.begin(found.begin)
        elif kind == TABLE:
            name, columns = _table(parsed(content), found)
            taker.table(name, [column for column, _ in columns])
        elif kind == ROWS and name:
            rows = _rows(parsed(content), columns)
            found.tables[name] += len(rows)
            _look(name, rows, found)
            taker.rows(rows)
        elif kind == FILE:
            taker.file(*_file(content, found))
        elif kind == END:
            _finish(parsed(content), found)
        else:
            raise bad("the backup has a record of an unknown kind")


def _begin(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("revision"), str):
        raise bad("the backup does not say which version made it")
    return value


def _table(value: Any, found: Found) -> tuple[str, list[tuple[str, str]]]:
    try:
        name, columns = str(value["name"]), [(str(column), str(kind)) for column, kind in value["columns"]]
    except (TypeError, KeyError, ValueError):
        raise bad("a table of the backup is not described") from None
    if name in found.tables or not all(map(_SQL_NAME.fullmatch, [name, *(column for column, _ in columns)])):
        raise bad("a table of the backup comes twice, or has no name that a table has")
    found.tables[name] = 0
    return name, columns


def _rows(value: Any, columns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    names, places = [name for name, _ in columns], [n for n, (_, kind) in enumerate(columns) if kind == "b"]
    try:
        for row in value:
            for place in places:
                if row[place] is not None:
                    row[place] = base64.b64decode(row[place], validate=True)
        return [dict(zip(names, row, strict=True)) for row in value]
    except (TypeError, ValueError, IndexError, binascii.Error):
        raise bad("rows of the backup do not fit their table") from None


def _file(content: bytes, found: Found) -> tuple[str, bytes]:
    title, _, body = content.partition(b"\n")
    name = title.decode("ascii", errors="replace")
    if not _NAME.fullmatch(name) or name in found.files:
        raise bad("a file of the backup has a name that we do not write")
    found.files[name] = sha256(body).hexdigest()
    return name, body


def _look(name: str, rows: list[dict[str, Any]], found: Found) -> None:
    try:
        if name == "fact":
            found.facts.update((str(row["name"]), str(row["value"])) for row in rows)
        elif name == "authority":
            found.authorities += rows
        elif name == "ledger_entry":
            for row in rows:
                _follow(row, found.edge)
    except (KeyError, TypeError):
        raise bad(f"rows of the table {name} are not those of ours") from None


def _follow(row: Mapping[str, Any], edge: Edge) -> None:
    if leaf_hash(row["body"]) != row["leaf_hash"]:
        raise bad(f"entry {row['position']} of the backup's ledger was changed")
    if row["position"] is None:
        return
    if row["position"] != edge.size:
        raise bad(f"entry {edge.size} of the backup's ledger is missing")
    edge.append(row["leaf_hash"])


def _finish(manifest: Mapping[str, Any], found: Found) -> None:
    if manifest.get("tables") != found.tables or manifest.get("files") != found.files:
        raise bad("the backup does not hold what its manifest names")
    if (checkpoint := manifest.get("head")) is None:
        return
    try:
        found.verifier = Verifier.parse(found.facts.get("ledger-verifier", ""))
        found.head = open_head(str(checkpoint), found.verifier)
    except BadRequest as error:
        raise bad(f"the backup's ledger head is not one of its ledger: {error.message}") from None
    if (found.head.size, found.head.root) != (found.edge.size, found.edge.root()):
        raise bad("the backup's ledger does not come to its signed head")
