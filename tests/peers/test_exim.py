"""Letters through Exim: taken, refused and put off as it words these, and a bounce that it writes is one we read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import pytest
from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.errors import MailRefused, NotDelivered
from ca.secret import Secret
from ca.store import Store
from renewers.answering import bounces
from renewers.duties import DUTIES
from renewers.mailers.server import Server
from renewers.mailers.smtp import SmtpMailer
from renewers.mailing import letters
from renewers.models import Letter, Mailbox, Owner
from renewers.runner import Runner
from tests import exim, peer, rig
from tests.exim import Exim
from tests.letters import outgoing, text_of
from tests.renewers import reporting

pytestmark = pytest.mark.peer("exim4")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exim]:
    """One for all tests."""
    with exim.running(tmp_path_factory.mktemp("exim")) as running:
        yield running


def mailer(server: Exim, password: str = exim.PASSWORD) -> SmtpMailer:
    """Over STARTTLS, with its password."""
    return SmtpMailer(Server("localhost", server.port, "starttls", server.ca_file, exim.USER, Secret(password)))


def parsed(raw: bytes) -> EmailMessage:
    """As a mail program reads it."""
    return BytesParser(policy=policy.default).parsebytes(raw)  # type: ignore[return-value]


def test_it_delivers_what_we_send(server: Exim) -> None:
    """Many letters over one connection arrive whole, dots and all, each in the one mailbox."""
    sending = mailer(server)
    for number in range(5):
        said = sending.send(outgoing("ada@web.example", f"Größe {number}\n.\n..\n.\n", number=number))
        assert said.startswith("250 OK id=")
    sending.close()
    peer.until(lambda: len(server.mailbox("ada")) == 5, "five letters are delivered")
    texts = {text_of(parsed(raw)) for raw in server.mailbox("ada")}
    assert texts == {f"Größe {number}\n.\n..\n.\n" for number in range(5)}
    assert all(b"Return-path: <bounces@pki.example>" in raw for raw in server.mailbox("ada"))
    assert "A=plain:certwright" in server.log
    assert "X=TLS1.3" in server.log


@pytest.mark.parametrize(
    ("recipient", "error"),
    [("nobody@web.example", MailRefused), ("later@web.example", NotDelivered), ("ada@elsewhere.example", NotDelivered)],
)
def test_whose_refusal_it_is(server: Exim, recipient: str, error: type[Exception]) -> None:
    """No such mailbox is for good, one that is busy is not, and that it relays nothing there is not the mailbox's."""
    with pytest.raises(error) as caught:
        mailer(server).send(outgoing(recipient))
    assert type(caught.value) is error


def test_a_wrong_password(server: Exim) -> None:
    """Said as that."""
    with pytest.raises(NotDelivered) as caught:
        mailer(server, "another").send(outgoing())
    assert caught.value.code == "mail-auth"


def test_its_bounce_makes_the_mailbox_dead(server: Exim, store: Store) -> None:
    """A mailbox that takes a letter and gives it back: the report that Exim writes leads to ours, and on."""
    life = replace(reporting.lifecycle(store, sender="PKI <pki@pki.example>"), mailer=mailer(server))
    life = replace(life, mail=replace(life.mail, bounces_to="bounced@pki.example"))
    path = {"email": "moved@web.example", "escalation": '["backup@web.example"]'}
    owner_id = reporting.owner(store, "web", **path)
    reporting.certificate(store, owner_id, "vendor.web.example", mode="manual", left=40 * 86400, lifetime=365 * 86400)
    with clock.pinned(datetime.fromtimestamp(reporting.NOW, UTC)):
        letter_id = _open(store, owner_id)
        runner = Runner(life, {"mail": DUTIES["mail"]})
        runner.drain()
        peer.until(lambda: len(server.mailbox("bounced")) == 1, "the bounce is delivered")
        (bounce,) = server.mailbox("bounced")
        found = bounces.report(life, rig.ADMIN, bounce)
        assert (found.outcome, found.letter_id, found.address) == (bounces.DEAD, letter_id, "moved@web.example")
        runner.drain()
        runner.stop()
    with store.read() as connection:
        assert connection.execute(select(Mailbox.address)).scalars().all() == ["moved@web.example"]
        query = select(col(Letter.recipient), col(Letter.state)).order_by(col(Letter.id))
        states = [tuple(row) for row in connection.execute(query)]
    assert states[:2] == [("moved@web.example", "bounced"), ("backup@web.example", "sent")]
    report = parsed(bounce)
    assert report.get_content_type() == "multipart/report"
    assert b"Original-Envelope-ID: " in bounce
    assert b"text/rfc822-headers" in bounce
    assert b"Renewed by hand" not in bounce, "with RET=HDRS nothing comes back of what we told"
    life.mailer.close()  # type: ignore[union-attr]


def _open(store: Store, owner_id: int) -> int:
    with store.read() as connection:
        owner = Owner(**connection.execute(select(Owner).where(col(Owner.id) == owner_id)).one()._mapping)
    named = {"kind": "digest", "recipient": owner.email, "step": 0, "reason": "test", "crossings": (), "key": "k"}
    made = store.write(lambda tx: letters.open_letter(tx, owner=owner, **named))
    assert made is not None
    return int(made)
