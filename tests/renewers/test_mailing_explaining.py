"""Why somebody was told, or was not: for any certificate and any day, in sentences that a person understands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ca.errors import BadRequest, Forbidden, NotFound
from ca.store import Store
from renewers.mailing import explaining, listing
from renewers.mailing.explaining import Explanation
from renewers.models import Crossing, Letter, Lineage, Mailbox
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from tests import rig
from tests.renewers import tracking
from tests.renewers.mailing_world import DAY, HOUR, Post, post
from tests.renewers.tracking import START

PAYMENTS, SECURITY = "payments@example.org", "security@example.org"


@pytest.fixture
def world(store: Store) -> Iterator[Post]:
    """An installation that writes letters."""
    with post(store) as made:
        yield made


def why(world: Post, id_: int, now: int, at: str | int | None = None) -> Explanation:
    """The explanation at that time."""
    with world.at(now):
        return explaining.explain(world.lifecycle, rig.AUDITOR, f"#{id_}", at)


def said(found: Explanation) -> dict[str, str]:
    """What is said of each threshold."""
    return {step.threshold: step.sentence for step in found.steps}


def test_nothing_is_crossed_yet(world: Post) -> None:
    """The next threshold and its day, and how somebody will hear of it."""
    id_ = world.manual(lifetime=120 * DAY)
    found = why(world, id_, START + DAY)
    assert "the next threshold is 60 days before its end, 2027-03-16 07:59 UTC" in " ".join(found.summary)
    assert f"mail about it goes to {PAYMENTS}" in " ".join(found.summary)
    assert "not crossed yet; then the weekly digest to payments@example.org would say so" in said(found)["60d"]
    assert {step.state for step in found.steps} == {"ahead"}


def test_what_renews_itself_is_silent_because_that_goes_well(world: Post) -> None:
    """Between being due and being late there is nothing to say, and that is said."""
    id_ = world.failing()
    found = why(world, id_, START + 62 * DAY)
    assert "It renews itself, and that goes well" in " ".join(found.summary)
    assert said(found)["due"].endswith("nothing is said at this threshold, since that needs nobody")
    assert "a letter at the next local hour of letters" in said(found)["late"]


def test_what_was_told_says_to_whom_when_and_in_which_letter(world: Post) -> None:
    """And what went into something worse."""
    id_ = world.failing()
    world.beat(START + 80 * DAY)
    world.send(START + 80 * DAY)
    found = said(why(world, id_, START + 81 * DAY))
    assert "told in urgent letter 1 to payments@example.org, sent 2027-04-05 08:00 UTC" in found["urgent"]
    assert found["late"].endswith("told together with what is worse: urgent")
    assert "not crossed yet" in found["critical"]


def test_a_day_in_the_past_is_as_it_was(world: Post) -> None:
    """What came later is not known then; what is asked of a day to come is what would be."""
    id_ = world.failing()
    world.beat(START + 80 * DAY)
    world.send(START + 80 * DAY)
    assert "not crossed yet" in said(why(world, id_, START + 81 * DAY, "2027-03-01"))["urgent"]
    assert "seen only" in said(why(world, id_, START + 81 * DAY, START + 79 * DAY))["late"]
    assert "would say so" in said(why(world, id_, START + 81 * DAY, "2027-04-20"))["expired"]


def test_somebody_takes_care(world: Post) -> None:
    """By whom, until when, and why."""
    id_ = world.failing()
    world.acknowledge(id_, START + 82 * DAY, START + 79 * DAY)
    world.beat(START + 80 * DAY)
    found = why(world, id_, START + 80 * DAY)
    assert "token:alice takes care of it until 2027-04-07 08:00 UTC: a ticket is open" in " ".join(found.summary)
    assert "nobody is told for now: token:alice takes care" in said(found)["urgent"]


def test_a_dead_mailbox_and_who_got_it_instead(world: Post) -> None:
    """The letter that was refused, why, and the one that went to somebody else."""
    world.mailer.refused[PAYMENTS] = "550 no such user"
    id_ = world.failing()
    world.beat(START + 80 * DAY)
    world.send(START + 80 * DAY)
    found = why(world, id_, START + 80 * DAY)
    assert "urgent letter 1 to payments@example.org was refused: 550 no such user" in said(found)["urgent"]
    assert "told in urgent letter 2 to security@example.org" in said(found)["urgent"]
    assert f"mail to {PAYMENTS} comes back" in " ".join(found.summary)


def test_a_mail_server_that_refuses_for_now(world: Post) -> None:
    """The letter waits since then, and the last attempt's reason."""
    world.mailer.is_down = True
    id_ = world.failing()
    world.beat(START + 80 * DAY)
    world.send(START + 80 * DAY)
    sentence = said(why(world, id_, START + 80 * DAY))["urgent"]
    assert sentence.endswith("has waited since 2027-04-05 08:00 UTC; the last attempt failed: it is down")


def test_no_mailer_is_configured(world: Post) -> None:
    """It waits, and the settings are named."""
    id_ = world.failing()
    world.lifecycle = replace(world.lifecycle, mailer=None)
    world.beat(START + 80 * DAY)
    found = why(world, id_, START + 80 * DAY)
    assert "neither a mail server nor a directory is configured in [mail]" in said(found)["urgent"]
    assert "neither a mail server nor a directory is configured in [mail]" in " ".join(found.summary)


def test_an_owner_that_has_unsubscribed(world: Post) -> None:
    """From digests: what waits for one is not told by it, and that is why."""
    values = {"address": PAYMENTS, "dead_since": None, "dead_because": None, "digests_off_at": START}
    world.store.write(lambda tx: tx.add(Mailbox, values))
    id_ = world.manual(lifetime=120 * DAY)
    world.beat(START + 61 * DAY)
    found = why(world, id_, START + 61 * DAY)
    assert f"{PAYMENTS} has unsubscribed from digests" in said(found)["60d"]


def test_nobody_at_all(store: Store) -> None:
    """No owner, no fallback owner."""
    with post(store) as world:
        world.change_owner(world.fallback, is_fallback=False)
        id_ = tracking.add_tracked(store, lifetime=365 * DAY)
        world.beat(START + 360 * DAY)
        assert "no owner, not even a fallback owner" in said(why(world, id_, START + 360 * DAY))["7d"]


def test_what_was_replaced_or_never_seen_or_known_late(world: Post) -> None:
    """Why thresholds that lie behind were never written down."""
    replaced = world.failing()
    world.renew(replaced, START + 61 * DAY)
    world.beat(START + 61 * DAY)
    found = why(world, replaced, START + 80 * DAY)
    assert "It was replaced by #" in found.summary[1]
    late = world.manual(lifetime=120 * DAY, start=START - 60 * DAY, recorded_at=START + 55 * DAY)
    assert "it was not known then, but only from" in said(why(world, late, START + 56 * DAY))["60d"]
    pod = tracking.add_tracked(
        world.store, lineage_id=tracking.add_lineage(world.store, "holder"), lifetime=DAY, source="issued"
    )
    assert "it may end silently" in " ".join(why(world, pod, START + 2 * DAY).summary)


def test_an_owner_who_is_another_by_now(world: Post) -> None:
    """The letter that the old one got, and who is told from now on."""
    id_ = world.failing()
    world.beat(START + 80 * DAY)
    world.send(START + 80 * DAY)
    platform = tracking.add_owner(world.store, "platform")
    tracking.change(world.store, Lineage, tracking.find(world.store, id_).lineage_id, owner_id=platform)
    found = why(world, id_, START + 81 * DAY)
    assert PAYMENTS in said(found)["urgent"]
    assert "platform is told of it" in found.summary[0]


def test_what_else_was_wrong_is_told_too(world: Post) -> None:
    """A delivery that fails belongs to the lineage, and to its story."""
    id_ = world.failing()
    lineage_id = tracking.find(world.store, id_).lineage_id
    with world.at(START + DAY):
        trouble = Trouble("delivery-failing", "web", "error", "web does not get it", lineage_id=lineage_id)
        world.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
    world.beat(START + DAY)
    world.send(START + DAY)
    (step,) = why(world, id_, START + 2 * DAY).others
    assert step.sentence.startswith("web does not get it. ")
    assert "told in urgent letter 1" in step.sentence


def test_a_lineage_is_named_too_and_strangers_are_refused(world: Post) -> None:
    """Its current certificate; nothing for who may not read; a day that is none; a name that nobody has."""
    lineage = tracking.add_lineage(world.store, "manual", name="shop", owner_id=world.payments)
    id_ = tracking.add_tracked(world.store, lineage_id=lineage, lifetime=365 * DAY)
    tracking.change(world.store, Lineage, lineage, current_id=id_)
    with world.at(START):
        assert explaining.explain(world.lifecycle, rig.ADMIN, "shop").tracked_id == id_
        with pytest.raises(Forbidden):
            explaining.explain(world.lifecycle, rig.REQUESTER, "shop")
        with pytest.raises(NotFound):
            explaining.explain(world.lifecycle, rig.ADMIN, "nothing")
        for at in ("yesterday", "2027-13-01", -1, 1 << 60):
            with pytest.raises(BadRequest):
                explaining.explain(world.lifecycle, rig.ADMIN, "shop", at)


def test_explaining_changes_nothing(world: Post) -> None:
    """Neither what is told nor what is written down."""
    id_ = world.failing()
    world.beat(START + 80 * DAY)
    before = (world.rows(Crossing), world.rows(Letter))
    why(world, id_, START + 80 * DAY)
    assert (world.rows(Crossing), world.rows(Letter)) == before


def test_letters_are_listed_newest_first_without_those_never_written(world: Post) -> None:
    """By owner, kind and state, a page at a time; an overtaken digest only for who asks for it."""
    world.failing()
    world.live(START + 60 * DAY, START + 92 * DAY, 6 * HOUR)
    every, _ = listing.page(world.lifecycle, rig.AUDITOR)
    ids = [one.letter.id or 0 for one in every]
    assert ids == sorted(ids, reverse=True)
    assert {one.letter.state for one in every} == {"sent"}
    unwritten, _ = listing.page(world.lifecycle, rig.AUDITOR, state="overtaken")
    assert {one.letter.kind for one in unwritten} == {"digest"}
    first, following = listing.page(world.lifecycle, rig.AUDITOR, owner="payments", limit=2)
    second, _ = listing.page(world.lifecycle, rig.AUDITOR, owner="payments", cursor=following, limit=2)
    assert [one.letter.id for one in (*first, *second)] == ids[:4]
    urgent, _ = listing.page(world.lifecycle, rig.AUDITOR, kind="urgent")
    assert len(urgent) == 3
    shown = listing.show(world.lifecycle, rig.AUDITOR, urgent[0].letter.id or 0)
    assert (shown.owner, [row.threshold for row in shown.crossings]) == ("payments", ["expired"])
    with pytest.raises(NotFound):
        listing.show(world.lifecycle, rig.AUDITOR, 9999)
    with pytest.raises(BadRequest):
        listing.page(world.lifecycle, rig.AUDITOR, state="lost")
    with pytest.raises(Forbidden):
        listing.page(world.lifecycle, rig.CONSUMER)
