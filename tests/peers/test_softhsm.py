"""Keys in SoftHSM2: they stay there, OpenSSL verifies what they sign, and the token may go away and come back."""

from __future__ import annotations

import copy
import ctypes
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pkcs11 import Attribute, ObjectClass

from ca.errors import BadRequest, KeyUnavailable
from ca.keys import check_reachable, pkcs11_sessions
from ca.keys.algorithms import KeyType, PrivateKey, scheme_of
from ca.keys.pkcs11 import Pkcs11KeyStore
from ca.keys.pkcs11_module import open_module
from ca.store import Store
from pki.product import Product
from tests import peer, rig
from tests.softhsm import PIN, SoftToken, soft_token

KINDS = [KeyType.P256, KeyType.P384, KeyType.RSA2048, KeyType.RSA3072, KeyType.ED25519]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftToken]:
    """A fresh token, which is looked for again at once after it was away."""
    monkeypatch.setattr(pkcs11_sessions, "PAUSE", 0.0)
    with soft_token(tmp_path / "token") as made:
        yield made


@pytest.fixture
def keys(token: SoftToken) -> Pkcs11KeyStore:
    """A store over it."""
    return token.store()


def signs(key: PrivateKey, key_type: KeyType = KeyType.P256) -> bool:
    """Whether it signs what its public half verifies."""
    scheme = scheme_of(key_type)
    return scheme.verify(key.public_key(), scheme.sign(key, b"data"), b"data")


@pytest.mark.parametrize("key_type", KINDS)
def test_openssl_verifies_what_the_token_signs(keys: Pkcs11KeyStore, tmp_path: Path, key_type: KeyType) -> None:
    """With the public key alone."""
    key = keys.create("issuing-1", key_type)
    (tmp_path / "data").write_bytes(b"to be signed")
    (tmp_path / "signature").write_bytes(scheme_of(key_type).sign(key, b"to be signed"))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    digest = {KeyType.ED25519: ["-rawin"], KeyType.P384: ["-rawin", "-digest", "sha384"]}.get(
        key_type, ["-rawin", "-digest", "sha256"]
    )
    done = peer.run(
        *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "key.pem", *digest),
        *("-in", tmp_path / "data", "-sigfile", tmp_path / "signature"),
    )
    assert done.returncode == 0, done


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.P384, KeyType.RSA3072])
def test_openssl_verifies_a_hierarchy_of_the_token(
    keys: Pkcs11KeyStore, store: Store, tmp_path: Path, key_type: KeyType
) -> None:
    """Root, issuing CA, leaf and CRL, all signed in the token."""
    installation = rig.make_installation(store, keys=keys, key_type=key_type)
    issued = rig.issue(installation)
    root = installation.authorities.get("root").certificate
    for name, content in (("root", root), ("issuing", issued.chain[0]), ("leaf", issued.certificate)):
        peer.run("openssl", "x509", "-inform", "DER", "-out", tmp_path / f"{name}.pem", stdin=content)
    done = peer.run(
        *("openssl", "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem"),
        tmp_path / "leaf.pem",
    )
    assert done.returncode == 0, done


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.RSA2048, KeyType.ED25519])
def test_the_private_key_does_not_come_out(token: SoftToken, keys: Pkcs11KeyStore, key_type: KeyType) -> None:
    """Not through the key, nor a copy of it, nor by asking the token itself with the PIN, which also says so of it."""
    key = keys.create("issuing-1", key_type)
    for one in (key, copy.copy(key), copy.deepcopy(key)):
        with pytest.raises(BadRequest) as raised:
            one.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        assert raised.value.code == "key-in-token"
    for name in ("private_numbers", "private_bytes_raw"):
        if hasattr(key, name):
            with pytest.raises(BadRequest):
                getattr(key, name)()
    secret = Attribute.PRIVATE_EXPONENT if key_type.is_rsa else Attribute.VALUE
    seen: list[object] = []

    def ask(lease: pkcs11_sessions.Lease) -> None:
        writing = lease.session.token.open(rw=True)
        [found] = writing.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
        seen.append([found[n] for n in (Attribute.SENSITIVE, Attribute.EXTRACTABLE, Attribute.NEVER_EXTRACTABLE)])
        with pytest.raises(pkcs11.PKCS11Error):
            found[Attribute.EXTRACTABLE] = True
        with pytest.raises(pkcs11.AttributeSensitive):
            found[secret]
        writing.close()

    keys._sessions.use(ask)
    assert seen == [[True, False, True]]


def test_a_key_that_the_token_lets_out_is_refused(token: SoftToken, keys: Pkcs11KeyStore) -> None:
    """Somebody put an extractable key under a label: it is not taken for a hardware key."""

    def plant(lease: pkcs11_sessions.Lease) -> None:
        writing = lease.session.token.open(rw=True)
        writing.generate_keypair(
            *(pkcs11.KeyType.RSA, 2048), label="planted", id=b"1", store=True,
            private_template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False},
        )  # fmt: skip
        writing.close()

    keys._sessions.use(plant)
    with pytest.raises(KeyUnavailable, match="lets out"):
        keys.load("planted")


def test_what_such_a_key_cannot_do_is_refused(keys: Pkcs11KeyStore) -> None:
    """Agreement, decryption, PSS: a plain refusal each."""
    elliptic, rsa = keys.create("issuing-1", KeyType.P256), keys.create("issuing-2", KeyType.RSA2048)
    with pytest.raises(UnsupportedAlgorithm):
        elliptic.exchange(ec.ECDH(), elliptic.public_key())
    with pytest.raises(UnsupportedAlgorithm):
        rsa.decrypt(b"", padding.PKCS1v15())
    with pytest.raises(UnsupportedAlgorithm):
        rsa.sign(b"", padding.PSS(padding.MGF1(SHA256()), 32), SHA256())


def test_killed_sessions_are_not_noticed(token: SoftToken, keys: Pkcs11KeyStore) -> None:
    """A signature that provably was not made is asked for again, in a new session."""
    key = keys.create("issuing-1", KeyType.P256)
    for _ in range(5):
        assert signs(key)
        token.kill_sessions()
    assert signs(key)
    token.kill_sessions()
    assert signs(keys.load("issuing-1"))
    token.kill_sessions()
    assert signs(keys.create("issuing-2", KeyType.P256))


def test_a_token_that_was_away_signs_again(token: SoftToken, keys: Pkcs11KeyStore) -> None:
    """Refused with the reason while it is away, and then as before: the same key object, without a restart."""
    key = keys.create("issuing-1", KeyType.P256)
    for _ in range(2):
        token.take_away()
        for attempt in (lambda: signs(key), lambda: keys.load("issuing-1"), lambda: check_reachable(key)):
            with pytest.raises(KeyUnavailable, match="not there"):
                attempt()
        with pytest.raises(KeyUnavailable):
            keys.create("issuing-2", KeyType.P256)
        token.put_back()
        assert signs(key)
        check_reachable(key)


def test_nothing_is_left_for_the_next_tls_connection(token: SoftToken, keys: Pkcs11KeyStore) -> None:
    """SoftHSM shares OpenSSL with Python's `ssl`: what it leaves in the error queue would break a handshake."""
    openssl = ctypes.CDLL(str(token.module))  # its symbols, and those of what it is linked with
    openssl.ERR_peek_error.restype = ctypes.c_ulong
    key = keys.create("issuing-1", KeyType.P256)
    assert openssl.ERR_peek_error() == 0
    with open_module(token.module).alone():
        open_module(token.module).restart()
        assert openssl.ERR_peek_error() != 0, "this test sees nothing"
    assert openssl.ERR_peek_error() == 0
    token.take_away()
    with pytest.raises(KeyUnavailable):
        signs(key)
    assert openssl.ERR_peek_error() == 0
    token.put_back()
    assert signs(key)
    assert openssl.ERR_peek_error() == 0


def test_a_store_may_be_opened_before_its_token(token: SoftToken) -> None:
    """What does not sign works without it."""
    token.take_away()
    keys = token.store()
    with pytest.raises(KeyUnavailable, match="not there"):
        keys.load("issuing-1")
    token.put_back()
    keys.create("issuing-1", KeyType.P256)


def test_threads_sign_while_sessions_are_killed(token: SoftToken, keys: Pkcs11KeyStore) -> None:
    """Sixteen threads, more than there are sessions: every answer verifies, every refusal is a `KeyUnavailable`."""
    key = keys.create("issuing-1", KeyType.P256)
    outcomes: list[object] = []

    def work() -> None:
        for _ in range(20):
            try:
                outcomes.append(signs(key))
            except KeyUnavailable:
                outcomes.append("refused")

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        token.kill_sessions()
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert len(outcomes) == 320
    assert set(outcomes) <= {True, "refused"}
    assert signs(key)


def test_a_wrong_pin_is_named_and_not_shown(token: SoftToken) -> None:
    """Neither the PIN nor where it failed inside; and with the right one the same token opens."""
    with pytest.raises(KeyUnavailable, match="refuses the PIN") as raised:
        token.store("wrong-pin").create("issuing-1", KeyType.P256)
    assert "wrong-pin" not in f"{raised.value.message} {raised.value.hint}"
    token.store().create("issuing-1", KeyType.P256)


def certwright(token: SoftToken, state: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from pki.cli import main; main()", "--state", str(state), *argv],
        capture_output=True, text=True, timeout=300, env={**token.environment, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def made(token: SoftToken, state: Path, pin: Path) -> subprocess.CompletedProcess[str]:
    """`certwright init` with the token."""
    return certwright(token, state, "init", "--pkcs11-uri", token.uri, "--pin-file", str(pin), "--json")


@pytest.fixture
def pin(tmp_path: Path) -> Path:
    """The file with the PIN."""
    path = tmp_path / "pin"
    path.write_text(f"{PIN}\n")
    path.chmod(0o400)
    return path


def test_an_installation_with_a_token(token: SoftToken, tmp_path: Path, pin: Path) -> None:
    """`init` makes the CAs' keys in the token and none in files; the product opens, issues, and publishes lists."""
    state = tmp_path / "state"
    done = made(token, state, pin)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["issuing"] == "issuing-1"
    assert {path.name.split("-")[0] for path in (state / "keys").iterdir()} == {"ledger"}
    assert all(PIN not in path.read_text(errors="replace") for path in state.rglob("*") if path.is_file())
    with Product.open(state) as product:
        labels = [row.key_label for row in product.installation.authorities.all()]
        assert all(isinstance(product.installation.keys.load(label), ec.EllipticCurvePrivateKey) for label in labels)
        assert rig.issue(product.installation, "spiffe://certwright.internal/ns/payments/sa/api").chain
        product.settle()


def test_init_says_what_is_wrong_with_the_token(token: SoftToken, tmp_path: Path, pin: Path) -> None:
    """A token that is not there, a PIN that is wrong, a PIN that others read, a PIN in the URI."""
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-pin")
    wrong.chmod(0o400)
    open_to_all = tmp_path / "open"
    open_to_all.write_text(PIN)
    open_to_all.chmod(0o644)
    cases: list[tuple[str, Path, str]] = [
        (token.uri.replace("certwright", "another"), pin, "is not there"),
        (token.uri, wrong, "refuses the PIN"),
        (token.uri, open_to_all, "others may read"),
        (f"{token.uri}&pin-value={PIN}", pin, "holds the PIN itself"),
        (token.uri.replace("libsofthsm2.so", "nothing.so"), pin, "is not a PKCS#11 module"),
    ]
    for number, (uri, file, reason) in enumerate(cases):
        state = tmp_path / f"state-{number}"
        done = certwright(token, state, "init", "--pkcs11-uri", uri, "--pin-file", str(file))
        assert done.returncode != 0
        assert reason in " ".join(done.stderr.split()), done.stderr
        assert "wrong-pin" not in done.stderr
        assert PIN not in done.stderr
