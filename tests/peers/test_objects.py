"""The object store publisher against a real S3 server, and against those that lead astray.

The port's contract is asked in `tests/contracts`; here is what is particular to a bucket: what readers find, who may
overwrite whom, and that credentials, places and time are ours alone to give.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.publishers import Material, Publisher, bucket
from renewers.publishers.bucket import ObjectPlace
from renewers.publishers.objects import make_objects
from tests import peer
from tests.contracts.grounds.objects import reader
from tests.objectstore import REGION, ObjectStore, object_store

BORN = 1_790_000_000


def publication(number: int, *, crl: int = 7, subject: str = "edge") -> Material:
    """A version as consumers get it: its numbers are those of publications."""
    files = {
        "bundle.pem": f"bundle {number}\n".encode() * 200,
        "root.cer": b"\x30\x82" + bytes([number % 256]) * 40,
        "crl.crl": b"\x30\x81" + bytes([crl % 256]) * 40,
        "trust.jws": f"{number}".encode(),
        "jwks.json": b"{}",
        "bundle.p12": b"\x30",
        "note": b"odd",
    }
    digest = sha256(f"{number} {crl}".encode()).hexdigest()
    return Material(subject, f"{subject}-{BORN + number}-{BORN + crl}-{digest[:12]}", digest, files)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An S3 server over TLS."""
    with object_store(tmp_path_factory.mktemp("objects") / "s3", over_tls=True) as running:
        yield running


@pytest.fixture
def place(server: ObjectStore, request: pytest.FixtureRequest) -> ObjectPlace:
    """A bucket of this test's own."""
    name = server.bucket(f"b{sha256(request.node.name.encode()).hexdigest()[:20]}")
    return ObjectPlace(server.endpoint, name, REGION, server.access_key_id, server.secret, server.ca_file)


def publisher(place: ObjectPlace, prefix: str = "edge/") -> Publisher:
    """As a fresh process makes it."""
    return make_objects({"store": "main", "prefix": prefix}, stores={"main": place})


def bring(place: ObjectPlace, *all_of_it: Material) -> None:
    """Stage and swap."""
    for one in all_of_it:
        publisher(place).stage(one)
        publisher(place).swap(one)


def current(server: ObjectStore, place: ObjectPlace) -> dict[str, Any]:
    """What readers are told."""
    found: dict[str, Any] = json.loads(bytes(reader(server, place.bucket).get("edge/current.json").bytes()))
    return found


def versions(server: ObjectStore, place: ObjectPlace) -> set[str]:
    """Which versions lie there."""
    listed = reader(server, place.bucket).list("edge/versions/").collect()
    return {each["path"].split("/")[2] for each in listed}


def test_a_reader_is_told_everything_and_may_cache_what_never_changes(server: ObjectStore, place: ObjectPlace) -> None:
    """Types and caching of each object; which version it is, of what, and what was before."""
    a, b = publication(1), publication(2)
    bring(place, a, b)
    said, store = current(server, place), reader(server, place.bucket)
    assert (said["consumer"], said["version"], said["sha256"], said["previous"]) == (
        "edge",
        b.version,
        b.sha256,
        a.version,
    )
    assert {each["name"]: each["size"] for each in said["files"]} == {n: len(c) for n, c in b.files.items()}
    assert dict(store.get("edge/current.json").attributes) == {
        "Content-Type": "application/json",
        "Cache-Control": "no-cache",
    }
    kinds = {}
    for name in b.files:
        found = dict(store.get(f"edge/versions/{b.version}/{name}").attributes)
        assert found["Cache-Control"] == "public, max-age=31536000, immutable"
        kinds[name] = found["Content-Type"]
    assert kinds == {
        "bundle.pem": "application/x-pem-file",
        "root.cer": "application/pkix-cert",
        "crl.crl": "application/pkix-crl",
        "trust.jws": "application/jose+json",
        "jwks.json": "application/json",
        "bundle.p12": "application/x-pkcs12",
        "note": "application/octet-stream",
    }


def test_a_slower_writer_does_not_go_back(server: ObjectStore, place: ObjectPlace) -> None:
    """Not with an older bundle, and not with an older list beside a newer bundle."""
    old, new = publication(1), publication(2, crl=8)
    publisher(place).stage(old)
    publisher(place).stage(publication(3))
    bring(place, new)
    for late in (old, publication(3)):
        with pytest.raises(NotDelivered, match="is newer than") as refused:
            publisher(place).swap(late)
        assert refused.value.code == "older-version"
    assert current(server, place)["version"] == new.version


def test_writers_race_and_readers_never_go_back(server: ObjectStore, place: ObjectPlace) -> None:
    """Four of them, each with every version in an order of its own: readers see numbers that grow, up to the newest."""
    every = [publication(number) for number in range(8)]
    seen: list[str] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def write(order: list[Material]) -> None:
        for one in order:
            try:
                bring(place, one)
            except NotDelivered:
                continue
            except BaseException as error:
                failures.append(error)

    def look() -> None:
        store = reader(server, place.bucket)
        while not done.is_set():
            try:
                seen.append(json.loads(bytes(store.get("edge/current.json").bytes()))["version"])
            except FileNotFoundError:
                continue
            except BaseException as error:
                failures.append(error)
                return

    orders = [every, every[::-1], every[::2] + every[1::2], every[3:] + every[:3]]
    writers = [threading.Thread(target=write, args=(order,)) for order in orders]
    looking = threading.Thread(target=look)
    for thread in (looking, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    bring(place, every[-1])
    done.set()
    looking.join(60)
    assert failures == []
    assert seen == sorted(seen)
    assert current(server, place)["version"] == every[-1].version
    assert every[-1].version in versions(server, place)


def test_who_writes_between_look_and_exchange_is_noticed(
    server: ObjectStore, place: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The condition is the store's: the slower one looks again, and finds itself too old."""
    a, b, c = publication(1), publication(2), publication(3)
    bring(place, a)
    publisher(place).stage(b)
    real, is_first = bucket.Bucket.exchange, [True]

    def late(self: bucket.Bucket, *args: Any, **named: Any) -> None:
        if is_first and is_first.pop():
            bring(place, c)
        real(self, *args, **named)

    monkeypatch.setattr(bucket.Bucket, "exchange", late)
    with pytest.raises(NotDelivered, match="is newer than"):
        publisher(place).swap(b)
    assert current(server, place)["version"] == c.version


def test_the_newest_three_stay_and_what_is_in_use(server: ObjectStore, place: ObjectPlace) -> None:
    """What current names is never cleared away, however old it is."""
    every = [publication(number) for number in range(1, 9)]
    bring(place, every[0])
    for one in every[1:]:
        publisher(place).stage(one)
    publisher(place).swap(every[0])
    assert versions(server, place) == {every[0].version, *(one.version for one in every[5:])}
    publisher(place).swap(every[0])
    with pytest.raises(NotDelivered, match="was not staged, or lost"):
        publisher(place).swap(every[4])
    bring(place, publication(20))
    left = versions(server, place)
    assert publication(20).version in left
    assert len(left) <= 4
    bring(place, *(publication(number) for number in range(21, 26)))
    assert publication(25).version in versions(server, place)
    assert len(versions(server, place)) == 3


@pytest.mark.parametrize(
    "content", [b"<html>", b"[]", b"\xff", b'{"consumer": 1, "version": "v-1"}', b"[" * 100_000, b"1" * 300_000]
)
def test_what_is_not_ours_stays(server: ObjectStore, place: ObjectPlace, content: bytes) -> None:
    """Neither an object that somebody else wrote, nor another consumer's."""
    store = reader(server, place.bucket)
    store.put("edge/current.json", content)
    with pytest.raises(NotDelivered) as refused:
        bring(place, publication(1))
    assert len(str(refused.value)) < 300
    assert bytes(store.get("edge/current.json").bytes()) == content


def test_a_prefix_is_of_one_consumer(server: ObjectStore, place: ObjectPlace) -> None:
    """The other is told whose it is."""
    bring(place, publication(1, subject="edge"))
    with pytest.raises(NotDelivered, match="is of 'edge'") as refused:
        bring(place, publication(9, subject="core"))
    assert refused.value.code == "not-ours"
    assert current(server, place)["consumer"] == "edge"


def test_a_store_without_conditions_is_written_plainly(server: ObjectStore, place: ObjectPlace) -> None:
    """Its numbers are still looked at."""
    plain = replace(place, is_conditional=False)
    bring(plain, publication(1), publication(2))
    with pytest.raises(NotDelivered, match="is newer than"):
        bring(plain, publication(1))
    assert current(server, plain)["version"] == publication(2).version


# Reasons, and nothing secret in them.


def refusal(place: ObjectPlace) -> NotDelivered:
    """Why it is not delivered; held against what no message may show."""
    with pytest.raises(NotDelivered) as refused:
        bring(place, publication(1))
    said = f"{refused.value.message} {refused.value.hint}"
    assert place.secret.reveal() not in said
    assert place.access_key_id not in said
    assert "\n" not in refused.value.message
    assert refused.value.__cause__ is None
    return refused.value


def test_wrong_credentials_are_said(place: ObjectPlace) -> None:
    """Both halves; the store's own code is shown, and none of its body, in which credentials stand."""
    wrong = refusal(replace(place, secret=Secret("x" * 40)))
    assert "refuses our credentials (SignatureDoesNotMatch)" in wrong.message
    assert wrong.code == "not-permitted"
    assert "is not found (XAdminUserNotFound)" in refusal(replace(place, access_key_id="AKNOBODY")).message
    with pytest.raises(NotDelivered, match="XAdminUserNotFound"):  # and not: it was not staged
        publisher(replace(place, access_key_id="AKNOBODY")).swap(publication(1))


def test_a_missing_bucket_is_said(place: ObjectPlace) -> None:
    """Nobody makes one."""
    assert "is not found (NoSuchBucket)" in refusal(replace(place, bucket="nowhere")).message


def test_a_certificate_that_is_not_trusted_is_said(place: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says about it."""
    monkeypatch.setenv("AWS_ALLOW_INVALID_CERTIFICATES", "true")
    monkeypatch.setenv("ALLOW_INVALID_CERTIFICATES", "true")
    assert "TLS failed" in refusal(replace(place, ca_file=None)).message


def test_nobody_there_is_said(place: ObjectPlace) -> None:
    """A port on which nobody listens."""
    nobody = f"http://127.0.0.1:{peer.free_port()}"
    assert "cannot be reached: the connection failed" in refusal(replace(place, endpoint=nobody)).message


def test_a_silent_server_is_left_in_time(place: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts, and never answers."""
    monkeypatch.setattr(bucket, "REQUEST_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "did not answer in time" in refusal(replace(place, endpoint=endpoint)).message


def test_a_slow_store_is_left_in_the_end(place: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many small requests it answers."""
    monkeypatch.setattr(bucket, "CALL_SECONDS", 0)
    assert "too slow" in refusal(place).message


def test_plain_http_is_for_this_machine(place: ObjectPlace, tmp_path: Path) -> None:
    """And a CA file that is none makes no client."""
    with pytest.raises(Misconfigured, match="https"):
        bring(replace(place, endpoint="http://s3.example.org"), publication(1))
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    for file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(Misconfigured, match="make no client"):
            bring(replace(place, ca_file=file), publication(1))


# Nobody leads us elsewhere.


@contextmanager
def listening(answer: Callable[[BaseHTTPRequestHandler], None], host: str) -> Iterator[tuple[str, list[str]]]:
    """A server of ours; yields its URL and the requests that it got."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        do_PUT = do_POST = do_HEAD = do_DELETE = do_CONNECT = do_GET  # noqa: N815 - its names

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{host}:{server.server_port}", asked
        server.shutdown()
        thread.join()


def _empty(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "0")
    request.end_headers()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(place: ObjectPlace, status: int) -> None:
    """Another host gets nothing, though it would be taken for the store itself."""

    def away(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Location", f"{elsewhere}/metadata")
        request.send_header("Content-Length", "0")
        request.end_headers()

    with listening(_empty, "127.0.0.2") as (elsewhere, asked), listening(away, "127.0.0.1") as (url, here):
        astray = replace(place, endpoint=url)
        refusal(astray)
        with pytest.raises(NotDelivered):
            publisher(astray).swap(publication(1))
        assert {line.partition(" ")[0] for line in here} == {"PUT", "GET"}
        assert asked == []


def test_the_environment_says_nothing(place: ObjectPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who we are nor where we go: no proxy, no metadata of a machine or container, no other endpoint."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith("AWS_"):
            monkeypatch.delenv(name)
    with listening(_empty, "127.0.0.1") as (decoy, asked):
        for name in (
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT",
            "AWS_ENDPOINT_URL_S3",
            "AWS_METADATA_ENDPOINT",
            "AWS_STS_ENDPOINT",
        ):
            monkeypatch.setenv(name, decoy)
        for name in (
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "AWS_PROXY_URL",
            "PROXY_URL",
        ):
            monkeypatch.setenv(name, decoy)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{decoy}/credentials")
        for name, value in {
            "AWS_ACCESS_KEY_ID": "AKSOMEBODY",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_SESSION_TOKEN": "x",
            "AWS_SKIP_SIGNATURE": "true",
            "AWS_REGION": "us-west-1",
            "AWS_DEFAULT_REGION": "us-west-1",
            "AWS_BUCKET": "other",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
            "AWS_IMDSV1_FALLBACK": "true",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/dev/null",
        }.items():
            monkeypatch.setenv(name, value)
        bring(place, publication(1), publication(2))
        assert asked == []


def test_an_ipv6_store_is_reached(place: ObjectPlace) -> None:
    """Its host is written with brackets, and is still the one that needs no proxy."""
    with listening_v6() as (url, asked):
        refusal(replace(place, endpoint=url))
        assert asked


@contextmanager
def listening_v6() -> Iterator[tuple[str, list[bytes]]]:
    """Takes one connection on ::1, and answers nonsense."""
    asked: list[bytes] = []
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(100))
            connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    with listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://[::1]:{listener.getsockname()[1]}", asked
        thread.join(10)
