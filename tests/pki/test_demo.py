"""The demo, as somebody runs it who sees Certwright for the first time: once, to its end, in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

from ca.errors import CertwrightError
from ca.store.engine import ProcessLock
from pki.demo.website import Visitors, Website, home, visit
from pki.demo.world import World
from tests import peer
from tests.pki.conftest import certwright

LINKS = ("live", "previous")
ELSEWHERE = {
    "CERTWRIGHT_SERVER": "https://ca.example.internal:8443",
    "CERTWRIGHT_TOKEN": "cw_real",
    "CERTWRIGHT_STORE__URL": "postgresql://ca.example.internal/pki",
    "CERTWRIGHT_LISTEN__TLS": "nowhere",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory that a demo has left, and its transcript."""
    directory = tmp_path_factory.mktemp("told") / "demo"
    done = certwright("demo", "--once", "--dir", directory, timeout=300, stdin=None, cwd=None, **ELSEWHERE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return directory, done.stdout


def test_the_story_is_told(told: tuple[Path, str]) -> None:
    """Accepted, revoked, refused; a website renewed, a root rotated while visitors come; a sound ledger: in order."""
    _directory, transcript = told
    steps = re.findall(r"(?m)^(\d+)\. (.*?) ─", transcript)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    beats = [
        "root-1 signs issuing-1",
        "spiffe://demo.internal/ns/payments/sa/api until",
        "refused: uri:spiffe://elsewhere.example/ns/payments/sa/api",
        "proved by a handshake",
        "let it in: certificate, chain and CRLs hold",
        "its key is blocked for ever",
        "certificate revoked, ",
        "believed for its signature alone, and acknowledged",
        "web@demo.internal answers for it",
        "seen in a handshake",
        "with a key of its own is served now instead of #",
        "visitors came meanwhile, and none was turned away",
        "Who holds what",
        "Rotate the root, while visitors come and go",
        "cert renew device/cert.pem --out device-2",
        "callers of the gateway",
        "By what right each stage was left",
        "shows shop.demo.internal: nothing is wrong",
        "nothing is due, nothing fails, and nothing is wrong",
        "legacy.demo.internal ends in 20 hours, and we cannot renew it",
        "[1 act now] web certificates",
        "20 h left",
        "Renewed by hand (1)",
        "web is told of it",
        "sound: ",
        "All of this took",
    ]
    places = [transcript.find(beat) for beat in beats]
    assert -1 not in places, beats[places.index(-1)]
    assert places == sorted(places)


def test_consumers_hold_what_they_need_and_each_proves_it_in_its_way(told: tuple[Path, str]) -> None:
    """The screen says so; what lies at both places is what was published, and the old root is in neither."""
    directory, transcript = told
    assert re.search(r"(?m)^ *gateway +proxy +files +the newest +probe ", transcript)
    assert re.search(r"(?m)^ *visitors +host +pull +the newest +signed report ", transcript)
    for name in ("gateway", "host"):
        anchors = x509.load_pem_x509_certificates((directory / name / "live" / "bundle.pem").read_bytes())
        assert [one.subject.rfc4514_string() for one in anchors] == ["CN=Demo Root CA 2"], name
    before = x509.load_pem_x509_certificate((directory / "trusted.pem").read_bytes())
    assert before.subject.rfc4514_string() != "CN=Demo Root CA 2"


def test_a_root_is_rotated_and_nobody_is_turned_away(told: tuple[Path, str]) -> None:
    """Each stage is said once with what it was left by, in order; what served before serves the next CA's leaves."""
    directory, transcript = told
    text = " ".join(transcript.split())
    words = (
        "prepare root-2, issuing-2 made",
        "introduce published in crl ",
        "prove proof: all 2 consumers hold it",
        "activate root-2, issuing-2 sign from now on",
        "reissue replacement 1 begun",
        "drain proof: no live certificate is left beneath it",
        "distrust proof: all 2 consumers hold it",
        "retire last CRLs of issuing-1, root-1",
    )
    places = [text.find(word) for word in words]
    assert -1 not in places, words[places.index(-1)]
    assert places == sorted(places)
    counts = re.search(r"(\d+) visitors of the website and (\d+) callers of the gateway came meanwhile", text)
    assert counts is not None
    assert min(map(int, counts.groups())) > 0
    assert "nobody was turned away" in text
    for path in ("website/live/cert.pem", "device-2/cert.pem", "server-2/cert.pem"):
        leaf = x509.load_pem_x509_certificate((directory / path).read_bytes())
        assert leaf.issuer.rfc4514_string() == "CN=Demo Issuing CA 2", path
    shown = certwright("--state", directory / "state", "ca", "list", "--json")
    states = {row["name"]: row["state"] for row in json.loads(shown.stdout)}
    assert states == {"root-1": "retired", "issuing-1": "retired", "root-2": "active", "issuing-2": "active"}


def test_the_demo_leaves_a_world_and_no_process(told: tuple[Path, str]) -> None:
    """Its files are there to be looked at, its keys are private, and nothing of it listens any more."""
    directory, transcript = told
    brought = ("gateway/live/crl.pem", "host/live/crl.pem")
    for name in ("mesh/cert.pem", "device/cert.pem", "server/key.pem", "trusted.pem", "kept-head.txt", *brought):
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
    assert shown.count("certificate-renewed") == 3
    rotation = certwright("--state", directory / "state", "rotation", "show", "1").stdout
    assert "proof: all 2 consumers hold it" in " ".join(rotation.split())
    assert certwright("--state", directory / "state", "renew", "plan").returncode == 0


def test_the_website_has_two_certificates_with_two_keys(told: tuple[Path, str]) -> None:
    """What was renewed stands beside what was before, each with its own key; the link says which is in use."""
    website = told[0] / "website"
    used, before = (x509.load_pem_x509_certificate((website / n / "cert.pem").read_bytes()) for n in LINKS)
    assert used.serial_number != before.serial_number
    assert used.public_key() != before.public_key()
    assert oct((website / "live" / "key.pem").stat().st_mode)[-3:] == "600"


Visit = Callable[[], bytes]


@pytest.fixture
def website(told: tuple[Path, str], tmp_path: Path) -> Iterator[tuple[Website, Visit]]:
    """A website of the files that the demo has left, and a visit by who trusts both roots."""
    shutil.copytree(told[0] / "website", tmp_path / "website", symlinks=True)
    (tmp_path / "website" / "reload").unlink()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes((told[0] / "trusted.pem").read_bytes() + (told[0] / "host/live/bundle.pem").read_bytes())
    with closing(Website(tmp_path / "website")) as website:
        yield website, lambda: visit(website.port, trusted, "shop.demo.internal")


def test_a_website_reads_its_files_when_it_is_told_to(website: tuple[Website, Visit]) -> None:
    """Not before: files that were exchanged are not served until it is told; files that do not fit never are."""
    site, come = website
    used, before = (ssl.PEM_cert_to_DER_cert((site.directory / name / "cert.pem").read_text()) for name in LINKS)
    with pytest.raises(OSError):
        come()
    (site.directory / "reload").touch()
    assert come() == used
    (site.directory / "live").unlink()
    (site.directory / "live").symlink_to((site.directory / "previous").readlink())
    assert come() == used
    (site.directory / "reload").touch()
    assert come() == before
    (site.directory / "live" / "key.pem").write_text("damaged")
    (site.directory / "reload").touch()
    assert come() == before


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


def test_a_visitor_who_is_turned_away_is_counted(website: tuple[Website, Visit]) -> None:
    """Whoever gets no answer is counted, with the reason, and the next one comes anyway."""
    _site, come = website
    with Visitors(come) as visitors:
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


def test_a_demo_touches_no_other_installation(told: tuple[Path, str]) -> None:
    """It was told under `ELSEWHERE`: variables that name a server, a database, ports of another mean nothing to it."""
    directory, transcript = told
    assert not any(word in transcript for word in ("ca.example.internal", "cw_real", "nowhere"))
    assert (directory / "state" / "certwright.db").exists()
