"""An offline root by two files: its key leaves, CAs and lists are asked for, signed elsewhere, taken in or refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import delete, update
from sqlmodel import col

from ca import certificates, clock, completeness, crl, crossing, delta, hierarchy, recording, revocation
from ca.authority import OFFLINE, State
from ca.ceremony import answering, asking, leaving, offline, script
from ca.ceremony.asking import Successor
from ca.ceremony.documents import LIST, Task, digest, read_answer, read_request
from ca.crl import COMPLETE, CrlPolicy
from ca.errors import BadRequest, Conflict, Forbidden, KeyUnavailable, Unavailable
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType, PrivateKey, scheme_of
from ca.keys.pkcs8 import decrypt_pkcs8, encrypt_pkcs8
from ca.ledger.reconcile import audit
from ca.models import Authority, Ceremony, Certificate, Intent, RevocationList
from ca.secret import Secret
from ca.x509.constraints import parse_limits
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.test_hierarchy import labels
from tests.ca.world import count, entries, listed, outside, publish, rows

WORDS = Secret("correct horse battery staple")
PLAN = Plan("issuing", rig.common_name("Second Mesh CA"), KeyType.P256, lifetime=timedelta(days=365), crl_shards=2)


@dataclasses.dataclass
class Safe:
    """Where the root's key is kept, and the machine beside it."""

    pem: bytes

    @cached_property
    def key(self) -> PrivateKey:
        return decrypt_pkcs8(self.pem, WORDS, "the safe")

    def sign(self, document: bytes, **choices: object) -> bytes:
        judged = offline.judge(read_request(document))
        present = choices.get("present", ["Ada", "Grace"])
        return offline.answer(judged, self.key, present=present, program="certwright 1").encode()  # type: ignore[arg-type]


@pytest.fixture
def safe(installation: Installation) -> Safe:
    """An installation whose root has gone offline."""
    publish(installation)
    pem = leaving.export(installation, rig.ADMIN, "root", WORDS)
    leaving.leave(installation, rig.ADMIN, "root", pem, WORDS)
    return Safe(pem)


def test_a_key_leaves_only_when_it_is_shown_to_be_elsewhere(installation: Installation) -> None:
    """Neither without its file, nor with another key, nor a wrong passphrase, nor by who is not on the machine."""
    label = installation.authorities.get("root").key_label
    pem = leaving.export(installation, rig.ADMIN, "root", WORDS)
    assert b"ENCRYPTED PRIVATE KEY" in pem
    issuing = Plan("other", rig.common_name("Other CA"), KeyType.P256)
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", issuing)
    other = leaving.export(installation, rig.ADMIN, "other", WORDS)
    far = dataclasses.replace(rig.ADMIN, is_local=False)
    for caller, name, file, words, wanted in (
        (rig.ADMIN, "root", other, WORDS, BadRequest),
        (rig.ADMIN, "root", pem, Secret("wrong words, all of them"), BadRequest),
        (rig.ADMIN, "root", pem[:-100], WORDS, BadRequest),
        (rig.ADMIN, "issuing", pem, WORDS, Conflict),  # it has shards
        (far, "root", pem, WORDS, Forbidden),
        (rig.OPERATOR, "root", pem, WORDS, Forbidden),
    ):
        with pytest.raises(wanted):
            leaving.leave(installation, caller, name, file, words)
    for caller, words, wanted in (
        (far, WORDS, Forbidden),
        (rig.ADMIN, Secret("short"), BadRequest),
    ):
        with pytest.raises(wanted):
            leaving.export(installation, caller, "root", words)
    assert label in labels(installation)
    leaving.leave(installation, rig.ADMIN, "root", pem, WORDS)
    assert label not in labels(installation)
    assert leaving.leave(installation, rig.ADMIN, "root", pem, WORDS).key_label == OFFLINE, "it may be said again"
    assert audit(installation.store, installation.ledger.verifier).is_sound


def test_what_an_offline_root_cannot_do_is_said_and_leaves_nothing(installation: Installation, safe: Safe) -> None:
    """No CA, no root's cross-certificate, no list of it; leaves are issued and other lists published as ever."""
    before = labels(installation)
    with pytest.raises(KeyUnavailable, match="offline") as caught:
        hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", PLAN)
    assert "certwright ceremony request root-1" in str(caught.value.hint)
    assert labels(installation) == before
    assert count(installation.store, Intent) == 0
    with pytest.raises(KeyUnavailable):
        plan = Plan("root", rig.common_name("Next Root"), KeyType.P256)
        hierarchy.create_root(installation, rig.ADMIN, plan, cross_by="root-1")
    rig.issue(installation)
    with clock.pinned(clock.now() + timedelta(days=2)):
        assert {made.authority for made in publish(installation)} == {"issuing-1"}
        assert {made.authority for made in delta.publish_due(installation, CrlPolicy())} == {"issuing-1"}
    found = crl.load(installation, "root", COMPLETE)
    assert found is not None
    listed = x509.load_der_x509_crl(found.crl)
    assert listed.next_update_utc is not None
    assert listed.next_update_utc - clock.now() > timedelta(days=399)
    assert [type(each.value) for each in listed.extensions] == [x509.AuthorityKeyIdentifier, x509.CRLNumber]


def test_a_ca_and_a_list_by_two_files(installation: Installation, safe: Safe) -> None:
    """The new CA issues, what was revoked stands on the list, the ledger knows all of it, and the audit agrees."""
    third = Plan("third", rig.common_name("Third CA"), KeyType.P256, limits=parse_limits(["dns:internal.example"], []))
    first = asking.request(installation, rig.ADMIN, "root", Successor(third), list_lifetime=None)
    assert first.asks_for == "a CA of the line third"
    answering.accept(installation, rig.ADMIN, safe.sign(first.document))
    assert installation.authorities.get("third").state == State.ACTIVE
    revoked = installation.authorities.get("third").serial
    revocation.revoke(installation, rig.ADMIN, revoked, RevocationReason.CESSATION_OF_OPERATION)
    assert {made.authority for made in publish(installation)} == {"third-1"}

    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    assert (asked.state, asked.asks_for) == ("waits", "a CA of the line issuing, a CRL")
    done = answering.accept(installation, rig.ADMIN, safe.sign(asked.document))
    assert (done.state, done.transcript["present"]) == ("completed", ["Ada", "Grace"])
    assert listed(installation, "root-1") == {revoked}
    second = installation.authorities.get("issuing-2")
    assert (second.state, second.crl_shards) == (State.PREPARED, 2)
    assert certificates.find(installation.store, second.serial).der == second.certificate
    hierarchy.transition(installation, rig.ADMIN, "issuing-2", State.ACTIVE)
    assert rig.issue(installation).chain[0] == second.certificate
    publish(installation)
    assert [one.findings for one in completeness.check_all(installation) if one.wrong] == []
    report = audit(installation.store, installation.ledger.verifier)
    assert report.is_sound, report.findings
    said = [entry["action"] for entry in entries(installation.store) if "ceremony" in entry["action"]]
    assert said == ["ceremony-requested", "ceremony-completed"] * 2


def test_a_revocation_while_a_list_is_carried_is_due_again(installation: Installation, safe: Safe) -> None:
    """The list that comes back does not know of it and does not pretend to."""
    third = Plan("third", rig.common_name("Third CA"), KeyType.P256)
    answering.accept(
        installation,
        rig.ADMIN,
        safe.sign(asking.request(installation, rig.ADMIN, "root", Successor(third)).document),
    )
    asked = asking.request(installation, rig.ADMIN, "root")
    serial = installation.authorities.get("third").serial
    revocation.revoke(installation, rig.ADMIN, serial, RevocationReason.CESSATION_OF_OPERATION)
    answering.accept(installation, rig.ADMIN, safe.sign(asked.document))
    (status,) = [each for each in crl.statuses(installation) if each.authority == "root-1"]
    assert (status.due_at, status.entries) == (0, 0)
    again = asking.request(installation, rig.ADMIN, "root")
    answering.accept(installation, rig.ADMIN, safe.sign(again.document))
    assert listed(installation, "root-1") == {serial}


def _other_key(safe: Safe, document: bytes, *, place: int) -> bytes:
    answer = read_answer(safe.sign(document))
    stranger = ec.generate_private_key(ec.SECP256R1())
    signatures = list(answer.signatures)
    signatures[place] = stranger.sign(read_request(document).tasks[place].tbs, ec.ECDSA(hashes.SHA256()))
    return dataclasses.replace(answer, signatures=tuple(signatures)).encode()


def _other_keys_certificate(safe: Safe, document: bytes) -> bytes:
    return _other_key(safe, document, place=0)


def _other_keys_list(safe: Safe, document: bytes) -> bytes:
    return _other_key(safe, document, place=1)


def _swapped(safe: Safe, document: bytes) -> bytes:
    answer = read_answer(safe.sign(document))
    return dataclasses.replace(answer, signatures=answer.signatures[::-1]).encode()


def _fewer(safe: Safe, document: bytes) -> bytes:
    answer = read_answer(safe.sign(document))
    return dataclasses.replace(answer, signatures=answer.signatures[:1]).encode()


def _of_another_request(safe: Safe, document: bytes) -> bytes:
    asked = dataclasses.replace(read_request(document), created_by="somebody else")
    return safe.sign(asked.encode())


def _junk(_: Safe, document: bytes) -> bytes:
    return document


def _wordy(safe: Safe, document: bytes) -> bytes:
    answer = read_answer(safe.sign(document))
    return dataclasses.replace(answer, transcript={"said": "a" * 20_000}).encode()


@pytest.mark.parametrize(
    "forge", [_other_keys_certificate, _other_keys_list, _swapped, _fewer, _of_another_request, _junk, _wordy]
)
def test_an_answer_is_believed_for_its_signatures_alone(
    installation: Installation, safe: Safe, forge: Callable[[Safe, bytes], bytes]
) -> None:
    """Anything else is refused, and what waited goes on waiting."""
    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    with pytest.raises(BadRequest):
        answering.accept(installation, rig.ADMIN, forge(safe, asked.document))
    assert asking.find(installation, asked.name).state == "waits"
    assert len(installation.authorities.all()) == 2
    good = safe.sign(asked.document)
    with pytest.raises(Forbidden):
        answering.accept(installation, rig.OPERATOR, good)
    answering.accept(installation, rig.ADMIN, good)
    with pytest.raises(Conflict, match="ended already"):
        answering.accept(installation, rig.ADMIN, good)


def test_what_is_carried_outlives_restarts_and_one_that_died_in_between(
    installation: Installation, safe: Safe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intent is not given up with those of dead processes; a certificate without its CA is not an orphan's yet."""
    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    later = clock.now() + timedelta(days=9)
    with clock.pinned(later):
        assert recording.abandon_intents(installation.store, older_than=clock.timestamp()) == 0
        answer = safe.sign(asked.document)

        def die(*_: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr(hierarchy, "make_real", die)
            answering.accept(installation, rig.ADMIN, answer)
        assert crossing.revoke_orphans(installation, older_than=-1) == []
        done = answering.accept(installation, rig.ADMIN, safe.sign(asked.document))
        assert done.state == "completed"
        assert installation.authorities.get("issuing-2").state == State.PREPARED
        assert audit(installation.store, installation.ledger.verifier).is_sound


def test_one_that_is_withdrawn_can_be_revoked_but_not_taken_in(installation: Installation, safe: Safe) -> None:
    """The key is destroyed, and the certificate, which may have been signed, is on record as given up."""
    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    with pytest.raises(Conflict, match="waits for its answer"):
        asking.request(installation, rig.ADMIN, "root")
    answer = safe.sign(asked.document)
    (row,) = rows(installation.store, Ceremony)
    assert row.key_label in labels(installation)
    assert asking.withdraw(installation, rig.ADMIN, asked.name).state == "withdrawn"
    assert row.key_label not in labels(installation)
    with pytest.raises(Conflict, match="ended already"):
        answering.accept(installation, rig.ADMIN, answer)
    assert count(installation.store, Intent) == 0
    assert certificates.find(installation.store, row.serial).state == "abandoned"
    revocation.revoke(installation, rig.ADMIN, row.serial, RevocationReason.SUPERSEDED)
    again = asking.request(installation, rig.ADMIN, "root")
    answering.accept(installation, rig.ADMIN, safe.sign(again.document))
    assert listed(installation, "root-1") == {row.serial}
    assert audit(installation.store, installation.ledger.verifier).is_sound


def test_a_list_that_was_overtaken_is_refused_before_anything_is_recorded(
    installation: Installation, safe: Safe
) -> None:
    """As after a restored backup, whose numbers have jumped: the CA can be asked for again."""
    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    answer = safe.sign(asked.document)
    with outside(installation.store) as connection:
        jumped = update(RevocationList).where(col(RevocationList.authority_id) == 1)
        connection.execute(jumped.values(number=clock.timestamp() + 1_000_000, due_at=0))
    before = count(installation.store, Certificate)
    with pytest.raises(Conflict, match="has gone on") as caught:
        answering.accept(installation, rig.ADMIN, answer)
    assert caught.value.code == "list-overtaken"
    assert count(installation.store, Certificate) == before
    asking.withdraw(installation, rig.ADMIN, asked.name)
    again = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    answering.accept(installation, rig.ADMIN, safe.sign(again.document))
    assert installation.authorities.get("issuing-2").state == State.PREPARED


def test_a_root_that_signs_no_more_takes_no_answer(installation: Installation, safe: Safe) -> None:
    """Its state is asked when the certificate is recorded, however long the walk took."""
    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    answer = safe.sign(asked.document)
    hierarchy.transition(installation, rig.ADMIN, "root", State.TAINTED)
    with pytest.raises(Unavailable):
        answering.accept(installation, rig.ADMIN, answer)
    assert [row.line for row in rows(installation.store, Authority)] == ["root", "issuing"]


def test_a_root_that_has_ended_meanwhile_takes_no_answer(installation: Installation, safe: Safe) -> None:
    """A refusal, and nothing of it is taken in."""
    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    answer = safe.sign(asked.document)
    before = count(installation.store, Certificate)
    with clock.pinned(clock.from_timestamp(installation.authorities.get("root").not_after + 60)):
        with pytest.raises(Conflict) as caught:
            answering.accept(installation, rig.ADMIN, answer)
        assert caught.value.code == "list-overtaken"
    assert count(installation.store, Certificate) == before


def test_a_key_that_comes_back_signs_again(installation: Installation, safe: Safe) -> None:
    """Under a new label, with lists as before; another key, and one that is here, are refused."""
    stranger = encrypt_pkcs8(rig.pooled_key(), WORDS)
    with pytest.raises(BadRequest, match="not the key"):
        leaving.come_back(installation, rig.ADMIN, "root", stranger, WORDS)
    leaving.come_back(installation, rig.ADMIN, "root", safe.pem, WORDS)
    with pytest.raises(Conflict, match="is here"):
        leaving.come_back(installation, rig.ADMIN, "root", safe.pem, WORDS)
    hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", PLAN)
    assert "root-1" in {made.authority for made in publish(installation)}
    with pytest.raises(Conflict, match="needs no ceremony"):
        asking.request(installation, rig.ADMIN, "root")
    assert audit(installation.store, installation.ledger.verifier).is_sound


def test_the_audit_sees_a_key_that_was_moved_behind_its_back(installation: Installation, safe: Safe) -> None:
    """The label of a key is what the last entry says."""
    with outside(installation.store) as connection:
        connection.execute(update(Authority).where(col(Authority.line) == "root").values(key_label="root-1-abcd"))
    report = audit(installation.store, installation.ledger.verifier)
    assert not report.is_sound


def test_the_audit_sees_a_request_that_was_changed(installation: Installation, safe: Safe) -> None:
    """What waits for its answer is what was given out, and is not gone."""
    asking.request(installation, rig.ADMIN, "root")
    with outside(installation.store) as connection:
        connection.execute(update(Ceremony).values(document=b"{}"))
    (found,) = audit(installation.store, installation.ledger.verifier).findings
    assert found.message == "what root-1-ceremony-1 asked for was changed"
    with outside(installation.store) as connection:
        connection.execute(delete(Ceremony))
    assert not audit(installation.store, installation.ledger.verifier).is_sound


def test_the_offline_machine_judges_by_itself(installation: Installation, safe: Safe) -> None:
    """A request that was made by whoever has taken the installation over: a leaf, a bigger CA, another list."""
    asked = read_request(asking.request(installation, rig.ADMIN, "root", Successor(PLAN)).document)
    leaf = x509.load_der_x509_certificate(rig.issue(installation).certificate).tbs_certificate_bytes
    other = crl.load(installation, "issuing", COMPLETE)
    assert other is not None
    others = x509.load_der_x509_crl(other.crl).tbs_certlist_bytes
    root = x509.load_der_x509_certificate(asked.certificate).tbs_certificate_bytes
    ca, own = asked.tasks
    sha256, sha384 = (scheme_of(kind).identifier for kind in (KeyType.P256, KeyType.P384))
    for task, words in (
        (Task(ca.kind, leaf), "issuer is not the subject"),
        (Task(ca.kind, root), "depth is bounded"),
        (Task(ca.kind, own.tbs), "task 1"),
        (Task(ca.kind, ca.tbs.replace(sha256, sha384)), "another algorithm"),
        (Task(LIST, others), "task 1"),
        (Task(LIST, ca.tbs), "cannot be read"),
    ):
        with pytest.raises(BadRequest, match=words):
            offline.judge(dataclasses.replace(asked, tasks=(task,)))
    with pytest.raises(BadRequest, match="somebody present"):
        safe.sign(asked.encode(), present=[])
    with pytest.raises(KeyUnavailable):
        offline.answer(offline.judge(asked), rig.pooled_key(), present=["Ada"], program="certwright")


def test_a_request_is_read_as_it_was_written(installation: Installation, safe: Safe) -> None:
    """Nothing between its lines: another order, a second field, a space are another file."""
    asked = asking.request(installation, rig.ADMIN, "root", Successor(PLAN))
    assert read_request(asked.document).encode() == asked.document
    value = json.loads(asked.document)
    for changed in (
        json.dumps(value).encode(),
        asked.document + b" ",
        json.dumps({**value, "more": 1}, indent=1, sort_keys=True).encode() + b"\n",
        asked.document.replace(b'"tasks"', b'"tasks": [], "tasks"'),
        b"[" * 100_000,
        b"",
    ):
        with pytest.raises(BadRequest):
            read_request(changed)
    sheet = script.write(offline.judge(read_request(asked.document)), request="request.json")
    assert digest(asked.document)[:4] in sheet
    for words in ("CN=Second Mesh CA", "A CERTIFICATE REVOCATION LIST", "certwright ceremony sign request.json"):
        assert words in sheet
    assert max(map(len, sheet.splitlines())) <= 120
