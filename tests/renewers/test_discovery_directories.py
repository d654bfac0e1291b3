"""A walk finds what may hold certificates, follows nothing, opens nothing strange, and goes on past what it may not."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import BadRequest
from renewers.discovery import directories
from renewers.discovery.directories import Found, Unreadable, path_of, place_of, read, walk

PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def walked(root: Path, **bounds: int) -> tuple[set[str], dict[str, str]]:
    """The names of what was found, and the reasons for what was not."""
    results = list(walk(root, **bounds))
    found = {str(one.path.relative_to(root)) for one in results if isinstance(one, Found)}
    reasons = {str(one.path.relative_to(root)): one.reason for one in results if isinstance(one, Unreadable)}
    assert len(results) == len(found) + len(reasons)
    return found, reasons


def write(path: Path, content: bytes = PEM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_that_may_hold_certificates_are_found(tmp_path: Path) -> None:
    """By what is in them, or by what they claim; the rest is passed over in silence."""
    for name in ("a.pem", "deep/er/b.txt", "c.key"):
        write(tmp_path / name)
    write(tmp_path / "d.bin", b"\x30\x82\x01\x00" + bytes(256))
    write(tmp_path / "e.crt", b"not at all")
    write(tmp_path / "f.txt", b"prose")
    write(tmp_path / "g.pem", b"")
    assert walked(tmp_path) == ({"a.pem", "deep/er/b.txt", "c.key", "d.bin", "e.crt", "g.pem"}, {})
    (alone,) = walk(tmp_path / "a.pem")
    assert alone == Found(tmp_path / "a.pem", PEM)


def test_no_link_is_followed(tmp_path: Path) -> None:
    """One that leads out is said, one within is not needed, and a circle ends nothing."""
    root = tmp_path / "root"
    write(root / "in/a.pem")
    write(tmp_path / "out/secret.pem")
    (root / "b.pem").symlink_to("in/a.pem")
    (root / "again").symlink_to("in")
    (root / "round").symlink_to(".")
    (root / "loop.pem").symlink_to("loop.pem")
    (root / "out").symlink_to(tmp_path / "out")
    (root / "c.pem").symlink_to(tmp_path / "out/secret.pem")
    (root / "gone.pem").symlink_to("nothing.pem")
    found, reasons = walked(root)
    assert found == {"in/a.pem"}
    assert reasons == {
        "loop.pem": "is a link that leads in a circle",
        **dict.fromkeys(("out", "c.pem"), "is a link that leads out of the directory"),
    }


def test_links_from_one_part_of_a_tree_to_another_are_no_trouble(tmp_path: Path) -> None:
    """As certbot lays it out: `live` is links into `archive`. Walked from above, each file is found once."""
    for number in (1, 2):
        write(tmp_path / f"archive/x/cert{number}.pem")
    (tmp_path / "live/x").mkdir(parents=True)
    (tmp_path / "live/x/cert.pem").symlink_to("../../archive/x/cert2.pem")
    (tmp_path / "live/all").symlink_to(tmp_path / "archive")
    assert walked(tmp_path) == ({"archive/x/cert1.pem", "archive/x/cert2.pem"}, {})
    out = "is a link that leads out of the directory"
    assert walked(tmp_path / "live") == (set(), {"x/cert.pem": out, "all": out})


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    """It was named by whoever may name it."""
    write(tmp_path / "real/a.pem")
    (tmp_path / "link").symlink_to("real")
    (found,) = walk(tmp_path / "link")
    assert found.path == tmp_path / "real/a.pem"


def test_pipes_sockets_and_devices_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of a pipe would wait for ever, and some devices act when they are opened."""
    os.mkfifo(tmp_path / "pipe.pem")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.pem")
        write(tmp_path / "a.pem")
        assert walked(tmp_path) == ({"a.pem"}, {})
    assert isinstance(read(tmp_path / "pipe.pem"), Unreadable)
    assert isinstance(read(Path("/dev/null")), Unreadable)


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening anything may happen."""
    write(tmp_path / "a.pem")
    opening = os.open

    def exchanging(path: object, flags: int, **words: int) -> int:
        if path == "a.pem":
            (tmp_path / "a.pem").unlink()
            os.mkfifo(tmp_path / "a.pem")
        return opening(path, flags, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(directories.os, "open", exchanging)
    assert walked(tmp_path) == (set(), {"a.pem": "is not a plain file"})


def test_a_directory_that_became_a_link_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened beneath its parent, and not through a link."""
    write(tmp_path / "root/sub/a.pem")
    write(tmp_path / "out/secret.pem")
    opening = os.open

    def exchanging(path: object, flags: int, **words: int) -> int:
        if path == "sub":
            (tmp_path / "root/sub").rename(tmp_path / "moved")
            (tmp_path / "root/sub").symlink_to(tmp_path / "out")
        return opening(path, flags, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(directories.os, "open", exchanging)
    found, reasons = walked(tmp_path / "root")
    assert (found, list(reasons)) == (set(), ["sub"])


def test_size_depth_and_number_are_bounded(tmp_path: Path) -> None:
    """What is left out is said, where it claims to be a certificate."""
    write(tmp_path / "a.pem", PEM + bytes(200))
    write(tmp_path / "b.log", PEM + bytes(200))
    write(tmp_path / "1/2/3/c.pem")
    found, reasons = walked(tmp_path, largest=100, depth=3)
    assert (found, reasons) == (set(), {"a.pem": "is larger than 100 bytes", "1/2/3": "lies too deep"})
    for number in range(20):
        write(tmp_path / f"many/{number}.pem")
    found, reasons = walked(tmp_path / "many", most=11)
    assert (len(found), reasons) == (10, {".": "the walk ends here: there is too much"})


def test_what_may_not_be_read_is_said_and_the_rest_goes_on(open_directory: Path) -> None:
    """A closed directory and a closed file, among others."""
    write(open_directory / "a.pem")
    write(open_directory / "closed/b.pem").parent.chmod(0)
    write(open_directory / "c.pem").chmod(0)
    with as_nobody():
        found, reasons = walked(open_directory)
    assert (found, reasons) == ({"a.pem"}, {"closed": "Permission denied", "c.pem": "Permission denied"})


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter."""
    with TemporaryDirectory(prefix="certwright-walk-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, which may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_names_that_are_no_text_are_read_and_written_down(tmp_path: Path) -> None:
    """Any bytes, line ends and escapes among them: the place is plain ASCII and leads back."""
    names = [b"\xff\xfe.pem", b"a\nb.pem", b"\x1b[2J.pem", "bücher.pem".encode(), b"100%.pem"]
    for name in names:
        write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    found = [one for one in walk(tmp_path) if isinstance(one, Found)]
    assert sorted(os.fsencode(one.path.name) for one in found) == sorted(names)
    for one in found:
        assert one.place.isascii()
        assert one.place.isprintable()
        assert path_of(one.place) == one.path


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: not set(b) & {0, 0x2F}), min_size=1, max_size=4))
def test_every_path_has_a_place_of_its_own(parts: list[bytes]) -> None:
    """And it leads back."""
    path = Path(os.fsdecode(b"/" + b"/".join(parts)))
    assert path_of(place_of(path)) == path


@pytest.mark.parametrize("place", ["tls:a:443", "file:", "file:relative", "file:/a%00b", "/etc/a.pem"])
def test_what_is_no_place_of_a_file_is_refused(place: str) -> None:
    """Endpoints, relative paths, and a NUL."""
    with pytest.raises(BadRequest):
        path_of(place)


@pytest.mark.parametrize("root", ["/nowhere/at/all", "/a\0b"])
def test_a_root_that_is_not_there_is_refused(root: str) -> None:
    """Before anything is walked."""
    with pytest.raises(BadRequest):
        walk(Path(root))
