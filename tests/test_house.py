"""The house stands as the READMEs draw it: who may import whom, who may sign, who may read the time.

Every rule here is read from the source, hidden imports included, so that none has to be remembered in a review. The
rules themselves are small functions over source text; each is shown to see what it must not miss before it is trusted
with the product.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest

from pki.catalog import KEY_STORES
from pki.settings import KeySettings
from tests.source import FLOORS, FUNCTION, ROOT, Module, calls, dependencies, functions, imports, modules, references

pytestmark = pytest.mark.xdist_group("house")  # each process would read the whole source
MODULE_LINES, FUNCTION_LINES = 300, 40

LONGER = {
    "ca.issuance.issuing": "the numbered steps of an issuance; the story is told in one piece on purpose",
    "ca.store.migrations.versions.0001_first.upgrade": "tables as they were at one moment; never edited again",
    "ca.store.migrations.versions.0002_inventory.upgrade": "the same",
    "ca.store.migrations.versions.0003_renewals.upgrade": "the same",
    "ca.store.migrations.versions.0004_consumers.upgrade": "the same",
    "ca.store.migrations.versions.0005_mail.upgrade": "the same",
    "ca.store.migrations.versions.0006_authority.upgrade": "the same",
    "pki.cli.backup.restore": "its options, one or two lines each; what it does is shorter",
    "pki.cli.ceremony.request": "the same",
    "pki.cli.init.init": "its options, one or two lines each; what it does is shorter",
    "pki.metrics.Metrics.__init__": "a list: every metric with its help text",
}
"""Functions over the limit, each with the reason why cutting it would not help a reader."""


MODULES = modules()


def everywhere(check: Callable[[Module], None]) -> Callable[[], None]:
    """A test that asks the same of every module. One test: four thousand of their own took a minute to be counted."""

    def test() -> None:
        wrong = []
        for name, module in MODULES.items():
            try:
                check(module)
            except AssertionError as error:
                wrong.append(f"{name}: {error}")
        if wrong:
            pytest.fail("\n".join(wrong), pytrace=False)

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test


def test_one_module_is_enough_to_fail() -> None:
    """Of all that are looked at."""

    def check(module: Module) -> None:
        assert module.name != "ca.clock"

    with pytest.raises(pytest.fail.Exception, match=r"ca\.clock"):
        everywhere(check)()


def sample(text: str, name: str = "ca.sample") -> Module:
    """A module that breaks a rule."""
    return Module(name, text)


def climbs(module: Module) -> list[str]:
    """Imports of a floor that is not below."""
    allowed = FLOORS[module.floor]
    return sorted(name for name in dependencies(module, MODULES) if name.partition(".")[0] not in allowed)


@everywhere
def test_imports_run_downward_only(module: Module) -> None:
    """`ca` imports nothing of `renewers` and `pki`, `renewers` nothing of `pki`."""
    assert climbs(module) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pki.product",
        "from pki import product",
        "def late():\n    from pki.product import Product\n    return Product",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import renewers.work",
        "import importlib\nimportlib.import_module('pki.product')",
        "from importlib import import_module as m\nimport importlib as i\ni.import_module('pki')",
        "__import__('renewers')",
        "from .. import pki",
        "from ..pki.product import Product",
        "try:\n    import renewers\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_upward_is_seen_wherever_it_hides(text: str) -> None:
    """In functions, for types only, by name, relative."""
    assert climbs(sample(text)) != []


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other: strongly connected components of more than one (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def graph_of(modules: Mapping[str, Module], *, with_packages: bool = False) -> dict[str, set[str]]:
    """Who imports whom; with the packages, too, that Python runs on the way to a module in another room."""
    graph = {}
    for name, module in modules.items():
        found = {other for other in dependencies(module, modules) if other in modules}
        if with_packages:
            found |= {above for other in found for above in _packages(other) if not f"{name}.".startswith(f"{above}.")}
        graph[name] = found
    return graph


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def test_no_modules_import_each_other() -> None:
    """No circle, counting imports inside functions and those for types."""
    assert cycles(graph_of(MODULES)) == []


def test_no_rooms_import_each_other() -> None:
    """The same, counting the packages that Python runs on the way: a room is entered by one door."""
    assert cycles(graph_of(MODULES, with_packages=True)) == []


def test_a_circle_is_seen_where_one_half_is_hidden() -> None:
    """One import at the top, the way back inside a function of a third module."""
    modules = {
        "ca.a": sample("from ca.b import thing", "ca.a"),
        "ca.b": sample("import ca.c", "ca.b"),
        "ca.c": sample("def late():\n    from ca import a\n    return a", "ca.c"),
        "ca.d": sample("import ca.a", "ca.d"),
    }
    assert cycles(graph_of(modules)) == [["ca.a", "ca.b", "ca.c"]]


# What signs opens no connection.

NETWORK = {
    *("aiohttp", "apscheduler", "dns", "fastapi", "flask", "ftplib", "grpc", "h11", "http", "httptools", "httpx"),
    *("imaplib", "kubernetes", "lexicon", "obstore", "paho", "poplib", "requests", "select", "selectors", "smtplib"),
    *("socket", "socketserver", "ssl", "starlette", "telnetlib", "urllib.error", "urllib.request", "urllib3"),
    *("uvicorn", "uvloop", "websockets", "wsgiref", "xmlrpc", "typer", "rich", "jinja2", "prometheus_client"),
    *("subprocess", "multiprocessing", "acme", "josepy", "email"),
}
STREAMS = {
    *("asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection", "asyncio.start_unix_server"),
    *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "asyncio.streams"),
}
LOOP = {"create_connection", "create_unix_connection", "create_server", "create_datagram_endpoint", "sock_connect"}


def _is_within(name: str, families: set[str]) -> bool:
    return any(name == family or name.startswith(f"{family}.") for family in families)


def reaches_out(module: Module) -> list[str]:
    """Modules and functions by which a program talks to others."""
    named = {base if name is None else f"{base}.{name}" for base, name in imports(module)}
    used = {path for _, path in references(module)}
    reaching = {name for name in named | used if _is_within(name, NETWORK | STREAMS)}
    attributes = {node.attr for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
    return sorted(reaching | attributes & LOOP)


@pytest.mark.parametrize("module", [m for m in MODULES.values() if m.floor == "ca"], ids=lambda module: module.name)
def test_what_signs_knows_no_network_and_no_web(module: Module) -> None:
    """Nothing in `ca` imports a network module or a web framework; the database's driver is SQLAlchemy's to open."""
    assert reaches_out(module) == []


@pytest.mark.parametrize(
    "text",
    [
        "import socket",
        "from urllib import request",
        "import urllib.request as r",
        "def f():\n    from http.client import HTTPSConnection\n    return HTTPSConnection",
        "import asyncio\nasync def f():\n    return await asyncio.open_connection('a', 1)",
        "import asyncio\nasync def f():\n    return await asyncio.get_running_loop().create_connection(None)",
        "from asyncio import start_server",
        "import importlib\nimportlib.import_module('requests')",
    ],
)
def test_a_way_out_is_seen(text: str) -> None:
    """Whichever way it is spelt."""
    assert reaches_out(sample(text))


FRESH = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
FRAMEWORKS = {"fastapi", "starlette", "uvicorn", "uvloop", "httptools", "httpx", "typer", "rich", "grpc", "requests"}


def test_what_signs_runs_without_a_web_framework() -> None:
    """All of `ca`, imported by a fresh interpreter, has brought in no web framework, nor a floor above."""
    names = [m.name for m in MODULES.values() if m.floor == "ca" and ".migrations" not in m.name]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *names], capture_output=True, text=True, timeout=300, cwd=ROOT, check=True
    )
    loaded = set(done.stdout.split())
    assert {"ca", "sqlalchemy", "cryptography"} <= loaded
    assert loaded & (FRAMEWORKS | {"renewers", "pki"}) == set()


def test_opening_an_installation_loads_no_way_out() -> None:
    """What speaks to the world is imported where it is made: a command that opens an installation need not wait."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, "pki.product"], capture_output=True, text=True, timeout=300, cwd=ROOT, check=True
    )
    loaded = set(done.stdout.split())
    assert {"pki", "renewers", "ca"} <= loaded
    ways_out = {"acme", "josepy", "requests", "OpenSSL", "lexicon", "dns", "fastapi", "uvicorn", "smtplib"}
    assert loaded & ways_out == set()


WATCHED = """
import sys
talked = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen"):
        talked.append((event, str(arguments)))
from ca.store import open_store
from ca import revocation
from ca.ledger.reconcile import audit
from ca.x509.revocation_list import RevocationReason
from ca.crl import CrlPolicy, CrlPublisher
from tests import rig
sys.addaudithook(hook)
store = open_store("sqlite:///" + sys.argv[1])
installation = rig.make_installation(store)
issued = rig.issue(installation)
revocation.revoke(installation, rig.ADMIN, issued.serial, RevocationReason.KEY_COMPROMISE)
CrlPublisher(installation, CrlPolicy()).publish_due()
installation.ledger.sequence()
assert audit(store, installation.ledger.verifier).is_sound
store.close()
assert not talked, talked
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", 0))
assert talked, "the hook sees nothing"
print("silent")
"""


def test_what_signs_talks_to_nobody(tmp_path: Path) -> None:
    """A hierarchy, an issuance, a revocation, CRLs and an audit: the interpreter itself reports no connection."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "certwright.db")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, "silent\n"), done.stderr


# One way out.

HTTP = {
    "aiohttp",
    "h11",
    "http.client",
    "httpx",
    "obstore",
    "pycurl",
    "requests",
    "urllib.request",
    "urllib3",
    "websockets",
}
TALKS_HTTP = {
    "renewers.egress": "the one way out: time-outs, size caps, no redirects, pinned places",
    "renewers.issuers.acme.network": "the ACME library's own client, over the pinned session of `renewers.egress`",
    "renewers.publishers.bucket": "object stores: obstore's own client, pinned, bounded, explicit credentials",
    "pki.client.fetching": "a consumer's way to what is published for it",
    "pki.client.remote": "the command line's way to an installation",
    "pki.client.rest": "the same",
    "pki.demo.gateway": "the demo's own clients, against its own server",
}
"""Modules that may name an HTTP client, each with its reason (row 35 of the field's failures)."""


def talks_http(module: Module) -> bool:
    """Whether it names an HTTP client at all."""
    named = {base if name is None else f"{base}.{name}" for base, name in imports(module)}
    return any(_is_within(name, HTTP) for name in named | {path for _, path in references(module)})


def test_there_is_one_way_out_over_http() -> None:
    """Whoever wants to fetch or post something goes through `renewers.egress`; nobody else knows how."""
    assert {name for name, module in MODULES.items() if talks_http(module)} - set(TALKS_HTTP) == set()
    assert talks_http(MODULES["renewers.egress"])


@pytest.mark.parametrize("text", ["import httpx", "from urllib import request", "def f():\n    import requests"])
def test_another_way_out_is_seen(text: str) -> None:
    """Wherever it hides."""
    assert talks_http(sample(text))


# One clock.

CLOCK_READS = {
    *("time.time", "time.time_ns", "time.ctime", "time.localtime", "time.gmtime", "time.asctime", "time.strftime"),
    *("time.clock_gettime", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"),
    *("datetime.date.today", "sqlalchemy.func.now", "sqlalchemy.func.current_timestamp"),
}


def clock_reads(module: Module) -> list[str]:
    """Where a module asks for the date itself."""
    named = [(0, base if name is None else f"{base}.{name}") for base, name in imports(module)]
    found = [f"line {line}: {path}" for line, path in [*named, *references(module)] if path in CLOCK_READS]
    if re.search(r"CURRENT_(TIMESTAMP|DATE|TIME)\b|datetime\('now'", module.text):
        found.append("in SQL")
    return found


@everywhere
def test_only_the_clock_reads_the_time(module: Module) -> None:
    """`ca.clock` alone asks what time it is, so that a test that holds it holds everything."""
    assert bool(clock_reads(module)) == (module.name == "ca.clock"), clock_reads(module)


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.time()",
        "import time as t\nx = t.time",
        "from time import time",
        "from datetime import datetime\ndatetime.now()",
        "import datetime as d\nd.datetime.utcnow()",
        "from datetime import date\ndate.today()",
        "from sqlalchemy import func\nfunc.now()",
        "q = 'SELECT CURRENT_TIMESTAMP'",
    ],
)
def test_a_second_clock_is_seen(text: str) -> None:
    """Whichever way it is spelt."""
    assert clock_reads(sample(text))


def test_durations_may_be_measured() -> None:
    """Clocks that only grow say nothing about the date."""
    assert clock_reads(sample("import time\ntime.monotonic(); time.perf_counter()")) == []


# One list of implementations.

PORTS = (
    "ca.keys",
    "renewers.issuers",
    "renewers.solvers",
    "renewers.publishers",
    "renewers.notifiers",
    "renewers.mailers",
)


def adapters() -> list[str]:
    """Modules in a port's folder with a class that has all methods of one of the folder's protocols."""
    found = []
    for port in PORTS:
        if port not in MODULES:
            continue
        contracts = [_methods(node) for node in _classes(MODULES[port]) if _is_protocol(node)]
        found += [
            name
            for name, module in MODULES.items()
            if name.rpartition(".")[0] == port
            and any(contract <= _methods(node) for node in _classes(module) for contract in contracts)
        ]
    return found


def _classes(module: Module) -> list[ast.ClassDef]:
    return [node for node in module.tree.body if isinstance(node, ast.ClassDef)]


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(getattr(base, "id", None) == "Protocol" for base in node.bases)


def _methods(node: ast.ClassDef) -> set[str]:
    return {item.name for item in node.body if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")}


KNOWS_ONE = {
    ("renewers.replacing.sandbox", "ca.keys.memory"): "a drill's CA keeps its keys nowhere",
    ("renewers.replacing.sandbox", "renewers.issuers.internal"): "a drill is of our own CA",
    ("renewers.replacing.sandbox", "renewers.publishers.memory"): "a drill brings nothing anywhere",
    ("renewers.replacing.drill", "renewers.issuers.internal"): "as whom it asks is said there",
    ("pki.following", "renewers.publishers.files"): "a consumer's own host: it has no settings and no other publisher",
}
"""Who names an implementation though it is not the catalog, which, and why."""


def test_the_catalog_alone_names_implementations() -> None:
    """Whoever wants a key store says so in the settings; no other module knows that there are several."""
    assert {"ca.keys.memory", "ca.keys.pkcs11", "ca.keys.software"} <= set(adapters())
    known = set(adapters())
    importers = {(m.name, name) for m in MODULES.values() for name in known & dependencies(m, MODULES)}
    assert {(who, name) for who, name in importers if who != "pki.catalog"} == set(KNOWS_ONE)


def test_every_implementation_that_can_be_set_is_in_the_catalog() -> None:
    """What the setting takes and what the catalog has are the same words."""
    assert set(get_args(KeySettings.model_fields["store"].annotation)) == set(KEY_STORES)


@everywhere
def test_a_module_is_one_room(module: Module) -> None:
    """No module over 300 lines."""
    assert len(module.text.splitlines()) <= MODULE_LINES


def test_a_function_fits_on_a_screen() -> None:
    """No function over 40 lines, but for those that are listed with their reason; and the list holds no others."""
    lengths = {
        name: (node.end_lineno or 0) - node.lineno + 1
        for module in MODULES.values()
        for name, node in functions(module)
    }
    assert {name for name, lines in lengths.items() if lines > FUNCTION_LINES} == set(LONGER)


@everywhere
def test_everything_public_is_explained(module: Module) -> None:
    """Modules, classes, functions and methods without an underscore have a docstring; what is inside one does not."""

    def silent(node: ast.Module | ast.ClassDef, above: str) -> Iterator[str]:
        if ast.get_docstring(node) is None:
            yield above
        for child in node.body:
            if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
                yield from silent(child, f"{above}.{child.name}")
            elif isinstance(child, FUNCTION) and not child.name.startswith("_") and ast.get_docstring(child) is None:
                yield f"{above}.{child.name}"

    assert list(silent(module.tree, module.name)) == []


VAGUE = {"base", "common", "helper", "helpers", "manager", "misc", "service", "util", "utils"}


@everywhere
def test_no_name_says_nothing(module: Module) -> None:
    """Nobody knows what belongs into `utils`, and so everything does."""
    names = {module.name.rpartition(".")[2], *(node.name for node in _classes(module))}
    words = {word for name in names for word in re.findall(r"[A-Z]?[a-z]+", name)}
    assert {word.lower() for word in words} & VAGUE == set()


FORBIDDEN = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "eval", "exec", "tempfile.mktemp"),
    *("pickle.loads", "pickle.load", "marshal.loads", "ssl._create_unverified_context", "ssl.CERT_NONE"),
    *("random.random", "random.randint", "random.choice", "random.getrandbits", "random.randbytes"),
    *("hashlib.md5", "hashlib.sha1", "cryptography.hazmat.primitives.hashes.MD5"),
    *("cryptography.hazmat.primitives.hashes.SHA1",),
}
NAMES_BY_RFC = {("ca.ocsp.issuers", "hashlib.sha1"): "RFC 6960 section 4.1.1 names CAs so; nothing is proved by it"}
"""Who names something by a hash that is weak, which, and why."""
FALSE_FRIENDS = {("shell", True), ("verify", False), ("check_hostname", False)}


def dangers(module: Module) -> list[str]:
    """Calls and clauses that a program like this has no use for."""
    forbidden = FORBIDDEN - {path for name, path in NAMES_BY_RFC if name == module.name}
    found = [f"line {line}: {path}" for line, path in references(module) if path in forbidden]
    for node in ast.walk(module.tree):
        match node:
            case ast.keyword(arg=name, value=ast.Constant(value=bool(value))) if (name, value) in FALSE_FRIENDS:
                found.append(f"line {node.lineno}: {name}={value}")
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=False)):
                found += [f"line {node.lineno}: {name} = False"] if name == "check_hostname" else []
            case ast.Assert() if not _narrows(node.test):
                found.append(f"line {node.lineno}: assert {ast.unparse(node.test)}")
            case ast.ExceptHandler() if node.type is None:
                found.append(f"line {node.lineno}: except:")
            case ast.ExceptHandler() if node.type and _is_broad(node.type) and all(map(_is_nothing, node.body)):
                found.append(f"line {node.lineno}: except {ast.unparse(node.type)}: pass")
            case ast.Call() if ast.unparse(node.func).endswith("suppress") and any(map(_is_broad, node.args)):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def _narrows(test: ast.expr) -> bool:
    """An assertion that tells the type checker what was settled above; with `python -O` nothing would be missing."""
    match test:
        case ast.Call(func=ast.Name(id="isinstance")):
            return True
        case ast.Compare(left=ast.Name() | ast.Attribute(), ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return True
    return False


def _is_broad(kind: ast.expr | None) -> bool:
    return kind is not None and any(
        isinstance(node, ast.Name) and node.id in ("Exception", "BaseException") for node in ast.walk(kind)
    )


def _is_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


@everywhere
def test_nothing_dangerous_is_said(module: Module) -> None:
    """No shell, no unverified TLS, no weak hash or chance, no error swallowed, no check that `-O` removes."""
    assert dangers(module) == []


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "from os import system as s\ns('ls')",
        "import httpx\nhttpx.get('https://a', verify=False)",
        "context.check_hostname = False",
        "assert token.is_valid, 'no'",
        "assert len(names) < 100",
        "try:\n    f()\nexcept:\n    raise",
        "try:\n    f()\nexcept (ValueError, Exception):\n    pass",
        "import contextlib\nwith contextlib.suppress(Exception):\n    f()",
        "import random\nrandom.getrandbits(159)",
        "import hashlib\nhashlib.sha1(b'')",
        "import ssl\ncontext.verify_mode = ssl.CERT_NONE",
    ],
)
def test_what_is_dangerous_is_seen(text: str) -> None:
    """Each of the things that the test above forbids."""
    assert dangers(sample(text))


def _callers(*words: str) -> set[str]:
    return {name for module in MODULES.values() for name in calls(module, *words)}


def test_a_decision_is_made_in_one_place() -> None:
    """Only `ca.enrolment` builds a `Decision`, and nobody else knows of its seal."""
    assert _callers("Decision") == {"ca.enrolment._decide"}
    knowing = {name for name, module in MODULES.items() if re.search(r"\b_SEAL\b|object\.__new__", module.text)}
    assert knowing == {"ca.enrolment"}


def test_a_decision_is_never_changed() -> None:
    """No `replace`, no `object.__setattr__`: what was decided is what is issued."""
    at_hand = [m for m in MODULES.values() if "ca.enrolment" in dependencies(m, MODULES) or m.name == "ca.enrolment"]
    used = {path for module in at_hand for _, path in references(module)}
    assert len(at_hand) >= 5
    assert used & {"dataclasses.replace", "copy.replace", "object.__setattr__"} == set()


def test_private_keys_sign_in_a_handful_of_places() -> None:
    """Certificates, lists, a root's own, ledger heads, status, publications, requests, mail, what none trusts."""
    assert _callers("sign") == {
        "ca.signing.seal_list",
        "ca.founding.self_signed",
        "ca.keys.algorithms.SignatureScheme.sign",
        "ca.keys.pkcs11.Pkcs11KeyStore._sign",
        "ca.ledger.checkpoint.sign_head",
        "ca.ocsp.signer.Signing.sealed",
        "ca.publication.jws.enclose",
        "ca.signing.seal",
        "ca.x509.request.make_request",
        "pki.demo.letters._strangers_certificate",
        "renewers.issuers.memory.MemoryIssuer._sign",
        "renewers.mailers.dkim.DkimSigner._sign",
        "renewers.solvers.tls_alpn01._certificate",
    }


def test_a_certificate_is_sealed_by_the_story_alone() -> None:
    """`signing.seal` is called by `issuing`, for specimens, which a throwaway key signs, and where no network is."""
    assert _callers("seal") == {"ca.issuance.issuing", "ca.specimen.make_specimen", "ca.ceremony.offline.answer"}
    assert _callers("issuing") == {"ca.issuance.issue", "ca.issuance.aissue"}
    assert not {name for name in _callers("load") if name.startswith("ca.specimen")}, "a specimen touches a real key"


def test_keys_are_fetched_from_the_store_in_four_places() -> None:
    """The authorities load CA keys, the product the ledger's, signers of publications and status their own."""
    loaders = {
        module.name
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and re.fullmatch(r"(.*\.)?_?keys\.load", ast.unparse(node.func))
    }
    assert loaders == {"ca.authority", "ca.ocsp.signer", "ca.publication.signer", "pki.product"}


def test_private_keys_are_written_in_a_handful_of_places() -> None:
    """Encrypted or sealed; in the clear only for who made one on his own machine, the listener, and a destination."""
    writers = _callers("private_bytes", "private_bytes_raw", "private_numbers")
    assert writers == {
        "ca.keys.sealed.Sealer.wrap",
        "ca.keys.pkcs8.encrypt_pkcs8",
        "pki.cli.cert._write",
        "pki.demo.story._write",
        "pki.web.tls.ListenerTls._renew",
        "renewers.delivering.material._pem",
    }
