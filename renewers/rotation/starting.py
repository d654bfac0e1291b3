"""Starting a rotation: what it will do is shown first, what cannot work is refused with all its reasons.

`plan` changes nothing and is what `start` looks at, too. Only one rotation of a line is open at a time, and none of a
root together with one of a line beneath it: each would take away what the other introduces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlmodel import col

from ca import approval, clock
from ca.access import Caller, Operation
from ca.authority import State
from ca.errors import CertwrightError, Conflict, PolicyRefusal, Reason
from ca.founding import check_plan
from ca.ledger import log
from ca.models import Authority
from ca.profiles.config import format_duration
from ca.store import Transaction
from renewers import work
from renewers.distribution.holdings import Lacking
from renewers.lifecycle import Lifecycle
from renewers.models import Rotation, RotationStep
from renewers.plain import one_line
from renewers.rotation import evidence, gates, impact, plans, successors, underway
from renewers.rotation.impact import Impact
from renewers.rotation.plans import Policy, RotationPlan
from renewers.rotation.underway import KIND, OPEN, ORDER, Stage, Underway
from renewers.telling import events


@dataclass(frozen=True, slots=True)
class Making:
    """A CA that is to be made, or taken because it is prepared already."""

    line: str
    follows: str
    takes: str | None
    subject: str
    key_type: str
    lifetime: str
    beneath: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rotation would do, and what it would wait for."""

    line: str
    stages: tuple[str, ...]
    outgoing: tuple[str, ...]
    makes: tuple[Making, ...]
    policy: Policy
    gates: tuple[str, ...]
    gating: int
    """How many consumers it waits for."""
    lacking: tuple[Lacking, ...]
    """Who was not even proved to hold what is published now, and so is waited for longest."""
    impact: Impact
    seconds_of_reissue: int
    """At the pace of the plan; until nothing is alive, it takes as long as the last holder takes to renew."""
    objections: tuple[Reason, ...]


def plan(lifecycle: Lifecycle, caller: Caller, wanted: RotationPlan) -> Preview:
    """What a rotation would do, objections included. Changes nothing."""
    caller.must(Operation.READ_INVENTORY, Operation.MANAGE_AUTHORITIES)
    old, draft = _draft(lifecycle, wanted)
    with lifecycle.store.read() as connection:
        line_of = {row.name: row.line for row in lifecycle.installation.authorities.all()}
        second = _in_the_way(underway.load_open(connection), line_of, sorted({row.line for row in old}))
    objections = [*plans.objections(wanted), *_objections(lifecycle, draft, old)]
    weight = impact.weigh(lifecycle, caller, [row.name for row in old])
    lacking = evidence.lacking(lifecycle, evidence.newest_versions(lifecycle))
    return Preview(
        line=draft.line,
        stages=tuple(stage.value for stage in ORDER[:-1]),
        outgoing=draft.outgoing,
        makes=tuple(_makings(lifecycle, draft, old)) if not objections else (),
        policy=draft.policy,
        gates=tuple(gate.value for gate in gates.GATES),
        gating=evidence.count_gating(lifecycle),
        lacking=tuple(found[0] for _, found in sorted(lacking.items())),
        impact=weight,
        seconds_of_reissue=60 * -(-weight.leaves // draft.policy.per_minute),
        objections=(*objections, *([Reason("rotation-open", second)] if second else [])),
    )


def start(lifecycle: Lifecycle, caller: Caller, wanted: RotationPlan) -> int:
    """Start a rotation; returns its id. `PolicyRefusal` with all reasons, `Conflict` while another is in its way."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    old, draft = _draft(lifecycle, wanted)
    if objections := [*plans.objections(wanted), *_objections(lifecycle, draft, old)]:
        raise PolicyRefusal(objections)
    approval.must(lifecycle.installation, caller, "rotate a CA", draft.line, **wanted.told())
    lines = sorted({row.line for row in old})
    row = {
        "line": draft.line,
        "state": OPEN,
        "stage": Stage.PREPARE.value,
        "stage_since": draft.started_at,
        "is_compromise": draft.is_compromise,
        "is_paused": False,
        "is_reverting": False,
        "policy": draft.policy.encode(),
        "versions": json.dumps(draft.found),
        "waits_for": "[]",
        "reason": draft.reason,
        "started_at": draft.started_at,
        "started_by": caller.identity,
        **underway.names(outgoing=draft.outgoing, incoming=()),
    }
    columns = (col(Authority.name), col(Authority.line), col(Authority.state))
    everyone = select(*columns).order_by(col(Authority.id)).with_for_update()
    was = {each.name: each.state for each in old}

    def unit(tx: Transaction) -> int:
        rows = {each.name: each for each in tx.execute(everyone)}  # whoever starts another one waits here
        if second := _in_the_way(underway.load_open(tx.connection), {n: each.line for n, each in rows.items()}, lines):
            raise Conflict(second, code="rotation-open", hint="wait for its end, or abort it")
        if any(rows[name].state != state for name, state in was.items()):
            raise Conflict("the authorities have changed meanwhile; look again", code="changed-meanwhile")
        made = int(tx.execute(insert(Rotation).values(**row).returning(col(Rotation.id))).scalar_one())
        _say_started(tx, made, row, caller)
        work.schedule(tx, KIND, str(made), clock.timestamp())
        return made

    return lifecycle.store.write(unit)


def _say_started(tx: Transaction, made: int, row: dict[str, Any], caller: Caller) -> None:
    told = {"outgoing": json.loads(row["outgoing"]), "reason": row["reason"], "is_compromise": row["is_compromise"]}
    step = {"stage": row["stage"], "what": "started", "at": row["started_at"], "by": caller.identity}
    tx.execute(insert(RotationStep).values(rotation_id=made, evidence=json.dumps(told), **step))
    details = {**told, "rotation": made, "policy": json.loads(row["policy"])}
    log.append(tx, "rotation-started", row["line"], caller.identity, **details)
    severity = "warning" if row["is_compromise"] else "info"
    message = f"the rotation of {row['line']} has started: {row['reason']}"
    events.record(tx, "rotation-started", row["line"], message, severity=severity, **told, rotation=made)


def _draft(lifecycle: Lifecycle, wanted: RotationPlan) -> tuple[list[Authority], Underway]:
    """The rotation as it would begin, and the CAs that would go."""
    authorities = lifecycle.installation.authorities
    authorities.forget()
    line = authorities.get(wanted.line).line
    old = successors.outgoing(authorities, line, is_compromise=wanted.is_compromise)
    leading = [row.name for row in successors.leading(old)]
    moment = clock.timestamp()
    draft = Underway(
        id=0,
        line=line,
        state=OPEN,
        stage=Stage.PREPARE,
        stage_since=moment,
        is_compromise=wanted.is_compromise,
        is_paused=False,
        is_reverting=False,
        outgoing=tuple(row.name for row in old),
        incoming=(),
        policy=plans.policy_of(wanted),
        found={"leading": leading, "lines": sorted({row.line for row in old})},
        waits_for=(),
        reason=one_line(wanted.reason, plans.LONGEST_REASON),
        started_at=moment,
        step_id=0,
    )
    return old, draft


def _in_the_way(open_ones: Sequence[Underway], line_of: Mapping[str, str], lines: Sequence[str]) -> str | None:
    """Which rotation that is open would take away what another one of these lines introduces, in words."""
    for other in open_ones:
        theirs = {*other.found["lines"], *(line_of[name] for name in (*other.outgoing, *other.incoming))}
        if shared := sorted(theirs & set(lines)):
            return f"rotation {other.id} of {other.line} is open, and is about {', '.join(shared)}, too"
    return None


def _objections(lifecycle: Lifecycle, draft: Underway, old: Sequence[Authority]) -> Iterator[Reason]:
    """Everything that would keep it from its end."""
    authorities = lifecycle.installation.authorities
    if old[0].state != State.ACTIVE:
        yield Reason("no-active-authority", f"{old[0].name} is {old[0].state}: name the line, or activate it first")
    for row in successors.leading(old):
        if row.parent_id is not None and row.parent_id not in {above.id for above in authorities.roots()}:
            message = f"{row.name} does not stand directly beneath a root; no profile makes a CA there"
            yield Reason("too-deep", message, "RFC 5280 4.2.1.9")
            continue
        try:
            yield from _unfit(lifecycle, draft, row)
        except CertwrightError as error:
            yield Reason(error.code, error.message)


def _unfit(lifecycle: Lifecycle, draft: Underway, row: Authority) -> Iterator[Reason]:
    """Why the next generation of one CA could not be made, or would end too soon."""
    plan = successors.plan_for(lifecycle, draft, row)
    check_plan(plan)
    taken = {each.subject for each in map(successors.parsed, lifecycle.installation.authorities.all())}
    if plan.subject in taken:
        yield Reason("authority-subject-taken", f"{plan.subject.rfc4514_string()} is a CA's already", "subject")
    if row.parent_id is None:
        return
    profile = successors.profile_for(lifecycle, row)
    if plan.key_type not in profile.config.keys:
        yield Reason(
            "key-type-not-allowed", f"{profile.name} makes no CA with {plan.key_type}", f"{profile.name}: keys"
        )
    if plan.lifetime is not None and plan.lifetime > profile.config.longest:
        longest = format_duration(profile.config.longest)
        yield Reason(
            "lifetime-not-allowed", f"a CA of {profile.name} lives {longest} at most", f"{profile.name}: longest"
        )
    parent = successors.parent_of(lifecycle.installation.authorities, row, ())
    is_alone = draft.line == row.line
    needed = impact.longest_leaf(lifecycle, row.line)
    if is_alone and parent is not None and parent.not_after - clock.timestamp() < needed:
        message = f"{parent.name} ends before a leaf of {row.line} that lives as long as its profile says"
        yield Reason("root-ends-too-soon", f"{message}: rotate {parent.line}", "RFC 5280 4.1.2.5")


def _makings(lifecycle: Lifecycle, draft: Underway, old: Sequence[Authority]) -> Iterator[Making]:
    authorities = lifecycle.installation.authorities
    for row in successors.leading(old):
        goes_along = row.parent_id in {other.id for other in old}
        parent = None if goes_along else successors.parent_of(authorities, row, ())
        found = None if goes_along else successors.find(lifecycle, draft, row, parent)
        plan = successors.plan_for(lifecycle, draft, row)
        yield Making(
            line=row.line,
            follows=row.name,
            takes=None if found is None else found.name,
            subject=plan.subject.rfc4514_string(),
            key_type=str(plan.key_type),
            lifetime=format_duration(plan.lifetime or timedelta(0)),
            beneath=f"the next {old[0].line}" if goes_along else None if parent is None else parent.name,
        )
