"""Where `bundle verify` remembers: of each stream the version that was accepted last, and the numbers of its lists.

It only ever grows: what was accepted once is never forgotten for something older. Whoever loses it begins anew, and is
told of forgeries and of what has expired, but for one time not of a replay.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ca import files
from ca.errors import BadRequest
from ca.publication.manifest import Manifest
from ca.publication.opening import Held
from ca.publication.strict import LARGEST_NUMBER, read_object

LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered, by stream and, where it is another trust domain's stream, by who publishes it."""

    versions: dict[str, Held] = field(default_factory=dict)
    numbers: dict[str, dict[str, int]] = field(default_factory=dict)

    def version_of(self, key: str) -> Held | None:
        """The version that was accepted last; see `key_of`."""
        return self.versions.get(key)

    def numbers_of(self, key: str) -> dict[str, int]:
        """The highest number of each of its lists."""
        return self.numbers.get(key, {})

    def after(self, manifest: Manifest) -> Memory:
        """The same with a manifest that was accepted."""
        key = key_of(manifest.trust_domain, manifest.stream)
        numbers = dict(self.numbers_of(key))
        for entry in manifest.lists:
            numbers[entry.key] = max(entry.number, numbers.get(entry.key, 0))
        held = Held(manifest.version, manifest.sha256)
        return Memory({**self.versions, key: held}, {**self.numbers, key: numbers})


def key_of(trust_domain: str, stream: str) -> str:
    """Under which key a stream is remembered: two publishers of one stream have versions of their own."""
    return stream if stream.partition(":")[2] == trust_domain else f"{stream} by {trust_domain}"


def read_held(path: Path | None, *, may_be_new: bool) -> Memory:
    """What a file remembers; nothing without one. A file that is not there is refused unless it is about to be made."""
    if path is None or (may_be_new and not path.exists()):
        return Memory()
    found = read_object(path.read_bytes(), most=LARGEST, code="bad-held", what=f"{path}")
    try:
        versions, numbers = found.pop("versions"), found.pop("numbers")
        memory = Memory(
            {stream: Held(_number(one["version"]), _text(one["sha256"])) for stream, one in versions.items()},
            {stream: {key: _number(one) for key, one in lists.items()} for stream, lists in numbers.items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        found = {"unknown": None}
        memory = Memory()
    if found:
        hint = "it is written by certwright bundle verify --held FILE --update, and by nothing else"
        raise BadRequest(f"{path} does not say what is held", code="bad-held", hint=hint)
    return memory


def write_held(path: Path, memory: Memory) -> None:
    """Exchange the file in one step."""
    versions = {stream: {"version": one.version, "sha256": one.sha256} for stream, one in memory.versions.items()}
    content = {"versions": versions, "numbers": memory.numbers}
    files.replace(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST_NUMBER:
        raise ValueError("not a number that a version can have")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64:
        raise ValueError("not a hash")
    return value
