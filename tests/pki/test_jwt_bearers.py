"""Callers whom somebody else vouches for: believed for what the settings grant, and for nothing else."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import threading
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from ca import clock
from ca.access import Role
from ca.errors import Misconfigured, Unavailable
from pki.jwt_keys import ASK_AGAIN
from pki.product import Product
from pki.settings import make_settings
from pki.web import jwt_bearers
from renewers.distribution import published
from tests.pki.conftest import API, World, bearer, certwright, csr, problem, wish
from tests.provider import Provider, as_jwk, make_key, providing, text
from tests.source import ROOT
from tests.tokens import AUDIENCE, CLUSTER, FORGE, cluster_in, entry, job, jwks, key_of, public, service_account, signed

ME = f"{API}/me"
OWN = "uri:spiffe://example.internal/ns/payments/sa/api"
ANOTHERS = "uri:spiffe://example.internal/ns/billing/sa/api"
Open = Callable[..., World]


@pytest.fixture
def open_with(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the installation with issuers in its settings."""
    with asyncio.Runner() as loop:
        opened: list[Product] = []

        def make(*entries: dict[str, Any]) -> World:
            monkeypatch.setenv("CERTWRIGHT_IDENTITY__JWT", json.dumps(entries))
            opened.append(Product.open(state))
            return World(opened[-1], loop)

        yield make
        for product in opened:
            product.close()


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Provider]:
    """A CI system that serves its keys."""
    with providing(tmp_path) as provider:
        provider.key, provider.algorithm, provider.kid = key_of(FORGE), "ES256", "f-1"
        yield provider


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the seconds go by that keys are kept for."""
    moment = [clock.monotonic()]
    monkeypatch.setattr(clock, "monotonic", lambda: moment[0])

    def forward(seconds: float) -> None:
        moment[0] += seconds

    return forward


def served_by(provider: Provider, **more: Any) -> dict[str, Any]:
    """What the settings say of it."""
    return entry("forge", FORGE, jwks_url=f"{provider.url}/keys", ca_file=str(provider.ca_file), **more)


def of_job(**changes: Any) -> str:
    """The token of a job."""
    return signed(job(**changes), "f-1", key=key_of(FORGE), typ="JWT")


def test_a_service_account_is_issued_what_its_namespace_is_and_nothing_else(state: Path, open_with: Open) -> None:
    """Claims are variables of the profile; the ledger says who it was; it sees and renews its own, and no other's."""
    world = open_with(cluster_in(state))
    with world.as_(bearer(signed(service_account()))) as client:
        me = client.get(ME).json()
        assert (me["identity"], me["role"]) == ("jwt:cluster:system:serviceaccount:payments:api", "requester")
        assert (me["profiles"], me["attributes"]) == (["mesh"], {"namespace": "payments", "node": "node-1"})
        made = client.post(f"{API}/certificates", json=wish(OWN)).raise_for_status().json()
        reasons = problem(client.post(f"{API}/certificates", json=wish(ANOTHERS)), 422, "policy-refused")["reasons"]
        assert [reason["code"] for reason in reasons] == ["name-not-allowed"]
        reasons = problem(
            client.post(f"{API}/certificates", json=wish("localhost", profile="server")), 422, "policy-refused"
        )["reasons"]
        assert [reason["code"] for reason in reasons] == ["profile-not-allowed"]
        client.post(f"{API}/certificates/{made['serial']}/renew", json={"csr": csr(place=1)}).raise_for_status()
        assert client.get(f"{API}/certificates/{made['serial']}").json()["requested_by"] == me["identity"]
        problem(client.get(f"{API}/tokens"), 403, "forbidden")
    world.product.settle()
    entries = world.local.get(f"{API}/ledger/entries").json()["items"]
    by = [each["entry"]["by"] for each in entries if each["entry"]["action"] == "certificate-issued"]
    assert by[-2:] == [me["identity"]] * 2
    other = world.as_(bearer(signed(service_account(account="web"))))
    problem(other.get(f"{API}/certificates/{made['serial']}"), 403, "not-yours")


def _hmac(form: Encoding, said: dict[str, Any]) -> str:
    key = key_of(CLUSTER).public_key().public_bytes(form, PublicFormat.SubjectPublicKeyInfo)
    body = ".".join(text(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "c-1"}, said))
    return f"{body}.{text(hmac.new(key, body.encode(), sha256).digest())}"


def _none(**header: Any) -> str:
    return ".".join([*(text(json.dumps(part).encode()) for part in ({"kid": "c-1", **header}, service_account())), ""])


def _twice() -> str:
    said = json.dumps(service_account())
    content = f'{said[:-1]}, "sub": "system:serviceaccount:billing:api"}}'.encode()
    import jwt

    return jwt.PyJWS().encode(content, key_of(CLUSTER), "ES256", {"kid": "c-1"})  # type: ignore[arg-type]


EVIL = make_key("ES256")
FORGED: dict[str, Callable[[], str]] = {
    "no signature": lambda: _none(alg="none"),
    "no signature, spelt otherwise": lambda: _none(alg="nOnE"),
    "a MAC by the public key, PEM": lambda: _hmac(Encoding.PEM, service_account()),
    "a MAC by the public key, DER": lambda: _hmac(Encoding.DER, service_account()),
    "another algorithm, though the key is the issuer's": lambda: signed(
        service_account(), "c-rsa", key=key_of(CLUSTER, "RS256"), algorithm="RS256"
    ),
    "a key that comes along": lambda: signed(service_account(), key=EVIL, jwk=as_jwk(EVIL, "ES256", "c-1")),
    "somebody's key under the issuer's name": lambda: signed(service_account(), key=EVIL),
    "an unknown key": lambda: signed(service_account(), "c-9", key=EVIL),
    "another issuer's key and its kid": lambda: signed(service_account(), "f-1", key=key_of(FORGE)),
    "another issuer's key": lambda: signed(service_account(), key=key_of(FORGE)),
    "this issuer's key for another issuer": lambda: signed(job(), "c-1"),
    "an unknown issuer": lambda: signed(service_account(iss="https://evil.example")),
    "an issuer with a slash more": lambda: signed(service_account(iss=f"{CLUSTER}/")),
    "several issuers": lambda: signed(service_account(iss=[CLUSTER])),
    "no issuer": lambda: signed(service_account(iss=None)),
    "another audience": lambda: signed(service_account(aud=["https://kubernetes.default.svc"])),
    "another audience besides": lambda: signed(service_account(aud=[AUDIENCE, "vault"])),
    "no audience": lambda: signed(service_account(aud=None)),
    "expired": lambda: signed(service_account(exp=clock.timestamp() - 61)),
    "without an end": lambda: signed(service_account(exp=None)),
    "good for a year": lambda: signed(service_account(exp=clock.timestamp() + 31_536_000)),
    "not yet": lambda: signed(service_account(nbf=clock.timestamp() + 90)),
    "made tomorrow": lambda: signed(service_account(iat=clock.timestamp() + 90)),
    "about nobody": lambda: signed(service_account(sub=None)),
    "about somebody who cannot be shown": lambda: signed(service_account(sub="system:serviceaccount:payments:api\n")),
    "of another kind": lambda: signed(service_account(), typ="logout+jwt"),
    "with an extension": lambda: signed(service_account(), crit=["b64"], b64=False),
    "saying something twice": _twice,
    "huge": lambda: signed(service_account(more="x" * 16_384)),
    "a header that is deep": lambda: f"{text(b'[' * 9000)}.{text(b'{}')}.x",
    "claims that are deep": lambda: f"{text(b'{}')}.{text(b'[' * 9000)}.x",
    "cut": lambda: signed(service_account())[:-1],
    "without a signature's dot": lambda: signed(service_account()).rpartition(".")[0],
    "nothing but dots": lambda: "..",
    "two in one header": lambda: f"{signed(service_account())}, Bearer {signed(service_account())}",
}


def test_what_is_forged_is_refused_plainly_and_leaves_nothing(
    state: Path, open_with: Open, forge: Provider, subtests: pytest.Subtests
) -> None:
    """Row 26 of the field's failures and more: 401, what to do, no certificate, no secret in the log or the answer."""
    cluster = cluster_in(state)
    (state / "cluster.json").write_bytes(jwks(public(CLUSTER, "c-1"), public(CLUSTER, "c-rsa", "RS256")))
    world = open_with(cluster, served_by(forge))
    assert world.as_(bearer(signed(service_account()))).get(ME).status_code == 200
    assert world.as_(bearer(of_job())).get(ME).status_code == 200
    before = world.counts()
    for name, make in FORGED.items():
        with subtests.test(name), capture_logs() as logs:
            token = make()
            answer = world.as_(bearer(token)).post(f"{API}/certificates", json=wish(OWN))
            document = problem(answer, 401, "bad-jwt")
            assert document["hint"]
            secrets = [part for part in token.split(".") if len(part) > 40]
            assert not [part for part in secrets if part in answer.text + repr(logs)]
            assert logs
    assert world.counts() == before
    assert forge.asked["/keys"] == 1


def test_one_token_is_one_and_makes_up_for_nothing(state: Path, open_with: Open) -> None:
    """Two headers, a token beside a certificate that does not hold, a token of ours that has dots."""
    world = open_with(cluster_in(state))
    good, ours = signed(service_account()), world.secret(Role.ADMIN)
    for pair in ((good, ours), (ours, good), (good, good), (ours, ours)):
        headers = [("Authorization", f"Bearer {each}") for each in pair]
        problem(world.nobody.get(ME, headers=headers), 401, "unauthenticated")
    holder = world.holder()
    client = world.as_(holder.credential)
    assert client.get(ME, headers=bearer(good).headers).json()["identity"].startswith("jwt:")
    world.local.post(f"{API}/certificates/{holder.serial}/revoke", json={}).raise_for_status()
    problem(client.get(ME, headers=bearer(good).headers), 401, "certificate-not-valid")
    problem(world.as_(bearer(f"{ours}.")).get(ME), 401, "bad-jwt")


def test_nothing_is_granted_that_the_settings_do_not_say(
    state: Path, open_with: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer without grants lets nobody do anything, not even ask who it is; nor do grants that do not fit."""
    monkeypatch.setenv("CERTWRIGHT_LIMITS__ANONYMOUS_BURST", "9")
    monkeypatch.setenv("CERTWRIGHT_LIMITS__ANONYMOUS_PER_SECOND", "0.001")
    world = open_with(cluster_in(state, grants=[]), entry("forge", FORGE, jwks_file="cluster.json"))
    (state / "cluster.json").write_bytes(jwks(public(CLUSTER, "c-1"), public(FORGE, "f-1")))
    before = world.counts()
    for _ in range(4):
        document = problem(world.as_(bearer(signed(service_account()))).get(ME), 403, "no-role")
        assert "certwright identity explain" in document["hint"]
    for changes in ({"sub": "repo:acme/payments:ref:refs/heads/feature"}, {"ref_protected": "false"}):
        problem(world.as_(bearer(of_job(**changes))).get(ME), 403, "no-role")
    problem(world.as_(bearer(of_job(sub="repo:evil/acme/payments:ref:refs/heads/main"))).get(ME), 403, "no-role")
    problem(world.as_(bearer(of_job(sub="repo:acme/a.b:ref:refs/heads/main"))).get(ME), 403, "no-role")
    assert world.as_(bearer(of_job())).get(ME).json()["attributes"] == {"namespace": "payments"}
    assert world.as_(bearer(of_job(sub="ada", groups=["x", "pki-audit"]))).get(ME).json()["role"] == "auditor"
    problem(world.as_(bearer(signed(service_account()))).get(ME), 403, "no-role")
    problem(world.as_(bearer(signed(service_account()))).get(ME), 429, "rate-limited")  # strangers' bucket is empty
    assert world.counts() == before


def test_its_limits_are_its_own(state: Path, open_with: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bucket for one identity, whichever token it shows."""
    monkeypatch.setenv("CERTWRIGHT_LIMITS__BURST", "3")
    monkeypatch.setenv("CERTWRIGHT_LIMITS__PER_SECOND", "0.001")
    world = open_with(cluster_in(state))
    for number in range(3):
        assert world.as_(bearer(signed(service_account(jti=str(number))))).get(ME).status_code == 200
    assert (
        "serviceaccount:payments:api"
        in problem(world.as_(bearer(signed(service_account()))).get(ME), 429, "rate-limited")["detail"]
    )
    assert world.as_(bearer(signed(service_account(account="web")))).get(ME).status_code == 200


def test_keys_are_asked_for_where_the_settings_say_and_no_more_often(
    open_with: Open, forge: Provider, tick: Callable[[float], None]
) -> None:
    """Once, whatever a token names; a new key is known after the floor, a withdrawn one out with the old ones."""
    world = open_with(served_by(forge, refresh="5m"))
    client = world.as_(bearer(of_job()))
    assert [client.get(ME).status_code for _ in range(3)] == [200, 200, 200]
    for number in range(20):
        evil = signed(job(), f"k-{number}", key=EVIL, jku=f"{forge.url}/evil", x5u=f"{forge.url}/evil")
        problem(world.as_(bearer(evil)).get(ME), 401, "bad-jwt")
    assert forge.asked == {"/keys": 1}
    new = signed(job(), "f-2", key=key_of(FORGE, place=2))
    forge.key, forge.kid = key_of(FORGE, place=2), "f-2"
    assert client.get(ME).status_code == 200  # withdrawn, and nobody knows
    tick(ASK_AGAIN)
    assert world.as_(bearer(new)).get(ME).status_code == 200
    problem(client.get(ME), 401, "bad-jwt")
    assert forge.asked == {"/keys": 2}
    forge.key, forge.kid = key_of(FORGE), "f-1"
    tick(300)
    problem(world.as_(bearer(new)).get(ME), 401, "bad-jwt")
    assert forge.asked == {"/keys": 3}


@pytest.mark.parametrize(
    "spoilt",
    [
        (500, {}, b"no"),
        (401, {}, b""),
        (302, {"Location": "/evil"}, b""),
        (200, {}, b"<html>"),
        (200, {}, b'{"keys": {}}'),
        (200, {}, b'{"keys": [' + b" " * (1 << 18) + b"]}"),
        (200, {}, b"[" * 9000),
    ],
    ids=["500", "401", "302", "html", "no list", "large", "deep"],
)
def test_without_keys_nobody_is_let_in(
    open_with: Open, forge: Provider, tick: Callable[[float], None], spoilt: tuple[int, dict[str, str], bytes]
) -> None:
    """503 that says whose keys are missing; the issuer is left alone for a while, and asked again then."""
    world = open_with(served_by(forge))
    client = world.as_(bearer(of_job()))
    forge.spoil["/keys"] = spoilt
    for _ in range(5):
        assert "forge" in problem(client.get(ME), 503, "identity-keys-unavailable")["detail"]
    assert forge.asked == {"/keys": 1}
    del forge.spoil["/keys"]
    tick(jwt_bearers.PAUSE)
    assert client.get(ME).status_code == 200
    forge.spoil["/keys"] = spoilt
    tick(150)  # half of the time: one attempt, and what is known is good until its end
    with capture_logs() as logs:
        assert [client.get(ME).status_code for _ in range(3)] == [200, 200, 200]
    assert [each["issuer"] for each in logs if each["event"] == "identity-keys"] == ["forge"]
    assert forge.asked == {"/keys": 3}
    tick(150)
    problem(client.get(ME), 503, "identity-keys-unavailable")


def test_a_slow_issuer_makes_nobody_else_wait(
    open_with: Open, forge: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its keys are fetched, all others are answered; nobody is let in by what is not known yet."""
    asked, answers = threading.Event(), threading.Event()
    original = jwt_bearers.source

    def slow(*arguments: Any) -> Callable[[], Any]:
        fetch = original(*arguments)

        def wait() -> Any:
            asked.set()
            if not answers.wait(20):
                raise Unavailable("the test was never done")
            return fetch()

        return wait

    monkeypatch.setattr(jwt_bearers, "source", slow)
    world = open_with(served_by(forge))
    ours = world.token(Role.AUDITOR)
    with asyncio.Runner() as loop:

        async def both() -> tuple[int, int, list[int]]:
            waiting = [asyncio.create_task(_me(world, of_job())) for _ in range(8)]
            while not asked.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.001)
            other = await _me(world, ours.headers["Authorization"].removeprefix("Bearer "))
            before = sum(task.done() for task in waiting)
            answers.set()
            return other, before, await asyncio.gather(*waiting)

        assert loop.run(both()) == (200, 0, [200] * 8)
    assert forge.asked == {"/keys": 1}


async def _me(world: World, token: str) -> int:
    import httpx

    transport = httpx.ASGITransport(app=world.app, raise_app_exceptions=False, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="https://ca.example.internal") as client:
        return (await client.get(ME, headers={"Authorization": f"Bearer {token}"})).status_code


def test_keys_may_be_for_those_with_a_token(
    state: Path, open_with: Open, forge: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster shows its keys to who has a token of its own, which is read again each time and told to nobody else."""
    (state / "here").write_text("s3cr3t.of.ours\n")
    plain = Provider.answer

    def guarded(provider: Provider, path: str, fields: Any, authorization: str) -> tuple[int, Any]:
        return plain(provider, path, fields, "") if authorization == "Bearer s3cr3t.of.ours" else (403, {})

    monkeypatch.setattr(Provider, "answer", guarded)
    world = open_with(served_by(forge, token_file="here"))
    assert world.as_(bearer(of_job())).get(ME).status_code == 200
    with capture_logs() as logs:
        closed = open_with_another(world, served_by(forge))
        assert "token_file" in problem(closed.as_(bearer(of_job())).get(ME), 503, "identity-keys-unavailable")["hint"]
    assert "s3cr3t" not in repr(logs)


def open_with_another(world: World, *entries: dict[str, Any]) -> World:
    """The same installation, whose settings name others."""
    settings = make_settings({"identity": {"jwt": list(entries)}, "installation": {"domain": "example.internal"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CERTWRIGHT_IDENTITY__JWT")
        settings = make_settings({"identity": {"jwt": list(entries)}})
    world.product.settings = settings
    return World(world.product, world._loop)


def test_a_consumer_may_be_whom_an_issuer_vouches_for(state: Path, open_with: Open) -> None:
    """A service account says what its proxy holds, and another of its namespace does not."""
    grants = [{"where": {"sub": "system:serviceaccount:edge:*"}, "role": "consumer"}]
    world = open_with(cluster_in(state, grants=grants))
    who = "jwt:cluster:system:serviceaccount:edge:proxy"
    world.local.post(f"{API}/consumers", json={"name": "edge", "identities": [who]}).raise_for_status()
    world.local.post(f"{API}/publications", json={}).raise_for_status()
    (held,) = world.local.get(f"{API}/consumers/edge").json()["holds"][:1]
    with world.installation.store.read() as connection:
        newest = published.head(connection, held["stream"])
    assert newest is not None
    report = {"stream": newest.stream, "version": newest.version, "sha256": newest.sha256, "at": clock.timestamp()}
    path = f"{API}/consumers/edge/acknowledgements"
    others = world.as_(bearer(signed(service_account(namespace="edge", account="other"))))
    assert others.post(path, json=report).status_code == 403
    own = world.as_(bearer(signed(service_account(namespace="edge", account="proxy"))))
    assert own.post(path, json=report).raise_for_status().json()["proved_by"] == who


def test_a_jwt_signs_nobody_in_for_longer_than_it_lives(state: Path, open_with: Open) -> None:
    """No link to sign in with, though a token of ours with this role could make one."""
    world = open_with(cluster_in(state))
    problem(world.as_(bearer(signed(service_account()))).post(f"{API}/sign-in-links", json={}), 403, "no-link-by-jwt")


def test_it_ends_with_its_time_and_with_its_key(state: Path, open_with: Open, tick: Callable[[float], None]) -> None:
    """An hour later it is nobody's; a key that is taken out of the file counts for nothing two seconds later."""
    world = open_with(cluster_in(state))
    client = world.as_(bearer(signed(service_account())))
    assert client.get(ME).status_code == 200
    with clock.pinned(clock.now() + timedelta(seconds=3661)):
        problem(client.get(ME), 401, "bad-jwt")
    (state / "cluster.json").write_bytes(jwks(public(CLUSTER, "c-2", place=2)))
    tick(2)
    problem(client.get(ME), 401, "bad-jwt")


def test_explain_says_what_a_token_is_taken_for_and_why(state: Path, open_with: Open) -> None:
    """For who may read tokens: the grant, the variables, each condition; what is wrong, with what to do."""
    world = open_with(cluster_in(state))
    ask = world.as_(world.token(Role.AUDITOR))

    def explained(token: str) -> dict[str, Any]:
        return dict(ask.post(f"{API}/identity/explain", json={"token": token}).raise_for_status().json())

    good = explained(signed(service_account(**{"kubernetes.io": {"namespace": "payments"}})) + "\n")
    assert (good["is_let_in"], good["grant"], good["role"]) == (True, 1, "requester")
    assert (good["attributes"], good["unset"]) == ({"namespace": "payments"}, {"node": "/kubernetes.io/node/name"})
    for odd in (["payments"], "pay/ments", "*", {"a": 1}, "", None):
        assert explained(signed(service_account(namespace=odd, sub="system:serviceaccount:a:b")))["attributes"] == {
            "node": "node-1"
        }
    person = explained(signed(service_account(sub="ada")))
    assert (person["is_let_in"], person["identity"], person["refused"]["code"]) == (False, "jwt:cluster:ada", "no-role")
    wanted = {"grant": 1, "claim": "sub", "pattern": "system:serviceaccount:*:*", "said": '"ada"', "fits": False}
    assert person["conditions"] == [wanted]
    assert explained(signed(service_account(aud="vault")))["refused"]["code"] == "bad-jwt"
    assert explained(world.secret(Role.ADMIN))["refused"]["code"] == "bad-jwt"
    (issuer,) = ask.get(f"{API}/identity/issuers").raise_for_status().json()
    assert (issuer["name"], issuer["keys"], issuer["failure"]) == ("cluster", 1, None)


def test_the_command_explains_what_it_reads(state: Path) -> None:
    """From a file or standard input, never from its arguments; exit code 1 where nobody is let in."""
    env = {"CERTWRIGHT_IDENTITY__JWT": json.dumps([cluster_in(state)]), "CERTWRIGHT_STATE": str(state)}
    token = signed(service_account())
    read = certwright("identity", "explain", "-", stdin=token, **env)
    assert (read.returncode, token in read.stdout + read.stderr) == (0, False)
    assert "{caller.namespace} is payments" in read.stderr
    (state / "token").write_text(signed(service_account(aud="vault")))
    refused = certwright("identity", "explain", state / "token", "--json", **env)
    assert (refused.returncode, json.loads(refused.stdout)["refused"]["code"]) == (1, "bad-jwt")
    assert "cluster.json" in certwright("identity", "issuers", **env).stdout


@pytest.mark.parametrize(
    "change",
    [
        {"algorithms": []},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": ["RS256", "PS256"]},
        {"audience": ""},
        {"issuer": ""},
        {"jwks_file": ""},
        {"jwks_url": "https://a.example/keys"},
        {"jwks_file": "", "jwks_url": "http://127.0.0.1/keys"},
        {"jwks_file": "", "jwks_url": "https://a:b@a.example/keys"},
        {"refresh": "1d"},
        {"grants": [{"where": {}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "**"}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "*:*"}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "a{b}"}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "a*b*"}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "a:**:b"}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "a:{b}", "x": "c:{b}"}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "a:{b}"}, "role": "auditor", "attributes": {"b": "sub"}}]},
        {"grants": [{"where": {"/a~2": "a"}, "role": "auditor"}]},
        {"grants": [{"where": {"sub": "a"}, "role": "requester"}]},
        {"grants": [{"where": {"sub": "a"}, "role": "holder"}]},
        {"grants": [{"where": {"sub": "a"}, "role": "auditor", "attributes": {"Name": "sub"}}]},
    ],
    ids=str,
)
def test_settings_that_would_believe_too_much_are_refused(change: dict[str, Any]) -> None:
    """Named when they are read, not when somebody comes by them."""
    good = {**entry("cluster", CLUSTER), "jwks_file": "keys.json"}
    assert make_settings({"identity": {"jwt": [good]}}).identity.jwt
    with pytest.raises(Misconfigured, match=r"identity\.jwt"):
        make_settings({"identity": {"jwt": [good | change]}})


def test_each_issuer_is_named_once() -> None:
    """Which of two entries counts would depend on their order."""
    good = {**entry("cluster", CLUSTER), "jwks_file": "keys.json"}
    for other in (good | {"name": "other"}, good | {"issuer": "other"}):
        with pytest.raises(Misconfigured, match="of its own"):
            make_settings({"identity": {"jwt": [good, other]}})


@pytest.mark.parametrize("page", ["README.md", "pki/README.md"])
def test_what_the_pages_recommend_can_be_set(page: str) -> None:
    """The entries there are read as they stand."""
    blocks = re.findall(r"(?ms)^```\n(\[\[identity\.jwt\]\].*?)^```", (ROOT / page).read_text())
    for block in blocks:
        assert make_settings(tomllib.loads(block)).identity.jwt
    assert blocks
