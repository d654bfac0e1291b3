"""Due work: one row a thing to do, leased to one process at a time, fenced, retried on a ladder, never done twice.

A holder's lease is the row's `due_at` in the future: when the holder dies, the work simply comes due again and somebody
else claims it, with a larger `fence`. Whatever a holder changes, it changes in one transaction with `settle` or `fail`,
which refuse a fence that is no longer the newest: who was too slow changes nothing. APScheduler only ticks; a tick that
was missed is caught up by the next, since what is due stays due.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlmodel import col

from ca import clock
from ca.errors import CertwrightError, IssuerUnavailable, Misconfigured, Refusal
from ca.store import Store, Transaction
from ca.store.commit import StaleChange
from renewers.models import Work

WAITING, STOPPED = "waiting", "stopped"
LADDER = (60, 600, 3600, 4 * 3600, 12 * 3600, 86400)
"""Seconds until the next attempt after each failure in a row; the last one from then on."""
JITTER = 0.2
"""How much longer than the ladder a wait may be, as a part of it: what failed together does not come back together."""
LONGEST_REPLY = 7 * 86400
"""A `Retry-After` beyond this is taken for this."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A piece of work that is ours until its lease ends."""

    id: int
    kind: str
    subject: str
    fence: int
    holder: str
    attempts: int
    due_since: int
    failing_since: int | None


@dataclass(frozen=True, slots=True)
class Failed:
    """What a failure came to: the next attempt, or none if only a person can mend it."""

    next_at: int | None
    attempts: int
    since: int


def schedule(tx: Transaction, kind: str, subject: str, at: int) -> None:
    """Have this done at `at`. Moves what is planned already, unless somebody is at it, or it is failing or stopped."""
    found = tx.execute(select(Work).where(_is(kind, subject)).with_for_update()).first()
    if found is None:
        row = {
            "kind": kind,
            "subject": subject,
            "state": WAITING,
            "due_at": at,
            "due_since": at,
            "fence": 0,
            "attempts": 0,
        }
        tx.execute(insert(Work).values(**row))
    elif found.holder is None and found.state == WAITING and found.failing_since is None:
        tx.execute(update(Work).where(col(Work.id) == found.id).values(due_at=at, due_since=at))


def hurry(tx: Transaction, kind: str, subject: str) -> bool:
    """Have this done now: overrides a back-off and a stop. False if somebody is at it this very moment."""
    now = clock.timestamp()
    found = tx.execute(select(Work).where(_is(kind, subject)).with_for_update()).first()
    if found is None:
        schedule(tx, kind, subject, now)
        return True
    if found.holder is not None and found.due_at > now:
        return False
    values = {"state": WAITING, "due_at": now, "due_since": min(found.due_since, now), "attempts": 0}
    tx.execute(update(Work).where(col(Work.id) == found.id).values(**values))
    return True


def cancel(tx: Transaction, kind: str, subject: str) -> None:
    """Have this never done. Whoever is at it will find its fence gone."""
    tx.execute(delete(Work).where(_is(kind, subject)))


def claim(store: Store, kinds: Sequence[str], *, limit: int, lease: int) -> list[Claim]:
    """Take up to `limit` pieces that are due, the longest due first, for `lease` seconds."""
    holder = secrets.token_hex(8)
    due = (
        select(Work)
        .where(col(Work.state) == WAITING, col(Work.due_at) <= clock.timestamp(), col(Work.kind).in_(kinds))
        .order_by(col(Work.due_at))
        .limit(limit)
    )
    with store.read() as connection:  # look first: an empty look costs the writer nothing
        if connection.execute(due.limit(1)).first() is None:
            return []

    def unit(tx: Transaction) -> list[Claim]:
        now = clock.timestamp()
        rows = tx.execute(due.with_for_update(skip_locked=True)).all()
        if not rows:
            return []
        leased = {"holder": holder, "due_at": now + lease, "fence": col(Work.fence) + 1}
        tx.execute(update(Work).where(col(Work.id).in_([row.id for row in rows])).values(**leased))
        return [
            Claim(r.id, r.kind, r.subject, r.fence + 1, holder, r.attempts, r.due_since, r.failing_since) for r in rows
        ]

    return store.write(unit)


def extend(store: Store, claims: Sequence[Claim], lease: int) -> None:
    """Keep what we hold for `lease` seconds more; what is no longer ours is passed over."""
    ids = [claim.id for claim in claims]
    if not ids:
        return
    holders = {claim.holder for claim in claims}

    def unit(tx: Transaction) -> None:
        until = clock.timestamp() + lease
        tx.execute(update(Work).where(col(Work.id).in_(ids), col(Work.holder).in_(holders)).values(due_at=until))

    store.write(unit)


def check(tx: Transaction, claim: Claim) -> None:
    """`StaleChange` unless the claim is still ours; call it in every transaction that acts on one."""
    row = tx.execute(select(Work).where(col(Work.id) == claim.id).with_for_update()).first()
    if row is None or row.fence != claim.fence or row.holder != claim.holder:
        raise StaleChange(f"{claim.kind} of {claim.subject} was taken over by another process")


def settle(tx: Transaction, claim: Claim, *, again_at: int | None) -> None:
    """It is done. It comes due again at `again_at`, or never."""
    check(tx, claim)
    if again_at is None:
        tx.execute(delete(Work).where(col(Work.id) == claim.id))
        return
    fresh = {"holder": None, "due_at": again_at, "due_since": again_at, "attempts": 0}
    cleared = {"failing_since": None, "last_error": None, "last_code": None}
    tx.execute(update(Work).where(col(Work.id) == claim.id).values(**fresh, **cleared))


def fail(tx: Transaction, claim: Claim, error: Exception, *, longest: int | None = None) -> Failed:
    """It failed. It is tried again on the ladder, within `longest` seconds; or stops, where time mends nothing."""
    check(tx, claim)
    now = clock.timestamp()
    attempts, since = claim.attempts + 1, claim.failing_since or now
    is_final = is_permanent(error)
    next_at = None if is_final else now + wait_after(claim.subject, attempts, error, longest)
    values = {
        "state": STOPPED if is_final else WAITING,
        "holder": None,
        "due_at": next_at if next_at is not None else now,
        "attempts": attempts,
        "failing_since": since,
        "last_code": getattr(error, "code", "internal"),
        "last_error": describe(error),
    }
    tx.execute(update(Work).where(col(Work.id) == claim.id).values(**values))
    return Failed(next_at, attempts, since)


def is_permanent(error: Exception) -> bool:
    """Whether only a person can mend it. A wrong setting is tried again: it may be mended without a word to us."""
    return isinstance(error, Refusal) and not isinstance(error, Misconfigured)


def wait_after(subject: str, attempts: int, error: Exception | None = None, longest: int | None = None) -> int:
    """Seconds until the next attempt: the ladder with jitter, at most `longest`, never before the other side says."""
    step = LADDER[min(attempts, len(LADDER)) - 1]
    drawn = int.from_bytes(sha256(f"{subject}\0{attempts}".encode()).digest()[:4], "big") / (1 << 32)
    wait = int(step * (1 + JITTER * drawn))
    asked = getattr(error, "retry_after", None) if isinstance(error, IssuerUnavailable) else None
    if asked is not None:
        wait = max(int(asked), 1) if attempts == 1 else max(wait, int(asked))
    if longest is not None:
        wait = min(wait, max(longest, LADDER[0]))
    if asked is not None:  # who says when to come back is never asked earlier
        wait = max(wait, min(int(asked), LONGEST_REPLY))
    return wait


def describe(error: Exception) -> str:
    """An error as it is kept and shown: one line, of bounded length. What is not of our tree is named by its kind."""
    text = error.message if isinstance(error, CertwrightError) else f"{type(error).__name__}: {error}"
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]


def _is(kind: str, subject: str) -> ColumnElement[bool]:
    return and_(col(Work.kind) == kind, col(Work.subject) == subject)
