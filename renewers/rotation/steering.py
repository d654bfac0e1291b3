"""What people do to a rotation under way: pause it, let it go on, turn it back, let it pass a gate, hurry it.

Each adds a step with who said it and why, so that whoever is at the rotation this very moment sees it before anything
more is recorded (`underway.record`). There is a way back at every stage before distrust: what consumers were told to
forget cannot be taken back by us alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT is SQLite's too
from sqlmodel import col

from ca import approval, clock
from ca.access import Caller, Operation
from ca.authority import State
from ca.errors import BadRequest, Conflict
from ca.models import Authority
from ca.store import Transaction
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.models import Override
from renewers.plain import one_line
from renewers.rotation import reissuing, underway
from renewers.rotation.gates import GATES
from renewers.rotation.plans import written
from renewers.rotation.underway import KIND, OPEN, ORDER, WAITS_ALARM, Stage, Underway
from renewers.telling import alarms

LONGEST_SUBJECT = 300


def pause(lifecycle: Lifecycle, caller: Caller, rotation_id: int, reason: str) -> None:
    """Do nothing more until it is resumed. What consumers are brought goes on: it is not the rotation's."""
    text = _allowed(caller, reason)

    def act(tx: Transaction, rotation: Underway) -> None:
        if rotation.is_paused:
            raise Conflict(f"rotation {rotation.id} is paused already", code="rotation-paused")
        underway.say(tx, rotation, "paused", caller.identity, {"reason": text}, is_paused=True)

    _steer(lifecycle, rotation_id, act)


def resume(lifecycle: Lifecycle, caller: Caller, rotation_id: int, reason: str) -> None:
    """Go on where it was paused, or where it has stopped failing."""
    text = _allowed(caller, reason)

    def act(tx: Transaction, rotation: Underway) -> None:
        alarms.clear_alarm(tx, WAITS_ALARM, rotation.line)
        # Patience is for proof that could have come: it begins anew.
        since = {"stage_since": clock.timestamp()} if rotation.is_paused else {}
        underway.say(tx, rotation, "resumed", caller.identity, {"reason": text}, is_paused=False, **since)

    _steer(lifecycle, rotation_id, act)


def hurry(lifecycle: Lifecycle, caller: Caller, rotation_id: int, reason: str) -> None:
    """Look again now, and do not wait for a time that was only named to be kind. Gates stay what they are."""
    text = _allowed(caller, reason)
    _second(lifecycle, caller, "hurry a rotation", rotation_id)

    def act(tx: Transaction, rotation: Underway) -> None:
        underway.say(tx, rotation, "hurried", caller.identity, {"reason": text}, **rotation.finding(at_once=True))

    _steer(lifecycle, rotation_id, act)


def override(lifecycle: Lifecycle, caller: Caller, rotation_id: int, gate: str, subject: str, reason: str) -> None:
    """Let it pass a gate without one consumer, one certificate (its serial number), one place, or without "all"."""
    text = _allowed(caller, reason)
    about = one_line(subject, LONGEST_SUBJECT)
    if gate not in GATES:
        raise BadRequest(f"{one_line(gate, 40)!r} is no gate", code="bad-gate", hint=f"there are {', '.join(GATES)}")
    if not about or about != subject:
        raise BadRequest("an override names a consumer, a serial number, a place, or all", code="bad-override")
    _second(lifecycle, caller, "pass a gate of a rotation", rotation_id, gate=gate, about=about)

    def act(tx: Transaction, rotation: Underway) -> None:
        if ORDER.index(rotation.stage) > ORDER.index(Stage(gate)):
            raise Conflict(f"rotation {rotation.id} has passed {gate}: it is at {rotation.stage}", code="gate-passed")
        row = {"reason": text, "at": clock.timestamp(), "by": caller.identity}
        written_down = insert(Override).values(rotation_id=rotation.id, gate=gate, subject=about, **row)
        tx.execute(written_down.on_conflict_do_update(index_elements=["rotation_id", "gate", "subject"], set_=row))
        evidence = {"gate": gate, "subject": about, "reason": text}
        underway.say(tx, rotation, f"overrides {gate}", caller.identity, evidence)

    _steer(lifecycle, rotation_id, act)


def abort(lifecycle: Lifecycle, caller: Caller, rotation_id: int, reason: str) -> None:
    """Turn back. What was introduced and never signed a leaf goes; else the old CAs are activated and re-issue.

    `Conflict` from distrust on, and on the way back.
    """
    text = _allowed(caller, reason)
    _second(lifecycle, caller, "turn a rotation back", rotation_id)

    def act(tx: Transaction, rotation: Underway) -> None:
        _refuse_late(tx, rotation)
        reissuing.stop(tx, rotation)
        is_used = ORDER.index(rotation.stage) >= ORDER.index(Stage.ACTIVATE)
        kept = [name for name in rotation.outgoing if name in rotation.found["leading"]] if is_used else []
        found = rotation.finding(leading=kept, drained_to=0)
        roles = underway.names(outgoing=rotation.incoming, incoming=kept)
        back = {"is_reverting": True, "is_paused": False, **found, **roles}
        to = Stage.ACTIVATE if is_used else Stage.DISTRUST
        evidence = {"reason": text, "gives_up": list(rotation.incoming), "goes_back_to": kept}
        underway.say(tx, rotation, "aborted", caller.identity, evidence, **back)
        underway.move(tx, rotation, to, caller.identity, evidence)

    _steer(lifecycle, rotation_id, act)


def _allowed(caller: Caller, reason: str) -> str:
    caller.must(Operation.MANAGE_AUTHORITIES)
    return written(reason)


def _second(lifecycle: Lifecycle, caller: Caller, act: str, rotation_id: int, **details: Any) -> None:
    approval.must(lifecycle.installation, caller, act, str(rotation_id), **details)


def _steer(lifecycle: Lifecycle, rotation_id: int, act: Callable[[Transaction, Underway], None]) -> None:
    def unit(tx: Transaction) -> None:
        work.hurry(tx, KIND, str(rotation_id))  # the work's row is locked first, as whoever holds it does
        rotation = underway.locked(tx, rotation_id)
        if rotation.state != OPEN:
            raise Conflict(f"rotation {rotation.id} is over: {rotation.state}", code="rotation-over")
        act(tx, rotation)

    lifecycle.store.write(unit)
    lifecycle.installation.authorities.forget()


def _refuse_late(tx: Transaction, rotation: Underway) -> None:
    if rotation.is_reverting:
        raise Conflict(f"rotation {rotation.id} is on its way back already", code="rotation-reverting")
    gone = _states(tx, rotation.outgoing) & {State.DISTRUSTED.value, State.RETIRED.value}
    if ORDER.index(rotation.stage) >= ORDER.index(Stage.DISTRUST) or gone:
        raise Conflict(
            f"rotation {rotation.id} is at {rotation.stage}: consumers were told to forget {rotation.outgoing[0]}, "
            "and who has done so cannot be made to trust it again by going back",
            code="too-late-to-abort",
            hint=f"let it end, and start another rotation of {rotation.line}",
        )


def _states(tx: Transaction, names: Iterable[str]) -> set[Any]:
    query = select(col(Authority.state)).where(col(Authority.name).in_(list(names)))
    return set(tx.execute(query).scalars())
