"""Key files and their passphrase: private on the disk, opened by openssl, and refused without a word too much."""

from __future__ import annotations

import base64
import os
import re
import stat
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import der, files
from ca.authority import make_issuer
from ca.errors import KeyUnavailable, Misconfigured
from ca.installation import Installation
from ca.keys import pkcs8
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.keys.passphrase import CREDENTIAL, MINIMUM_LENGTH, VARIABLE, find_passphrase
from ca.keys.pkcs8 import decrypt_pkcs8, encrypt_pkcs8
from ca.keys.software import SoftwareKeyStore
from ca.secret import Secret
from tests import cheap, peer, rig

PASSPHRASE = Secret("correct horse battery staple")
TYPES = (KeyType.P256, KeyType.RSA2048, KeyType.ED25519, KeyType.MLDSA44)


@pytest.fixture(autouse=True)
def _quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivation is made cheap where its price is not what is tested."""
    monkeypatch.setattr(pkcs8, "SCRYPT_N", 1 << 10)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that forbids nothing: what is private is so because we said so."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the keys are."""
    return tmp_path / "keys"


def opened(directory: Path, passphrase: Secret = PASSPHRASE) -> SoftwareKeyStore:
    """The store as a process that has just started sees it."""
    return SoftwareKeyStore(directory, passphrase)


def clear(key: PrivateKey) -> bytes:
    """PKCS#8 without encryption."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def body(text: bytes) -> bytes:
    """The DER inside the one PEM block of a file."""
    [block] = re.findall(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----(.*)-----END", text, re.DOTALL)
    return base64.b64decode(block)


def unavailable(directory: Path, passphrase: Secret = PASSPHRASE) -> str:
    """Everything that a log could show of the error that loading gives."""
    with pytest.raises(KeyUnavailable) as raised:
        opened(directory, passphrase).load("k")
    error = raised.value
    return "".join(traceback.format_exception(error)) + repr(error) + str(error.hint)


@pytest.mark.usefixtures("open_umask")
def test_files_and_directory_are_private(directory: Path) -> None:
    """The directory is made 0700 and every file in it 0600, whatever the umask."""
    keys = opened(directory)
    keys.create("a", KeyType.P256)
    keys.put("b", rig.pooled_key())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {
        "a.pem": 0o600,
        "b.pem": 0o600,
    }


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o701, 0o710, 0o770, 0o777, 0o755])
def test_a_directory_that_others_can_enter_is_refused(directory: Path, mode: int) -> None:
    """A directory that was made by somebody with other ideas is refused, with the command that mends it."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(Misconfigured) as raised:
        opened(directory)
    assert str(directory) in raised.value.message
    assert "chmod 0700" in str(raised.value.hint)


@pytest.mark.parametrize("key_type", TYPES)
def test_nothing_on_the_disk_shows_the_key(directory: Path, key_type: KeyType) -> None:
    """Neither the key's bytes, nor their base64, nor the passphrase are in any file."""
    key = rig.pooled_key(key_type)
    opened(directory).put("k", key)
    content = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    decoded = body(content)
    whole = clear(key)
    for start in range(0, len(whole) - 16, 8):
        part = whole[start : start + 16]
        assert part not in decoded
        assert part.hex().encode() not in content
    assert base64.b64encode(whole)[40:72] not in content.replace(b"\n", b"")
    assert PASSPHRASE.reveal().encode() not in content + decoded


def test_the_same_key_is_never_encrypted_alike(directory: Path) -> None:
    """Salt and initialisation vector are new for every file."""
    one, other = (body(encrypt_pkcs8(rig.pooled_key(), PASSPHRASE)) for _ in range(2))
    assert one[-128:] != other[-128:]
    assert not {one[start : start + 16] for start in range(len(one) - 128, len(one), 16)} & {
        other[start : start + 16] for start in range(len(other) - 128, len(other), 16)
    }


@pytest.mark.parametrize("key_type", TYPES)
def test_a_key_survives_the_process(directory: Path, key_type: KeyType) -> None:
    """A store that is opened again has the same keys."""
    key = opened(directory).create("k", key_type)
    assert clear(opened(directory).load("k")) == clear(key)


def test_a_destroyed_key_does_not_come_back(directory: Path) -> None:
    """After `destroy` there is no file, and another process finds no key."""
    keys = opened(directory)
    keys.create("k", KeyType.P256)
    keys.destroy("k")
    assert list(directory.iterdir()) == []
    assert "No such file" in unavailable(directory)


def test_a_wrong_passphrase_opens_nothing(directory: Path) -> None:
    """The error names the file, and neither of the passphrases nor anything of the key."""
    opened(directory).put("k", rig.pooled_key())
    shown = unavailable(directory, Secret("incorrect horse battery staple"))
    assert "k.pem" in shown
    assert "horse" not in shown
    assert not any(line.decode() in shown for line in (directory / "k.pem").read_bytes().splitlines()[1:-1])


DAMAGE = {
    "empty": lambda text: b"",
    "half": lambda text: text[: len(text) // 2],
    "one line missing": lambda text: b"\n".join(text.splitlines()[:3] + text.splitlines()[4:]),
    "no end": lambda text: text[:-20],
    "no begin": lambda text: text.replace(b"BEGIN", b"BEG"),
    "zeros": lambda text: bytes(len(text)),
    "another block": lambda text: text.replace(b"ENCRYPTED PRIVATE KEY", b"CERTIFICATE"),
    "not encrypted": lambda text: rig.pooled_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    "not base64": lambda text: text.replace(b"M", b"\xff"),
    "a passphrase of somebody else": lambda text: encrypt_pkcs8(rig.pooled_key(), Secret("somebody else's phrase")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_opens_nothing(directory: Path, damage: object) -> None:
    """Whatever is in the file, the error is one, names the file, and shows nothing of what is in it."""
    opened(directory).put("k", rig.pooled_key())
    path = directory / "k.pem"
    damaged = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(damaged)
    shown = unavailable(directory)
    assert "k.pem" in shown
    assert not any(len(line) > 20 and line.decode("latin-1") in shown for line in damaged.splitlines()[1:-1])


def test_what_is_no_file_opens_nothing(directory: Path) -> None:
    """A directory or a dangling link in the place of a file is a key that is unavailable."""
    opened(directory)
    (directory / "k.pem").mkdir()
    assert "directory" in unavailable(directory)
    (directory / "k.pem").rmdir()
    (directory / "k.pem").symlink_to(directory / "nowhere")
    assert "No such file" in unavailable(directory)


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.RSA2048])
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60)
def test_a_flipped_bit_never_makes_another_key(key_type: KeyType, place: int, bit: int) -> None:
    """A key file with one bit flipped opens nothing, or the same key: these keys hold their own public half."""
    _damage_never_makes_another_key(rig.pooled_key(key_type), place, bit)


@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.MLDSA65])
def test_a_flipped_bit_in_a_key_without_redundancy_is_noticed(key_type: KeyType) -> None:
    """The port promises `KeyUnavailable` for a damaged key, for those kinds as well that are random bytes alone."""
    for place in range(8, 130, 3):
        _damage_never_makes_another_key(rig.pooled_key(key_type), place, 3)


def _damage_never_makes_another_key(key: PrivateKey, place: int, bit: int) -> None:
    text = encrypt_pkcs8(key, PASSPHRASE)
    info = bytearray(body(text))
    before = files.pem("ENCRYPTED PRIVATE KEY", bytes(info))
    info[-1 - place % len(info)] ^= 1 << bit
    damaged = text.replace(before, files.pem("ENCRYPTED PRIVATE KEY", bytes(info)))
    assert damaged != text
    try:
        loaded = decrypt_pkcs8(damaged, PASSPHRASE, "k.pem")
    except KeyUnavailable:
        return
    assert clear(loaded) == clear(key)


def test_exchanged_files_are_found_by_their_certificates(directory: Path, installation: Installation) -> None:
    """Two files that changed places open, each as the other's key; no issuer is made of either (`ca/authority`)."""
    keys = opened(directory)
    rows = [installation.authorities.get(name) for name in ("root-1", "issuing-1")]
    for row in rows:
        keys.put(row.key_label, installation.keys.load(row.key_label))
    paths = [directory / f"{row.key_label}.pem" for row in rows]
    contents = [path.read_bytes() for path in paths]
    for row in rows:
        make_issuer(row, [], opened(directory).load(row.key_label), installation.authorities.urls)
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    for row in rows:
        with pytest.raises(KeyUnavailable, match="does not belong to the certificate"):
            make_issuer(row, [], opened(directory).load(row.key_label), installation.authorities.urls)


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.P384, KeyType.RSA2048, KeyType.ED25519])
def test_openssl_opens_our_files(directory: Path, key_type: KeyType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is never hostage to this program: `openssl pkey` opens it with the passphrase, and with no other."""
    monkeypatch.setattr(pkcs8, "SCRYPT_N", 1 << 14)  # what openssl takes without asking for more memory
    key = opened(directory).create("k", key_type)
    openssl = (peer.require("openssl"), "pkey", "-in", directory / "k.pem", "-pubout")
    result = peer.run(*openssl, "-passin", f"pass:{PASSPHRASE.reveal()}")
    assert result.returncode == 0, result.stderr.decode()
    public = load_pem_public_key(result.stdout)
    assert spki(public) == spki(key.public_key())  # type: ignore[arg-type]
    assert peer.run(*openssl, "-passin", "pass:incorrect horse battery").returncode != 0


def test_a_file_at_full_price_is_loaded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost that is used in earnest is at least 2^15 rounds of scrypt over 1 KiB, for AES-256."""
    monkeypatch.setattr(pkcs8, "SCRYPT_N", cheap.SHIPPED)
    assert pkcs8.SCRYPT_N * pkcs8.SCRYPT_P >= 1 << 15
    assert pkcs8.SCRYPT_R >= 8
    opened(directory).put("k", rig.pooled_key())
    opened(directory).load("k")
    decoded = body((directory / "k.pem").read_bytes())
    for part in (der.oid("1.3.6.1.4.1.11591.4.11"), der.oid("2.16.840.1.101.3.4.1.42"), der.integer(pkcs8.SCRYPT_N)):
        assert part in decoded


def test_openssl_opens_a_file_at_full_price(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise is about the files that are written in earnest: those, too, are opened by openssl."""
    monkeypatch.setattr(pkcs8, "SCRYPT_N", cheap.SHIPPED)
    opened(directory).put("k", rig.pooled_key())
    path = directory / "k.pem"
    result = peer.run(peer.require("openssl"), "pkey", "-in", path, "-noout", "-passin", f"pass:{PASSPHRASE.reveal()}")
    assert result.returncode == 0, result.stderr.decode()


@pytest.mark.parametrize("algorithm", [("-scrypt",), ("-v2", "aes-256-cbc"), ("-scrypt", "-scrypt_N", "1024")])
@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.RSA2048, KeyType.ED25519])
def test_files_of_openssl_are_loaded(
    directory: Path, tmp_path: Path, key_type: KeyType, algorithm: tuple[str, ...]
) -> None:
    """A key that `openssl pkcs8 -topk8` encrypted under the same passphrase is as good as one of ours."""
    key, plain = rig.pooled_key(key_type), tmp_path / "plain.pem"
    plain.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    keys = opened(directory)
    argv = ("pkcs8", "-topk8", *algorithm, "-in", plain, "-out", directory / "k.pem")
    result = peer.run(peer.require("openssl"), *argv, "-passout", f"pass:{PASSPHRASE.reveal()}")
    assert result.returncode == 0, result.stderr.decode()
    assert clear(keys.load("k")) == clear(key)


def test_a_file_of_another_library_is_loaded(directory: Path) -> None:
    """What `cryptography` itself encrypts (PBKDF2) is loaded, and its public half is the same."""
    key, keys = rig.pooled_key(), opened(directory)
    protection = BestAvailableEncryption(PASSPHRASE.reveal().encode())
    (directory / "k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    loaded = keys.load("k").public_key()
    assert loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki(key.public_key())


GOOD, OTHER, THIRD = "phrase-of-the-variable", "phrase-of-the-credential", "phrase-of-the-file"


@pytest.fixture
def sources(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """All three sources of the passphrase, each with its own."""
    credentials, file = tmp_path / "credentials", tmp_path / "passphrase"
    credentials.mkdir()
    (credentials / CREDENTIAL).write_text(OTHER + "\n")
    file.write_text(THIRD + "\n")
    file.chmod(0o400)
    return {VARIABLE: GOOD, "CREDENTIALS_DIRECTORY": str(credentials)}, file


def refusal(file: Path | None, environment: dict[str, str]) -> KeyUnavailable:
    """The error that looking for the passphrase gives."""
    with pytest.raises(KeyUnavailable) as raised:
        find_passphrase(file, environment)
    return raised.value


def test_the_sources_are_asked_in_order(sources: tuple[dict[str, str], Path]) -> None:
    """The variable, then the credential, then the file; where one has nothing, the next is asked."""
    environment, file = sources
    assert find_passphrase(file, environment).reveal() == GOOD
    assert find_passphrase(file, {**environment, VARIABLE: ""}).reveal() == OTHER
    del environment[VARIABLE]
    assert find_passphrase(file, environment).reveal() == OTHER
    (Path(environment["CREDENTIALS_DIRECTORY"]) / CREDENTIAL).unlink()
    assert find_passphrase(file, environment).reveal() == THIRD
    assert find_passphrase(file, {"CREDENTIALS_DIRECTORY": "/nonexistent"}).reveal() == THIRD
    assert find_passphrase(file, {}).reveal() == THIRD


def test_without_a_source_the_error_names_all_of_them(tmp_path: Path) -> None:
    """Whoever starts the program without a passphrase is told the three ways to give it one."""
    for file in (None, tmp_path / "missing"):
        hint = str(refusal(file, {}).hint)
        assert VARIABLE in hint
        assert CREDENTIAL in hint
        assert "keys.passphrase_file" in hint


def test_a_short_passphrase_is_refused_and_not_passed_over(sources: tuple[dict[str, str], Path]) -> None:
    """A source with a short passphrase is a mistake to be told, not a reason to look elsewhere."""
    environment, file = sources
    short = "x" * (MINIMUM_LENGTH - 1)
    assert VARIABLE in refusal(file, {**environment, VARIABLE: short}).message
    (Path(environment["CREDENTIALS_DIRECTORY"]) / CREDENTIAL).write_text(short + "\n\n\n")
    assert CREDENTIAL in refusal(file, {**environment, VARIABLE: ""}).message
    for content in ("", "\n" * 20, short):
        file.chmod(0o600)
        file.write_text(content)
        error = refusal(file, {})
        assert str(file) in error.message
        assert short not in f"{error!r} {error} {error.hint}"
    file.write_text(short + "y\n")
    assert find_passphrase(file, {}).reveal() == short + "y"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_private_passphrase_file_is_read(sources: tuple[dict[str, str], Path], mode: int) -> None:
    """The owner may read and write it, and the group may read it, as systemd and Docker arrange it."""
    sources[1].chmod(mode)
    assert find_passphrase(sources[1], {}).reveal() == THIRD


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o620, 0o660, 0o666, 0o777])
def test_a_passphrase_file_that_others_read_is_refused(sources: tuple[dict[str, str], Path], mode: int) -> None:
    """A passphrase that everybody on the host can read or change protects nothing."""
    sources[1].chmod(mode)
    error = refusal(sources[1], {})
    assert "chmod 0400" in str(error.hint)
    assert THIRD not in "".join(traceback.format_exception(error))


def test_a_passphrase_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A directory in its place is an error in the words of the system."""
    assert "directory" in refusal(tmp_path, {}).message.lower()


@pytest.mark.parametrize("source", ["credential", "file"])
def test_a_passphrase_that_is_not_text_is_refused(sources: tuple[dict[str, str], Path], source: str) -> None:
    """Random bytes in the place of a passphrase are refused like everything else that cannot be used."""
    environment, file = sources
    del environment[VARIABLE]
    credential = Path(environment["CREDENTIALS_DIRECTORY"]) / CREDENTIAL
    file.chmod(0o600)
    for path in (file, credential):
        path.write_bytes(b"\xff" * 32)
    if source == "file":
        credential.unlink()
    error = refusal(file, environment)
    assert re.search(r"\\xff|0xff", "".join(traceback.format_exception(error))) is None
