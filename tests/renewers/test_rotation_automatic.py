"""When CAs are rotated by themselves, and what is said where that is off, refused, or waits too long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ca import clock
from renewers.models import Rotation
from renewers.rotation import automatic, impact, showing, steering
from renewers.rotation.automatic import Automatic, times
from tests import rig
from tests.renewers.rotating import WHY, Rotating, Template, template

DAY = 86400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A hierarchy to copy."""
    return template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(made: Template, tmp_path: Path) -> Iterator[Rotating]:
    """A world of its own."""
    with made.world(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("life", "leaf", "prepare", "activate"),
    [
        (365, 1, 30, 7),  # the caps
        (24, 1, 12, 4),  # half, and a sixth
        (365, 90, 113, 90),  # a leaf has to fit into what is left
        (1825, 365, 388, 365),
        (3650, 1825, 1848, 1825),  # a root, beneath which CAs live for five years
        (60, 365, 40, 30),  # a leaf that could never fit: not before half of the life
        (6, 1, 3, 1),
        (2, 2, 4 / 3, 1),
    ],
)
def test_times_follow_from_the_life_and_the_leaf(life: int, leaf: int, prepare: float, activate: float) -> None:
    """Days before the end."""
    found = times(0, life * DAY - 1, leaf * DAY)
    assert (found.prepare_at, found.activate_at) == (
        life * DAY - 1 - int(prepare * DAY),
        life * DAY - 1 - int(activate * DAY),
    )


@pytest.mark.parametrize("life", [1, 3, 10, 100, 365, 1825, 3650, 36500])
@pytest.mark.parametrize("leaf", [0, 1, 7, 90, 365, 1825])
def test_times_are_in_order_and_leave_a_third(life: int, leaf: int) -> None:
    """A CA that has just come is not due yet; one that signs has room for the longest leaf, if it ever had."""
    found = times(0, life * DAY - 1, leaf * DAY)
    assert life * DAY // 3 - 1 <= found.prepare_at <= found.activate_at < life * DAY - 1
    assert life * DAY - 1 - found.activate_at >= min(leaf * DAY, life * DAY // 2)


def due(world: Rotating, name: str) -> None:
    """Go to the day on which a CA is due."""
    row = world.installation.authorities.get(name)
    when = times(row.not_before, row.not_after, impact.longest_leaf(world.lifecycle, row.line))
    world.holders.clear()
    world.at = clock.from_timestamp(when.prepare_at + 60)
    world.settle()


def look(world: Rotating, policy: Automatic | None = None) -> int:
    """One beat."""
    with clock.pinned(world.at):
        return automatic.start_due(world.lifecycle, policy)


def test_nothing_is_due_in_a_new_installation(world: Rotating) -> None:
    """Nor is anything said."""
    assert look(world) == 0
    assert world.alarms() == {}


def test_what_is_due_begins_once(world: Rotating) -> None:
    """The issuing CA's year has come: its rotation waits for the day on which it is to sign."""
    due(world, "issuing-1")
    assert [look(world), look(world)] == [1, 0]
    row = world.rows(Rotation)[0]
    assert (row.line, row.started_by) == ("issuing", "system:rotation")
    world.until(row.id, "prove")
    world.step()
    assert showing.show(world.lifecycle, rig.ADMIN, row.id).waits_for == ("the time that it is to be activated at",)
    assert "rotation-due" not in world.alarms()


def test_a_root_takes_what_is_beneath_it_along(world: Rotating) -> None:
    """One rotation, of both."""
    due(world, "root-1")
    assert look(world) == 1
    assert world.rows(Rotation)[0].line == "root"


def test_where_it_is_off_somebody_is_told(world: Rotating) -> None:
    """Until a rotation is open."""
    due(world, "issuing-1")
    assert look(world, Automatic(is_on=False)) == 0
    assert "issuing-1 ends on" in world.alarms()["rotation-due"]
    world.start("issuing")
    look(world, Automatic(is_on=False))
    assert "rotation-due" not in world.alarms()


def test_who_waits_for_long_is_named(world: Rotating) -> None:
    """After a day in one stage; and so is a pause that somebody has forgotten."""
    world.parties["broker"].obeys = False
    rotation = world.start("issuing")
    world.until(rotation, "prove")
    world.step()
    look(world)
    assert "rotation-waits" not in world.alarms()
    world.at += timedelta(hours=23)
    world.step(7200)
    look(world)
    assert "waits for broker: " in world.alarms()["rotation-waits"]
    with clock.pinned(world.at):
        steering.pause(world.lifecycle, rig.ADMIN, rotation, WHY)
    look(world)
    assert "it is paused" in world.alarms()["rotation-waits"]
    with clock.pinned(world.at):
        steering.resume(world.lifecycle, rig.ADMIN, rotation, WHY)
    assert "rotation-waits" not in world.alarms()
