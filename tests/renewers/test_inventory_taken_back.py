"""Owners hear at once that what they use was revoked with nothing to follow it; of nothing else that is revoked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from ca import clock, holding, revocation
from ca.access import Caller, Role
from ca.models import Revocation
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.inventory import issued, owners
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle
from renewers.models import Crossing, Event, Tracked
from tests import rig
from tests.ca.world import rows
from tests.renewers import foreign
from tests.renewers.test_mailing_urged import text, write_letters

COMPROMISE = RevocationReason.KEY_COMPROMISE
OURS = Caller("system:replacement", Role.ADMIN)


@pytest.fixture
def life(any_store: Store) -> Lifecycle:
    """An installation whose certificates are those of two owners, by their names; the rest is nobody's."""
    made = foreign.lifecycle(rig.make_installation(any_store, shards=2))
    for name in ("payments", "platform"):
        owners.add(made, rig.ADMIN, OwnerPlan(name, f"{name}@example.org"))
        owners.claim(made, rig.ADMIN, name, "name", f"*.{name}.example.internal")
    return made


def issue(life: Lifecycle, name: str, **how: Any) -> str:
    """A certificate that is tracked; its serial number."""
    found = rig.issue(life.installation, f"dns:{name}.example.internal", profile="server", **how)
    issued.catch_up(life)
    return found.serial


def revoke(life: Lifecycle, *serials: str, reason: RevocationReason = COMPROMISE, by: Caller = rig.OPERATOR) -> None:
    """Take them back, and read the ledger."""
    for serial in serials:
        revocation.revoke(life.installation, by, serial, reason)
    issued.catch_up(life)


def told(life: Lifecycle) -> Mapping[int | None, str]:
    """What each owner is to be told."""
    return {row.owner_id: row.message for row in rows(life.store, Crossing, threshold="revoked")}


def test_whoever_lost_one_is_told(life: Lifecycle) -> None:
    """In a letter of its own: which one, why, what that means and what to do. Once."""
    revoke(life, issue(life, "api.payments"))
    (said,) = told(life).values()
    assert said == (
        "api.payments.example.internal was revoked (key-compromise): "
        "whoever checks refuses it, and nothing has taken its place"
    )
    sent = write_letters(life, clock.now())
    assert {one.recipient for one in sent.taken} == {"payments@example.org"}
    letter = text(sent, "payments@example.org")
    assert "api.payments.example.internal was revoked" in letter
    assert "with a new key" in letter
    issued.catch_up(life)
    life.installation.ledger.sequence()
    issued.catch_up(life)
    assert write_letters(life, clock.now() + timedelta(hours=1)).taken == []
    (event,) = (one for one in rows(life.store, Event) if one.kind == "owner-affected")
    assert event.severity == "critical"


def test_each_owner_hears_of_its_own(life: Lifecycle) -> None:
    """Many at once are one letter to each, which names the first few."""
    theirs = [issue(life, f"n{number}.payments") for number in range(7)]
    revoke(life, *theirs, issue(life, "one.platform"), reason=RevocationReason.UNSPECIFIED)
    found = sorted(told(life).values())
    assert len(found) == 2
    assert found[0].startswith("7 certificates of payments were revoked (unspecified): n0.payments.example.internal, ")
    assert "n4.payments" in found[0]
    assert "n5.payments" not in found[0]
    assert found[1].startswith("one.platform.example.internal was revoked")


@pytest.mark.parametrize("reason", [RevocationReason.SUPERSEDED, RevocationReason.CESSATION_OF_OPERATION])
def test_a_reason_that_says_that_nobody_misses_it(life: Lifecycle, reason: RevocationReason) -> None:
    """Its owner knows."""
    revoke(life, issue(life, "api.payments"), reason=reason)
    assert told(life) == {}


def test_what_has_a_successor_is_no_loss(life: Lifecycle) -> None:
    """The old one may well be revoked; with the key that both have, both are, and that is a loss."""
    old, new = issue(life, "api.payments"), issue(life, "api.payments")
    assert {row.serial: row.replaced_by is None for row in rows(life.store, Tracked)} == {old: False, new: True}
    revoke(life, old, reason=RevocationReason.UNSPECIFIED)
    assert told(life) == {}
    third = issue(life, "api.payments")
    revoke(life, new)
    assert {row.serial for row in rows(life.store, Revocation)} == {old, new, third}
    assert len(told(life)) == 1


def test_one_that_nobody_counts_on_is_no_loss(life: Lifecycle) -> None:
    """Of a lineage it is the current one that is in use, whoever vouches for what."""
    old, _ = issue(life, "api.payments"), issue(life, "api.payments")
    change = update(Tracked).where(col(Tracked.serial) == old).values(replaced_by=None)
    life.store.write(lambda tx: tx.execute(change) and None)
    revoke(life, old, reason=RevocationReason.UNSPECIFIED)
    assert told(life) == {}


def test_each_is_told_once_in_whatever_company_it_comes_again(life: Lifecycle) -> None:
    """The ledger is read again when entries have their places; and a second letter does not wait for the first."""
    first, second = issue(life, "a.payments"), issue(life, "b.payments")
    revoke(life, second, reason=RevocationReason.UNSPECIFIED)
    assert len(write_letters(life, clock.now()).taken) == 1
    revocation.revoke(life.installation, rig.OPERATOR, first, RevocationReason.UNSPECIFIED)
    life.installation.ledger.sequence()
    issued.catch_up(life)
    said = [row.subject for row in rows(life.store, Crossing, threshold="revoked")]
    assert said == ["b.payments.example.internal", "a.payments.example.internal"]
    assert len(write_letters(life, clock.now() + timedelta(minutes=1)).taken) == 1


def test_a_hold_has_an_alarm_of_its_own(life: Lifecycle) -> None:
    """Only if it is revoked for good in the end is it lost."""
    serial = issue(life, "api.payments")
    holding.hold(life.installation, rig.OPERATOR, serial)
    issued.catch_up(life)
    assert told(life) == {}
    revoke(life, serial)
    assert len(told(life)) == 1


def test_what_we_revoke_ourselves_is_told_elsewhere(life: Lifecycle) -> None:
    """A replacement and a rotation tell of themselves; and what has ended is missed by nobody."""
    revoke(life, issue(life, "api.payments"), reason=RevocationReason.UNSPECIFIED, by=OURS)
    assert told(life) == {}
    serial = issue(life, "short.payments", lifetime=timedelta(hours=1))
    revocation.revoke(life.installation, rig.OPERATOR, serial, COMPROMISE)
    with clock.pinned(clock.now() + timedelta(hours=2)):
        issued.catch_up(life)
    assert told(life) == {}


def test_where_nobody_answers_for_it_the_fallback_owner_does(life: Lifecycle) -> None:
    """Somebody hears of it."""
    owners.add(life, rig.ADMIN, OwnerPlan("everybody", "pki@example.org", is_fallback=True))
    revoke(life, issue(life, "api.nobodys"))
    assert {one.recipient for one in write_letters(life, clock.now()).taken} == {"pki@example.org"}
