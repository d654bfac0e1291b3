"""What strangers see: the doctor asks the listeners, and fetches the lists that certificates name."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from ca import clock, crl, hierarchy, revocation
from ca.authority import PublicUrls
from ca.crl import COMPLETE
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.models import RevocationList
from ca.x509.bundle import pem_certificate
from ca.x509.revocation_list import RevocationReason
from pki.doctor.distribution import PATIENCE, distribution
from pki.doctor.finding import Finding, Level
from pki.doctor.listeners import listeners
from pki.product import Product
from pki.web.tls import ListenerTls
from tests import peer, rig
from tests.pki.conftest import Server, World, certwright, key_pem
from tests.renewers.listeners import Handle, listening, make, serving, tls

Served = dict[str, bytes]
OURS = "ca.example.internal"


@pytest.fixture(autouse=True)
def _no_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complete lists are made as often as something changes."""
    monkeypatch.setattr("ca.crl.THROTTLE", 0)


def handing_out(served: Served) -> Handle:
    """A plain listener that answers with these bytes by their paths, and 404."""

    def handle(connection: socket.socket, _stop: Any) -> None:
        path = connection.recv(4096).split()[1].decode()
        status, body = ("200 OK", served[path]) if path in served else ("404 None", b"")
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    return handle


@contextmanager
def socket_of(product: Product) -> Iterator[None]:
    """Something listens on the Unix socket, as a running server does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(product.socket))
        product.socket.chmod(0o600)
        listener.listen()
        yield
    product.socket.unlink()


def given(product: Product, section: str, **values: Any) -> None:
    """The product with other settings."""
    table = getattr(product.settings, section).model_copy(update=values)
    product.settings = product.settings.model_copy(update={section: table})


@pytest.fixture
def world(world: World) -> Iterator[World]:
    """A world with a socket."""
    with socket_of(world.product):
        yield world


def asked(product: Product, context: ssl.SSLContext, served: Served) -> dict[str, list[Finding]]:
    """What the doctor says of listeners that show and hand out this, by their levels."""
    with ExitStack() as stack:
        shown, plain = (stack.enter_context(listening(each)) for each in (tls(context), handing_out(served)))
        given(product, "listen", tls=f"127.0.0.1:{shown.port}", plain=f"127.0.0.1:{plain.port}")
        found: dict[str, list[Finding]] = {}
        for each in listeners(product):
            found.setdefault(each.level, []).append(each)
        return found


def certificate_of(product: Product) -> Served:
    """What the plain listener has to hand out."""
    return {"/ca/root-1.cer": product.installation.authorities.get("root").certificate}


def test_listeners_that_show_what_they_should(world: World) -> None:
    """The socket, TLS with the very certificate that our CA has recorded for it, plain HTTP."""
    product = world.product
    context = ListenerTls(product).context
    assert [len(found) for found in asked(product, context, certificate_of(product)).values()] == [3]


def test_somebody_else_on_our_ports(world: World, tmp_path: Path) -> None:
    """A certificate of nobody's, one of ours that is not the listener's, and another program on the plain port."""
    product = world.product
    problems = asked(product, serving(tmp_path, make(OURS)), {"/ca/root-1.cer": b"nonsense"})["problem"]
    assert ["not our listener's (CN=ca.example" in each.message for each in problems] == [True, False]
    assert "does not hand out the certificate of root-1" in problems[1].message
    pair = rig.issue(product.installation, f"dns:{OURS}", profile="server", key=rig.pooled_key(place=3))
    file = tmp_path / "leaf.pem"
    file.write_text(key_pem(rig.pooled_key(place=3)) + pem_certificate(pair.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    (problem,) = asked(product, context, certificate_of(product))["problem"]
    assert "not our listener's" in problem.message


def test_the_listeners_certificate_comes_to_its_end(world: World) -> None:
    """It should never be in the last quarter of its life; and it has the names of the settings."""
    product = world.product
    context, life = ListenerTls(product).context, product.settings.listen.lifetime
    given(product, "listen", names=["localhost", "another.example.internal"])
    (warning,) = asked(product, context, certificate_of(product))["warning"]
    assert "lacks dns:another.example.internal" in warning.message
    given(product, "listen", names=["localhost"])
    for later, level, word in ((life - timedelta(hours=1), "warning", "ends in"), (life, "problem", "has expired")):
        with clock.pinned(clock.now() + later):
            (found,) = asked(product, context, certificate_of(product))[level]
        assert word in found.message
    serial = next(iter(world.local.get("/api/v1/certificates?profile=server").json()["items"]))["serial"]
    revocation.revoke(product.installation, rig.OPERATOR, serial, RevocationReason.SUPERSEDED)
    (found,) = asked(product, context, certificate_of(product))["problem"]
    assert "is revoked" in found.message


def test_nobody_listens(world: World) -> None:
    """Each listener by its setting; a socket that others may use; no server at all."""
    product = world.product
    given(product, "listen", tls=f"127.0.0.1:{peer.free_port()}", plain=f"127.0.0.1:{peer.free_port()}")
    product.socket.chmod(0o666)
    found = list(listeners(product))
    assert [each.level for each in found] == [Level.PROBLEM] * 3
    assert [each.message.split(":")[0] for each in found[1:]] == ["listen.tls", "listen.plain"]
    assert all(each.advice for each in found)
    given(product, "listen", tls="127.0.0.1:0", plain="127.0.0.1:0")
    assert [each.level for each in listeners(product)][1:] == [Level.SKIPPED] * 2


# What strangers fetch.


@pytest.fixture
def published(world: World) -> Served:
    """Every list by its path, as a mirror has it."""
    world.product.settle()
    return lists_of(world.product)


def lists_of(product: Product) -> Served:
    """What is published now, by path."""
    found: Served = {}
    for status in crl.statuses(product.installation):
        shard = None if status.shard == COMPLETE else status.shard
        url = product.installation.authorities.urls.crl(status.authority, shard)
        row = crl.load(product.installation, status.authority, status.shard)
        assert row is not None
        found[urlsplit(url).path] = row.crl
    return found


def fetched(product: Product, served: Served) -> list[Finding]:
    """What the doctor says where this is served; the finding about the host's name is left out."""
    with listening(handing_out(served)) as there:
        url = f"http://127.0.0.1:{there.port}"
        given(product, "installation", public_url=url)
        product.installation.authorities.urls = PublicUrls(url)
        return [each for each in distribution(product) if "crl" in each.message]


def test_what_is_served_is_what_was_published(world: World, published: Served) -> None:
    """A list of each CA; a name that is this machine is said to be so."""
    found = fetched(world.product, published)
    assert [each.level for each in found] == [Level.OK] * 2
    assert "the list that was published last" in found[0].message
    (warning,) = (each for each in distribution(world.product) if each.level is Level.WARNING)
    assert "another machine to everybody else" in warning.message


def test_a_stale_copy_is_told_from_one_that_is_on_its_way(world: World, published: Served) -> None:
    """Caches may be a little behind, not for long; and nobody can use a list that has ended."""
    product = world.product
    with clock.pinned(clock.now() + timedelta(minutes=30)):
        issued = rig.issue(product.installation)
        revocation.revoke(product.installation, rig.OPERATOR, issued.serial, RevocationReason.SUPERSEDED)
        product.settle()
        assert "list before the one that was made" in fetched(product, published)[1].message
    for later, level in ((timedelta(minutes=30, seconds=PATIENCE + 90), Level.WARNING), (timedelta(days=4), "problem")):
        with clock.pinned(clock.now() + later):
            found = fetched(product, published)
        assert found[-1].level == level
        assert found[-1].advice


Change = Callable[[Product, Served], Served]


def _foreign(product: Product, served: Served) -> Served:
    subject = rig.common_name("Other")
    hierarchy.create_root(product.installation, rig.ADMIN, Plan("other", subject, KeyType.P256))
    product.settle()
    return served | {"/crl/root-1.crl": lists_of(product)["/crl/other-1.crl"]}


def _ahead(product: Product, served: Served) -> Served:
    with clock.pinned(clock.now() + timedelta(hours=13)):
        product.settle()
    newer = lists_of(product)
    with product.installation.store.writing_engine.begin() as connection:
        connection.execute(update(RevocationList).values(number=RevocationList.number - 10**6, sha256=b"x"))
    return newer


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda _product, _served: {}, "answered 404"),
        (lambda _product, served: dict.fromkeys(served, b"<html>login</html>"), "cannot be read"),
        (_foreign, "somebody else"),
        (_ahead, "the database"),
    ],
    ids=["nothing", "a page", "another CA's", "newer than ours"],
)
def test_what_is_served_there_is_something_else(world: World, published: Served, change: Change, word: str) -> None:
    """The name may lead to somebody else, a page, or an installation that went on while this is its copy."""
    problem = next(each for each in fetched(world.product, change(world.product, published)) if each.level == "problem")
    assert word in problem.message
    assert problem.advice


def test_a_name_that_nobody_knows(world: World) -> None:
    """It stands in every certificate."""
    given(world.product, "installation", public_url="http://crl.invalid:8080")
    (problem,) = distribution(world.product)
    assert (problem.level, "make a DNS record for crl.invalid" in str(problem.advice)) == (Level.PROBLEM, True)


def test_a_running_server_is_asked_about_itself(server: Server) -> None:
    """By the command, over its socket: everything is well but the name, which is an example's."""
    done = certwright("--state", server.state, "doctor", "--json")
    found = json.loads(done.stdout)["findings"]
    assert (done.returncode, done.stderr) == (1, "")
    assert {each["check"] for each in found if each["level"] == "problem"} == {"cdp"}
    assert [each["level"] for each in found if each["check"] in ("listeners", "schedule")] == ["ok"] * 4
