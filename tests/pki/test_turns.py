"""Whose turn it is: never more than there may be, nobody starved, near ends first; whatever comes in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pki.web.turns import Turns, Waiting

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
    first = [turns.next() for _ in ends]
    assert [one.item for one in first if one is not None] == sorted(ends)
    later = turns.next()
    assert later is not None
    assert later.item >= 100


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
