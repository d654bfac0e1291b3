"""A proof that somebody carries away: it binds a certificate's every byte to a head; nothing changed passes."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest, Conflict, NotFound
from ca.installation import Installation
from ca.issuance import Issued
from ca.ledger import proving
from ca.ledger.checkpoint import Head, Verifier, open_head, sign_head
from ca.ledger.evidence import Earlier, Evidence, check
from ca.ledger.proving import Proof
from ca.store import open_store
from ca.x509.bundle import pem_certificate
from tests import rig

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def evidence_of(proof: Proof, *, kept: int | None = None, certificate: bytes | None = None) -> Evidence:
    """What is carried away of a proof."""
    assert proof.checkpoint is not None
    earlier = Earlier(kept, proof.consistency) if kept is not None and proof.consistency is not None else None
    pem = None if certificate is None else pem_certificate(certificate)
    return Evidence(proof.entry.decode(), proof.position, proof.inclusion, proof.checkpoint, earlier, pem)


@contextmanager
def fresh() -> Iterator[Installation]:
    """An installation in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"sqlite:///{directory}/store.db")
        try:
            yield rig.make_installation(store)
        finally:
            store.close()


@pytest.fixture(scope="module")
def carried() -> Iterator[tuple[Evidence, Verifier, Head, Issued]]:
    """A proof that leads from a head that was kept to one that covers a certificate."""
    with fresh() as installation:
        first = rig.issue(installation)
        kept = head_of(installation)
        issued = rig.issue(installation)
        rig.issue(installation)
        installation.ledger.sequence()
        proof = proving.prove_issuance(installation.store, issued.serial, kept=kept.size)
        assert first.serial != issued.serial
        evidence = evidence_of(proof, kept=kept.size, certificate=issued.certificate)
        yield evidence, installation.ledger.verifier, kept, issued


def head_of(installation: Installation) -> Head:
    """The newest head over everything so far."""
    installation.ledger.sequence()
    row = installation.ledger.head()
    assert row is not None
    return open_head(row.checkpoint, installation.ledger.verifier)


def is_refused(evidence: Evidence | str, verifier: Verifier, kept: Head | None) -> bool:
    """Whether the check says no, in one of its own words."""
    try:
        check(Evidence.parse(evidence) if isinstance(evidence, str) else evidence, verifier, kept=kept)
    except BadRequest:
        return True
    return False


def test_a_certificate_is_proved_to_who_trusts_a_verifier_key_alone(
    carried: tuple[Evidence, Verifier, Head, Issued],
) -> None:
    """From the text that was carried away, without the store: which certificate, by whom, under which head."""
    evidence, verifier, kept, issued = carried
    again = Evidence.parse(evidence.to_json())
    proved = check(again, Verifier.parse(str(verifier)), kept=kept, certificate=issued.certificate)
    assert proved.entry["action"] == "certificate-issued"
    assert proved.entry["subject"] == issued.serial
    assert proved.certificate == proved.entry["sha256"]
    assert proved.continues == kept.size < proved.head.size


def test_every_bit_of_the_certificate_is_bound(carried: tuple[Evidence, Verifier, Head, Issued]) -> None:
    """The entry names the hash of all its bytes: no other certificate is proved, even with the same serial number."""
    evidence, verifier, kept, issued = carried
    plain = dataclasses.replace(evidence, certificate=None)
    for place in range(len(issued.certificate) * 8):
        changed = bytearray(issued.certificate)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(BadRequest):
            check(plain, verifier, kept=kept, certificate=bytes(changed))
        if place % 97 == 0:
            assert is_refused(
                dataclasses.replace(evidence, certificate=pem_certificate(bytes(changed))), verifier, kept
            )


def test_every_bit_of_the_proof_matters(carried: tuple[Evidence, Verifier, Head, Issued]) -> None:
    """Entry, position, each hash, each bit of the head and of its signature: one changed, and it is refused."""
    evidence, verifier, kept, _ = carried
    for changed in flipped(evidence.entry.encode()):
        assert is_refused(dataclasses.replace(evidence, entry=changed.decode(errors="surrogateescape")), verifier, kept)
    for changed in flipped(evidence.head.encode()):
        assert is_refused(dataclasses.replace(evidence, head=changed.decode(errors="surrogateescape")), verifier, kept)
    for bit in range(20):
        assert is_refused(dataclasses.replace(evidence, position=evidence.position ^ 1 << bit), verifier, kept)
    assert evidence.earlier is not None
    for hashes, of_earlier in ((evidence.inclusion, False), (evidence.earlier.proof, True)):
        for place, one in enumerate(hashes):
            for changed in flipped(one):
                other = [*hashes[:place], changed, *hashes[place + 1 :]]
                earlier = Earlier(kept.size, other) if of_earlier else evidence.earlier
                inclusion = evidence.inclusion if of_earlier else other
                assert is_refused(dataclasses.replace(evidence, inclusion=inclusion, earlier=earlier), verifier, kept)


def flipped(content: bytes) -> Iterator[bytes]:
    """The same bytes with one bit changed: every bit in turn."""
    for place in range(len(content) * 8):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)


def test_every_bit_of_the_file_matters(carried: tuple[Evidence, Verifier, Head, Issued]) -> None:
    """A file with one bit changed is refused, or says exactly the same (white space)."""
    evidence, verifier, kept, _ = carried
    for changed in flipped(evidence.to_json().encode()):
        text = changed.decode(errors="replace")
        assert is_refused(text, verifier, kept) or same(Evidence.parse(text), evidence)


def same(one: Evidence, other: Evidence) -> bool:
    """Whether two files say the same; the frame around a certificate's base64 is no part of it."""
    plain, expected = (dataclasses.replace(each, certificate=None).to_json() for each in (one, other))
    return plain == expected


def test_another_key_or_another_ledger_proves_nothing(carried: tuple[Evidence, Verifier, Head, Issued]) -> None:
    """The same tree signed by somebody else, and our key under another name."""
    evidence, verifier, kept, _ = carried
    head = open_head(evidence.head, verifier)
    forged = dataclasses.replace(evidence, head=sign_head(head, _KEY))
    assert is_refused(forged, verifier, kept)
    assert is_refused(evidence, Verifier(verifier.name, _KEY.public_key()), None)
    assert is_refused(evidence, Verifier("other.example/ledger", verifier.key), None)


def test_a_fork_is_refused() -> None:
    """A head that our own key has signed over another history does not continue the one that was kept."""
    verifier = Verifier("x.example/ledger", _KEY.public_key())
    with fresh() as installation:
        issued = rig.issue(installation)
        kept = head_of(installation)
        proof = proving.prove_issuance(installation.store, issued.serial)
        evidence = evidence_of(proof)
        other = Head(kept.origin, kept.size, bytes(32))
        for fork in (other, Head(kept.origin, kept.size - 1, bytes(32)), Head(kept.origin, kept.size + 1, kept.root)):
            assert is_refused(evidence, installation.ledger.verifier, fork)
        assert not is_refused(evidence, installation.ledger.verifier, kept)
        assert is_refused(evidence, verifier, None)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "\ud800", "[" * 100_000, '{"format": "certwright-ledger-proof-1"}', "x" * (1 << 21)],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    """In our own words, whatever it is."""
    with pytest.raises(BadRequest):
        Evidence.parse(text)


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(), st.lists, max_leaves=4)


@given(field=st.sampled_from(["entry", "position", "inclusion", "head", "earlier", "certificate"]), value=_JSON)
@settings(deadline=None, max_examples=200)
def test_a_field_of_another_kind_is_refused(
    carried: tuple[Evidence, Verifier, Head, Issued], field: str, value: object
) -> None:
    """No type error, no crash: refused, or (without what is optional) still true."""
    evidence, verifier, kept, _ = carried
    fields = json.loads(evidence.to_json()) | {field: value}
    allowed = field == "certificate" and value is None
    assert is_refused(json.dumps(fields), verifier, kept) != allowed


def test_what_the_ledger_does_not_have_is_not_proved(installation: Installation) -> None:
    """A serial number that was never issued, another certificate under one that was, a place or a head beyond it."""
    issued = rig.issue(installation)
    kept = head_of(installation)
    store = installation.store
    asks: list[Callable[[], object]] = [
        lambda: proving.prove_issuance(store, "abcdef"),
        lambda: proving.prove_issuance(store, issued.serial, sha256="0" * 64),
        lambda: proving.prove_entry(store, kept.size),
    ]
    for ask in asks:
        with pytest.raises(NotFound):
            ask()
    beyond: list[Callable[[], object]] = [
        lambda: proving.prove_issuance(store, issued.serial, kept=kept.size + 1),
        lambda: proving.prove_consistency(store, kept.size + 1),
        lambda: proving.prove_consistency(store, 1, kept.size + 1),
    ]
    for ask in beyond:
        with pytest.raises(Conflict, match="newest head"):
            ask()
    with pytest.raises(BadRequest):
        proving.prove_consistency(store, 3, 2)
    rig.issue(installation)
    with pytest.raises(Conflict, match="no head covers"):
        proving.prove_issuance(store, last_serial(installation))


def last_serial(installation: Installation) -> str:
    """The serial number of what was issued last and is not numbered yet."""
    return rig.issue(installation).serial


def test_a_ca_certificate_is_proved_by_its_creation(installation: Installation) -> None:
    """A root that nobody issued stands in the ledger as the authority that was created."""
    root = installation.authorities.roots()[0]
    head_of(installation)
    evidence = evidence_of(proving.prove_issuance(installation.store, root.serial), certificate=root.certificate)
    proved = check(evidence, installation.ledger.verifier)
    assert proved.entry["action"] == "authority-created"
    issuing = installation.authorities.issuer_for("issuing")
    with pytest.raises(BadRequest, match="another certificate"):
        check(dataclasses.replace(evidence, certificate=None), installation.ledger.verifier, certificate=issuing.der)
