"""Cross-certificates: made with the root that they are for, served while somebody may trust the old root alone."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from cryptography import x509
from sqlalchemy import delete, insert, update

from ca import certificates, clock, crossing, enrolment, hierarchy, issuance, revocation
from ca.access import Caller, Role
from ca.authority import State
from ca.certificates import Query
from ca.enrolment import Wish
from ca.errors import BadRequest, Conflict, Forbidden, NotFound, Unavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.issuance import Issued
from ca.keys.algorithms import KeyType, spki
from ca.keys.memory import MemoryKeyStore
from ca.ledger.reconcile import audit
from ca.models import Authority, BlockedKey, Certificate, CrossCertificate, Revocation
from ca.store import Store
from ca.x509.constraints import limits_of, parse_limits
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import count, entries, listed, outside, publish, replica, rows

SUPERSEDED = RevocationReason.SUPERSEDED
LATER = timedelta(seconds=crossing.ORPHANED_AFTER + 1)


def plan(line: str, name: str, **choices: object) -> Plan:
    """A CA that somebody wants."""
    return Plan(line, rig.common_name(name), **{"key_type": KeyType.P256, **choices})  # type: ignore[arg-type]


def rotate(installation: Installation) -> tuple[Authority, Authority]:
    """A second root, certified by the first, and the next issuing CA beneath it; both prepared."""
    root = hierarchy.create_root(installation, rig.ADMIN, plan("root", "Root 2"), cross_by="root-1")
    issuing = plan("issuing", "Issuing 2", crl_shards=2)
    return root, hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", issuing, parent="root-2")


def move(installation: Installation, name: str, *states: State) -> None:
    """Bring an authority from state to state."""
    for state in states:
        hierarchy.transition(installation, rig.ADMIN, name, state)


def the_cross(installation: Installation) -> CrossCertificate:
    """The only one."""
    (cross,) = crossing.crosses(installation.store)
    return cross


def labels(installation: Installation) -> set[str]:
    """The keys in the memory key store."""
    assert isinstance(installation.keys, MemoryKeyStore)
    return set(installation.keys._keys)


def test_a_cross_certificate_says_what_it_should(any_store: Store) -> None:
    """The new root's subject and key, the old root's name and signature; one CA beneath it, for TLS and OCSP alone."""
    installation = rig.make_installation(any_store)
    root, _ = rotate(installation)
    old = installation.authorities.get("root-1")
    row = the_cross(installation)
    cross, self_signed, above = (
        x509.load_der_x509_certificate(each) for each in (row.certificate, root.certificate, old.certificate)
    )
    cross.verify_directly_issued_by(above)
    assert cross.subject == self_signed.subject != above.subject
    assert cross.public_key() == self_signed.public_key()
    both = [one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value for one in (cross, self_signed)]
    assert both[0] == both[1]
    constraints = cross.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value, constraints.critical) == (x509.BasicConstraints(ca=True, path_length=1), True)
    sub_ca = x509.load_der_x509_certificate(installation.authorities.get("issuing-2").certificate)
    usages = [one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value for one in (cross, sub_ca)]
    assert usages[0] == usages[1]
    assert cross.not_valid_after_utc <= above.not_valid_after_utc
    assert (row.authority_id, row.issuer_id) == (root.id, old.id)
    assert (row.serial, row.not_after) == (f"{cross.serial_number:x}", int(cross.not_valid_after_utc.timestamp()))
    (entry,) = entries(any_store, "authority-cross-certified")
    assert (entry["subject"], entry["issuer"], entry["serial"]) == ("root-2", "root-1", row.serial)
    assert row.serial in {stored.serial for stored in rows(any_store, Certificate, profile="cross-ca")}
    assert root.state == "prepared"


def test_it_lives_no_longer_than_what_it_is_for(installation: Installation) -> None:
    """Neither than the new root nor than the old one."""
    short = plan("root", "Root 2", lifetime=timedelta(days=30))
    row = hierarchy.create_root(installation, rig.ADMIN, short, cross_by="root-1")
    assert row.not_after - 60 <= the_cross(installation).not_after <= row.not_after + 60
    with clock.pinned(clock.from_timestamp(installation.authorities.get("root-1").not_after) - timedelta(days=10)):
        hierarchy.create_root(installation, rig.ADMIN, plan("root", "Root 3"), cross_by="root-1")
    assert crossing.crosses(installation.store)[1].not_after == installation.authorities.get("root-1").not_after


SERVED = {State.PREPARED: False, State.ACTIVE: True, State.TAINTED: True, State.DISTRUSTED: False, State.RETIRED: False}


def test_chains_end_with_it_while_the_old_root_is_trusted(installation: Installation) -> None:
    """As states change, chains do at once, those of cached issuers and of repeated answers, too; and it comes back."""
    _, issuing = rotate(installation)
    cross = the_cross(installation).certificate
    with_it, without = (issuing.certificate, cross), (issuing.certificate,)
    assert chains(installation) == (with_it, with_it), "root-1 is active"
    move(installation, "issuing-2", State.ACTIVE)
    assert rig.issue(installation, idempotency_key="key").chain == with_it
    move(installation, "root-2", State.ACTIVE)
    assert installation.authorities.get("root-1").state == "tainted"
    assert chains(installation) == (with_it, with_it)
    assert rig.issue(installation).chain == with_it
    move(installation, "root-1", State.DISTRUSTED)
    assert chains(installation) == (without, without)
    assert rig.issue(installation).chain == without
    assert rig.issue(installation, idempotency_key="key").is_repeat
    assert rig.issue(installation, idempotency_key="key").chain == without
    move(installation, "root-1", State.TAINTED)
    assert chains(installation) == (with_it, with_it)
    assert rig.issue(installation).chain == with_it
    move(installation, "root-1", State.DISTRUSTED, State.RETIRED)
    assert chains(installation) == (without, without)
    assert installation.authorities.chain("issuing-1") == (installation.authorities.get("issuing-1").certificate,)


def chains(installation: Installation) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """That of the authority, and that of the issuer which may be cached."""
    return installation.authorities.chain("issuing-2"), installation.authorities.issuer("issuing-2").chain


def test_a_root_that_signs_leaves_itself_is_served_with_it(installation: Installation) -> None:
    """There is nothing between, so the cross-certificate is the whole chain."""
    rotate(installation)
    assert installation.authorities.chain("root-2") == (the_cross(installation).certificate,)
    assert installation.authorities.chain("root-1") == ()


def test_an_expired_or_revoked_one_is_not_served(installation: Installation) -> None:
    """Whoever gets it would be led astray: some try that chain first and look no further."""
    _, issuing = rotate(installation)
    row = the_cross(installation)
    for seconds, is_served in ((-1, True), (0, False), (1, False)):
        with clock.pinned(clock.from_timestamp(row.not_after + seconds)):
            installation.authorities.forget()
            assert (row.certificate in installation.authorities.chain("issuing-2")) is is_served
    installation.authorities.forget()
    assert row.certificate in installation.authorities.issuer("issuing-2").chain
    revocation.revoke(installation, rig.ADMIN, row.serial, SUPERSEDED)
    installation.authorities.forget()
    assert chains(installation) == ((issuing.certificate,), (issuing.certificate,))
    publish(installation)
    assert row.serial in listed(installation, "root-1")


def test_another_replica_serves_what_it_sees(installation: Installation) -> None:
    """The same chains from another process, before and after."""
    rotate(installation)
    other = replica(installation, installation.store)
    assert chains(other) == chains(installation)
    assert the_cross(installation).certificate in other.authorities.issuer("issuing-2").chain
    move(installation, "root-1", State.TAINTED, State.DISTRUSTED)
    other.authorities.forget()
    assert chains(other) == chains(installation)
    assert the_cross(installation).certificate not in other.authorities.issuer("issuing-2").chain


NOT_CROSSING = {
    "issuing-1": (BadRequest, "not-a-root"),
    "issuing": (BadRequest, "not-a-root"),
    "nobody": (NotFound, "unknown-authority"),
}


@pytest.mark.parametrize("by", NOT_CROSSING)
def test_roots_are_certified_by_roots_alone(installation: Installation, by: str) -> None:
    """A refusal changes nothing: there is no root, no key, no certificate."""
    before = labels(installation), count(installation.store, Authority), count(installation.store, Certificate)
    error, code = NOT_CROSSING[by]
    with pytest.raises(error) as caught:
        hierarchy.create_root(installation, rig.ADMIN, plan("root", "Root 2"), cross_by=by)
    assert caught.value.code == code
    after = labels(installation), count(installation.store, Authority), count(installation.store, Certificate)
    assert after == before


@pytest.mark.parametrize("state", State)
def test_only_who_may_sign_certifies_another_root(installation: Installation, state: State) -> None:
    """Prepared and active roots; the others are refused before there is a key."""
    hierarchy.create_root(installation, rig.ADMIN, plan("other", "Other", state=State.PREPARED))
    roads = {State.ACTIVE: [State.ACTIVE], State.TAINTED: [State.ACTIVE, State.TAINTED], State.RETIRED: [State.RETIRED]}
    roads[State.DISTRUSTED] = [*roads[State.TAINTED], State.DISTRUSTED]
    move(installation, "other-1", *roads.get(state, []))
    before = labels(installation)
    new = plan("root", "Root 2")
    if state in (State.PREPARED, State.ACTIVE):
        hierarchy.create_root(installation, rig.ADMIN, new, cross_by="other-1")
        assert (the_cross(installation).certificate in installation.authorities.chain("root-2")) is SERVED[state]
        return
    with pytest.raises(Unavailable):
        hierarchy.create_root(installation, rig.ADMIN, new, cross_by="other-1")
    assert labels(installation) == before


def test_a_refused_cross_certificate_leaves_neither_root_nor_key(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the old root's key does not work, there is no new root without its cross-certificate."""
    before = labels(installation)
    monkeypatch.setattr(crossing, "issue", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hierarchy.create_root(installation, rig.ADMIN, plan("root", "Root 2"), cross_by="root-1")
    assert labels(installation) == before
    assert [row.name for row in installation.authorities.roots()] == ["root-1"]


def crash(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The process dies after the cross-certificate and before the root; returns what is left."""
    with monkeypatch.context() as patched:
        patched.setattr(hierarchy, "_record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            hierarchy.create_root(installation, rig.ADMIN, plan("root", "Root 2"), cross_by="root-1")
    (left,) = rows(installation.store, Certificate, profile="cross-ca")
    assert crossing.crosses(installation.store) == []
    assert left.spki_sha256 not in {row.spki_sha256 for row in rows(installation.store, BlockedKey)}
    return left  # type: ignore[no-any-return]


def test_what_a_crash_has_left_is_revoked_by_the_next_creation(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once, when it might be another process that is still at it; and nothing that is an authority's goes."""
    left = crash(installation, monkeypatch)
    row = hierarchy.create_root(installation, rig.ADMIN, plan("root", "Root 2"), cross_by="root-1")
    assert row.name == "root-2"
    assert rows(installation.store, Revocation) == []
    with clock.pinned(clock.now() + LATER):
        hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("issuing", "Issuing 2"), parent="root-2")
        publish(installation)
    (revoked,) = rows(installation.store, Revocation)
    assert (revoked.serial, revoked.reason, revoked.revoked_by) == (left.serial, int(SUPERSEDED), "system:founding")
    assert listed(installation, "root-1") == {left.serial}
    assert the_cross(installation).certificate in installation.authorities.chain("issuing-2")


@pytest.mark.parametrize("profile", ["cross-ca", "sub-ca"])
def test_orphans_are_found_once(any_store: Store, profile: str) -> None:
    """CA certificates of either profile; leaves, CAs, cross-certificates and what is just being made are none."""
    installation = rig.make_installation(any_store)
    rotate(installation)
    rig.issue(installation)
    wish = Wish(subject=rig.common_name("Nobody"), path_length=0, authority="root-1")
    request = rig.make_request(key=rig.pooled_key(place=3))
    decision = enrolment.authorise_authority(installation, rig.ADMIN, profile, request, wish)
    orphan: Issued = issuance.issue(decision, installation)
    assert crossing.revoke_orphans(installation) == []
    assert crossing.revoke_orphans(installation, older_than=0) == [orphan.serial]
    assert crossing.revoke_orphans(installation, older_than=0) == []
    assert [row.serial for row in rows(any_store, Revocation)] == [orphan.serial]


def test_a_certificate_that_was_revoked_as_an_orphan_makes_no_authority(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A creation that took so long that another one took it for dead does not end in a CA that is revoked."""
    record = hierarchy._record

    def slowly(*given: object) -> Authority:
        assert len(crossing.revoke_orphans(installation, older_than=0)) == 1
        return record(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(hierarchy, "_record", slowly)
    before = count(installation.store, Authority)
    with pytest.raises(Conflict, match="revoked meanwhile"):
        hierarchy.create_root(installation, rig.ADMIN, plan("root", "Root 2"), cross_by="root-1")
    with pytest.raises(Conflict, match="revoked meanwhile"):
        hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan("issuing", "Issuing 2"))
    assert count(installation.store, Authority) == before
    assert crossing.crosses(installation.store) == []


def test_only_admins_take_it_back(installation: Installation) -> None:
    """It is a CA's certificate like any other: no operator revokes it, by number or by filter, nor blocks its key."""
    root, _ = rotate(installation)
    serial = the_cross(installation).serial
    owner = Caller("local:test", Role.REQUESTER)
    for caller, reason in product((rig.OPERATOR, owner), (SUPERSEDED, RevocationReason.KEY_COMPROMISE)):
        with pytest.raises(Forbidden):
            revocation.revoke(installation, caller, serial, reason)
    for query in (Query(profile="cross-ca"), Query(authority="root-1"), Query(spki_sha256=root.spki_sha256)):
        assert revocation.revoke_matching(installation, rig.ADMIN, query, SUPERSEDED).serials == ()
    assert rows(installation.store, Revocation) == []
    assert revocation.revoke(installation, rig.ADMIN, serial, SUPERSEDED).serials == (serial,)


def findings(installation: Installation) -> list[str]:
    """What the audit finds."""
    installation.ledger.sequence()
    return [finding.message for finding in audit(installation.store, installation.ledger.verifier).findings]


TAMPERING = {
    "another certificate": update(CrossCertificate).values(certificate=b"evil"),
    "another issuer": update(CrossCertificate).values(issuer_id=2),
    "another root": update(CrossCertificate).values(authority_id=2),
    "a longer life": update(CrossCertificate).values(not_after=9999999999),
    "another number": update(CrossCertificate).values(serial="abc"),
    "taken out": delete(CrossCertificate),
}


@pytest.mark.parametrize("change", TAMPERING)
def test_the_audit_holds_them_against_the_ledger(installation: Installation, change: str) -> None:
    """What is served in chains cannot be exchanged, given to another CA, taken out or put in behind its back."""
    rotate(installation)
    assert findings(installation) == []
    with outside(installation.store) as attacker:
        attacker.execute(TAMPERING[change])
    assert any("cross-certificate" in message for message in findings(installation))


def test_the_audit_finds_one_that_nobody_made(installation: Installation) -> None:
    """A certificate of ours that is passed off as one is found, though its number is in the ledger."""
    rotate(installation)
    leaf = rig.issue(installation)
    row = {"authority_id": 1, "issuer_id": 2, "serial": leaf.serial, "certificate": leaf.certificate}
    with outside(installation.store) as attacker:
        attacker.execute(insert(CrossCertificate).values(**row, not_after=leaf.not_after, created_at=1))
    assert any("cross-certificate" in message for message in findings(installation))


def test_a_root_that_exists_is_certified_on_demand(installation: Installation) -> None:
    """By another one of ours, with its own name constraints, once; whoever trusts that one alone gets to new leaves."""
    limits = parse_limits(["dns:internal.example", "uri:.mesh.example"], [])
    wanted = plan("other", "Other Root", key_type=KeyType.P384, lifetime=timedelta(days=900), limits=limits)
    other = hierarchy.create_root(installation, rig.ADMIN, wanted)
    assert installation.authorities.chain("other") == ()
    cross = crossing.cross_sign(installation, rig.ADMIN, "other", "root")
    assert installation.authorities.chain("other") == (cross.certificate,)
    made = x509.load_der_x509_certificate(cross.certificate)
    made.verify_directly_issued_by(x509.load_der_x509_certificate(installation.authorities.get("root").certificate))
    assert spki(made.public_key()) == spki(x509.load_der_x509_certificate(other.certificate).public_key())
    assert limits_of(made) == limits
    assert cross.not_after <= other.not_after
    with pytest.raises(Conflict, match="already"):
        crossing.cross_sign(installation, rig.ADMIN, "other", "root")
    revocation.revoke(installation, rig.ADMIN, cross.serial, RevocationReason.SUPERSEDED)
    installation.authorities.forget()
    assert installation.authorities.chain("other") == ()
    assert crossing.cross_sign(installation, rig.ADMIN, "other", "root").serial != cross.serial
    assert audit(installation.store, installation.ledger.verifier).is_sound


def test_a_chain_ends_with_one(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each certificate in it has signed the one before, which two of them cannot: a second one is refused.

    Where two replicas made one each at once, the newest is served, and the other one when that is revoked.
    """
    hierarchy.create_root(installation, rig.ADMIN, plan("other", "Other Root"))
    hierarchy.create_root(installation, rig.ADMIN, plan("third", "Third Root"))
    first = crossing.cross_sign(installation, rig.ADMIN, "other", "root")
    with pytest.raises(Conflict, match="root-1 certifies other-1 already") as refused:
        crossing.cross_sign(installation, rig.ADMIN, "other", "third")
    assert first.serial in (refused.value.hint or "")
    with monkeypatch.context() as patch:
        patch.setattr(crossing, "good_cross", lambda *_: None)
        second = crossing.cross_sign(installation, rig.ADMIN, "other", "third")
    assert installation.authorities.chain("other") == (second.certificate,)
    revocation.revoke(installation, rig.ADMIN, second.serial, RevocationReason.SUPERSEDED)
    installation.authorities.forget()
    assert installation.authorities.chain("other") == (first.certificate,)


def test_one_by_a_root_that_nobody_trusts_is_in_nobodys_way(installation: Installation) -> None:
    """Chains do not end with it any more, so that another root may certify."""
    hierarchy.create_root(installation, rig.ADMIN, plan("other", "Other Root"))
    hierarchy.create_root(installation, rig.ADMIN, plan("third", "Third Root"))
    crossing.cross_sign(installation, rig.ADMIN, "other", "third")
    hierarchy.transition(installation, rig.ADMIN, "third-1", State.TAINTED)
    with pytest.raises(Conflict, match="third-1 certifies other-1"):
        crossing.cross_sign(installation, rig.ADMIN, "other", "root")
    hierarchy.transition(installation, rig.ADMIN, "third-1", State.DISTRUSTED)
    cross = crossing.cross_sign(installation, rig.ADMIN, "other", "root")
    assert installation.authorities.chain("other") == (cross.certificate,)


def test_what_is_not_cross_certified(installation: Installation) -> None:
    """No CA beneath a root, not by itself or by a CA, by nobody without the right; and nothing is left of a try."""
    other = hierarchy.create_root(installation, rig.ADMIN, plan("other", "Other Root"))
    before = count(installation.store, Certificate)
    for caller, name, by, wanted in (
        (rig.ADMIN, "issuing", "other", BadRequest),
        (rig.ADMIN, "other", "other", BadRequest),
        (rig.ADMIN, "other", "issuing", BadRequest),
        (rig.OPERATOR, "other", "root", Forbidden),
        (rig.ADMIN, "none", "root", NotFound),
    ):
        with pytest.raises(wanted):
            crossing.cross_sign(installation, caller, name, by)
    hierarchy.transition(installation, rig.ADMIN, other.name, State.TAINTED)
    hierarchy.transition(installation, rig.ADMIN, other.name, State.DISTRUSTED)
    with pytest.raises(BadRequest, match="distrusted"):
        crossing.cross_sign(installation, rig.ADMIN, other.name, "root")
    assert count(installation.store, Certificate) == before


def test_a_crash_before_its_row_leaves_an_orphan(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cross-certificate that nothing names is taken back, although its key is that of a CA."""
    hierarchy.create_root(installation, rig.ADMIN, plan("other", "Other Root"))

    def die(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(crossing, "record", die)
        crossing.cross_sign(installation, rig.ADMIN, "other", "root")
    (orphan,) = crossing.revoke_orphans(installation, older_than=-1)
    assert certificates.find(installation.store, orphan).profile == crossing.PROFILE
    cross = crossing.cross_sign(installation, rig.ADMIN, "other", "root")
    assert crossing.revoke_orphans(installation, older_than=-1) == []
    assert cross.serial != orphan
