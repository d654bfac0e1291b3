"""Rotating CAs in time, by themselves: when the next one is prepared and activated, and who is told if that is off.

As SPIRE does until measured otherwise: the next authority is prepared at half of the life, at most 30 days ahead, and
activated at a sixth of it, at most 7 days. But a leaf never outlives its issuer, so a CA has to go while a leaf as long
as its profiles allow still fits into what is left of it; though never before half of its life, or it would go again
as soon as it came. Times are pure functions of the CA and its longest leaf.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from ca import clock
from ca.authority import State
from ca.errors import Conflict, Refusal
from ca.models import Authority
from ca.store import Transaction
from renewers.lifecycle import Lifecycle
from renewers.rotation import impact, starting, underway
from renewers.rotation.plans import RotationPlan
from renewers.rotation.underway import BY, WAITS_ALARM, Underway
from renewers.telling import alarms
from renewers.telling.alarms import Trouble

DAY = 86400
PREPARE_AHEAD, ACTIVATE_AHEAD = 30 * DAY, 7 * DAY
WAITS_LONG = DAY
"""Seconds in one stage after which somebody is told."""
DUE_ALARM = "rotation-due"
NAMED = 5


@dataclass(frozen=True, slots=True)
class Times:
    """When the next generation of a CA is to be prepared, and to sign."""

    prepare_at: int
    activate_at: int


@dataclass(frozen=True, slots=True)
class Automatic:
    """Whether rotations begin by themselves."""

    is_on: bool = True


def times(not_before: int, not_after: int, longest_leaf: int) -> Times:
    """When a CA's successor is prepared and activated; `longest_leaf` is in seconds."""
    life = not_after - not_before + 1
    activate = min(max(min(life // 6, ACTIVATE_AHEAD), longest_leaf), life // 2)
    between = min(life // 2, PREPARE_AHEAD) - min(life // 6, ACTIVATE_AHEAD)
    prepare = min(activate + between, life * 2 // 3)
    return Times(not_after - max(prepare, activate), not_after - activate)


def start_due(lifecycle: Lifecycle, policy: Automatic | None = None) -> int:
    """Start the rotations whose time has come, or raise an alarm where that is off or refused; returns how many began.

    A root goes before the lines beneath it, and takes them along.
    """
    is_on = policy is None or policy.is_on
    lifecycle.installation.authorities.forget()
    with lifecycle.store.read(snapshot=True) as connection:
        open_ones = underway.load_open(connection)
    lifecycle.store.write(lambda tx: _watch(tx, open_ones))
    started = 0
    for row, when in _by_rank(lifecycle):
        troubles = [] if clock.timestamp() < when.prepare_at or _is_covered(lifecycle, row) else [_due(row, "")]
        if troubles and is_on:
            try:
                starting.start(lifecycle, BY, _plan(row, when))
                started, troubles = started + 1, []
            except Conflict:  # another replica was faster, or a rotation of a line beneath it is open: next time
                troubles = []
            except Refusal as error:
                troubles = [_due(row, f": {error.message}")]
        lifecycle.store.write(partial(_say, row=row, troubles=troubles))
    return started


def _by_rank(lifecycle: Lifecycle) -> list[tuple[Authority, Times]]:
    """The CAs that sign, roots first, with their times."""
    found = [
        (row, times(row.not_before, row.not_after, impact.longest_leaf(lifecycle, row.line)))
        for row in lifecycle.installation.authorities.all()
        if row.state == State.ACTIVE
    ]
    return sorted(found, key=lambda pair: (pair[0].parent_id is not None, pair[0].id or 0))


def _is_covered(lifecycle: Lifecycle, row: Authority) -> bool:
    """Whether a rotation is open that this CA goes with."""
    with lifecycle.store.read() as connection:
        return any(row.name in (*one.outgoing, *one.incoming) for one in underway.load_open(connection))


def _plan(row: Authority, when: Times) -> RotationPlan:
    end = clock.from_timestamp(row.not_after)
    return RotationPlan(row.line, f"{row.name} ends on {end:%Y-%m-%d}: its time has come", activate_at=when.activate_at)


def _due(row: Authority, why: str) -> Trouble:
    end = clock.from_timestamp(row.not_after)
    message = f"{row.name} ends on {end:%Y-%m-%d} and no rotation of it is open{why}"
    severity = "critical" if row.not_after - clock.timestamp() < ACTIVATE_AHEAD else "warning"
    return Trouble(DUE_ALARM, row.name, severity, message, f"certwright ca rotate {row.line}")


def _say(tx: Transaction, row: Authority, troubles: list[Trouble]) -> None:
    for trouble in troubles:
        alarms.raise_alarm(tx, trouble)
    if not troubles:
        alarms.clear_alarm(tx, DUE_ALARM, row.name)


def _watch(tx: Transaction, open_ones: list[Underway]) -> None:
    """Say which rotations have waited long, and for whom."""
    for trouble in _waiting(open_ones):
        alarms.raise_alarm(tx, trouble)


def _waiting(open_ones: list[Underway]) -> Iterator[Trouble]:
    for one in open_ones:
        if clock.timestamp() - one.stage_since < WAITS_LONG or not (one.is_paused or one.waits_for):
            continue
        named = "; ".join(one.waits_for[:NAMED]) + ("; and more" if len(one.waits_for) > NAMED else "")
        why = "is paused" if one.is_paused else f"waits for {named}"
        message = f"the rotation of {one.line} is at {one.stage} for more than a day: it {why}"
        hint = "resume it, or turn it back" if one.is_paused else "mend what it waits for, or override it in writing"
        yield Trouble(WAITS_ALARM, one.line, "warning", message, hint, since=one.stage_since)
