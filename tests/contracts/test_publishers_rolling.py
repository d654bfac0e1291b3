"""What publishers promise that know what was in use before (`RollsBack`), and whose user is made to read.

Those that write to this machine are killed at every system call that changes something, and then asked the same again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ca.errors import NotDelivered
from renewers.publishers import Publisher, RollsBack
from tests.contracts.grounds import ROLLING, RollingGround, bring, materials, opened, publisher, restore, seen
from tests.contracts.grounds.files import FilesGround


@pytest.fixture(params=ROLLING)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RollingGround]:
    """An empty place of each kind."""
    with opened(request.param, tmp_path) as found:
        yield found


def test_only_a_swap_has_it_read(ground: RollingGround) -> None:
    """Every swap, and no staging."""
    a, b, _ = materials(ground)
    bring(ground, a)
    publisher(ground).stage(b)
    assert ground.read() == [a.version]
    bring(ground, b)
    assert ground.read() == [a.version, b.version]


def test_what_was_not_staged_is_not_read(ground: RollingGround) -> None:
    """Nobody reads anything because of a swap that was refused."""
    a, b, _ = materials(ground)
    bring(ground, a)
    with pytest.raises(NotDelivered, match=b.version):
        publisher(ground).swap(b)
    assert ground.read() == [a.version]


def test_swapping_what_is_in_use_loses_nothing(ground: RollingGround) -> None:
    """It is read once more, and what was in use before is still known."""
    a, b, _ = materials(ground)
    bring(ground, a, b)
    publisher(ground).swap(b)
    bring(ground, b)
    assert ground.read() == [a.version, b.version, b.version, b.version]
    restore(ground, b)
    assert ground.live() == seen(a)


def test_restoring_goes_back_and_has_it_read(ground: RollingGround) -> None:
    """However often it is asked; and the way forward is open again."""
    a, b, _ = materials(ground)
    bring(ground, a, b)
    restore(ground, b)
    restore(ground, b)
    assert (ground.live(), ground.read()[-1]) == (seen(a), a.version)
    bring(ground, b)
    assert ground.live() == seen(b)
    restore(ground, b)
    assert ground.live() == seen(a)


def test_what_is_not_in_use_cannot_be_taken_back(ground: RollingGround) -> None:
    """A late call for an old version changes nothing and has nobody read anything."""
    a, b, c = materials(ground)
    bring(ground, a, b, c)
    read = list(ground.read())
    restore(ground, b)
    assert (ground.live(), ground.read()) == (seen(c), read)


def test_where_nothing_was_before_it_stays(ground: RollingGround) -> None:
    """Nothing at all would be worse than what there is."""
    a, *_ = materials(ground)
    bring(ground, a)
    restore(ground, a)
    assert ground.live() == seen(a)


def test_a_user_that_does_not_read_is_a_failure(ground: RollingGround) -> None:
    """The swap says so; it can be taken back once its user reads again, and repeated."""
    a, b, _ = materials(ground)
    bring(ground, a)
    publisher(ground).stage(b)
    ground.break_reload(broken=True)
    with pytest.raises(NotDelivered):
        publisher(ground).swap(b)
    with pytest.raises(NotDelivered):
        restore(ground, b)
    assert ground.live() == seen(a)
    ground.break_reload(broken=False)
    restore(ground, b)
    assert (ground.live(), ground.read()[-1]) == (seen(a), a.version)
    bring(ground, b)
    assert (ground.live(), ground.read()[-1]) == (seen(b), b.version)


# Killed at every step, on this machine.


def at_every_step(
    tmp_path: Path, prepare: Callable[[FilesGround], None], work: Callable[[FilesGround, Publisher], None]
) -> Iterator[FilesGround]:
    """Yield a ground for each step at which the work can be killed, after it was."""
    step, was_killed = 0, True
    while was_killed:
        step += 1
        home = tmp_path / f"step-{step}"
        home.mkdir()
        ground = FilesGround(home)
        prepare(ground)
        was_killed = ground.cut(step, lambda made, ground=ground: work(ground, made))  # type: ignore[misc]
        yield ground


def two(ground: FilesGround) -> None:
    """C, then A is in use."""
    a, _, c = materials(ground)
    bring(ground, c, a)


def forward(ground: FilesGround, made: Publisher) -> None:
    """Stage and swap B."""
    _, b, _ = materials(ground)
    made.stage(b)
    made.swap(b)


def back(ground: FilesGround, made: Publisher) -> None:
    """Take B back."""
    assert isinstance(made, RollsBack)
    made.restore(materials(ground)[1])


def test_killed_anywhere_and_repeated_it_was_read(tmp_path: Path) -> None:
    """The same calls again end with the new one read; nothing half-written is left; and there is a way back."""
    steps = 0
    for ground in at_every_step(tmp_path, two, forward):
        a, b, _ = materials(ground)
        steps += 1
        assert ground.live() in (seen(a), seen(b))
        forward(ground, publisher(ground))
        assert (ground.live(), ground.read()[-1]) == (seen(b), b.version)
        left = {path.name for path in (*ground.directory.iterdir(), *(ground.directory / "versions").iterdir())}
        assert not [name for name in left if name.startswith(".stage")]
        restore(ground, b)
        assert (ground.live(), ground.read()[-1]) == (seen(a), a.version)
    assert steps > 30


def test_killed_anywhere_it_can_be_taken_back(tmp_path: Path) -> None:
    """Whoever gives up instead has the old one back, and its user has read it."""
    for ground in at_every_step(tmp_path, two, forward):
        a, b, _ = materials(ground)
        restore(ground, b)
        assert (ground.live(), ground.read()[-1]) == (seen(a), a.version)


def test_killed_anywhere_the_first_time_it_can_be_entered(tmp_path: Path) -> None:
    """Where nothing was before, not even the directory: by others, too, in the end."""
    for ground in at_every_step(tmp_path, lambda _: None, forward):
        forward(ground, publisher(ground))
        assert ground.live() == seen(materials(ground)[1])
        modes = [stat.S_IMODE((ground.directory / name).stat().st_mode) for name in (".", "versions", "live")]
        assert modes == [0o755] * 3


def test_killed_while_it_is_founded_others_can_enter_in_the_end(tmp_path: Path) -> None:
    """Though the umask of our process keeps everybody out of what it makes."""
    before = os.umask(0o077)
    try:
        for ground in at_every_step(
            tmp_path, lambda ground: ground.directory.mkdir(), lambda ground, made: made.stage(materials(ground)[1])
        ):
            forward(ground, publisher(ground))
            modes = [stat.S_IMODE((ground.directory / name).stat().st_mode) for name in ("versions", "live")]
            assert modes == [0o755] * 2
    finally:
        os.umask(before)


def test_killed_while_going_back_it_ends_right(tmp_path: Path) -> None:
    """A repeated restore ends with the old one, and its user has read it, though the link may have been old before."""

    def prepare(ground: FilesGround) -> None:
        a, b, _ = materials(ground)
        bring(ground, a, b)

    for ground in at_every_step(tmp_path, prepare, back):
        a, b, _ = materials(ground)
        assert ground.live() in (seen(a), seen(b))
        before = len(ground.read())
        restore(ground, b)
        assert (ground.live(), ground.read()[before:]) == (seen(a), [a.version])
