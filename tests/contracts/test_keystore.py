"""The `KeyStore` port's contract (`ca/keys/__init__.py`), asked of every store: whoever adds one adds a line here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest, Conflict, KeyUnavailable
from ca.keys import KeyImport, KeyStore, check_label, pkcs8
from ca.keys.algorithms import KeyType, key_type_of, scheme_of, spki
from ca.keys.memory import MemoryKeyStore
from ca.keys.software import SoftwareKeyStore
from ca.secret import Secret
from tests import rig
from tests.softhsm import soft_token

PASSPHRASE = Secret("correct horse battery staple")


@contextmanager
def _in_token(directory: Path) -> Iterator[KeyStore]:
    with soft_token(directory.parent / f"{directory.name}-token") as token:
        yield token.store()


STORES: dict[str, Callable[[Path], AbstractContextManager[KeyStore]]] = {
    "memory": lambda directory: nullcontext(MemoryKeyStore()),
    "software": lambda directory: nullcontext(SoftwareKeyStore(directory / "keys", PASSPHRASE)),
    "pkcs11": _in_token,
}
CANNOT = {"pkcs11": {KeyType.MLDSA44, KeyType.MLDSA65, KeyType.MLDSA87}}
"""Kinds of keys that a store refuses to make."""
BAD_LABELS = [
    *("", " ", ".", "..", "../x", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", ".hidden", "-rf", "_a"),
    *("Upper", "lower-then-UPPER", "a b", "a\nb", "a\n", "a\0", "\0", "a\0.pem", "ä", "a:b", "a*", "a%2fb", "a" * 65),
]


@pytest.fixture(params=STORES)
def keys(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyStore]:
    """An empty store of each kind; those that derive a key from a passphrase take less pains about it than usual."""
    monkeypatch.setattr(pkcs8, "SCRYPT_N", 1 << 10)
    with STORES[request.param](tmp_path) as opened:
        yield opened
    others = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path / "keys"]
    assert others == [], "a key was written outside the store's directory"


def put(keys: KeyStore, label: str) -> None:
    """Bring the pooled P-256 key to a store that takes keys."""
    if not isinstance(keys, KeyImport):
        pytest.skip("this store makes its own keys")
    keys.put(label, rig.pooled_key())


@pytest.mark.parametrize("key_type", KeyType)
def test_a_created_key_signs(keys: KeyStore, key_type: KeyType, request: pytest.FixtureRequest) -> None:
    """A key of each type is made, found again under its label, and signs what its public key verifies; or refused."""
    if key_type in CANNOT.get(request.node.callspec.params["keys"], ()):
        with pytest.raises(BadRequest) as raised:
            keys.create("issuing-1", key_type)
        assert raised.value.code == "key-type-unsupported"
        with pytest.raises(KeyUnavailable):
            keys.load("issuing-1")
        return
    created = keys.create("issuing-1", key_type)
    loaded = keys.load("issuing-1")
    assert key_type_of(loaded.public_key()) is key_type
    assert spki(loaded.public_key()) == spki(created.public_key())
    scheme = scheme_of(key_type)
    for key in (created, loaded):
        signature = scheme.sign(key, b"to be signed")
        assert scheme.verify(created.public_key(), signature, b"to be signed")
        assert not scheme.verify(created.public_key(), signature, b"to be signed otherwise")


def test_a_key_acts_as_one_of_the_library(keys: KeyStore) -> None:
    """Code that signs cannot tell a stored key from one that `cryptography` made: its builders take it."""
    keys.create("issuing-1", KeyType.P256)
    builder = x509.CertificateSigningRequestBuilder().subject_name(rig.common_name("a"))
    assert builder.sign(keys.load("issuing-1"), hashes.SHA256()).is_signature_valid


def test_two_labels_are_two_keys(keys: KeyStore) -> None:
    """Every label has a key of its own."""
    one, other = keys.create("issuing-1", KeyType.P256), keys.create("issuing-2", KeyType.P256)
    assert spki(one.public_key()) != spki(other.public_key())
    assert spki(keys.load("issuing-1").public_key()) == spki(one.public_key())


def test_a_label_is_taken_once(keys: KeyStore) -> None:
    """A second key under a label is a conflict, however it comes, and the first one stays what it was."""
    first = keys.create("issuing-1", KeyType.P256)
    with pytest.raises(Conflict) as raised:
        keys.create("issuing-1", KeyType.ED25519)
    assert raised.value.code == "key-exists"
    if isinstance(keys, KeyImport):
        with pytest.raises(Conflict):
            keys.put("issuing-1", rig.pooled_key())
    assert spki(keys.load("issuing-1").public_key()) == spki(first.public_key())


def test_an_imported_key_is_kept(keys: KeyStore) -> None:
    """A key that is brought to the store is the one that is found there, and its label is taken like any other."""
    put(keys, "imported")
    assert spki(keys.load("imported").public_key()) == spki(rig.pooled_key().public_key())
    with pytest.raises(Conflict):
        keys.create("imported", KeyType.P256)


def test_a_missing_key_is_unavailable(keys: KeyStore) -> None:
    """The error names the key that is not there."""
    with pytest.raises(KeyUnavailable, match="'issuing-1'"):
        keys.load("issuing-1")


def test_a_destroyed_key_is_gone(keys: KeyStore) -> None:
    """After `destroy` the key cannot be loaded; destroying what is not there is silent, and harms nobody else."""
    keys.create("issuing-1", KeyType.P256)
    keys.create("issuing-10", KeyType.P256)
    keys.destroy("issuing-1")
    with pytest.raises(KeyUnavailable):
        keys.load("issuing-1")
    keys.destroy("issuing-1")
    keys.destroy("never-there")
    keys.load("issuing-10")


@pytest.mark.parametrize("label", BAD_LABELS, ids=ascii)
def test_a_label_that_could_name_a_path_is_refused(keys: KeyStore, label: str) -> None:
    """Nothing is made under a label with a slash, a dot first, an upper-case letter, a control character."""
    with pytest.raises(BadRequest) as raised:
        keys.create(label, KeyType.P256)
    assert raised.value.code == "bad-key-label"
    if isinstance(keys, KeyImport):
        with pytest.raises(BadRequest):
            keys.put(label, rig.pooled_key())
    with pytest.raises((BadRequest, KeyUnavailable)):
        keys.load(label)


@pytest.mark.parametrize("label", ["a", "0", "issuing-1-0badcafe", "a..", "a.pem", "a_b", "a" * 64])
def test_a_plain_label_is_taken(keys: KeyStore, label: str) -> None:
    """Letters, digits, and dots, hyphens and underscores after the first, 64 in all."""
    put(keys, label)
    assert spki(keys.load(label).public_key()) == spki(rig.pooled_key().public_key())


@given(st.text(max_size=70))
@example("a" * 64)
@example("a\n")
@settings(deadline=None, max_examples=150)
def test_a_label_is_a_plain_file_name(label: str) -> None:
    """Whatever passes for a label is a name without a path, that no shell and no file system reads otherwise."""
    plain = set("abcdefghijklmnopqrstuvwxyz0123456789")
    is_good = 1 <= len(label) <= 64 and label[0] in plain and not set(label) - plain - set("._-")
    if is_good:
        assert Path("/keys") / check_label(label) == Path(f"/keys/{label}")
        return
    with pytest.raises(BadRequest):
        check_label(label)


def test_of_sixteen_threads_one_gets_the_label(keys: KeyStore) -> None:
    """When many make a key under one label at once, one of them has made it and all others are told so."""
    outcomes: list[object] = []
    gate = threading.Barrier(16)

    def create() -> None:
        gate.wait(60)
        try:
            outcomes.append(keys.create("issuing-1", KeyType.P256))
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    conflicts = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    [winner] = [outcome for outcome in outcomes if not isinstance(outcome, Conflict)]
    assert len(conflicts) == 15
    assert not isinstance(winner, Exception), winner
    assert spki(keys.load("issuing-1").public_key()) == spki(winner.public_key())  # type: ignore[attr-defined]


def test_threads_with_labels_of_their_own_do_not_disturb_each_other(keys: KeyStore) -> None:
    """Keys that are made, loaded and destroyed side by side all come out right."""
    failures: list[BaseException] = []

    def live(place: int) -> None:
        try:
            for turn in range(3):
                label = f"key-{place}-{turn}"
                key = keys.create(label, KeyType.P256)
                assert spki(keys.load(label).public_key()) == spki(key.public_key())
                keys.destroy(label)
                with pytest.raises(KeyUnavailable):
                    keys.load(label)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=live, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
