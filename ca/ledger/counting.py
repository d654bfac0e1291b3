"""How many certificates were issued, valid, held and revoked at a past moment: the whole ledger up to then, read once.

Every entry is hashed on the way, and the tree's root compared with the signed head in the end: what was counted is what
was signed. A million entries take some seconds; what is kept meanwhile is what was ever held or revoked.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.ledger import state
from ca.ledger.checkpoint import Verifier
from ca.ledger.merkle import Edge, leaf_hash
from ca.ledger.state import Under
from ca.models import LedgerEntry
from ca.store import Store

PAGE = 5000
BATCH = 500
_ISSUED = b'{"action":"certificate-issued"'
_FATES = {
    "certificate-held": "held",
    "certificate-revoked": "revoked",
    "certificate-released": "valid",
}
_BEGINNINGS = tuple(f'{{"action":"{action}"'.encode() for action in (*_FATES, "unrecorded-certificate-revoked"))


@dataclass(slots=True)
class Counts:
    """How many. `valid` are the unexpired that were neither held nor revoked; held and revoked are of any age."""

    issued: int = 0
    valid: int = 0
    held: int = 0
    revoked: int = 0
    expired: int = 0
    unrecorded: int = 0
    """Revoked without a record of their issuance."""
    by_authority: Counter[str] = field(default_factory=Counter)
    """The valid ones."""
    by_profile: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    """How many entries were made up to the moment."""
    disordered: int = 0
    """Those among them that stand behind one that is younger: the clock was set back."""


def counts_at(store: Store, verifier: Verifier, at: int) -> tuple[Under, Counts]:
    """Count. `Defect` (`ledger-damaged`) if what was read is not what was signed."""
    found, fates = Counts(), dict[str, str]()
    with store.read(snapshot=True) as connection:
        head, edge, is_younger = state.under(connection, verifier, at), Edge(), False
        for place, body in _bodies(connection, head.size):
            if place != edge.size:
                raise state.damaged(f"entry {edge.size} is missing")
            edge.append(leaf_hash(body))
            made = _made_at(body)
            if made > at:
                is_younger = True
                continue
            found.entries += 1
            found.disordered += is_younger
            _count(found, fates, body, at)
        if edge.size != head.size or edge.root() != head.root:
            raise state.damaged(f"the first {head.size} entries are not those that were signed")
        for serials in _batches([serial for serial, fate in fates.items() if fate != "valid"]):
            _take_off(connection, found, fates, serials, at)
    found.by_authority, found.by_profile = +found.by_authority, +found.by_profile
    found.valid = sum(found.by_authority.values())
    return head, found


def _bodies(connection: Connection, size: int) -> Iterator[tuple[int, bytes]]:
    place = col(LedgerEntry.position)
    query = select(place, col(LedgerEntry.body)).where(place < size).order_by(place)
    for row in connection.execute(query.execution_options(yield_per=PAGE)):
        yield row.position, bytes(row.body)


def _made_at(body: bytes) -> int:
    """When an entry was made. The keys are sorted, and this one comes second."""
    _, _, rest = body.partition(b'","at":')
    digits, _, _ = rest.partition(b",")
    return int(digits) if digits.isdigit() else int(json.loads(body)["at"])


def _count(found: Counts, fates: dict[str, str], body: bytes, at: int) -> None:
    if body.startswith(_ISSUED):
        said = json.loads(body)
        found.issued += 1
        if int(said["not_after"]) < at:
            found.expired += 1
        else:
            _add(found, said, 1)
    elif body.startswith(_BEGINNINGS):
        said = json.loads(body)
        if said["action"] in _FATES:
            fates[said["subject"]] = _FATES[said["action"]]
        else:
            found.unrecorded += 1


def _add(found: Counts, said: Mapping[str, Any], number: int) -> None:
    found.by_authority[str(said["authority"])] += number
    found.by_profile[str(said["profile"])] += number


def _take_off(connection: Connection, found: Counts, fates: Mapping[str, str], serials: Sequence[str], at: int) -> None:
    """What was held or revoked is not valid. Of CAs and of what was given up, there is no issuance."""
    query = select(col(LedgerEntry.subject), col(LedgerEntry.body)).where(col(LedgerEntry.subject).in_(serials))
    for row in connection.execute(query):
        body = bytes(row.body)
        if not body.startswith(_ISSUED) or _made_at(body) > at:
            continue
        said = json.loads(body)
        if int(said["not_after"]) < at:
            found.expired -= 1
        else:
            _add(found, said, -1)
    for serial in serials:
        found.held += fates[serial] == "held"
        found.revoked += fates[serial] == "revoked"


def _batches(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
