"""Live status: what an answer says, for whom, signed by whom, and that a revocation is in it within a second."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import certificates, clock, der, enrolment, hierarchy, issuance, revocation
from ca.authority import State
from ca.enrolment import Wish
from ca.errors import Forbidden, KeyUnavailable, PolicyRefusal, StoreUnavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.keys.memory import MemoryKeyStore
from ca.models import Certificate, Intent
from ca.ocsp import encoding, responder
from ca.ocsp.asked import MOST_CERTIFICATES, plain_request, read_request
from ca.ocsp.responder import OcspPolicy
from ca.ocsp.signer import CALLER
from ca.store import Store, open_store
from ca.x509.certificate import serial_text
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.asking import SHA1, SHA256, ask, ca_of, judged, make_responder, request_about, request_about_several
from tests.ca.world import perform, replica, rows
from tests.conftest import fresh_database

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


def revoke(installation: Installation, serial: str, reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
    """As an operator does."""
    revocation.revoke(installation, rig.OPERATOR, serial, reason)


def signers(installation: Installation) -> list[str]:
    """The serials of all certificates that the signers ever had, oldest first."""
    found = sorted(rows(installation.store, Certificate, profile="ocsp-signer"), key=lambda row: row.id)
    return [row.serial for row in found]


def signer_of(found: ocsp.OCSPResponse) -> str:
    """Whose answer this is."""
    (certificate,) = found.certificates
    return serial_text(certificate.serial_number)


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.P384, KeyType.RSA3072, KeyType.ED25519])
def test_good_and_revoked_of_every_kind_of_ca(store: Store, key_type: KeyType) -> None:
    """Signed by whom the CA named for it, and good until a revocation, which is there at once with time and reason."""
    installation = rig.make_installation(store, key_type=key_type)
    asked, issued = make_responder(installation), rig.issue(installation)
    assert ask(installation, asked, issued).certificate_status is GOOD
    now = clock.now()
    with clock.pinned(now):
        revoke(installation, issued.serial, RevocationReason.PRIVILEGE_WITHDRAWN)
        found = ask(installation, asked, issued)
    assert (found.certificate_status, found.revocation_time_utc) == (REVOKED, now)
    assert found.revocation_reason is x509.ReasonFlags.privilege_withdrawn
    assert found.serial_number == rig.parsed(issued).serial_number


def test_a_post_quantum_ca_has_a_signer_of_its_kind(store: Store) -> None:
    """An answer by a weaker key than the CA's would be the weakest link."""
    installation = rig.make_installation(store, key_type=KeyType.MLDSA65)
    issued = rig.issue(installation)
    body = make_responder(installation).answer(request_about(rig.parsed(issued), ca_of(installation))).body
    certificate = x509.load_der_x509_certificate(certificates.find(store, signers(installation)[0]).der)
    assert type(certificate.public_key()).__name__.startswith("MLDSA65")
    assert len(body) > 5000


@pytest.mark.parametrize("reason", RevocationReason)
def test_every_reason_is_told(installation: Installation, reason: RevocationReason) -> None:
    """As on the lists: unspecified by saying none."""
    issued = rig.issue(installation, key=rig.pooled_key(place=int(reason) + 1))
    if reason is RevocationReason.KEY_COMPROMISE:
        revocation.revoke(installation, rig.ADMIN, issued.serial, reason)
    else:
        revoke(installation, issued.serial, reason)
    found = ask(installation, make_responder(installation), issued).revocation_reason
    words = None if found is None else found.value.lower()
    assert words == (None if reason is RevocationReason.UNSPECIFIED else reason.word.title().replace("-", "").lower())


def test_both_hashes_name_an_issuer(installation: Installation) -> None:
    """SHA-1 as nearly all clients ask, SHA-256 as newer ones may; by others nobody of ours is named."""
    asked, issued, issuer = make_responder(installation), rig.issue(installation), ca_of(installation)
    for algorithm in (SHA1, SHA256):
        body = asked.answer(request_about(rig.parsed(issued), issuer, algorithm=algorithm)).body
        found = judged(body, issuer, rig.parsed(issued).serial_number)
        assert type(found.hash_algorithm) is type(algorithm)
    other = request_about(rig.parsed(issued), issuer, algorithm=SHA512())
    assert asked.answer(other).body == encoding.UNAUTHORIZED


def test_a_serial_that_we_never_issued_is_unknown(installation: Installation) -> None:
    """And kept by nobody: the next moment it may be issued."""
    asked, issuer = make_responder(installation), ca_of(installation)
    for serial in (1, 0x7F << 152, issuance.new_serial()):
        answer = asked.answer(request_about(serial, issuer))
        assert judged(answer.body, issuer, serial).certificate_status is UNKNOWN
        assert (answer.status, answer.tag) == ("unknown", "")
    assert len(asked._held) == 0


def test_what_was_begun_and_never_released_is_unknown(installation: Installation) -> None:
    """Nobody was handed it. Once revoked, it is revoked."""
    decision = rig.decide(installation)
    perform(issuance.issuing(decision, installation), installation, steps=1)
    (intent,) = rows(installation.store, Intent)
    asked, issuer, serial = make_responder(installation), ca_of(installation), int(intent.serial, 16)
    assert judged(asked.answer(request_about(serial, issuer)).body, issuer, serial).certificate_status is UNKNOWN
    revocation.revoke_key(installation, rig.ADMIN, intent.spki_sha256, RevocationReason.KEY_COMPROMISE)
    assert judged(asked.answer(request_about(serial, issuer)).body, issuer, serial).certificate_status is REVOKED


def test_a_serial_of_another_ca_of_ours_is_unknown(installation: Installation) -> None:
    """A serial number means something together with its issuer alone."""
    issued = rig.issue(installation)
    revoke(installation, issued.serial)
    root = ca_of(installation, "root-1")
    serial = rig.parsed(issued).serial_number
    body = make_responder(installation).answer(request_about(serial, root)).body
    assert judged(body, root, serial).certificate_status is UNKNOWN


def test_a_ca_beneath_the_root_is_answered_for_by_the_roots_signer(installation: Installation) -> None:
    """One signer for each CA, certified by that very CA."""
    issuing, asked = ca_of(installation), make_responder(installation)
    assert ask(installation, asked, issuing, "root-1").certificate_status is GOOD
    assert ask(installation, asked, rig.issue(installation)).certificate_status is GOOD
    assert len(signers(installation)) == 2
    assert [certificates.find(installation.store, serial).authority for serial in signers(installation)] == [
        "root-1",
        "issuing-1",
    ]


def test_for_others_we_are_not_the_responder(installation: Installation) -> None:
    """Unauthorized, unsigned: of a stranger's CA we know nothing, nor of two CAs at once."""
    asked, issued, issuer = make_responder(installation), rig.issue(installation), ca_of(installation)
    right = read_request(request_about(rig.parsed(issued), issuer)).certificates[0]
    wrong = right._replace(
        encoded=der.sequence(
            der.sequence(right.algorithm, der.NULL),
            der.octet_string(right.name_hash),
            der.octet_string(bytes(20)),
            der.integer(right.serial),
        )
    )
    assert asked.answer(plain_request(wrong)).body == encoding.UNAUTHORIZED
    both = request_about_several(
        request_about(rig.parsed(issued), issuer), request_about(5, ca_of(installation, "root-1"))
    )
    assert asked.answer(both).body == encoding.UNAUTHORIZED
    assert signers(installation) == []


def test_several_are_answered_together(installation: Installation) -> None:
    """In the order in which they were asked about, up to a number."""
    asked, issuer = make_responder(installation), ca_of(installation)
    all_of = [rig.issue(installation, key=rig.pooled_key(place=place)) for place in range(3)]
    revoke(installation, all_of[1].serial)
    requests = [request_about(rig.parsed(one), issuer) for one in all_of]
    answer = asked.answer(request_about_several(*requests))
    found = ocsp.load_der_ocsp_response(answer.body)
    assert [one.certificate_status for one in found.responses] == [GOOD, REVOKED, GOOD]
    assert [one.serial_number for one in found.responses] == [rig.parsed(one).serial_number for one in all_of]
    assert answer.tag == ""
    most = [requests[0]] * MOST_CERTIFICATES
    assert asked.answer(request_about_several(*most)).status == "several"
    assert asked.answer(request_about_several(*most, requests[0])).status == "malformed"


@pytest.mark.parametrize("size", [1, 16, 32, 128])
def test_a_nonce_is_repeated(installation: Installation, size: int) -> None:
    """And such an answer is kept by nobody (RFC 9654)."""
    asked, issued, issuer = make_responder(installation), rig.issue(installation), ca_of(installation)
    nonce = bytes(range(1, size + 1))
    answer = asked.answer(request_about(rig.parsed(issued), issuer, nonce=nonce))
    found = judged(answer.body, issuer, rig.parsed(issued).serial_number)
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce
    assert (answer.tag, len(asked._held)) == ("", 0)
    plain = judged(
        asked.answer(request_about(rig.parsed(issued), issuer)).body, issuer, rig.parsed(issued).serial_number
    )
    assert len(plain.extensions) == 0


@pytest.mark.parametrize("size", [0, 129])
def test_a_nonce_of_a_wrong_length_is_malformed(installation: Installation, size: int) -> None:
    """RFC 9654 section 2.1."""
    request = request_about(rig.parsed(rig.issue(installation)), ca_of(installation), nonce=bytes(size))
    assert make_responder(installation).answer(request).body == encoding.MALFORMED


def test_an_answer_is_kept_for_half_of_its_life(installation: Installation) -> None:
    """Then it is signed anew; and it never outlives the one who has signed it."""
    policy = OcspPolicy(lifetime=timedelta(hours=2))
    asked, issued, issuer = make_responder(installation, policy), rig.issue(installation), ca_of(installation)
    request, start = request_about(rig.parsed(issued), issuer), clock.now()
    with clock.pinned(start):
        first = asked.answer(request)
        assert asked.answer(request) is first is asked.held(request)
        assert first.next_update == clock.timestamp() + 7200
        assert first.this_update == max(clock.timestamp() - 60, installation.authorities.get("issuing-1").not_before)
    with clock.pinned(start + timedelta(seconds=3599)):
        assert asked.answer(request) is first
    with clock.pinned(start + timedelta(seconds=3600)):
        assert asked.held(request) is None
        second = asked.answer(request)
        assert second.next_update == first.next_update + 3600
    with clock.pinned(start - timedelta(days=1)):
        assert asked.held(request) is None, "the clock was wrong"


def test_another_replicas_revocation_is_seen_within_a_second(postgresql: str) -> None:
    """Without a word between them, and what others say about other certificates stays kept."""
    stores = [open_store(url := fresh_database(postgresql)), open_store(url)]
    try:
        installation = rig.make_installation(stores[0])
        other = replica(installation, stores[1])
        issued = [rig.issue(installation, key=rig.pooled_key(place=place)) for place in range(2)]
        asked, issuer = make_responder(other), ca_of(installation)
        requests = [request_about(rig.parsed(one), issuer) for one in issued]
        before = [asked.answer(request) for request in requests]
        revoke(installation, issued[0].serial)
        asked._fresh_until -= responder.FRESH_FOR
        after = [asked.answer(request) for request in requests]
        assert [one.status for one in after] == ["revoked", "good"]
        assert after[1] is before[1]
    finally:
        for store in stores:
            store.close()


def test_what_is_revoked_while_it_is_signed_is_not_kept(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was right when the tables were read; nobody is given it a second time."""
    asked, issued = make_responder(installation), rig.issue(installation)
    request = request_about(rig.parsed(issued), ca_of(installation))
    asked.answer(request_about(7, ca_of(installation)))
    really = asked._signed

    def slowly(*arguments: object) -> responder.Answer:
        revoke(installation, issued.serial)
        asked._fresh_until = float("-inf")
        asked._look()
        return really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(asked, "_signed", slowly)
    assert asked.answer(request).status == "good"
    monkeypatch.setattr(asked, "_signed", really)
    assert asked.answer(request).status == "revoked"


def test_more_revocations_than_are_looked_through_forget_everything(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer stays because there were too many to look at."""
    monkeypatch.setattr(responder, "MOST_CHANGES", 2)
    asked, issuer = make_responder(installation), ca_of(installation)
    all_of = [rig.issue(installation, key=rig.pooled_key(place=place)) for place in range(5)]
    for one in all_of:
        ask(installation, asked, one)
    for one in all_of[1:]:
        revoke(installation, one.serial)
    asked._fresh_until = float("-inf")
    statuses = [asked.answer(request_about(rig.parsed(one), issuer)).status for one in all_of]
    assert statuses == ["good", "revoked", "revoked", "revoked", "revoked"]


def test_only_so_many_answers_are_kept(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go."""
    monkeypatch.setattr(responder, "MOST_HELD", 3)
    asked, issuer = make_responder(installation), ca_of(installation)
    all_of = [request_about(rig.parsed(rig.issue(installation)), issuer) for _ in range(5)]
    for request in all_of:
        asked.answer(request)
    assert [asked.held(request) is not None for request in all_of] == [False, False, True, True, True]


def test_its_signer_is_followed_at_half_of_its_life(installation: Installation) -> None:
    """The next replica or process uses the same one; an ended one's key goes."""
    issued, start = rig.issue(installation, lifetime=timedelta(days=7)), clock.now()
    asked = make_responder(installation)
    first = signer_of(ask(installation, asked, issued))
    assert signer_of(ask(installation, make_responder(installation), issued)) == first
    stored = certificates.find(installation.store, first)
    assert (stored.requested_by, stored.profile) == (CALLER.identity, "ocsp-signer")
    assert isinstance(installation.keys, MemoryKeyStore)
    with clock.pinned(start + timedelta(days=7, seconds=-90)):
        assert signer_of(ask(installation, asked, issued)) == first
    with clock.pinned(start + timedelta(days=7, seconds=10)):
        asked._held.clear()
        second = signer_of(ask(installation, asked, issued))
        assert second != first
    with clock.pinned(start + timedelta(days=20)):
        third = signer_of(ask(installation, asked, issued))
        labels = {label for label in installation.keys._keys if label.startswith("ocsp-")}
    assert len({first, second, third}) == 3
    assert len(labels) == 2, "the first has ended"


def test_a_revoked_signer_signs_nothing_more(installation: Installation) -> None:
    """Within a second, and what it has signed is forgotten."""
    asked, issued = make_responder(installation), rig.issue(installation)
    first = signer_of(ask(installation, asked, issued))
    revocation.revoke(installation, rig.ADMIN, first, RevocationReason.KEY_COMPROMISE)
    second = signer_of(ask(installation, asked, issued))
    assert second != first
    assert signer_of(ask(installation, make_responder(installation), issued)) == second


@pytest.mark.parametrize("states", [[State.TAINTED], [State.TAINTED, State.DISTRUSTED]])
def test_a_ca_that_certifies_nothing_more_is_still_answered_for(
    installation: Installation, states: list[State]
) -> None:
    """By its signer until that ends, then by the CA itself, as with its lists; revocations are in it all the time."""
    asked, issued = make_responder(installation), rig.issue(installation, lifetime=timedelta(days=7))
    first = signer_of(ask(installation, asked, issued))
    for state in states:
        hierarchy.transition(installation, rig.ADMIN, "issuing-1", state)
    assert signer_of(ask(installation, asked, issued)) == first
    revoke(installation, issued.serial)
    assert ask(installation, asked, issued).certificate_status is REVOKED
    with clock.pinned(clock.now() + timedelta(days=15)):
        found = ask(installation, asked, issued)
        assert (found.certificate_status, list(found.certificates)) == (REVOKED, [])
        assert ask(installation, make_responder(installation), issued).certificate_status is REVOKED
    assert signers(installation) == [first]


def test_a_retired_ca_is_nobodys_to_ask_about(installation: Installation) -> None:
    """It signs nothing and is not trusted; what was kept of it is forgotten at once."""
    asked, issued = make_responder(installation), rig.issue(installation)
    request = request_about(rig.parsed(issued), ca_of(installation))
    assert asked.answer(request).status == "good"
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.RETIRED)
    asked._fresh_until = float("-inf")
    assert asked.answer(request).body == encoding.UNAUTHORIZED


def test_an_ended_ca_is_nobodys_to_ask_about(installation: Installation) -> None:
    """There is no certificate of it that anybody accepts."""
    asked, request = make_responder(installation), request_about(5, ca_of(installation))
    with clock.pinned(ca_of(installation).not_valid_after_utc + timedelta(seconds=1)):
        assert asked.answer(request).body == encoding.UNAUTHORIZED


def test_old_and_new_generation_are_answered_for_apart(installation: Installation) -> None:
    """Each by a signer of its own."""
    asked, old = make_responder(installation), rig.issue(installation)
    plan = Plan("issuing", rig.common_name("Next Issuing CA"), KeyType.P256, crl_shards=4)
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan)
    hierarchy.transition(installation, rig.ADMIN, "issuing-2", State.ACTIVE)
    new = rig.issue(installation)
    assert ask(installation, asked, old).certificate_status is GOOD
    assert ask(installation, asked, new, "issuing-2").certificate_status is GOOD


def test_while_no_signer_can_be_made_try_later(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never an unsigned word about a certificate; the reason is kept for an alarm, and it mends itself."""

    def broken(label: str, key: object) -> None:
        raise KeyUnavailable("the disk is full")

    asked, issued = make_responder(installation), rig.issue(installation)
    request = request_about(rig.parsed(issued), ca_of(installation))
    with monkeypatch.context() as patch:
        patch.setattr(installation.keys, "put", broken)
        assert asked.answer(request).body == encoding.TRY_LATER
        assert asked.answer(request).body == encoding.TRY_LATER
        assert [error.message for error in asked.signers.trouble.values()] == ["the disk is full"]
        assert len(signers(installation)) == 1, "it does not try again at once"
    monkeypatch.setattr("ca.ocsp.signer.AGAIN_AFTER", 0.0)
    assert asked.answer(request).status == "good"
    assert asked.signers.trouble == {}


def test_a_signer_that_cannot_be_followed_goes_on_until_its_end(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an alarm for half of its life; no answer outlives it."""
    asked, issued, start = (
        make_responder(installation),
        rig.issue(installation, lifetime=timedelta(days=7)),
        clock.now(),
    )
    first = signer_of(ask(installation, asked, issued))
    monkeypatch.setattr(installation.keys, "put", lambda label, key: (_ for _ in ()).throw(KeyUnavailable("full")))
    with clock.pinned(start + timedelta(days=14, minutes=-90)):
        found = ask(installation, asked, issued)
        assert signer_of(found) == first
        assert found.next_update_utc == found.certificates[0].not_valid_after_utc
        assert asked.signers.trouble.keys() == {"issuing-1"}
    with clock.pinned(start + timedelta(days=14)):
        asked._fresh_until = float("-inf")
        assert asked.answer(request_about(rig.parsed(issued), ca_of(installation))).body == encoding.TRY_LATER


def test_without_the_tables_try_later(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept is not said either: nobody knows whether it still holds."""
    asked, issued = make_responder(installation), rig.issue(installation)
    request = request_about(rig.parsed(issued), ca_of(installation))
    assert asked.answer(request).status == "good"

    def gone(**_: object) -> None:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(installation.store), "read", lambda self, **_: gone())
        assert asked.answer(request).status == "good", "for half a second it is known to hold"
        asked._fresh_until = float("-inf")
        assert asked.answer(request).body == encoding.TRY_LATER
    assert asked.answer(request).status == "good"


def test_only_the_program_itself_gets_a_signer_for_a_chosen_ca(installation: Installation) -> None:
    """By no door: an admin makes a responder of the active CA, as before, and chooses none."""
    subject = rig.common_name("OCSP")
    for caller in (rig.ADMIN, rig.OPERATOR, rig.AUDITOR):
        with pytest.raises(Forbidden):
            enrolment.authorise_responder(installation, caller, rig.make_request(), subject, authority="root-1")
    wish = Wish(subject=subject, authority="root-1", names=())
    with pytest.raises(PolicyRefusal) as caught:
        enrolment.authorise_issue(installation, rig.ADMIN, "ocsp-signer", rig.make_request(), wish)
    assert [reason.code for reason in caught.value.reasons] == ["authority-not-chosen"]


def test_an_admins_own_responder_is_not_ours(installation: Installation) -> None:
    """We sign with what the program itself asked for, and no other certificate of that profile."""
    wish = Wish(subject=rig.common_name("OCSP"), names=())
    theirs = issuance.issue(
        enrolment.authorise_issue(installation, rig.ADMIN, "ocsp-signer", rig.make_request(), wish), installation
    )
    found = ask(installation, make_responder(installation), rig.issue(installation))
    assert signer_of(found) != theirs.serial


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["issue", "revoke", "ask"]), st.integers(0, 99)), max_size=25))
def test_the_answer_is_what_the_tables_say(installation: Installation, steps: list[tuple[str, int]]) -> None:
    """After any sequence of issuing, revoking and asking, for every certificate; kept answers included."""
    asked, all_of, gone = make_responder(installation), [], set()
    for word, number in [*steps, *(("ask", place) for place in range(len(steps)))]:
        if word == "issue" or not all_of:
            all_of.append(rig.issue(installation))
            continue
        one = all_of[number % len(all_of)]
        if word == "revoke" and one.serial not in gone:
            revoke(installation, one.serial)
            gone.add(one.serial)
        expected = REVOKED if one.serial in gone else GOOD
        assert ask(installation, asked, one).certificate_status is expected
