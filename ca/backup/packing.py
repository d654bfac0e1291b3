"""What is inside a backup: records, compressed. A kind, a length, then JSON or bytes; the manifest comes last.

    B  begin     {"made_at", "revision", "dialect"}
    T  table     {"name", "columns": [[name, kind]]}    kind: "b" bytes in base64, "v" a JSON value
    R  rows      [[...], ...] of the table before
    F  file      name, a newline, content
    E  manifest  {"tables": {name: count}, "files": {name: sha256}, "sha256", "head"}

`sha256` covers every record before the manifest. No record is longer than `LONGEST`, so a reader needs no more room.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from ca.backup.sealing import Sealed, bad

LONGEST = 64 << 20
LEVEL = 3
_PIECE = 1 << 18
BEGIN, TABLE, ROWS, FILE, END = b"B", b"T", b"R", b"F", b"E"


class Packer:
    """Writes records into an envelope."""

    def __init__(self, sealed: Sealed) -> None:
        self._sealed = sealed
        self._deflate = zlib.compressobj(LEVEL)
        self._digest = sha256()

    def put(self, kind: bytes, content: bytes) -> None:
        """Write one record."""
        if len(content) > LONGEST:
            raise ValueError("a record of a backup is too long")
        record = kind + len(content).to_bytes(4, "big")
        self._digest.update(record)
        self._digest.update(content)
        self._sealed.write(self._deflate.compress(record))
        self._sealed.write(self._deflate.compress(content))

    def put_json(self, kind: bytes, value: Any) -> None:
        """The same for a JSON value."""
        self.put(kind, json.dumps(value, separators=(",", ":")).encode())

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and close the envelope."""
        self.put_json(END, manifest | {"sha256": self._digest.hexdigest()})
        self._sealed.write(self._deflate.flush())
        self._sealed.close()


def records(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The records of a backup, the manifest last. `BadRequest` if they are not whole, or not what was hashed."""
    source, digest, manifest = _Inflated(chunks), sha256(), None
    while (header := source.take(5, may_end=True)) != b"":
        if manifest is not None:
            raise bad("something follows the backup's manifest")
        length = int.from_bytes(header[1:], "big")
        if length > LONGEST:
            raise bad("a record of the backup is longer than any that we write")
        content = source.take(length)
        if header[:1] == END:
            manifest = parsed(content)
            if not isinstance(manifest, dict) or manifest.get("sha256") != digest.hexdigest():
                raise bad("the backup's content is not the one that its manifest names")
        digest.update(header)
        digest.update(content)
        yield header[:1], content
    if manifest is None:
        raise bad("the backup ends without a manifest")


def parsed(content: bytes) -> Any:
    """JSON of a record."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise bad("a record of the backup is not JSON") from None


class _Inflated:
    """Bytes of a compressed stream, never more in memory than one record and a piece."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._inflate = zlib.decompressobj()
        self._waiting = b""
        self._buffer = bytearray()
        self._is_over = False

    def take(self, count: int, *, may_end: bool = False) -> bytes:
        while len(self._buffer) < count and not self._is_over:
            self._more()
        if may_end and not self._buffer:
            return b""
        if len(self._buffer) < count:
            raise bad("the backup's content ends within a record")
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _more(self) -> None:
        if not self._waiting:
            chunk = next(self._chunks, None)
            if chunk is None:
                if not self._inflate.eof:
                    raise bad("the backup's content is cut off")
                self._is_over = True
                return
            self._waiting = chunk
        if self._inflate.eof:
            raise bad("something follows the backup's content")
        try:
            self._buffer += self._inflate.decompress(self._waiting, _PIECE)
        except zlib.error:
            raise bad("the backup's content cannot be decompressed") from None
        self._waiting = self._inflate.unconsumed_tail or self._inflate.unused_data
