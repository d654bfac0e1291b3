"""Who is written to, when, and of what, on both databases: once each, to whoever truly answers for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import delete
from sqlmodel import col

from ca.store import Store
from renewers.inventory import owners
from renewers.models import Acknowledged, Crossing, Event, Letter, Lineage, Mailbox, OwnerMail, TrackedName
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from tests import rig
from tests.renewers import tracking
from tests.renewers.mailing_world import DAY, HOUR, MINUTE, ON_ONE_ENGINE, Post, post
from tests.renewers.tracking import START

PAYMENTS, SECURITY = "payments@example.org", "security@example.org"
MONDAY = START + 3 * DAY + HOUR
"""The first Monday at nine: START is a Friday at eight, UTC."""


@pytest.fixture
def world(any_store: Store) -> Iterator[Post]:
    """An installation that writes letters, on each engine in turn."""
    with post(any_store) as made:
        yield made


@ON_ONE_ENGINE
def test_a_person_is_told_at_each_threshold_once(world: Post) -> None:
    """From sixty days on to the end: by digest, by the day, at once; nothing twice, and the end itself."""
    id_ = world.manual(lifetime=120 * DAY)
    world.live(START + 59 * DAY, START + 122 * DAY, 6 * HOUR)
    assert world.states(id_) == dict.fromkeys(["60d", "30d", "14d", "7d", "3d", "1d", "expired"], "told")
    assert [kind for kind, to, _ in world.letters() if to == PAYMENTS and kind != "digest"] == [
        "daily",
        *["urgent"] * 3,
    ]
    assert world.twice() == []
    (last,) = world.rows(Letter, col(Letter.subject).contains("expired"), col(Letter.kind) == "urgent")
    assert last.sent_at == START + 120 * DAY


def test_what_is_healthy_is_silent(world: Post) -> None:
    """A renewal that is due and comes: nobody is written to."""
    id_ = world.failing()
    world.live(START + 50 * DAY, START + 62 * DAY, 12 * HOUR)
    assert world.states(id_) == {}
    world.renew(id_, START + 62 * DAY)
    world.live(START + 62 * DAY, START + 95 * DAY, DAY)
    assert world.mailer.taken == []


def test_a_failing_renewal_is_told_by_the_day_and_then_at_once(world: Post) -> None:
    """Late waits for nine in the morning; urgent, critical and expired do not."""
    id_ = world.failing()
    world.live(START + 65 * DAY, START + 92 * DAY, 3 * HOUR)
    assert world.states(id_) == dict.fromkeys(["late", "urgent", "critical", "expired"], "told")
    (daily,) = world.rows(Letter, col(Letter.kind) == "daily", col(Letter.owner_id) == world.payments)
    assert daily.sent_at % DAY == 11 * HOUR  # the first look after nine
    assert len(world.rows(Letter, col(Letter.kind) == "urgent")) == 3
    assert world.twice() == []


def test_after_downtime_the_worst_is_told_and_the_rest_goes_into_it(world: Post) -> None:
    """Nobody gets seven letters about one certificate because nobody looked for a year."""
    id_ = world.manual(lifetime=120 * DAY)
    now = START + 118 * DAY
    world.beat(now)
    world.send(now)
    states = world.states(id_)
    assert states.pop("3d") == "told"
    assert states == dict.fromkeys(["60d", "30d", "14d", "7d"], "collapsed")
    assert [kind for kind, to, _ in world.letters() if to == PAYMENTS] == ["urgent"]
    assert "3d" in world.rows(Crossing, col(Crossing.threshold) == "60d")[0].why


def test_a_worse_threshold_takes_what_waits_along(world: Post) -> None:
    """What waits for the digest is told with what cannot wait."""
    id_ = world.manual(lifetime=120 * DAY)
    start = START + 60 * DAY  # a Tuesday: the digest is six days away
    world.beat(start)
    assert world.states(id_) == {"60d": "open"}
    world.beat(START + 113 * DAY + HOUR)
    assert world.states(id_)["60d"] == "collapsed"


def test_several_things_of_one_owner_are_one_letter(world: Post) -> None:
    """A CA's outage makes one urgent letter an owner, not one a certificate."""
    ids = [world.failing() for _ in range(20)]
    now = START + 89 * DAY
    assert world.beat(now) == 1
    world.send(now)
    assert {state for id_ in ids for state in world.states(id_).values()} == {"told", "collapsed"}
    assert len(world.mailer.sent_to(PAYMENTS)) == 1


def test_urgent_letters_keep_a_pace_but_critical_ones_do_not_wait(world: Post) -> None:
    """Not more than one in a quarter of an hour, unless somebody is about to be without a certificate."""
    now = START + 80 * DAY
    world.failing()
    world.beat(now)
    world.send(now)
    second = world.failing(start=START + DAY // 2)
    world.beat(now + 5 * MINUTE)
    assert world.states(second)["urgent"] == "open"
    third = world.failing(start=START - 9 * DAY)
    assert world.beat(now + 6 * MINUTE) == 1
    assert world.states(third)["critical"] == "told"
    world.send(now + 6 * MINUTE)
    fourth = world.failing(start=START + DAY // 4)
    world.beat(now + 7 * MINUTE)
    assert world.states(fourth)["urgent"] == "open"
    world.beat(now + 22 * MINUTE)
    assert world.states(fourth)["urgent"] == "told"


def test_whoever_answers_when_it_is_sent_is_told(world: Post) -> None:
    """It was handed over while the letter waited: the new owner hears of it, the old one's letter has it not."""
    mine, other = world.failing(), world.failing()
    platform = tracking.add_owner(world.store, "platform")
    now = START + 89 * DAY
    world.beat(now)
    tracking.change(world.store, Lineage, tracking.find(world.store, other).lineage_id, owner_id=platform)
    world.send(now)
    world.beat(now)
    world.send(now)
    (old,), (new,) = world.mailer.sent_to(PAYMENTS), world.mailer.sent_to("platform@example.org")
    name, moved = (tracking.find(world.store, id_).shown_as for id_ in (mine, other))
    assert moved not in str(old)
    assert name in str(old)
    assert moved in str(new)
    assert name not in str(new)


def test_a_claim_decides_as_of_now(world: Post) -> None:
    """What nobody owned falls to the fallback; once somebody claims its name, that owner is told."""
    lineage = tracking.add_lineage(world.store, "manual")
    id_ = tracking.add_tracked(world.store, lineage_id=lineage, lifetime=365 * DAY)
    world.store.write(lambda tx: tx.add(TrackedName, {"name": "dns:api.shop.example", "tracked_id": id_}))
    now = START + 362 * DAY
    world.beat(now)
    with world.at(now):
        owners.claim(world.lifecycle, rig.ADMIN, "payments", "name", "*.shop.example")
    world.send(now)
    world.beat(now)
    world.send(now)
    assert world.mailer.sent_to(SECURITY) == []
    assert len(world.mailer.sent_to(PAYMENTS)) == 1


def test_an_owner_that_moves_to_another_mailbox_is_reached_there(world: Post) -> None:
    """A letter that waits for a mail server goes to the address that the owner has when it leaves."""
    world.failing()
    now = START + 89 * DAY
    world.beat(now)
    world.change_owner(world.payments, email="new@example.org")
    world.send(now)
    assert world.mailer.sent_to(PAYMENTS) == []
    assert len(world.mailer.sent_to("new@example.org")) == 1
    assert world.letters()[-1] == ("urgent", "new@example.org", "sent")


def test_an_owner_that_is_gone_leaves_its_letters_to_who_answers_now(world: Post) -> None:
    """It was removed with an heir while a letter waited."""
    world.failing()
    now = START + 89 * DAY
    world.beat(now)
    with world.at(now):
        owners.remove(world.lifecycle, rig.ADMIN, "payments", heir="security")
    world.send(now)
    world.beat(now)
    world.send(now)
    assert world.mailer.sent_to(PAYMENTS) == []
    assert len(world.mailer.sent_to(SECURITY)) == 1


def test_what_is_renewed_before_its_letter_leaves_is_not_told(world: Post) -> None:
    """Whoever is written to must not be bothered with what is in order by then."""
    id_, now = world.failing(), START + 80 * DAY
    world.beat(now)
    world.renew(id_, now + 60)
    world.send(now + 60)
    assert world.mailer.taken == []
    assert world.letters()[-1] == ("urgent", PAYMENTS, "overtaken")
    assert world.states(id_)["urgent"] == "overtaken"


def test_what_is_renewed_before_a_letter_is_opened_is_not_told(world: Post) -> None:
    """The digest is days away, and has nothing to say when it comes."""
    id_ = world.manual(lifetime=120 * DAY)
    now = START + 60 * DAY + HOUR
    world.beat(now)
    assert world.states(id_) == {"60d": "open"}
    world.renew(id_, now + HOUR)
    world.live(now + HOUR, now + 8 * DAY, 12 * HOUR)
    assert world.states(id_) == {"60d": "overtaken"}
    assert world.mailer.taken == []


def test_a_dead_mailbox_is_passed_over(world: Post) -> None:
    """The next on the path is told, and when all are dead the fallback owner; the letter says why."""
    world.change_owner(world.payments, escalation='["lead@example.org"]')
    world.kill(PAYMENTS)
    world.failing()
    now = START + 89 * DAY
    world.beat(now)
    world.send(now)
    assert [to for _, to, _ in world.letters()] == ["lead@example.org"]
    world.kill("lead@example.org")
    world.failing()
    world.beat(now + HOUR)
    world.send(now + HOUR)
    assert world.letters()[-1][1] == SECURITY
    reason = world.rows(Letter)[-1].reason
    assert PAYMENTS in reason
    assert "fallback" in reason


def test_a_mailbox_that_refuses_is_dead_and_the_next_one_is_told(world: Post) -> None:
    """The server says no for good: an alarm, and the same letter to somebody else, once."""
    world.mailer.refused[PAYMENTS] = "550 5.1.1 no such user"
    world.failing()
    now = START + 89 * DAY
    world.beat(now)
    world.send(now)
    assert world.letters()[:2] == [("urgent", PAYMENTS, "refused"), ("urgent", SECURITY, "sent")]
    assert tracking.alarms_of(world.store)["mailbox-dead"] == "error"
    assert len(world.mailer.sent_to(SECURITY)) == 1
    world.live(now, now + HOUR, 10 * MINUTE)
    assert world.twice() == []


def test_nobody_to_write_to_loses_nothing(world: Post) -> None:
    """No mailbox takes mail: it waits, says so, and is told as soon as one does."""
    world.kill(PAYMENTS)
    world.kill(SECURITY)
    id_ = world.failing()
    now = START + 89 * DAY
    assert world.beat(now) == 0
    (row,) = world.rows(Crossing, col(Crossing.about) == f"tracked:{id_}", col(Crossing.state) == "open")
    assert "no mailbox" in row.why
    world.change_owner(world.payments, email="new@example.org")
    world.beat(now + 60)
    world.send(now + 60)
    assert len(world.mailer.sent_to("new@example.org")) == 1


def test_acknowledged_is_left_out_until_the_day(world: Post) -> None:
    """Somebody takes care: no letter. When that is over, there is one; the end is told whatever somebody said."""
    id_ = world.manual(lifetime=120 * DAY)
    now = START + 117 * DAY
    world.acknowledge(id_, now + 12 * HOUR, now - HOUR)
    world.beat(now)
    assert world.states(id_)["3d"] == "acknowledged"
    assert world.letters() == []
    world.beat(now + 13 * HOUR)
    world.send(now + 13 * HOUR)
    assert world.states(id_)["3d"] == "told"
    world.store.write(lambda tx: tx.execute(delete(Acknowledged)) and None)
    world.acknowledge(id_, START + 130 * DAY, now)
    world.beat(START + 120 * DAY)
    world.send(START + 120 * DAY)
    assert world.states(id_)["expired"] == "told"


def test_what_was_acknowledged_after_the_letter_was_opened_is_not_in_it(world: Post) -> None:
    """The letter that waited has nothing left to say."""
    id_ = world.failing()
    now = START + 80 * DAY
    world.beat(now)
    world.acknowledge(id_, now + DAY, now)
    world.send(now)
    assert world.mailer.taken == []
    assert world.states(id_)["urgent"] == "acknowledged"


def test_a_served_one_is_said_again_a_day_and_a_week_after_its_end(world: Post) -> None:
    """As long as it is seen in use, and no longer."""
    id_ = world.manual(lifetime=120 * DAY)
    place = tracking.add_endpoint(world.store, id_, START + 125 * DAY)
    world.live(START + 119 * DAY, START + 123 * DAY, 6 * HOUR)
    assert world.states(id_)["expired+1d"] == "told"
    tracking.forget_place(world.store, place)
    world.live(START + 123 * DAY, START + 130 * DAY, 6 * HOUR)
    assert "expired+7d" not in world.states(id_)


@ON_ONE_ENGINE
def test_a_mail_server_that_is_away_piles_up_one_letter_of_a_kind(world: Post) -> None:
    """Three weeks later one digest, one daily and one urgent letter leave, with all that there is to say."""
    world.mailer.is_down = True
    first = world.manual(lifetime=120 * DAY)
    second = world.failing(start=START + 30 * DAY)
    world.live(START + 100 * DAY, START + 121 * DAY, 8 * HOUR)
    waiting = [row for row in world.rows(Letter) if row.state == "open" and row.owner_id == world.payments]
    assert sorted(row.kind for row in waiting) == ["daily", "digest", "urgent"]
    assert tracking.alarms_of(world.store)["mail-failing"] == "error"
    world.mailer.is_down = False
    world.live(START + 121 * DAY, START + 121 * DAY + 2 * HOUR, HOUR)
    assert "mail-failing" not in tracking.alarms_of(world.store)
    assert set(world.states(first).values()) | set(world.states(second).values()) <= {"told", "collapsed"}
    assert world.states(first)["expired"] == "told"
    assert world.twice() == []


def test_the_alarm_that_mail_fails_is_an_event_and_no_letter(world: Post) -> None:
    """It could not be sent: webhooks and metrics say so."""
    world.mailer.is_down = True
    world.failing()
    world.live(START + 89 * DAY, START + 89 * DAY + 2 * HOUR, 5 * MINUTE)
    raised = [row for row in world.rows(Event) if "mail-failing" in row.body]
    assert len(raised) == 1
    assert not [row for row in world.rows(Crossing) if row.about.startswith("mail-failing")]


def test_alarms_that_concern_an_owner_are_told_at_once(world: Post) -> None:
    """A delivery that fails: to whoever answers for the lineage by then, once, and again when it is worse."""
    lineage = tracking.add_lineage(world.store, "renewed", owner_id=world.payments)
    now = START + DAY
    trouble = Trouble("delivery-failing", "web", "error", "web does not get it", lineage_id=lineage)

    def raise_as(severity: str, at: int) -> None:
        with world.at(at):
            found = Trouble("delivery-failing", "web", severity, f"{severity}: web does not get it", lineage_id=lineage)
            world.store.write(lambda tx: alarms.raise_alarm(tx, found))

    with world.at(now):
        world.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
        world.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
    world.beat(now)
    world.send(now)
    raise_as("critical", now + 60)
    world.beat(now + 60)
    world.send(now + 60)
    raise_as("critical", now + 120)
    world.beat(now + 2 * HOUR)
    world.send(now + 2 * HOUR)
    assert len(world.mailer.sent_to(PAYMENTS)) == 2
    with world.at(now + DAY):
        world.store.write(lambda tx: alarms.clear_alarm(tx, "delivery-failing", "web"))
    raise_as("error", now + 2 * DAY)
    world.beat(now + 2 * DAY)
    world.send(now + 2 * DAY)
    assert len(world.mailer.sent_to(PAYMENTS)) == 3


def test_a_renewal_that_fails_is_told_once_whoever_sees_it_first(world: Post) -> None:
    """The alarm of the renewal and the threshold of the certificate are one notice."""
    id_ = world.failing()
    row, now = tracking.find(world.store, id_), START + 80 * DAY
    about = {"lineage_id": row.lineage_id, "tracked_id": id_}
    with world.at(now):
        trouble = Trouble("renewal-failing", "shop", "error", "shop cannot be renewed", **about)
        world.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
    world.beat(now)
    world.send(now)
    world.beat(now + HOUR)
    assert world.states(id_) == {"late": "collapsed", "urgent": "told"}
    assert len(world.mailer.sent_to(PAYMENTS)) == 1


def test_what_recovers_before_the_letter_is_not_told(world: Post) -> None:
    """An alarm that is over within seconds bothers nobody."""
    with world.at(START):
        trouble = Trouble("delivery-failing", "web", "error", "web does not get it")
        world.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
        world.store.write(lambda tx: alarms.clear_alarm(tx, "delivery-failing", "web"))
    world.beat(START)
    assert world.letters() == []
    assert [row.state for row in world.rows(Crossing)] == ["overtaken"]


def test_digests_are_weekly_and_say_nothing_where_nothing_is_to_be_said(world: Post) -> None:
    """On Monday at nine where the owner lives; an owner without anything is not written to."""
    world.change_owner(world.payments, time_zone="America/New_York")
    world.manual(lifetime=120 * DAY)
    world.live(START + 60 * DAY + 5 * HOUR, START + 88 * DAY, 6 * HOUR)
    sent = [row for row in world.rows(Letter, col(Letter.kind) == "digest") if row.state == "sent"]
    assert {row.owner_id for row in sent} == {world.payments}
    assert {((row.sent_at - MONDAY) % (7 * DAY)) // HOUR for row in sent} == {4}  # nine in New York, thirteen in UTC
    assert len(sent) == 4
    assert {row.state for row in world.rows(Letter) if row.owner_id == world.fallback} == {"overtaken"}


@pytest.mark.parametrize(("policy", "sent"), [("always", 8), ("monthly", 2), ("never", 0)])
def test_that_all_is_well_is_said_as_often_as_the_settings_want(store: Store, policy: str, sent: int) -> None:
    """Each week, about once a month, or never."""
    with post(store, when_healthy=policy) as world:
        world.failing(lifetime=365 * DAY)
        world.live(START + HOUR, START + 8 * 7 * DAY, DAY)
        assert len(world.mailer.sent_to(PAYMENTS)) == sent


@ON_ONE_ENGINE
def test_an_unsubscribed_owner_gets_what_cannot_wait(world: Post) -> None:
    """No digests; the daily and the urgent letter all the same."""
    values = {"address": PAYMENTS, "dead_since": None, "dead_because": None, "digests_off_at": START}
    world.store.write(lambda tx: tx.add(Mailbox, values))
    id_ = world.manual(lifetime=120 * DAY)
    world.live(START + 58 * DAY, START + 121 * DAY, 8 * HOUR)
    assert {row.kind for row in world.rows(Letter) if row.owner_id == world.payments} == {"daily", "urgent"}
    assert world.states(id_)["60d"] == "collapsed"


def test_without_a_mailer_nothing_is_lost(store: Store) -> None:
    """What is open stays open; once there is a mailer, the worst of it is told."""
    with post(store) as world:
        id_, mailer, kept = world.manual(lifetime=120 * DAY), world.mailer, world.lifecycle
        world.lifecycle = replace(world.lifecycle, mailer=None)
        for now in range(START, START + 119 * DAY, DAY):
            world.beat(now)
        assert world.letters() == []
        assert world.states(id_)["1d" if "1d" in world.states(id_) else "3d"] == "open"
        world.lifecycle = kept
        world.beat(START + 119 * DAY)
        world.send(START + 119 * DAY)
        assert [kind for kind, to, _ in world.letters() if to == PAYMENTS] == ["digest", "urgent"]
        assert len(mailer.sent_to(PAYMENTS)) == 2


def test_a_new_owner_is_enrolled_and_a_changed_zone_counts(world: Post) -> None:
    """The next digest is at nine where the owner lives now; nobody gets two that week."""
    world.beat(START)
    (before,) = world.rows(OwnerMail, col(OwnerMail.owner_id) == world.payments)
    assert before.digest_due == MONDAY
    with world.at(START):
        owners.change(world.lifecycle, rig.ADMIN, "payments", lambda plan: replace(plan, time_zone="Asia/Tokyo"))
    (after,) = world.rows(OwnerMail, col(OwnerMail.owner_id) == world.payments)
    assert after.digest_due == MONDAY - 9 * HOUR


def test_a_clock_that_was_far_ahead_silences_nobody(world: Post) -> None:
    """A year ahead for a moment, and back: the next letters are planned anew."""
    world.beat(START)
    world.beat(START + 365 * DAY)
    world.beat(START + HOUR)
    (row,) = world.rows(OwnerMail, col(OwnerMail.owner_id) == world.payments)
    assert row.digest_due == MONDAY


@ON_ONE_ENGINE
def test_every_immediate_crossing_is_an_event_for_webhooks(world: Post) -> None:
    """Mail is never the only channel: for each there is an event of that moment about that certificate."""
    ids = [world.manual(lifetime=120 * DAY), world.failing()]
    tracking.add_endpoint(world.store, ids[0], START + 129 * DAY)
    world.live(START + 59 * DAY, START + 129 * DAY, 8 * HOUR)
    said = {(row.subject, row.at) for row in world.rows(Event) if row.severity in ("error", "critical")}
    told = world.rows(Crossing, col(Crossing.urgency) == "immediate", col(Crossing.state) == "told")
    assert len(told) == 8
    for row in told:
        assert (tracking.find(world.store, row.tracked_id).identity, row.noted_at) in said, row.threshold
