"""Mass replacement: all that is selected gets a new key and a new certificate in its turn, and is accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col

from ca import clock, enrolment, issuance, revocation
from ca.access import Caller, Role
from ca.certificates import find
from ca.enrolment import Wish
from ca.errors import Conflict, Forbidden, PolicyRefusal
from ca.keys.algorithms import KeyType
from ca.models import LedgerEntry
from ca.x509.revocation_list import RevocationReason
from renewers import work
from renewers.inventory import owners
from renewers.inventory.owners import OwnerPlan
from renewers.models import Endpoint, Lineage, Renewal, ReplacementItem, Tracked
from renewers.replacing import preview, replacement, report, underway
from renewers.replacing.plans import ReplacementPlan
from renewers.replacing.selection import Selection
from tests import rig
from tests.renewers.replacing import WHY, Replacing, Template, template

LINEAGES = 30


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Lineages that have their certificates for two hours."""
    return template(tmp_path_factory.mktemp("template"), LINEAGES)


@pytest.fixture
def world(ready: Template, tmp_path: Path) -> Iterator[Replacing]:
    """A world of one's own."""
    with ready.world(tmp_path) as made:
        yield made


def test_everything_is_replaced_verified_and_accounted_for(world: Replacing) -> None:
    """Each lineage has one new certificate, of the next CA, with a new key, where it is used."""
    before = {
        row.id: (row.lineage_id, row.spki_sha256) for row in world.rows(Tracked, col(Tracked.kind) == "certificate")
    }
    world.follow()
    made = world.begin(per_minute=600)
    account = world.until_done(made)
    assert (account.total, account.verified, account.left, account.unaccounted) == (LINEAGES, LINEAGES, 0, 0)
    for lineage_id, spki in before.values():
        now = world.current(lineage_id)
        assert now.issuer == "CN=Test Issuing CA 2"
        assert now.spki_sha256 != spki
    assert [one["counts"]["verified"] for one in world.ledger("replacement-done")] == [LINEAGES]
    assert world.revoked() == {}
    world.step(60, times=3)
    assert len(world.renewals()) == 2 * LINEAGES, "none is renewed twice"
    assert {row.reason for row in world.renewals()} == {"first", "replacement"}


def test_a_key_that_may_serve_for_years_and_a_certificate_of_an_hour_are_replaced_all_the_same(
    world: Replacing,
) -> None:
    """Neither a lineage's `key_age` nor the day for which a new certificate is left alone stands in the way."""
    world.alter(Lineage, key_age=10 * 365 * 86400)
    keys = {row.spki_sha256 for row in world.rows(Tracked)}
    world.follow()
    world.until_done(world.begin(per_minute=6000))
    assert not keys & {world.current(row.id).spki_sha256 for row in world.rows(Lineage)}


def test_a_renewal_under_way_with_the_old_key_is_begun_anew(world: Replacing) -> None:
    """Its key is from before; another one, that was begun after its turn had come, is continued."""
    made = world.begin(Selection(lineages=("drill-0000000",)), per_minute=6000)
    lineage = world.rows(Lineage, col(Lineage.name) == "drill-0000000")[0]
    first = next(row for row in world.renewals() if row.lineage_id == lineage.id)
    open_one = {name: getattr(first, name) for name in ("csr", "sealed_key", "key_made_at", "started_at", "left_out")}
    row = {"lineage_id": lineage.id, "state": "open", "reason": "due", "issuer": "", "replaces_id": lineage.current_id}
    world.store.write(lambda tx: tx.add(Renewal, {**open_one, **row}))
    world.until_done(made)
    states = [row.state for row in world.renewals() if row.lineage_id == lineage.id]
    assert states == ["done", "abandoned", "done"]


def test_no_more_begin_in_a_minute_than_the_plan_says(world: Replacing) -> None:
    """Nor does it make up for an hour in which nothing ran, but for a few seconds of it."""
    world.follow()
    made = world.begin(per_minute=12)
    begun = []
    for _ in range(60):
        world.step(1)
        begun.append(LINEAGES - len(world.items(made, "waiting")))
    assert 11 <= begun[-1] <= 14
    assert max(after - before for before, after in pairwise(begun)) == 1
    world.step(3600)
    world.step(1)
    assert LINEAGES - len(world.items(made, "waiting")) <= begun[-1] + 2
    assert world.until_done(made, seconds=30).verified == LINEAGES


def test_those_with_the_most_at_stake_go_first(world: Replacing) -> None:
    """Here: the one that was seen at a place, whatever its number."""
    last = world.rows(Tracked, col(Tracked.kind) == "certificate")[-1]
    place = {"place": "tls:www.example.internal:443", "tracked_id": last.id, "found_by": "scan", "findings": "[]"}
    world.store.write(lambda tx: tx.add(Endpoint, {**place, "last_asked": 0}))
    world.follow()
    made = world.begin(per_minute=60)
    world.step(2)
    assert [item.tracked_id for item in world.items(made) if item.state != "waiting"] == [last.id]


def test_an_old_one_is_revoked_only_after_its_replacement_was_seen(world: Replacing) -> None:
    """A place that serves the old one keeps it from that; once it serves another, the old one goes."""
    slow = world.rows(Tracked, col(Tracked.kind) == "certificate")[0]
    place = {"place": "tls:slow.example.internal:443", "tracked_id": slow.id, "found_by": "scan", "findings": "[]"}
    world.store.write(lambda tx: tx.add(Endpoint, {**place, "last_asked": 0}))
    world.follow()
    made = world.begin(per_minute=6000, revokes=True, revocation_reason=RevocationReason.CESSATION_OF_OPERATION)
    world.step(2, times=10)
    account = world.progress(made)
    assert (account.revoked, account.replaced, account.left) == (LINEAGES - 1, 1, 1)
    assert slow.serial not in world.revoked()
    world.alter(Endpoint, tracked_id=world.current(slow.lineage_id).id)
    account = world.until_done(made)
    assert (account.revoked, account.unaccounted) == (LINEAGES, 0)
    assert set(world.revoked().values()) == {"system:replacing"}
    assert {one["reason"] for one in world.ledger("certificate-revoked")} == {"cessation-of-operation"}


def test_at_the_deadline_what_is_left_is_revoked_whatever_became_of_it(world: Replacing) -> None:
    """One that is served still, one that no renewal helps; never what another CA has issued."""
    served, stuck, foreign = world.rows(Tracked, col(Tracked.kind) == "certificate")[:3]
    place = {"place": "tls:slow.example.internal:443", "tracked_id": served.id, "found_by": "scan", "findings": "[]"}
    world.store.write(lambda tx: tx.add(Endpoint, {**place, "last_asked": 0}))
    world.alter(Lineage, col(Lineage.id) == stuck.lineage_id, profile="no-such-profile")
    world.alter(Tracked, col(Tracked.id) == foreign.id, identity="sha256:" + "ab" * 32)
    world.follow()
    made = world.begin(per_minute=6000, revokes=True, deadline=3600)
    world.step(2, times=10)
    assert world.progress(made).left == 2
    assert [item.state for item in world.items(made) if item.tracked_id == stuck.id] == ["renewing"]
    assert "no-such-profile" in next(item.note for item in world.items(made) if item.tracked_id == stuck.id)
    world.step(3600)
    account = world.until_done(made)
    assert (account.revoked, account.verified, account.left) == (LINEAGES - 1, 1, 0)
    assert {served.serial, stuck.serial} <= set(world.revoked())
    assert foreign.serial not in world.revoked()
    notes = {item.tracked_id: item.note for item in world.items(made)}
    assert notes[served.id] == "revoked at the deadline, though its replacement was not seen everywhere"
    assert notes[stuck.id] == "revoked at the deadline, though it was not replaced"
    assert notes[foreign.id] == underway.FOREIGN


def test_holders_and_people_are_told_once_each_and_waited_for(world: Replacing) -> None:
    """One alarm an owner, not one a certificate; our own machinery renews itself and is only waited for."""
    with clock.pinned(world.at):
        owners.add(world.lifecycle, rig.ADMIN, OwnerPlan("payments", "payments@example.org"))
        owners.claim(world.lifecycle, rig.ADMIN, "payments", "name", "spiffe://example.internal/ns/payments")
        names = [f"spiffe://{rig.DOMAIN}/ns/payments/sa/{place}" for place in range(3)]
        held = [rig.issue(world.lifecycle.installation, name, lifetime=timedelta(days=2)) for name in names]
        own = Caller("system:listener", Role.OPERATOR)
        rig.issue(world.lifecycle.installation, f"spiffe://{rig.DOMAIN}/ns/own/sa/listener", caller=own)
    world.drain()
    world.follow()
    made = world.begin(per_minute=6000)
    world.step(2, times=8)
    assert world.progress(made).left == 4
    told = {key: text for key, text in world.alarms().items() if key[0] == "replacement-waits"}
    assert list(told) == [("replacement-waits", f"replacement:{made} payments")]
    assert next(iter(told.values())).startswith("3 certificates of payments")
    with clock.pinned(world.at):
        for name, before in zip(names[:2], held[:2], strict=True):
            stored = find(world.store, before.serial)
            request = rig.make_request(name, key=KeyType.P256.generate())
            decision = enrolment.authorise_renewal(world.lifecycle.installation, rig.OPERATOR, stored, request, Wish())
            issuance.issue(decision, world.lifecycle.installation)
    world.step(70, times=3)
    told = {key: text for key, text in world.alarms().items() if key[0] == "replacement-waits"}
    assert next(iter(told.values())).startswith("1 certificates of payments")
    account = world.until_done(made, seconds=86400, most=5)
    assert (account.verified, account.ended, account.unaccounted) == (LINEAGES + 2, 2, 0)
    assert not [key for key in world.alarms() if key[0] == "replacement-waits"]


def test_what_somebody_else_revokes_meanwhile_is_accounted_for(world: Replacing) -> None:
    """It has ended; who revoked it stands beside it."""
    world.follow()
    gone = world.rows(Tracked, col(Tracked.kind) == "certificate")[4]
    made = world.begin(per_minute=60)
    world.step(1)
    with clock.pinned(world.at):
        revocation.revoke(world.lifecycle.installation, rig.ADMIN, gone.serial, RevocationReason.SUPERSEDED)
    account = world.until_done(made, seconds=10)
    assert (account.ended, account.verified, account.total) == (1, LINEAGES - 1, LINEAGES)
    assert next(item.note for item in world.items(made) if item.tracked_id == gone.id) == "revoked by local:test"


def test_it_is_stopped_and_then_forces_nothing_any_more(world: Replacing) -> None:
    """The account so far is kept, and those whose turn had not come stay as they are."""
    world.follow()
    made = world.begin(per_minute=60)
    world.step(2, times=3)
    with clock.pinned(world.at), pytest.raises(PolicyRefusal):
        replacement.stop(world.lifecycle, rig.ADMIN, made, "no")
    with clock.pinned(world.at):
        account = replacement.stop(world.lifecycle, rig.ADMIN, made, "it was a false alarm")
    before = len(world.renewals())
    assert 0 < account.left < LINEAGES
    left = world.items(made, "waiting")[0]
    world.alter(ReplacementItem, col(ReplacementItem.tracked_id) == left.tracked_id, state="renewing")
    world.store.write(lambda tx: work.hurry(tx, "renew", str(left.lineage_id)))
    world.step(60, times=3)
    assert len(world.renewals()) == before
    assert world.row(made).state == "stopped"
    with pytest.raises(Conflict):
        replacement.stop(world.lifecycle, rig.ADMIN, made, "it was a false alarm")


def test_a_ca_that_stops_meanwhile_takes_what_it_signed_last_with_it(world: Replacing) -> None:
    """What was replaced by a certificate of the very CA that is then given up is replaced once more."""
    made = world.begin(per_minute=60)
    world.step(1, times=4)
    world.follow()
    account = world.until_done(made, seconds=5)
    assert account.left == 0
    assert account.total > LINEAGES
    for lineage in world.rows(Lineage, col(Lineage.mode) == "renewed"):
        assert world.current(lineage.id).issuer == "CN=Test Issuing CA 2"


def test_a_successor_that_is_no_better_joins_the_queue(world: Replacing) -> None:
    """A renewal that ended under the old CA just after it was listed: its certificate is replaced as well."""
    world.follow()
    made = world.begin(per_minute=60)
    world.step(1)
    item = world.items(made, "waiting")[-1]
    before = world.rows(Tracked, col(Tracked.id) == item.tracked_id)[0]
    late = {**before._mapping, "identity": "sha256:" + "cd" * 32, "serial": "cd" * 10, "spki_sha256": b"k" * 32}
    late = {name: value for name, value in late.items() if name != "id"}
    world.store.write(lambda tx: tx.add(Tracked, late))
    newest = world.rows(Tracked)[-1].id
    world.alter(Lineage, col(Lineage.id) == item.lineage_id, current_id=newest)
    world.alter(ReplacementItem, col(ReplacementItem.tracked_id) == item.tracked_id, state="renewing")
    account = world.until_done(made, seconds=5)
    assert (account.total, account.left) == (LINEAGES + 1, 0)
    assert world.current(item.lineage_id).issuer == "CN=Test Issuing CA 2"
    states = {one.tracked_id: one.state for one in world.items(made)}
    assert states[item.tracked_id] == states[newest] == "verified"


def test_a_type_of_keys_is_replaced_once_lineages_ask_for_another(world: Replacing) -> None:
    """Until then it would come back, so it is not renewed at all, and says why."""
    made = world.begin(Selection(key_type="P-256"), per_minute=6000)
    world.step(2, times=3)
    assert {(item.state, item.note) for item in world.items(made)} == {
        ("waiting", "its lineage asks for P-256 keys: change that")
    }
    assert len(world.renewals()) == LINEAGES
    world.alter(Lineage, key_type="P-384")
    account = world.until_done(made, seconds=15)
    assert (account.total, account.verified) == (LINEAGES, LINEAGES)
    assert {world.current(row.id).key_type for row in world.rows(Lineage)} == {"P-384"}


def test_leaked_keys_are_blocked_when_their_turn_comes(world: Replacing) -> None:
    """So that nobody gets a certificate for one again; and only the certificates with these keys are touched."""
    leaked = [row.spki_sha256 for row in world.rows(Tracked, col(Tracked.kind) == "certificate")[:2]]
    chosen = Selection(spki_sha256=tuple(key.hex() for key in leaked))
    made = world.begin(chosen, per_minute=6000, revokes=True, revocation_reason=RevocationReason.KEY_COMPROMISE)
    account = world.until_done(made)
    assert (account.total, account.revoked) == (2, 2)
    assert all(revocation.is_blocked(world.lifecycle.installation, key) for key in leaked)


@pytest.mark.parametrize("caller", [rig.REQUESTER, rig.AUDITOR, rig.CONSUMER])
def test_only_who_manages_the_inventory_begins_or_stops_one(world: Replacing, caller: Caller) -> None:
    """And who revokes with it has to be allowed that as well."""
    plan = ReplacementPlan(Selection(profile="server"), WHY)
    with pytest.raises(Forbidden):
        replacement.begin(world.lifecycle, caller, plan)
    with pytest.raises(Forbidden):
        replacement.stop(world.lifecycle, caller, 1, WHY)


@pytest.mark.parametrize("wrong", [{"reason": "short"}, {"per_minute": 0}, {"deadline": 60}])
def test_a_plan_that_cannot_be_is_refused(world: Replacing, wrong: dict[str, Any]) -> None:
    """With what is wrong with it."""
    with pytest.raises(PolicyRefusal):
        world.begin(**wrong)


def test_the_report_has_the_account_and_what_proves_it(world: Replacing) -> None:
    """In between it names what is left; at the end nothing is."""
    world.follow()
    made = world.begin(per_minute=60, revokes=True)
    world.step(2, times=4)
    found = report.report(world.lifecycle, rig.AUDITOR, made)
    assert len(found.left) == found.progress.left > 0
    assert f"left: {found.left[0].shown_as}" in report.render(found)
    world.until_done(made, seconds=10)
    found = report.report(world.lifecycle, rig.AUDITOR, made)
    assert [entry.action for entry in found.proof] == ["replacement-begun", "replacement-done"]
    assert found.tree_size is not None
    assert found.tree_size > max(entry.position or 0 for entry in found.proof)
    times = [found.times.first, found.times.median, found.times.p99, found.times.last]
    assert times == sorted(time for time in times if time is not None)
    assert sum(owner.total for owner in found.owners) == LINEAGES
    text = report.render(found)
    assert f"{LINEAGES} of {LINEAGES} accounted for" in text
    assert found.proof[1].sha256 in text


def test_a_preview_counts_and_changes_nothing(world: Replacing) -> None:
    """How many, how long, in which order."""
    before = len(world.rows(LedgerEntry))
    found = preview.plan(world.lifecycle, rig.AUDITOR, ReplacementPlan(Selection(authorities=("issuing",)), WHY, 10))
    assert (found.total, found.ours, found.others, found.seconds) == (LINEAGES, LINEAGES, 0, 180)
    assert len(found.first) == 20
    assert len(world.rows(LedgerEntry)) == before
