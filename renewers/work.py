"""Due work: one row a thing to do, leased to one process at a time, fenced, retried on a ladder, never done twice.

A holder's lease is the row's `due_at` in the future: when the holder dies, the work simply comes due again and somebody
else claims it, with a larger `fence`. Whatever a holder changes, it changes in one transaction with `settle` or `fail`,
which refuse a fence that is no longer the newest: who was too slow changes nothing. APScheduler only ticks; a tick that
was missed is caught up by the next, since what is due stays due.

What is scheduled while somebody is at it is not remembered here. A holder therefore calls `check` first in the
transaction that settles, and then looks whether there is more to do: whoever asks for more meanwhile waits for that
transaction, and finds the work settled. To look at what waits, and not to do it, read `renewers/backlog.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import clock
from ca.errors import CertwrightError, IssuerUnavailable, RateLimited, Refusal
from ca.store import Store, Transaction
from ca.store.commit import StaleChange
from renewers.models import Work
from renewers.plain import one_line

WAITING, STOPPED = "waiting", "stopped"
IS_WAITING: ColumnElement[bool] = col(Work.state) == literal_column(f"'{WAITING}'")
"""Written out, not bound: a plan that is kept for any value cannot use the index of what waits."""
MOST = 1000
"""How many pieces one claim takes at most."""
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
    schedule_all(tx, kind, [subject], at)


def schedule_all(tx: Transaction, kind: str, subjects: Sequence[str], at: int) -> None:
    """The same for many at once."""
    if subjects:
        tx.execute(_PLAN, [{"kind": kind, "subject": subject, "at": at} for subject in sorted(subjects)])


def hurry(tx: Transaction, kind: str, subject: str) -> bool:
    """Have this done now: overrides a back-off and a stop. False if somebody is at it this very moment.

    Since when it fails stays known. A holder whose lease is over counts for nobody, and is too slow from now on.
    """
    now = clock.timestamp()
    found = tx.execute(select(Work).where(_is(kind, subject)).with_for_update()).first()
    if found is None:
        schedule(tx, kind, subject, now)
        return True
    if found.holder is not None and found.due_at > now:
        return False
    values = {"state": WAITING, "holder": None, "fence": found.fence + 1, "attempts": 0}
    times = {"due_at": now, "due_since": min(found.due_since, now)}
    tx.execute(update(Work).where(col(Work.id) == found.id).values(**values, **times))
    return True


def cancel(tx: Transaction, kind: str, subject: str) -> None:
    """Have this never done. Whoever is at it will find its fence gone."""
    tx.execute(delete(Work).where(_is(kind, subject)))


def claim(store: Store, kinds: Sequence[str], *, limit: int, lease: int) -> list[Claim]:
    """Take up to `limit` pieces that are due, the longest due first, for `lease` seconds."""
    if limit < 1 or not kinds:
        return []
    due, holder = _due(kinds, min(limit, MOST)), secrets.token_hex(8)
    with store.read() as connection:  # look first: an empty look costs the writer nothing
        if connection.execute(due.limit(1), {"now": clock.timestamp()}).first() is None:
            return []

    def unit(tx: Transaction) -> list[Claim]:
        now = clock.timestamp()
        rows = tx.execute(due.with_for_update(skip_locked=True), {"now": now}).all()
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
    ids_by_holder: dict[str, list[int]] = {}
    for claim in claims:
        ids_by_holder.setdefault(claim.holder, []).append(claim.id)
    if not claims:
        return

    def unit(tx: Transaction) -> None:
        until = clock.timestamp() + lease
        for holder, ids in ids_by_holder.items():  # a holder's name is one claim's own: with the id it is the lease
            still_ours = and_(col(Work.id).in_(ids), col(Work.holder) == holder)
            tx.execute(update(Work).where(still_ours).values(due_at=until))

    store.write(unit)


def release(store: Store) -> int:
    """Make what is held due at once: for a process that knows that it is alone, and so that every holder is dead."""
    dead = update(Work).where(col(Work.holder).is_not(None), IS_WAITING)
    now = clock.timestamp()
    freed = dead.values(holder=None, due_at=now, fence=col(Work.fence) + 1)
    return store.write(lambda tx: int(tx.execute(freed).rowcount))


def check(tx: Transaction, claim: Claim) -> None:
    """`StaleChange` unless the claim is still ours; call it in every transaction that acts on one."""
    row = tx.execute(_LOCKED, {"claimed": claim.id}).first()
    if row is None or row.fence != claim.fence or row.holder != claim.holder:
        raise StaleChange(f"{claim.kind} of {claim.subject} was taken over by another process")


def settle(tx: Transaction, claim: Claim, *, again_at: int | None) -> None:
    """It is done. It comes due again at `again_at`, or never."""
    check(tx, claim)
    if again_at is None:
        tx.execute(_DONE, {"claimed": claim.id})
    else:
        tx.execute(_AGAIN, {"claimed": claim.id, "at": again_at})


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
        "last_code": error.code if isinstance(error, CertwrightError) else "internal",
        "last_error": describe(error),
    }
    tx.execute(update(Work).where(col(Work.id) == claim.id).values(**values))
    return Failed(next_at, attempts, since)


def is_permanent(error: Exception) -> bool:
    """Whether only a person can mend it.

    A wrong setting is tried again: it may be mended without a word to us. So is what was too much at once, and what
    clashed with somebody else's change: it is no longer so the next time.
    """
    passes = isinstance(error, RateLimited | StaleChange) or getattr(error, "code", None) == "duplicate"
    return isinstance(error, Refusal) and not passes


def wait_after(subject: str, attempts: int, error: Exception | None = None, longest: int | None = None) -> int:
    """Seconds until the next attempt: the ladder with jitter, at most `longest`, never before the other side says.

    `longest` is taken for a minute if it is less; what the other side says is taken for a week if it is more.
    """
    step = LADDER[min(max(attempts, 1), len(LADDER)) - 1]
    asked = _asked(error)
    if asked and attempts <= 1:
        step = asked  # the first time we come when we are asked to, even if that is sooner than we would
    drawn = int.from_bytes(sha256(f"{subject}\0{attempts}".encode()).digest()[:4], "big") / (1 << 32)
    wait = int(step * (1 + JITTER * drawn))
    if longest is not None:  # spread downward, so that what meets the cap together does not come back together either
        wait = min(wait, max(int(longest * (1 - JITTER * drawn)), LADDER[0]))
    return max(wait, asked)


def describe(error: Exception) -> str:
    """An error as it is kept and shown: one line, of bounded length.

    What is not of our tree is named by its kind alone, since its text may hold anything, a secret among it.
    """
    if isinstance(error, CertwrightError):
        return one_line(error.message)
    reason = error.strerror if isinstance(error, OSError) else None
    return one_line(f"{type(error).__name__}: {reason}" if reason else type(error).__name__)


def _asked(error: Exception | None) -> int:
    """How many seconds the other side wants us to stay away; 0 if it says nothing."""
    if not isinstance(error, IssuerUnavailable | RateLimited) or error.retry_after is None:
        return 0
    return min(max(int(error.retry_after), 1), LONGEST_REPLY)


def _is(kind: str, subject: str) -> ColumnElement[bool]:
    return and_(col(Work.kind) == kind, col(Work.subject) == subject)


def _due(kinds: Sequence[str], limit: int) -> Select[Any]:
    # Not the bare column: SQLite would then take the index by kind, and sort all that there is of each.
    of_kinds = (col(Work.kind) + "").in_(kinds)
    due = select(Work).where(IS_WAITING, col(Work.due_at) <= bindparam("now"), of_kinds)
    return due.order_by(col(Work.due_at)).limit(limit)


# What every piece of work runs, made once: to put a statement together costs more than to run it.
_CLAIMED = col(Work.id) == bindparam("claimed")
_LOCKED = select(col(Work.fence), col(Work.holder)).where(_CLAIMED).with_for_update()
_DONE = delete(Work).where(_CLAIMED)
_AGAIN = (
    update(Work)
    .where(_CLAIMED)
    .values(due_at=bindparam("at"), due_since=bindparam("at"), holder=None, attempts=0)
    .values(failing_since=None, last_error=None, last_code=None)
)
_ROW = insert(Work).values(
    kind=bindparam("kind"),
    subject=bindparam("subject"),
    state=WAITING,
    due_at=bindparam("at"),
    due_since=bindparam("at"),
    fence=0,
    attempts=0,
)
_IS_PLANNED = and_(col(Work.state) == WAITING, col(Work.holder).is_(None), col(Work.failing_since).is_(None))
_PLAN = _ROW.on_conflict_do_update(
    index_elements=["kind", "subject"],
    set_={"due_at": _ROW.excluded.due_at, "due_since": _ROW.excluded.due_since},
    where=and_(_IS_PLANNED, col(Work.due_at) != _ROW.excluded.due_at),
)
"""One statement, so that two replicas that plan the same thing at once do not meet."""
