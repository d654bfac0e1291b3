"""Hold and release: refused while it lasts, good again afterwards, on every list and in every answer, under races."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ReasonFlags, ocsp
from sqlalchemy import Connection, delete, insert, update
from sqlmodel import col

from ca import certificates, clock, crl, delta, enrolment, hierarchy, holding, revocation
from ca.access import Caller, Role
from ca.authority import State
from ca.certificates import Query
from ca.crl import CrlPolicy, CrlPublisher
from ca.enrolment import Wish
from ca.errors import Conflict, Forbidden, NotFound, Refusal
from ca.installation import Installation
from ca.issuance import Issued
from ca.ledger.reconcile import audit
from ca.models import Certificate, Released, Revocation
from ca.store import Store, open_store
from ca.x509.revocation_list import HOLD, RevocationReason
from tests import rig
from tests.ca.asking import ask, make_responder
from tests.ca.world import entries, listed, load_crl, outside, publish, replica, rows
from tests.conftest import fresh_database

SUPERSEDED = RevocationReason.SUPERSEDED
REVOKED, GOOD = ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.GOOD


def state(installation: Installation, serial: str) -> str:
    return certificates.find(installation.store, serial).state


def hold(installation: Installation, issued: Issued) -> None:
    holding.hold(installation, rig.OPERATOR, issued.serial)


def release(installation: Installation, issued: Issued) -> None:
    holding.release(installation, rig.OPERATOR, issued.serial)


def lists(installation: Installation, serial: str) -> dict[str, ReasonFlags | None]:
    """What the shard, the complete list and the delta say of a certificate, those that say something."""
    publish(installation)
    delta.publish_due(installation, CrlPolicy())
    shard = certificates.find(installation.store, serial).shard
    assert shard is not None
    newest = delta.load(installation, "issuing-1")
    assert newest is not None
    found = {
        "shard": load_crl(installation, shard=shard),
        "complete": load_crl(installation),
        "delta": x509.load_der_x509_crl(newest.crl),
    }
    said = {name: one.get_revoked_certificate_by_serial_number(int(serial, 16)) for name, one in found.items()}
    return {name: reason_of(entry) for name, entry in said.items() if entry is not None}


def reason_of(entry: x509.RevokedCertificate) -> ReasonFlags:
    return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason


def is_sound(installation: Installation) -> None:
    installation.ledger.sequence()
    found = audit(installation.store, installation.ledger.verifier)
    assert found.findings == []


def refusal(do: Callable[[], Any]) -> tuple[type[Refusal], str]:
    with pytest.raises(Refusal) as caught:
        do()
    return type(caught.value), caught.value.code


def test_held_and_released(any_store: Store) -> None:
    """On all lists and in OCSP with its reason; released it is good, and a delta takes it out of older lists."""
    installation = rig.make_installation(any_store)
    issued, other, responder = rig.issue(installation), rig.issue(installation), make_responder(installation)
    assert lists(installation, issued.serial) == {}
    assert ask(installation, responder, issued).certificate_status is GOOD
    at = clock.now()
    with clock.pinned(at):
        hold(installation, issued)
        on_hold = ReasonFlags.certificate_hold
        assert lists(installation, issued.serial) == dict.fromkeys(("shard", "complete", "delta"), on_hold)
        answer = ask(installation, responder, issued)
    assert (answer.certificate_status, answer.revocation_reason) == (REVOKED, on_hold)
    assert answer.revocation_time_utc == at
    stored = certificates.find(any_store, issued.serial)
    assert (stored.state, stored.revocation_reason) == ("held", HOLD)
    held, _ = certificates.page(any_store, Query(state="held"))
    assert [one.serial for one in held] == [issued.serial]
    assert certificates.page(any_store, Query(state="revoked"))[0] == []
    assert state(installation, other.serial) == "valid"
    is_sound(installation)
    release(installation, issued)
    assert lists(installation, issued.serial) == {"delta": ReasonFlags.remove_from_crl}
    assert ask(installation, responder, issued).certificate_status is GOOD
    assert state(installation, issued.serial) == "valid"
    is_sound(installation)
    said = [one["action"] for one in entries(any_store) if one["subject"] == issued.serial]
    assert said == ["certificate-issued", "certificate-held", "certificate-released"]
    with clock.pinned(clock.now() + timedelta(days=1)):  # a new base, which does not name it: no delta needs to
        assert lists(installation, issued.serial) == {}


def test_revoked_for_good_it_keeps_the_date_of_its_hold(installation: Installation) -> None:
    """X.509 says so, and what was signed since was not to be trusted. It says once what it is."""
    issued = rig.issue(installation)
    at = clock.now()
    with clock.pinned(at):
        hold(installation, issued)
        lists(installation, issued.serial)
    with clock.pinned(at + timedelta(hours=1)):
        revocation.revoke(installation, rig.ADMIN, issued.serial, SUPERSEDED)
        assert set(lists(installation, issued.serial).values()) == {ReasonFlags.superseded}
        (entry,) = load_crl(installation)
        assert entry.revocation_date_utc == at
        refused = refusal(lambda: holding.release(installation, rig.ADMIN, issued.serial))
        assert refused == (Conflict, "not-held")
    (said,) = entries(installation.store, "certificate-revoked")
    assert (said["was"], said["revoked_at"], said["reason"]) == ("held", int(at.timestamp()), "superseded")
    (row,) = rows(installation.store, Revocation)
    assert (row.revoked_by, row.reason, row.change) == (rig.ADMIN.identity, 4, said["change"])
    is_sound(installation)


def test_again_and_again(installation: Installation) -> None:
    """Held, released, held, released, revoked: a delta names it once, with what it is now."""
    issued = rig.issue(installation)
    for _ in range(2):
        hold(installation, issued)
        assert set(lists(installation, issued.serial).values()) == {ReasonFlags.certificate_hold}
        release(installation, issued)
        assert lists(installation, issued.serial) == {"delta": ReasonFlags.remove_from_crl}
        is_sound(installation)
    revocation.revoke(installation, rig.OPERATOR, issued.serial, SUPERSEDED)
    assert set(lists(installation, issued.serial).values()) == {ReasonFlags.superseded}
    assert rows(installation.store, Released) == []
    newest = delta.load(installation, "issuing-1")
    assert newest is not None
    assert len(list(x509.load_der_x509_crl(newest.crl))) == 1
    is_sound(installation)


def test_what_cannot_be_held_or_released(installation: Installation) -> None:
    """CAs, strangers, what is over; and releases of anything but a hold. Nothing changes."""
    issued, revoked, held, late = (rig.issue(installation) for _ in range(4))
    revocation.revoke(installation, rig.OPERATOR, revoked.serial, SUPERSEDED)
    hold(installation, held)
    hold(installation, late)
    before = entries(installation.store)

    def holds(serial: str, caller: Caller = rig.ADMIN) -> tuple[type[Refusal], str]:
        return refusal(lambda: holding.hold(installation, caller, serial))

    def releases(serial: str, caller: Caller = rig.ADMIN) -> tuple[type[Refusal], str]:
        return refusal(lambda: holding.release(installation, caller, serial))

    assert holds("abc123") == releases("abc123") == (NotFound, "unknown-certificate")
    assert holds(held.serial) == (Conflict, "already-held")
    assert holds(revoked.serial) == (Conflict, "not-holdable")
    assert releases(revoked.serial) == releases(issued.serial) == (Conflict, "not-held")
    assert holds(installation.authorities.get("issuing").serial) == (Forbidden, "authority-key")
    assert holds(issued.serial, rig.AUDITOR) == releases(held.serial, rig.AUDITOR) == (Forbidden, "forbidden")
    assert holds(issued.serial, rig.REQUESTER)[1] == releases(held.serial, rig.REQUESTER)[1] == "not-yours"
    with clock.pinned(clock.from_timestamp(late.not_after) + timedelta(seconds=1)):
        assert releases(late.serial) == (Conflict, "expired")
        assert holds(issued.serial) == (Conflict, "not-holdable")
    assert entries(installation.store) == before
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.RETIRED)
    assert releases(held.serial) == (Conflict, "authority-retired")


def test_whose_hold_it_is(installation: Installation) -> None:
    """Whoever asked for it may hold it and take that back; not the hold of an operator."""
    own = rig.issue(installation, caller=rig.REQUESTER)
    holding.hold(installation, rig.REQUESTER, own.serial)
    holding.release(installation, rig.REQUESTER, own.serial)
    hold(installation, own)
    assert refusal(lambda: holding.release(installation, rig.REQUESTER, own.serial)) == (Forbidden, "not-yours")
    assert state(installation, own.serial) == "held"


def test_it_is_not_renewed(installation: Installation) -> None:
    """Neither by its holder nor by an operator in its place; released, it is."""
    issued = rig.issue(installation)
    holder = Caller(f"certificate:{issued.serial}", Role.HOLDER, certificate=issued.serial)
    request = rig.make_request(rig.WORKLOAD, key=rig.pooled_key(place=1))

    def renew(caller: Caller) -> Any:
        stored = certificates.find(installation.store, issued.serial)
        return enrolment.authorise_renewal(installation, caller, stored, request, Wish())

    hold(installation, issued)
    assert refusal(lambda: renew(holder)) == refusal(lambda: renew(rig.OPERATOR)) == (Conflict, "not-renewable")
    release(installation, issued)
    assert renew(holder).renews == issued.serial


def test_a_filter_and_a_key_revoke_what_is_held(installation: Installation) -> None:
    """A hold is no shelter."""
    first, second = rig.issue(installation), rig.issue(installation, key=rig.pooled_key(place=1))
    hold(installation, first)
    hold(installation, second)
    done = revocation.revoke_matching(installation, rig.OPERATOR, Query(profile="mesh"), SUPERSEDED)
    assert set(done.serials) == {first.serial, second.serial}
    third = rig.issue(installation, key=rig.pooled_key(place=2))
    hold(installation, third)
    compromised = revocation.revoke(installation, rig.OPERATOR, third.serial, RevocationReason.KEY_COMPROMISE)
    assert compromised.serials == (third.serial,)
    assert rows(installation.store, Revocation, reason=int(HOLD)) == []
    is_sound(installation)


def _lift(connection: Connection, serial: str) -> None:
    connection.execute(delete(Revocation).where(col(Revocation.serial) == serial))


def _set(table: type[Any], **values: Any) -> Callable[[Connection, str], None]:
    def change(connection: Connection, serial: str) -> None:
        connection.execute(update(table).where(col(table.serial) == serial).values(**values))

    return change


def _again(connection: Connection, serial: str) -> None:
    row = {"serial": serial, "authority_id": 2, "shard": 0, "reason": 6, "revoked_at": 1, "not_after": 1 << 40}
    connection.execute(insert(Revocation), {**row, "revoked_by": "nobody", "change": 1})


TAMPERED = {
    "held: lifted": (0, _lift, "the hold of {} was taken back"),
    "held: for good": (0, _set(Revocation, reason=4), "the hold of {} was changed (reason)"),
    "held: since": (0, _set(Revocation, revoked_at=5), "the hold of {} was changed (revoked_at)"),
    "released: when": (1, _set(Released, released_at=5), "the release of {} was changed (released_at)"),
    "released: by": (1, _set(Released, released_by="me"), "the release of {} was changed (released_by)"),
    "released: order": (1, _set(Released, change=0), "the release of {} was changed (change)"),
    "released: held": (1, _again, "{} is revoked or held, the ledger says that it was released"),
    "revoked: held": (2, _set(Revocation, reason=6), "the revocation of {} was changed (reason)"),
}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One that is held, one that was released, one that was held and then revoked."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('held')}/certwright.db")
    installation = rig.make_installation(store)
    issued = [rig.issue(installation) for _ in range(3)]
    for one in issued:
        hold(installation, one)
    release(installation, issued[1])
    revocation.revoke(installation, rig.OPERATOR, issued[2].serial, SUPERSEDED)
    is_sound(installation)
    yield installation, [one.serial for one in issued]
    store.close()


@pytest.mark.parametrize("what", TAMPERED)
def test_the_audit_finds_what_was_changed(past: Any, what: str) -> None:
    """A row of a hold or a release that does not say what the ledger says."""
    installation, serials = past
    place, change, message = TAMPERED[what]
    tables = (Revocation, Released)
    before = {table: [dict(row._mapping) for row in rows(installation.store, table)] for table in tables}
    with outside(installation.store) as connection:
        change(connection, serials[place])
    try:
        found = [each.message for each in audit(installation.store, installation.ledger.verifier).findings]
        assert any(message.format(serials[place]) in each for each in found), found
    finally:
        with outside(installation.store) as connection:
            for table in tables:
                connection.execute(delete(table))
                if before[table]:
                    connection.execute(insert(table), before[table])
    assert audit(installation.store, installation.ledger.verifier).is_sound


def test_replicas_race(postgresql: str) -> None:
    """Holds, releases, revocations and builds of lists on two replicas: what stands in the end is what is listed."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    try:
        installation = rig.make_installation(stores[0])
        both = [installation, replica(installation, stores[1])]
        issued = [rig.issue(installation) for _ in range(6)]
        start = threading.Barrier(4)

        def work(place: int) -> int:
            one, chance, done = both[place % 2], Random(place), 0
            publisher = CrlPublisher(one, CrlPolicy())
            start.wait()
            for _ in range(30):
                serial = chance.choice(issued).serial
                try:
                    if place == 3:
                        publisher._not_before.clear()
                        done += len([*publisher.publish_due(), *delta.publish_due(one, CrlPolicy())])
                    elif place == 2 and chance.random() < 0.1:
                        revocation.revoke(one, rig.OPERATOR, serial, SUPERSEDED)
                    elif state(one, serial) == "held":
                        holding.release(one, rig.OPERATOR, serial)
                    else:
                        holding.hold(one, rig.OPERATOR, serial)
                    done += 1
                except Conflict:  # another was faster
                    continue
            return done

        with ThreadPoolExecutor(4) as threads:
            assert all(list(threads.map(work, range(4))))
        publish(installation)
        delta.publish_due(installation, CrlPolicy())
        standing = {row.serial for row in rows(stores[0], Revocation)}
        assert listed(installation) == standing
        newest = delta.load(installation, "issuing-1")
        assert newest is not None
        found = {f"{one.serial_number:x}": reason_of(one) for one in x509.load_der_x509_crl(newest.crl)}
        removed = {serial for serial, reason in found.items() if reason is ReasonFlags.remove_from_crl}
        assert removed == {row.serial for row in rows(stores[0], Released)}
        assert found.keys() - removed == standing
        said = [one for one in entries(stores[0]) if "change" in one]
        assert [one["change"] for one in said] == sorted({one["change"] for one in said}), "one order, told once each"
        assert len(said) > 20
        is_sound(installation)
    finally:
        for store in stores:
            store.close()


def test_what_was_released_is_forgotten_in_time(installation: Installation) -> None:
    """With its certificate, when that has been expired for long."""
    from ca.retention import prune_certificates

    issued = rig.issue(installation)
    hold(installation, issued)
    release(installation, issued)
    with clock.pinned(clock.from_timestamp(issued.not_after) + timedelta(days=1)):
        assert prune_certificates(installation, timedelta(hours=1)) == 1
        assert rows(installation.store, Released) == rows(installation.store, Certificate, serial=issued.serial) == []
        is_sound(installation)
    assert crl.count_entries(installation) == 0
