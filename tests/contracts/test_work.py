"""Due work, on SQLite and on PostgreSQL with two replicas: each piece done once, whoever dies or is slow."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, func, insert, select, text

from ca import clock
from ca.errors import (
    BadRequest,
    Conflict,
    IssuerRefusal,
    IssuerUnavailable,
    Misconfigured,
    NotDelivered,
    PolicyRefusal,
    RateLimited,
)
from ca.models import Fact
from ca.store import Store, Transaction, open_store
from ca.store.commit import StaleChange
from renewers import backlog, work
from renewers.backlog import Counts
from renewers.models import Work
from renewers.work import LADDER, LONGEST_REPLY, Claim
from tests.conftest import fresh_database

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
START = int(NOON.timestamp())
LATER = NOON + timedelta(hours=1)
THREADS, PIECES = 4, 2000


@pytest.fixture
def replicas(any_store: Store, store_url: str) -> Iterator[list[Store]]:
    """One process on SQLite; on PostgreSQL two, with a store each on one database."""
    if not any_store.is_shared:
        yield [any_store]
        return
    second = open_store(store_url)
    yield [any_store, second]
    second.close()


@pytest.fixture
def two(postgresql: str) -> Iterator[list[Store]]:
    """Two replicas on PostgreSQL, for what one process cannot get wrong."""
    url = fresh_database(postgresql)
    stores = [open_store(url), open_store(url)]
    yield stores
    for store in stores:
        store.close()


def at(seconds: int) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def plan(store: Store, *subjects: str, kind: str = "renew", due: int = START) -> None:
    """Schedule these, all at once."""
    store.write(lambda tx: work.schedule_all(tx, kind, subjects, due))


def take(store: Store, *, limit: int = 1, lease: int = 60, kinds: tuple[str, ...] = ("renew",)) -> list[Claim]:
    """Claim what is due."""
    return work.claim(store, kinds, limit=limit, lease=lease)


def take_one(store: Store, **choices: Any) -> Claim:
    """The one piece that is due."""
    [claim] = take(store, **choices)
    return claim


def settle(store: Store, claim: Claim, again_at: int | None = None) -> None:
    """It is done."""
    store.write(lambda tx: work.settle(tx, claim, again_at=again_at))


def fail(store: Store, claim: Claim, error: Exception | None = None, **choices: Any) -> work.Failed:
    """It failed."""
    return store.write(lambda tx: work.fail(tx, claim, error or NotDelivered("no"), **choices))


def hurry(store: Store, subject: str) -> bool:
    """Have it done now."""
    return store.write(lambda tx: work.hurry(tx, "renew", subject))


def rows(store: Store) -> dict[str, Any]:
    """All work, by its subject."""
    with store.read() as connection:
        return {row.subject: row for row in connection.execute(select(Work))}


def together(stores: list[Store], count: int, job: Callable[[Store, int], Any]) -> list[Any]:
    """What `count` threads get that do the same at the same moment, spread over the replicas."""
    start = threading.Barrier(count)

    def run(place: int) -> Any:
        start.wait()
        return job(stores[place % len(stores)], place)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


# One at a time.


def test_thousands_are_each_done_once(replicas: list[Store]) -> None:
    """Four threads a replica claim and settle until nothing is left: nothing is claimed twice, nothing is left over."""
    subjects = [f"{number}" for number in range(PIECES)]
    plan(replicas[0], *subjects)

    def work_off(store: Store, _place: int) -> list[str]:
        done = []
        while claims := take(store, limit=25):
            for claim in claims[:-1]:
                settle(store, claim)
            store.write(lambda tx, last=claims[-1]: work.settle(tx, last, again_at=START + 10**6))
            done += [claim.subject for claim in claims]
        return done

    with clock.pinned(NOON):
        done = together(replicas, THREADS * len(replicas), work_off)
    times = Counter(subject for part in done for subject in part)
    assert set(times) == set(subjects)
    assert set(times.values()) == {1}
    again = rows(replicas[0])
    assert len(again) == sum(-(-len(part) // 25) for part in done)
    assert {row.due_at for row in again.values()} == {START + 10**6}


def test_two_replicas_share_what_is_due(two: list[Store]) -> None:
    """No replica waits for the other's claims: what one is just taking, the other passes over."""
    plan(two[0], *(f"{number}" for number in range(400)))
    with clock.pinned(NOON):
        claims = together(two, 8, lambda store, _place: take(store, limit=50))
    taken = [claim.id for part in claims for claim in part]
    assert len(taken) == len(set(taken))
    assert len({claim.holder for part in claims for claim in part}) == sum(1 for part in claims if part)


def test_the_longest_due_come_first(any_store: Store) -> None:
    """However they were scheduled; what is not due, or of another kind, is not touched."""
    for delay in (5, 1, 9, 3, 7):
        plan(any_store, f"after-{delay}", due=START - delay)
    plan(any_store, "tomorrow", due=START + 1)
    plan(any_store, "look", kind="look", due=START - 100)
    with clock.pinned(NOON):
        assert [claim.subject for claim in take(any_store, limit=2)] == ["after-9", "after-7"]
        assert [claim.subject for claim in take(any_store, limit=9)] == ["after-5", "after-3", "after-1"]
        assert take(any_store, limit=9) == []
        assert [claim.subject for claim in take(any_store, kinds=("look", "renew"))] == ["look"]
    with clock.pinned(at(1)):
        assert take_one(any_store).subject == "tomorrow"


@pytest.mark.parametrize(("limit", "kinds"), [(0, ("renew",)), (-1, ("renew",)), (5, ())])
def test_who_wants_nothing_gets_nothing(any_store: Store, limit: int, kinds: tuple[str, ...]) -> None:
    """No kinds, or no room, is no claim: SQLite would take a negative limit for none at all."""
    plan(any_store, "a", "b")
    with clock.pinned(NOON):
        assert take(any_store, limit=limit, kinds=kinds) == []


def test_a_dead_holders_work_comes_back(any_store: Store) -> None:
    """When its lease is over, not a second before, with a larger fence and as due as it was."""
    plan(any_store, "a", due=START - 500)
    with clock.pinned(NOON):
        dead = take_one(any_store, lease=60)
    with clock.pinned(at(59)):
        assert take(any_store) == []
    with clock.pinned(at(60)):
        heir = take_one(any_store)
    assert (heir.fence, heir.due_since, heir.subject) == (dead.fence + 1, START - 500, "a")
    assert heir.holder != dead.holder


def test_who_is_alone_need_not_wait_for_dead_holders(any_store: Store) -> None:
    """What was held is due at once, and whoever held it is too slow from now on; what is planned stays planned."""
    any_store.write(lambda tx: work.schedule(tx, "renew", "held", clock.timestamp()))
    any_store.write(lambda tx: work.schedule(tx, "renew", "planned", clock.timestamp() + 3600))
    (dead,) = work.claim(any_store, ["renew"], limit=10, lease=120)
    assert work.claim(any_store, ["renew"], limit=10, lease=120) == []
    assert work.release(any_store) == 1
    (again,) = work.claim(any_store, ["renew"], limit=10, lease=120)
    assert (again.subject, again.fence) == ("held", dead.fence + 2)
    with pytest.raises(StaleChange):
        any_store.write(lambda tx: work.settle(tx, dead, again_at=None))


def test_who_was_too_slow_changes_nothing(replicas: list[Store]) -> None:
    """Its transaction is refused whole, whether it settles, fails or only checks; the heir's stands."""
    first, second = replicas[0], replicas[-1]
    plan(first, "a")
    with clock.pinned(NOON):
        slow = take_one(first, lease=10)
    with clock.pinned(at(10)):
        heir = take_one(second)
        before = rows(first)

        def renew(tx: Transaction) -> None:
            work.schedule(tx, "deliver", "result", START)
            work.check(tx, slow)

        attempts: list[Callable[[Transaction], Any]] = [
            renew,
            lambda tx: work.settle(tx, slow, again_at=None),
            lambda tx: work.settle(tx, slow, again_at=START + 99),
            lambda tx: work.fail(tx, slow, NotDelivered("no")),
        ]
        for attempt in attempts:
            with pytest.raises(StaleChange, match="taken over"):
                first.write(attempt)
        assert rows(first) == before
        settle(second, heir)
        for attempt in attempts:
            with pytest.raises(StaleChange):
                first.write(attempt)
    assert rows(first) == {}


def test_a_row_of_the_same_number_is_not_the_same_work(any_store: Store) -> None:
    """SQLite gives the number of a settled row to the next one: who held the old one does not hold that."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        old = take_one(any_store)
        any_store.write(lambda tx: work.cancel(tx, "renew", "a"))
        plan(any_store, "b")
        take_one(any_store)
        with pytest.raises(StaleChange):
            settle(any_store, old)
        work.extend(any_store, [old], 900)
        assert rows(any_store)["b"].due_at == START + 60


def test_extending_keeps_it(any_store: Store) -> None:
    """A holder that says that it lives is not followed, for as long as it says so."""
    plan(any_store, "a", "b")
    with clock.pinned(NOON):
        held = take(any_store, limit=2, lease=60)
    for minute in range(1, 6):
        with clock.pinned(at(50 * minute)):
            work.extend(any_store, held, 60)
            assert take(any_store, limit=9) == []
    with clock.pinned(at(250)):
        for claim in held:
            settle(any_store, claim)
    assert rows(any_store) == {}


def test_extending_revives_nothing(replicas: list[Store]) -> None:
    """What was taken over, settled, failed or cancelled meanwhile is passed over; what is still held is kept."""
    ours, other = replicas[0], replicas[-1]
    plan(ours, "lost", "settled", "failed", "cancelled", "kept")
    with clock.pinned(NOON):
        held = {claim.subject: claim for claim in take(ours, limit=9, lease=60)}
        settle(ours, held["settled"], START + 7)
        fail(ours, held["failed"])
        ours.write(lambda tx: work.cancel(tx, "renew", "cancelled"))
    with clock.pinned(at(60)):
        work.extend(ours, [held["kept"]], 60)
        assert "lost" in {claim.subject for claim in take(other, limit=9, lease=33)}
        before = {name: row for name, row in rows(ours).items() if name != "kept"}
        work.extend(ours, list(held.values()), 5000)
        after = rows(ours)
    assert after.pop("kept").due_at == START + 60 + 5000
    assert after == before
    work.extend(ours, [], 60)


# Planning.


def test_planning_moves_what_is_planned(any_store: Store) -> None:
    """Sooner or later, one row a thing; and the same again changes nothing."""
    for due in (START + 50, START + 9, START + 70, START + 70):
        plan(any_store, "a", due=due)
        assert [(row.due_at, row.due_since, row.fence) for row in rows(any_store).values()] == [(due, due, 0)]


def test_planning_disturbs_nobody(any_store: Store) -> None:
    """Neither who is at it, nor the wait of what fails, nor what has stopped; nor is a dead holder's lease moved."""
    plan(any_store, "running", "failing", "stopped", "dead")
    with clock.pinned(NOON):
        held = {claim.subject: claim for claim in take(any_store, limit=9)}
        fail(any_store, held["failing"])
        fail(any_store, held["stopped"], IssuerRefusal("never"))
    with clock.pinned(LATER):
        before = rows(any_store)
        plan(any_store, *before, due=START + 1)
        assert rows(any_store) == before


def test_planning_the_same_at_once_is_no_error(replicas: list[Store]) -> None:
    """Eight threads on two replicas that schedule or hurry the same new thing: one row, and nobody hears of it."""
    for turn in range(15):
        names = [f"{turn}-{number}" for number in range(6)]

        def ask(store: Store, place: int, names: list[str] = names) -> bool:
            if place % 4 == 0:
                return all(hurry(store, name) for name in names)
            plan(store, *(names if place % 2 else reversed(names)), due=START + place)
            return True

        with clock.pinned(NOON):
            assert together(replicas, 8, ask) == [True] * 8
        assert set(rows(replicas[0])) >= set(names)
    with replicas[0].read() as connection:
        assert connection.execute(select(func.count()).select_from(Work)).scalar_one() == 15 * 6


@pytest.mark.parametrize("first", ["wish", "settling"])
def test_what_is_asked_for_while_settling_is_not_lost(two: list[Store], first: str) -> None:
    """Who asks for more and who settles wait for each other: the one sees the wish, or the other plans anew."""
    plan(two[0], "a")
    with clock.pinned(NOON):
        claim = take_one(two[0])
    is_inside, go_on = threading.Event(), threading.Event()

    def linger(who: str) -> None:
        if who == first:
            is_inside.set()
            assert go_on.wait(60)

    def wish(tx: Transaction) -> None:
        tx.execute(insert(Fact).values(name="wish", value=""))
        work.schedule(tx, "renew", "a", START)
        linger("wish")

    def settling(tx: Transaction) -> bool:
        work.check(tx, claim)
        is_seen = tx.execute(select(Fact)).first() is not None
        linger("settling")
        work.settle(tx, claim, again_at=START if is_seen else None)
        return is_seen

    units = [wish, settling] if first == "wish" else [settling, wish]
    with ThreadPoolExecutor(2) as threads:
        leading = threads.submit(two[0].write, units[0])
        assert is_inside.wait(60)
        following = threads.submit(two[1].write, units[1])
        assert wait([following], timeout=0.2).done == set()
        go_on.set()
        seen = {leading.result(60), following.result(60)} - {None}
    assert seen == {first == "wish"}
    assert rows(two[0])["a"].holder is None


def test_a_missed_tick_is_caught_up(any_store: Store) -> None:
    """After a week in which nobody looked, all of it is done, the oldest first, each once."""
    for day in range(7):
        plan(any_store, f"day-{day}", due=START + 86400 * day)
    with clock.pinned(NOON + timedelta(days=7)):
        assert backlog.oldest_due(any_store) == 7 * 86400
        claims = [take_one(any_store) for _ in range(7)]
        assert [claim.subject for claim in claims] == [f"day-{day}" for day in range(7)]
        assert take(any_store) == []


def test_cancelled_is_cancelled(any_store: Store) -> None:
    """It never comes due, and whoever is at it finds its fence gone."""
    plan(any_store, "a", "b")
    with clock.pinned(NOON):
        held = take_one(any_store)
        any_store.write(lambda tx: work.cancel(tx, "renew", held.subject))
        with pytest.raises(StaleChange):
            settle(any_store, held)
        assert take_one(any_store).subject == "b"


# Failing.


@given(subject=st.text(min_size=1, max_size=40), attempts=st.integers(1, 10**6))
def test_the_ladder(subject: str, attempts: int) -> None:
    """Never shorter than its step, at most a fifth longer, the same each time, longer each time until the last step."""
    wait = work.wait_after(subject, attempts)
    step = LADDER[min(attempts, len(LADDER)) - 1]
    assert step <= wait <= step * 1.2
    assert wait == work.wait_after(subject, attempts)
    if attempts < len(LADDER):
        assert work.wait_after(subject, attempts + 1) > wait


def test_what_failed_together_does_not_come_back_together() -> None:
    """A thousand subjects are spread over the fifth that jitter gives them, evenly; below a cap, too."""
    free = [work.wait_after(f"{number}", 6) - LADDER[-1] for number in range(1000)]
    capped = [36_000 - work.wait_after(f"{number}", 6, longest=36_000) for number in range(1000)]
    for waits, spread in ((free, LADDER[-1] // 5), (capped, 36_000 // 5)):
        tenths = Counter(wait * 10 // spread for wait in waits)
        assert all(tenths[tenth] > 50 for tenth in range(10))


@given(
    attempts=st.integers(1, 20),
    asked=st.integers(-10, 10**12),
    longest=st.none() | st.integers(-(10**6), 10**12),
)
def test_the_other_side_is_never_asked_too_early(attempts: int, asked: int, longest: int | None) -> None:
    """Whatever it asks for, within a week; `longest` caps the ladder and not its wish; no wait is without an end."""
    wait = work.wait_after("a", attempts, IssuerUnavailable("later", retry_after=asked), longest)
    wished = min(max(asked, 1), LONGEST_REPLY)
    assert wait >= wished
    assert wait <= max(wished, LADDER[-1]) * 1.2
    if longest is not None:
        assert wait <= max(wished, longest, LADDER[0])


@given(attempts=st.integers(1, 20), longest=st.integers(-(10**9), 10**9))
def test_the_longest_wait_caps_the_ladder(attempts: int, longest: int) -> None:
    """What ends soon is tried before it ends, though not more often than once a minute."""
    free, capped = work.wait_after("a", attempts), work.wait_after("a", attempts, NotDelivered("no"), longest)
    assert min(free, max(0.8 * longest - 1, 60)) <= capped <= min(free, max(longest, 60))
    assert capped == work.wait_after("a", attempts, NotDelivered("no"), longest)


def test_a_first_wish_may_be_sooner_than_the_ladder() -> None:
    """A CA that says `in five seconds` is asked in five, the first time; then it is not believed any more."""
    error = IssuerUnavailable("busy", retry_after=5)
    assert 5 <= work.wait_after("a", 1, error) <= 6
    assert work.wait_after("a", 2, error) == work.wait_after("a", 2)


def test_failures_climb_the_ladder(any_store: Store) -> None:
    """Each one waits as the ladder says, and remembers since when and why; one success forgets all of it."""
    plan(any_store, "a")
    now = START
    for attempt in range(1, 9):
        with clock.pinned(at(now - START)):
            claim = take_one(any_store)
            assert claim.attempts == attempt - 1
            assert claim.failing_since == (None if attempt == 1 else START)
            failed = fail(any_store, claim, NotDelivered(f"attempt {attempt}"))
            row = rows(any_store)["a"]
            assert (row.last_error, row.last_code, row.failing_since) == (f"attempt {attempt}", "not-delivered", START)
            assert failed == work.Failed(row.due_at, attempt, START)
            assert failed.next_at == now + work.wait_after("a", attempt)
            assert take(any_store) == []
            now = failed.next_at
    with clock.pinned(at(now - START)):
        settle(any_store, take_one(any_store), START + 10**8)
    row = rows(any_store)["a"]
    assert (row.attempts, row.failing_since, row.last_error, row.last_code, row.holder) == (0, None, None, None, None)


PERMANENT = [IssuerRefusal("no"), BadRequest("what?"), PolicyRefusal([]), Conflict("taken")]
PASSING = [
    *(NotDelivered("no"), IssuerUnavailable("no"), Misconfigured("no such file"), KeyError("x"), ZeroDivisionError()),
    *(RateLimited("slow down", retry_after=7), StaleChange("changed"), Conflict("clashes", code="duplicate")),
]


@pytest.mark.parametrize("error", PERMANENT, ids=lambda error: type(error).__name__)
def test_what_only_a_person_mends_stops(any_store: Store, error: Exception) -> None:
    """It is never tried again by itself, and says why, and since when."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        assert fail(any_store, take_one(any_store), error) == work.Failed(None, 1, START)
    with clock.pinned(NOON + timedelta(days=3650)):
        assert take(any_store) == []
        assert [row.last_error for row in backlog.stopped(any_store)] == [work.describe(error)]
        assert backlog.oldest_due(any_store) is None


@pytest.mark.parametrize("error", PASSING, ids=lambda error: f"{type(error).__name__}-{error}")
def test_what_time_mends_goes_on(any_store: Store, error: Exception) -> None:
    """A wrong setting, a defect of ours and a clash with another replica are no reason to give up for ever."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        failed = fail(any_store, take_one(any_store), error)
    assert failed.next_at is not None
    with clock.pinned(at(failed.next_at - START)):
        assert take_one(any_store).attempts == 1


def test_hurrying_overrides_a_back_off(any_store: Store) -> None:
    """What fails is tried at once, from the foot of the ladder; since when it fails stays known."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        for _ in range(4):
            fail(any_store, take_one(any_store))
            hurry(any_store, "a")
        hurried = take_one(any_store)
        assert (hurried.attempts, hurried.failing_since) == (0, START)
        again = fail(any_store, hurried)
    assert again == work.Failed(START + work.wait_after("a", 1), 1, START)


def test_hurrying_overrides_a_stop(any_store: Store) -> None:
    """Once it is mended, `renew now` takes it up again; until it succeeds it is still said to fail since then."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        fail(any_store, take_one(any_store), IssuerRefusal("no"))
    with clock.pinned(LATER):
        assert hurry(any_store, "a")
        assert backlog.stopped(any_store) == []
        assert take_one(any_store).failing_since == START


def test_hurrying_waits_for_nobody_and_disturbs_nobody(any_store: Store) -> None:
    """What is planned comes due now, what is not there is made; who is at it this moment is left alone."""
    plan(any_store, "planned", due=START + 10**6)
    with clock.pinned(NOON):
        assert hurry(any_store, "planned")
        assert hurry(any_store, "new")
        held = {claim.subject: claim for claim in take(any_store, limit=2)}
        before = rows(any_store)
        assert not hurry(any_store, "planned")
        assert rows(any_store) == before
        settle(any_store, held["planned"])


def test_a_holder_whose_lease_is_over_does_not_undo_a_hurry(any_store: Store) -> None:
    """It is too slow from that moment on: its failure would put the work back on the ladder."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        slow = take_one(any_store, lease=10)
    with clock.pinned(at(10)):
        assert hurry(any_store, "a")
        with pytest.raises(StaleChange):
            fail(any_store, slow)
        assert take_one(any_store).fence > slow.fence


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotDelivered("host\x00 \x1b[31m said\r\n\u202eno " + "x" * 9000), "host [31m said no " + "x" * 482),
        (KeyError("canary"), "KeyError"),
        (PermissionError(13, "Permission denied", "/secret/canary"), "PermissionError: Permission denied"),
        (RuntimeError("canary"), "RuntimeError"),
    ],
)
def test_an_error_is_one_harmless_line(any_store: Store, error: Exception, said: str) -> None:
    """Control characters are gone, its length has an end, and what others wrote into an exception stays out of it."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        fail(any_store, take_one(any_store), error)
    assert rows(any_store)["a"].last_error == said


class OddError(Exception):
    """A stranger's exception with a `code` of its own."""

    code = 404


def test_a_strangers_code_is_not_ours(any_store: Store) -> None:
    """Only errors of our tree have codes that are part of the interface."""
    plan(any_store, "a")
    with clock.pinned(NOON):
        fail(any_store, take_one(any_store), OddError())
    assert rows(any_store)["a"].last_code == "internal"


# Looking.


def test_pages_of_work(any_store: Store) -> None:
    """In pages by kind and subject, whole and without repeats, narrowed by kind, state and failure."""
    plan(any_store, *(f"{number:03}" for number in range(25)))
    plan(any_store, "x", "y", kind="look", due=START + 10**6)
    with clock.pinned(NOON):
        claims = take(any_store, limit=4)
        for claim in claims[:3]:
            fail(any_store, claim)
        fail(any_store, claims[3], IssuerRefusal("no"))

    def walk(**choices: Any) -> list[str]:
        found, cursor = [], None
        while True:
            some, cursor = backlog.page(any_store, limit=4, cursor=cursor, **choices)
            found += [row.subject for row in some]
            if cursor is None:
                return found

    with any_store.read() as connection:
        everything = sorted((row.kind, row.subject) for row in connection.execute(select(Work)))
    assert walk() == [subject for _, subject in everything]
    assert walk(kind="look") == ["x", "y"]
    assert walk(failing=True) == sorted(claim.subject for claim in claims)
    assert walk(failing=True, state="waiting") == sorted(claim.subject for claim in claims[:3])
    assert walk(state="stopped") == [claims[3].subject]
    assert len(walk(failing=False)) == 27 - 4
    for limit in (0, 501):
        with pytest.raises(BadRequest):
            backlog.page(any_store, limit=limit)


def test_how_long_the_oldest_waits(any_store: Store) -> None:
    """Of what is due and nobody is at; what was held by somebody who died counts from the end of its lease."""
    with clock.pinned(NOON):
        assert backlog.oldest_due(any_store) is None
    plan(any_store, "a", "b")
    plan(any_store, "later", due=START + 10**6)
    with clock.pinned(at(40)):
        assert backlog.oldest_due(any_store) == 40
        take_one(any_store, lease=60)
        assert backlog.oldest_due(any_store) == 40
        take_one(any_store, lease=60)
        assert backlog.oldest_due(any_store) is None
    with clock.pinned(at(105)):
        assert backlog.oldest_due(any_store) == 5


def test_how_much_there_is(any_store: Store) -> None:
    """What is due, what fails and what has stopped, by kind; what is only planned is nobody's concern."""
    plan(any_store, "a", "b", "c", "d")
    plan(any_store, "later", due=START + 10**6)
    plan(any_store, "far", kind="look", due=START + 10**6)
    with clock.pinned(NOON):
        first, second, _held = take(any_store, limit=3)
        fail(any_store, first)
        fail(any_store, second, IssuerRefusal("no"))
        assert backlog.counts(any_store) == {"renew": Counts(waiting=1, failing=1, stopped=1)}


@contextmanager
def asked(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Every statement that the database is asked, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    engines = (store._readers, store._writing)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", listen)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", listen)


def plan_of(store: Store, statement: str, parameters: Any) -> str:
    """How the database would go about it."""
    word = "EXPLAIN QUERY PLAN " if store.dialect == "sqlite" else "EXPLAIN "
    with store.read() as connection:
        if isinstance(parameters, list):  # of an executemany: any of them
            parameters = parameters[0]
        found = connection.exec_driver_sql(word + statement, parameters)
        return "\n".join(str(row[-1]) for row in found)


@pytest.fixture
def crowded(any_store: Store) -> Store:
    """Twenty thousand pieces, nearly all of them planned for later, and statistics of them."""
    row = {"kind": "renew", "state": "waiting", "due_since": START, "fence": 0, "attempts": 0}
    many = [{**row, "subject": f"{number}", "due_at": START + 10 * number} for number in range(20_000)]
    failing = {"kind": "look", "failing_since": START, "attempts": 1}
    odd = [
        {**row, **failing, "subject": "failing", "due_at": START},
        {**row, **failing, "subject": "stopped", "state": "stopped", "due_at": START},
    ]

    def unit(tx: Transaction) -> None:
        tx.execute(insert(Work), many)
        tx.execute(insert(Work), odd)

    any_store.write(unit)
    any_store.write(lambda tx: tx.execute(text("ANALYZE")))
    return any_store


def test_nothing_reads_the_whole_table(crowded: Store) -> None:
    """Claiming, settling, planning, paging and counting find their rows by an index, on both engines."""
    with asked(crowded) as seen, clock.pinned(at(500)):
        claims = work.claim(crowded, ("renew", "look"), limit=5, lease=60)
        work.extend(crowded, claims, 60)
        fail(crowded, claims[0])
        settle(crowded, claims[1])
        hurry(crowded, claims[0].subject)
        plan(crowded, "new", "0")
        crowded.write(lambda tx: work.cancel(tx, "renew", "7"))
        backlog.oldest_due(crowded)
        backlog.counts(crowded)
        backlog.page(crowded, limit=5)
        backlog.page(crowded, kind="look", limit=5, cursor=("look", "a"))
        backlog.page(crowded, failing=True, limit=5)
        backlog.stopped(crowded)
    ours = [(statement, parameters) for statement, parameters in seen if "work" in statement]
    plans = {statement: plan_of(crowded, statement, parameters) for statement, parameters in ours}
    assert len(plans) >= 14
    scans = ("SCAN work\n", "Seq Scan", "TEMP B-TREE FOR ORDER BY")
    for statement, how in plans.items():
        assert not any(scan in f"{how}\n" for scan in scans), (statement, how)
    due = [how for statement, how in plans.items() if "ORDER BY work.due_at" in statement]
    assert len(due) >= 2
    assert all("work_due_at" in how for how in due)
    assert any("work_failing" in how for how in plans.values())
