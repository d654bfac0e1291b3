"""What an owner is told: what needs somebody and whose it truly is, in order, at any moment, in few statements."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event

from ca import clock
from ca.errors import NotFound
from ca.store import Store, open_store
from renewers.lifecycle import Lifecycle
from renewers.mailing import thresholds
from renewers.models import Endpoint, Lineage, OwnerClaim, Renewal, Tracked, Work
from renewers.reports import digest, reading
from renewers.reports.content import Digest
from renewers.reports.rows import Need
from renewers.telling.alarms import Trouble, raise_alarm
from renewers.timing import deadlines, lead_time
from tests.renewers import reporting
from tests.renewers.reporting import DAY, HOUR, NOW, certificate, crossing, fails
from tests.renewers.tracking import add, add_lineage, add_owner, change, find

_numbers = count(1)


@pytest.fixture
def life(store: Store) -> Lifecycle:
    """The parts."""
    return reporting.lifecycle(store)


def gathered(life: Lifecycle, owner_id: int, kind: str = "digest", at: int = NOW, crossings: Any = None) -> Digest:
    """What is to be told, with the clock at `NOW`."""
    with clock.pinned(clock.from_timestamp(NOW)):
        return digest.gather(life, owner_id, kind=kind, at=at, crossings=crossings)


def needs(found: Digest) -> dict[str, list[str]]:
    """Names by what must be done about them."""
    return {section.need.value: [row.name for row in section.rows] for section in found.sections}


def test_what_a_person_must_do_comes_first_and_in_that_order(any_store: Store) -> None:
    """Broken automation, then what only people renew, then what is still served, then CAs; the worst of each first."""
    of = reporting.team(any_store)
    found = gathered(reporting.lifecycle(any_store), of)
    assert list(needs(found)) == ["broken", "manual", "old", "signer"]
    assert needs(found)["broken"] == ["api.pay.example", "spiffe://prod/ns/pay/sa/ledger"]
    assert needs(found)["manual"][0] == "legacy.pay.example"
    assert [row.name for row in found.resting] == ["mail.pay.example"]
    assert (found.now_count, found.soon_count) == (3, 4)


def test_healthy_automation_is_one_count_and_no_row(store: Store, life: Lifecycle) -> None:
    """Eighty-six that renew themselves are a number, however near their end is, as long as nothing is late."""
    of = reporting.team(store)
    found = gathered(life, of)
    assert found.healthy == 86, "the successor that has not arrived is not in order"
    assert not [row for row in found.listed if row.name.startswith("svc-")]
    assert len([row for row in found.everything if row.name.startswith("svc-")]) == 86


def test_nothing_that_needs_nobody_is_no_alarm(store: Store, life: Lifecycle) -> None:
    """An owner whose certificates all renew themselves has nothing to do; one without any gets no letter."""
    of, nobody = reporting.owner(store), reporting.owner(store, "empty")
    certificate(store, of, "a.example", left=31 * DAY, stage="due")
    found = gathered(life, of)
    assert (found.is_healthy, found.is_empty, found.now_count + found.soon_count) == (True, False, 0)
    assert gathered(life, nobody).is_empty
    assert gathered(life, of, "urgent").is_empty
    assert gathered(life, of, "daily").is_empty


def test_a_failure_of_a_moment_is_no_letter_one_that_lasts_is(store: Store, life: Lifecycle) -> None:
    """What is tried again within the hour is its own affair; what has stopped is a person's, at once."""
    of = reporting.owner(store)
    brief, lasting, stopped = (certificate(store, of, f"{name}.example") for name in ("brief", "lasting", "stopped"))
    fails(store, brief, NOW - 600)
    fails(store, lasting, NOW - 2 * HOUR, "no route to host")
    fails(store, stopped, NOW - 60, "the CA does not like the name", state="stopped", last_code="issuer-refused")
    found = gathered(life, of)
    assert needs(found) == {"broken": ["stopped.example", "lasting.example"]}
    first, second = found.listed
    assert (first.is_now, second.is_now) == (True, False)
    assert first.error == "The CA refuses to sign: the CA does not like the name"
    assert second.error == "The CA does not answer: no route to host"
    assert second.since == NOW - 2 * HOUR


def test_nobody_is_told_of_what_is_not_theirs(store: Store, life: Lifecycle) -> None:
    """An index that lags behind names nothing to whom it does not belong: no row, no count, no line of the table."""
    mine, theirs = reporting.owner(store), reporting.owner(store, "others")
    id_ = certificate(store, mine, "secret.example", mode="manual", left=3 * DAY, lifetime=365 * DAY, stage="critical")
    assert needs(gathered(life, mine)) == {"manual": ["secret.example"]}
    change(store, Lineage, reporting.lineage_of(store, id_), owner_id=theirs)
    assert find(store, id_).answering_id == mine
    found = gathered(life, mine)
    assert (found.everything, found.listed, found.total, found.healthy) == ((), (), 0, 0)
    told = gathered(life, theirs, "urgent", crossings=[crossing(store, f"tracked:{id_}", tracked_id=id_)])
    assert [row.name for row in told.listed] == ["secret.example"]
    mistaken = gathered(life, mine, "urgent", crossings=[crossing(store, f"tracked:{id_}", "3d", tracked_id=id_)])
    assert mistaken.is_empty


def test_claims_say_whose_it_is(store: Store, life: Lifecycle) -> None:
    """What is claimed by a rule is told to whom the rule names, whatever the index says, also of orphans."""
    fallback, claimer = add_owner(store, "fallback", is_fallback=True), reporting.owner(store, "claimer")
    lineage_id = add_lineage(store, "manual")
    id_ = certificate(
        store, fallback, "x.claimed.example", mode="manual", left=DAY, lifetime=365 * DAY, stage="critical"
    )
    change(store, Tracked, id_, lineage_id=lineage_id)
    found = gathered(life, fallback)
    assert needs(found) == {"manual": ["x.claimed.example"]}
    store.write(
        lambda tx: tx.add(OwnerClaim, {"kind": "name", "pattern": "dns:*.claimed.example", "owner_id": claimer})
    )
    assert gathered(life, fallback).listed == ()
    change(store, Tracked, id_, answering_id=claimer)
    assert [row.name for row in gathered(life, claimer).listed] == ["x.claimed.example"]


def test_who_takes_care_of_it_is_left_alone_until_the_day(store: Store, life: Lifecycle) -> None:
    """An acknowledgement ends by itself, and that something has expired is said all the same."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=10 * DAY, lifetime=365 * DAY, stage="urgent")
    reporting.acknowledged(store, id_, NOW + 9 * DAY)
    assert gathered(life, of).listed == ()
    assert [row.reason for row in gathered(life, of).resting] == ["waiting for the vendor"]
    assert [row.name for row in gathered(life, of, at=NOW + 9 * DAY).listed] == ["a.example"]
    reporting.store_until(store, id_, NOW + 90 * DAY)
    assert [row.name for row in gathered(life, of, at=NOW + 11 * DAY).listed] == ["a.example"]


def test_what_is_still_served_though_it_was_renewed(store: Store, life: Lifecycle) -> None:
    """The old one stands in the letter with where it is; its successor, which is fine, is not listed beside it."""
    of = reporting.owner(store)
    old = certificate(store, of, "shop.example", left=20 * DAY, place="tls:shop.example:443")
    new = reporting.replaced(store, old, NOW - 600)
    assert gathered(life, of).is_healthy, "the new one is still on its way"
    change(store, Tracked, old, stage_since=NOW - 2 * DAY)
    found = gathered(life, of)
    assert needs(found) == {"old": ["shop.example"]}
    assert (found.listed[0].tracked_id, found.healthy) == (old, 0)
    assert [place.name for place in found.listed[0].places] == ["tls:shop.example:443"]
    reporting.not_delivered(store, new, NOW - 2 * DAY, "nginx did not reload")
    found = gathered(life, of)
    assert [(row.tracked_id, row.error, row.is_now) for row in found.listed] == [(old, "nginx did not reload", True)]


def test_where_many_hold_one_name_an_old_one_elsewhere_is_as_it_should_be(store: Store, life: Lifecycle) -> None:
    """A replica's certificate that was replaced at another replica is nobody's affair until its end is near."""
    of = reporting.owner(store)
    old = certificate(store, of, "pod", mode="holder", left=20 * HOUR, lifetime=3 * DAY, place="tls:pod:443")
    reporting.replaced(store, old, NOW - 10 * HOUR)
    change(store, Lineage, reporting.lineage_of(store, old), mode="holder")
    assert gathered(life, of).listed == ()
    assert needs(gathered(life, of, at=NOW + 15 * HOUR)).get("old") == ["pod"]


def test_an_urgent_letter_is_about_what_it_was_opened_for(store: Store, life: Lifecycle) -> None:
    """Only that, with all that is known; nothing when it was renewed meanwhile."""
    of = reporting.team(store)
    id_ = next(row.tracked_id for row in gathered(life, of).listed if row.name == "vendor.pay.example")
    about = [crossing(store, f"tracked:{id_}", "3d", tracked_id=id_, lineage_id=reporting.lineage_of(store, id_))]
    found = gathered(life, of, "urgent", crossings=about)
    assert [row.name for row in found.listed] == ["vendor.pay.example"]
    assert found.notices == ()
    reporting.replaced(store, id_, NOW)
    store.write(lambda tx: tx.execute(delete(Endpoint)) and None)
    assert gathered(life, of, "urgent", crossings=about).is_empty


def test_an_alarm_that_no_row_says_speaks_for_itself(store: Store, life: Lifecycle) -> None:
    """A compromise, a CA's wish: the words of the crossing stand in the letter, literally and on one line."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example")
    told = [
        crossing(store, "compromise:4:owner:1", "compromise", subject="key of CA\u202e x", message="all of\nit"),
        crossing(store, f"urged:1:{id_}", "urged", tracked_id=id_, message="its issuer wants it replaced"),
    ]
    found = gathered(life, of, "urgent", crossings=told)
    assert {notice.message for notice in found.notices} == {"all of\\x0ait", "its issuer wants it replaced"}
    assert "key of CA\\u202e x" in {notice.subject for notice in found.notices}
    assert (found.now_count, found.is_empty) == (2, False)
    reporting.replaced(store, id_, NOW)
    assert len(gathered(life, of, "urgent", crossings=told).notices) == 1, "what was replaced is said no more"


def test_consumers_and_first_certificates_stand_in_the_digest(store: Store, life: Lifecycle) -> None:
    """What is about no certificate that exists is the owner's affair all the same."""
    of = reporting.owner(store)
    lineage_id = add_lineage(store, "renewed", owner_id=of, name="new.example")
    row = {"kind": "renew", "subject": str(lineage_id), "state": "waiting", "due_at": NOW, "due_since": NOW}
    add(store, Work, **row, fence=1, attempts=3, failing_since=NOW - HOUR, last_error="no such zone")
    consumer = reporting.consumer(store, of, "gateway")
    store.write(
        lambda tx: raise_alarm(tx, Trouble("consumer-stale", "gateway/trust:x", "error", "it is behind")) and None
    )
    store.write(lambda tx: raise_alarm(tx, Trouble("consumer-stale", "elsewhere", "error", "not theirs")) and None)
    assert consumer
    found = gathered(life, of)
    assert {notice.subject for notice in found.notices} == {"gateway/trust:x", "new.example"}
    assert "no such zone" in " ".join(notice.message for notice in found.notices)


def test_an_escalation_says_who_was_told_before(store: Store, life: Lifecycle) -> None:
    """With the step and the moment of the letter, from the ledger of what was told."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=2 * DAY, lifetime=365 * DAY, stage="critical")
    about = crossing(store, f"tracked:{id_}", "3d", tracked_id=id_)
    reporting.sent(store, of, [about.id], at=NOW - 5 * HOUR, recipient="payments-team@example.org")
    found = gathered(life, of, "escalation", crossings=[about])
    assert [(hearer.recipient, hearer.step, hearer.at) for hearer in found.told_before] == [
        ("payments-team@example.org", 0, NOW - 5 * HOUR)
    ]


def test_what_stood_in_a_letter_and_is_over_is_known(store: Store, life: Lifecycle) -> None:
    """A calendar entry can only be taken back by who remembers that it was sent."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "a.example", mode="manual", left=2 * DAY, lifetime=365 * DAY, stage="critical")
    about = crossing(store, f"tracked:{id_}", "3d", tracked_id=id_)
    reporting.sent(store, of, [about.id], at=NOW - DAY)
    assert gathered(life, of).over == ()
    reporting.replaced(store, id_, NOW - HOUR)
    assert [(over.tracked_id, over.changed_at) for over in gathered(life, of).over] == [(id_, NOW - HOUR)]
    assert gathered(life, of, at=NOW + 61 * DAY).over == (), "not for ever"


def test_both_engines_answer_alike(any_store: Store) -> None:
    """What was told before, what is over since, consumers, the count of very many: each statement on each engine."""
    life, of = reporting.lifecycle(any_store), reporting.owner(any_store)
    gone = certificate(
        any_store, of, "gone.example", mode="manual", left=2 * DAY, lifetime=365 * DAY, place="tls:a:443"
    )
    here = certificate(any_store, of, "here.example", mode="manual", left=2 * DAY, lifetime=365 * DAY)
    about = [crossing(any_store, f"tracked:{id_}", "3d", tracked_id=id_) for id_ in (gone, here)]
    reporting.sent(any_store, of, [each.id for each in about], at=NOW - DAY)
    reporting.replaced(any_store, gone, NOW - 600)
    reporting.consumer(any_store, of, "gateway")
    trouble = Trouble("consumer-stale", "gateway/trust:x", "error", "it is behind")
    any_store.write(lambda tx: raise_alarm(tx, trouble))
    found = gathered(life, of)
    assert [row.name for row in found.listed] == ["here.example"]
    assert [over.tracked_id for over in found.over] == [gone]
    assert [notice.subject for notice in found.notices] == ["gateway/trust:x"]
    told = gathered(life, of, "escalation", crossings=about)
    assert [hearer.at for hearer in told.told_before] == [NOW - DAY]
    with any_store.read() as connection:
        assert reading.count_alive(connection, of) == found.total == 2


def test_a_slow_renewal_asks_earlier(store: Store, life: Lifecycle) -> None:
    """Where renewals have really taken ten days, more time is needed than where they take a minute."""
    of = reporting.owner(store)
    id_ = certificate(store, of, "slow.example", left=20 * DAY, stage="late")
    lineage_id = reporting.lineage_of(store, id_)
    quick = gathered(life, of).everything[0]
    for number in range(3):
        begun = NOW - (60 + number) * DAY
        row = {"lineage_id": lineage_id, "state": "done", "reason": "due", "issuer": "x", "csr": b"", "key_made_at": 0}
        add(store, Renewal, **row, started_at=begun, issued_at=begun + 10 * DAY, tracked_id=id_)
    slow = gathered(reporting.lifecycle(store), of).everything[0]
    assert (quick.needed, quick.measured) == (2 * DAY, None)
    assert slow.measured == 10 * DAY
    assert slow.needed > quick.needed
    assert slow.marks.due < quick.marks.due


def _statements(life: Lifecycle, owner_id: int) -> int:
    """How many statements one letter takes."""
    count = 0

    def seen(*_: object) -> None:
        nonlocal count
        count += 1

    with life.store.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", seen)
    try:
        gathered(life, owner_id)
    finally:
        event.remove(engine, "before_cursor_execute", seen)
    return count


def test_a_letter_takes_a_handful_of_statements_whatever_it_is_about(store: Store, life: Lifecycle) -> None:
    """As many for three hundred certificates as for three: a thousand owners are written to in a minute."""
    small, large = reporting.owner(store, "small"), reporting.owner(store, "large")
    for of, size in ((small, 3), (large, 300)):
        reporting.healthy(
            store, of, {f"m{of}-{number}.example": 400 * DAY for number in range(size)}, "manual", 800 * DAY
        )
    few = _statements(life, small)
    assert few <= 24
    assert _statements(life, large) <= few


def test_who_answers_for_more_than_a_letter_holds(
    store: Store, life: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs somebody is there, the rest is counted by the index, and the table says what it leaves out."""
    monkeypatch.setattr(reading, "MOST", 20)
    of = reporting.owner(store)
    for number in range(30):
        certificate(store, of, f"svc-{number}.example", left=(40 + number) * DAY)
    certificate(store, of, "hand.example", mode="manual", left=50 * DAY, lifetime=365 * DAY, stage="due")
    found = gathered(life, of)
    assert needs(found) == {"manual": ["hand.example"]}
    assert (found.total, found.healthy, len(found.everything)) == (31, 30, 20)


def test_an_owner_that_is_gone_gets_no_letter(life: Lifecycle) -> None:
    """Nobody is written to by mistake."""
    with pytest.raises(NotFound):
        gathered(life, 404)


def test_a_holder_that_nobody_would_miss_is_not_said(store: Store, life: Lifecycle) -> None:
    """Pods vanish: what only its holder renews, nobody claims and nobody sees ends silently, also for the fallback."""
    fallback = add_owner(store, "fallback", is_fallback=True)
    certificate(store, fallback, "pod", mode="holder", left=-HOUR, lifetime=DAY, stage="expired", lineage={})
    store.write(lambda tx: tx.execute(reporting.disown()) and None)
    assert gathered(life, fallback).listed == ()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many examples, each with an owner of its own."""
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('days')}/x.db")
    yield opened
    opened.close()


@settings(max_examples=60, deadline=None)
@given(
    days=st.integers(min_value=-500, max_value=800),
    mode=st.sampled_from(["renewed", "holder", "manual"]),
    lifetime=st.sampled_from([6 * HOUR, DAY, 10 * DAY, 45 * DAY, 90 * DAY, 365 * DAY, 398 * DAY]),
)
def test_on_any_day_the_letter_says_what_the_stages_say(shared: Store, days: int, mode: str, lifetime: int) -> None:
    """A preview of any date is a pure function of it: what a person renews from `due` on, what renews itself from
    `late` on, if nothing is done until then; and it is one for now exactly if an immediate threshold was crossed."""
    of = reporting.owner(shared, f"owner-{next(_numbers)}")
    id_ = certificate(shared, of, "a.example", mode=mode, left=lifetime // 2, lifetime=lifetime)
    at = max(NOW + days * DAY, NOW - lifetime // 2)
    found = gathered(reporting.lifecycle(shared), of, at=at)
    row, lineage = find(shared, id_), reporting.lineage_row(shared, id_)
    marks = deadlines.deadlines(row, lineage, fraction=lead_time.FRACTION)
    begins = marks.due if mode == "manual" else marks.late
    assert [each.tracked_id for each in found.listed] == ([id_] if at >= begins else [])
    for each in found.listed:
        possible = thresholds.of(row, lineage, marks)
        crossed = [one.urgency for one in possible if one.at <= at and not one.if_served]
        assert each.urgency == max(crossed, key=thresholds.rank)
        is_daily = mode == "manual" and thresholds.rank(each.urgency) >= thresholds.rank(thresholds.DAILY)
        assert each.is_now == (is_daily or each.urgency == thresholds.IMMEDIATE)
        assert each.need is not Need.NONE
