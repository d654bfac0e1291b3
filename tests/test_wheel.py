"""What is built is whole: the wheel, installed far from this checkout, is the product with all its data and no tests.

It is built offline with the pinned backend, unpacked into a virtual environment of its own that sees the libraries of
this one but not its editable install, and run as a user would, from an empty directory with an empty environment.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import httpx
import pytest

from tests import peer
from tests.source import ROOT

pytestmark = pytest.mark.xdist_group("wheel")
DATA = ("config", "templates")

WHERE = """
import json, sys
from pki.cli import main
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
from pki.data import data
mine = {n: m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ("ca", "pki", "renewers", "tests")}
told = {"code": code, "modules": mine, "data": [str(data("config")), str(data("templates"))]}
print(json.dumps(told), file=sys.stderr)
"""


def built_from() -> dict[str, bytes]:
    """What the wheel has to hold besides its metadata: every module, and every file of data."""
    packages = ("ca", "renewers", "pki")
    modules = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): path.read_bytes() for path in modules}
    files = [path for name in DATA for path in (ROOT / name).rglob("*") if path.is_file()]
    return found | {f"pki/_data/{path.relative_to(ROOT)}": path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    out = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index"]
    argv += ["--disable-pip-version-check", "--no-cache-dir", "--wheel-dir", str(out), str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it, and an empty directory to run it from."""

    packages: Path
    bin: Path
    empty: Path

    def run(self, *argv: str | Path, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment with nothing inherited, and judge its exit code."""
        clean = {"PATH": os.defpath, "HOME": str(self.empty), "LANG": "C.UTF-8", "NO_COLOR": "1", "COLUMNS": "200"}
        words = [str(self.bin / argv[0]), *map(str, argv[1:])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=self.empty, env={**clean, **env})
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, installed; libraries come from this interpreter's directory, whose own `.pth` files do not count."""
    home = tmp_path_factory.mktemp("installed")
    venv, empty = home / "venv", home / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=300)
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv), "install", "--no-index"]
    subprocess.run([*argv, "--no-deps", "-q", str(wheel)], check=True, timeout=300, cwd=empty, capture_output=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(packages, venv / "bin", empty)


@pytest.fixture(scope="module")
def state(installed: Installed) -> Path:
    """An installation that the installed product has made."""
    directory = installed.empty / "state"
    told = installed.run("certwright", "--state", directory, "init", "--domain", "a.example", "--json").stdout
    assert json.loads(told)["token"].startswith("cw_")
    return directory


def test_the_wheel_holds_everything_and_nothing_else(wheel: Path) -> None:
    """Every module and every file of `config/` and `templates/`, byte for byte; no test, no key, no leftover."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        held = {name: archive.read(name) for name in names}
    expected = built_from()
    assert set(held) - set(expected) - {"ca/README.md", "pki/README.md", "renewers/README.md"} == set()
    assert {name for name, content in expected.items() if held.get(name) != content} == set()
    assert "pki/_data/config/certwright.toml" in held
    assert not [name for name in held if name.startswith("tests") or "/test_" in name]


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """Name, command, licence and libraries are in its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        texts = {name.partition(".dist-info/")[2]: archive.read(name).decode() for name in archive.namelist()}
    assert "certwright = pki.cli:main" in texts["entry_points.txt"]
    metadata = texts["METADATA"]
    assert "Name: certwright\n" in metadata
    assert "Requires-Dist: cryptography" in metadata
    assert "Provides-Extra: postgresql" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert any("LICENSE" in name for name in texts)


def test_help_is_there(installed: Installed) -> None:
    """The first thing that anybody types, and the version."""
    shown = installed.run("certwright", "--help")
    assert all(noun in shown.stdout for noun in ("init", "serve", "cert", "ledger"))
    assert installed.run("certwright", "--version").stdout.startswith("certwright ")


def test_a_certificate_from_an_installed_product(installed: Installed, state: Path) -> None:
    """After init: profile list with the shipped profiles, cert issue, ledger verify, and a refusal in plain words."""
    listed = json.loads(installed.run("certwright", "--state", state, "profile", "list", "--json").stdout)
    shipped = {p.stem for p in (ROOT / "config" / "profiles").glob("*.toml") if not p.stem.endswith(".examples")}
    assert {profile["name"] for profile in listed} == shipped
    name = "spiffe://a.example/ns/payments/sa/api"
    issue = ("cert", "issue", name, "--profile", "mesh", "--out", "api", "--json")
    issued = json.loads(installed.run("certwright", "--state", state, *issue).stdout)
    assert issued["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    assert stat.S_IMODE((installed.empty / "api" / "key.pem").stat().st_mode) == 0o600
    report = json.loads(installed.run("certwright", "--state", state, "ledger", "verify", "--json").stdout)
    assert (report["is_sound"], report["certificates"]) == (True, 2), "the issuing CA and the leaf"
    refused = installed.run("certwright", "--state", installed.empty / "nothing", "profile", "list", code=1)
    assert "there is no installation" in refused.stderr


def test_letters_come_with_the_wheel(installed: Installed, state: Path) -> None:
    """Their templates, their charts and the report's are found where there is no checkout: a letter as a file."""
    installed.run("certwright", "--state", state, "owner", "add", "web", "--email", "web@a.example")
    installed.run("certwright", "--state", state, "renew", "run")  # the inventory learns what the CA has issued
    installed.run("certwright", "--state", state, "report", "preview", "web", "--out", installed.empty / "web.eml")
    letter = message_from_bytes((installed.empty / "web.eml").read_bytes(), policy=SMTP)
    kinds = [part.get_content_type() for part in letter.walk()]
    assert {"text/plain", "text/html", "image/png"} <= set(kinds)
    assert "web" in str(letter["Subject"])


def test_pages_come_with_the_wheel(installed: Installed, state: Path) -> None:
    """The page to sign in with, its style sheet and its icon, from a server that was installed."""
    log, ports = installed.empty / "server.log", {name: f"127.0.0.1:{peer.free_port()}" for name in ("TLS", "PLAIN")}
    env = {"PATH": os.defpath, "HOME": str(installed.empty), **{f"CERTWRIGHT_LISTEN__{n}": p for n, p in ports.items()}}
    argv, log_says = [installed.bin / "certwright", "--state", state, "serve", "--only", "api"], log.read_bytes
    with peer.running(argv, ready=lambda: b'"serving"' in log_says(), log=log, env=env):
        wire = httpx.HTTPTransport(uds=str(state / "certwright.sock"))
        with httpx.Client(transport=wire, base_url="http://localhost", trust_env=False) as client:
            page = client.get("/act/none")
            style, icon = client.get("/assets/certwright.css"), client.get("/assets/icon.svg")
    assert (page.status_code, "<h1>" in page.text) == (404, True)
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")


@pytest.mark.parametrize("argv", [("profile", "test"), ("serve", "--only", "nothing")], ids=" ".join)
def test_what_is_loaded_is_what_was_installed(installed: Installed, state: Path, argv: tuple[str, ...]) -> None:
    """Code and data come from the wheel: the checkout is not on the path, not even by its editable install."""
    done = installed.run("python", "-c", WHERE, "--state", state, *argv)
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["code"] == (2 if argv[0] == "serve" else 0), done.stderr
    assert {"pki.product", "ca.issuance", "pki.web.app"} <= set(told["modules"])
    places = [*(path for path in told["modules"].values() if path is not None), *told["data"]]
    assert [place for place in places if not Path(place).is_relative_to(installed.packages)] == []
    assert str(ROOT) not in installed.run("python", "-c", "import sys; print(sys.path)").stdout.replace(
        sysconfig.get_path("purelib"), ""
    )


def test_every_module_can_be_imported_from_the_wheel(installed: Installed) -> None:
    """No module reaches for a file, or for another module, that only the checkout has."""
    names = [name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in built_from()]
    wanted = [name for name in names if not name.startswith("pki._data") and ".migrations" not in name]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(len(sys.argv) - 1)"
    assert int(installed.run("python", "-c", script, *wanted).stdout) == len(wanted) > 80
