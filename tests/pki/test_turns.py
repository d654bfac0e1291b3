"""Whose turn it is: never more than there may be, nobody starved, near ends first; whatever comes in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pki.web.turns import IN_A_ROW, Turns, Waiting

NAMES = st.sampled_from("abcd")
STEPS = st.lists(st.one_of(st.tuples(NAMES, st.none() | st.integers(1, 9)), st.just("next"), st.integers(0, 30)))


@given(steps=STEPS, most=st.integers(1, 8))
def test_the_bound_holds_and_nobody_is_lost_or_served_twice(steps: list[object], most: int) -> None:
    """Everyone that joined has been served, has left, was turned away, or still waits: exactly one of them."""
    turns: Turns[int] = Turns(most)
    waiting: list[Waiting[int]] = []
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            one = Waiting(step[0], number, step[1])
            leaves = turns.join(one)
            waiting.append(one)
            if leaves is not None:
                waiting.remove(leaves)
                assert len(waiting) == most
        elif step == "next":
            served = turns.next()
            assert (served is None) == (waiting == [])
            if served is not None:
                waiting.remove(served)
        elif isinstance(step, int) and waiting:
            gone = waiting[step % len(waiting)]
            assert turns.leave(gone)
            waiting.remove(gone)
            assert not turns.leave(gone)
        assert len(turns) == len(waiting) <= most
    left = [turns.next() for _ in range(len(turns))]
    assert sorted(id(one) for one in left) == sorted(id(one) for one in waiting)
    assert turns.next() is None


@given(crowd=st.lists(NAMES, max_size=40))
def test_a_newcomer_waits_for_one_turn_of_each_other(crowd: list[str]) -> None:
    """However many a crowd has waiting: at most one of each is served before."""
    turns: Turns[str] = Turns(1000)
    for name in crowd:
        turns.join(Waiting(name, name))
    turns.join(Waiting("newcomer", "newcomer"))
    served = []
    while (one := turns.next()) is not None and one.item != "newcomer":
        served.append(one.item)
    assert len(served) == len(set(served)) <= 4


@given(ends=st.permutations(range(1, 7)), crowd=st.integers(0, 30))
def test_near_ends_go_first_one_of_each_identity(ends: list[int], crowd: int) -> None:
    """The nearest of all; the second one of an identity has its ordinary turn, so that nobody lives off it."""
    turns: Turns[int] = Turns(1000)
    for number in range(crowd):
        turns.join(Waiting("crowd", 1000 + number))
    for end in ends:
        turns.join(Waiting(f"holder {end}", end, end))
        turns.join(Waiting(f"holder {end}", 100 + end, end))
    order = [one.item for one in iter(turns.next, None)]
    by_deadline = [item for item in order if item < 100]
    assert by_deadline == sorted(ends)
    assert all(order.index(item) == item - 1 + (item - 1) // IN_A_ROW for item in ends)  # one of the others in between


@given(
    noisy=st.lists(st.tuples(NAMES, st.integers(1, 9)), min_size=1, max_size=20),
    fresh=st.booleans(),
)
def test_nobody_starves_behind_deadlines(noisy: list[tuple[str, int]], fresh: bool) -> None:
    """Who asks again at once each time, always nearest to its end, even as somebody new each time, is not alone."""
    turns: Turns[str] = Turns(1000)
    for name, end in noisy:
        turns.join(Waiting(name, "noise", end))
    turns.join(Waiting("newcomer", "newcomer"))
    served = 0
    while (one := turns.next()) is not None and one.item != "newcomer":
        served += 1
        turns.join(Waiting(f"{one.identity}{served}" if fresh else one.identity, "noise", 0))
        assert served <= (IN_A_ROW + 1) * 5


def test_one_that_asks_again_does_not_go_before_another_whose_end_is_near() -> None:
    """An identity has one turn by its deadline; asking again and again does not get it a second."""
    turns: Turns[str] = Turns(1000)
    turns.join(Waiting("noisy", "noisy", 1))
    assert turns.next() is not None
    turns.join(Waiting("noisy", "noisy", 1))
    turns.join(Waiting("holder", "holder", 2))
    first = turns.next()
    assert first is not None
    assert first.item == "holder"


@given(names=st.lists(st.integers(0, 50), min_size=1, max_size=20, unique=True))
def test_a_near_end_finds_room_in_a_queue_full_of_others(names: list[int]) -> None:
    """Even where everybody has but one waiting; where all are about to end, the last to come is turned away."""
    turns: Turns[str] = Turns(len(names))
    for name in names:
        assert turns.join(Waiting(str(name), "other")) is None
    for place in range(len(names)):
        leaves = turns.join(Waiting(f"holder {place}", "near", place))
        assert leaves is not None
        assert leaves.item == "other"
    late = Waiting("late", "near", 0)
    assert turns.join(late) is late
    assert len(turns) == len(names)


@given(most=st.integers(2, 20), crowd=st.integers(0, 60))
def test_a_crowd_cannot_fill_the_queue_against_others(most: int, crowd: int) -> None:
    """Whoever has the most waiting gives way for who has none, with its newest; and is turned away itself."""
    turns: Turns[int] = Turns(most)
    kept = sum(turns.join(Waiting("crowd", number)) is None for number in range(crowd))
    assert kept == min(most, crowd)
    leaves = turns.join(Waiting("newcomer", -1))
    if crowd >= most:
        assert leaves is not None
        assert leaves.item == most - 1
    else:
        assert leaves is None
