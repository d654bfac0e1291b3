"""A rotation that dies after any of its writes ends as one that does not; one that is turned back there goes back.

The world looks, all along, that no consumer holds nothing and that each leaf verifies against what each of them holds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ca import clock
from ca.errors import Conflict
from renewers.models import Replacement, RotationStep
from renewers.rotation import steering
from tests import rig
from tests.renewers.rotating import WHY, Rotating, Template, template

ENDS = {
    "issuing": {"root-1": "active", "issuing-1": "retired", "issuing-2": "active"},
    "root": {"root-1": "retired", "issuing-1": "retired", "root-2": "active", "issuing-2": "active"},
}
PERIOD = 8
"""Each process dies after so many writes: more than making a CA takes, which has to begin anew."""
LINES = tuple(ENDS)
LATE = ("distrust", "retire", "done")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A hierarchy to copy."""
    return template(tmp_path_factory.mktemp("template"))


def dies(world: Rotating, line: str, after: int) -> int:
    """Start a rotation whose process dies after so many writes, or ends before."""
    rotation = world.start(line)
    world.dies_after = after
    while world.dies_after is not None and world.row(rotation).state == "open":
        world.step()
    return rotation


@pytest.mark.parametrize("line", ["issuing", "root"])
def test_wherever_it_dies_it_ends_the_same(made: Template, tmp_path: Path, line: str) -> None:
    """After each write in turn, in the one line or the other, and again and again; nothing is made twice."""
    deaths = 0
    for first in range(LINES.index(line), PERIOD, len(LINES)):
        with made.world(tmp_path) as world:
            rotation = dies(world, line, first)
            while world.row(rotation).state == "open":
                world.dies_after = PERIOD if world.dies_after is None else world.dies_after
                world.step()
            assert (world.row(rotation).state, world.states()) == ("done", ENDS[line]), first
            assert len(world.rows(Replacement)) == 1
            moves = [step.what for step in world.rows(RotationStep) if step.what.startswith("to ")]
            assert len(moves) == len(set(moves)) == 8, first
            assert world.errors == []
            deaths += world.deaths
    assert deaths >= PERIOD


def stages(made: Template, tmp_path: Path, line: str) -> list[str]:
    """In which stage a rotation is after each of its writes."""
    found = []
    with made.world(tmp_path) as world:
        rotation, real = world.start(line), world.store.write
        for _ in range(60):
            world.watch = lambda: found.append(world.row(rotation).stage)
            world.step()
            if world.row(rotation).state != "open":
                break
        assert world.store.write == real
    return found


@pytest.mark.parametrize("line", ["issuing", "root"])
def test_wherever_it_is_turned_back_it_goes_back(made: Template, tmp_path: Path, line: str) -> None:
    """Before distrust, the old CAs sign in the end and the new ones are gone; after it, there is no way but on."""
    path = stages(made, tmp_path, line)
    turns = {stage: [n for n, each in enumerate(path) if each == stage] for stage in path}
    points = sorted({n + 1 for stage, at in turns.items() for n in (at[::3] if stage == "prepare" else at[:1])})
    seen = set()
    for after in points:
        with made.world(tmp_path) as world:
            rotation = dies(world, line, after)
            stage = world.row(rotation).stage
            seen.add(stage)
            turned = turn_back(world, rotation)
            assert turned is (stage not in LATE), stage
            row, states = world.until(rotation, "done"), world.states()
            if not turned:
                assert (row.state, states) == ("done", ENDS[line])
                continue
            old = {name: states.pop(name) for name in ("root-1", "issuing-1")}
            assert (row.state, old) == ("aborted", {"root-1": "active", "issuing-1": "active"}), (stage, after)
            assert set(states.values()) <= {"retired"}, (stage, after)
    assert seen >= {"prepare", "introduce", "prove", "activate", "reissue", "drain", "distrust", "retire"}


def turn_back(world: Rotating, rotation: int) -> bool:
    """Abort it; False if it is too late for that."""
    with clock.pinned(world.at):
        try:
            steering.abort(world.lifecycle, rig.ADMIN, rotation, WHY)
        except Conflict as refusal:
            return refusal.code not in ("too-late-to-abort", "rotation-over")
    return True
