"""The command line, run as a user runs it: in process, over a server's socket, and over HTTPS with either credential.

Every command is a process of its own; what it prints, writes and exits with is all that is looked at. Most are forked
from a process that has its imports behind it; some start from nothing, as they would in a shell.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ca.founding import Plan, self_signed
from ca.keys.algorithms import KeyType
from ca.ledger.checkpoint import Verifier, open_head
from ca.x509.bundle import pem_certificate
from pki.cli import output
from pki.cli.app import app
from pki.cli.nouns import Nouns
from pki.cli.table import lay_out
from tests import peer, rig
from tests.pki.conftest import API, Server, Template, Warm, certwright, key_pem, serving

ADMIN = {"profile": "client", "name": "email:cli@example.internal", "role": "admin"}
Finished = subprocess.CompletedProcess[str]


class Cli:
    """The command with the options that say where the installation is."""

    def __init__(self, warm: Warm, *where: str | Path, directory: Path, **env: str) -> None:
        self._warm = warm
        self.directory = directory
        self._where = where
        self._env = env

    def run(self, *argv: str | Path, code: int = 0, stdin: str | None = None, **env: str) -> Finished:
        """Run a command that ends with `code`, and never with a traceback."""
        done = self._warm.run(*self._where, *argv, stdin=stdin, cwd=self.directory, **self._env, **env)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *argv: str | Path, **options: Any) -> Any:
        """Run a command with `--json`: standard output is one JSON value and nothing else."""
        return json.loads(self.run(*argv, "--json", **options).stdout)

    def refused(self, *argv: str | Path, **options: Any) -> tuple[str, str | None]:
        """Run a command that is refused: nothing on standard output, the reason in one line, then perhaps a hint."""
        done = self.run(*argv, code=1, **options)
        assert done.stdout == ""
        reason, *hint = done.stderr.strip().splitlines()
        assert reason.startswith("refused: "), done.stderr
        assert len(hint) <= 1
        assert all(line.startswith("hint: ") for line in hint)
        return reason.removeprefix("refused: "), hint[0].removeprefix("hint: ") if hint else None


@pytest.fixture(scope="module")
def granting(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose settings make an admin of one certificate."""
    state = Path(shutil.copytree(template.state, tmp_path_factory.mktemp("granting") / "state"))
    with serving(state, template.token, CERTWRIGHT_IDENTITY__CERTIFICATES=json.dumps([ADMIN])) as running:
        yield running


@pytest.fixture(params=["in process", "socket", "token", "certificate"])
def cli(request: pytest.FixtureRequest, warm: Warm, granting: Server, state: Path, tmp_path: Path) -> Cli:
    """The command over each transport in turn, always as an admin."""
    remote = ("--server", granting.url, "--ca-file", granting.roots)
    match request.param:
        case "in process":
            return Cli(warm, "--state", state, directory=tmp_path)
        case "socket":
            return Cli(warm, "--state", granting.state, directory=tmp_path)
        case "token":
            return Cli(warm, *remote, directory=tmp_path, CERTWRIGHT_TOKEN=granting.token)
        case _:
            certificate, key = granting.holder(tmp_path / "admin", "email:cli@example.internal", place=80)
            return Cli(warm, *remote, "--certificate", certificate, "--key", key, directory=tmp_path)


@pytest.fixture
def here(warm: Warm, granting: Server, tmp_path: Path) -> Cli:
    """The command over the socket, which is the quickest."""
    return Cli(warm, "--state", granting.state, directory=tmp_path)


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def openssl_request(directory: Path, *names: str) -> Path:
    """A request that OpenSSL has made."""
    path, san = directory / "request.pem", ",".join(f"DNS:{name}" for name in names)
    argv = [peer.require("openssl"), "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", directory / "own.key"]
    made = peer.run(*argv, "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={san}", "-out", path)
    assert made.returncode == 0, made.stderr
    return path


def test_a_certificates_life(cli: Cli) -> None:
    """Issue, look, renew, sign a stranger's request, revoke, and prove it all: over every transport alike."""
    out = cli.directory / "web"
    wanted = ("cert", "issue", "web.svc.example.internal", rig.WORKLOAD, "-p", "mesh", "--lifetime", "2d")
    issued = cli.json(*wanted, "-o", out)
    assert issued["files"] == [str(out / name) for name in ("key.pem", "cert.pem", "chain.pem")]
    assert mode(out / "key.pem") == 0o600
    certificate, issuing = x509.load_pem_x509_certificates((out / "cert.pem").read_bytes())
    certificate.verify_directly_issued_by(issuing)
    key = load_pem_private_key((out / "key.pem").read_bytes(), None)
    assert key.public_key() == certificate.public_key()
    assert (out / "chain.pem").read_text() == issued["chain"]
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life == timedelta(days=2, seconds=-1)

    shown = cli.json("cert", "show", issued["serial"])
    assert (shown["state"], shown["names"]) == ("valid", ["dns:web.svc.example.internal", f"uri:{rig.WORKLOAD}"])
    assert [entry["action"] for entry in shown["history"]] == ["certificate-issued"]
    kept = cli.json("ledger", "head", "--out", cli.directory / "head.txt")
    verifier = Verifier.parse(kept["verifier"])
    assert open_head((cli.directory / "head.txt").read_text(), verifier).size == kept["size"]

    renewed = cli.json("cert", "renew", out / "cert.pem", "--name", "web.svc.example.internal")
    assert mode(out / "key.pem") == 0o600
    successor = x509.load_pem_x509_certificate((out / "cert.pem").read_bytes())
    assert f"{successor.serial_number:x}" == renewed["serial"] != issued["serial"]
    assert load_pem_private_key((out / "key.pem").read_bytes(), None).public_key() == successor.public_key()
    assert successor.public_key() != certificate.public_key()

    request = openssl_request(cli.directory, "signed.example.internal")
    done = cli.run("cert", "sign", request, "-p", "server")
    signed, _ = x509.load_pem_x509_certificates(done.stdout.encode())
    assert peer.run("openssl", "x509", "-noout", "-text", stdin=done.stdout.encode()).returncode == 0
    assert signed.public_key() == x509.load_pem_x509_csr(request.read_bytes()).public_key()

    revoked = cli.json("cert", "revoke", out / "cert.pem", "--reason", "superseded")
    assert revoked["serials"] == [renewed["serial"]]
    states = {row["serial"]: row["state"] for row in cli.json("cert", "list", "--profile", "mesh", "--limit", "0")}
    assert [states[serial] for serial in (issued["serial"], renewed["serial"])] == ["valid", "revoked"]
    report = cli.json("ledger", "verify", "--head", cli.directory / "head.txt")
    assert (report["is_sound"], report["first"]) == (True, None)


def test_tokens_and_refusals(cli: Cli) -> None:
    """A token is shown once; a refusal is a line and a hint, or with --json the problem; over every transport alike."""
    name = f"ci-{os.getpid()}-{cli.directory.name}"[:60]
    made = cli.run("token", "create", name, "--role", "requester", "--profile", "mesh", "--attribute", "namespace=ci")
    secret = made.stdout.strip()
    assert made.stdout.count("\n") == 1
    assert secret.startswith("cw_")
    row = next(row for row in cli.json("token", "list") if row["name"] == name)
    assert (row["role"], row["profiles"], row["attributes"]) == ("requester", ["mesh"], {"namespace": "ci"})
    assert secret[-43:] not in json.dumps(row)
    assert cli.json("token", "revoke", name)["revoked_at"]
    assert cli.refused("token", "revoke", name) == (f"token {name} is revoked already", None)
    reason, hint = cli.refused("cert", "issue", "localhost", "-p", "nothing", "-o", cli.directory / "x")
    assert (reason, "mesh" in str(hint)) == ("there is no profile 'nothing'", True)
    assert not (cli.directory / "x" / "key.pem").exists()
    done = cli.run("cert", "issue", "example.com", "-p", "server", "--lifetime", "900d", "-o", "y", code=1)
    assert done.stderr.startswith("refused: 2 reasons\n  - ")
    done = cli.run("cert", "issue", "example.com", "-p", "server", "-o", "z", "--json", code=1)
    assert done.stdout == ""
    document = json.loads(done.stderr)
    assert (document["code"], document["reasons"][0]["code"]) == ("policy-refused", "name-not-allowed")


def test_the_hierarchy_from_the_command_line(warm: Warm, template: Template, state: Path, tmp_path: Path) -> None:
    """Create, activate, taint, retire, import and export authorities, and write the CRLs that servers load."""
    with serving(state, template.token):
        cli = Cli(warm, "--state", state, directory=tmp_path)
        assert [row["name"] for row in cli.json("ca", "list")] == ["root-1", "issuing-1"]
        made = cli.json("ca", "create", "issuing", "--subject", "CN=Second", "--shards", "2", "--key-type", "Ed25519")
        assert (made["name"], made["state"], made["crl_shards"]) == ("issuing-2", "prepared", 2)
        assert cli.json("ca", "create", "field", "--root", "--subject", "CN=Field,O=Example")["parent"] is None
        assert cli.json("ca", "activate", "issuing-2")["state"] == "active"
        assert cli.json("ca", "show", "issuing-1")["state"] == "tainted"
        aborted = cli.run("ca", "retire", "issuing-1", code=1, stdin="n\n")
        assert "never be trusted again" in aborted.stderr
        assert cli.json("ca", "retire", "issuing-1", "--yes")["state"] == "retired"
        assert cli.json("ca", "taint", "issuing-2", "-y")["state"] == "tainted"
        _reason, hint = cli.refused("cert", "issue", "localhost", "-p", "server", "-o", "x")
        assert hint == "certwright ca activate NAME"

        key = rig.pooled_key(place=81)
        certificate = pem_certificate(self_signed(key, Plan("old", rig.common_name("Old"), KeyType.P256)))
        (tmp_path / "old.pem").write_text(certificate)
        encryption = BestAvailableEncryption(b"theirs, not ours")
        (tmp_path / "old.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        taking = ("ca", "import", "old", "--cert", tmp_path / "old.pem", "--key", tmp_path / "old.key")
        assert "cannot be read" in cli.run(*taking, code=1, stdin="wrong\n").stderr
        assert cli.json(*taking, stdin="theirs, not ours\n")["name"] == "old-1"

        cli.run("ca", "export", "--roots", "--out", tmp_path / "roots.pem")
        assert len(x509.load_pem_x509_certificates((tmp_path / "roots.pem").read_bytes())) == 3
        chain = x509.load_pem_x509_certificates(cli.run("ca", "export", "issuing-2", "--chain").stdout.encode())
        chain[0].verify_directly_issued_by(chain[1])
        done = cli.run("ca", "crl", "--out", tmp_path / "crls.pem")
        assert done.stdout == ""
        assert (tmp_path / "crls.pem").read_text().count("BEGIN X509 CRL") == 4
        lists = cli.json("ca", "crl", "issuing-2")
        assert [row["shard"] for row in lists["issuing-2"]] == [None, 0, 1]
        assert "PRIVATE" not in (tmp_path / "roots.pem").read_text() + cli.run("ca", "show", "old-1").stdout


def test_profiles_from_the_command_line(here: Cli) -> None:
    """List, show, lint and test what is installed, and a file before it is put into service."""
    shipped = {p.stem for p in (rig.CONFIG / "profiles").glob("*.toml") if ".examples" not in p.name}
    assert {row["name"] for row in here.json("profile", "list")} == shipped
    assert here.run("profile", "show", "mesh").stdout == (rig.CONFIG / "profiles" / "mesh.toml").read_text()
    assert {row["kind"] for row in here.json("profile", "lint", "server")} == {"accepted"}
    assert all(row["is_as_expected"] for row in here.json("profile", "test"))
    for suffix in ("toml", "examples.toml"):
        shutil.copy(rig.CONFIG / "profiles" / f"mesh.{suffix}", here.directory / f"mine.{suffix}")
    mine = here.directory / "mine.toml"
    assert here.json("profile", "lint", mine, "--domain", "corp.example") == []
    assert all(row["is_as_expected"] for row in here.json("profile", "test", mine))
    mine.write_text(mine.read_text().replace('longest = "7d"', 'longest = "700d"'))
    wrong = [row for row in here.json("profile", "test", mine, code=1) if not row["is_as_expected"]]
    assert wrong
    mine.write_text(mine.read_text().replace("roles", "rolls"))
    assert "rolls" in here.refused("profile", "lint", mine)[0]


def _stranger(directory: Path) -> Path:
    """A certificate that nobody here has signed."""
    plan = Plan("stranger", rig.common_name("Stranger"), KeyType.P256)
    (path := directory / "stranger.pem").write_text(pem_certificate(self_signed(KeyType.P256.generate(), plan)))
    return path


def test_revoking_many_from_the_command_line(here: Cli) -> None:
    """By key file or hash, and by filter after a question; blocking without revoking; exporting what happened."""
    one = here.json("cert", "issue", "a.bulk.example.internal", "-p", "server", "-o", "a")
    two = here.json("cert", "issue", "b.bulk.example.internal", "-p", "server", "-o", "b")
    blocked = here.json("key", "block", here.directory / "a" / "cert.pem")
    assert (blocked, here.json("cert", "show", one["serial"])["state"]) == ({"was_new": True}, "valid")
    key = here.directory / "a" / "cert.pem"
    done = here.json("cert", "revoke", "--key", key, "--yes", "--reason", "key-compromise")
    assert (done["serials"], done["key_blocked"]) == ([one["serial"]], True)
    assert here.json("cert", "hold", two["serial"])["released_at"] is None
    assert here.json("cert", "show", two["serial"])["state"] == "held"
    assert here.json("cert", "release", "b/cert.pem")["serial"] == two["serial"]
    dry = here.json("cert", "revoke", "--name", "b.bulk.example.internal", "--dry-run")
    assert (dry["serials"], dry["cost"]["certificates"]) == ([two["serial"]], 1)
    asked = here.run("cert", "revoke", "--name", "b.bulk.example.internal", code=1, stdin="n\n")
    assert "1 certificate will be revoked" in asked.stderr
    assert "OCSP answers to sign anew" in asked.stdout
    assert "no key of a CA of ours" in here.refused("cert", "revoke", "--certificate", _stranger(here.directory))[0]
    assert here.json("cert", "show", two["serial"])["state"] == "valid"
    done = here.json("cert", "revoke", "--name", "b.bulk.example.internal", "--yes")
    assert (done["serials"], done["key_blocked"]) == ([two["serial"]], False)
    ending = ("cert", "list", "--name", "a.bulk.example.internal", "--expires-within")
    assert [len(here.json(*ending, within)) for within in ("29d", "31d")] == [0, 1]
    here.run("ledger", "export", "--out", "all.ndjson")
    here.run("ledger", "export", "--subject", two["serial"], "--out", "one.ndjson")
    entries = [json.loads(line) for line in (here.directory / "all.ndjson").read_text().splitlines()]
    assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
    assert len((here.directory / "one.ndjson").read_text().splitlines()) == 4


def test_tables_show_what_strangers_wrote_as_it_is(here: Cli) -> None:
    """Without --json there is a table for people; markup in a name is text."""
    here.run("cert", "issue", "table.example.internal", "-p", "server", "-o", "t")
    shown = here.run("cert", "list", "--name", "table.example.internal").stdout
    assert "table.example.internal" in shown
    assert "asked for by" in shown
    assert "no certificate fits" in here.run("cert", "list", "--name", "nobody.example.internal").stderr
    assert "[bold]" in here.refused("cert", "list", "--name", "[bold]x[/bold]")[0]
    for argv in (("ca", "list"), ("ca", "crl"), ("profile", "list"), ("token", "list"), ("ledger", "head")):
        assert here.run(*argv).stdout.strip()
    assert "sound: " in here.run("ledger", "verify").stderr


SERIAL, URI = "4c3c2021c272a51a84c8a10f23deaa1ef53df027", "uri:spiffe://example.internal/ns/payments/sa/api"


@pytest.mark.parametrize("width", [40, 80, 120, 10_000])
def test_a_table_breaks_no_word(width: int) -> None:
    """On every screen each serial and URI is in one piece, no line is longer than it must be, a pipe has one a row."""
    columns = ("serial", "state", "profile", "names")
    rows = [(SERIAL, "valid", "mesh", f"{URI}, dns:api.example.internal"), (SERIAL, "revoked", "device", "-")]
    lines = ["".join(cell for _, cell in line) for line in lay_out(columns, rows, width)]
    text = "\n".join(lines)
    assert (text.count(SERIAL), text.count(URI), text.count("dns:api.example.internal")) == (2, 1, 1)
    assert max(map(len, lines)) <= max(width, len(f"    names: {URI},"))
    assert all(line == line.rstrip() for line in lines)
    assert len(lines) == 3 or width < 10_000


@pytest.mark.parametrize(("width", "lines"), [(60, 14), (10_000, 11)])
def test_one_long_name_does_not_move_all_others(width: int, lines: int) -> None:
    """A name that no column has room for stands above its row, a long cell beneath it; the others keep their line."""
    long = "a-very-long-name." * 5
    rows = [(f"{number}.example", "valid", f"dns:{number}.example") for number in range(9)]
    rows.append((long, "expired", f"dns:{long}"))
    found = lay_out(("name", "state", "names"), rows, width)
    text = ["".join(cell for _, cell in line) for line in found]
    assert text[1].split() == ["0.example", "valid", "dns:0.example"]
    assert ("\n".join(text).count(long), len(text)) == (2, lines)
    assert all(len(line) <= width for line in text if long not in line)


def test_what_is_left_goes_to_who_has_to_say_more() -> None:
    """A column of sentences gets more of the screen than one of words; what is beneath a row shares a line."""
    rows = [("web-1", "word " * 9, "sentence " * 30, "x" * 30, "y" * 30)] * 3
    header, first, *rest = ["".join(cell for _, cell in line) for line in lay_out(tuple("abcde"), rows, 80)]
    assert header.split() == ["a", "b", "c"]
    assert header.index("c") - header.index("b") < len(first) - header.index("c")
    assert f"    d: {'x' * 30}  e: {'y' * 30}" in rest


def test_a_message_that_names_it_needs_no_other_word_for_it() -> None:
    """What a message names is not said twice, nor is a hash; what it merely contains is."""
    assert output.beside("web-1", "web-1 was brought the new one") is None
    assert output.beside("tls:api.example:443", "scan of tls:api.example:443, which ended") is None
    assert output.beside("sha256:00ff", "api.example has expired") is None
    assert output.beside("web", "web-1 was brought the new one") == "web"


def test_what_has_expired_in_use_is_not_what_has_done_its_time() -> None:
    """One that was to be renewed is as bad as it gets; in a list of all that was ever issued, an end is normal."""
    assert output._style("stage", "expired") == output.STATE_COLOURS["critical"]
    assert output._style("state", "expired") == "yellow"
    assert output._style("shown as", "expired") == ""


def test_a_table_may_hold_what_moves_a_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are shown, not obeyed."""
    output.table(("name",), [["a\x1b[2Jb"]], empty="")
    output.fields({"name": "a\rb"})
    output.say("a\x1bc")
    said = capsys.readouterr()
    assert ("\\x1b[2J" in said.out, "a\\rb" in said.out, said.err) == (True, True, "a\\x1bc\n")


def test_init_makes_an_installation(warm: Warm, tmp_path: Path) -> None:
    """Settings, keys and one token, with the answers given; private whatever the umask; and never twice."""
    state, before = tmp_path / "state", os.umask(0)
    try:
        options = ("--domain", "corp.example", "--name", "Corp", "--key-type", "P-384", "--tls", "127.0.0.1:1")
        done = certwright("--state", state, "init", *options, "--json")
    finally:
        os.umask(before)
    made = json.loads(done.stdout)
    assert (done.returncode, made["root"], made["issuing"], made["made_passphrase"]) == (0, "root-1", "issuing-1", True)
    assert mode(state) == mode(state / "keys") == mode(state / "profiles") == 0o700
    private = ["certwright.toml", "certwright.db", *(f"keys/{path.name}" for path in (state / "keys").iterdir())]
    assert {mode(state / name) for name in private} == {0o600}
    assert mode(state / "key-passphrase") == 0o400
    cli = Cli(warm, "--state", state, directory=tmp_path)
    issuing = cli.json("ca", "show", "issuing")
    assert (issuing["subject"], issuing["key_type"]) == ("CN=Corp Issuing CA", "P-384")
    assert 'domain = "corp.example"' in (state / "certwright.toml").read_text()
    reason, hint = cli.refused("init")
    assert (reason, hint) == (f"there is an installation in {state}", "choose an empty directory")


def test_init_takes_over_a_hierarchy(warm: Warm, tmp_path: Path) -> None:
    """A root and an issuing CA that exist become ours, their keys encrypted like ours; half a CA is wrong usage."""
    root, issuing = KeyType.P256.generate(), KeyType.P256.generate()
    (tmp_path / "root.key").write_text(key_pem(root))
    (tmp_path / "ca.key").write_text(key_pem(issuing))
    openssl, root_pem = peer.require("openssl"), tmp_path / "root.pem"
    root_pem.write_text(pem_certificate(self_signed(root, Plan("root", rig.common_name("Their Root"), KeyType.P256))))
    (tmp_path / "ca.cnf").write_text(
        "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    request = ("req", "-new", "-key", tmp_path / "ca.key", "-subj", "/CN=Their Issuing CA", "-out", tmp_path / "ca.csr")
    assert peer.run(openssl, *request).returncode == 0
    signing = ("x509", "-req", "-in", tmp_path / "ca.csr", "-CA", root_pem, "-CAkey", tmp_path / "root.key")
    options = ("-days", "99", "-extfile", tmp_path / "ca.cnf", "-out", tmp_path / "ca.pem")
    assert peer.run(openssl, *signing, *options).returncode == 0
    cli = Cli(warm, "--state", tmp_path / "state", directory=tmp_path)
    assert "go together" in cli.run("init", "--root-cert", root_pem, code=2).stderr
    taken = ("--root-cert", root_pem, "--root-key", tmp_path / "root.key")
    taken += ("--ca-cert", tmp_path / "ca.pem", "--ca-key", tmp_path / "ca.key")
    made = cli.json("init", *taken)
    der = x509.load_pem_x509_certificate(root_pem.read_bytes()).public_bytes(Encoding.DER)
    assert made["root_sha256"] == sha256(der).hexdigest()
    issued = cli.json("cert", "issue", "localhost", "-p", "server", "-o", "web")
    leaf = x509.load_pem_x509_certificate(issued["certificate"].encode())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes()))
    for path in (tmp_path / "state" / "keys").iterdir():
        assert "BEGIN ENCRYPTED PRIVATE KEY" in path.read_text()
        assert "BEGIN PRIVATE KEY" not in path.read_text()


def test_files_that_are_there_stay(here: Cli) -> None:
    """Nothing is replaced, nor asked for, where a file is in the way; --force replaces all three together."""
    (here.directory / "key.pem").write_text("precious")
    done = here.run("cert", "issue", "force.example.internal", "-p", "server", code=2)
    assert "--force" in done.stderr
    assert here.json("cert", "list", "--name", "force.example.internal") == []
    assert (here.directory / "key.pem").read_text() == "precious"
    here.run("cert", "issue", "force.example.internal", "-p", "server", "--force")
    assert "PRIVATE KEY" in (here.directory / "key.pem").read_text()
    assert mode(here.directory / "key.pem") == 0o600


def test_renewing_leaves_others_files_alone(here: Cli) -> None:
    """Renewing api.crt beside another service's key.pem does not replace that key: it is nobody's but theirs."""
    here.run("cert", "issue", "api.example.internal", "-p", "server", "-o", "api")
    (here.directory / "api" / "cert.pem").rename(here.directory / "api.crt")
    (here.directory / "key.pem").write_text("precious")
    here._warm.run(*here._where, "cert", "renew", "api.crt", cwd=here.directory)
    assert (here.directory / "key.pem").read_text() == "precious"


def test_renewing_replaces_certificate_and_key_in_their_place(here: Cli) -> None:
    """Whatever the two are called, the key that fits is replaced with the certificate, and nothing else is."""
    here.run("cert", "issue", "place.example.internal", "-p", "server", "-o", "p")
    for old, new in (("cert", "place.crt"), ("key", "place.key")):
        (here.directory / "p" / f"{old}.pem").rename(here.directory / new)
    chain, key = (here.directory / "p" / "chain.pem").read_text(), (here.directory / "place.key").read_bytes()
    reason, hint = here.refused("cert", "renew", "place.crt")
    assert ("there is no key in key.pem" in reason, "--key" in str(hint)) == (True, True)
    renewed = here.json("cert", "renew", "place.crt", "--key", "place.key")
    assert renewed["files"] == ["place.key", "place.crt"]
    certificate = x509.load_pem_x509_certificate((here.directory / "place.crt").read_bytes())
    fits = load_pem_private_key((here.directory / "place.key").read_bytes(), None)
    assert fits.public_key() == certificate.public_key()
    assert f"{certificate.serial_number:x}" == renewed["serial"]
    assert (here.directory / "p" / "chain.pem").read_text() == chain
    (here.directory / "place.key").write_bytes(key)
    assert "is not the key of" in here.refused("cert", "renew", "place.crt", "--key", "place.key")[0]
    (here.directory / "both.pem").write_bytes((here.directory / "place.crt").read_bytes() + key)
    assert "holds its key" in here.refused("cert", "renew", "both.pem", "--key", "both.pem")[0]
    assert "--force" in here.run("cert", "renew", "place.crt", "--out", "p", code=2).stderr
    assert here.json("cert", "renew", "place.crt", "--out", "p", "--force")["files"][0] == "p/key.pem"


def test_renewing_uses_the_credential_that_is_given(warm: Warm, granting: Server, tmp_path: Path) -> None:
    """An admin's client certificate renews a server's certificate from afar, which cannot be a client itself."""
    certificate, key = granting.holder(tmp_path / "admin", "email:cli@example.internal", place=80)
    remote = ("--server", granting.url, "--ca-file", granting.roots, "--certificate", certificate, "--key", key)
    cli = Cli(warm, *remote, directory=tmp_path)
    cli.run("cert", "issue", "far.example.internal", "-p", "server", "-o", "far")
    assert cli.json("cert", "renew", tmp_path / "far" / "cert.pem")["profile"] == "server"


def test_signing_replaces_nothing(here: Cli) -> None:
    """`cert sign --out` over a file that exists, such as a key, is refused without --force."""
    request = openssl_request(here.directory, "out.example.internal")
    here.run("cert", "sign", request, "-p", "server", "--out", here.directory / "own.key", code=2)


def test_a_locked_state_says_by_whom(warm: Warm, template: Template, state: Path, tmp_path: Path) -> None:
    """While a process has the state open, a second server and a command without a socket are refused with its pid."""
    with serving_schedule(template, state) as pid:
        cli = Cli(warm, "--state", state, directory=tmp_path)
        for argv in (("serve",), ("cert", "list"), ("serve", "--only", "api")):
            reason, hint = cli.refused(*argv)
            assert f"in use by process {pid}" in reason
            assert "--server" in str(hint)


def serving_schedule(template: Template, state: Path) -> Any:
    """A server without listeners; yields its process id."""
    from contextlib import contextmanager

    @contextmanager
    def run() -> Iterator[int]:
        with serving(state, template.token, "--only", "schedule", has_listeners=False) as server:
            assert server.process is not None
            yield server.process.pid

    return run()


def test_a_stale_socket_is_nothing(warm: Warm, template: Template, state: Path, tmp_path: Path) -> None:
    """The socket file of a server that was killed neither stops a command nor the next server."""
    with serving(state, template.token) as server:
        assert server.process is not None
        server.process.kill()
        server.process.wait(60)
    assert (state / "certwright.sock").exists()
    cli = Cli(warm, "--state", state, directory=tmp_path)
    assert [row["name"] for row in cli.json("ca", "list")] == ["root-1", "issuing-1"]
    with serving(state, template.token) as server, server.over_socket() as client:
        assert client.get(f"{API}/me").status_code == 200
    assert not (state / "certwright.sock").exists()


REMOTE = ("--server", "https://localhost:1", "--ca-file", "roots.pem")


@pytest.mark.parametrize(
    "argv",
    [
        ("--state", "nowhere", "cert", "list"),
        ("--state", "nowhere", "serve"),
        ("--state", "garbage.pem", "ca", "list"),
        ("--state", "broken", "ca", "list"),
        (*REMOTE, "cert", "list"),
        ("--server", "http://localhost:1", "--ca-file", "roots.pem", "cert", "list"),
        ("--server", "https://localhost:1", "cert", "list"),
        ("--server", "https://exa mple", "--ca-file", "roots.pem", "cert", "list"),
        ("--server", "https://localhost:1", "--ca-file", "missing.pem", "cert", "list"),
        ("--server", "https://localhost:1", "--ca-file", "garbage.pem", "cert", "list"),
        (*REMOTE, "--certificate", "garbage.pem", "--key", "garbage.pem", "cert", "list"),
        (*REMOTE, "--certificate", "missing.pem", "--key", "missing.pem", "cert", "list"),
        (*REMOTE, "--token", "cw_…", "cert", "list"),
        (*REMOTE, "--token", "cw_a\nb", "cert", "list"),
        (*REMOTE, "--key", "garbage.pem", "cert", "list"),
        ("--server", "https://[", "--ca-file", "roots.pem", "cert", "list"),
        (*REMOTE, "ledger", "verify"),
    ],
    ids=" ".join,
)
def test_where_there_is_nothing_there_is_a_hint(
    warm: Warm, argv: tuple[str, ...], granting: Server, tmp_path: Path
) -> None:
    """An installation that is not there, or not reachable, is said in a line with what to do about it."""
    shutil.copy(granting.roots, tmp_path / "roots.pem")
    (tmp_path / "garbage.pem").write_text("garbage")
    (tmp_path / "broken").mkdir(0o700)
    (tmp_path / "broken" / "certwright.toml").write_text("[listen]\ntls = 1\n")
    reason, hint = Cli(warm, directory=tmp_path).refused(*argv)
    assert reason
    assert hint or "broken" in argv


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("cert", "show", "zz"), "not a serial number"),
        (("cert", "show", "1a"), "there is no certificate 1a"),
        (("cert", "renew", "garbage.pem"), "0 certificates"),
        (("cert", "revoke", "garbage.pem"), "0 certificates"),
        (("cert", "sign", "missing.csr", "-p", "server"), "missing.csr"),
        (("cert", "sign", "garbage.pem", "-p", "server"), "certification request is not usable"),
        (("cert", "issue", "localhost", "-p", "server", "-o", "garbage.pem/x"), "garbage.pem"),
        (("cert", "list", "--state", "fresh"), "not a state"),
        (("key", "block", "garbage.pem"), "no public key"),
        (("key", "block", "missing.pem"), "missing.pem"),
        (("profile", "lint", "missing.toml"), "missing.toml"),
        (("profile", "test", "nothing"), "there is no profile"),
        (("ledger", "verify", "--head", "garbage.pem"), "not a checkpoint"),
        (("ca", "activate", "nothing"), "there is no authority"),
        (("token", "create", "a b", "--role", "auditor"), "cannot name a token"),
        (("ca", "show", ""), "the name is empty"),
        (("ca", "show", "../authorities"), ""),
        (("token", "revoke", "a?b"), "there is no token"),
        (("cert", "sign", "request.der", "-p", "server"), "request.der is not text"),
        (("profile", "lint", "latin.toml"), "latin.toml is not text"),
        (("ledger", "verify", "--head", "request.der"), "request.der is not text"),
        (("ca", "import", "x", "--cert", "request.der", "--key", "garbage.pem"), "request.der is not text"),
    ],
)
def test_a_mistake_is_one_line(here: Cli, argv: tuple[str, ...], said: str) -> None:
    """A refusal is exit code 1, one line that names what is wrong, perhaps a hint, and never a traceback."""
    (here.directory / "garbage.pem").write_text("garbage")
    (here.directory / "request.der").write_bytes(rig.make_csr("localhost"))
    (here.directory / "latin.toml").write_bytes("# größe".encode("latin-1"))
    assert said in here.refused(*argv)[0]


@pytest.mark.parametrize(
    ("passphrase", "said"),
    [("short", "shorter than 12"), ("wrong but long enough", "passphrase is wrong")],
)
def test_a_wrong_passphrase_has_a_hint(warm: Warm, state: Path, tmp_path: Path, passphrase: str, said: str) -> None:
    """Keys that cannot be opened are said in one line, without the passphrase, and with where it is looked for."""
    cli = Cli(warm, "--state", state, directory=tmp_path)
    reason, hint = cli.refused("ca", "list", CERTWRIGHT_KEY_PASSPHRASE=passphrase)
    assert said in reason
    assert passphrase not in reason.replace("shorter", "")
    assert hint or passphrase == "short"


@pytest.mark.parametrize(
    "argv",
    [
        ("nothing",),
        ("cert", "nothing"),
        ("cert", "issue", "localhost"),
        ("cert", "issue", "-p", "server"),
        ("cert", "issue", "localhost", "-p", "server", "--key-type", "RSA-1024"),
        ("cert", "list", "--limit", "many"),
        ("cert", "list", "--expires-within", "soon"),
        ("cert", "revoke"),
        ("cert", "revoke", "1a", "--profile", "mesh"),
        ("cert", "revoke", "1a", "--everything"),
        ("ca", "export"),
        ("ca", "export", "root-1", "--roots"),
        ("token", "create", "ci", "--role", "auditor", "--attribute", "namespace"),
        ("serve", "--only", "dashboard"),
        ("init", "--key-type", "RSA-1024"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(argv: tuple[str, ...], here: Cli) -> None:
    """What is no command or no option is said on standard error, and nothing is done."""
    done = here.run(*argv, code=2)
    assert done.stdout == ""
    assert done.stderr


def commands() -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command and group, with the words that lead to it."""
    found: list[tuple[tuple[str, ...], click.Command]] = []
    whole = typer.main.get_command(app)
    assert isinstance(whole, Nouns)
    whole.make_all()
    pending: list[tuple[tuple[str, ...], Any]] = [((), whole)]
    while pending:
        words, command = pending.pop()
        found.append((words, command))
        pending += [((*words, name), sub) for name, sub in getattr(command, "commands", {}).items()]
    return sorted(found, key=lambda pair: pair[0])


def test_only_the_noun_that_is_asked_for_is_made() -> None:
    """The others' commands would take longer than most commands do; a word that is none is held against all."""
    whole = typer.main.get_command(app)
    assert isinstance(whole, Nouns)
    context = whole.make_context("certwright", ["ledger"], resilient_parsing=True)
    assert set(whole.get_command(context, "ledger").commands) >= {"verify", "prove", "mirror"}
    assert whole.get_command(context, "init") is not None
    assert set(whole.commands) == {"init", "serve", "demo", "doctor", "ledger"}
    assert whole.get_command(context, "leger") is None
    assert set(whole.commands) >= {"ca", "track", "event"}


LEAVES = [words for words, command in commands() if not hasattr(command, "commands")]


def test_help_is_there_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command has a sentence, every option and argument a text, and --help prints them all."""
    from typer.testing import CliRunner

    whole, silent = dict(commands())[()], []
    monkeypatch.setattr("typer.testing._get_command", lambda _app: whole)  # else it makes all of them for each
    for words, command in commands():
        assert command.help, words
        for parameter in command.params:
            text = getattr(parameter, "help", None)
            silent += [(*words, parameter.name)] if not text else []
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
        assert shown.exit_code == 0, (words, shown.output)
        long = [o for p in command.params if isinstance(p, click.Option) for o in p.opts if o.startswith("--")]
        assert all(option in shown.stdout for option in long), (words, shown.stdout)
    assert silent == []
    assert len(LEAVES) >= 131


@pytest.mark.parametrize("words", [(), ("ca",), ("cert",), ("cert", "issue"), ("serve",)], ids=" ".join)
def test_help_as_a_user_asks_for_it(warm: Warm, tmp_path: Path, words: tuple[str, ...]) -> None:
    """In a process of its own help is there, with -h too; without a verb a noun shows its help as wrong usage."""
    long, short = certwright(*words, "--help"), certwright(*words, "-h")
    assert (long.returncode, long.stdout, long.stderr) == (0, short.stdout, "")
    assert "Usage: " in long.stdout
    if words in ((), ("ca",)):
        assert warm.run(*words, cwd=tmp_path).returncode == 2
    version = warm.run("--version", cwd=tmp_path)
    assert (version.returncode, version.stdout.split()[0]) == (0, "certwright")


@pytest.mark.parametrize("words", [words for words in LEAVES if words not in (("demo",), ("serve",))], ids=" ".join)
def test_every_command_takes_json(words: tuple[str, ...]) -> None:
    """Every command that shows or changes something can answer in JSON."""
    command = dict(commands())[words]
    assert "--json" in [option for parameter in command.params for option in parameter.opts]
