"""What our key signed and our tables do not know: revoked by the certificate itself, listed, answered, explained."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags, ocsp
from cryptography.x509.oid import NameOID
from sqlalchemy import update
from sqlmodel import col

from ca import clock, crl, delta, hierarchy, holding, revocation, unrecorded
from ca.access import Caller
from ca.authority import State
from ca.crl import CrlPolicy
from ca.errors import Conflict, Forbidden, Refusal
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.ledger.reconcile import audit
from ca.models import Revocation, UnrecordedRevocation
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.asking import ask, ca_of, make_responder
from tests.ca.world import entries, listed, load_crl, outside, publish, rows

SUPERSEDED, COMPROMISE = RevocationReason.SUPERSEDED, RevocationReason.KEY_COMPROMISE


def signed(
    installation: Installation,
    serial: int = 0x17,
    *,
    authority: str = "issuing-1",
    shard: int | None = None,
    is_ca: bool = False,
    key: Any = None,
    lasts: timedelta = timedelta(days=30),
) -> x509.Certificate:
    """What a CA's key has signed elsewhere, behind our back."""
    issuer = installation.authorities.issuer(authority)
    now = clock.now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a stranger")]))
        .issuer_name(issuer.certificate.subject)
        .public_key((key or rig.pooled_key(place=5)).public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + lasts)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if shard is not None:
        uri = x509.UniformResourceIdentifier(installation.authorities.urls.crl(authority, shard))
        point = x509.CRLDistributionPoints([x509.DistributionPoint([uri], None, None, None)])
        builder = builder.add_extension(point, critical=False)
    algorithm = None if issuer.key_type in (KeyType.ED25519, KeyType.MLDSA65) else hashes.SHA384()
    return builder.sign(issuer.key, algorithm)


def is_sound(installation: Installation) -> None:
    installation.ledger.sequence()
    assert audit(installation.store, installation.ledger.verifier).findings == []


def refusal(do: Callable[[], Any]) -> tuple[type[Refusal], str]:
    with pytest.raises(Refusal) as caught:
        do()
    return type(caught.value), caught.value.code


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.RSA3072, KeyType.ED25519])
def test_a_stranger_is_revoked(any_store: Store, key_type: KeyType) -> None:
    """On the shard that it names, or the complete list alone; in the delta and in OCSP; the audit explains it."""
    installation = rig.make_installation(any_store, key_type=key_type)
    publish(installation)
    delta.publish_due(installation, CrlPolicy())
    ours, first, second = rig.issue(installation), signed(installation, 0x17), signed(installation, 0x18, shard=2)
    responder = make_responder(installation)
    assert ask(installation, responder, first).certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    for one in (first, second):
        done = unrecorded.revoke(installation, rig.OPERATOR, one, SUPERSEDED)
        assert done.serials == (f"{one.serial_number:x}",)
    revocation.revoke(installation, rig.OPERATOR, ours.serial, SUPERSEDED)
    publish(installation)
    delta.publish_due(installation, CrlPolicy())
    assert listed(installation) == {"17", "18", ours.serial}
    on_shards = [listed(installation, shard=shard) - {ours.serial} for shard in range(4)]
    assert on_shards == [set(), set(), {"18"}, set()]
    newest = delta.load(installation, "issuing-1")
    assert newest is not None
    assert {f"{one.serial_number:x}" for one in x509.load_der_x509_crl(newest.crl)} == {"17", "18", ours.serial}
    answer = ask(installation, responder, first)
    said = (answer.certificate_status, answer.revocation_reason)
    assert said == (ocsp.OCSPCertStatus.REVOKED, ReasonFlags.superseded)
    (entry, _) = entries(any_store, "unrecorded-certificate-revoked")
    assert (entry["subject"], entry["authority"], entry["shard"]) == ("17", "issuing-1", None)
    assert rows(any_store, Revocation, serial="17") == []
    assert crl.count_entries(installation) == 3
    is_sound(installation)
    assert refusal(lambda: unrecorded.revoke(installation, rig.OPERATOR, first, SUPERSEDED))[1] == "already-revoked"


def test_what_is_refused(installation: Installation) -> None:
    """Whatever our key did not sign, our own CAs, what has expired, who may not; and nothing changes."""
    good = signed(installation)
    self_signed = signed(installation)
    foreign = rig.parsed(rig.issue(installation))
    before = entries(installation.store)

    def refused(one: x509.Certificate, caller: Caller = rig.ADMIN) -> tuple[type[Refusal], str]:
        return refusal(lambda: unrecorded.revoke(installation, caller, one, SUPERSEDED))

    der = bytearray(good.public_bytes(Encoding.DER))
    der[-3] ^= 1
    assert refused(x509.load_der_x509_certificate(bytes(der))) == (Forbidden, "not-ours")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    other = KeyType.P256.generate()
    imitation = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(ca_of(installation).subject)
        .public_key(other.public_key())
        .serial_number(5)
        .not_valid_before(clock.now())
        .not_valid_after(clock.now() + timedelta(days=1))
        .sign(other, hashes.SHA256())
    )
    assert refused(imitation) == (Forbidden, "not-ours")
    assert refused(ca_of(installation)) == refused(ca_of(installation, "root-1")) == (Forbidden, "authority-key")
    issuing_key = installation.authorities.issuer("issuing-1").key
    assert refused(signed(installation, 9, authority="root-1", key=issuing_key)) == (Forbidden, "authority-key")
    sub_ca = signed(installation, 6, is_ca=True)
    assert refused(sub_ca, rig.OPERATOR) == (Forbidden, "forbidden")
    assert refused(signed(installation, lasts=timedelta(seconds=-5))) == (Conflict, "expired")
    for caller in (rig.REQUESTER, rig.AUDITOR, rig.CONSUMER):
        assert refused(self_signed, caller) == (Forbidden, "forbidden")
    twin = signed(installation, foreign.serial_number)
    assert refused(twin) == (Conflict, "serial-taken")
    assert refusal(lambda: holding.hold(installation, rig.ADMIN, "17"))[1] == "unknown-certificate"
    assert entries(installation.store) == before
    assert rows(installation.store, UnrecordedRevocation) == []
    unrecorded.revoke(installation, rig.ADMIN, sub_ca, SUPERSEDED)
    assert unrecorded.revoke(installation, rig.ADMIN, foreign, SUPERSEDED).serials == (f"{foreign.serial_number:x}",)
    assert [row.serial for row in rows(installation.store, Revocation)] == [f"{foreign.serial_number:x}"]


def test_small_numbers_of_two_cas_are_two_certificates(installation: Installation) -> None:
    """A root and an issuing CA from elsewhere both begin at 1."""
    one, two = signed(installation, 1), signed(installation, 1, authority="root-1", is_ca=True)
    unrecorded.revoke(installation, rig.ADMIN, one, SUPERSEDED)
    publish(installation)
    assert (listed(installation), listed(installation, "root-1")) == ({"1"}, set())
    unrecorded.revoke(installation, rig.ADMIN, two, RevocationReason.CA_COMPROMISE)
    publish(installation)
    assert listed(installation) == listed(installation, "root-1") == {"1"}
    assert load_crl(installation, "root-1")[0].extensions[0].value.reason is ReasonFlags.ca_compromise
    is_sound(installation)


def test_a_compromised_key_goes_with_all_that_carries_it(installation: Installation) -> None:
    """Blocked, and our own certificates with it revoked, too."""
    key = rig.pooled_key(place=3)
    ours = rig.issue(installation, key=key)
    done = unrecorded.revoke(installation, rig.OPERATOR, signed(installation, key=key), COMPROMISE)
    assert done.key_blocked
    assert set(done.serials) == {"17", ours.serial}
    publish(installation)
    assert listed(installation) == {"17", ours.serial}
    is_sound(installation)


def test_retired_cas_are_known(installation: Installation) -> None:
    """It is recorded; no list of theirs is signed any more."""
    stranger = signed(installation)
    publish(installation)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.RETIRED)
    assert unrecorded.revoke(installation, rig.ADMIN, stranger, SUPERSEDED).serials == ("17",)
    assert publish(installation) == []
    is_sound(installation)


def test_it_leaves_the_lists_and_is_forgotten(installation: Installation) -> None:
    """When it has expired and one list was signed after that; the audit takes that from the ledger."""
    stranger = signed(installation, shard=1, lasts=timedelta(hours=1))
    unrecorded.revoke(installation, rig.ADMIN, stranger, SUPERSEDED)
    publish(installation)
    start, left = clock.now(), []
    for day in range(1, 5):
        with clock.pinned(start + timedelta(days=day)):
            left.append(unrecorded.prune(installation, clock.timestamp()))
            publish(installation)
            is_sound(installation)
            standing = listed(installation), listed(installation, shard=1)
    assert standing == (set(), set())
    assert sum(left) == 1
    assert left[0] == 0, "it still stands on the lists"
    assert rows(installation.store, UnrecordedRevocation) == []


def test_the_audit_finds_what_was_changed(installation: Installation) -> None:
    """A row that says something else than the ledger, or that is not there, or that nobody recorded."""
    unrecorded.revoke(installation, rig.ADMIN, signed(installation), SUPERSEDED)
    is_sound(installation)
    for column, value in (("reason", 1), ("revoked_at", 5), ("shard", 2), ("not_after", 1 << 40)):
        (before,) = rows(installation.store, UnrecordedRevocation)
        with outside(installation.store) as connection:
            connection.execute(update(UnrecordedRevocation).values(**{column: value}))
        found = [one.message for one in audit(installation.store, installation.ledger.verifier).findings]
        assert any(f"({column})" in message for message in found), found
        with outside(installation.store) as connection:
            connection.execute(update(UnrecordedRevocation).values(**{column: getattr(before, column)}))
    with outside(installation.store) as connection:
        connection.execute(
            update(UnrecordedRevocation).where(col(UnrecordedRevocation.serial) == "17").values(serial="18")
        )
    found = [one.message for one in audit(installation.store, installation.ledger.verifier).findings]
    assert any("was taken back" in message for message in found), found
