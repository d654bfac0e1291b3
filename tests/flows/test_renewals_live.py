"""Whole renewals before real counterparts: many orders at once, a window that moved, a CA that is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from sqlalchemy import select
from sqlmodel import col

from ca import clock
from ca.store import Store
from ca.x509 import names
from renewers.duties import DUTIES
from renewers.inventory import lineages
from renewers.inventory.lineages import LineagePlan
from renewers.issuers.acme import AcmeIssuer
from renewers.lifecycle import Lifecycle
from renewers.models import Event, IssuerHealth, Lineage, Renewal, TrackedContent
from renewers.runner import Runner
from tests import peer, rig
from tests.acme_rig import config
from tests.bind import Bind
from tests.flows import orders
from tests.pebble import Pebble

pytestmark = pytest.mark.peer("pebble")


def test_many_orders_each_end_valid_and_none_is_ordered_twice() -> None:
    """Three kinds of challenge at once, half of all nonces refused, validation sleeping."""
    report = orders.campaign(120)
    assert report.wrong == []
    assert report.issued == 120
    assert dict(report.kinds) == dict.fromkeys(orders.KINDS, 40)


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bind, Pebble]]:
    """BIND and a Pebble in a good mood."""
    with orders.surroundings(tmp_path_factory.mktemp("live"), nonce_reject=5, va_sleep=False) as made:
        yield made


@pytest.fixture
def lifecycle(around: tuple[Bind, Pebble], store: Store) -> Lifecycle:
    """A lifecycle before them."""
    return orders.wired(store, *around, workers=4)


def renew(lifecycle: Lifecycle, at: datetime) -> None:
    """Do what is due at a moment."""
    runner = Runner(lifecycle, DUTIES)
    with clock.pinned(at):
        runner.drain()
    runner.stop()


def rows(store: Store, lineage: int) -> list[Renewal]:
    """The renewals of a lineage."""
    with store.read() as connection:
        query = select(Renewal).where(col(Renewal.lineage_id) == lineage).order_by(col(Renewal.id))
        return [Renewal(**row._mapping) for row in connection.execute(query)]


def test_a_window_that_moved_into_the_past_is_followed_at_once(
    lifecycle: Lifecycle, around: tuple[Bind, Pebble], store: Store
) -> None:
    """As in a mass revocation: it is asked for, said with its explanation, and renewed with `replaces` (RFC 9773)."""
    _, ca = around
    start = clock.now()
    with clock.pinned(start):
        lineage = orders.plan(lifecycle, 1000, "http-01")
    renew(lifecycle, start)
    with store.read() as connection:
        row = connection.execute(select(Lineage).where(col(Lineage.id) == lineage)).one()
        content = connection.execute(
            select(col(TrackedContent.der)).where(col(TrackedContent.tracked_id) == row.current_id)
        ).scalar_one()
    assert row.ari_chosen is not None
    first = x509.load_der_x509_certificate(content)
    past = [start - timedelta(days=2), start - timedelta(days=1)]
    window = {"start": past[0].strftime("%Y-%m-%dT%H:%M:%SZ"), "end": past[1].strftime("%Y-%m-%dT%H:%M:%SZ")}
    ca.set_renewal_info(first, {"suggestedWindow": window, "explanationURL": "https://ca.example/incident"})
    replaced = ca.logged("ARI: order ")
    renew(lifecycle, start + timedelta(days=1, hours=1))
    assert [(renewal.state, renewal.reason) for renewal in rows(store, lineage)] == [
        ("done", "first"),
        ("done", "suggested"),
    ]
    with store.read() as connection:
        said = connection.execute(select(Event).where(col(Event.kind) == "renewal-urged")).one()
    assert "https://ca.example/incident" in said.body
    is_known = first.serial_number.bit_length() % 8 != 0  # else DER begins with a zero, and Pebble knows none
    assert ca.logged("ARI: order ") == replaced + is_known, ca.log.read_text()[-3000:]


def test_the_second_ca_serves_while_the_first_is_down(
    lifecycle: Lifecycle, around: tuple[Bind, Pebble], store: Store
) -> None:
    """A port that refuses: the next one in the order issues at once, and the first one's rest is written down."""
    _, ca = around
    port = peer.free_port()
    away = config(ca, name="away", directory=f"https://127.0.0.1:{port}/dir")
    issuers = {"away": AcmeIssuer(away, store=store, sealer=orders.SEALER, solvers=[]), **lifecycle.issuers}
    both = Lifecycle(lifecycle.installation, orders.SEALER, issuers=issuers, policy=lifecycle.policy)
    started = time.monotonic()
    with clock.pinned(clock.now()):
        name = names.parse("two.example.test")
        plan = LineagePlan(name=name.value, names=(name,), issuers=("away", "http-01"))
        lineage = lineages.create(both, rig.ADMIN, plan)
    renew(both, clock.now())
    (done,) = rows(store, lineage)
    assert (done.state, done.issuer) == ("done", "http-01")
    assert time.monotonic() - started < 120
    with store.read() as connection:
        health = {row.issuer: row.failing_since is not None for row in connection.execute(select(IssuerHealth))}
    assert health == {"away": True, "http-01": False}
