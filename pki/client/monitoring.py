"""Somebody who watches the ledger from outside, in a mirror of it: what was issued, and whether history was rewritten.

It believes a verifier key and the head that it kept, and nothing of ours: each tile and entry is checked against a
signed head. What it finds is told once; a ledger that went back or forked is told each time: its head is not kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ca import files
from ca.errors import BadRequest, Conflict, NotFound
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash
from ca.ledger.proofs import check_consistency
from ca.ledger.tree import WIDTH, Tree, tile_name, unpack
from pki.client.fetching import base_of, fetch

MAX_BYTES = 1 << 25
SECONDS = 60.0
Take = Callable[[str], bytes]
"""Reads a file of a mirror: `checkpoint`, `tile/0/000`. `NotFound` if it is not there."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry that nobody expects: which name, in which place, by whom."""

    position: int
    name: str
    subject: str
    by: str
    at: int | None


@dataclass(frozen=True, slots=True)
class Watched:
    """What one look came to: the size that was known, the size now, and what should not be there."""

    before: int
    size: int
    findings: Sequence[Seen]


def source(where: str) -> Take:
    """The files of a mirror, in a directory or at an http(s) URL."""
    if re.match("https?://", where):
        base = base_of(where)
        return lambda path: fetch(f"{base}/{path}", most=MAX_BYTES, seconds=SECONDS) or b""
    return lambda path: _file(Path(where, path))


def watch(take: Take, verifier: Verifier, state: Path, expected: Sequence[str]) -> tuple[Watched, str]:
    """Look at what is new since the head in `state`; returns it with the checkpoint that `keep` is to be given.

    `Conflict` (`ledger-went-back`) or `BadRequest` (`bad-proof`, `bad-tile`) if history is not what it was.
    """
    kept = _kept(state, verifier)
    text = _text(take("checkpoint"))
    head = open_head(text, verifier)
    if head.size < kept.size:
        message = f"the ledger has gone back: {kept.size} entries were seen, and {head.size} are there"
        raise Conflict(message, code="ledger-went-back")
    tree = Tree(lambda level, number, width: _hashes(take, level, number, width), head.size, head.root)
    check_consistency(kept.size, kept.root, head.size, head.root, tree.consistency(kept.size))
    patterns = [_pattern(one) for one in expected]
    new = _entries(take, tree, kept.size)
    findings = [seen for position, raw in new for seen in _unexpected(position, raw, patterns)]
    return Watched(kept.size, head.size, findings), text


def keep(state: Path, checkpoint: str) -> None:
    """Remember a head, after what was found under it has been told."""
    files.replace(state, checkpoint.encode())


def _kept(state: Path, verifier: Verifier) -> Head:
    if not state.exists():
        return Head(verifier.name, 0, EMPTY_ROOT)
    return open_head(state.read_text(), verifier)


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no {path}", code="unknown-tile") from None


def _hashes(take: Take, level: int, number: int, width: int) -> bytes:
    return _tile(take, str(level), number, width)[: width * HASH_SIZE]


def _tile(take: Take, level: str, number: int, width: int) -> bytes:
    """A tile; an incomplete one may have become complete, and have gone, while we look."""
    try:
        return take(f"tile/{level}/{tile_name(number, width)}")
    except NotFound:
        if width == WIDTH:
            raise
        return take(f"tile/{level}/{tile_name(number, WIDTH)}")


def _entries(take: Take, tree: Tree, first: int) -> Iterator[tuple[int, bytes]]:
    """Every entry from `first` on with its position, each one that was signed."""
    number = first // WIDTH
    while width := tree.width(0, number):
        found = unpack(_tile(take, "entries", number, width))[:width]
        if b"".join(map(leaf_hash, found)) != tree.tile(0, number):
            raise BadRequest(f"the entries of tile {number} are not those that were signed", code="bad-tile")
        yield from ((number * WIDTH + place, raw) for place, raw in enumerate(found) if number * WIDTH + place >= first)
        number += 1


def _unexpected(position: int, raw: bytes, patterns: Sequence[re.Pattern[str]]) -> Iterator[Seen]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        yield Seen(position, "unreadable:", "", "", None)
        return
    for name in _names(body):
        if not any(pattern.fullmatch(name) for pattern in patterns):
            at = body.get("at")
            yield Seen(
                position, name, str(body.get("subject")), str(body.get("by")), at if isinstance(at, int) else None
            )


def _names(body: Mapping[str, Any]) -> list[str]:
    """What an entry brings into the world, as `--expect` names it; nothing for entries that certify nothing."""
    subject = str(body.get("subject"))
    match body.get("action"):
        case "certificate-issued":
            names = body.get("names")
            named = [str(name) for name in names] if isinstance(names, list) else []
            return named or [f"profile:{body.get('profile')}"]
        case "authority-created" | "authority-cross-certified":
            return [f"authority:{subject}"]
        case "issuance-abandoned":
            return [f"abandoned:{subject}"]
    return []


def _pattern(text: str) -> re.Pattern[str]:
    """`dns:*.example.internal`: a star stands for one or more characters of any kind."""
    if not re.match("[a-z]+:.", text):
        message = f"{text!r} is no name with its kind, such as dns:*.example.internal, authority:* or profile:sub-ca"
        raise BadRequest(message, code="bad-pattern")
    return re.compile(".+".join(map(re.escape, text.split("*"))), re.IGNORECASE | re.DOTALL)


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadRequest("the checkpoint is not text", code="bad-checkpoint") from None
