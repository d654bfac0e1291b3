"""Answering by a letter's link: it acts once, for that certificate alone, and only while the letter's owner answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, CertwrightError, Conflict, NotFound
from ca.store import Store
from ca.x509.names import parse
from renewers.answering import acknowledged, answers
from renewers.answering.links import Link
from renewers.answering.questions import Answer
from renewers.inventory import lineages, owners, ownership
from renewers.inventory.lineages import LineagePlan
from renewers.inventory.ownership import owner_of
from renewers.lifecycle import Lifecycle
from renewers.models import Acknowledged, Lineage, Owner, Renewal, Tracked, Work
from tests import rig
from tests.renewers import answering
from tests.renewers.answering import AT, DAY, HOUR, NOW, certificate, link, row, rows


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with clock.pinned(NOW):
        yield


@pytest.fixture
def life(store: Store) -> Lifecycle:
    """Everybody, an owner for what is left over among them."""
    found = answering.lifecycle(store)
    answering.owner(found, "everybody")
    return found


@pytest.fixture
def payments(life: Lifecycle) -> Owner:
    """An owner with two who come after it."""
    return answering.owner(life, "payments", "backup", "lead")


def renewed(life: Lifecycle, owner: str, name: str = "www.example.org") -> Any:
    """A lineage that we renew, which has no certificate yet."""
    id_ = lineages.create(
        life, rig.ADMIN, LineagePlan(name, (parse(f"dns:{name}"),), owner=owner, issuers=("internal",))
    )
    return row(life, Lineage, id_)


def choices(life: Lifecycle, asked: Link) -> set[str]:
    """What a link offers."""
    return {answer.value for answer in answers.look(life, asked).choices}


def test_what_is_offered_depends_on_what_it_is(life: Lifecycle, payments: Owner) -> None:
    """Renewal where we renew, and there no retirement; a person's certificate the other way round."""
    manual = certificate(life, "a.example.org", owner_id=payments.id)
    ours = renewed(life, "payments")
    assert choices(life, link(payments, f"tracked:{manual.id}")) == {"acknowledge", "refuse", "retire"}
    assert choices(life, link(payments, f"lineage:{ours.id}")) == {"renew", "acknowledge"}
    over = certificate(life, "b.example.org", days=9, owner_id=payments.id)
    assert choices(life, link(payments, f"tracked:{over.id}")) == {"refuse", "retire"}


def test_renewing_hurries_the_work(life: Lifecycle, payments: Owner) -> None:
    """It is asked for in the ledger by who answered; the work is due now, whatever held it up."""
    lineage = renewed(life, "payments")
    stopped = update(Work).where(col(Work.kind) == "renew").values(state="stopped", due_at=AT + DAY)
    life.store.write(lambda tx: tx.execute(stopped) and None)
    answers.renew(life, link(payments, f"lineage:{lineage.id}"))
    (work,) = rows(life, Work, col(Work.kind) == "renew")
    assert (work.state, work.due_at) == ("waiting", AT)
    assert len(rows(life, Renewal)) == 1
    said = {entry["action"]: entry["by"] for entry in answering.ledger(life)}
    assert said["renewal-asked"] == said["letter-answered"] == "owner:payments <payments@example.org>"


def test_acknowledging_is_kept_with_who_and_why(life: Lifecycle, payments: Owner) -> None:
    """Under the lineage, told as an event, in the ledger with the letter."""
    found = certificate(life, "a.example.org", owner_id=payments.id)
    asked = link(payments, f"tracked:{found.id}", recipient="backup@example.org", letter_id=31)
    answers.acknowledge(life, asked, AT + 5 * DAY, "the vendor\u202e sends one\r\nBcc: x")
    (kept,) = rows(life, Acknowledged)
    assert (kept.about, kept.until) == (f"lineage:{found.lineage_id}", AT + 5 * DAY)
    assert kept.by == "owner:payments <backup@example.org>"
    assert kept.reason == "the vendor sends one Bcc: x"
    assert {"acknowledged", "letter-answered"} <= set(answering.events(life))
    (answered,) = [one for one in answering.ledger(life) if one["action"] == "letter-answered"]
    assert (answered["answer"], answered["letter"]) == ("acknowledge", 31)


def test_not_mine_makes_it_nobodys_until_somebody_is_assigned(life: Lifecycle, payments: Owner) -> None:
    """Neither a claim nor the lineage gives it back; it is listed with orphans, and the alarm stands until then."""
    owners.claim(life, rig.ADMIN, "payments", "name", "*.example.org")
    found = certificate(life, "a.example.org", owner_id=payments.id)
    other = certificate(life, "b.example.org")
    answers.refuse(life, link(payments, f"tracked:{found.id}"))
    assert _whose(life, found) == ("everybody", True)
    assert _whose(life, other) == ("payments", False)
    assert [one.id for one in ownership.orphans(life.store)[0]] == [found.id]
    current = row(life, Tracked, found.id)
    assert (current.answering_id, current.is_orphan) == (_id(life, "everybody"), True)
    name = row(life, Lineage, found.lineage_id).name
    assert answering.alarms(life, "ownership-refused") == [name]
    assert "ownership-refused" in answering.events(life)
    owners.assign(life, rig.ADMIN, "payments", lineage=name)
    assert answering.alarms(life, "ownership-refused") == []
    assert _whose(life, found) == ("payments", False)


@pytest.mark.parametrize("owner", ["payments", None])
def test_a_successor_of_what_was_refused_is_nobodys_too(life: Lifecycle, payments: Owner, owner: str | None) -> None:
    """Until an owner is assigned, or it is left to the claims again on purpose."""
    owners.claim(life, rig.ADMIN, "payments", "name", "*.example.org")
    found = certificate(life, "a.example.org")
    answers.refuse(life, link(payments, f"tracked:{found.id}"))
    after = certificate(life, "a.example.org", days=40)
    assert (after.lineage_id, _whose(life, after)) == (found.lineage_id, ("everybody", True))
    name = row(life, Lineage, found.lineage_id).name
    owners.assign(life, rig.ADMIN, owner, lineage=name)
    assert _whose(life, after) == ("payments", False)
    assert answering.alarms(life, "ownership-refused") == []


def test_what_was_refused_stays_so_when_its_lineage_goes(life: Lifecycle, payments: Owner) -> None:
    """And what is said about the lineage is not about another that gets its number."""
    owners.claim(life, rig.ADMIN, "payments", "name", "*.example.org")
    found = certificate(life, "a.example.org")
    acknowledged.acknowledge(life, rig.ADMIN, f"tracked:{found.id}", AT + DAY, "in hand")
    answers.refuse(life, link(payments, f"tracked:{found.id}"))
    lineages.remove(life, rig.ADMIN, row(life, Lineage, found.lineage_id).name)
    assert _whose(life, found) == ("everybody", True)
    assert rows(life, Acknowledged) == []
    assert answering.alarms(life, "ownership-refused") == [found.identity]
    owners.assign(life, rig.ADMIN, "payments", tracked=found.identity)
    assert answering.alarms(life, "ownership-refused") == []


def test_out_of_use_ends_the_waiting(life: Lifecycle, payments: Owner) -> None:
    """As `track`'s own word for it; the ledger says who and why."""
    found = certificate(life, "a.example.org", owner_id=payments.id)
    answers.retire(life, link(payments, f"tracked:{found.id}"), "switched off")
    assert row(life, Tracked, found.id).stage == "ended"
    (said,) = [one for one in answering.ledger(life) if one["action"] == "certificate-retired"]
    assert (said["by"], said["reason"]) == ("owner:payments <payments@example.org>", "switched off")


ACTS: dict[Answer, Callable[[Lifecycle, Link], Any]] = {
    Answer.ACKNOWLEDGE: lambda life, asked: answers.acknowledge(life, asked, AT + DAY, "in hand"),
    Answer.REFUSE: answers.refuse,
    Answer.RETIRE: lambda life, asked: answers.retire(life, asked, ""),
}


def refused(act: Callable[[], Any]) -> CertwrightError:
    """The error that it raises."""
    with pytest.raises(CertwrightError) as found:
        act()
    return found.value


@pytest.mark.parametrize("first", ACTS)
@pytest.mark.parametrize("second", ACTS)
def test_one_link_answers_once(life: Lifecycle, payments: Owner, first: Answer, second: Answer) -> None:
    """Whatever it was used for first; and looking at it again says so."""
    found = certificate(life, "a.example.org", owner_id=payments.id)
    asked = link(payments, f"tracked:{found.id}")
    ACTS[first](life, asked)
    before = answering.ledger(life)
    assert refused(lambda: ACTS[second](life, asked)).code == "link-used"
    assert refused(lambda: answers.look(life, asked)).code == "link-used"
    assert answering.ledger(life) == before


def test_a_renewal_by_link_is_asked_for_once(life: Lifecycle, payments: Owner) -> None:
    """Also if two press at the same moment."""
    lineage = renewed(life, "payments")
    asked, results, start = link(payments, f"lineage:{lineage.id}"), [], Barrier(4)

    def press() -> None:
        start.wait()
        try:
            results.append(str(answers.renew(life, asked)))
        except Conflict as error:
            results.append(error.code)

    threads = [Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["True", "link-used", "link-used", "link-used"]
    assert [one["action"] for one in answering.ledger(life)].count("renewal-asked") == 1


@pytest.mark.parametrize("answer", ACTS)
def test_a_link_that_no_longer_fits_changes_nothing(life: Lifecycle, payments: Owner, answer: Answer) -> None:
    """Another owner answers, the recipient has left, it was renewed, it is gone: refused, and not used up either."""
    found = certificate(life, "a.example.org", owner_id=payments.id)
    asked = link(payments, f"tracked:{found.id}")
    answering.owner(life, "others")

    def code() -> str:
        before = answering.ledger(life)
        error = refused(lambda: ACTS[answer](life, asked))
        assert refused(lambda: answers.look(life, asked)).code == error.code
        assert answering.ledger(life) == before
        return error.code

    owners.assign(life, rig.ADMIN, "others", tracked=found.identity)
    assert code() == "not-yours-any-more"
    owners.assign(life, rig.ADMIN, "payments", tracked=found.identity)
    owners.change(life, rig.ADMIN, "payments", lambda plan: replace(plan, email="new@example.org"))
    assert code() == "link-does-not-hold"
    owners.change(life, rig.ADMIN, "payments", lambda plan: replace(plan, escalation=("payments@example.org",)))
    assert answer.value in choices(life, asked)
    certificate(life, "a.example.org", days=80, owner_id=payments.id)
    assert code() == "nothing-left"


def test_a_link_of_an_owner_that_is_gone_does_not_hold(life: Lifecycle, payments: Owner) -> None:
    """In the same words as one that never was."""
    found = certificate(life, "a.example.org", owner_id=payments.id)
    owners.remove(life, rig.ADMIN, "payments", heir="everybody")
    error = refused(lambda: answers.look(life, link(payments, f"tracked:{found.id}")))
    assert isinstance(error, NotFound)
    assert error.code == "link-does-not-hold"


def test_what_is_not_offered_is_not_done(life: Lifecycle, payments: Owner) -> None:
    """What we renew is not retired by a link, what we do not is not renewed; neither uses the link up."""
    ours, manual = renewed(life, "payments"), certificate(life, "a.example.org", owner_id=payments.id)
    for act in (
        lambda: answers.retire(life, link(payments, f"lineage:{ours.id}"), ""),
        lambda: answers.refuse(life, link(payments, f"lineage:{ours.id}")),
        lambda: answers.renew(life, link(payments, f"tracked:{manual.id}")),
    ):
        error = refused(act)
        assert (type(error), error.code) == (BadRequest, "not-offered")
    answers.retire(life, link(payments, f"tracked:{manual.id}"), "")


@pytest.mark.parametrize(
    ("until", "reason", "code"),
    [
        (AT, "in hand", "bad-until"),
        (AT - DAY, "in hand", "bad-until"),
        (AT + 11 * DAY, "in hand", "bad-until"),
        (AT + DAY, "", "reason-missing"),
        (AT + DAY, " \u200b\n ", "reason-missing"),
    ],
)
def test_an_acknowledgement_that_does_not_fit_uses_nothing_up(
    life: Lifecycle, payments: Owner, until: int, reason: str, code: str
) -> None:
    """It can be said again, better."""
    asked = link(payments, f"tracked:{certificate(life, 'a.example.org', owner_id=payments.id).id}")
    assert refused(lambda: answers.acknowledge(life, asked, until, reason)).code == code
    answers.acknowledge(life, asked, AT + DAY, "in hand")


def test_what_was_replaced_and_is_still_served_can_be_answered(life: Lifecycle, payments: Owner) -> None:
    """Somebody may have to bring the new one there; it is not renewed or retired by that."""
    found = certificate(life, "a.example.org", owner_id=payments.id)
    certificate(life, "a.example.org", days=80, owner_id=payments.id)
    from tests.renewers.tracking import add_endpoint

    add_endpoint(life.store, found.id, AT - HOUR)
    assert choices(life, link(payments, f"tracked:{found.id}")) == {"acknowledge", "refuse"}


def _whose(life: Lifecycle, found: Any) -> tuple[str | None, bool]:
    with life.store.read() as connection:
        answer = owner_of(connection, row(life, Tracked, found.id))
    return answer.owner.name if answer.owner is not None else None, answer.is_orphan


def _id(life: Lifecycle, name: str) -> int:
    (found,) = rows(life, Owner, col(Owner.name) == name)
    return int(found.id)
