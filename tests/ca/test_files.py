"""A file is the old one or the new one, for every reader and after every failure, and no link is ever followed."""

from __future__ import annotations

import base64
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import files
from ca.errors import Misconfigured
from ca.founding import Plan, self_signed
from ca.keys.algorithms import KeyType
from tests import peer, rig

WRITERS: dict[str, Callable[..., None]] = {"write_new": files.write_new, "replace": files.replace}


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that forbids nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Each way to write a file that is not there yet."""
    return WRITERS[request.param]


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory, hidden ones included."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    """While a file is exchanged two hundred times, whoever reads it sees one of its contents, whole."""
    path = tmp_path / "crl.der"
    versions = [bytes([65 + place]) * (50_000 + 7919 * place) for place in range(20)]
    allowed = set(versions)
    files.replace(path, versions[0])
    seen: set[bytes] = set()
    wrong: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            seen.add(content[:1])
            if content not in allowed:
                wrong.append(len(content))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(200):
        files.replace(path, versions[turn % len(versions)])
    done.set()
    reader.join(60)
    assert wrong == []
    assert seen
    assert contents(tmp_path) == {"crl.der": versions[199 % 20]}


def test_a_written_file_is_all_that_is_there(tmp_path: Path, write: Callable[..., None]) -> None:
    """The content is the file's, and nothing that was written aside stays behind."""
    write(tmp_path / "a", b"content")
    assert contents(tmp_path) == {"a": b"content"}


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
def test_a_file_has_its_mode_from_the_start(tmp_path: Path, write: Callable[..., None], mode: int) -> None:
    """The mode is the one that was asked for, already while the file is being written aside."""
    seen: list[int] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", spy)
        write(tmp_path / "a", b"content", mode=mode)
    assert seen == [mode]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_file_and_directory_are_synced_before_the_call_returns(tmp_path: Path, write: Callable[..., None]) -> None:
    """First the content is on the disk, then the name, and then it is said to be done."""
    steps: list[str] = []
    fsync, link, exchange = os.fsync, os.link, Path.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda d: (steps.append("dir" if _is_directory(d) else "file"), fsync(d))[1])
        patch.setattr(os, "link", lambda *a: (steps.append("name"), link(*a))[1])
        patch.setattr(Path, "replace", lambda *a: (steps.append("name"), exchange(*a))[1])
        write(tmp_path / "a", b"content")
    assert steps == ["file", "name", "dir"]


def _is_directory(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    """`write_new` on an existing file fails and leaves it as it was, with nothing beside it."""
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(FileExistsError):
        files.write_new(path, b"after")
    assert contents(tmp_path) == {"a": b"before"}


def test_of_many_writers_one_makes_the_file(tmp_path: Path) -> None:
    """When sixteen write the same new file at once, one of them has, whole, and the others know that they have not."""
    outcomes: list[int | None] = []
    gate = threading.Barrier(16)

    def write(place: int) -> None:
        gate.wait(60)
        try:
            files.write_new(tmp_path / "a", bytes([place]) * 10_000)
        except FileExistsError:
            outcomes.append(None)
        else:
            outcomes.append(place)

    threads = [threading.Thread(target=write, args=(place,)) for place in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    [winner] = [outcome for outcome in outcomes if outcome is not None]
    assert len(outcomes) == 16
    assert contents(tmp_path) == {"a": bytes([winner]) * 10_000}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link in the place of a file is refused or exchanged; what it points to is not touched."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(FileExistsError):
        files.write_new(link, b"content")
    assert link.is_symlink()
    files.replace(link, b"content")
    assert not link.is_symlink()
    assert contents(tmp_path) == {"target": b"precious", "link": b"content"}


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    """A link to what is not there does not make it be there."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.write_new(link, b"content")
    files.replace(link, b"content")
    assert contents(tmp_path) == {"link": b"content"}


def test_a_link_that_lies_in_wait_aside_is_not_followed(tmp_path: Path, write: Callable[..., None]) -> None:
    """Even if somebody guessed the name that is written aside, the link there is an error, and its target safe."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / ".a.000000000000").symlink_to(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda size: "00" * size)
        with pytest.raises(FileExistsError):
            write(tmp_path / "a", b"content")
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "a").exists()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """When writing aside fails half-way, the file is what it was and nothing is left beside it."""
    path = tmp_path / "a"
    path.write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    for write in WRITERS.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                write(path, b"after")
        assert contents(tmp_path) == {"a": b"before"}


def test_a_failed_exchange_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where a directory stands in the file's place, the exchange fails, and its content does not stay beside it."""
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.replace(tmp_path / "a", b"content")
    assert contents(tmp_path) == {}


def test_a_missing_directory_is_an_error(tmp_path: Path, write: Callable[..., None]) -> None:
    """Directories are made by whoever owns them, not on the way."""
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "a", b"content")
    assert contents(tmp_path) == {}


@pytest.mark.usefixtures("open_umask")
def test_a_private_directory_is_made_private(tmp_path: Path) -> None:
    """0700 whatever the umask; made once, it is taken as it is."""
    path = tmp_path / "state" / "keys"
    assert files.private_directory(path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert files.private_directory(path) == path


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o755, 0o777])
def test_a_directory_that_others_enter_is_not_private(tmp_path: Path, mode: int) -> None:
    """It is refused and not mended: whoever opened it may have had a reason, and may have been inside."""
    path = tmp_path / "keys"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(Misconfigured):
        files.private_directory(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@given(st.binary(max_size=400), st.sampled_from(["CERTIFICATE", "X509 CRL", "ENCRYPTED PRIVATE KEY"]))
@settings(deadline=None)
def test_pem_is_the_text_of_rfc_7468(content: bytes, label: str) -> None:
    """Lines of 64 characters between the two markers, and the content comes back out of them."""
    begin, *lines, end = files.pem(label, content).decode().splitlines()
    assert (begin, end) == (f"-----BEGIN {label}-----", f"-----END {label}-----")
    assert all(len(line) == 64 for line in lines[:-1])
    assert base64.b64decode("".join(lines), validate=True) == content


def test_openssl_reads_our_pem() -> None:
    """`openssl x509` takes the text and gives the same bytes back."""
    certificate = self_signed(rig.pooled_key(), Plan("root", rig.common_name("Root"), KeyType.P256))
    text = files.pem("CERTIFICATE", certificate)
    result = peer.run(peer.require("openssl"), "x509", "-outform", "DER", stdin=text)
    assert result.stdout == certificate
    assert x509.load_pem_x509_certificate(text).serial_number
