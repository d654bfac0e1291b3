"""What others do to an owner's certificates: a CA that wants one replaced at once, and a key in other hands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from ca import clock
from ca.errors import IssuerUnavailable
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.duties import DUTIES
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan
from renewers.issuers import Window
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.mailers.memory import MemoryMailer
from renewers.mailing import opening
from renewers.models import Crossing, Event, Lineage
from renewers.runner import Runner
from tests import rig
from tests.renewers.replacing import WHY, Replacing, Template, template
from tests.renewers.world import DAY, NOON, world

POLICY = MailPolicy(sender="Certwright <certwright@example.org>", when_healthy="never")
EXPLANATION = "https://status.example/incident-42"


def write_letters(lifecycle: Lifecycle, at: datetime) -> MemoryMailer:
    """Open and send what is due at that moment; returns what was sent."""
    mailer = MemoryMailer()
    writing = replace(lifecycle, mailer=mailer, mail=POLICY)
    runner = Runner(writing, {"mail": DUTIES["mail"]})
    try:
        with clock.pinned(at):
            opening.open_due(writing)
            runner.drain()
    finally:
        runner.stop()
    return mailer


def text(mailer: MemoryMailer, recipient: str) -> str:
    """All that one recipient was told, decoded."""
    parts: list[Any] = [part for message in mailer.sent_to(recipient) for part in message.walk()]
    texts = [part.get_payload(decode=True) for part in parts if part.get_content_maintype() == "text"]
    return "\n".join(content.decode() for content in texts)


def test_a_ca_that_wants_one_replaced_at_once_is_told_with_its_explanation(store: Store) -> None:
    """Its window is in the past (RFC 9773): the owner hears of it now, once, and what the CA gives as its reason."""
    with world(store) as here:
        with clock.pinned(NOON):
            owners.add(here.lifecycle, rig.ADMIN, OwnerPlan("payments", "payments@example.org"))
            here.lineage(issuers=("first",), owner="payments")
        here.drain()
        later = NOON + timedelta(days=2)
        past = int(NOON.timestamp()) - 2 * DAY
        here.issuers["first"].suggested = Window(past, past + 3600, EXPLANATION, 3600)
        here.moods["first"].always = IssuerUnavailable("the CA is busy with everybody else")
        here.drain(later)
        told = write_letters(here.lifecycle, later)
        assert len(told.taken) == 1
        assert EXPLANATION in text(told, "payments@example.org")
        assert "wants it replaced at once" in text(told, "payments@example.org")
        here.drain(later + timedelta(hours=2))
        assert write_letters(here.lifecycle, later + timedelta(hours=2)).taken == []
        assert here.events().count("renewal-urged") == 1


def test_what_is_replaced_at_once_bothers_nobody(store: Store) -> None:
    """The CA asked, and it was done before anybody could be written to."""
    with world(store) as here:
        with clock.pinned(NOON):
            owners.add(here.lifecycle, rig.ADMIN, OwnerPlan("payments", "payments@example.org"))
            lineage = here.lineage(issuers=("first",), owner="payments")
        here.drain()
        later = NOON + timedelta(days=2)
        past = int(NOON.timestamp()) - 2 * DAY
        here.issuers["first"].suggested = Window(past, past + 3600, EXPLANATION, 3600)
        here.drain(later)
        first = here.rows(Crossing, col(Crossing.about).startswith(f"urged:{lineage}:"))[0]
        write_letters(here.lifecycle, later)
        assert here.rows(Crossing, col(Crossing.id) == first.id)[0].state == "overtaken"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A few lineages that have their certificates."""
    return template(tmp_path_factory.mktemp("template"), 6)


@pytest.fixture
def fleet(ready: Template, tmp_path: Path) -> Iterator[Replacing]:
    """A world of one's own, in which two teams answer for the lineages."""
    with ready.world(tmp_path) as made:
        with clock.pinned(made.at):
            owners.add(made.lifecycle, rig.ADMIN, OwnerPlan("payments", "payments@example.org"))
            owners.add(made.lifecycle, rig.ADMIN, OwnerPlan("platform", "platform@example.org"))
            owners.add(made.lifecycle, rig.ADMIN, OwnerPlan("idle", "idle@example.org"))
            ids = {name: owners.show(made.lifecycle, rig.ADMIN, name).id for name in ("payments", "platform")}
        halves = (("payments", col(Lineage.id) <= 4), ("platform", col(Lineage.id) > 4))
        for name, which in halves:
            change = update(Lineage).where(which).values(owner_id=ids[name])
            made.store.write(lambda tx, change=change: tx.execute(change) and None)
        yield made


def test_each_owner_hears_of_a_compromise_once(fleet: Replacing) -> None:
    """As soon as it is known what is affected: how many, which, and why. Whoever has none of it hears nothing."""
    fleet.follow()
    made = fleet.begin(per_minute=600, revokes=True, revocation_reason=RevocationReason.KEY_COMPROMISE)
    fleet.step()
    noted = fleet.rows(Crossing, col(Crossing.threshold) == "compromise")
    assert len(noted) == 2
    told = write_letters(fleet.lifecycle, fleet.at)
    assert {one.recipient for one in told.taken} == {"payments@example.org", "platform@example.org"}
    assert "4 certificates of payments are replaced with new keys, after a compromise" in text(
        told, "payments@example.org"
    )
    assert WHY in text(told, "platform@example.org")
    fleet.until_done(made)
    assert len(fleet.rows(Crossing, col(Crossing.threshold) == "compromise")) == 2
    affected = [row for row in fleet.rows(Event) if row.kind == "owner-affected"]
    assert [row.severity for row in affected] == ["critical", "critical"]


def test_a_planned_replacement_bothers_nobody(fleet: Replacing) -> None:
    """Certificates that are merely replaced, by us, are nobody's trouble."""
    fleet.follow()
    fleet.until_done(fleet.begin(per_minute=600))
    assert fleet.rows(Crossing, col(Crossing.threshold) == "compromise") == []
