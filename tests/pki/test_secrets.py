"""No secret is stored in the clear, logged, exported, or said in a refusal (promise 6): planted, then searched for.

A server runs at the level `debug` with unique passphrases, tokens and private keys, through a round of everything that
works and everything that goes wrong. Afterwards each secret is searched for, raw and in the encodings that it might
have travelled in, in all that the round has left: answers, logs, metrics, the ledger, every table, every file.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ca.founding import Plan, self_signed
from ca.keys.algorithms import KeyType, PrivateKey
from ca.x509.bundle import pem_certificate
from renewers.notifiers.signature import signature_of
from tests import rig
from tests.pki.conftest import API, Server, Warm, certwright, csr, environment, serving, wish

PASSPHRASE = "canary of the key files /+%&=<7f21c9>"
IMPORT_PASSPHRASE = "canary of an import /+%&=<b83e04>"
WRONG_PASSPHRASE = "canary that is wrong /+%&=<55d0aa>"
DATABASE_PASSWORD = "canary-of-the-database-9c1e77"

BROKEN = """
import sys
import ca.crl, ca.hierarchy, ca.issuance
def broken(*arguments, **named):
    raise RuntimeError("a defect that was planted")
ca.crl.statuses = ca.hierarchy.import_authority = ca.issuance.aissue = broken
from pki.cli import main
main()
"""
"""The command with defects: whatever the program has in its hands when they strike is what a log might show."""


def spellings(secret: bytes) -> set[bytes]:
    """A secret as it may be written: raw, hex, base64 wherever it begins, escaped for JSON, URLs, Python."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()}
    found |= {quote(secret, safe="").encode(), quote_plus(secret).encode(), quote(secret).encode()}
    with suppress(UnicodeDecodeError):
        found |= {json.dumps(secret.decode())[1:-1].encode(), json.dumps(json.dumps(secret.decode()))[3:-3].encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(b"\0" * shift + secret)
            first, last = -(-shift * 8 // 6), (shift + len(secret)) * 8 // 6
            found.add(whole[first:last])
    return {text for text in found if len(text) >= 12}


def numbers(key: PrivateKey) -> dict[str, bytes]:
    """What must not be seen of a private key: its number, and the encodings that hold it, without their PEM lines."""
    found = {"PKCS#8": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        value = key.private_numbers().private_value
        found |= {"number": value.to_bytes(32, "big"), "decimal": str(value).encode()}
        found["SEC 1"] = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())[:39]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        found["number"] = key.private_bytes_raw()
    # The start of PKCS#8 is the same for all keys of a type: the canary is what follows, as it stands in a PEM.
    found["PKCS#8"] = found["PKCS#8"][16 if len(found["PKCS#8"]) < 60 else 36 :]
    return found


@dataclass
class Round:
    """What was planted, and all that the round has left, by where it was found."""

    secrets: dict[str, bytes] = field(default_factory=dict)
    left: dict[str, bytes] = field(default_factory=dict)
    answers: list[tuple[str, int, bytes]] = field(default_factory=list)
    state: Path = Path()

    def plant(self, name: str, secret: str | bytes) -> None:
        """Remember a secret."""
        self.secrets[name] = secret.encode() if isinstance(secret, str) else secret

    def plant_key(self, name: str, key: PrivateKey) -> None:
        """Remember a private key."""
        for kind, content in numbers(key).items():
            self.plant(f"{name}: {kind}", content)

    def leaks(self, where: Callable[[str], bool] = lambda _: True) -> set[tuple[str, str]]:
        """Which secret stands where."""
        texts = {name: _plain(content) for name, content in self.left.items() if where(name)}
        return {
            (secret, name)
            for secret, value in self.secrets.items()
            for spelling in spellings(value)
            for name, (text, joined) in texts.items()
            if spelling in text or spelling in joined
        }

    def heard(self, answer: httpx.Response) -> None:
        """Hook of clients: keep every answer."""
        answer.read()
        self.answers.append((f"{answer.request.method} {answer.request.url.path}", answer.status_code, answer.content))
        name = f"answer {len(self.answers)}: {answer.request.method} {answer.status_code} {answer.request.url.path}"
        self.left[name] = answer.content + str(answer.headers.multi_items()).encode()


def _plain(content: bytes) -> tuple[bytes, bytes]:
    """A text as it is, and without the line breaks that cut a PEM in pieces, written or escaped."""
    joined = content.replace(b"\\\\n", b"").replace(b"\\n", b"").replace(b"\n", b"").replace(b"\r", b"")
    return content, joined


def everything_in(directory: Path) -> dict[str, bytes]:
    """Every file of a state directory."""
    return {f"file {path.relative_to(directory)}": path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def tables(state: Path) -> dict[str, bytes]:
    """Every table of the database, as SQL, blobs in hex, and as the values that they are."""
    found = {}
    with closing(sqlite3.connect(f"file:{state}/certwright.db?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            rows = database.execute(f'SELECT * FROM "{name}"').fetchall()
            cells = [c if isinstance(c, bytes) else str(c).encode() for row in rows for c in row]
            found[f"table {name}"] = b"\n".join(cells)
        found["dump"] = "\n".join(database.iterdump()).encode()
    return found


def imported_ca(planted: Round) -> tuple[str, str, str]:
    """A root made elsewhere: certificate, key in the clear, key under a passphrase. Both are what a caller sends."""
    key = KeyType.P256.generate()
    planted.plant_key("key of an imported CA", key)
    certificate = pem_certificate(self_signed(key, Plan("legacy", rig.common_name("Legacy Root"), KeyType.P256)))
    clear = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(IMPORT_PASSPHRASE.encode()))
    return certificate, clear.decode(), locked.decode()


def go_round(server: Server, planted: Round, directory: Path, warm: Warm) -> None:
    """Everything that works, and much that does not."""
    hooks: Mapping[str, list[Callable[..., Any]]] = {"response": [planted.heard]}
    with server.over_socket() as local, server.over_tls() as nobody:
        grant = {"role": "requester", "profiles": ["mesh"], "attributes": {"namespace": "payments"}}
        made = local.post(f"{API}/tokens", json={"name": "ci", **grant}).json()
        planted.plant("created token", made["token"].split("_", 2)[2])
        shared = [give_secret(local, planted), give_secret(local, planted)]
        local.event_hooks = nobody.event_hooks = dict(hooks)  # from here on nothing says a secret again
        for token in (server.token, made["token"]):
            with server.over_tls(token) as client:
                client.event_hooks = dict(hooks)
                ask_as(client)
        for wrong in (
            f"{made['token']}x",
            made["token"][:-1],
            made["token"].upper(),
            f"{made['token']} {server.token}",
        ):
            nobody.get(f"{API}/me", headers={"Authorization": f"Bearer {wrong}"})
        for scheme in (f"Basic {made['token']}", made["token"], f"bearer  {made['token']},"):
            nobody.get(f"{API}/me", headers={"Authorization": scheme})
        nobody.get(f"{API}/me", headers={"Idempotency-Key": "no secret", "Cookie": f"token={made['token']}"})
        nobody.post(f"{API}/certificates", content=server.token)
        report_and_fail(nobody, local, shared)
        import_and_fail(local, planted)
        local.get(f"{API}/tokens")
        local.get("/metrics").raise_for_status()
        planted.left["ledger"] = pages(local)
        assert '"is_sound": true' in local.post(f"{API}/ledger/verify", json={}).text
        local.delete(f"{API}/tokens/ci")
        nobody.get(f"{API}/me", headers={"Authorization": f"Bearer {made['token']}"})
    from_the_command_line(server, planted, directory, made["token"], warm)


def give_secret(local: httpx.Client, planted: Round) -> str:
    """The secret that a consumer signs its reports with: another one each time, and each is shown once."""
    if local.get(f"{API}/consumers/edge").status_code == 404:
        body = {"name": "edge", "makes_secret": True}
        made = local.post(f"{API}/consumers", json=body).raise_for_status().json()["secret"]
    else:
        made = local.post(f"{API}/consumers/edge/secret", json={}).raise_for_status().json()["secret"]
    planted.plant(f"secret of a consumer {len(planted.secrets)}", made.removeprefix("whsec_"))
    planted.plant(f"the same, decoded {len(planted.secrets)}", base64.b64decode(made.removeprefix("whsec_")))
    return str(made)


def report_and_fail(nobody: httpx.Client, local: httpx.Client, secrets: list[str]) -> None:
    """Say what is held, signed with the secret that counts and with the one that did, and with the secret in it."""
    local.post(f"{API}/publications", json={})
    newest = next(row["newest"] for row in local.get(f"{API}/streams").json()["items"] if row["newest"])
    said = {name: newest[name] for name in ("stream", "version", "sha256")}
    statuses = []
    for secret in (secrets[-1], secrets[0]):
        at = int(time.time())
        body = json.dumps({"consumer": "edge", **said, "at": at}).encode()
        headers = {"webhook-id": "m", "webhook-timestamp": str(at)}
        signed = signature_of(secret, "m", at, body)
        answer = nobody.post("/acknowledgements", content=body, headers={**headers, "webhook-signature": signed})
        statuses.append(answer.status_code)
        nobody.post("/acknowledgements", content=body, headers={**headers, "webhook-signature": secret})
    assert statuses == [200, 401]
    local.get(f"{API}/consumers/edge").raise_for_status()
    local.patch(f"{API}/consumers/edge", json={"identities": ["token:ci"]}).raise_for_status()
    local.post(f"{API}/consumers/edge/spread", json={}).raise_for_status()
    local.get(f"{API}/consumers").raise_for_status()
    local.get(f"{API}/events").raise_for_status()
    local.get(f"{API}/alarms").raise_for_status()


def ask_as(client: httpx.Client) -> None:
    """What a caller does, and gets wrong, with its token."""
    issued = client.post(f"{API}/certificates", json=wish(), headers={"Idempotency-Key": "no secret"}).json()
    client.post(f"{API}/certificates/{issued['serial']}/renew", json={"csr": csr(place=2)})
    client.post(f"{API}/certificates/{issued['serial']}/revoke", json={"reason": "superseded"})
    client.post(f"{API}/certificates", json=wish("spiffe://elsewhere.example/x", lifetime="90d"))
    client.post(f"{API}/certificates", json={**wish(), "surprise": 1})
    client.post(f"{API}/certificates", content=b"{nonsense")
    client.get(f"{API}/nothing-of-that-name")
    client.get(f"{API}/certificates/zz")
    client.put(f"{API}/certificates")
    client.post(f"{API}/authorities", json={"line": "Bad Line", "subject": "CN=x"})


def import_and_fail(local: httpx.Client, planted: Round) -> None:
    """Take over a CA, rightly and wrongly, and send a private key wherever somebody might by mistake."""
    certificate, clear, locked = imported_ca(planted)
    other = pem_certificate(self_signed(*_stranger()))
    body = {"line": "legacy", "certificate": certificate, "key": locked}
    attempts: list[dict[str, Any]] = [
        {**body, "passphrase": WRONG_PASSPHRASE},
        {**body, "key": clear[: len(clear) // 2]},
        {**body, "key": clear.replace("PRIVATE", "PUBLIC")},
        {**body, "certificate": clear, "key": certificate},
        {**body, "key": clear, "certificate": other},
        {**body, "key": clear, "line": "Bad Line"},
        {**body, "key": clear, "passphrase": IMPORT_PASSPHRASE, "surprise": 1},
        {**body, "key": [clear], "passphrase": {"is": IMPORT_PASSPHRASE}},
        {**body, "key": clear, "crl_shards": -1},
    ]
    assert {local.post(f"{API}/authorities/import", json=attempt).status_code // 100 for attempt in attempts} == {4}
    local.post(f"{API}/authorities/import", json={**body, "passphrase": IMPORT_PASSPHRASE}).raise_for_status()
    for text in (clear, clear.replace("PRIVATE KEY", "CERTIFICATE REQUEST"), f"{csr()}{clear}", clear + "x" * 70_000):
        assert local.post(f"{API}/certificates", json={**wish(), "csr": text}).status_code in (201, 400, 413, 422)
    local.post(f"{API}/certificates", json={"profile": "mesh", "csr": {"key": clear}, "names": [rig.WORKLOAD]})


def _stranger() -> tuple[PrivateKey, Plan]:
    return KeyType.P256.generate(), Plan("legacy", rig.common_name("Another Root"), KeyType.P256)


def pages(local: httpx.Client) -> bytes:
    """The whole ledger, as it is exported."""
    found = b""
    after: str | None = "0"
    while after is not None:
        page = local.get(f"{API}/ledger/entries", params={"after": after, "limit": 1000}).raise_for_status()
        found, after = found + page.content, page.json()["next"]
    return found


def from_the_command_line(server: Server, planted: Round, directory: Path, token: str, warm: Warm) -> None:
    """A key that the command line makes for its user; then commands that are refused, with their secrets at hand."""
    run = partial(warm.run, cwd=directory.parent)
    issue = ("cert", "issue", "spiffe://example.internal/ns/payments/sa/cli", "--profile", "mesh", "--out", directory)
    done = run("--state", server.state, *issue)
    assert done.returncode == 0, done.stderr
    key = load_pem_private_key((directory / "key.pem").read_bytes(), None)
    planted.plant_key("key made for a caller", key)  # type: ignore[arg-type]
    remote = ("--server", server.url, "--ca-file", server.roots)
    outputs = [
        done,
        run(*remote, "cert", "list", CERTWRIGHT_TOKEN=token),
        run(*remote, "token", "list", "--json", CERTWRIGHT_TOKEN=server.token),
        run("--server", "https://127.0.0.1:9", "--ca-file", server.roots, "ca", "list", CERTWRIGHT_TOKEN=token),
        run("--server", server.url.replace("https", "http"), "ca", "list", CERTWRIGHT_TOKEN=token),
        run("--state", server.state, "serve", CERTWRIGHT_KEY_PASSPHRASE=PASSPHRASE),
        run("--state", server.state, "cert", "sign", directory / "key.pem", "--profile", "mesh"),
        run("--state", server.state, "key", "block", directory / "key.pem"),
    ]
    assert [output.returncode for output in outputs] == [0, 1, 0, 1, 1, 1, 1, 1]
    for number, output in enumerate(outputs):
        planted.left[f"command {number}"] = (output.stdout + output.stderr).encode()


def plant_keys_of(state: Path, planted: Round) -> None:
    """Open the key files with their passphrase, to know what must not be seen."""
    paths = sorted((state / "keys").glob("*.pem"))
    assert len(paths) >= 3
    for path in paths:
        pem = path.read_bytes()
        planted.plant_key(f"key {path.stem}", load_pem_private_key(pem, PASSPHRASE.encode()))  # type: ignore[arg-type]


def wait_for_lists(server: Server) -> None:
    """Until every list that the round has made due is published: they hold what it left, too."""
    deadline = time.monotonic() + 60
    with server.over_socket() as local:
        while not all(row["number"] for row in local.get(f"{API}/authorities/issuing-1/crls").json()):
            assert time.monotonic() < deadline, "no CRLs were published"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Round:
    """A round with everything planted, told and left."""
    home, planted = tmp_path_factory.mktemp("secrets"), Round()
    planted.state = state = home / "state"
    secret = {"CERTWRIGHT_KEY_PASSPHRASE": PASSPHRASE}
    made = certwright("--state", state, "init", "--domain", rig.DOMAIN, "--json", **secret)
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)["token"]
    planted.left["stderr of init"] = made.stderr.encode()
    planted.plant("passphrase of the keys", PASSPHRASE)
    planted.plant("passphrase of an import", IMPORT_PASSPHRASE)
    planted.plant("wrong passphrase", WRONG_PASSPHRASE)
    planted.plant("first admin's token", token.split("_", 2)[2])
    with serving(state, token, CERTWRIGHT_LOG__LEVEL="debug", **secret) as server:
        go_round(server, planted, home / "out", warm)
        plant_keys_of(state, planted)
        wait_for_lists(server)
        planted.left |= {f"{name} (running)": text for name, text in everything_in(state).items()}
    planted.left["log"] = server.log.read_bytes()
    planted.left |= everything_in(state) | tables(state)
    for passphrase in (WRONG_PASSPHRASE, "short"):
        done = warm.run("--state", state, "ca", "list", cwd=home, CERTWRIGHT_KEY_PASSPHRASE=passphrase)
        assert done.returncode == 1
        planted.left[f"command with {passphrase[:6]}"] = (done.stdout + done.stderr).encode()
    return planted


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """A server with planted defects, which fail while it has secrets in its hands."""
    home, struck = tmp_path_factory.mktemp("struck"), Round()
    state = home / "state"
    secret = {"CERTWRIGHT_KEY_PASSPHRASE": PASSPHRASE}
    token = json.loads(certwright("--state", state, "init", "--domain", rig.DOMAIN, "--json", **secret).stdout)["token"]
    struck.plant("passphrase of the keys", PASSPHRASE)
    struck.plant("passphrase of an import", IMPORT_PASSPHRASE)
    struck.plant("first admin's token", token.split("_", 2)[2])
    argv = (sys.executable, "-c", BROKEN)
    with serving(state, token, "--only", "api", argv=argv, CERTWRIGHT_LOG__LEVEL="debug", **secret) as server:
        certificate, clear, locked = imported_ca(struck)
        body = {"line": "legacy", "certificate": certificate}
        with server.over_socket() as local, server.over_tls(token) as remote:
            for client in (local, remote):
                client.event_hooks = {"response": [struck.heard]}
                client.headers["Connection"] = "close"
            local.post(f"{API}/authorities/import", json={**body, "key": locked, "passphrase": IMPORT_PASSPHRASE})
            local.post(f"{API}/authorities/import", json={**body, "key": clear})
            remote.get(f"{API}/authorities/issuing-1/crls")
            remote.post(f"{API}/certificates", json=wish())
            remote.get("/metrics")
        plant_keys_of(state, struck)
    struck.left["log"] = server.log.read_bytes()
    return struck


def test_the_search_finds_what_is_there(planted: Round) -> None:
    """In every encoding, at every place of a base64 text, across the lines of a PEM, inside JSON inside JSON."""
    key = KeyType.P256.generate()
    probe = Round()
    probe.plant("text", PASSPHRASE)
    probe.plant_key("key", key)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    hiding = {
        "raw": PASSPHRASE.encode(),
        "hex": PASSPHRASE.encode().hex().encode(),
        "url": quote(PASSPHRASE, safe="").encode(),
        "json": json.dumps({"reason": json.dumps([PASSPHRASE])}).encode(),
        **{f"base64 {n}": base64.b64encode(b"x" * n + PASSPHRASE.encode() + b"yz") for n in range(4)},
        "pem": pem.encode(),
        "pem in json": json.dumps({"key": pem}).encode(),
        "pem in json in json": json.dumps(json.dumps({"key": pem})).encode(),
        "der": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        "sec 1": key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    }
    for name, content in hiding.items():
        probe.left = {name: content}
        assert probe.leaks(), name
    probe.left = {
        "public": key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "log": planted.left["log"],
    }
    assert probe.leaks() == set()


def test_the_round_was_a_full_one(planted: Round) -> None:
    """It has seen successes and refusals of each kind, a debug line, every table, and enough secrets."""
    statuses = {status for _, status, _ in planted.answers}
    assert {200, 201, 400, 401, 403, 404, 405, 409, 422} - statuses <= {409}
    assert not {status for status in statuses if status >= 500}
    assert b'"level": "debug"' in planted.left["log"]
    assert {"table api_token", "table certificate", "table ledger_entry"} <= set(planted.left), sorted(planted.left)
    assert len(planted.secrets) >= 20
    assert b"certwright_certificates_issued_total{" in b"".join(planted.left.values())


@pytest.mark.parametrize("where", ["answer", "log", "ledger", "table", "dump", "file", "command", "stderr of init"])
def test_no_secret_is_left(planted: Round, where: str) -> None:
    """Not one, in any spelling: in no answer, no log, no table, no file, no export, no metric, no refusal."""
    assert any(name.startswith(where) for name in planted.left)
    assert planted.leaks(lambda name: name.startswith(where)) == set()


def test_a_defect_shows_no_secret(struck: Round) -> None:
    """An error that nobody expected is answered with a bare 500."""
    statuses = [status for _, status, _ in struck.answers]
    assert statuses == [500] * 5, struck.answers
    assert struck.leaks(lambda name: name.startswith("answer")) == set()
    assert not any(b"planted" in content for _, _, content in struck.answers)


def test_a_defect_logs_no_secret(struck: Round) -> None:
    """The log has the traceback of it, without what the program had in its hands."""
    assert struck.left["log"].count(b"a defect that was planted") >= 5
    assert struck.leaks(lambda name: name == "log") == set()


@pytest.mark.parametrize("verb", ["DELETE", "GET"])
def test_a_token_in_the_place_of_its_name_is_not_repeated(server: Server, verb: str) -> None:
    """Somebody who wants a leaked token revoked pastes it: it is not said again, and not logged."""
    with server.over_socket() as client:
        made = client.post(f"{API}/tokens", json={"name": f"leaked-{verb}", "role": "auditor"}).json()["token"]
        path = f"{API}/tokens/{made}" if verb == "DELETE" else f"{API}/certificates/{made}"
        answer = client.request(verb, path)
    probe = Round()
    probe.plant("token", made.split("_", 2)[2])
    probe.left = {"answer": answer.content, "log": server.log.read_bytes()}
    assert probe.leaks() == set()


URLS = [
    f"postgresql://ada:{DATABASE_PASSWORD}@127.0.0.1:1/certwright",
    f"postgresql://ada:{DATABASE_PASSWORD}@no-such-host.invalid/certwright",
    f"postgresql://ada:{DATABASE_PASSWORD}@127.0.0.1:port/certwright",
    f"postgresql://ada:{DATABASE_PASSWORD}@[::1/certwright",
    f"mysql://ada:{DATABASE_PASSWORD}@127.0.0.1/certwright",
    f"ada:{DATABASE_PASSWORD}@127.0.0.1/certwright",
    f"postgresql://127.0.0.1:1/certwright?user=ada&password={DATABASE_PASSWORD}",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("command", [("ca", "list"), ("serve",)], ids=" ".join)
def test_the_databases_password_is_not_said(
    template: Any, tmp_path: Path, warm: Warm, command: tuple[str, ...], url: str
) -> None:
    """A database that cannot be reached, or a URL that is none, is refused without repeating the password."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for name in ("certwright.toml", "key-passphrase"):
        (state / name).write_bytes((template.state / name).read_bytes())
    (state / "key-passphrase").chmod(0o400)
    env = {"CERTWRIGHT_STORE__URL": url, "CERTWRIGHT_LOG__LEVEL": "debug"}
    done = warm.run("--state", state, *command, cwd=tmp_path, **env)
    assert done.returncode == 1, done.stdout
    probe = Round()
    probe.plant("password", DATABASE_PASSWORD)
    probe.left = {"output": (done.stdout + done.stderr).encode(), **everything_in(state)}
    assert probe.leaks() == set()
    assert "refused: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_init_leaves_no_password_behind(tmp_path: Path) -> None:
    """An `init --store` that fails has written the URL nowhere, and shows it nowhere."""
    state = tmp_path / "state"
    done = certwright("--state", state, "init", "--store", str(URLS[0]), "--json")
    assert (done.returncode, "refused" in done.stderr or '"code"' in done.stderr) == (1, True), done.stderr
    probe = Round()
    probe.plant("password", DATABASE_PASSWORD)
    probe.left = {"output": (done.stdout + done.stderr).encode(), **everything_in(state)}
    assert probe.leaks() == set()


def modes(state: Path) -> dict[str, int]:
    """The permissions of everything in a state directory, and of itself."""
    return {
        str(path.relative_to(state.parent)): stat.S_IMODE(path.lstat().st_mode)
        for path in [state, *state.rglob("*")]
        if not path.is_symlink()
    }


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What init and a server leave under an umask that takes nothing away."""
    state = tmp_path_factory.mktemp("careless") / "state"
    inherited = os.umask(0)
    try:
        token = json.loads(certwright("--state", state, "init", "--json").stdout)["token"]
        with serving(state, token) as server, server.over_socket() as client:
            client.post(f"{API}/certificates", json=wish("spiffe://certwright.internal/ns/a/sa/b")).raise_for_status()
            found = modes(state)
    finally:
        os.umask(inherited)
    return found


def test_nobody_else_may_look(careless: Mapping[str, int]) -> None:
    """Directories 0700, files and the socket 0600, the passphrase 0400, whatever the umask; profiles are no secret."""
    assert careless["state"] == careless["state/keys"] == careless["state/profiles"] == 0o700
    assert careless["state/key-passphrase"] == 0o400
    assert {name for name in careless if name.endswith(".db-wal")} == {"state/certwright.db-wal"}
    assert {n: oct(m) for n, m in careless.items() if m & 0o077 and not n.startswith("state/profiles/")} == {}


def test_nobody_else_may_change_policy(careless: Mapping[str, int]) -> None:
    """Profiles say what may be issued: no copy of them is writable for others, whatever the umask."""
    assert {name: oct(mode) for name, mode in careless.items() if mode & 0o022} == {}


def test_a_key_made_for_a_caller_is_its_owners_alone(tmp_path: Path, state: Path) -> None:
    """Mode 0600, whatever the umask, also where it replaces a file that others could read."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "key.pem").write_text("old")
    (tmp_path / "out" / "key.pem").chmod(0o666)
    issue = ["cert", "issue", rig.WORKLOAD, "--profile", "mesh", "--out", str(tmp_path / "out"), "--force"]
    argv = ["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", sys.executable, "-c", "from pki.cli import main; main()"]
    done = subprocess.run([*argv, "--state", str(state), *issue], capture_output=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "out" / "key.pem").stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate((tmp_path / "out" / "cert.pem").read_bytes())
    key = load_pem_private_key((tmp_path / "out" / "key.pem").read_bytes(), None)
    assert key.public_key() == certificate.public_key()
