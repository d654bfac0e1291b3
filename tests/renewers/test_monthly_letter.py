"""The monthly letter: once a month to each mailbox, never twice, whatever dies or breaks off; and what stands in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pypdf
import pytest
from sqlalchemy import select

from ca import clock
from ca.errors import NotDelivered
from ca.store import Store
from ca.store.commit import StaleChange
from renewers import work
from renewers.answering import mailboxes
from renewers.duties import DUTIES
from renewers.mailers import Outgoing
from renewers.mailers.conversation import UNCERTAIN
from renewers.mailers.memory import MemoryMailer
from renewers.models import Alarm, Event, Letter, Owner, Work
from renewers.reports.monthly import letter, paper, snapshots
from renewers.runner import Runner
from tests.renewers.monthly import AFTER, BEFORE, HOSTILE, add_certificate, add_world, make_lifecycle
from tests.renewers.test_monthly_paper import Read, squeezed, text_of
from tests.renewers.tracking import add_owner, change

TO = ("ciso@example.org", "audit@example.org")


RENDER = paper.render


@pytest.fixture(autouse=True)
def _no_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gets a letter does not depend on its pages, and to set them takes a while."""
    monkeypatch.setattr(paper, "render", lambda _report: b"%PDF-1.7 empty")


class Breaking(MemoryMailer):
    """Takes a letter, and then something happens before we hear of it."""

    def __init__(self, happen: Callable[[], None]) -> None:
        super().__init__()
        self.happen: Callable[[], None] | None = happen

    def send(self, outgoing: Outgoing) -> str:
        """Remember it, then let it happen, once."""
        said = super().send(outgoing)
        happen, self.happen = self.happen, None
        if happen is not None:
            happen()
        return said


def prepared(store: Store, mailer: MemoryMailer, *, with_world: bool = True) -> Any:
    """An installation whose January is over and kept."""
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(store, mailer=mailer)
        lifecycle.installation.ledger.sequence()
    if with_world:
        add_world(store)
    with clock.pinned(AFTER):
        snapshots.take_due(lifecycle)
    return lifecycle


def run(lifecycle: Any, to: Sequence[str] = TO, at: datetime = AFTER) -> None:
    """The beat, and the due work."""
    runner = Runner(lifecycle, {"monthly": DUTIES["monthly"]})
    with clock.pinned(at):
        letter.open_due(lifecycle, to)
        runner.drain()
        runner.stop()


def rows(store: Store, table: Any) -> list[Any]:
    """All rows."""
    with store.read() as connection:
        return list(connection.execute(select(table).order_by(*table.__table__.primary_key)).all())


def later(hours: int) -> datetime:
    """So many hours after the first run."""
    return datetime.fromtimestamp(AFTER.timestamp() + hours * 3600, UTC)


def test_each_mailbox_gets_one_letter_a_month(any_store: Store) -> None:
    """However often the beat comes, until the next month is over."""
    mailer = MemoryMailer()
    lifecycle = prepared(any_store, mailer)
    for hours in (0, 1, 24, 600):
        run(lifecycle, at=later(hours))
    assert sorted(one.recipient for one in mailer.taken) == sorted(TO)
    assert [(row.state, row.kind, row.owner_id) for row in rows(any_store, Letter)] == [("sent", "monthly", 0)] * 2
    with clock.pinned(datetime(2027, 3, 1, 1, tzinfo=UTC)):
        snapshots.take_due(lifecycle)
    run(lifecycle, at=datetime(2027, 3, 1, 1, tzinfo=UTC))
    assert len(mailer.taken) == 4
    assert rows(any_store, Work) == []


def test_a_mailbox_that_is_named_twice_is_written_to_once(store: Store) -> None:
    """Domains have no capitals."""
    mailer = MemoryMailer()
    run(prepared(store, mailer), ["a@example.org", "a@EXAMPLE.org"])
    assert len(mailer.taken) == 1


def test_nobody_is_written_to_before_the_figures_are_kept(store: Store) -> None:
    """Nor without a mailer, nor without recipients."""
    mailer = MemoryMailer()
    with clock.pinned(BEFORE):
        lifecycle = make_lifecycle(store, mailer=mailer)
    run(lifecycle)
    assert (mailer.taken, rows(store, Letter)) == ([], [])
    with clock.pinned(AFTER):
        snapshots.take_due(lifecycle)
    run(lifecycle, [])
    assert rows(store, Letter) == []


def test_two_replicas_open_a_letter_once(any_store: Store) -> None:
    """Both have looked before either wrote: the key is there once."""
    lifecycle = prepared(any_store, MemoryMailer())
    with clock.pinned(AFTER):
        month = snapshots.months(any_store)[0]
        opening = letter._Opening(month, letter._key(month, TO[0]), TO[0])
        assert [any_store.write(opening), any_store.write(opening)] == [True, False]
        assert letter.open_due(lifecycle, TO[:1]) == 0
    assert len(rows(any_store, Letter)) == len(rows(any_store, Work)) == 1


def test_a_process_that_dies_while_a_server_takes_it_sends_nothing_twice(any_store: Store) -> None:
    """Whoever continues finds that it was handed over, gives it up, and says so as an event."""

    def die() -> None:
        raise KeyboardInterrupt

    mailer = Breaking(die)
    lifecycle = prepared(any_store, mailer)
    with clock.pinned(AFTER):
        letter.open_due(lifecycle, TO[:1])
        [claim] = work.claim(any_store, ["monthly"], limit=1, lease=60)
        with pytest.raises(KeyboardInterrupt):
            letter.send(lifecycle, claim)
    run(lifecycle, TO[:1], at=later(1))
    run(lifecycle, TO[:1], at=later(30))
    assert len(mailer.taken) == 1
    [row] = rows(any_store, Letter)
    assert (row.state, row.error) == ("refused", letter.DIED)
    assert [event.kind for event in rows(any_store, Event) if event.kind.startswith("report")] == ["report-not-sent"]


def test_a_slow_holder_and_its_follower_send_it_once(any_store: Store) -> None:
    """The lease of the first ended while it put the letter together: it is refused before it hands anything over."""
    mailer = MemoryMailer()
    lifecycle = prepared(any_store, mailer)
    with clock.pinned(AFTER):
        letter.open_due(lifecycle, TO[:1])
        [slow] = work.claim(any_store, ["monthly"], limit=1, lease=60)
    with clock.pinned(later(1)):
        [quick] = work.claim(any_store, ["monthly"], limit=1, lease=60)
        with pytest.raises(StaleChange):
            letter.send(lifecycle, slow)
        letter.send(lifecycle, quick)
    assert len(mailer.taken) == 1


def test_what_a_server_may_have_taken_is_not_sent_again(any_store: Store) -> None:
    """It broke off before its answer: given up, and said so."""

    def break_off() -> None:
        raise NotDelivered("it broke off before it answered", code=UNCERTAIN)

    mailer = Breaking(break_off)
    lifecycle = prepared(any_store, mailer)
    for hours in (0, 1, 48):
        run(lifecycle, TO[:1], at=later(hours))
    assert len(mailer.taken) == 1
    [row] = rows(any_store, Letter)
    assert row.state == "refused"
    assert "may have arrived" in row.error
    assert letter.UNCERTAIN == UNCERTAIN


def test_a_server_that_is_away_is_waited_for(any_store: Store) -> None:
    """It certainly took nothing: the letter waits, the alarm says so, and both are over when it is back."""
    mailer = MemoryMailer()
    mailer.is_down = True
    lifecycle = prepared(any_store, mailer)
    for hours in (0, 1, 3, 6, 9):
        run(lifecycle, TO[:1], at=later(hours))
    assert [alarm.kind for alarm in rows(any_store, Alarm) if alarm.kind == "mail-failing"] == ["mail-failing"]
    mailer.is_down = False
    run(lifecycle, TO[:1], at=later(30))
    assert len(mailer.taken) == 1
    assert [alarm for alarm in rows(any_store, Alarm) if alarm.kind == "mail-failing"] == []
    assert [row.state for row in rows(any_store, Letter)] == ["sent"]


def test_a_mailbox_that_refuses_is_dead_and_not_written_to_again(any_store: Store) -> None:
    """The others get theirs; the next month skips it."""
    mailer = MemoryMailer()
    mailer.refused = {TO[0]: "550 no such user"}
    lifecycle = prepared(any_store, mailer)
    run(lifecycle)
    assert {row.recipient: row.state for row in rows(any_store, Letter)} == {TO[0]: "refused", TO[1]: "sent"}
    with any_store.read() as connection:
        assert mailboxes.is_dead(mailboxes.states(connection, TO), TO[0])
    march = datetime(2027, 3, 1, 1, tzinfo=UTC)
    with clock.pinned(march):
        snapshots.take_due(lifecycle)
    run(lifecycle, at=march)
    assert [one.recipient for one in mailer.taken] == [TO[1], TO[1]]


def parts(message: EmailMessage) -> dict[str, EmailMessage]:
    """Its parts by their type, read as another program reads them."""
    read = message_from_bytes(message.as_bytes(), policy=SMTP)
    return {part.get_content_type(): part for part in read.walk() if not part.is_multipart()}  # type: ignore[misc]


def test_the_letter_says_what_needs_somebody_and_has_the_report(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and HTML of the same, each alone enough; the PDF is the report's; one recipient, one link."""
    monkeypatch.setattr(paper, "render", RENDER)
    mailer = MemoryMailer()
    lifecycle = prepared(store, mailer)
    run(lifecycle, TO[:1])
    [message] = mailer.sent_to(TO[0])
    found = parts(message)
    assert list(found) == ["text/plain", "text/html", "application/pdf"]
    plain, page = found["text/plain"].get_content(), Read(found["text/html"].get_content())
    for said in (plain, " ".join(page.words)):
        assert "Certificates in January 2027" in said
        assert "Expired without prior notice" in said
        assert "Weak keys" in said
    assert f"{lifecycle.mail.link_url}/reports/monthly/2027-01" in plain
    assert [value for _, name, value in page.attributes if name == "href"] == [
        f"{lifecycle.mail.link_url}/reports/monthly/2027-01"
    ]
    assert not [one for one in page.attributes if one[1] in ("src", "background")]
    pdf = found["application/pdf"].get_content()
    assert found["application/pdf"].get_filename() == "certificates-2027-01.pdf"
    kept = snapshots.find(store, snapshots.months(store)[0])
    assert kept is not None
    assert squeezed(kept.sha256) in squeezed(text_of(pdf))
    assert pypdf.PdfReader(io.BytesIO(pdf)).trailer["/Root"]["/Lang"] == "en"
    assert message["To"] == TO[0]
    assert message["Subject"].startswith("Certificates in January 2027: 1 to act on")
    assert message["Auto-Submitted"] == "auto-generated"


def test_hostile_names_reach_neither_headers_nor_markup(store: Store) -> None:
    """Of owners and certificates: no header, no element, no template comes of them."""
    mailer = MemoryMailer()
    owner = add_owner(store, "x")
    change(store, Owner, owner, name=HOSTILE, email=HOSTILE)
    add_certificate(store, None, shown_as=HOSTILE, issuer=HOSTILE, life=398 * 86400)
    run(prepared(store, mailer, with_world=False), TO[:1])
    [message] = mailer.sent_to(TO[0])
    assert "Bcc" not in message
    assert all(line.isascii() and "script" not in line for line in map(str, message.values()))
    page = Read(parts(message)["text/html"].get_content())
    assert "script" not in page.tags
    assert str(8191 * 9973) not in message["Subject"]
