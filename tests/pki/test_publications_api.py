"""What is published, as whoever has to hold it fetches it: signed versions, files, long polls, and saying what is held.

All of it is asked in process, of the application and of the plain listener's, which has to serve the same to anybody.
What is fetched is checked as a stranger would: with a root certificate and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock, revocation
from ca.access import Role
from ca.errors import Unavailable
from ca.publication.manifest import Manifest
from ca.publication.opening import check_files, open_signed
from ca.x509.bundle import pem_certificate
from ca.x509.revocation_list import RevocationReason
from pki import lifecycle_schedule
from pki.product import Product
from pki.web.app import create_public_app
from pki.web.arrivals import Arrivals
from renewers.distribution import consumers
from renewers.distribution.consumers import ConsumerPlan
from renewers.notifiers import signature
from renewers.notifiers.signature import signature_of
from tests import rig
from tests.pki.conftest import API, Credential, World, key_pem, problem
from tests.renewers.listeners import make

TRUST, CRLS = f"trust:{rig.DOMAIN}", f"crl:{rig.DOMAIN}"
SIGNED = "application/jose+json"


@pytest.fixture
def published(world: World) -> World:
    """A world in which everything was published once."""
    publish(world.product)
    return world


@pytest.fixture(params=["tls", "plain"])
def anybody(request: pytest.FixtureRequest, published: World) -> httpx.Client:
    """A stranger at either listener."""
    return published.as_(app=None if request.param == "tls" else create_public_app(published.product))


def publish(product: Product) -> None:
    """What the schedule does every second."""
    lifecycle_schedule.publish(product)


def revoke(world: World) -> None:
    """Make the next version of the lists due."""
    issued = rig.issue(world.installation)
    revocation.revoke(world.installation, rig.ADMIN, issued.serial, RevocationReason.SUPERSEDED)


def fetched(client: httpx.Client, stream: str = TRUST, **params: Any) -> Manifest:
    """The newest version of a stream, checked with our root alone."""
    answer = client.get(f"/publications/{stream}", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, SIGNED), answer.text
    root = x509.load_pem_x509_certificate(client.get("/bundles/roots.pem").content)
    (anchor,) = [root.public_bytes(Encoding.DER)]
    found = open_signed(
        answer.content, [anchor], trust_domain=rig.DOMAIN, stream=stream, now=clock.timestamp(), held=None
    )
    assert answer.headers["x-publication-version"] == str(found.version)
    return found


def arrivals_of(world: World) -> Arrivals:
    """Who waits in the application."""
    inner: Any = world.app
    while not hasattr(inner, "state"):
        inner = inner._app
    found: Arrivals = inner.state.arrivals
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    """Until a condition holds, for a minute at most."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [TRUST, CRLS])
def test_the_newest_version_is_checked_with_a_root_alone(anybody: httpx.Client, stream: str) -> None:
    """Signed beneath our root, for this stream; asked again by its tag there is nothing to send, nor for HEAD."""
    manifest = fetched(anybody, stream)
    assert manifest.stream == stream
    path = f"/publications/{stream}"
    first = anybody.get(path)
    assert first.headers["cache-control"] == "public, max-age=5"
    for tag in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
        again = anybody.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert anybody.get(path, headers={"If-None-Match": '"another"'}).content == first.content
    head = anybody.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "x-publication-version"):
        assert head.headers[name] == first.headers[name], name
    assert anybody.head(path, params={"after": manifest.version}).status_code == 304


def test_what_is_held_is_not_sent_again(published: World) -> None:
    """`after` what is newest there is nothing; after less, there is."""
    version = fetched(published.nobody).version
    path = f"/publications/{TRUST}"
    answer = published.nobody.get(path, params={"after": version})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["x-publication-version"] == str(version)
    assert published.nobody.get(path, params={"after": version + 5}).status_code == 304
    assert fetched(published.nobody, after=version - 1).version == version
    for wrong in ({"after": "-1"}, {"after": "x"}, {"wait": "61"}, {"wait": "-1"}, {"wait": "nan"}, {"after": 1 << 63}):
        problem(published.nobody.get(path, params=wrong), 400, "bad-request")


def test_what_nobody_publishes_is_not_there(published: World) -> None:
    """Streams, versions, files and lists that there are not; and nobody waits for one."""
    nobody = published.nobody
    begun = time.monotonic()
    for stream in ("trust:other.example", "nonsense", "crl:", "%00", "trust:%0a", "x" * 400):
        answer = nobody.get(f"/publications/{stream}", params={"after": 1, "wait": 60})
        problem(answer, 404, answer.json()["code"])
    assert time.monotonic() - begun < 55
    problem(nobody.get(f"/publications/{TRUST}/1"), 404, "unknown-publication")
    problem(nobody.get(f"/publications/{TRUST}/{1 << 63}"), 404, "unknown-publication")
    problem(nobody.get(f"/publications/{TRUST}/0"), 404, "unknown-publication")
    problem(nobody.get(f"/publications/{TRUST}/x"), 400, "bad-request")
    problem(nobody.get(f"/bundles/{rig.DOMAIN}/nothing.pem"), 404, "unknown-file")
    problem(nobody.get("/bundles/other.example/bundle.pem"), 404, "unknown-stream")
    problem(nobody.get("/crl/none.delta.crl"), 404, "unknown-crl")


def test_old_versions_stay(published: World) -> None:
    """Each as it was signed, by its number; the next names the one before."""
    first = fetched(published.nobody, CRLS)
    before = published.nobody.get(f"/publications/{CRLS}").content
    revoke(published)
    publish(published.product)
    second = fetched(published.nobody, CRLS)
    assert second.version > first.version
    assert second.previous is not None
    assert (second.previous.version, second.previous.sha256) == (first.version, first.sha256)
    answer = published.nobody.get(f"/publications/{CRLS}/{first.version}")
    assert answer.content == before
    assert "max-age=86400" in answer.headers["cache-control"]
    tag = {"If-None-Match": answer.headers["etag"]}
    assert published.nobody.get(f"/publications/{CRLS}/{first.version}", headers=tag).status_code == 304
    assert published.nobody.head(f"/publications/{CRLS}/{first.version}").status_code == 200


def test_the_files_are_those_of_the_manifest(anybody: httpx.Client) -> None:
    """Every file that the signed manifest names is there, and has its hash."""
    manifest = fetched(anybody)
    names = [item.name for item in manifest.items]
    assert {"bundle.pem", "cas.pem", "bundle.p7b", "spiffe.json", "jwks.json"} < set(names)
    files = {}
    for name in names:
        answer = anybody.get(f"/bundles/{rig.DOMAIN}/{name}").raise_for_status()
        files[name] = answer.content
        assert answer.headers["x-publication-version"] == str(manifest.version)
        tag = {"If-None-Match": answer.headers["etag"]}
        assert anybody.get(f"/bundles/{rig.DOMAIN}/{name}", headers=tag).status_code == 304
        assert anybody.head(f"/bundles/{rig.DOMAIN}/{name}").headers["content-length"] == str(len(answer.content))
    check_files(manifest, files)
    assert json.loads(files["spiffe.json"])["spiffe_sequence"] == manifest.version
    der = x509.load_der_x509_certificate(files["root-1.cer"])
    assert pem_certificate(der.public_bytes(Encoding.DER)) in files["bundle.pem"].decode()


def asking(world: World, **params: Any) -> Callable[[], httpx.Response]:
    """A request for the newest version of the lists on a loop and in a thread of its own."""

    def ask() -> httpx.Response:
        with asyncio.Runner() as loop:
            other = World(world.product, loop, world.app)
            return other.nobody.get(f"/publications/{CRLS}", params=params, timeout=90)

    return ask


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for callers who wait."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_who_waits_hears_of_the_next_version(published: World, pool: ThreadPoolExecutor) -> None:
    """The answer comes with the version that was published meanwhile, long before the time is up."""
    version = fetched(published.nobody, CRLS).version
    waiting = pool.submit(asking(published, after=version, wait=60))
    wait_until(lambda: arrivals_of(published)._count == 1)
    assert not waiting.done()
    revoke(published)
    begun = time.monotonic()
    publish(published.product)
    answer = waiting.result(60)
    assert time.monotonic() - begun < 50
    assert answer.status_code == 200
    assert int(answer.headers["x-publication-version"]) > version
    assert answer.content == published.nobody.get(f"/publications/{CRLS}").content
    assert arrivals_of(published)._count == 0
    assert arrivals_of(published)._waiting == {}


def test_who_waits_in_vain_is_told_so(published: World) -> None:
    """When the time is up there is nothing newer; who has less than what is newest does not wait at all."""
    version = fetched(published.nobody, CRLS).version
    path = f"/publications/{CRLS}"
    assert published.nobody.get(path, params={"after": version, "wait": 0.6}).status_code == 304
    begun = time.monotonic()
    assert published.nobody.get(path, params={"after": version - 1, "wait": 60}).status_code == 200
    assert published.nobody.get(path, params={"wait": 60}).status_code == 200
    assert time.monotonic() - begun < 55
    assert arrivals_of(published)._waiting == {}


def test_only_so_many_wait(published: World, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes when as many wait as may is answered at once, and may come again."""
    settings = published.product.settings
    fewest = settings.consumers.model_copy(update={"long_polls": 1})
    monkeypatch.setattr(published.product, "settings", settings.model_copy(update={"consumers": fewest}))
    version = fetched(published.nobody, CRLS).version
    first = pool.submit(asking(published, after=version, wait=60))
    wait_until(lambda: arrivals_of(published)._count == 1)
    begun = time.monotonic()
    answer = published.nobody.get(f"/publications/{CRLS}", params={"after": version, "wait": 60})
    assert (answer.status_code, time.monotonic() - begun < 50) == (304, True)
    assert not first.done()
    revoke(published)
    publish(published.product)
    assert first.result(60).status_code == 200


# What is held


@pytest.fixture
def edge(published: World) -> str:
    """A consumer that signs what it says; its secret."""
    added = consumers.add(published.product.lifecycle, rig.ADMIN, ConsumerPlan("edge", makes_secret=True))
    assert added.secret is not None
    return added.secret.reveal()


def report(manifest: Manifest, **more: Any) -> dict[str, Any]:
    """That a version is held."""
    said = {"stream": manifest.stream, "version": manifest.version, "sha256": manifest.sha256}
    return {**said, "at": clock.timestamp(), **more}


def signed(secret: str, body: bytes, at: int | None = None) -> dict[str, str]:
    """The headers of a Standard Webhook."""
    at = clock.timestamp() if at is None else at
    names = (signature.ID, signature.TIMESTAMP, signature.SIGNATURE)
    return dict(zip(names, ("msg-1", str(at), signature_of(secret, "msg-1", at, body)), strict=True))


def say(client: httpx.Client, secret: str, said: dict[str, Any], at: int | None = None) -> httpx.Response:
    """A signed acknowledgement."""
    body = json.dumps({"consumer": "edge", **said}).encode()
    return client.post("/acknowledgements", content=body, headers=signed(secret, body, at))


def held(world: World, stream: str = TRUST) -> tuple[int, str]:
    """What edge was proved to hold, and how."""
    (one,) = (one for one in world.local.get(f"{API}/consumers/edge").json()["holds"] if one["stream"] == stream)
    return one["held_version"], one["proved_by"]


def test_a_signed_report_is_taken_once(anybody: httpx.Client, published: World, edge: str) -> None:
    """With the consumer's secret, over either listener; the same one again is a replay."""
    manifest = fetched(anybody)
    said = report(manifest)
    answer = say(anybody, edge, said)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["held_version"], answer.json()["proved_by"]) == (manifest.version, "signature")
    assert held(published) == (manifest.version, "signature")
    document = problem(say(anybody, edge, said), 409, "old-report")
    assert document["hint"]
    assert held(published, CRLS) == (0, "")


def test_a_report_that_is_not_signed_is_nobodys(published: World, edge: str) -> None:
    """Changed, signed with another secret, long ago, not at all, of nobody: refused alike, and nothing is proved."""
    nobody, manifest = published.nobody, fetched(published.nobody)
    body = json.dumps({"consumer": "edge", **report(manifest)}).encode()
    other = json.dumps({"consumer": "none", **report(manifest)}).encode()
    stranger = consumers.add(published.product.lifecycle, rig.ADMIN, ConsumerPlan("other", makes_secret=True)).secret
    consumers.add(published.product.lifecycle, rig.ADMIN, ConsumerPlan("silent"))
    assert stranger is not None
    silent = json.dumps({"consumer": "silent", **report(manifest)}).encode()
    told = set()
    for content, headers in (
        (body, {}),
        (body, signed(edge, body + b" ")),
        (body + b" ", signed(edge, body)),
        (body, signed(stranger.reveal(), body)),
        (body, signed(edge, body, clock.timestamp() - 900)),
        (body, signed(edge, body, clock.timestamp() + 900)),
        (other, signed(edge, other)),
        (silent, signed(edge, silent)),
        (body, {**signed(edge, body), signature.SIGNATURE: "v1,AAAA é".encode("latin-1")}),
    ):
        told.add(
            problem(nobody.post("/acknowledgements", content=content, headers=headers), 401, "bad-signature")["detail"]
        )
    assert len(told) == 1
    assert held(published) == (0, "")


def test_a_report_is_read_strictly(published: World, edge: str) -> None:
    """What is no report is said so before anybody looks whose it is; what is not ours proves nothing."""
    nobody, manifest = published.nobody, fetched(published.nobody)
    for content in (b"", b"{", b"[]", b"null", b'{"consumer": 1}', b"\xff", b"[" * 10_000, b'{"consumer": "edge"}'):
        problem(nobody.post("/acknowledgements", content=content), 400, "bad-report")
    problem(nobody.post("/acknowledgements", content=b" " * 20_000), 413, "too-large")
    for wrong in (
        {"version": 0},
        {"version": True},
        {"version": "1"},
        {"sha256": "AB" * 32},
        {"x": 1},
        {"at": 1 << 60},
    ):
        problem(say(nobody, edge, report(manifest, **wrong)), 400, "bad-report")
    problem(say(nobody, edge, report(manifest, stream="trust:other.example")), 400, "not-its-stream")
    problem(say(nobody, edge, report(manifest, sha256="ab" * 32)), 400, "other-hash")
    assert held(published) == (0, "")
    assert "consumer-holds-another" in published.local.get(f"{API}/consumers/edge").json()["alarms"]
    problem(say(nobody, edge, report(manifest, version=5, at=clock.timestamp() + 1)), 400, "unknown-version")


def test_a_consumer_reports_as_who_it_is(published: World) -> None:
    """Its token, or a name in its certificate; by hand who manages consumers; nobody else, whatever it holds."""
    token = published.token(Role.CONSUMER, name="edge-token")
    holder = published.holder("email:ada@example.internal")
    other = published.holder("email:eve@example.internal", place=2)
    identities = ("token:edge-token", "name:email:ada@example.internal")
    consumers.add(published.product.lifecycle, rig.ADMIN, ConsumerPlan("edge", identities=identities))
    manifest, path = fetched(published.nobody), f"{API}/consumers/edge/acknowledgements"

    def ask(credential: Credential, **more: Any) -> httpx.Response:
        return published.as_(credential).post(path, json=report(manifest, **more))

    for stranger in (
        published.token(Role.CONSUMER),
        published.token(Role.CONSUMER, name="edge"),
        other.credential,
    ):
        document = problem(ask(stranger), 403, "not-the-consumer")
        assert "identities" in document["hint"]
    for role in (Role.OPERATOR, Role.REQUESTER, Role.AUDITOR):
        problem(ask(published.token(role)), 403, "forbidden")
    problem(published.nobody.post(path, json=report(manifest)), 401, "unauthenticated")
    assert held(published) == (0, "")

    moment = clock.timestamp()
    assert ask(token, at=moment).json()["proved_by"] == "token:edge-token"
    assert held(published) == (manifest.version, "token:edge-token")
    problem(ask(token, at=moment), 409, "old-report")
    assert ask(holder.credential, at=moment + 1).json()["proved_by"] == "name:email:ada@example.internal"
    revocation.revoke(published.installation, rig.ADMIN, holder.serial, RevocationReason.SUPERSEDED)
    gone = ask(holder.credential, at=moment + 2)
    problem(gone, gone.status_code, "certificate-not-valid" if gone.status_code == 401 else "not-the-consumer")
    by_hand = published.local.post(path, json=report(manifest)).json()
    assert by_hand["proved_by"].startswith("hand:local:uid=")
    elsewhere = f"{API}/consumers/none/acknowledgements"
    problem(published.local.post(elsewhere, json=report(manifest)), 404, "unknown-consumer")
    problem(published.as_(token).post(elsewhere, json=report(manifest)), 403, "not-the-consumer")


def test_a_refusal_is_an_alarm(published: World, edge: str) -> None:
    """A consumer that was brought a version and will not have it says why, and whoever looks at it sees that."""
    manifest = fetched(published.nobody)
    assert say(published.nobody, edge, report(manifest, state="refused", reason="no\x1b[31m disk")).status_code == 200
    shown = published.local.get(f"{API}/consumers/edge").json()
    assert "disk" in shown["alarms"]["consumer-refuses"]
    assert "\x1b" not in shown["alarms"]["consumer-refuses"]
    assert held(published) == (0, "")


# What of it people look at


def test_streams_and_their_versions(world: World) -> None:
    """What there is, what was made when and why, how consumers stand; publishing now is an administrator's."""
    listed = world.local.get(f"{API}/streams").json()["items"]
    assert [(row["stream"], row["newest"]) for row in listed] == [(TRUST, None), (CRLS, None)]
    for role in (Role.OPERATOR, Role.AUDITOR, Role.CONSUMER, Role.REQUESTER):
        problem(world.as_(world.token(role)).post(f"{API}/publications", json={}), 403, "forbidden")
    made = world.local.post(f"{API}/publications", json={})
    assert made.status_code == 201
    assert {row["stream"] for row in made.json()["items"]} == {TRUST, CRLS}
    assert world.local.post(f"{API}/publications", json={}).json() == {"items": []}
    for _ in range(2):
        revoke(world)
        assert [row["stream"] for row in world.local.post(f"{API}/publications", json={}).json()["items"]] == [CRLS]
    consumers.add(world.product.lifecycle, rig.ADMIN, ConsumerPlan("edge"))
    auditor = world.as_(world.token(Role.AUDITOR))
    newest = fetched(world.nobody, CRLS)
    row = next(row for row in auditor.get(f"{API}/streams").json()["items"] if row["stream"] == CRLS)
    assert (row["consumers"], row["current"], row["never"]) == (1, 0, 1)
    assert (row["newest"]["version"], row["newest"]["sha256"]) == (newest.version, newest.sha256)
    page = auditor.get(f"{API}/publications", params={"stream": CRLS, "limit": 2}).json()
    rest = auditor.get(f"{API}/publications", params={"stream": CRLS, "limit": 2, "cursor": page["next"]}).json()
    versions = [one["version"] for one in page["items"] + rest["items"]]
    assert (len(versions), versions, rest["next"]) == (3, sorted(versions, reverse=True), None)
    assert versions[0] == newest.version
    assert auditor.get(f"{API}/publications", params={"stream": "none"}).json() == {"items": [], "next": None}
    problem(auditor.get(f"{API}/publications"), 400, "bad-request")


def test_anchors_of_another_trust_domain(published: World) -> None:
    """Set whole, shown, published to whoever needs them, and kept while somebody does."""
    one, two = (pem_certificate(make(f"Partner {number}", is_ca=True).der) for number in (1, 2))
    admin = published.as_(published.token(Role.ADMIN))
    path = f"{API}/anchors/partner.example"
    problem(admin.get(path), 404, "unknown-trust-domain")
    put = admin.put(path, json={"certificates": one})
    assert [row["trust_domain"] for row in put.raise_for_status().json()["items"]] == ["partner.example"]
    row = put.json()["items"][0]
    assert (row["subject"], row["added_by"]) == ("CN=Partner 1", "token:admin-1")
    assert row["sha256"] == sha256(x509.load_pem_x509_certificate(one.encode()).public_bytes(Encoding.DER)).hexdigest()
    assert admin.get(f"{API}/anchors").json() == {"items": [{"trust_domain": "partner.example"}], "next": None}
    publish(published.product)
    assert published.nobody.get("/bundles/partner.example/bundle.pem").text == one
    before = published.nobody.get("/publications/trust:partner.example").headers["x-publication-version"]
    assert len(admin.put(path, json={"certificates": one + two}).json()["items"]) == 2
    publish(published.product)
    assert published.nobody.get("/publications/trust:partner.example").headers["x-publication-version"] > before
    needs = {"trust_domains": ["partner.example"]}
    consumers.add(published.product.lifecycle, rig.ADMIN, ConsumerPlan("far", needs=needs))
    assert "certwright consumer change" in problem(admin.delete(path), 409, "trust-domain-needed")["hint"]
    consumers.remove(published.product.lifecycle, rig.ADMIN, "far")
    assert admin.delete(path).json() == {"removed": "partner.example"}
    problem(admin.delete(path), 404, "unknown-trust-domain")


def test_what_is_no_anchor_is_refused(world: World) -> None:
    """Leaves, private keys, nonsense, our own domain, no domain at all; and by whom it is not for."""
    leaf = pem_certificate(make("leaf.example").der)
    root = pem_certificate(make("Partner", is_ca=True).der)
    path = f"{API}/anchors/partner.example"
    for wrong in (leaf, root + leaf, "nonsense", "", root + key_pem(rig.pooled_key()), root[:80]):
        document = problem(world.local.put(path, json={"certificates": wrong}), 400, "bad-anchor")
        assert "BEGIN" not in json.dumps(document)
    problem(world.local.put(f"{API}/anchors/{rig.DOMAIN}", json={"certificates": root}), 400, "own-trust-domain")
    problem(world.local.put(f"{API}/anchors/Bad_", json={"certificates": root}), 400, "bad-trust-domain")
    for role in (Role.OPERATOR, Role.AUDITOR, Role.CONSUMER):
        problem(world.as_(world.token(role)).put(path, json={"certificates": root}), 403, "forbidden")
    assert world.local.get(f"{API}/anchors").json()["items"] == []


def test_a_delta_list_is_where_the_complete_one_says(published: World) -> None:
    """What was revoked since the complete list, which names the place; the plain listener serves it, too."""
    complete = x509.load_der_x509_crl(published.nobody.get("/crl/issuing-1.crl").content)
    (place,) = complete.extensions.get_extension_for_class(x509.FreshestCRL).value
    (url,) = place.full_name or ()
    path = url.value.removeprefix(rig.PUBLIC_URL)
    revoke(published)
    publish(published.product)
    client = published.as_(app=create_public_app(published.product))
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pkix-crl"), answer.text
    delta = x509.load_der_x509_crl(answer.content)
    based = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator).value.crl_number
    assert based == complete.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert client.head(path).status_code == 200


def test_waiting_survives_a_store_that_is_away(published: World, pool: ThreadPoolExecutor) -> None:
    """A look that fails ends nobody's waiting."""
    version = fetched(published.nobody, CRLS).version
    arrivals, failed = arrivals_of(published), threading.Event()
    looks = arrivals._newest

    def failing(streams: list[str]) -> Any:
        if not failed.is_set():
            failed.set()
            raise Unavailable("the store is away")
        return looks(streams)

    arrivals._newest = failing  # type: ignore[method-assign]
    waiting = pool.submit(asking(published, after=version, wait=60))
    wait_until(failed.is_set)
    revoke(published)
    publish(published.product)
    assert waiting.result(60).status_code == 200
