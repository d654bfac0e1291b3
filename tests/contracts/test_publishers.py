"""The `Publisher` port's contract (`renewers/publishers/__init__.py`), asked of every adapter: a new one adds a ground.

Every call is made by a publisher of its own, as another process would make it. What those promise that can go back is
in `test_publishers_rolling.py`.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest, NotDelivered
from renewers.publishers import Material, Publisher, RollsBack
from tests.contracts.grounds import (
    GROUNDS,
    RETURNING,
    Ground,
    bring,
    material,
    materials,
    opened,
    publisher,
    seen,
)


@pytest.fixture(params=GROUNDS)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """An empty place of each kind."""
    with opened(request.param, tmp_path) as found:
        yield found


def test_what_is_staged_is_not_in_use(ground: Ground) -> None:
    """Staging touches nothing that is in use, however often."""
    a, b, _ = materials(ground)
    publisher(ground).stage(a)
    assert ground.live() is None
    bring(ground, a)
    publisher(ground).stage(b)
    publisher(ground).stage(b)
    assert ground.live() == seen(a)


def test_a_swap_puts_it_into_use(ground: Ground) -> None:
    """All files of one version, and no other; what was in use before is not missed."""
    a, b, c = materials(ground)
    for one in (a, b, c, a):
        bring(ground, one)
        assert ground.live() == seen(one)


def test_repeated_calls_change_nothing(ground: Ground) -> None:
    """Whoever is not sure that it has done something does it again."""
    a, b, _ = materials(ground)
    bring(ground, a, b)
    bring(ground, b)
    publisher(ground).swap(b)
    assert ground.live() == seen(b)


def test_what_was_not_staged_is_not_swapped(ground: Ground) -> None:
    """It is refused with a reason, and what is in use stays: the first time, and after it was staged once long ago."""
    if not ground.tells_staged:
        pytest.skip("this place gets everything in one step")
    a, b, c = materials(ground)
    with pytest.raises(NotDelivered, match=a.version):
        publisher(ground).swap(a)
    assert ground.live() is None
    bring(ground, a)
    publisher(ground).stage(c)
    with pytest.raises(NotDelivered, match=b.version):
        publisher(ground).swap(b)
    assert ground.live() == seen(a)


def test_files_that_are_gone_in_the_next_version_are_gone(ground: Ground) -> None:
    """A version is its files and nothing of another's; without a key, no other's key lies beside it."""
    a, b, _ = materials(ground)
    few = Material(b.subject, b.version, b.sha256, {"bundle.pem": b.files["bundle.pem"]})
    bring(ground, a, few)
    assert ground.live() == seen(few)


def test_many_versions_may_follow_each_other(ground: Ground) -> None:
    """Whatever is cleared away of the old ones, the newest is whole."""
    keeps = publisher(ground).keeps_secrets
    for number in range(1, 8):
        one = material(number, with_key=keeps)
        bring(ground, one)
        publisher(ground).stage(material(number + 1, with_key=keeps))
        assert ground.live() == seen(one)


def test_a_reader_sees_one_version_at_a_time(ground: Ground) -> None:
    """Reading all the while, it finds all files of one version at every look, and never nothing."""
    every = materials(ground)
    bring(ground, every[0])
    allowed = [seen(one) for one in every]
    looks: list[dict[str, bytes] | None] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        try:
            while not done.is_set():
                looks.append(ground.live())
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    deadline, swaps = time.monotonic() + 60, 0
    while (swaps < 9 or len(looks) < 10) and not failures and time.monotonic() < deadline:
        swaps += 1
        bring(ground, every[swaps % 3])
    done.set()
    reader.join(60)
    assert failures == []
    assert len(looks) >= 10
    assert [one for one in looks if one not in allowed] == []


def test_who_cannot_be_reached_is_not_delivered_to(ground: Ground) -> None:
    """The reason is plain and one line, nothing secret is in it or behind it; later, it goes on as if nothing was."""
    a, b, _ = materials(ground)
    bring(ground, a)
    with ground.unreachable(), pytest.raises(NotDelivered) as refused:
        bring(ground, b)
    assert ground.live() == seen(a)
    shown = refused.value.message
    assert 10 < len(shown) < 400
    assert shown.isprintable()
    said = "\n".join([shown, str(refused.value.hint), *traceback.format_exception(refused.value)])
    assert [hidden for hidden in ground.hidden if hidden in said] == []
    assert refused.value.__cause__ is None
    bring(ground, b)
    assert ground.live() == seen(b)


def test_an_unknown_setting_is_refused(ground: Ground) -> None:
    """And named."""
    with pytest.raises(BadRequest, match="'colour' is not a setting") as refused:
        ground.make({**ground.settings, "colour": "red"})
    assert refused.value.code == "bad-settings"
    assert [hidden for hidden in ground.hidden if hidden in str(refused.value)] == []


def test_a_setting_of_another_kind_is_refused(ground: Ground) -> None:
    """Whatever a row may say, it is no stack trace."""
    for name in ground.settings:
        with pytest.raises(BadRequest, match=name) as refused:
            ground.make({**ground.settings, name: {}})
        assert refused.value.code == "bad-settings"
    with pytest.raises(BadRequest):
        ground.make({})


def test_odd_names_are_not_brought(ground: Ground) -> None:
    """Neither of a version nor of a file: what would be a path, a pattern or a header elsewhere."""
    if ground.settings.keys() == {"place"} and not ground.hidden:
        pytest.skip("memory takes any name")
    a, *_ = materials(ground)
    bring(ground, a)
    for odd in ("../x", "a/b", "", "+", "a#", "a\nb", "x" * 300):
        for made in (
            Material(a.subject, odd, a.sha256, a.files),
            Material(a.subject, "edge-9-abc", a.sha256, {odd: b"x"}),
        ):
            with pytest.raises(NotDelivered):
                bring(ground, made)
    assert ground.live() == seen(a)


def test_who_does_not_keep_secrets_is_handed_none(ground: Ground) -> None:
    """It says so, and refuses what it was handed by mistake, whole, before anything has left."""
    if publisher(ground).keeps_secrets:
        pytest.skip("this place keeps them")
    with_key = material(5, with_key=True)
    for call in ("stage", "swap"):
        with pytest.raises(NotDelivered) as refused:
            getattr(publisher(ground), call)(with_key)
        assert refused.value.code == "not-for-secrets"
        assert "key 5" not in str(refused.value)
    assert ground.live() is None


def forward(one: Material, made: Publisher) -> None:
    """Stage and swap."""
    made.stage(one)
    made.swap(one)


@pytest.mark.parametrize("is_first", [False, True], ids=["changed", "first"])
@pytest.mark.parametrize("kind", GROUNDS)
def test_cut_anywhere_and_repeated_it_ends_right(kind: str, is_first: bool, tmp_path: Path) -> None:
    """At no step is there anything but the old or the new, whole; and the same calls again end with the new."""
    steps, was_cut = 0, True
    while was_cut:
        steps += 1
        with opened(kind, tmp_path / f"step-{steps}") as ground:
            a, b, c = materials(ground)
            if not is_first:
                bring(ground, c, a)
            was_cut = ground.cut(steps, lambda made, b=b: forward(b, made))  # type: ignore[misc]
            assert ground.live() in (None if is_first else seen(a), seen(b))
            bring(ground, b)
            assert ground.live() == seen(b)
            bring(ground, c)
            assert ground.live() == seen(c)
    assert steps > 2


CALLS = st.lists(st.tuples(st.sampled_from(["stage", "swap", "restore"]), st.sampled_from([0, 1, 2])), max_size=12)


@pytest.mark.parametrize("kind", GROUNDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
def test_any_calls_in_any_order(kind: str, tmp_path: Path, calls: list[tuple[str, int]]) -> None:
    """What is in use is what a few lines of model say, after every call."""
    with opened(kind, tmp_path / os.urandom(6).hex()) as ground:
        assert isinstance(publisher(ground), RollsBack) == (kind in RETURNING)
        every = materials(ground)
        staged: set[int] = set()
        live: int | None = None
        before: int | None = None
        for call, one in calls:
            if call == "restore" and kind not in RETURNING:
                continue
            if call == "swap" and one not in staged:
                if ground.tells_staged:
                    with pytest.raises(NotDelivered):
                        publisher(ground).swap(every[one])
                continue
            getattr(publisher(ground), call)(every[one])
            if call == "stage":
                staged.add(one)
            elif call == "swap" and live != one:
                live, before = one, live
            elif call == "restore" and live == one and before is not None:
                live = before
            assert ground.live() == (None if live is None else seen(every[live]))
