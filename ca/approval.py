"""Two persons for what changes the CAs themselves, where the settings say so: one asks, another one grants, once.

An act is refused the first time, and written down with everything that decides what it will do. When somebody else has
granted exactly that, whoever asked says it again, and it is done: nothing is stored that could be done otherwise than
it was looked at. What the program does by itself (`system:`) goes through; what had it begin was granted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import Conflict, Forbidden, NotFound
from ca.installation import Installation
from ca.ledger import log
from ca.models import ApiToken, Approval, LedgerEntry, SignInLink
from ca.store import Transaction

GRANTED, REFUSED = "granted", "refused"
MOST_SHOWN = 200
LONGEST_CHAIN = 2000
"""Identities that were made by identities that were made by identities: a certificate that is renewed is a chain."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One act; times in seconds since the epoch. `state` is waits, granted, refused, used or expired."""

    id: int
    act: str
    subject: str
    details: dict[str, Any]
    state: str
    asked_by: str
    asked_at: int
    expires_at: int
    decided_by: str | None
    decided_at: int | None
    used_at: int | None


def must(
    installation: Installation, caller: Caller, act: str, subject: str, /, *, spends: bool = True, **details: Any
) -> None:
    """`Forbidden` unless one person is enough, or another one has granted exactly this. A grant is spent here.

    It is spent before the act is done, in a transaction of its own: an act that fails afterwards is asked for anew.
    """
    if not installation.approval.two_persons or caller.identity.startswith("system:"):
        return
    told = json.dumps(details, sort_keys=True, default=str)
    digest = sha256("\0".join((act, subject, told)).encode()).hexdigest()
    own = col(Approval.digest) == digest, col(Approval.asked_by) == caller.identity
    now = clock.timestamp()
    open_ = col(Approval.used_at).is_(None), col(Approval.expires_at) > now
    query = select(Approval).where(*own, *open_).order_by(col(Approval.id)).with_for_update()

    def unit(tx: Transaction) -> int | None:
        rows = [row for row in tx.execute(query) if row.decision != REFUSED]
        granted = next((row for row in rows if row.decision == GRANTED), None)
        if granted is not None and not spends:
            return None
        if granted is not None:
            tx.execute(update(Approval).where(col(Approval.id) == granted.id).values(used_at=now))
            log.append(tx, "approval-used", str(granted.id), caller.identity, digest=digest)
            return None
        return int(rows[0].id) if rows else _ask(tx, installation, caller, act, subject, told, digest)

    if (waiting := installation.store.write(unit)) is not None:
        raise Forbidden(
            f"to {act} ({subject}) takes two persons: approval {waiting} waits for another one",
            code="approval-needed",
            hint=f"somebody else: certwright approval grant {waiting}; then say it again, in the same words",
        )


def _ask(
    tx: Transaction, installation: Installation, caller: Caller, act: str, subject: str, details: str, digest: str
) -> int:
    now = clock.timestamp()
    row = {
        "act": act,
        "subject": subject,
        "details": details,
        "digest": digest,
        "asked_by": caller.identity,
        "asked_at": now,
        "expires_at": now + int(installation.approval.lifetime.total_seconds()),
    }
    made = int(tx.execute(insert(Approval).values(**row).returning(col(Approval.id))).scalar_one())
    log.append(tx, "approval-asked", str(made), caller.identity, act=act, about=subject, digest=digest)
    return made


def listing(installation: Installation, caller: Caller) -> list[Shown]:
    """What was asked for, the newest first, at most 200."""
    caller.must(Operation.READ_AUTHORITIES)
    query = select(Approval).order_by(col(Approval.id).desc()).limit(MOST_SHOWN)
    with installation.store.read() as connection:
        return [_shown(row) for row in connection.execute(query)]


def undecided(installation: Installation) -> int:
    """How many acts wait for the word of a second person."""
    waiting = (
        select(func.count())
        .select_from(Approval)
        .where(col(Approval.decision).is_(None), col(Approval.used_at).is_(None))
        .where(col(Approval.expires_at) > clock.timestamp())
    )
    with installation.store.read() as connection:
        return connection.execute(waiting).scalar_one()


def find(installation: Installation, caller: Caller, identity: int) -> Shown:
    """One of them; `NotFound` if there is none."""
    caller.must(Operation.READ_AUTHORITIES)
    with installation.store.read() as connection:
        row = connection.execute(select(Approval).where(col(Approval.id) == identity)).first()
    if row is None:
        raise NotFound(f"there is no approval {identity}", code="unknown-approval", hint="certwright approval list")
    return _shown(row)


def decide(installation: Installation, caller: Caller, identity: int, *, is_granted: bool) -> Shown:
    """Grant an act of somebody else, or refuse it. Who asked may take back what they asked for by refusing it."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    found = find(installation, caller, identity)
    now, word = clock.timestamp(), GRANTED if is_granted else REFUSED

    def unit(tx: Transaction) -> None:
        if is_granted and (why := _same_person(tx, found.asked_by, caller.identity)) is not None:
            raise Forbidden(why, code="same-person", hint="a second person has an identity that somebody else made")
        waiting = col(Approval.id) == identity, col(Approval.decision).is_(None), col(Approval.expires_at) > now
        values = {"decision": word, "decided_by": caller.identity, "decided_at": now}
        if tx.execute(update(Approval).where(*waiting).values(**values)).rowcount != 1:
            raise Conflict(f"approval {identity} does not wait any more", code="approval-ended")
        log.append(tx, f"approval-{word}", str(identity), caller.identity, asked_by=found.asked_by)

    installation.store.write(unit)
    return find(installation, caller, identity)


def _same_person(tx: Transaction, one: str, other: str) -> str | None:
    """Why two identities cannot be two persons: they are one, or one has made the other; None if they can be."""
    if one == other:
        return f"{other} has asked for it and does not grant it"
    for made, maker in ((one, other), (other, one)):
        if maker in _makers(tx, made):
            return f"{made} was made by {maker}, or by what {maker} has made"
    return None


def _makers(tx: Transaction, identity: str) -> set[str]:
    """Who made a token or a link, or asked for a certificate; and who made theirs, and so on."""
    found: set[str] = set()
    waiting = [identity]
    while waiting:
        new = _made_by(tx, waiting.pop()) - found
        found |= new
        waiting += new
        if len(found) > LONGEST_CHAIN:
            raise Forbidden(f"who made the identity {identity} is a longer story than is followed", code="same-person")
    return found


def _made_by(tx: Transaction, identity: str) -> set[str]:
    kind, _, name = identity.partition(":")
    match kind:
        case "token":
            query = select(col(ApiToken.created_by)).where(col(ApiToken.name) == name)
        case "link":
            query = select(col(SignInLink.made_by)).where(col(SignInLink.identity) == identity)
        case "certificate":  # by the ledger, which forgets none
            issued = select(col(LedgerEntry.body)).where(col(LedgerEntry.subject) == name)
            said = [json.loads(body) for body in tx.execute(issued).scalars()]
            return {str(one["by"]) for one in said if one["action"] == "certificate-issued"}
        case _:
            return set()
    return set(tx.execute(query).scalars())


def _shown(row: Any) -> Shown:
    if row.used_at is not None:
        state = "used"
    elif row.decision == REFUSED:
        state = REFUSED
    elif row.expires_at <= clock.timestamp():
        state = "expired"
    else:
        state = row.decision or "waits"
    names = ("id", "act", "subject", "asked_by", "asked_at", "expires_at", "decided_by", "decided_at", "used_at")
    return Shown(state=state, details=json.loads(row.details), **{name: getattr(row, name) for name in names})
