"""That nobody is told is seen: the age of the last run, what waits, and what expired without a letter before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ca.models import LedgerEntry
from ca.store import Store
from renewers.mailing import forgetting, opening, silence, sorting
from renewers.mailing.silence import Figures
from renewers.models import Crossing, Letter, Snapshot, Told
from tests.renewers import tracking
from tests.renewers.mailing_world import DAY, HOUR, MINUTE, ON_ONE_ENGINE, Post, post
from tests.renewers.tracking import START


@pytest.fixture
def world(any_store: Store) -> Iterator[Post]:
    """An installation that writes letters, on each engine in turn."""
    with post(any_store) as made:
        yield made


def figures(world: Post, now: int) -> Figures:
    """What metrics would show."""
    with world.at(now), world.store.read() as connection:
        return silence.figures(connection)


def test_the_age_of_the_last_run_is_known_to_all(world: Post) -> None:
    """It stands in the table: the replica that is asked need not be the one that ran; a minute is near enough."""
    assert figures(world, START).run_age is None
    world.beat(START)
    world.beat(START + 30)
    assert [row.at for row in world.rows(Snapshot)] == [START]
    assert figures(world, START + HOUR).run_age == HOUR
    world.beat(START + HOUR)
    assert figures(world, START + HOUR).run_age == 0


def test_a_run_that_fails_does_not_count(world: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands is when all went well, not when it was tried."""
    world.beat(START)

    def broken(*_arguments: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(opening, "_immediate", broken)
    with pytest.raises(ZeroDivisionError):
        world.beat(START + HOUR)
    assert figures(world, START + HOUR).run_age == HOUR


def test_what_waits_and_since_when(world: Post) -> None:
    """The queue and its age, until it has left."""
    world.mailer.is_down = True
    world.failing()
    world.beat(START + 80 * DAY)
    world.send(START + 80 * DAY)
    found = figures(world, START + 80 * DAY + 600)
    assert (found.waiting, found.oldest) == (1, 600)
    world.mailer.is_down = False
    world.live(START + 80 * DAY + HOUR, START + 80 * DAY + 3 * HOUR, HOUR)
    assert (figures(world, START + 81 * DAY).waiting, figures(world, START + 81 * DAY).oldest) == (0, 0)


@ON_ONE_ENGINE
def test_whoever_was_told_is_not_unannounced(world: Post) -> None:
    """Something expired, and its owner had a letter before: nothing is wrong with us."""
    world.failing()
    world.live(START + 65 * DAY, START + 91 * DAY, 6 * HOUR)
    assert figures(world, START + 91 * DAY).unannounced == 0


@ON_ONE_ENGINE
@pytest.mark.parametrize("reason", ["no schedule", "no mail server"])
def test_an_expiry_without_a_letter_before_is_counted(world: Post, reason: str) -> None:
    """Whatever kept it from leaving: it must be seen. A week later it is history."""
    id_ = world.failing()
    world.mailer.is_down = reason == "no mail server"
    first = START + (90 if reason == "no schedule" else 65) * DAY
    world.live(first, START + 91 * DAY, 12 * HOUR)
    assert "expired" in world.states(id_)
    assert figures(world, START + 91 * DAY).unannounced == 1
    assert figures(world, START + 99 * DAY).unannounced == 0


def test_where_no_mail_is_sent_none_is_missed(world: Post) -> None:
    """An installation that tells by webhook alone has no letters to miss."""
    id_ = world.failing()
    world.lifecycle = replace(world.lifecycle, mailer=None)
    world.live(START + 89 * DAY, START + 91 * DAY, 12 * HOUR)
    assert "expired" in world.states(id_)
    assert figures(world, START + 91 * DAY).unannounced == 0


def test_what_nobody_could_have_announced_is_not_counted(world: Post) -> None:
    """It was imported an hour before its end, or when that was over."""
    world.manual(lifetime=90 * DAY, recorded_at=START + 90 * DAY - HOUR, next_look=START + 90 * DAY)
    world.beat(START + 90 * DAY)
    assert figures(world, START + 90 * DAY).unannounced == 0


def test_an_empty_look_writes_nothing(world: Post) -> None:
    """A tick that finds nothing to say costs a few looks at indexes, and no commit within the minute."""
    for number in range(20):
        world.manual(start=START - number * DAY)
    world.beat(START)
    before = world.store.commits.units
    for now in range(START + 10, START + 60, 10):
        with world.at(now):
            assert opening.open_due(world.lifecycle) == 0
    assert world.store.commits.units == before


def test_a_tick_costs_what_is_new(world: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits for a digest or was told: nothing of it is read by a tick that has nothing to do."""
    now = START + 70 * DAY + MINUTE
    for _ in range(30):
        world.manual(lifetime=120 * DAY)
    world.beat(now - MINUTE)
    assert len(world.rows(Crossing)) == 30
    world.beat(now)
    looked: list[int] = []

    def sort(*arguments: object) -> object:
        looked.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    original = sorting.sort
    monkeypatch.setattr(sorting, "sort", sort)
    world.beat(now + MINUTE)
    assert looked == []


@ON_ONE_ENGINE
def test_what_is_old_and_over_is_forgotten(any_store: Store) -> None:
    """Letters, the sent ledger, crossings; but not while a certificate lives: its threshold would be told again."""
    root = {"kind": "root", "lifetime": 20 * 360 * DAY, "start": START - 19 * 360 * DAY}
    with post(any_store, keep=100 * DAY) as world:
        over, alive = world.failing(), tracking.add_tracked(any_store, **root, owner_id=world.payments)
        world.live(START, START + 12 * DAY, 12 * HOUR)
        world.live(START + 65 * DAY, START + 91 * DAY, 12 * HOUR)
        world.renew(over, START + 92 * DAY)
        world.live(START + 92 * DAY, START + 93 * DAY, 12 * HOUR)
        kept = set(world.states(alive))
        assert kept
        with world.at(START + 400 * DAY):
            while forgetting.prune(world.lifecycle):
                continue
        assert world.states(over) == {}
        assert set(world.states(alive)) == kept
        assert {row.letter_id for row in world.rows(Told)} <= {row.id for row in world.rows(Letter)}
        assert all(row.opened_at < START + 13 * DAY for row in world.rows(Letter))
        assert any(b'"letters-pruned"' in row.body for row in world.rows(LedgerEntry))
        world.live(START + 400 * DAY, START + 401 * DAY, 12 * HOUR)
        assert world.twice() == []
