"""What the tests of this floor start with: an installation on disk, the application with every credential, a server.

The installation is made once a session and copied; its key files cost a cheap scrypt, so that opening one is quick.
`world` asks the application in process, with a scope that says what a connection would; `server` is a real
`certwright serve` on loopback, asked over TLS, over its Unix socket and over plain HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from sqlmodel import SQLModel

from ca.access import Role
from ca.issuance import Issued
from ca.keys import pkcs8, sealed
from ca.keys.algorithms import PrivateKey
from ca.models import (
    ApiToken,
    Authority,
    BlockedKey,
    BrowserSession,
    Certificate,
    CrossCertificate,
    Intent,
    LedgerEntry,
    Revocation,
    SignInLink,
)
from ca.tokens import Grant, create_token
from ca.x509.bundle import pem_certificate, pem_chain
from pki.initialise import InitPlan, initialise
from pki.product import Product
from pki.web.app import answering, routed
from pki.web.dashboard.routes import OpenRoute
from pki.web.identity import CERTIFICATE, LOCAL
from renewers.models import (
    Alarm,
    Consumer,
    Delivery,
    Destination,
    Endpoint,
    Event,
    ForeignAnchor,
    Holding,
    Latency,
    Lineage,
    Override,
    Owner,
    OwnerClaim,
    Publication,
    Renewal,
    Replacement,
    Rotation,
    RotationStep,
    Tracked,
    Work,
)
from tests import peer, rig
from tests.pki import forked

API = "/api/v1"
PROBLEM = "application/problem+json"
TABLES = (
    *(Certificate, Intent, Revocation, ApiToken, Authority, BlockedKey, LedgerEntry, CrossCertificate),
    *(BrowserSession, SignInLink),
    *(Owner, OwnerClaim, Lineage, Tracked, Endpoint, Destination, Delivery, Renewal, Work, Alarm, Event),
    *(Consumer, Holding, Latency, Publication, ForeignAnchor, Rotation, RotationStep, Override, Replacement),
)
COUNTS = sqlalchemy.text(
    " UNION ALL ".join(f"SELECT '{table.__tablename__}', count(*) FROM {table.__tablename__}" for table in TABLES)
)
"""All of them in one statement: the table of doors asks for it before and after each of thousands of requests."""
MAIN = (sys.executable, "-c", "from pki.cli import main; main()")
"""The command, as its entry point starts it."""
PLAN = InitPlan(
    name="Test",
    changes={
        "installation.domain": '"example.internal"',
        "installation.public_url": f'"{rig.PUBLIC_URL}"',
        "crl.shards": "4",
        "renewals.programs": '["/bin/true", "/bin/sh"]',
    },
)


@dataclass(frozen=True)
class Template:
    """An installation that is only ever copied, and the token of its first admin."""

    state: Path
    token: str


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """An initialised state directory."""
    state = tmp_path_factory.mktemp("template") / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pkcs8, "SCRYPT_N", 1 << 4)
        patch.setattr(sealed, "SCRYPT_N", 1 << 4)
        for name in filter(lambda name: name.startswith("CERTWRIGHT_"), list(os.environ)):
            patch.delenv(name)
        made = initialise(state, PLAN)
    return Template(state, made.token.reveal())


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have an installation of their own; and new keys cost a cheap scrypt here."""
    for name in list(os.environ):
        if name.startswith("CERTWRIGHT_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(pkcs8, "SCRYPT_N", 1 << 4)
    monkeypatch.setattr(sealed, "SCRYPT_N", 1 << 4)


@pytest.fixture(autouse=True, scope="session")
def _no_logs() -> Iterator[None]:
    """Logs that no test looks at (`structlog.testing.capture_logs`) go nowhere: pretty tracebacks take seconds."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A command that ran in this process has set up its logs: the next test has its own again."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


def _drop(*_event: Any) -> Any:
    raise structlog.DropEvent


@pytest.fixture
def state(template: Template, tmp_path: Path) -> Path:
    """A copy of the installation."""
    return Path(shutil.copytree(template.state, tmp_path / "state"))


@pytest.fixture
def product(state: Path) -> Iterator[Product]:
    """The copy, opened."""
    with Product.open(state) as opened:
        yield opened


@dataclass(frozen=True)
class Credential:
    """What a caller presents: headers of its requests, and what its connection knows."""

    headers: Mapping[str, str] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)


NOBODY = Credential()
LOCALLY = Credential(scope={LOCAL: 0})


def bearer(token: str) -> Credential:
    """A token."""
    return Credential({"Authorization": f"Bearer {token}"})


def presenting(der: bytes) -> Credential:
    """A certificate that the TLS listener has accepted in its handshake."""
    return Credential(scope={CERTIFICATE: der})


@dataclass(frozen=True)
class Holder:
    """A certificate, its key, and the credential that they are."""

    issued: Issued
    key: PrivateKey

    @property
    def credential(self) -> Credential:
        """The certificate as a connection knows it."""
        return presenting(self.issued.certificate)

    @property
    def serial(self) -> str:
        """Its serial number."""
        return self.issued.serial


@cache
def _routes() -> FastAPI:
    """Worked out once a process: that takes longer than most tests."""
    return routed()


class World:
    """The application over an open product, asked from synchronous code with any credential."""

    def __init__(self, product: Product, loop: asyncio.Runner, app: Any = None) -> None:
        self.product = product
        self.installation = product.installation
        self.app = answering(_routes(), product) if app is None else app
        self._loop = loop
        self._tokens = 0

    def as_(self, credential: Credential = NOBODY, app: Any = None) -> httpx.Client:
        """A client that presents a credential with every request."""
        wire = _Wire(self.app if app is None else app, credential.scope, self._loop)
        return httpx.Client(transport=wire, base_url="https://ca.example.internal", headers=dict(credential.headers))

    @property
    def nobody(self) -> httpx.Client:
        """A client without a credential."""
        return self.as_(NOBODY)

    @property
    def local(self) -> httpx.Client:
        """A client on the Unix socket."""
        return self.as_(LOCALLY)

    def secret(self, role: Role, *, lifetime: timedelta = timedelta(days=1), **grant: Any) -> str:
        """The secret of a new token."""
        self._tokens += 1
        made = Grant(grant.pop("name", f"{role}-{self._tokens}"), role, lifetime, **grant)
        return create_token(self.installation, rig.ADMIN, made)[1].reveal()

    def token(self, role: Role, **grant: Any) -> Credential:
        """A new token of a role; a requester's is for mesh and server in the namespace payments."""
        if role is Role.REQUESTER:
            grant = {"profiles": ["mesh", "server"], "attributes": {"namespace": "payments"}, **grant}
        return bearer(self.secret(role, **grant))

    def holder(self, *names: str, profile: str = "client", place: int = 1, **choices: Any) -> Holder:
        """Somebody with a certificate of ours; by default Ada's, for TLS clients."""
        key = rig.pooled_key(place=place)
        chosen = names or ("email:ada@example.internal",)
        return Holder(rig.issue(self.installation, *chosen, profile=profile, key=key, **choices), key)

    def counts(self) -> dict[str, int]:
        """How many rows each table has that a request could add to."""
        with self.installation.store.read() as connection:
            return {name: int(rows) for name, rows in connection.execute(COUNTS)}

    def count(self, table: type[SQLModel]) -> int:
        """How many rows one table has."""
        with self.installation.store.read() as connection:
            return int(connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar_one())


@pytest.fixture
def world(product: Product) -> Iterator[World]:
    """The application in process."""
    with asyncio.Runner() as loop:
        yield World(product, loop)


class _Wire(httpx.BaseTransport):
    """Carries requests to an ASGI application on a loop of this thread."""

    def __init__(self, app: Any, known: Mapping[str, Any], loop: asyncio.Runner) -> None:
        async def connected(scope: Any, receive: Any, send: Any) -> None:
            scope.update(known)
            await app(scope, receive, send)

        self._loop = loop
        self._transport = httpx.ASGITransport(app=connected, raise_app_exceptions=False, client=("192.0.2.7", 4711))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run(self._handle(request))

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        body = request.stream
        stream = body if isinstance(body, httpx.AsyncByteStream) else _Chunks(body)
        extensions = {"raw_path": request.url.raw_path}
        asked = httpx.Request(request.method, request.url, headers=request.headers, stream=stream)
        asked.extensions.update(extensions)
        answer = await self._transport.handle_async_request(asked)
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


class _Chunks(httpx.AsyncByteStream):
    """A body whose length nobody has declared."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def routes(app: Any) -> list[tuple[str, str]]:
    """Method and full path of everything that an application serves to programs. HEAD goes with GET."""
    return _methods(route for route in served(app) if not is_page(route))


def page_routes(app: Any) -> list[tuple[str, str]]:
    """The same of the pages, which are for people and in no description."""
    return _methods(route for route in served(app) if is_page(route))


def _methods(found: Iterable[Any]) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"{(\w+):path}", r"{\1}", route.path))  # as the description has it
        for route in found
        for method in route.methods
        if method != "HEAD"
    ]


def is_page(route: Any) -> bool:
    """Whether it is for people."""
    return isinstance(getattr(route, "original_route", route), OpenRoute)


def served(app: Any) -> Iterator[Any]:
    """Every route of an application."""
    inner = app
    while not hasattr(inner, "routes"):
        inner = inner._app

    def found(candidates: Any) -> Iterator[Any]:
        for route in candidates:
            if hasattr(route, "effective_candidates"):
                yield from found(route.effective_candidates())
            else:
                yield route

    return found(inner.routes)


def csr(*names: str, place: int = 0) -> str:
    """A PEM request for names, by one of the pooled keys."""
    request = x509.load_der_x509_csr(rig.make_csr(*names, key=rig.pooled_key(place=place)))
    return request.public_bytes(Encoding.PEM).decode()


def wish(*names: str, profile: str = "mesh", place: int = 0, **more: Any) -> dict[str, Any]:
    """The body of a request to issue."""
    return {"profile": profile, "csr": csr(place=place), "names": list(names or (rig.WORKLOAD,)), **more}


def key_pem(key: PrivateKey) -> str:
    """A private key in the clear."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer as an RFC 9457 document, after checking everything that each of them promises."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    document = answer.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"urn:certwright:problem:{code}"
    assert document["title"]
    assert document["detail"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers.get("www-authenticate") == ('Bearer realm="certwright"' if status == 401 else None)
    return dict(document)


def environment(**more: str) -> dict[str, str]:
    """An environment without settings of whoever runs the tests, and without colours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CERTWRIGHT_")}
    return {**clean, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb", **more}


def certwright(
    *argv: str | Path, timeout: float = 180, stdin: str | None = None, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, to its end."""
    words = [*map(str, argv)]
    with tempfile.TemporaryDirectory(prefix="certwright-run-") as home:
        files = [Path(home) / name for name in ("stdin", "stdout", "stderr")]
        for path, text in zip(files, (stdin or "", "", ""), strict=True):
            path.write_text(text)
        process = forked.forks().start(words, files, environment(**env), cwd or Path.cwd())
        code = forked.ended(process, timeout)
        return subprocess.CompletedProcess(words, code, files[1].read_text(), files[2].read_text())


class Warm:
    """Runs commands like `certwright()`, in one directory."""

    def run(
        self, *argv: str | Path, stdin: str | None = None, cwd: Path, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return certwright(*argv, stdin=stdin, cwd=cwd, **env)


@pytest.fixture(scope="session")
def warm() -> Warm:
    """Where commands are run."""
    return Warm()


@pytest.fixture(scope="session", autouse=True)
def _forks() -> Iterator[None]:
    yield
    if forked.forks.cache_info().currsize:
        forked.forks().close()


class Server:
    """A running `certwright serve`."""

    def __init__(self, state: Path, tls: int, plain: int, token: str, log: Path) -> None:
        self.state = state
        self.tls, self.plain = tls, plain
        self.token = token
        self.log = log
        self.socket = state / "certwright.sock"
        self.roots = state.parent / "roots.pem"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the TLS listener is, as a user of the command line names it."""
        return f"https://localhost:{self.tls}"

    def over_tls(
        self, token: str | None = None, holder: tuple[Path, Path] | None = None, **options: Any
    ) -> httpx.Client:
        """HTTPS with a token, with a client certificate, with both or with nothing."""
        context = ssl.create_default_context(cafile=str(self.roots))
        if holder is not None:
            context.load_cert_chain(*holder)
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return httpx.Client(base_url=self.url, verify=context, headers=headers, timeout=60, trust_env=False, **options)

    def over_socket(self) -> httpx.Client:
        """The Unix socket: an admin."""
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=peer.NO_TLS)
        return httpx.Client(transport=transport, base_url="http://certwright", timeout=60, trust_env=False)

    def over_plain(self) -> httpx.Client:
        """The plain listener."""
        url = f"http://127.0.0.1:{self.plain}"
        return httpx.Client(base_url=url, verify=peer.NO_TLS, timeout=60, trust_env=False)

    def events(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def holder(self, directory: Path, *names: str, profile: str = "client", place: int = 1) -> tuple[Path, Path]:
        """A client certificate with its chain, and its key, as files; the certificate's directory is made."""
        asked = wish(*(names or ("email:ada@example.internal",)), profile=profile, place=place)
        with self.over_socket() as client:
            issued = client.post(f"{API}/certificates", json=asked).raise_for_status().json()
        return write_pair(directory, issued["certificate"] + issued["chain"], rig.pooled_key(place=place))


def write_pair(directory: Path, certificates: str, key: PrivateKey) -> tuple[Path, Path]:
    """A certificate and its key as files of a directory that is made."""
    directory.mkdir(parents=True)
    (directory / "cert.pem").write_text(certificates)
    (directory / "key.pem").write_text(key_pem(key))
    return directory / "cert.pem", directory / "key.pem"


def issued_pem(issued: Issued) -> str:
    """A certificate and its chain, as a TLS client loads them."""
    return pem_certificate(issued.certificate) + pem_chain(issued.chain)


@contextmanager
def serving(
    state: Path, token: str, *options: str, has_listeners: bool = True, argv: Sequence[str] = MAIN, **env: str
) -> Iterator[Server]:
    """Run `certwright serve` on a state directory and free ports; stopped by its process id."""
    server = Server(state, peer.free_port(), peer.free_port(), token, state.parent / "server.log")
    server.log.touch()
    seen = server.log.stat().st_size
    listen = {
        "CERTWRIGHT_LISTEN__TLS": f"127.0.0.1:{server.tls}",
        "CERTWRIGHT_LISTEN__PLAIN": f"127.0.0.1:{server.plain}",
    }
    words = ["--state", str(state), "serve", *options]
    given = environment(**{**listen, **env})
    files = [Path(os.devnull), server.log, server.log]
    start = None if argv != MAIN else lambda: forked.forks().start(words, files, given, Path.cwd())
    ready: Callable[[], bool] = lambda: b'"serving"' in server.log.read_bytes()[seen:]  # noqa: E731
    with peer.running([*argv, *words], ready=ready, log=server.log, env=given, start=start) as process:
        server.process = process
        if has_listeners:
            with server.over_plain() as plain:
                server.roots.write_text(plain.get("/bundles/roots.pem").raise_for_status().text)
        yield server


@pytest.fixture(scope="session")
def server(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One running server for all tests that leave it as they found it, certificates and tokens apart."""
    state = Path(shutil.copytree(template.state, tmp_path_factory.mktemp("server") / "state"))
    with serving(state, template.token) as running:
        yield running
