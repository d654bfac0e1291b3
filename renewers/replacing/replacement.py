"""One mass replacement, top to bottom: list, renew in turn, verify, revoke, account for everything.

Each step looks at what is there and may be the last before a crash; whoever takes the work over goes on. Nothing is
held in memory between two looks. What is renewed is renewed by `renewing/renewal.py` and delivered as ever: here is
decided only when, and that the key is a new one. Read `underway.py` for the words, `turns.py` for the pace.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Operation
from ca.errors import Conflict, NotFound
from ca.ledger import log
from ca.store import Transaction
from ca.x509.revocation_list import RevocationReason
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Replacement, ReplacementItem, Tracked
from renewers.plain import one_line
from renewers.replacing import affected, listing, others, plans, revoking, selection, settling, turns, underway
from renewers.replacing.order import OTHERS
from renewers.replacing.plans import LONGEST_REASON, ReplacementPlan
from renewers.replacing.underway import (
    DONE,
    FAILING_ALARM,
    FOREIGN,
    KIND,
    OPEN,
    STOPPED,
    VERIFIED,
    WAITING,
    Progress,
    Underway,
    progress,
)
from renewers.rotation import leaves
from renewers.telling import alarms, events
from renewers.telling.alarms import Trouble
from renewers.work import Claim, Failed

__all__ = ["Progress", "begin", "failed", "progress", "replace", "stop", "write_down"]

SOON, LATER = 1, 10
"""Seconds until it looks again: while renewals of ours are under way, and while only others have to do something."""
LONGEST = 300
"""Seconds between two attempts at what fails, at most."""


def begin(lifecycle: Lifecycle, caller: Caller, plan: ReplacementPlan, *, rotation_id: int | None = None) -> int:
    """Begin a mass replacement; returns its id. `PolicyRefusal` with all that is wrong with the plan."""
    caller.must(Operation.MANAGE_INVENTORY)
    if plan.revokes:
        caller.must(Operation.REVOKE_ANY)
        if plan.revocation_reason is RevocationReason.KEY_COMPROMISE:
            caller.must(Operation.BLOCK_KEYS)
    plans.check(plan)
    exact = dataclasses.replace(plan, selection=selection.pinned(lifecycle, plan.selection))
    with lifecycle.store.read() as connection:
        selection.resolve(lifecycle, connection, exact.selection)
    return lifecycle.store.write(lambda tx: write_down(tx, caller, exact, rotation_id))


def write_down(tx: Transaction, caller: Caller, plan: ReplacementPlan, rotation_id: int | None) -> int:
    """The same in a transaction of somebody who has checked the plan and the caller."""
    moment = clock.timestamp()
    until = int(tx.execute(select(func.max(col(Tracked.id)))).scalar() or 0)
    row: dict[str, Any] = {
        "rotation_id": rotation_id,
        "state": OPEN,
        "selection": plan.selection.encode(),
        "reason": one_line(plan.reason, LONGEST_REASON),
        "per_minute": plan.per_minute,
        "revokes": plan.revokes,
        "policy": plans.policy_of(plan).encode(),
        "found": json.dumps({"until": until, "entry": leaves.newest_entry(tx.connection)}),
        "counts": "{}",
        "started_at": moment,
        "started_by": caller.identity,
    }
    made = int(tx.execute(insert(Replacement).values(**row).returning(col(Replacement.id))).scalar_one())
    details = {"selection": json.loads(row["selection"]), "reason": row["reason"], "per_minute": plan.per_minute}
    more = {"revokes": plan.revokes, "policy": json.loads(row["policy"]), "rotation": rotation_id}
    log.append(tx, "replacement-begun", underway.subject(made), caller.identity, **details, **more)
    message = f"replacement {made} has begun: {row['reason']}"
    events.record(tx, "replacement-begun", underway.subject(made), message, severity="warning", **details)
    work.schedule(tx, KIND, str(made), moment)
    return made


def stop(lifecycle: Lifecycle, caller: Caller, replacement_id: int, reason: str) -> Progress:
    """Replace no more; what is being renewed at this moment is finished. `Conflict` if it is over already."""
    caller.must(Operation.MANAGE_INVENTORY)
    written = plans.written(reason)

    def unit(tx: Transaction) -> Progress:
        row = tx.execute(select(Replacement).where(col(Replacement.id) == replacement_id).with_for_update()).first()
        if row is None:
            raise NotFound(f"there is no replacement {replacement_id}", code="unknown-replacement")
        if row.state != OPEN:
            raise Conflict(f"replacement {replacement_id} is {row.state} already", code="replacement-over")
        if row.rotation_id is not None:
            raise Conflict(
                f"replacement {replacement_id} belongs to rotation {row.rotation_id}",
                code="replacement-of-rotation",
                hint="certwright rotation abort",
            )
        counts = progress(tx.connection, replacement_id)
        close(tx, replacement_id, STOPPED, counts, caller.identity, reason=written)
        work.cancel(tx, KIND, str(replacement_id))
        return counts

    return lifecycle.store.write(unit)


def replace(lifecycle: Lifecycle, claim: Claim) -> None:
    """Take one replacement as far as it goes now: the handler of `replace` work."""
    lifecycle.installation.authorities.forget()  # what another process has changed counts at once
    with lifecycle.store.read() as connection:
        replacing = underway.load(connection, int(claim.subject))
    if replacing is None or replacing.state != OPEN:
        lifecycle.store.write(lambda tx: _rest(tx, claim, replacing))
        return

    # 1. Write down what is selected: once everything that was issued before the beginning is known.
    if "listed_at" not in replacing.found:
        if leaves.is_behind(lifecycle, int(replacing.found["entry"])):
            lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=clock.timestamp() + SOON))
            return
        replacing = listing.write_down(lifecycle, claim, replacing)
    replacing = affected.tell(lifecycle, claim, replacing)

    # 2. What has come to its end, was replaced, is seen everywhere.
    moved = settling.settle(lifecycle, claim, replacing)
    replacing, by_others = others.look(lifecycle, claim, replacing)

    # 3. Revoke what was replaced and verified; after the deadline, what is left.
    moved += by_others + revoking.revoke(lifecycle, claim, replacing)

    # 4. Let those begin whose turn it is, and tell the others.
    replacing, _begun = turns.take(lifecycle, claim, replacing)
    replacing = others.say(lifecycle, claim, replacing)

    # 5. Look again soon; or account for everything, once nothing came late.
    left = _left(lifecycle, replacing)
    if not left.any and _is_complete(lifecycle, claim, replacing):
        lifecycle.store.write(lambda tx: _finish(tx, claim, replacing))
        return
    wait = SOON if left.ours or not left.any else LATER
    lifecycle.store.write(lambda tx: _again(tx, claim, replacing, wait, has_moved=moved > 0))


def failed(_lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """It is tried again, and said."""
    result = work.fail(tx, claim, error, longest=LONGEST)
    message = f"replacement {claim.subject} fails: {work.describe(error)}"
    severity = "error" if result.next_at is not None else "critical"
    hint = getattr(error, "hint", None) or "nothing more is replaced until the cause is mended"
    alarms.raise_alarm(
        tx, Trouble(FAILING_ALARM, underway.subject(int(claim.subject)), severity, message, hint, since=result.since)
    )
    return result


def close(tx: Transaction, replacement_id: int, state: str, counts: Progress, by: str, **more: Any) -> None:
    """It is over: the account is kept, in the ledger as well, and told."""
    account = asdict(counts)
    values = {"state": state, "counts": json.dumps(account, sort_keys=True), "ended_at": clock.timestamp()}
    tx.execute(update(Replacement).where(col(Replacement.id) == replacement_id).values(**values))
    others.hush(tx, replacement_id)
    alarms.clear_alarm(tx, FAILING_ALARM, underway.subject(replacement_id))
    log.append(tx, f"replacement-{state}", underway.subject(replacement_id), by, counts=account, **more)
    message = f"replacement {replacement_id} is {state}: {counts.total - counts.left} of {counts.total} accounted for"
    events.record(tx, f"replacement-{state}", underway.subject(replacement_id), message, counts=account, **more)


@dataclass(frozen=True, slots=True)
class _Left:
    """Whether something is to be done yet, and whether by us."""

    any: bool
    ours: bool


def _left(lifecycle: Lifecycle, replacing: Underway) -> _Left:
    of_it = select(col(ReplacementItem.tracked_id)).where(col(ReplacementItem.replacement_id) == replacing.id).limit(1)
    state, place = col(ReplacementItem.state), col(ReplacementItem.place)
    open_states = ["renewing", "replaced"]
    with lifecycle.store.read() as connection:
        ours = connection.execute(of_it.where(state.in_(open_states))).first() is not None
        ours = ours or connection.execute(of_it.where(state == WAITING, place < OTHERS)).first() is not None
        if replacing.revokes and not ours:
            unrevoked = of_it.where(state == VERIFIED, col(ReplacementItem.note) != FOREIGN)
            ours = connection.execute(unrevoked).first() is not None
        waits = connection.execute(of_it.where(state == WAITING)).first() is not None
    return _Left(ours or waits, ours)


def _is_complete(lifecycle: Lifecycle, claim: Claim, replacing: Underway) -> bool:
    """Whether nothing came late: everything that was issued up to now is known, and none of it is selected."""
    with lifecycle.store.read() as connection:
        entry = leaves.newest_entry(connection)
    if leaves.is_behind(lifecycle, entry):
        return False
    listing.write_down(lifecycle, claim, replacing)
    return not _left(lifecycle, replacing).any


def _finish(tx: Transaction, claim: Claim, replacing: Underway) -> None:
    work.check(tx, claim)
    counts = progress(tx.connection, replacing.id)
    details = {"rotation": replacing.rotation_id, "reason": replacing.reason}
    close(tx, replacing.id, DONE, counts, underway.BY.identity, **details)
    _tell_rotation(tx, replacing)
    work.settle(tx, claim, again_at=clock.timestamp() + SOON)  # to tell it once more, if it was at work just now


def _again(tx: Transaction, claim: Claim, replacing: Underway, wait: int, *, has_moved: bool) -> None:
    work.settle(tx, claim, again_at=clock.timestamp() + wait)
    alarms.clear_alarm(tx, FAILING_ALARM, underway.subject(replacing.id))
    if has_moved:
        _tell_rotation(tx, replacing)


def _rest(tx: Transaction, claim: Claim, replacing: Underway | None) -> None:
    """There is nothing to do any more."""
    work.settle(tx, claim, again_at=None)
    if replacing is not None:
        _tell_rotation(tx, replacing)


def _tell_rotation(tx: Transaction, replacing: Underway) -> None:
    """A rotation that waits for it looks again now; one that was stopped by a failure stays so."""
    if replacing.rotation_id is not None:
        work.schedule(tx, "rotate", str(replacing.rotation_id), clock.timestamp())
