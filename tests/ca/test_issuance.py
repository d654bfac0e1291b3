"""The issuance cycle, step by step: what is durable when, and what an error at each step leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, NoReturn

import pytest
from cryptography import x509

from ca import certificates, clock, enrolment, hierarchy, issuance, recording, revocation, signing
from ca.authority import State
from ca.enrolment import Wish
from ca.errors import BadRequest, Defect, PolicyRefusal, Unavailable
from ca.installation import Installation
from ca.issuance import issuing
from ca.keys.algorithms import KeyType, SignatureScheme
from ca.models import Answer, Certificate, CertificateName, Intent, LedgerEntry
from ca.recording import Draft
from ca.store import Store
from ca.x509.certificate import fingerprint
from ca.x509.names import parse
from ca.x509.request import read_request
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import count, entries, outside, rows

TABLES = (Intent, Certificate, CertificateName, Answer, LedgerEntry)
ON_SQLITE = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
"""For what has nothing to do with the engine."""


@pytest.fixture
def installation(any_store: Store) -> Installation:
    """A root and an issuing CA, on each engine in turn."""
    return rig.make_installation(any_store)


def counts(installation: Installation) -> list[int]:
    """How many rows each table has that an issuance touches."""
    return [count(installation.store, table) for table in TABLES]


@pytest.fixture
def before(installation: Installation) -> list[int]:
    """The same, before the test does anything."""
    return counts(installation)


def fail(*_args: object, **_named: object) -> NoReturn:
    """Stands in for a step that breaks."""
    raise ZeroDivisionError


def test_the_intent_comes_before_the_signature(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the key is asked to sign, any stranger already sees the intent with the very bytes that are signed."""
    seen = []
    seal = signing.seal

    def look_and_seal(tbs: bytes, issuer: Any) -> tuple[bytes, bytes]:
        (intent,) = rows(installation.store, Intent, tbs=tbs)
        assert rows(installation.store, Certificate, serial=intent.serial) == []
        seen.append(intent.serial)
        return seal(tbs, issuer)

    monkeypatch.setattr(signing, "seal", look_and_seal)
    issued = [rig.issue(installation) for _ in range(3)]
    issued.append(asyncio.run(issuance.aissue(rig.decide(installation), installation)))
    assert [one.serial for one in issued] == seen


def test_every_effect_comes_in_its_order(installation: Installation, before: list[int]) -> None:
    """By hand: nothing before the first effect, an intent after it, certificate and ledger entry after the second."""
    story = issuing(rig.decide(installation, idempotency_key="by-hand"), installation)
    intend = next(story)
    assert counts(installation) == before
    installation.store.write(intend)  # type: ignore[arg-type]
    intents, certificates_, names, answers, ledger = before
    assert counts(installation) == [intents + 1, certificates_, names, answers + 1, ledger]
    complete = story.send(None)
    assert counts(installation) == [intents + 1, certificates_, names, answers + 1, ledger]
    installation.store.write(complete)  # type: ignore[arg-type]
    assert counts(installation) == [intents, certificates_ + 1, names + 1, answers + 1, ledger + 1]
    with pytest.raises(StopIteration) as end:
        story.send(None)
    assert rows(installation.store, Certificate, serial=end.value.value.serial)


def test_certificate_and_ledger_entry_are_one_transaction(installation: Installation, before: list[int]) -> None:
    """Inside the completing transaction nobody outside sees either; if the ledger takes no entry, there is neither."""
    story = issuing(rig.decide(installation), installation)
    installation.store.write(next(story))  # type: ignore[arg-type]
    after_intent = counts(installation)
    complete: Any = story.send(None)

    def look_before_commit(tx: Any) -> None:
        complete(tx)
        tx.flush()
        assert counts(installation) == after_intent

    with outside(installation.store) as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_entry RENAME TO hidden")
    with pytest.raises(Unavailable):
        installation.store.write(complete)
    with outside(installation.store) as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO ledger_entry")
    assert counts(installation) == after_intent
    installation.store.write(look_before_commit)
    intents, certificates_, names, answers, ledger = before
    assert counts(installation) == [intents, certificates_ + 1, names + 1, answers, ledger + 1]


@ON_SQLITE
@pytest.mark.parametrize(
    ("place", "name"),
    [(issuance, "new_serial"), (signing, "build"), (signing, "check"), (Draft, "of"), (Draft, "_guard")],
    ids=["2 serial", "3 build", "4 check", "5 draft", "5 intend"],
)
def test_an_error_before_the_intent_leaves_nothing(
    installation: Installation, before: list[int], monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    """Whatever breaks up to step 5: no row of any kind, and the key has not signed."""
    signed: list[object] = []
    monkeypatch.setattr(SignatureScheme, "sign", lambda *arguments: signed.append(arguments))
    monkeypatch.setattr(place, name, fail)
    with pytest.raises(ZeroDivisionError):
        rig.issue(installation, idempotency_key="key")
    assert counts(installation) == before
    assert signed == []


@pytest.mark.parametrize("place", ["6 seal", "8 complete", "8 ledger"])
def test_an_error_after_the_intent_leaves_a_revocable_intent(
    installation: Installation, before: list[int], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whatever breaks from step 6 to step 8: exactly the intent remains, which is then listed and can be revoked."""
    with monkeypatch.context() as patched:
        match place:
            case "6 seal":
                patched.setattr(signing, "seal", fail)
            case "8 complete":
                patched.setattr(Draft, "complete", fail)
            case _:
                patched.setattr(recording.log, "append", fail)
        with pytest.raises(ZeroDivisionError):
            rig.issue(installation)
    intents, *others = before
    assert counts(installation) == [intents + 1, *others]
    (intent,) = rows(installation.store, Intent)
    assert recording.abandon_intents(installation.store, older_than=clock.timestamp() + 1) == 1
    assert certificates.find(installation.store, intent.serial).state == "abandoned"
    revocation.revoke(installation, rig.OPERATOR, intent.serial, RevocationReason.UNSPECIFIED)
    assert certificates.find(installation.store, intent.serial).state == "revoked"


@ON_SQLITE
def test_a_bad_signature_is_not_released(
    installation: Installation, before: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bit that flips while signing is caught by our own check: no certificate, only the intent (rows 63 and 64)."""
    sign = SignatureScheme.sign

    def flip(self: SignatureScheme, key: Any, data: bytes) -> bytes:
        signature = bytearray(sign(self, key, data))
        signature[-1] ^= 1
        return bytes(signature)

    monkeypatch.setattr(SignatureScheme, "sign", flip)
    with pytest.raises(Defect):
        rig.issue(installation)
    assert counts(installation) == [before[0] + 1, *before[1:]]


@ON_SQLITE
@pytest.mark.parametrize("change", [{"serial": 1 << 140}, {"names": (parse("dns:evil.svc.example.internal"),)}])
def test_what_was_built_is_held_against_what_was_decided(
    installation: Installation, before: list[int], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """A builder that writes another serial or name than was ordered is found out before anything is recorded."""
    build = signing.build
    monkeypatch.setattr(signing, "build", lambda order, issuer: build(order._replace(**change), issuer))
    with pytest.raises(Defect):
        rig.issue(installation)
    assert counts(installation) == before


@ON_SQLITE
def test_possession_is_proved_first(installation: Installation, before: list[int]) -> None:
    """A request that its key did not sign changes nothing (step 1)."""
    csr = bytearray(rig.make_csr(rig.WORKLOAD))
    csr[-1] ^= 1
    decision = enrolment.authorise_issue(installation, rig.OPERATOR, "mesh", read_request(bytes(csr)), Wish())
    with pytest.raises(BadRequest):
        issuance.issue(decision, installation)
    assert counts(installation) == before


@ON_SQLITE
def test_an_expired_authority_signs_nothing(installation: Installation, before: list[int]) -> None:
    """From the second in which the issuing CA ends on, issuance is refused with the reason."""
    end = clock.from_timestamp(installation.authorities.get("issuing").not_after)
    with clock.pinned(end - timedelta(seconds=1)):
        assert rig.issue(installation).not_after == int(end.timestamp())
        before = counts(installation)
    with clock.pinned(end), pytest.raises(Unavailable) as caught:
        rig.issue(installation)
    assert caught.value.code == "authority-expired"
    assert counts(installation) == before


def stop_authority(installation: Installation) -> None:
    """Taint the issuing CA."""
    hierarchy.transition(installation, rig.ADMIN, "issuing-1", State.TAINTED)


def block_key(installation: Installation) -> None:
    """Block the key that the test's requests carry."""
    spki = rig.make_request(rig.WORKLOAD).spki
    revocation.block_key(installation, rig.ADMIN, sha256(spki).digest(), "test")


@ON_SQLITE
@pytest.mark.parametrize(
    ("happens", "code"),
    [(stop_authority, "no-active-authority"), (block_key, "policy-refused")],
    ids=["taint", "block"],
)
@pytest.mark.parametrize("after_effects", [0, 1])
def test_what_stops_an_issuance_half_way(
    installation: Installation, happens: Callable[[Installation], None], code: str, after_effects: int
) -> None:
    """A CA that is tainted, or a key that is blocked, before or after the intent: no certificate comes of it."""
    story = issuing(rig.decide(installation), installation)
    effect = next(story)
    if after_effects:
        installation.store.write(effect)  # type: ignore[arg-type]
        effect = story.send(None)
    happens(installation)
    with pytest.raises((Unavailable, PolicyRefusal)) as caught:
        installation.store.write(effect)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert count(installation.store, Intent) == after_effects
    assert entries(installation.store, "certificate-issued", profile="mesh") == []


@pytest.mark.parametrize("seconds_left", [86400 * 3, 86400, 86399, 3600, 61, 2, 1])
def test_a_leaf_never_outlives_its_issuer(store: Store, seconds_left: int) -> None:
    """Life is what was decided, inclusive of both seconds, cut where the issuer ends; it never begins too early."""
    installation = rig.make_installation(store)
    issuer = installation.authorities.issuer_for("issuing").facts
    with clock.pinned(clock.from_timestamp(issuer.not_after - seconds_left)):
        certificate = rig.parsed(rig.issue(installation))
        now = clock.timestamp()
    begins, ends = (int(t.timestamp()) for t in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
    assert begins == now - 60
    assert ends == min(begins + 86400 - 1, issuer.not_after)


NAMES = [
    ("mesh", KeyType.P256, [rig.WORKLOAD, "api.payments.svc.example.internal"]),
    ("server", KeyType.RSA2048, ["db.eu.example.internal", "10.1.2.3", "::1"]),
    ("device", KeyType.ED25519, ["s-1.devices.example.internal", "urn:dev:mac:0024befffe804ff1"]),
    ("client", KeyType.P384, ["ada@example.internal"]),
    ("ephemeral", KeyType.P256, [rig.WORKLOAD]),
]


@ON_SQLITE
@pytest.mark.parametrize(("profile", "key_type", "names"), NAMES, ids=[name for name, _, _ in NAMES])
def test_answer_certificate_row_and_ledger_agree(
    installation: Installation, profile: str, key_type: KeyType, names: list[str]
) -> None:
    """Names, profile, life, requester and fingerprint are the same wherever they are written down."""
    issued = rig.issue(installation, *names, profile=profile, key=rig.pooled_key(key_type))
    certificate, stored = rig.parsed(issued), certificates.find(installation.store, issued.serial)
    typed = [str(parse(name)) for name in names]
    (entry,) = entries(installation.store, "certificate-issued", subject=issued.serial)
    indexed = {row.name for row in rows(installation.store, CertificateName, serial=issued.serial)}
    assert [str(name) for name in certificates.names_of(certificate)] == typed == entry["names"]
    assert indexed == set(typed)
    assert issued.profile == stored.profile == entry["profile"] == profile
    assert entry["profile_sha256"] == installation.profiles[profile].sha256
    assert stored.requested_by == entry["by"] == rig.OPERATOR.identity
    assert f"{certificate.serial_number:x}" == issued.serial == stored.serial
    assert stored.der == issued.certificate
    assert fingerprint(issued.certificate) == entry["sha256"]
    ends = int(certificate.not_valid_after_utc.timestamp())
    assert ends == issued.not_after == stored.not_after == entry["not_after"]
    assert issued.authority == stored.authority == entry["authority"] == "issuing-1"
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(issued.chain[0]))


def test_coroutines_issue_together(installation: Installation) -> None:
    """A hundred coroutines get a hundred certificates, all recorded, and share commits."""
    decisions = [rig.decide(installation, f"spiffe://example.internal/ns/a/sa/w{place}") for place in range(100)]
    batches = installation.store.commits.batches

    async def all_at_once() -> list[issuance.Issued]:
        return await asyncio.gather(*(issuance.aissue(decision, installation) for decision in decisions))

    issued = asyncio.run(all_at_once())
    stored = {one.serial: one for one in certificates.find_many(installation.store, [one.serial for one in issued])}
    assert [stored[one.serial].der for one in issued] == [one.certificate for one in issued]
    assert len(stored) == 100
    assert installation.store.commits.batches - batches < 100
