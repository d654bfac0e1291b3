"""What a rotation must not pass without: proof from consumers, and no live leaf left; or a person's word, in writing.

A gate opens by proof, by the thresholds of the plan, by overrides, or (for a compromised CA) when patience is at its
end. How it opened is evidence, with everybody who was not proved. An override names one consumer, one certificate by
its serial number, one place, or "all", of one gate of one rotation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlmodel import col

from ca import clock
from renewers.lifecycle import Lifecycle
from renewers.models import Override
from renewers.rotation import evidence, leaves
from renewers.rotation.leaves import Leaf
from renewers.rotation.underway import Stage, Underway

GATES = (Stage.PROVE, Stage.DRAIN, Stage.DISTRUST)
"""The stages that end at a gate, which has the same name."""
ALL = "all"
NAMED = 20
"""How many are named in what it waits for; there are more in the evidence."""
KEPT = 200
LOOK = 1000


@dataclass(frozen=True, slots=True)
class Passage:
    """Whether a gate is open, by what right, and if not, what keeps it shut."""

    is_open: bool
    why: Sequence[str]
    evidence: Mapping[str, Any]
    first: int = 0
    """Of leaves: the place in the inventory before which none is alive."""


def overrides(connection: Connection, rotation_id: int, gate: Stage) -> set[str]:
    """The subjects that a person has waived at one gate."""
    query = select(col(Override.subject)).where(col(Override.rotation_id) == rotation_id)
    return set(connection.execute(query.where(col(Override.gate) == gate.value)).scalars())


def consumers(lifecycle: Lifecycle, rotation: Underway, gate: Stage, versions: Mapping[str, int]) -> Passage:
    """Whether those who have to hold these versions were proved to, or may be passed over."""
    with lifecycle.store.read() as connection:
        waived = overrides(connection, rotation.id, gate)
    lacking = evidence.lacking(lifecycle, versions)
    keeping = {name: found for name, found in lacking.items() if not waived & {name, ALL}}
    total = evidence.count_gating(lifecycle)
    allowed = int((1 - rotation.policy.share) * total + 1e-9)
    by = _by(len(lacking), len(keeping), allowed, _is_over(rotation, rotation.policy.patience))
    why = [f"{name}: {found[0].why}" for name, found in sorted(keeping.items())]
    proof = {"versions": dict(versions), "consumers": total, "passed_by": by, "not_proved": sorted(lacking)[:KEPT]}
    return Passage(by is not None, _few(why), {**proof, "count_not_proved": len(lacking), "waived": sorted(waived)})


def no_leaves(lifecycle: Lifecycle, rotation: Underway, issuers: Sequence[str]) -> Passage:
    """Whether nothing alive is left beneath these issuers, or what is left may be given up."""
    with lifecycle.store.read(snapshot=True) as connection:
        waived = overrides(connection, rotation.id, Stage.DRAIN)
        found = _live(connection, issuers, int(rotation.found.get("drained_to", 0)), LOOK + len(waived))
        left = [leaf for leaf in found if not waived & {leaf.serial, ALL}]
        first = found[0].id - 1 if found else 0
        count = len(left) if len(found) < LOOK else leaves.count(connection, issuers, after=first)
        places = [f"{place} serves one still" for place in leaves.still_served(connection, issuers, KEPT)]
        places += [f"{name} waits for a new one" for name in leaves.undelivered(connection, issuers, KEPT)]
    places = [text for text in places if not waived & {text.partition(" ")[0], ALL}]
    keeping, is_over = count + len(places), _is_over(rotation, rotation.policy.drain_patience)
    by = _by(keeping + len(waived), keeping, rotation.policy.leaves_left, is_over)
    proof = {"leaves": count, "passed_by": by, "left": [leaf.serial for leaf in left[:KEPT]], "places": places}
    return Passage(by is not None, _described(left, count, places), {**proof, "waived": sorted(waived)}, first)


def until_activation(rotation: Underway) -> int:
    """Seconds until the time that a plan has named, unless somebody has said since that it is to be at once."""
    at = rotation.policy.activate_at
    return 0 if at is None or rotation.found.get("at_once") else at - clock.timestamp()


def _live(connection: Connection, issuers: Sequence[str], after: int, limit: int) -> list[Leaf]:
    """What is alive, from where the last look has stopped; that there is nothing is looked up from the beginning."""
    found = leaves.live(connection, issuers, after=after, limit=limit)
    return found if found or not after else leaves.live(connection, issuers, limit=limit)


def _by(found: int, keeping: int, allowed: int, is_over: bool) -> str | None:
    """By what right the gate is open; None if it is shut."""
    if not found:
        return "proof"
    if not keeping:
        return "override"
    if keeping <= allowed:
        return "threshold"
    return "patience" if is_over else None


def _is_over(rotation: Underway, patience: int | None) -> bool:
    return patience is not None and clock.timestamp() - rotation.stage_since >= patience


def _described(left: Sequence[Leaf], count: int, places: Sequence[str]) -> list[str]:
    said = [
        f"{leaf.shown_as} ({leaf.serial}) until {clock.from_timestamp(leaf.not_after):%Y-%m-%d %H:%M}Z" for leaf in left
    ]
    more = [f"{count} live leaves"] if count > NAMED else []
    return _few([*more, *said[:NAMED], *places])


def _few(texts: Collection[str]) -> list[str]:
    """The first of them, and how many more there are."""
    shown = list(texts)[:NAMED]
    return shown if len(texts) <= NAMED else [*shown, f"and {len(texts) - NAMED} more"]
