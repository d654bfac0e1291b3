"""One rotation as it stands: its row, and the transactions that move it. Nothing else changes a rotation's stage.

A holder of its work reads the row, does what the stage says, and records what came of it: under the fence of the work,
and only if nobody has steered meanwhile. Whoever steers adds a step; `record` sees that and drops its own, and the
story looks again. Evidence is kept with every step, in the ledger, and told as an event.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlmodel import col

from ca import clock
from ca.access import Caller, Role
from ca.errors import NotFound
from ca.ledger import log
from ca.store import Store, Transaction
from renewers import work
from renewers.models import Rotation, RotationStep
from renewers.rotation.plans import Policy
from renewers.telling import alarms, events
from renewers.work import Claim

KIND = "rotate"
"""The kind of work; its subject is the rotation's id."""
BY = Caller("system:rotation", Role.ADMIN)
OPEN, DONE, ABORTED = "open", "done", "aborted"
FAILING_ALARM, WAITS_ALARM = "rotation-failing", "rotation-waits"


class Stage(StrEnum):
    """Where a rotation is; the order is the story's."""

    PREPARE = "prepare"
    INTRODUCE = "introduce"
    PROVE = "prove"
    ACTIVATE = "activate"
    REISSUE = "reissue"
    DRAIN = "drain"
    DISTRUST = "distrust"
    RETIRE = "retire"
    DONE = "done"


ORDER = tuple(Stage)


@dataclass(frozen=True, slots=True)
class Underway:
    """A rotation as it was read."""

    id: int
    line: str
    state: str
    stage: Stage
    stage_since: int
    is_compromise: bool
    is_paused: bool
    is_reverting: bool
    outgoing: tuple[str, ...]
    incoming: tuple[str, ...]
    policy: Policy
    found: Mapping[str, Any]
    """What stages found and later ones go by: versions of streams by stage, and the replacement."""
    waits_for: tuple[str, ...]
    reason: str
    started_at: int
    step_id: int
    """The newest step: if there is a newer one, somebody has steered."""

    @property
    def goes_on(self) -> bool:
        """Whether there is something to do."""
        return self.state == OPEN and not self.is_paused

    def finding(self, **more: Any) -> dict[str, Any]:
        """The columns that change when something is found."""
        return {"versions": json.dumps({**self.found, **more}, sort_keys=True)}

    def versions(self, stage: Stage) -> Mapping[str, int]:
        """The versions that a stage has published; empty if it has not."""
        return dict(self.found.get(stage.value, {}))


@dataclass(frozen=True, slots=True)
class Done:
    """A stage is over; `evidence` says by what right."""

    next: Stage
    evidence: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the row that change with it."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something was done that is not to be done twice; the stage goes on."""

    what: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """It cannot go on, for these reasons; looked at again after so many seconds, or when somebody hurries it."""

    why: Sequence[str]
    seconds: int
    changes: Mapping[str, Any] = field(default_factory=dict)


Outcome = Done | Step | Wait


def load(connection: Connection, rotation_id: int) -> Underway | None:
    """A rotation; None if there is none."""
    row = connection.execute(select(Rotation).where(col(Rotation.id) == rotation_id)).first()
    return None if row is None else _underway(connection, row)


def load_open(connection: Connection) -> list[Underway]:
    """All that are open."""
    rows = connection.execute(select(Rotation).where(col(Rotation.state) == OPEN).order_by(col(Rotation.id))).all()
    return [_underway(connection, row) for row in rows]


def locked(tx: Transaction, rotation_id: int) -> Underway:
    """A rotation that nobody else changes before this transaction ends. `NotFound` if there is none."""
    row = tx.execute(select(Rotation).where(col(Rotation.id) == rotation_id).with_for_update()).first()
    if row is None:
        raise NotFound(f"there is no rotation {rotation_id}", code="unknown-rotation")
    return _underway(tx.connection, row)


def record(store: Store, claim: Claim, rotation: Underway, outcome: Outcome) -> bool:
    """Write down what a stage came to. True if there is more to do at once."""

    def unit(tx: Transaction) -> bool:
        work.check(tx, claim)
        if locked(tx, rotation.id).step_id != rotation.step_id:
            return True
        if isinstance(outcome, Wait):
            values = {"waits_for": json.dumps(list(outcome.why)), **outcome.changes}
            tx.execute(update(Rotation).where(col(Rotation.id) == rotation.id).values(**values))
            alarms.clear_alarm(tx, FAILING_ALARM, rotation.line)
            work.settle(tx, claim, again_at=clock.timestamp() + outcome.seconds)
            return False
        if isinstance(outcome, Step):
            say(tx, rotation, outcome.what, BY.identity, outcome.evidence, **outcome.changes)
            return True
        move(tx, rotation, outcome.next, BY.identity, outcome.evidence, **outcome.changes)
        return True

    return store.write(unit)


def rest(store: Store, claim: Claim, rotation: Underway | None) -> bool:
    """There is nothing to do, since it is over or paused. True if that is no longer so."""

    def unit(tx: Transaction) -> bool:
        work.check(tx, claim)
        if rotation is not None and locked(tx, rotation.id).step_id != rotation.step_id:
            return True
        work.settle(tx, claim, again_at=None)
        return False

    return store.write(unit)


def move(tx: Transaction, rotation: Underway, to: Stage, by: str, evidence: Mapping[str, Any], **changes: Any) -> None:
    """Take it to another stage, with everything that follows from that."""
    values = {"stage": to.value, "stage_since": clock.timestamp(), "waits_for": "[]"}
    if to is Stage.DONE:
        values |= {"state": ABORTED if rotation.is_reverting else DONE, "ended_at": clock.timestamp()}
    for kind in (FAILING_ALARM, WAITS_ALARM):
        alarms.clear_alarm(tx, kind, rotation.line)
    say(tx, rotation, f"to {to}", by, evidence, **{**values, **changes})


def say(tx: Transaction, rotation: Underway, what: str, by: str, evidence: Mapping[str, Any], **changes: Any) -> None:
    """Keep a step with its evidence, change the row with it, and tell."""
    if changes:
        tx.execute(update(Rotation).where(col(Rotation.id) == rotation.id).values(**changes))
    text = json.dumps(evidence, sort_keys=True)
    step = {"stage": rotation.stage.value, "what": what, "at": clock.timestamp(), "by": by, "evidence": text}
    tx.execute(insert(RotationStep).values(rotation_id=rotation.id, **step))
    details: dict[str, Any] = {"rotation": rotation.id, "stage": rotation.stage.value, "what": what}
    details["evidence"] = dict(evidence)
    log.append(tx, "rotation-stage", rotation.line, by, **details)
    message = f"rotation of {rotation.line}, {rotation.stage}: {what}"
    events.record(tx, "rotation-stage", rotation.line, message, **details)


def names(**lists: Iterable[str]) -> dict[str, str]:
    """The columns `outgoing` and `incoming` as the row has them."""
    return {column: json.dumps(list(found)) for column, found in lists.items()}


def _underway(connection: Connection, row: Row[Any]) -> Underway:
    newest = select(func.max(col(RotationStep.id))).where(col(RotationStep.rotation_id) == row.id)
    return Underway(
        id=row.id,
        line=row.line,
        state=row.state,
        stage=Stage(row.stage),
        stage_since=row.stage_since,
        is_compromise=row.is_compromise,
        is_paused=row.is_paused,
        is_reverting=row.is_reverting,
        outgoing=tuple(json.loads(row.outgoing)),
        incoming=tuple(json.loads(row.incoming)),
        policy=Policy.decode(row.policy),
        found=json.loads(row.versions),
        waits_for=tuple(json.loads(row.waits_for)),
        reason=row.reason,
        started_at=row.started_at,
        step_id=int(connection.execute(newest).scalar() or 0),
    )
