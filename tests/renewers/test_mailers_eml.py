"""Letters as files: one each, whole, private, in their directory, and never over another's."""

from __future__ import annotations

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ca.errors import Misconfigured, NotDelivered
from renewers.mailers import eml
from renewers.mailers.eml import EmlMailer
from tests.letters import outgoing


@pytest.fixture(autouse=True)
def careless() -> object:
    """An umask that takes nothing away."""
    inherited = os.umask(0)
    yield
    os.umask(inherited)


def test_nobody_else_reads_them(tmp_path: Path) -> None:
    """The directory 0700, each file 0600, whatever the umask; and nothing half done is left."""
    EmlMailer(tmp_path / "letters").send(outgoing())
    (file,) = (tmp_path / "letters").iterdir()
    assert stat.S_IMODE((tmp_path / "letters").stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.suffix == ".eml"


def test_a_directory_that_others_enter(tmp_path: Path) -> None:
    """Refused when the installation is opened: what owners are told is nobody else's affair."""
    (tmp_path / "letters").mkdir(mode=0o755)
    with pytest.raises(Misconfigured, match="others may enter"):
        EmlMailer(tmp_path / "letters")


@pytest.mark.parametrize(
    "address",
    ["/etc/passwd@web.example", "a/b/c@web.example", "-rf@web.example", "~root@web.example", "a*b?{}|$`'@web.example"],
)
def test_names_stay_in_the_directory(tmp_path: Path, address: str) -> None:
    """Whatever the part before the @ holds, the file's name is plain, and so is where it lies."""
    EmlMailer(tmp_path / "letters").send(outgoing(address))
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent for path in found] == [tmp_path / "letters"]
    assert all(c.isalnum() or c in "@._-" for c in found[0].name)
    assert found[0].name.startswith("to-")


def test_a_letter_is_written_once(tmp_path: Path) -> None:
    """The same one again, as after a crash, is the same file; another one, or to another, is another."""
    mailer = EmlMailer(tmp_path / "letters")
    letters = [outgoing(number=1), outgoing(number=2), outgoing("ada_@web.example"), outgoing("ada/@web.example")]
    for letter in [*letters, *letters]:
        said = mailer.send(letter)
    assert said.startswith("was written before, as to-")
    assert len(list((tmp_path / "letters").iterdir())) == 4


def test_the_first_one_stays(tmp_path: Path) -> None:
    """What somebody may have opened is not changed beneath them."""
    mailer = EmlMailer(tmp_path / "letters")
    mailer.send(outgoing(text="the first\n"))
    mailer.send(outgoing(text="the second\n"))
    (file,) = (tmp_path / "letters").iterdir()
    assert b"the first" in file.read_bytes()


def test_threads_write_one_file(tmp_path: Path) -> None:
    """The same letter from many at once: each is told that it is there."""
    mailer = EmlMailer(tmp_path / "letters")
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(mailer.send, [outgoing() for _ in range(32)]))
    assert sum(text.startswith("written") for text in said) == 1
    assert len(list((tmp_path / "letters").iterdir())) == 1


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    """The letter waits, like one whose server does not answer."""
    mailer = EmlMailer(tmp_path / "letters")
    shutil.rmtree(tmp_path / "letters")
    with pytest.raises(NotDelivered, match="cannot be written"):
        mailer.send(outgoing())
    (tmp_path / "letters").mkdir(mode=0o700)
    assert mailer.send(outgoing())


def test_a_crash_leaves_no_half_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in the middle has left no file that ends in .eml."""
    mailer = EmlMailer(tmp_path / "letters")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(eml.files.os, "fsync", full)
    with pytest.raises(NotDelivered, match="No space left"):
        mailer.send(outgoing())
    assert list((tmp_path / "letters").iterdir()) == []
