"""The demo, as somebody runs it who sees Certwright for the first time: once, to its end, in a directory of its own."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

from ca.errors import CertwrightError
from ca.store.engine import ProcessLock
from pki.demo.website import Visitors, Website, home
from pki.demo.world import World
from tests import peer
from tests.pki.conftest import certwright

LINKS = ("live", "previous")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory that a demo has left, and its transcript."""
    directory = tmp_path_factory.mktemp("told") / "demo"
    done = certwright("demo", "--once", "--dir", directory)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return directory, done.stdout


def test_the_story_is_told(told: tuple[Path, str]) -> None:
    """A client is accepted, revoked, refused; a website is renewed while it serves; the ledger is sound: so ordered."""
    _directory, transcript = told
    steps = re.findall(r"(?m)^(\d+)\. (.*?) ─", transcript)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    beats = [
        "root-1 signs issuing-1",
        "spiffe://demo.internal/ns/payments/sa/api until",
        "refused: uri:spiffe://elsewhere.example/ns/payments/sa/api",
        "let it in: certificate, chain and CRLs hold",
        "its key is blocked for ever",
        "certificate revoked, ",
        "web@demo.internal answers for it",
        "seen in a handshake",
        "with a key of its own is served now instead of #",
        "visitors came meanwhile, and none was turned away",
        "shows shop.demo.internal: nothing is wrong",
        "nothing is due, nothing fails, and nothing is wrong",
        "sound: ",
        "All of this took",
    ]
    places = [transcript.find(beat) for beat in beats]
    assert -1 not in places, beats[places.index(-1)]
    assert places == sorted(places)


def test_the_story_is_quick(told: tuple[Path, str]) -> None:
    """All of it takes seconds: whoever tries it is not kept waiting."""
    took = re.search(r"All of this took ([0-9.]+) s", told[1])
    assert took is not None
    assert float(took[1]) < 15


def test_the_demo_leaves_a_world_and_no_process(told: tuple[Path, str]) -> None:
    """Its files are there to be looked at, its keys are private, and nothing of it listens any more."""
    directory, transcript = told
    for name in ("mesh/cert.pem", "device/cert.pem", "server/key.pem", "trusted.pem", "crls.pem", "kept-head.txt"):
        assert (directory / name).stat().st_size > 0, name
    assert {oct((directory / name / "key.pem").stat().st_mode)[-3:] for name in ("mesh", "device", "server")} == {"600"}
    assert not (directory / "state" / "certwright.sock").exists()
    port = re.search(r"API on https://127\.0\.0\.1:(\d+)", transcript)
    assert port is not None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port[1]))) != 0


def test_what_the_demo_left_can_be_used(told: tuple[Path, str], tmp_path: Path) -> None:
    """The commands that it recommends work afterwards, too."""
    directory, transcript = told
    assert "certwright cert list" in transcript
    done = certwright("--state", directory / "state", "cert", "list", "--json")
    assert done.stdout.count('"serial"') >= 7
    shown = certwright("--state", directory / "state", "track", "show", "shop.demo.internal").stdout
    assert shown.count("certificate-renewed") == 2
    assert certwright("--state", directory / "state", "renew", "plan").returncode == 0


def test_the_website_has_two_certificates_with_two_keys(told: tuple[Path, str]) -> None:
    """What was renewed stands beside what was before, each with its own key; the link says which is in use."""
    website = told[0] / "website"
    used, before = (x509.load_pem_x509_certificate((website / n / "cert.pem").read_bytes()) for n in LINKS)
    assert used.serial_number != before.serial_number
    assert used.public_key() != before.public_key()
    assert oct((website / "live" / "key.pem").stat().st_mode)[-3:] == "600"


@pytest.fixture
def website(told: tuple[Path, str], tmp_path: Path) -> Iterator[tuple[Website, Visitors]]:
    """A website of the files that the demo has left, and a visitor."""
    shutil.copytree(told[0] / "website", tmp_path / "website", symlinks=True)
    (tmp_path / "website" / "reload").unlink()
    with closing(Website(tmp_path / "website")) as website:
        yield website, Visitors(website.port, told[0] / "trusted.pem", "shop.demo.internal")


def test_a_website_reads_its_files_when_it_is_told_to(website: tuple[Website, Visitors]) -> None:
    """Not before: files that were exchanged are not served until it is told; files that do not fit never are."""
    site, visitor = website
    used, before = (ssl.PEM_cert_to_DER_cert((site.directory / name / "cert.pem").read_text()) for name in LINKS)
    with pytest.raises(OSError):
        visitor.visit()
    (site.directory / "reload").touch()
    assert visitor.visit() == used
    (site.directory / "live").unlink()
    (site.directory / "live").symlink_to((site.directory / "previous").readlink())
    assert visitor.visit() == used
    (site.directory / "reload").touch()
    assert visitor.visit() == before
    (site.directory / "live" / "key.pem").write_text("damaged")
    (site.directory / "reload").touch()
    assert visitor.visit() == before


def test_a_website_is_where_nobody_else_can_put_files(tmp_path: Path) -> None:
    """In a checkout that a group may write nothing would be brought to it: it gets a directory that goes with it."""
    with home(tmp_path / "own") as directory:
        assert directory == tmp_path / "own"
    assert directory.is_dir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o775)
    with home(tmp_path / "shared" / "website") as directory:
        assert not directory.is_relative_to(tmp_path)
        assert directory.is_dir()
    assert not directory.exists()


def test_a_visitor_who_is_turned_away_is_counted(website: tuple[Website, Visitors]) -> None:
    """Whoever gets no answer is counted, with the reason, and the next one comes anyway."""
    _site, visitors = website
    with visitors:
        deadline = time.monotonic() + 60
        while len(visitors.turned_away) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert (visitors.served, len(visitors.turned_away) >= 2) == (0, True)
    assert all(visitors.turned_away)


def test_a_demo_takes_no_directory_that_is_not_its_own(tmp_path: Path) -> None:
    """A directory with anything else in it is refused, and left as it was."""
    (tmp_path / "thesis.txt").write_text("precious")
    done = certwright("demo", "--once", "--dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"refused: {tmp_path} is not a demo's directory",
        "hint: choose another one with --dir",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_may_be_told_again(told: tuple[Path, str], tmp_path: Path) -> None:
    """In its own directory it starts anew, and takes other ports where the usual ones are taken."""
    again = Path(shutil.copytree(told[0], tmp_path / "again"))
    (again / "left").write_text("from before")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # if somebody else has it: all the better
            taken.bind(("127.0.0.1", 8443))
            taken.listen()
        world = World(again)
        assert 8443 not in (world.tls, world.plain)
        made = world.make()
    assert (made.root.name, (again / "left").exists()) == ("root-1", False)


def test_a_demo_does_not_pull_the_rug_from_another(told: tuple[Path, str], tmp_path: Path) -> None:
    """A second demo in the directory of one that is still running is refused instead of removing its state."""
    again = Path(shutil.copytree(told[0], tmp_path / "again"))
    lock = ProcessLock(again / "state" / "lock")
    try:
        with pytest.raises(CertwrightError):
            World(again).make()
    finally:
        lock.release()
    assert (again / "kept-head.txt").exists()


def test_a_demo_gives_way_to_whoever_was_quicker(tmp_path: Path) -> None:
    """A port that another program takes after it was chosen: the demo makes its world anew with other ports."""
    with closing(World(tmp_path / "demo")) as world, socket.create_server(("127.0.0.1", 0)) as quicker:
        world.tls = quicker.getsockname()[1]
        world.make()
        with world.serving():
            assert world.tls != quicker.getsockname()[1]
            assert peer.listens(world.tls)()
            assert f"http://127.0.0.1:{world.plain}" in (world.state / "certwright.toml").read_text()
            with pytest.raises(CertwrightError, match="still runs"):
                World(tmp_path / "demo").make()


def test_a_demo_touches_no_other_installation(tmp_path: Path) -> None:
    """Variables that name a server, a database or ports of a real installation mean nothing to it."""
    elsewhere = {
        "CERTWRIGHT_SERVER": "https://ca.example.internal:8443",
        "CERTWRIGHT_TOKEN": "cw_real",
        "CERTWRIGHT_STORE__URL": "postgresql://ca.example.internal/pki",
        "CERTWRIGHT_LISTEN__TLS": "nowhere",
    }
    done = certwright("demo", "--once", "--dir", tmp_path / "demo", **elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
