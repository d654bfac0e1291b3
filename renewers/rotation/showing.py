"""A rotation as people read it: its stages with their times and evidence, what it waits for, what was overridden.

Nothing here changes anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca.access import Caller, Operation
from ca.errors import BadRequest, NotFound
from renewers.lifecycle import Lifecycle
from renewers.models import Override, Rotation, RotationStep, Work
from renewers.rotation import reissuing, underway
from renewers.rotation.plans import Policy
from renewers.rotation.reissuing import Progress
from renewers.rotation.underway import KIND, ORDER, Stage

MAX_PAGE = 500
MOST_STEPS = 500


@dataclass(frozen=True, slots=True)
class StageShown:
    """One stage: "over", "now" or "to come"; when it was entered last and left, and what it was left by."""

    stage: str
    standing: str
    entered_at: int | None
    left_at: int | None
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepShown:
    """One thing that happened."""

    stage: str
    what: str
    at: int
    by: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Course:
    """One rotation with everything that is known of it."""

    rotation: Rotation
    outgoing: tuple[str, ...]
    incoming: tuple[str, ...]
    policy: Policy
    waits_for: tuple[str, ...]
    stages: tuple[StageShown, ...]
    steps: tuple[StepShown, ...]
    overrides: tuple[Override, ...]
    replacement: Progress | None
    work: Work | None
    """When it is looked at next, and whether it fails; None when there is nothing to do."""


def show(lifecycle: Lifecycle, caller: Caller, rotation_id: int) -> Course:
    """One rotation. `NotFound` if there is none."""
    caller.must(Operation.READ_INVENTORY)
    with lifecycle.store.read(snapshot=True) as connection:
        row = connection.execute(select(Rotation).where(col(Rotation.id) == rotation_id)).first()
        found = underway.load(connection, rotation_id)
        if row is None or found is None:
            raise NotFound(f"there is no rotation {rotation_id}", code="unknown-rotation")
        steps = _steps(connection, rotation_id)
        planned = select(Work).where(col(Work.kind) == KIND, col(Work.subject) == str(rotation_id))
        due = connection.execute(planned).first()
        return Course(
            rotation=Rotation(**row._mapping),
            outgoing=found.outgoing,
            incoming=found.incoming,
            policy=found.policy,
            waits_for=found.waits_for,
            stages=tuple(_stages(found.stage, steps)),
            steps=tuple(steps),
            overrides=tuple(_overrides(connection, rotation_id)),
            replacement=reissuing.progress(connection, found),
            work=None if due is None else Work(**due._mapping),
        )


def page(
    lifecycle: Lifecycle, caller: Caller, *, state: str | None = None, cursor: int | None = None, limit: int = 50
) -> tuple[list[Rotation], int | None]:
    """A page of rotations, newest first, and where the next one starts."""
    caller.must(Operation.READ_INVENTORY)
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is not between 1 and {MAX_PAGE}", code="bad-limit")
    statement = select(Rotation).order_by(col(Rotation.id).desc()).limit(limit + 1)
    if state is not None:
        statement = statement.where(col(Rotation.state) == state)
    if cursor is not None:
        statement = statement.where(col(Rotation.id) < cursor)
    with lifecycle.store.read() as connection:
        rows = [Rotation(**row._mapping) for row in connection.execute(statement)]
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def _steps(connection: Connection, rotation_id: int) -> list[StepShown]:
    query = select(RotationStep).where(col(RotationStep.rotation_id) == rotation_id)
    newest = connection.execute(query.order_by(col(RotationStep.id).desc()).limit(MOST_STEPS)).all()
    return [StepShown(row.stage, row.what, row.at, row.by, json.loads(row.evidence)) for row in reversed(newest)]


def _overrides(connection: Connection, rotation_id: int) -> list[Override]:
    query = select(Override).where(col(Override.rotation_id) == rotation_id)
    rows = connection.execute(query.order_by(col(Override.at), col(Override.gate), col(Override.subject)))
    return [Override(**row._mapping) for row in rows]


def _stages(present: Stage, steps: Sequence[StepShown]) -> list[StageShown]:
    """In the order of the story; a stage that was gone through twice shows the last time."""
    entered: dict[str, int] = {steps[0].stage: steps[0].at} if steps else {}
    left: dict[str, StepShown] = {}
    for step in steps:
        if step.what.startswith("to "):
            entered[step.what.removeprefix("to ")] = step.at
            left[step.stage] = step
    shown = []
    for stage in ORDER:
        leaving = left.get(stage) if stage is not present else None
        is_over = leaving is not None or present is Stage.DONE
        standing = "now" if stage is present and present is not Stage.DONE else "over" if is_over else "to come"
        at = None if leaving is None else leaving.at
        evidence = {} if leaving is None else leaving.evidence
        shown.append(StageShown(stage, standing, entered.get(stage), at, evidence))
    return shown
