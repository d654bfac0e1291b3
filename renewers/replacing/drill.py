"""The drill of a mass replacement: the same machinery on as many lineages, in a sandbox, with a watch in the hand.

What it shows is that this very selection can be replaced by this very code on this machine, and how long that takes.
What it cannot show is how fast other people's CAs answer, and how fast things are brought to where they are used. Of
the real installation it only reads: which lineages there are, which profiles, which CAs. Read `sandbox.py` next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlmodel import col

from ca import clock, enrolment
from ca.access import Caller, Operation
from ca.enrolment import Wish
from ca.errors import BadRequest, CertwrightError
from ca.keys.algorithms import KeyType, PrivateKey
from ca.x509 import names
from ca.x509.request import make_request, read_request
from renewers import work
from renewers.inventory.joining import RENEWED
from renewers.issuers.internal import DEFAULT_PROFILE, RENEWER
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Work
from renewers.replacing import listing, plans, replacement, sandbox, selection, showing
from renewers.replacing.plans import MOST_PER_MINUTE, ReplacementPlan
from renewers.replacing.sandbox import Model, Sandbox
from renewers.replacing.selection import Resolved, Selection
from renewers.replacing.underway import KIND, OPEN, Progress

Say = Callable[[int, int], None]
MOST = 20_000
MODELS = 1000
"""Real lineages that those of the sandbox are made after, at most; the others are like these."""
STALLED = 20.0
"""Seconds without any progress after which a drill ends with what is left."""
RESTING = 3.0
"""Seconds after which it is looked whether anything can still move at all."""
TURNS = 3
"""Turns of the replacement with nothing renewed or delivered meanwhile, after which nothing can: what was delivered is
replaced in one and verified in the next, and the first may have begun before. Seconds say nothing on a busy machine."""
LOOK_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class DrillReport:
    """What a drill has shown."""

    lineages: int
    real: int
    """How many the selection has in reality that we renew."""
    progress: Progress
    founded_in: float
    """Seconds in which all of them got their first certificates."""
    seconds: float
    """Seconds from the beginning to the end of the replacement."""
    per_minute: float
    """The pace that this machine made, without a throttle."""
    real_seconds: float
    """What the real number takes: at that pace or at the plan's, whichever is slower."""
    left: Sequence[str]
    """What was not replaced, and why; at most twenty."""


def drill(
    lifecycle: Lifecycle, caller: Caller, plan: ReplacementPlan, say: Say, *, count: int | None = None
) -> DrillReport:
    """Replace as many lineages as the selection has (or `count`) in a sandbox. `say` is told how many are done.

    `BadRequest` if there is nothing to make them after.
    """
    caller.must(Operation.MANAGE_INVENTORY)
    plans.check(plan)
    with lifecycle.store.read(snapshot=True) as connection:
        resolved = selection.resolve(lifecycle, connection, plan.selection)
        real = sum(
            1 for page in listing.pages(connection, resolved) for one in page.candidates if one.renewer == RENEWED
        )
    number = real if count is None else count
    if not 1 <= number <= MOST:
        raise BadRequest(f"a drill is of 1 to {MOST} lineages, not of {number}", code="bad-drill", hint="--count 1000")
    models = _models(lifecycle, resolved)
    with sandbox.sandbox(lifecycle.installation.profiles, sandbox.hierarchy_like(lifecycle), lifecycle) as box:
        box.add(list(_many(box.lifecycle, models, number)))
        watch = clock.monotonic()
        _found(box, number, say)
        founded_in = clock.monotonic() - watch
        watch = clock.monotonic()
        progress, left = _replace(box, resolved, plan, number, say)
        seconds = max(clock.monotonic() - watch, 0.001)
    pace = 60 * (progress.total - progress.left) / seconds
    slower = min(pace, float(plan.per_minute))
    return DrillReport(
        lineages=number,
        real=real,
        progress=progress,
        founded_in=founded_in,
        seconds=seconds,
        per_minute=pace,
        real_seconds=60 * real / slower if slower else 0.0,
        left=left,
    )


def _models(lifecycle: Lifecycle, resolved: Resolved) -> list[Model]:
    """Lineages of the selection that we renew; where it has none, any that we renew."""
    found: list[Model] = []
    with lifecycle.store.read(snapshot=True) as connection:
        for page in listing.pages(connection, resolved):
            ids = {one.lineage_id for one in page.candidates if one.renewer == RENEWED}
            rows = connection.execute(select(Lineage).where(col(Lineage.id).in_(ids)).order_by(col(Lineage.id)))
            found += [_model(row) for row in rows]
            if len(found) >= MODELS:
                break
        if not found:
            any_one = select(Lineage).where(col(Lineage.mode) == RENEWED).order_by(col(Lineage.id)).limit(MODELS)
            found = [_model(row) for row in connection.execute(any_one)]
    return found[:MODELS]


def _model(row: Any) -> Model:
    return Model(tuple(json.loads(row.names)), row.profile, row.key_type, row.key_age, row.lifetime)


def _many(box: Lifecycle, models: Sequence[Model], number: int) -> Iterator[Model]:
    """So many lineages like these, each with names of its own that the profiles allow."""
    key = KeyType.P256.generate()
    fitting = [model for model in models if _is_allowed(box, model, key)]
    varied = [model for model in fitting if _is_allowed(box, _vary(model, 1), key)]
    if not varied and number > len(fitting):
        raise BadRequest(
            "no lineage of this installation can be imitated in a sandbox",
            code="nothing-to-drill",
            hint="a lineage that we renew, with names that a profile allows, is needed as a model",
        )
    yield from fitting[:number]
    for place in range(number - len(fitting)):
        yield _vary(varied[place % len(varied)], place + 1)


def _vary(model: Model, number: int) -> Model:
    """The same with other names: beneath a domain, beside a path; an address cannot be varied."""
    texts = []
    for name in map(names.parse, model.names):
        if name.kind is names.Kind.DNS:
            texts.append(f"dns:drill-{number}.{name.value.removeprefix('*.')}")
        elif name.kind is names.Kind.URI:
            texts.append(f"uri:{name.value}-{number}")
    names_of_it = tuple(dict.fromkeys(texts))
    return Model(names_of_it, model.profile, model.key_type, model.key_age, model.lifetime)


def _is_allowed(box: Lifecycle, model: Model, key: PrivateKey) -> bool:
    """Whether the sandbox would issue it: asked, not issued."""
    try:
        wanted = tuple(map(names.parse, model.names))
        if not wanted:
            return False
        own = KeyType(model.key_type).generate() if model.key_type else key
        request = read_request(make_request(own, None, wanted))
        profile = model.profile or DEFAULT_PROFILE
        enrolment.authorise_issue(box.installation, RENEWER, profile, request, Wish(names=wanted))
    except (CertwrightError, ValueError):
        return False
    return True


def _found(box: Sandbox, number: int, say: Say) -> None:
    """Let everything have its first certificate, where it is used."""
    has_one = select(func.count()).select_from(Lineage).where(col(Lineage.current_id).is_not(None))

    def done() -> int:
        with box.lifecycle.store.read() as connection:
            return connection.execute(has_one).scalar_one()

    _until(box, number, done, lambda count: say(count, 2 * number))


def _replace(
    box: Sandbox, resolved: Resolved, plan: ReplacementPlan, number: int, say: Say
) -> tuple[Progress, Sequence[str]]:
    """The replacement itself: of all there is, after the CAs were followed if they are what is selected."""
    chosen = _in_sandbox(box.lifecycle, resolved)
    hurried = ReplacementPlan(chosen, plan.reason, MOST_PER_MINUTE, plan.revokes, plan.revocation_reason)
    made = replacement.begin(box.lifecycle, sandbox.BY, hurried)

    def done() -> int:
        with box.lifecycle.store.read() as connection:
            course = showing.course(connection, made)
        progress = course.progress
        is_open = course.row.state == OPEN
        return progress.total - progress.left if is_open else number

    _until(box, number, done, lambda count: say(number + count, 2 * number))
    course = showing.show(box.lifecycle, sandbox.BY, made)
    rows, _ = showing.items(box.lifecycle, sandbox.BY, made, state="renewing", limit=20)
    return course.progress, [f"{row.shown_as}: {row.note or 'not yet'}" for row in rows]


def _in_sandbox(box: Lifecycle, resolved: Resolved) -> Selection:
    """What is selected there: everything beneath the CAs that issue."""
    rows = [row for row in box.installation.authorities.all() if row.parent_id is not None]
    if resolved.selection.authorities:
        for line in sorted({row.line for row in rows}):
            sandbox.follow(box, line)
    return Selection(authorities=tuple(row.name for row in rows))


def _until(box: Sandbox, number: int, done: Callable[[], int], say: Callable[[int], None]) -> None:
    """Run until so many are done, or nothing moves any more."""
    looked = moved = clock.monotonic()
    count = turns = 0

    def is_over() -> bool:
        nonlocal looked, moved, count, turns
        now = clock.monotonic()
        if now - looked < LOOK_EVERY:
            return False
        before, looked, count = count, now, done()
        if count != before:
            moved = now
            say(count)
        if count >= number or now - moved > STALLED:
            return True
        taken = _turns(box)
        if now - moved <= RESTING or _moves(box):
            turns = taken or 0
            return False
        return taken is None or taken - turns >= TURNS

    box.run(is_over)


def _moves(box: Sandbox) -> bool:
    """Whether anything is being renewed or delivered, or will be before the drill is taken to be stalled."""
    soon = clock.timestamp() + int(STALLED)
    at_it = or_(col(Work.holder).is_not(None), and_(work.IS_WAITING, col(Work.due_at) <= soon))
    query = select(col(Work.id)).where(col(Work.kind).in_(("renew", "deliver")), at_it).limit(1)
    with box.lifecycle.store.read() as connection:
        return connection.execute(query).first() is not None


def _turns(box: Sandbox) -> int | None:
    """How many turns the replacement has taken; None before it has begun."""
    query = select(col(Work.fence)).where(col(Work.kind) == KIND)
    with box.lifecycle.store.read() as connection:
        return connection.execute(query).scalar()
