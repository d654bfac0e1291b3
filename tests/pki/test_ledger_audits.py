"""The daily audit in a product: its beat, the log, metrics and the doctor; who drains does not wait for it."""

from __future__ import annotations

import json
from datetime import timedelta

import structlog
from sqlalchemy import delete, update
from sqlmodel import col

from ca import clock, revocation
from ca.access import Role
from ca.models import Certificate, LedgerEntry, LedgerHead, Revocation
from ca.x509.revocation_list import RevocationReason
from pki.doctor import checks
from pki.doctor.finding import Level
from pki.lifecycle_schedule import audit_ledger
from pki.product import Product
from pki.web.app import measure
from renewers.telling import audits
from tests import rig
from tests.ca.world import outside
from tests.pki.conftest import API, World


def told(product: Product) -> tuple[str, Level]:
    """What the doctor says of the last audit."""
    found = [one for one in checks.ledger(product) if "signed head" not in one.message]
    return found[0].message, found[0].level


def metrics(product: Product) -> dict[str, float]:
    """What is measured of the ledger."""
    measure(product)
    lines = product.metrics.text().decode().splitlines()
    found = (line.partition(" ") for line in lines if line.startswith("certwright_ledger_"))
    return {name.removeprefix("certwright_ledger_"): float(value) for name, _, value in found}


def test_what_was_changed_is_in_log_metrics_and_the_doctors_words(product: Product) -> None:
    """By the beat, with what to do."""
    serial = rig.issue(product.installation).serial
    revocation.revoke(product.installation, rig.OPERATOR, serial, RevocationReason.SUPERSEDED)
    audit_ledger(product)
    assert told(product) == ("no daily audit was made yet; certwright ledger verify makes one now", Level.SKIPPED)
    assert metrics(product)["audited_age_seconds"] == float("inf")
    audit_ledger(product)
    assert told(product)[1] is Level.OK
    found = metrics(product)
    assert (found["findings"], found["audit_every_seconds"]) == (0, 86400)
    assert found["audited_age_seconds"] < 60
    with clock.pinned(clock.now() + timedelta(days=4)):
        assert told(product)[1] is Level.WARNING
    with outside(product.installation.store) as connection:
        connection.execute(delete(Revocation).where(col(Revocation.serial) == serial))
    with clock.pinned(clock.now() + timedelta(days=1, hours=1)), structlog.testing.capture_logs() as logs:
        audit_ledger(product)
        message, level = told(product)
    assert level is Level.PROBLEM
    assert serial in message
    said = [one for one in logs if one["event"] == "ledger-unsound"]
    assert said
    assert all(one["log_level"] == "error" and "certwright ledger verify" in one["hint"] for one in said)
    assert metrics(product)["findings"] == len(said)


def test_the_page_of_the_ledger_says_so(world: World) -> None:
    """When it was last held against the store, and what was found, before all else."""
    page = world.as_(world.token(Role.AUDITOR))
    assert "not yet" in page.get("/ledger").text
    world.installation.ledger.sequence()
    audit_ledger(world.product)
    audit_ledger(world.product)
    shown = page.get("/ledger").text
    assert "sound" in shown
    assert "does not say" not in shown
    with outside(world.installation.store) as connection:
        connection.execute(update(Certificate).values(signature=b"another one"))
    with clock.pinned(clock.now() + timedelta(days=2)):
        audit_ledger(world.product)
    shown = page.get("/ledger").text
    assert "The store does not say what the ledger says" in shown
    assert "is not the one that was issued" in shown
    assert "unsound" in shown


def test_a_cut_tail_is_named_to_who_asks(world: World) -> None:
    """Nothing in the database tells of it, and a head from before the cut does not either: what was seen here does."""
    made = world.installation
    made.ledger.sequence()
    before = made.ledger.head()
    assert before is not None
    serial = rig.issue(made).serial
    audit_ledger(world.product)
    with outside(made.store) as attacker:
        attacker.execute(delete(Certificate).where(col(Certificate.serial) == serial))
        attacker.execute(delete(LedgerEntry).where(col(LedgerEntry.position) >= before.size))
        attacker.execute(delete(LedgerHead).where(col(LedgerHead.size) > before.size))
    auditor = world.as_(world.token(Role.AUDITOR))
    for body in ({}, {"checkpoint": before.checkpoint}):
        answer = auditor.post(f"{API}/ledger/verify", json=body).raise_for_status()
        report = json.loads(answer.text.splitlines()[-1])
        assert not report["is_sound"]
        (finding,) = report["findings"]
        assert finding["kind"] in {"lost", "changed", "forked"}  # by what was entered since


def test_who_drains_does_not_wait_for_it(product: Product) -> None:
    """It is the next process's."""
    audit_ledger(product)
    product.readiness.drain()
    audit_ledger(product)
    assert audits.newest(product.installation.store) is None
