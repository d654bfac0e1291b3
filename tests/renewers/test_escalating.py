"""When nobody answers: the next one is written to, in time, once; an answer or a renewal ends it at any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlmodel import col

from ca import clock
from ca.store import Store, open_store
from ca.store.commit import StaleChange
from renewers import work
from renewers.answering import acknowledged, answers, mailboxes
from renewers.inventory import ending, owners
from renewers.lifecycle import Lifecycle
from renewers.mailing import escalating, letters
from renewers.models import Letter, Owner, Told
from renewers.runner import Duty, Runner
from tests import rig
from tests.renewers import answering
from tests.renewers.answering import AT, DAY, HOUR, NOW, certificate, crossing, later, letter, row, rows

PATH = ("payments", "backup", "lead", "oncall")


@pytest.fixture
def life(store: Store) -> Iterator[Lifecycle]:
    """Somebody for what is left over, and an owner with a path."""
    with clock.pinned(NOW):
        yield world(store)


def world(store: Store) -> Lifecycle:
    """The same over any store."""
    found = answering.lifecycle(store)
    answering.owner(found, "everybody")
    answering.owner(found, *PATH)
    return found


def payments(life: Lifecycle) -> Owner:
    """The owner as it stands."""
    (found,) = rows(life, Owner, col(Owner.name) == "payments")
    return Owner(**found._mapping)


LEFT: Counter[tuple[int, str]] = Counter()
"""How often a letter has left that tells somebody of a crossing."""


def send(life: Lifecycle) -> None:
    """Every open letter leaves, as `mailing/sending.py` settles it."""
    for one in rows(life, Letter, col(Letter.state) == "open"):
        LEFT.update((row.crossing_id, one.recipient) for row in rows(life, Told, col(Told.letter_id) == one.id))

    def unit(tx: Any) -> None:
        for one in tx.execute(Letter.__table__.select().where(col(Letter.state) == "open")).all():  # type: ignore[attr-defined]
            sent = update(Letter).where(col(Letter.id) == one.id)
            tx.execute(sent.values(state="sent", sent_at=clock.timestamp()))
            escalating.begin(tx, one, letters.told_by(tx, one.id))

    life.store.write(unit)


def step(life: Lifecycle, seconds: float) -> list[str]:
    """What is due by then is done, and what is opened leaves; returns who was written to, all in all."""
    with clock.pinned(later(seconds)):
        runner = Runner(life, {"escalate": Duty(escalating.escalate)})
        try:
            while runner.drain():
                send(life)
        finally:
            runner.stop()
    return recipients(life)


def recipients(life: Lifecycle) -> list[str]:
    """Who was written to, in order."""
    return [one.recipient.partition("@")[0] for one in rows(life, Letter)]


def begin(life: Lifecycle, *tracked: Any, threshold: str = "urgent") -> Any:
    """The owner's urgent letter has left."""
    made = letter(life, payments(life), [crossing(life, one, threshold) for one in tracked])
    send(life)
    return row(life, Letter, made.id)


def test_each_is_told_when_a_quarter_of_what_was_left_has_passed(life: Lifecycle) -> None:
    """Of eight days: after two, then after a quarter of six, and so on, to the end of the path and no further."""
    found = certificate(life, "a.example.org", days=18, owner_id=payments(life).id)
    begin(life, found)
    left, at = found.not_after - AT, 0
    for count in range(1, len(PATH)):
        wait = (left - at) // 4
        assert step(life, at + wait - 1) == list(PATH[:count])
        at += wait
        assert step(life, at) == list(PATH[: count + 1])
    assert step(life, left + DAY) == list(PATH)
    assert [(one.step, one.kind) for one in rows(life, Letter)][1:] == [(n, "escalation") for n in (1, 2, 3)]
    assert "escalation-ended" in answering.events(life)
    assert answering.work(life, "escalate") == []


def test_the_letter_says_why_it_was_written(life: Lifecycle) -> None:
    """Who did not answer, and for how long."""
    begin(life, certificate(life, "a.example.org", days=18, owner_id=payments(life).id))
    step(life, 2 * DAY)
    reason = rows(life, Letter)[1].reason
    assert "escalation path of payments" in reason
    assert "nobody has answered the letter to payments@example.org in 2 d 0 h" in reason


STOPS: dict[str, Any] = {
    "acknowledged": lambda life, found: acknowledged.acknowledge(
        life, rig.ADMIN, found.identity, AT + 6 * DAY, "in hand"
    ),
    "answered": lambda life, found: answers.acknowledge(
        life, answering.link(payments(life), f"tracked:{found.id}"), AT + 6 * DAY, "in hand"
    ),
    "refused": lambda life, found: answers.refuse(life, answering.link(payments(life), f"tracked:{found.id}")),
    "renewed": lambda life, found: certificate(life, "a.example.org", days=90, owner_id=payments(life).id),
    "retired": lambda life, found: ending.retire(life, rig.ADMIN, found.identity, "gone"),
    "another's": lambda life, found: owners.assign(life, rig.ADMIN, "everybody", tracked=found.identity),
}


@pytest.mark.parametrize("how", STOPS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_it_stops(life: Lifecycle, how: str, after: int) -> None:
    """By an answer, by renewal, by any end of it, at whatever step."""
    found = certificate(life, "a.example.org", days=18, owner_id=payments(life).id)
    begin(life, found)
    for one in (2 * DAY, 3.6 * DAY)[:after]:
        step(life, one)
    with clock.pinned(later(3.7 * DAY)):
        STOPS[how](life, found)
    assert step(life, 5 * DAY) == list(PATH[: 1 + after])
    assert step(life, 30 * DAY) == list(PATH[: 1 + after])
    assert "escalation-ended" not in answering.events(life)


def test_what_is_left_of_a_letter_moves_on(life: Lifecycle) -> None:
    """One of three is taken care of: the next one hears of two."""
    found = [certificate(life, f"{n}.example.org", days=18, owner_id=payments(life).id) for n in "abc"]
    begin(life, *found)
    with clock.pinned(NOW):
        acknowledged.acknowledge(life, rig.ADMIN, found[1].identity, AT + 6 * DAY, "in hand")
    step(life, 2 * DAY)
    backup = rows(life, Letter)[1].id
    assert len(rows(life, Told, col(Told.letter_id) == backup)) == 2


def test_that_it_has_expired_nobody_acknowledges_away(life: Lifecycle) -> None:
    """An acknowledgement from before does not stop that; every hour the next one is told."""
    found = certificate(life, "a.example.org", days=18, owner_id=payments(life).id)
    acknowledged.acknowledge(life, rig.ADMIN, found.identity, found.not_after, "in hand")
    with clock.pinned(clock.from_timestamp(found.not_after + 1)):
        begin(life, found, threshold="expired")
    over = found.not_after + 1 - AT
    assert step(life, over + HOUR) == list(PATH[:2])
    assert step(life, over + 2 * HOUR) == list(PATH[:3])


def test_what_is_worse_escalates_for_itself(life: Lifecycle) -> None:
    """The owner was told anew since: the earlier letter is not pursued, and nobody gets two about one certificate."""
    found = certificate(life, "a.example.org", days=18, owner_id=payments(life).id)
    begin(life, found)
    with clock.pinned(later(DAY)):
        begin(life, found, threshold="critical")
    assert step(life, 2 * DAY) == ["payments", "payments"]
    assert step(life, 1.1 * DAY + 7 * DAY / 4) == ["payments", "payments", "backup"]


def test_dead_mailboxes_are_passed_over(life: Lifecycle) -> None:
    """And where all that come after are dead, whoever keeps what nobody owns is told."""
    begin(life, certificate(life, "a.example.org", days=18, owner_id=payments(life).id))
    life.store.write(lambda tx: mailboxes.bounced(tx, "backup@example.org", "5.1.1 no such user") and None)
    assert step(life, 2 * DAY) == ["payments", "lead"]
    life.store.write(lambda tx: mailboxes.bounced(tx, "oncall@example.org", "5.1.1 no such user") and None)
    assert step(life, 7 * DAY) == ["payments", "lead", "everybody"]


def test_one_address_twice_on_the_path_is_told_once(life: Lifecycle) -> None:
    """The one after it is told in its place."""
    owners.change(
        life, rig.ADMIN, "payments", lambda plan: replace(plan, escalation=(plan.email, "lead@example.org", plan.email))
    )
    begin(life, certificate(life, "a.example.org", days=18, owner_id=payments(life).id))
    assert step(life, 20 * DAY) == ["payments", "lead"]


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        ([8 * DAY], 2 * DAY),
        ([8 * DAY, 4 * HOUR], HOUR),
        ([60 * DAY], 7 * DAY),
        ([600], 900),
        ([0], HOUR),
        ([-5, 8 * DAY], HOUR),
        ([], 4 * HOUR),
    ],
)
def test_how_long_is_waited(left: list[int], seconds: int) -> None:
    """A quarter of what is left of the one that ends first, within a quarter of an hour and a week."""
    assert escalating.wait_for([AT + one for one in left], AT) == seconds


def test_a_crash_between_any_two_steps_loses_nothing(life: Lifecycle) -> None:
    """The step is due work: a holder that dies is followed by another, and one that is too slow changes nothing."""
    begin(life, certificate(life, "a.example.org", days=18, owner_id=payments(life).id))
    with clock.pinned(later(2 * DAY)):
        (dead,) = work.claim(life.store, ("escalate",), limit=1, lease=60)
    with clock.pinned(later(2 * DAY + 61)):
        (heir,) = work.claim(life.store, ("escalate",), limit=1, lease=60)
        escalating.escalate(life, heir)
        with pytest.raises(StaleChange):
            escalating.escalate(life, dead)
    assert recipients(life) == ["payments", "backup"]


ACTIONS = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=30 * DAY // HOUR),
        st.sampled_from(["step", "step", "step", "acknowledge", "renew", "tell", "bounce", "refuse"]),
        st.integers(min_value=0, max_value=2),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_nobody_is_told_twice_of_one_crossing(tmp_path_factory: pytest.TempPathFactory, actions: Any) -> None:
    """With any mix of letters, answers, renewals, dead mailboxes and time."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('escalating')}/certwright.db")
    LEFT.clear()
    try:
        with clock.pinned(NOW):
            life = world(store)
            mine = [certificate(life, f"{n}.example.org", days=25, owner_id=payments(life).id) for n in "abc"]
        _play(life, mine, sorted(actions, key=lambda action: action[0]))
        assert set(LEFT.values()) <= {1}
        steps = [(one.id, one.step) for one in rows(life, Letter, col(Letter.kind) == "escalation")]
        assert all(1 <= place <= len(PATH) for _, place in steps)
        sent = [(one.key,) for one in rows(life, Letter)]
        assert len(sent) == len(set(sent))
    finally:
        store.close()


def _play(life: Lifecycle, mine: list[Any], actions: Any) -> None:
    told = 0
    for hour, what, which in actions:
        with clock.pinned(later(hour * HOUR)):
            now, found = clock.timestamp(), mine[which]
            match what:
                case "step":
                    step(life, hour * HOUR)
                case "acknowledge" if now + HOUR < found.not_after:
                    _try(
                        lambda found=found, now=now: acknowledged.acknowledge(
                            life, rig.ADMIN, found.identity, now + HOUR, "yes"
                        )
                    )
                case "renew":
                    certificate(life, f"{'abc'[which]}.example.org", days=25 + hour, owner_id=payments(life).id)
                case "tell":
                    told += 1
                    _try(lambda found=found, told=told: begin(life, found, threshold=f"t{told}"))
                case "bounce":
                    dead = f"{PATH[1 + which]}@example.org"
                    life.store.write(lambda tx, dead=dead: mailboxes.bounced(tx, dead, "5.1.1") and None)
                case "refuse":
                    _try(
                        lambda found=found: answers.refuse(life, answering.link(payments(life), f"tracked:{found.id}"))
                    )
    step(life, 60 * DAY)


def _try(act: Any) -> None:
    from ca.errors import Refusal

    try:
        act()
    except Refusal:
        return
