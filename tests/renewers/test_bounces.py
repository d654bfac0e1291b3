"""Letters that come back: only a real failure of a letter that we really sent there makes a mailbox dead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlmodel import col

from ca import clock
from ca.errors import BadRequest, Forbidden, NotFound
from ca.store import Store
from renewers.answering import bounces, mailboxes, reports
from renewers.inventory import owners
from renewers.lifecycle import Lifecycle
from renewers.mailing import escalating
from renewers.models import Letter, Mailbox, Owner
from tests import rig
from tests.renewers import answering
from tests.renewers.answering import AT, NOW, certificate, crossing, letter, row, rows

VECTORS = Path(__file__).parent.parent / "vectors" / "bounces"
FAILED, DELAYED = (VECTORS / "opensmtpd-failed.eml").read_bytes(), (VECTORS / "opensmtpd-delayed.eml").read_bytes()
POSTFIX = (VECTORS / "postfix-failed.eml").read_bytes()
ID = "5f0c8f3d2a7b41e6a9d4c1b2e3f40516"
DEAD = "ghost@example.org"


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with clock.pinned(NOW):
        yield


@pytest.fixture
def life(any_store: Store) -> Lifecycle:
    """An owner whose mailbox is `ghost@example.org`, with one who comes after it."""
    found = answering.lifecycle(any_store)
    answering.owner(found, "everybody")
    answering.owner(found, "ghost", "backup")
    return found


def ghost(life: Lifecycle) -> Owner:
    """The owner as it stands."""
    (found,) = rows(life, Owner, col(Owner.name) == "ghost")
    return Owner(**found._mapping)


def sent(life: Lifecycle, *, message_id: str = ID, **how: Any) -> Any:
    """A letter that has left, about one certificate."""
    found = certificate(life, f"n{len(rows(life, Letter))}.example.org", days=18, owner_id=ghost(life).id)
    made = letter(life, ghost(life), [crossing(life, found)], **how)

    def unit(tx: Any) -> None:
        left = update(Letter).where(col(Letter.id) == made.id)
        tx.execute(left.values(state="sent", sent_at=AT, message_id=message_id))
        escalating.begin(tx, made, [1])

    life.store.write(unit)
    return row(life, Letter, made.id)


def dead(life: Lifecycle) -> list[str]:
    """Addresses that mail comes back from."""
    return [one.address for one in rows(life, Mailbox, col(Mailbox.dead_since).is_not(None))]


def test_a_report_of_a_real_server_makes_a_mailbox_dead(life: Lifecycle) -> None:
    """The alarm stands, the next one on the path gets the letter at once, and it is in the ledger."""
    first = sent(life)
    found = bounces.report(life, rig.ADMIN, FAILED)
    assert (found.outcome, found.letter_id, found.address) == ("dead", first.id, DEAD)
    assert dead(life) == [DEAD]
    assert answering.alarms(life, "mailbox-dead") == [DEAD]
    following = row(life, Letter, found.passed_on or 0)
    assert (following.recipient, following.state, following.kind) == ("backup@example.org", "open", "urgent")
    assert row(life, Letter, first.id).state == "bounced"
    assert answering.work(life, "escalate") == []
    assert {"mailbox-dead", "letter-bounced"} <= {one["action"] for one in answering.ledger(life)}
    assert bounces.report(life, rig.ADMIN, FAILED).outcome == "said-before"
    assert len(rows(life, Letter)) == 2


def test_what_postfix_says_is_read(life: Lifecycle) -> None:
    """Its report returns the letter whole; the reason is kept with the mailbox."""
    owners.change(life, rig.ADMIN, "ghost", lambda plan: replace(plan, email="ghost2@example.org"))
    sent(life, message_id="7f0c8f3d2a7b41e6a9d4c1b2e3f40518")
    assert bounces.report(life, rig.ADMIN, POSTFIX).outcome == "dead"
    (kept,) = rows(life, Mailbox)
    assert kept.dead_because.startswith("5.1.1 550 5.1.1 <ghost2@example.org>: Recipient address rejected")


def test_what_is_only_late_kills_nothing(life: Lifecycle) -> None:
    """The server goes on trying."""
    owners.change(life, rig.ADMIN, "ghost", lambda plan: replace(plan, email="later@example.org"))
    sent(life, message_id="6f0c8f3d2a7b41e6a9d4c1b2e3f40517")
    assert bounces.report(life, rig.ADMIN, DELAYED).outcome == "passing"
    assert dead(life) == []


CHANGES: dict[str, tuple[bytes, bytes]] = {
    "another letter": (ID.encode(), b"0" * 32),
    "another recipient": (b"rfc822; ghost@", b"rfc822; other@"),
    "a passing status": (b"Status: 5.0.0", b"Status: 4.2.2"),
    "no status": (b"Status: 5.0.0\r\n", b""),
    "relayed": (b"Action: failed", b"Action: relayed"),
    "delivered": (b"Action: failed", b"Action: delivered"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_report_about_anything_else_kills_nothing(life: Lifecycle, what: str) -> None:
    """A forged one has to name a letter that really went to that recipient, and say that it failed for good."""
    sent(life)
    before, after = CHANGES[what]
    assert before in FAILED
    found = bounces.report(life, rig.ADMIN, FAILED.replace(before, after))
    assert found.outcome in ("not-ours", "passing")
    assert dead(life) == []
    assert bounces.report(life, rig.ADMIN, FAILED).outcome == "dead"


def test_a_letter_that_never_left_does_not_come_back(life: Lifecycle) -> None:
    """Whatever a report says."""
    made = sent(life)
    unsent = update(Letter).where(col(Letter.id) == made.id).values(sent_at=None, state="open")
    life.store.write(lambda tx: tx.execute(unsent) and None)
    assert bounces.report(life, rig.ADMIN, FAILED).outcome == "not-ours"
    assert dead(life) == []


def test_message_ids_cannot_be_guessed(life: Lifecycle) -> None:
    """They say nothing of the letter: a forger cannot work out which one was sent."""
    made = letter(life, ghost(life), [], kind="digest", key="digest:1:1")
    assert len(made.message_id) >= 32
    again = letter(life, ghost(life), [], kind="digest", key="digest:1:2")
    assert made.message_id != again.message_id


def test_when_everybody_on_the_path_is_dead_the_fallback_owner_gets_it(life: Lifecycle) -> None:
    """Nothing that is open is lost."""
    sent(life)
    life.store.write(lambda tx: mailboxes.bounced(tx, "backup@example.org", "5.1.1") and None)
    found = bounces.report(life, rig.ADMIN, FAILED)
    assert row(life, Letter, found.passed_on or 0).recipient == "everybody@example.org"


def test_another_address_mends_it(life: Lifecycle) -> None:
    """The alarm is over; nothing is kept of an address that nobody has."""
    sent(life)
    bounces.report(life, rig.ADMIN, FAILED)
    owners.change(life, rig.ADMIN, "ghost", lambda plan: replace(plan, time_zone="Europe/Berlin"))
    assert dead(life) == [DEAD]
    owners.change(life, rig.ADMIN, "ghost", lambda plan: replace(plan, email="alive@example.org"))
    assert dead(life) == []
    assert answering.alarms(life, "mailbox-dead") == []


def test_an_address_of_two_owners_stays_dead_while_one_has_it(life: Lifecycle) -> None:
    """It is the mailbox that is dead, not the owner."""
    owners.change(life, rig.ADMIN, "everybody", lambda plan: replace(plan, escalation=(DEAD,)))
    sent(life)
    bounces.report(life, rig.ADMIN, FAILED)
    owners.change(life, rig.ADMIN, "ghost", lambda plan: replace(plan, email="alive@example.org"))
    assert dead(life) == [DEAD]
    owners.change(life, rig.ADMIN, "everybody", lambda plan: replace(plan, escalation=()))
    assert answering.alarms(life, "mailbox-dead") == []


def test_reviving_mends_it(life: Lifecycle) -> None:
    """By who may manage owners; the next failure is said anew."""
    sent(life)
    bounces.report(life, rig.ADMIN, FAILED)
    with pytest.raises(Forbidden):
        mailboxes.revive(life, rig.OPERATOR, DEAD)
    with pytest.raises(NotFound):
        mailboxes.revive(life, rig.ADMIN, "nobody@example.org")
    assert mailboxes.revive(life, rig.ADMIN, "ghost@EXAMPLE.ORG")
    assert not mailboxes.revive(life, rig.ADMIN, DEAD)
    assert (dead(life), answering.alarms(life, "mailbox-dead")) == ([], [])
    assert mailboxes.listing(life, rig.ADMIN) == ([], None)
    sent(life, message_id="1" * 32)
    assert bounces.report(life, rig.ADMIN, FAILED.replace(ID.encode(), b"1" * 32)).outcome == "dead"
    assert answering.alarms(life, "mailbox-dead") == [DEAD]


def test_mailboxes_are_listed_with_whose_they_are(life: Lifecycle) -> None:
    """The dead and those without digests; a page at a time."""
    life.store.write(lambda tx: mailboxes.bounced(tx, DEAD, "5.1.1") and None)
    life.store.write(lambda tx: mailboxes.decline(tx, "backup@example.org", "x") and None)
    found, following = mailboxes.listing(life, rig.AUDITOR)
    assert [(one.mailbox.address, one.owners) for one in found] == [
        ("backup@example.org", ("ghost",)),
        (DEAD, ("ghost",)),
    ]
    assert following is None
    assert [one.mailbox.address for one in mailboxes.listing(life, rig.AUDITOR, dead=True)[0]] == [DEAD]
    first, following = mailboxes.listing(life, rig.AUDITOR, limit=1)
    assert [one.mailbox.address for one in first + mailboxes.listing(life, rig.AUDITOR, cursor=following or "")[0]] == [
        "backup@example.org",
        DEAD,
    ]


def test_a_report_takes_the_right_to_manage_the_inventory(life: Lifecycle) -> None:
    """Nobody kills a mailbox who may only look."""
    sent(life)
    for caller in (rig.AUDITOR, rig.REQUESTER, rig.CONSUMER):
        with pytest.raises(Forbidden):
            bounces.report(life, caller, FAILED)
    assert dead(life) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"Subject: out of office\r\n\r\nI am away.",
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n",
        b"Content-Type: message/delivery-status\r\n\r\n",
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nAction: failed\r\n\r\n",
        b"Content-Type: text/plain; charset=nonsense\r\nContent-Transfer-Encoding: base64\r\n\r\n\xff\xfe",
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000)),
        b"Final-Recipient: rfc822; ghost@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n",
    ],
)
def test_what_is_no_report_is_refused(content: bytes) -> None:
    """Whatever it is instead, however deep."""
    with pytest.raises(BadRequest):
        reports.read(content)


def test_a_report_that_was_cut_is_still_read(life: Lifecycle) -> None:
    """Behind the headers of what is returned nothing is needed; a huge letter that is returned does no harm."""
    sent(life)
    end = FAILED.index(ID.encode()) + 200
    assert bounces.report(life, rig.ADMIN, FAILED[:end]).outcome == "dead"
    huge = FAILED.replace(b"api.pay.example.org ends in 6 d 4 h.", b"x" * 70 + b"\r\n" + b"y" * reports.LONGEST, 1)
    assert reports.read(huge).message_ids >= {f"{ID}@ca.example.org"}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_report_is_read_or_refused(data: st.DataObject) -> None:
    """Nothing else ever comes of it, and nothing that was read steers a terminal."""
    source = data.draw(st.sampled_from([FAILED, DELAYED, POSTFIX]))
    content = bytearray(source)
    for _ in range(data.draw(st.integers(min_value=1, max_value=8))):
        place = data.draw(st.integers(min_value=0, max_value=len(content)))
        content[place : place + data.draw(st.integers(min_value=0, max_value=60))] = data.draw(st.binary(max_size=40))
    try:
        found = reports.read(bytes(content))
    except BadRequest:
        return
    assert len(found.failures) <= reports.MOST_RECIPIENTS
    for failure in found.failures:
        assert failure.diagnostic.isprintable() or failure.diagnostic == ""
        assert failure.recipients
        assert not failure.is_permanent or failure.status.startswith("5.")


def test_addresses_in_many_forms() -> None:
    """As servers write them: with and without brackets, spaces and comments; other kinds of address are none."""
    head = "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"
    form = head + "Final-Recipient: {}\r\nAction: {}\r\nStatus: {}\r\n"
    for text in ("rfc822;a@b.example", "RFC822; <a@b.example>", "rfc822 ;\ta@b.example (Ann)", "utf-8; a@b.example"):
        (failure,) = reports.read(form.format(text, "Failed (of course)", "5.1.1 (no such user)").encode()).failures
        assert (failure.recipients, failure.action, failure.status) == (frozenset({"a@b.example"}), "failed", "5.1.1")
    for text in ("x400; /c=de", "rfc822; nobody", "a@b.example"):
        with pytest.raises(BadRequest):
            reports.read(form.format(text, "failed", "5.1.1").encode())


def test_digests_can_be_declined_and_had_again(life: Lifecycle) -> None:
    """Each once; a dead mailbox stays dead by that."""
    states = [
        life.store.write(lambda tx: mailboxes.decline(tx, DEAD, "x")),
        life.store.write(lambda tx: mailboxes.decline(tx, DEAD, "x")),
        life.store.write(lambda tx: mailboxes.bounced(tx, DEAD, "5.1.1")),
        life.store.write(lambda tx: mailboxes.resume(tx, DEAD, "x")),
        life.store.write(lambda tx: mailboxes.resume(tx, DEAD, "x")),
    ]
    assert states == [True, False, True, True, False]
    with life.store.read() as connection:
        known = mailboxes.states(connection, [DEAD, "other@example.org"])
    assert mailboxes.is_dead(known, DEAD)
    assert mailboxes.wants_digests(known, DEAD)
    assert not mailboxes.is_dead(known, "other@example.org")
