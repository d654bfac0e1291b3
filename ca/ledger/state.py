"""What was so at a moment that is past, by the ledger alone: a certificate, the CAs, the policy, and how many of what.

The state as of T is what the entries say that were made up to T, in their order, under the first head that was signed
well after T: what was appended at T has its place by then (`GRACE`). Each entry that counts is shown to be under that
head, whose signature is checked: an answer rests on the tree and not on the tables. Where the clock was set back,
entries that are older by the clock stand behind younger ones; `counting` says how many. Reads alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, Defect, NotFound
from ca.ledger.checkpoint import Verifier, open_head
from ca.ledger.merkle import leaf_hash
from ca.ledger.proofs import root_from_inclusion
from ca.ledger.tiles import tree_of
from ca.models import Authority, LedgerEntry, LedgerHead, ProfileVersion
from ca.store import Store

GRACE = 300
"""Seconds after which nothing that was appended at a moment still waits for its place."""
PROFILE = "profile:"
"""How the subject of a profile's entries begins."""
_ENTRY = select(col(LedgerEntry.position), col(LedgerEntry.leaf_hash), col(LedgerEntry.body))
_HEAD = select(LedgerHead).order_by(col(LedgerHead.size))


@dataclass(frozen=True, slots=True)
class Under:
    """The signed head that an answer rests on, and the moment that it is about."""

    at: int
    size: int
    root: bytes
    checkpoint: str
    signed_at: int


@dataclass(frozen=True, slots=True)
class CertificateThen:
    """What a certificate was at a moment. `state` is unknown, valid, held, revoked, expired or abandoned."""

    serial: str
    state: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What its issuance says: authority, profile, its SHA-256, names, end; since when and why it was not accepted."""
    positions: Sequence[int] = ()
    """The entries that say so."""


@dataclass(frozen=True, slots=True)
class AuthorityThen:
    """What a CA was."""

    name: str
    state: str
    since: int
    not_after: int


@dataclass(frozen=True, slots=True)
class ProfileThen:
    """Which version of a profile was in force; `content` is empty if it is not kept, or not what it was."""

    name: str
    sha256: str
    since: int
    content: str


def under(connection: Connection, verifier: Verifier, at: int) -> Under:
    """The head to rest on. `NotFound` without one; `Defect` if it is not what was signed."""
    if at > clock.timestamp():
        raise BadRequest("that moment is yet to come", code="bad-moment")
    row = connection.execute(_HEAD.where(col(LedgerHead.signed_at) > at + GRACE).limit(1)).first()
    row = row or connection.execute(_HEAD.order_by(None).order_by(col(LedgerHead.size).desc()).limit(1)).first()
    if row is None:
        raise NotFound("the ledger is empty", code="empty-ledger")
    head = open_head(row.checkpoint, verifier)
    if (head.size, head.root) != (row.size, row.root):
        raise damaged(f"the head of size {row.size} is not the one that was signed")
    return Under(at, head.size, head.root, row.checkpoint, row.signed_at)


def certificate_at(store: Store, verifier: Verifier, serial: str, at: int) -> tuple[Under, CertificateThen]:
    """What one certificate was."""
    with store.read(snapshot=True) as connection:
        found = under(connection, verifier, at)
        entries = list(_proved(connection, found, serial))
    facts: dict[str, Any] = {}
    for _, body in entries:
        fold_certificate(facts, body)
    return found, CertificateThen(serial, state_of(facts, at), facts, tuple(place for place, _ in entries))


def authorities_at(store: Store, verifier: Verifier, at: int) -> tuple[Under, list[AuthorityThen]]:
    """Which CAs there were, in which states."""
    with store.read(snapshot=True) as connection:
        found, then = under(connection, verifier, at), []
        for name in connection.execute(select(col(Authority.name)).order_by(col(Authority.id))).scalars():
            facts: dict[str, Any] = {}
            for _, body in _proved(connection, found, name):
                if str(body.get("action")).startswith("authority-") and "state" in body:
                    facts |= {"state": body["state"], "since": body["at"]}
                    facts.setdefault("not_after", body.get("not_after"))
            if facts:
                is_over = int(facts["not_after"] or 0) < at
                state = "expired" if is_over else str(facts["state"])
                then.append(AuthorityThen(name, state, int(facts["since"]), int(facts["not_after"] or 0)))
    return found, then


def profiles_at(store: Store, verifier: Verifier, at: int) -> tuple[Under, list[ProfileThen]]:
    """Which versions of which profiles were in force."""
    with store.read(snapshot=True) as connection:
        found, then = under(connection, verifier, at), []
        versions = connection.execute(select(ProfileVersion).order_by(col(ProfileVersion.name))).all()
        contents = {(row.name, row.sha256): row.content for row in versions}
        for name in dict.fromkeys(row.name for row in versions):
            last: Mapping[str, Any] | None = None
            for _, body in _proved(connection, found, f"{PROFILE}{name}"):
                last = body
            if last is not None and last.get("action") == "profile-loaded":
                digest = str(last.get("sha256"))
                then.append(ProfileThen(name, digest, int(last["at"]), contents.get((name, digest), "")))
    return found, then


def fold_certificate(facts: dict[str, Any], body: Mapping[str, Any]) -> None:
    """What one more entry about it adds to what is known of a certificate."""
    if (fold := _FOLDS.get(str(body.get("action")))) is not None:
        fold(facts, body)


def state_of(facts: Mapping[str, Any], at: int) -> str:
    """One word for what was folded."""
    if "issued_at" not in facts and "abandoned_at" not in facts:
        return "revoked" if "revoked_at" in facts else "unknown"
    if "revoked_at" in facts:
        return "held" if facts.get("reason") == "certificate-hold" else "revoked"
    if "abandoned_at" in facts:
        return "abandoned"
    return "expired" if int(facts["not_after"]) < at else "valid"


def _fold_issued(facts: dict[str, Any], body: Mapping[str, Any]) -> None:
    kept = ("authority", "profile", "profile_sha256", "names", "not_after", "sha256", "renews")
    facts |= {name: body[name] for name in kept if name in body} | {"issued_at": body["at"], "by": body["by"]}


def _fold_abandoned(facts: dict[str, Any], body: Mapping[str, Any]) -> None:
    facts |= {"abandoned_at": body["at"], "authority": body.get("authority"), "not_after": body.get("not_after")}


def _fold_revoked(facts: dict[str, Any], body: Mapping[str, Any]) -> None:
    if body.get("authority", facts.get("authority")) != facts.get("authority", body.get("authority")):
        return  # of another CA, whose serial numbers we do not give
    facts |= {name: body[name] for name in ("revoked_at", "reason", "authority") if name in body}


def _fold_released(facts: dict[str, Any], body: Mapping[str, Any]) -> None:
    facts.pop("revoked_at", None)
    facts.pop("reason", None)
    facts["released_at"] = body["at"]


_FOLDS: Mapping[str, Callable[[dict[str, Any], Mapping[str, Any]], None]] = {
    "certificate-issued": _fold_issued,
    "issuance-abandoned": _fold_abandoned,
    "certificate-held": _fold_revoked,
    "certificate-revoked": _fold_revoked,
    "unrecorded-certificate-revoked": _fold_revoked,
    "certificate-released": _fold_released,
}


def _proved(connection: Connection, found: Under, subject: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The entries about a subject up to the moment, in their order, each shown to be under the head."""
    place = col(LedgerEntry.position)
    query = _ENTRY.where(col(LedgerEntry.subject) == subject, place < found.size).order_by(place)
    tree = tree_of(connection, found.size)
    for row in connection.execute(query).all():
        if (
            root_from_inclusion(leaf_hash(row.body), row.position, found.size, tree.inclusion(row.position))
            != found.root
        ):
            raise damaged(f"entry {row.position} is not the one that was signed")
        body = json.loads(row.body)
        if int(body["at"]) <= found.at:
            yield row.position, body


def damaged(message: str) -> Defect:
    """The ledger is not what it was: nothing is answered from it."""
    return Defect(message, code="ledger-damaged", hint="certwright ledger verify says where")
