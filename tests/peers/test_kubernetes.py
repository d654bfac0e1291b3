"""The Kubernetes publisher against a real API server: what it stores, whom it does not overwrite, who it says it is.

The port's contract is asked in `tests/contracts`. Here a watch sees every state that was ever stored, so that nothing
half, empty or older could slip by between two looks.
"""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from ca.access import Role
from ca.errors import BadRequest, Misconfigured, NotDelivered, Unauthenticated
from ca.keys.algorithms import KeyType
from ca.policy import Subject, judge
from ca.profiles.collection import Profiles
from ca.secret import Secret
from ca.x509.names import parse
from pki.product import Product
from pki.settings import make_settings
from pki.web.jwt_bearers import JwtBearers
from renewers.delivering.material import laid_out
from renewers.publishers import Material, Publisher, RollsBack, cluster
from renewers.publishers.cluster import Cluster
from renewers.publishers.kubernetes import PLURALS, make_kubernetes
from tests import peer, rig
from tests.kubernetes import ADMINS, Kubernetes, content, kubernetes
from tests.pebble import loopback_tls
from tests.tokens import AUDIENCE, entry

ISSUER = "https://kubernetes.test"
BORN = 1_790_000_000
both_kinds = pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])


def publication(number: int, *, crl: int = 7, subject: str = "edge", size: int = 0) -> Material:
    """A version as consumers get it: its numbers are those of publications."""
    files = {"bundle.pem": f"bundle {number}\n".encode() * 50, "crl.crl": b"\x30\x81" + bytes([crl % 256]) * 40}
    files |= {"trust.jws": str(number).encode()} | ({"large.crl": bytes(size)} if size else {})
    digest = sha256(f"{number} {crl}".encode()).hexdigest()
    return Material(subject, f"{subject}-{BORN + number}-{BORN + crl}-{digest[:12]}", digest, files)


def certificate(number: int, *, with_key: bool = True) -> Material:
    """A certificate as destinations get it."""
    pem = f"-----BEGIN CERTIFICATE-----\n{number}\n-----END CERTIFICATE-----\n"
    digest = sha256(pem.encode()).hexdigest()
    key = Secret(f"-----BEGIN PRIVATE KEY-----\n{number}\n-----END PRIVATE KEY-----\n") if with_key else None
    return laid_out("edge", f"edge-{number}-{digest[:12]}", digest, pem, "chain\n", key)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """An API server of this file's own."""
    with kubernetes(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


@dataclass
class Ground:
    """A namespace, and an account that may do in it what is documented."""

    api: Kubernetes
    cluster: Cluster
    namespace: str
    account: str

    def publisher(self, kind: str = "Secret", name: str = "edge") -> Publisher:
        """As a fresh process makes it."""
        settings = {"cluster": "main", "namespace": self.namespace, "name": name, "kind": kind}
        return make_kubernetes(settings, clusters={"main": self.cluster})

    def bring(self, *all_of_it: Material, kind: str = "Secret") -> None:
        """Stage and swap."""
        for one in all_of_it:
            self.publisher(kind).stage(one)
            self.publisher(kind).swap(one)

    def read(self, kind: str = "Secret", name: str = "edge") -> Any:
        """The object as it is stored."""
        return self.api.read(self.namespace, PLURALS[kind], name)

    def write(self, body: dict[str, Any], kind: str = "Secret") -> Any:
        """Make or replace an object as somebody else would."""
        path = f"/api/v1/namespaces/{self.namespace}/{PLURALS[kind]}"
        if "resourceVersion" in body["metadata"]:
            return self.api.call("PUT", f"{path}/{body['metadata']['name']}", body)
        return self.api.call("POST", path, body)


@pytest.fixture
def ground(api: Kubernetes, request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    """A namespace of this test's own."""
    namespace = api.namespace(f"n{sha256(request.node.name.encode()).hexdigest()[:20]}")
    account = api.account(namespace, "certwright")
    (tmp_path / "token").write_text(api.token(namespace, account))
    return Ground(api, Cluster(api.server, api.ca_file, tmp_path / "token"), namespace, account)


def version_of(found: dict[str, Any]) -> str:
    """Which version an object says it is."""
    return str(found["metadata"]["annotations"]["certwright/version"])


# What is stored.


def test_a_certificate_is_a_secret_that_ingresses_know(ground: Ground) -> None:
    """Its type and names are those of Kubernetes; ours lie beside them, and it says whose it is."""
    a = certificate(1)
    ground.bring(a)
    found = ground.read()
    files, held = {**a.files, **{n: s.reveal().encode() for n, s in a.secrets.items()}}, content(found)
    assert found["type"] == "kubernetes.io/tls"
    assert {name: held[name] for name in files} == files
    assert held.keys() - files.keys() == {"tls.crt", "tls.key", "ca.crt"}
    assert (held["tls.crt"], held["tls.key"]) == (files["fullchain.pem"], files["key.pem"])
    assert held["ca.crt"] == files["chain.pem"]
    assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "certwright"}
    notes = {"certwright/subject": "edge", "certwright/version": a.version, "certwright/sha256": a.sha256}
    assert found["metadata"]["annotations"] == notes


def test_a_bundle_is_a_config_map_whose_texts_can_be_read(ground: Ground) -> None:
    """DER is binary data."""
    ground.bring(publication(1), kind="ConfigMap")
    found = ground.read("ConfigMap")
    assert (found["data"].keys(), found["binaryData"].keys()) == ({"bundle.pem", "trust.jws"}, {"crl.crl"})
    assert content(found) == publication(1).files


def test_keys_go_into_secrets_alone(ground: Ground) -> None:
    """A ConfigMap is no place for them, and its publisher says so."""
    assert [ground.publisher(kind).keeps_secrets for kind in PLURALS] == [True, False]
    for call in ("stage", "swap"):
        with pytest.raises(NotDelivered) as refused:
            getattr(ground.publisher("ConfigMap"), call)(certificate(1))
        assert refused.value.code == "not-for-secrets"
    assert ground.read("ConfigMap") is None


@both_kinds
def test_staging_asks_everything_and_stores_nothing(ground: Ground, kind: str) -> None:
    """A dry run: what a swap would fail of is known before."""
    ground.publisher(kind).stage(publication(1))
    assert ground.read(kind) is None
    ground.bring(publication(1), kind=kind)
    before = ground.read(kind)
    ground.publisher(kind).stage(publication(2))
    assert ground.read(kind) == before
    assert ground.read(kind, "edge-previous") is None
    reader = ground.api.account(ground.namespace, "reader", verbs=["get"])
    assert ground.cluster.token_file is not None
    ground.cluster.token_file.write_text(ground.api.token(ground.namespace, reader))
    for name in ("edge", "another"):
        with pytest.raises(NotDelivered, match="does not permit it"):
            ground.publisher(kind, name).stage(publication(2))


@both_kinds
def test_what_others_noted_on_it_stays(ground: Ground, kind: str) -> None:
    """Labels, annotations, owners and finalizers; and it is the same object all along."""
    ground.bring(publication(1), kind=kind)
    found = ground.read(kind)
    found["metadata"]["labels"]["team"] = "payments"
    found["metadata"]["annotations"]["reloader"] = "on"
    found["metadata"]["finalizers"] = ["example.org/kept"]
    found["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "1-2"}]
    ground.write(found, kind)
    ground.bring(publication(2), kind=kind)
    after = ground.read(kind)
    assert version_of(after) == publication(2).version
    assert after["metadata"]["labels"]["team"] == "payments"
    assert after["metadata"]["annotations"]["reloader"] == "on"
    for name in ("finalizers", "ownerReferences", "uid"):
        assert after["metadata"][name] == found["metadata"][name]
    after["metadata"]["finalizers"] = []
    ground.write(after, kind)


@both_kinds
def test_what_was_damaged_is_mended(ground: Ground, kind: str) -> None:
    """Though it says that it is the version already; and what was before is still known."""
    ground.bring(publication(1), publication(2), kind=kind)
    found = ground.read(kind)
    del found["data"]["bundle.pem"]
    ground.write(found, kind)
    ground.bring(publication(2), kind=kind)
    assert content(ground.read(kind)) == publication(2).files
    assert version_of(ground.read(kind, "edge-previous")) == publication(1).version


@both_kinds
def test_going_back(ground: Ground, kind: str) -> None:
    """To what was before, with its name; twice is once, and where nothing was before it stays."""
    a, b = (certificate(number, with_key=kind == "Secret") for number in (1, 2))
    ground.bring(a, kind=kind)
    first, rolling = ground.read(kind), ground.publisher(kind)
    assert isinstance(rolling, RollsBack)
    rolling.restore(a)
    assert ground.read(kind) == first
    ground.bring(b, kind=kind)
    for _ in range(2):
        rolling.restore(b)
        found = ground.read(kind)
        assert (content(found), version_of(found)) == (content(first), a.version)
    ground.bring(b, kind=kind)
    assert version_of(ground.read(kind)) == b.version


# Whom it does not overwrite.


@both_kinds
def test_a_slower_writer_does_not_go_back(ground: Ground, kind: str) -> None:
    """Neither with an older bundle nor with an older list beside a newer one; staging tells already."""
    new = publication(2, crl=8)
    ground.bring(new, kind=kind)
    for late in (publication(1, crl=8), publication(3)):
        for call in ("stage", "swap"):
            with pytest.raises(NotDelivered, match="is newer than") as refused:
                getattr(ground.publisher(kind), call)(late)
            assert refused.value.code == "older-version"
    assert version_of(ground.read(kind)) == new.version


@both_kinds
def test_who_writes_between_look_and_write_is_noticed(
    ground: Ground, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the API itself: the slower one looks again, and finds itself too old. The same where nothing was before."""
    for name in ("create", "replace"):
        real, is_first = getattr(cluster.Api, name), [True]

        def late(self: cluster.Api, *args: Any, real: Any = real, first: list[bool] = is_first, **named: Any) -> None:
            if first and first.pop():
                ground.bring(publication(9 if real.__name__ == "replace" else 5), kind=kind)
            real(self, *args, **named)

        monkeypatch.setattr(cluster.Api, name, late)
        with pytest.raises(NotDelivered, match="is newer than"):
            ground.publisher(kind).swap(publication(8 if name == "replace" else 4))
    assert version_of(ground.read(kind)) == publication(9).version


@both_kinds
def test_writers_race_and_whoever_watches_never_sees_less(ground: Ground, kind: str) -> None:
    """Four of them, every version in orders of their own; the watch has every state: whole, growing, never gone."""
    every = [publication(number) for number in range(8)]
    orders = [every, every[::-1], every[::2] + every[1::2], every[3:] + every[:3]]
    failures: list[BaseException] = []

    def write(order: list[Material]) -> None:
        for one in order:
            try:
                ground.publisher(kind).swap(one)
            except NotDelivered:
                continue
            except BaseException as error:
                failures.append(error)

    with watching(ground, kind) as events:
        writers = [threading.Thread(target=write, args=(order,)) for order in orders]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join(60)
        ground.bring(every[-1], kind=kind)
        events.wait_for(lambda: bool(events.seen) and version_of(events.seen[-1][1]) == every[-1].version)
    assert failures == []
    versions = [version_of(found) for _, found in events.seen]
    assert versions == sorted(versions)
    assert {what for what, _ in events.seen} <= {"ADDED", "MODIFIED"}
    whole = {one.version: one.files for one in every}
    assert [found for _, found in events.seen if content(found) != whole[version_of(found)]] == []


class Events:
    """What a watch has seen."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self._changed = threading.Condition()

    def add(self, line: str) -> None:
        """One more state."""
        event = json.loads(line)
        with self._changed:
            self.seen.append((event["type"], event["object"]))
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until it holds."""
        with self._changed:
            assert self._changed.wait_for(condition, 60)


@contextmanager
def watching(ground: Ground, kind: str) -> Iterator[Events]:
    """Watch one object from before it exists."""
    path = f"/api/v1/namespaces/{ground.namespace}/{PLURALS[kind]}"
    begin = ground.api.call("GET", path)["metadata"]["resourceVersion"]
    asked = {"watch": "1", "fieldSelector": "metadata.name=edge", "resourceVersion": begin, "timeoutSeconds": "50"}
    events, done = Events(), threading.Event()

    def look() -> None:
        with ground.api.admin.stream("GET", path, params=asked, timeout=httpx.Timeout(60)) as reply:
            for line in reply.iter_lines():
                events.add(line)
                if done.is_set():
                    return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield events
    done.set()
    touched = ground.read(kind)
    touched["metadata"]["annotations"]["end"] = "of the watch"
    ground.write(touched, kind)
    thread.join(60)
    events.seen[:] = [one for one in events.seen if "end" not in one[1]["metadata"]["annotations"]]


@both_kinds
@pytest.mark.parametrize("name", ["edge", "edge-previous"])
def test_what_is_not_ours_stays(ground: Ground, kind: str, name: str) -> None:
    """Neither the object nor the one for what was before is taken over, until somebody labels it as ours."""
    if name == "edge-previous":
        ground.bring(publication(1), kind=kind)
    coded = b64encode(b"theirs").decode() if kind == "Secret" else "theirs"
    theirs = ground.write({"metadata": {"name": name}, "data": {"app": coded}}, kind)
    for call in ("stage", "swap"):
        with pytest.raises(NotDelivered, match=f"{name} is there, and is not ours") as refused:
            getattr(ground.publisher(kind), call)(publication(2))
        assert refused.value.code == "not-ours"
    assert ground.read(kind, name) == theirs
    theirs["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "certwright"}
    ground.write(theirs, kind)
    ground.bring(publication(2), kind=kind)
    assert content(ground.read(kind)) == publication(2).files


def test_an_object_is_of_one_consumer(ground: Ground) -> None:
    """The other is told whose it is."""
    ground.bring(publication(1))
    with pytest.raises(NotDelivered, match="is of 'edge'") as refused:
        ground.bring(publication(2, subject="core"))
    assert refused.value.code == "not-ours"


def test_a_secret_does_not_change_its_type(ground: Ground) -> None:
    """The API would refuse it, and to remove it first would leave nothing for a moment."""
    ground.bring(certificate(1))
    for call in ("stage", "swap"):
        with pytest.raises(NotDelivered, match=r"of type kubernetes\.io/tls, and no Secret changes"):
            getattr(ground.publisher(), call)(certificate(2, with_key=False))
    assert version_of(ground.read()) == certificate(1).version


@both_kinds
def test_an_immutable_object_is_said(ground: Ground, kind: str) -> None:
    """By the API's own word."""
    ground.bring(publication(1), kind=kind)
    found = ground.read(kind)
    ground.write({**found, "immutable": True}, kind)
    with pytest.raises(NotDelivered, match=r"answered 422 \(Invalid"):
        ground.publisher(kind).stage(publication(2))
    assert content(ground.read(kind)) == publication(1).files


# How much it holds.


@both_kinds
def test_what_just_fits_is_taken(ground: Ground, kind: str) -> None:
    """The limit is the API's own."""
    rest = (1 << 20) - sum(map(len, publication(1).files.values()))
    largest = publication(1, size=rest)
    ground.bring(largest, publication(2, size=rest - 1), kind=kind)
    assert content(ground.read(kind)) == publication(2, size=rest - 1).files
    with pytest.raises(NotDelivered, match="1048577 bytes, and a Kubernetes object holds 1048576") as refused:
        ground.publisher(kind).stage(publication(3, size=rest + 1))
    assert refused.value.code == "too-large-for-place"


def test_what_does_not_fit_is_not_sent(ground: Ground) -> None:
    """Nobody is even asked."""
    nobody = replace(ground, cluster=Cluster(f"https://127.0.0.1:{peer.free_port()}"))
    with pytest.raises(NotDelivered, match="holds 1048576"):
        nobody.publisher().swap(publication(1, size=1 << 20))


# Who we are.


def refusal(ground: Ground, one: Material | None = None) -> NotDelivered:
    """Why it is not delivered; held against what no message may show."""
    with pytest.raises(NotDelivered) as refused:
        ground.bring(publication(1) if one is None else one)
    said = f"{refused.value.message} {refused.value.hint}"
    if ground.cluster.token_file is not None and ground.cluster.token_file.exists():
        assert ground.cluster.token_file.read_bytes().strip().decode("latin-1") not in said
    assert "\n" not in refused.value.message
    assert refused.value.__cause__ is None
    return refused.value


def test_a_token_is_read_each_time(ground: Ground) -> None:
    """One that was withdrawn is refused; once its successor lies in the file, the same publisher goes on."""
    ground.write({"metadata": {"name": "pod"}})
    file, made = ground.cluster.token_file, ground.publisher()
    assert file is not None
    made.swap(publication(1))
    old = ground.api.token(ground.namespace, ground.account, bound_to="pod")
    ground.api.call("DELETE", f"/api/v1/namespaces/{ground.namespace}/secrets/pod")
    file.write_text(old + "\n")
    wrong = eventually(lambda: refused_of(made, publication(2)))
    assert (wrong.code, "does not know us" in wrong.message) == ("not-permitted", True)
    assert old not in f"{wrong.message} {wrong.hint}"
    file.write_text(ground.api.token(ground.namespace, ground.account))
    made.swap(publication(3))
    assert version_of(ground.read()) == publication(3).version


def refused_of(made: Publisher, one: Material) -> NotDelivered | None:
    """Why it is not swapped; None if it was."""
    try:
        made.swap(one)
    except NotDelivered as error:
        return error
    return None


def eventually(find: Callable[[], NotDelivered | None]) -> NotDelivered:
    """The API may take a moment to notice."""
    done = threading.Event()
    for _ in range(600):
        if (found := find()) is not None:
            return found
        done.wait(0.1)
    raise AssertionError("it is still taken")


@pytest.mark.parametrize("text", [b"", b"\n", b"two words", b"tok\xc3\xa9n", b"a\r\nHost: b", b"x" * 70_000])
def test_what_is_no_token_is_not_sent(ground: Ground, text: bytes) -> None:
    """Nor what would be a header of its own."""
    file = ground.cluster.token_file
    assert file is not None
    file.write_bytes(text)
    assert "there is no token" in refusal(ground).message if text.strip() else True
    with pytest.raises(NotDelivered, match="there is no token"):
        ground.publisher().swap(publication(1))


def test_a_token_that_is_gone_is_said(ground: Ground, tmp_path: Path) -> None:
    """And one that was never any."""
    assert ground.cluster.token_file is not None
    ground.cluster.token_file.write_text("canary-token")
    assert "does not know us" in refusal(ground).message
    ground.cluster.token_file.unlink()
    assert "cannot be read: No such file" in refusal(ground).message


def test_a_client_certificate_is_enough(ground: Ground) -> None:
    """The other way of saying who we are; one that may not is told so."""
    may = ground.api.client("operator", ADMINS)
    known = replace(ground.cluster, token_file=None, certificate_file=may.certificate, key_file=may.key)
    replace(ground, cluster=known).bring(publication(1))
    assert version_of(ground.read()) == publication(1).version
    nobody = ground.api.client("nobody")
    unknown = replace(known, certificate_file=nobody.certificate, key_file=nobody.key)
    assert "does not permit it" in refusal(replace(ground, cluster=unknown), publication(2)).message


def test_nothing_to_say_who_we_are_is_misconfigured(ground: Ground) -> None:
    """As are files that are no certificate with its key, and a server that is not https."""
    certificate_file, token = ground.api.ca_file, ground.cluster.token_file
    for wrong in (
        Cluster(ground.api.server, ground.api.ca_file),
        Cluster(ground.api.server, ground.api.ca_file, None, certificate_file, certificate_file),
        Cluster("http://127.0.0.1:1", None, token),
        Cluster(ground.api.server, token, token),
    ):
        with pytest.raises(Misconfigured):
            replace(ground, cluster=wrong).bring(publication(1))


def test_an_account_that_may_not_is_told_so(ground: Ground) -> None:
    """Which verbs are needed is in the hint."""
    token = ground.api.token(ground.namespace, ground.api.account(ground.namespace, "reader", verbs=["get"]))
    assert ground.cluster.token_file is not None
    ground.cluster.token_file.write_text(token)
    wrong = refusal(ground)
    assert (wrong.code, "get, create and update" in str(wrong.hint)) == ("not-permitted", True)


def test_a_namespace_that_is_not_there_is_said(ground: Ground) -> None:
    """To who may see that; an account is told that it may not."""
    assert "does not permit it" in refusal(replace(ground, namespace="nowhere")).message
    admin = ground.api.client("operator2", ADMINS)
    known = replace(ground.cluster, token_file=None, certificate_file=admin.certificate, key_file=admin.key)
    assert "has no such namespace" in refusal(replace(ground, namespace="nowhere", cluster=known)).message


def test_nobody_there_is_said(ground: Ground) -> None:
    """And a server that is not trusted."""
    nobody = replace(ground.cluster, server=f"https://127.0.0.1:{peer.free_port()}")
    assert "cannot be reached" in refusal(replace(ground, cluster=nobody)).message
    assert "TLS failed" in refusal(replace(ground, cluster=replace(ground.cluster, ca_file=None))).message


# Those that answer otherwise.


@contextmanager
def hostile(home: Path, answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[Cluster, list[str]]]:
    """A server that we trust, and that says anything; yields what it was asked."""
    tls, asked = loopback_tls(home), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        do_PUT = do_POST = do_GET  # noqa: N815 - its names

        def log_message(self, *_: Any) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    (home / "token").write_text("canary-token")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        yield Cluster(f"https://127.0.0.1:{server.server_port}", tls.ca_file, home / "token"), asked
        server.shutdown()
        thread.join()


def saying(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """The same to every question."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


OTHER = json.dumps({"metadata": {"name": "other", "labels": {"app.kubernetes.io/managed-by": "certwright"}}}).encode()
INVALID = json.dumps(
    {"reason": "Invalid", "message": "canary", "details": {"causes": [{"field": "data[tls.key]\n" + "x" * 500}]}}
).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (302, b"", "answered 302"),
        (200, b"<html>", "answered 200"),
        (200, b"[" * 100_000, "answered 200"),
        (200, b"[]", "answered 200"),
        (200, b'{"metadata": null}', "is not Secret"),
        (200, OTHER, "is not Secret"),
        (422, INVALID, r"answered 422 .Invalid: data.tls.key. x"),
        (429, b'{"reason": "TooManyRequests"}', r"answered 429 .TooManyRequests"),
        (500, b'{"reason": "a b\\n<script>", "message": "canary"}', "answered 500$"),
        (200, b"{" + b" " * (5 << 20) + b"}", "more than"),
    ],
)
def test_odd_answers_are_said_in_a_line(tmp_path: Path, status: int, body: bytes, expected: str) -> None:
    """Nothing of them is believed, followed or repeated."""
    with hostile(tmp_path, saying(status, body, Location="https://127.0.0.2:1/elsewhere")) as (there, asked):
        settings = {"cluster": "main", "namespace": "a", "name": "edge", "kind": "Secret"}
        with pytest.raises(NotDelivered, match=expected) as refused:
            make_kubernetes(settings, clusters={"main": there}).swap(publication(1))
        assert "canary" not in f"{refused.value.message} {refused.value.hint}"
        assert len(refused.value.message) < 300
        assert refused.value.message.isprintable()
        assert asked == ["GET /api/v1/namespaces/a/secrets/edge"]


def test_who_is_always_overtaken_gives_up(tmp_path: Path) -> None:
    """After a handful of looks."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.command == "GET":
            return saying(404, b"{}")(request)
        return saying(409, b'{"reason": "AlreadyExists"}')(request)

    with hostile(tmp_path, answer) as (there, asked):
        settings = {"cluster": "main", "namespace": "a", "name": "edge", "kind": "Secret"}
        with pytest.raises(NotDelivered, match="written by others all the time"):
            make_kubernetes(settings, clusters={"main": there}).swap(publication(1))
        assert len(asked) == 10


@pytest.mark.parametrize(
    "odd", ["", "A", "-a", "a-", "a.b", "a/b", "a_b", "ä", "a\n", "../x", "a" * 64, "a" * 55, "a-previous", None, 7]
)
def test_names_are_dns_labels(odd: Any) -> None:
    """Of the object with room for `-previous`; of the namespace as Kubernetes has it."""
    settings = {"cluster": "main", "namespace": "a" * 63, "name": "a" * 54, "kind": "Secret"}
    clusters = {"main": Cluster("https://kube.example")}
    make_kubernetes(settings, clusters=clusters)
    with pytest.raises(BadRequest, match="name "):
        make_kubernetes({**settings, "name": odd}, clusters=clusters)
    if odd not in ("a" * 55, "a-previous"):
        with pytest.raises(BadRequest, match="namespace "):
            make_kubernetes({**settings, "namespace": odd}, clusters=clusters)


def test_its_service_accounts_are_callers_of_ours(api: Kubernetes, tmp_path: Path) -> None:
    """Their own tokens, verified with the keys that the cluster serves to its own, are bound to their namespace."""
    accounts = {name: api.account(api.namespace(name), "runner") for name in ("payments", "billing")}
    (tmp_path / "here").write_text(api.token("billing", accounts["billing"]))
    wanted = {
        **entry("cluster", ISSUER, jwks_url=f"{api.server}/openid/v1/jwks", token_file="here"),
        "ca_file": str(api.ca_file),
        "algorithms": ["RS256"],
    }
    settings = make_settings({"identity": {"jwt": [wanted]}})
    bearers = JwtBearers(cast(Product, SimpleNamespace(settings=settings, state=tmp_path)))
    found = bearers.explain(api.token("payments", accounts["payments"], audience=AUDIENCE))
    assert found.identity == "jwt:cluster:system:serviceaccount:payments:runner"
    assert found.caller is not None
    assert (found.caller.role, found.caller.attributes) == (Role.REQUESTER, {"namespace": "payments"})
    profile = Profiles(rig.CONFIG / "profiles", rig.VARIABLES)["mesh"]
    for namespace, codes in (("payments", []), ("billing", ["name-not-allowed"])):
        names = [parse(f"uri:spiffe://example.internal/ns/{namespace}/sa/runner")]
        subject = Subject(names, KeyType.P256, 3600, found.caller.role, found.caller.attributes)
        assert [reason.code for reason in judge(profile, subject)] == codes
    with pytest.raises(Unauthenticated, match="meant for somebody else"):
        bearers.explain(api.token("payments", accounts["payments"]))
