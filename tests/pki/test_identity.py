"""Who is asking: a certificate byte for byte, looked up again each second, held to its rate, renewed as it was or less.

Rows 3, 10, 13 and 15 of the field's failures: proof for one certificate never serves for another, a revoked one serves
for nothing, and nobody renews into a larger identity.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from ca import clock, recording, revocation, signing, tokens
from ca.access import Role
from ca.errors import RateLimited
from ca.issuance import issuing
from ca.x509.revocation_list import RevocationReason
from pki.product import Product
from pki.web import identity, limits
from pki.web.limits import RateLimiter
from tests import rig
from tests.pki.conftest import (
    API,
    LOCALLY,
    NOBODY,
    Credential,
    Server,
    World,
    bearer,
    csr,
    presenting,
    problem,
    wish,
    write_pair,
)

ME = f"{API}/me"
JSON = {"content-type": "application/json"}
Worlds = Callable[..., AbstractContextManager[World]]


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the seconds go by that caches and buckets count."""
    moment = [clock.monotonic()]
    monkeypatch.setattr(clock, "monotonic", lambda: moment[0])

    def forward(seconds: float) -> None:
        moment[0] += seconds

    return forward


@pytest.fixture
def world_with(state: Path, monkeypatch: pytest.MonkeyPatch) -> Worlds:
    """Opens the installation with other settings."""

    @contextmanager
    def make(**settings: object) -> Iterator[World]:
        for name, value in settings.items():
            monkeypatch.setenv(f"CERTWRIGHT_{name}", json.dumps(value))
        with asyncio.Runner() as loop, Product.open(state) as product:
            yield World(product, loop)

    return make


def both(one: Credential, other: Credential) -> Credential:
    """Two credentials at once."""
    return Credential({**one.headers, **other.headers}, {**one.scope, **other.scope})


def revoke(world: World, serial: str) -> None:
    """Revoke a certificate as another replica would: this process is not told."""
    revocation.revoke(world.installation, rig.ADMIN, serial, RevocationReason.SUPERSEDED)


def test_an_identity_is_the_whole_certificate(world: World) -> None:
    """Nobody is known by a serial number or by names: with one bit changed anywhere, a certificate is nobody's."""
    holder = world.holder()
    assert world.as_(holder.credential).get(ME).json()["identity"] == f"certificate:{holder.serial}"
    refused = 0
    for place in range(1, 41):
        changed = bytearray(holder.issued.certificate)
        changed[-place] ^= 1
        try:
            _parsed(bytes(changed))
        except ValueError:
            continue  # TLS would not have got that far
        problem(world.as_(presenting(bytes(changed))).get(ME), 401, "unauthenticated")
        refused += 1
    assert refused > 20
    assert world.as_(holder.credential).get(ME).status_code == 200


def test_an_abandoned_certificate_is_nobodys(world: World) -> None:
    """A certificate that was signed while its process died is listed, and is no credential for who caught it."""
    decision = rig.decide(world.installation, "email:ada@example.internal", profile="client")
    world.installation.store.write(next(issuing(decision, world.installation)))  # type: ignore[arg-type]
    with world.installation.store.read() as connection:
        (tbs,) = connection.exec_driver_sql("SELECT tbs FROM intent").one()
    caught = signing.seal(tbs, world.installation.authorities.issuer_for("issuing"))[1]
    problem(world.as_(presenting(caught)).get(ME), 401, "unauthenticated")
    assert recording.abandon_intents(world.installation.store, older_than=clock.timestamp() + 1) == 1
    (abandoned,) = world.local.get(f"{API}/certificates", params={"state": "abandoned"}).json()["items"]
    assert (abandoned["serial"], abandoned["certificate"]) == (f"{_parsed(caught).serial_number:x}", None)
    problem(world.as_(presenting(caught)).get(ME), 401, "unauthenticated")


def _parsed(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def test_a_holder_is_remembered_for_a_second_at_most(world: World, tick: Callable[[float], None]) -> None:
    """Another replica's revocation counts here within a second, even for who asks all the time."""
    holder = world.holder()
    client = world.as_(holder.credential)
    assert client.get(ME).status_code == 200
    revoke(world, holder.serial)
    answers = []
    for _ in range(9):
        answers.append(client.get(ME).status_code)
        tick(0.125)
    assert answers[-1] == 401
    assert answers == sorted(answers)


def test_a_token_is_remembered_for_a_second_at_most(world: World, tick: Callable[[float], None]) -> None:
    """The same for tokens."""
    client = world.as_(world.token(Role.AUDITOR, name="ci"))
    assert client.get(ME).status_code == 200
    tokens.revoke_token(world.installation, rig.ADMIN, "ci")
    answers = []
    for _ in range(9):
        answers.append(client.get(ME).status_code)
        tick(0.125)
    assert answers[-1] == 401
    assert answers == sorted(answers)


@pytest.mark.parametrize("by", ["serial", "key", "filter"])
def test_a_revocation_here_counts_at_once(world: World, tick: Callable[[float], None], by: str) -> None:
    """A certificate that is revoked through this server is out with the next request, however it was revoked."""
    holder = world.holder()
    client = world.as_(holder.credential)
    assert client.get(ME).status_code == 200
    key = world.local.get(f"{API}/certificates/{holder.serial}").json()["spki_sha256"]
    path, body = {
        "serial": (f"{holder.serial}/revoke", {}),
        "key": ("revocations", {"key": key}),
        "filter": ("revocations", {"filter": {"name": "email:ada@example.internal"}}),
    }[by]
    assert world.local.post(f"{API}/certificates/{path}", json=body).json()["serials"] == [holder.serial]
    problem(client.get(ME), 401, "certificate-not-valid")


def test_a_token_that_is_revoked_here_is_out_at_once(world: World, tick: Callable[[float], None]) -> None:
    """The same for tokens."""
    client = world.as_(world.token(Role.AUDITOR, name="ci"))
    assert client.get(ME).status_code == 200
    world.local.delete(f"{API}/tokens/ci").raise_for_status()
    problem(client.get(ME), 401, "unauthenticated")


def test_a_certificate_ends_with_its_last_second(world: World, tick: Callable[[float], None]) -> None:
    """Good through `notAfter` itself, and nobody's one second later."""
    holder = world.holder()
    client, end = world.as_(holder.credential), clock.from_timestamp(holder.issued.not_after)
    with clock.pinned(end):
        assert client.get(ME).status_code == 200
    tick(1)
    with clock.pinned(end + (clock.from_timestamp(1) - clock.from_timestamp(0))):
        problem(client.get(ME), 401, "certificate-not-valid")


def test_what_is_remembered_has_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many certificates come by, memory does not grow with them."""
    monkeypatch.setattr(identity, "MAX_REMEMBERED", 3)
    inner: Any = world.app
    while not hasattr(inner, "state"):
        inner = inner._app
    judge = inner.state.identity
    for number in range(8):
        assert world.as_(world.holder(f"email:u{number}@example.internal").credential).get(ME).status_code == 200
        assert len(judge._remembered) <= 3


def test_a_certificate_carries_the_role_that_settings_give_it(world_with: Worlds) -> None:
    """Profile and name both have to be the ones granted; then the role and its profiles hold, and nothing more."""
    grant = {"profile": "client", "name": "email:ops@example.internal", "role": "operator", "profiles": ["mesh"]}
    with world_with(IDENTITY__CERTIFICATES=[grant]) as world:
        ops = world.holder("email:ops@example.internal")
        me = world.as_(ops.credential).get(ME).json()
        assert (me["identity"], me["role"], me["profiles"]) == (f"certificate:{ops.serial}", "operator", ["mesh"])
        assert world.as_(ops.credential).post(f"{API}/certificates", json=wish()).status_code == 201
        refused = world.as_(ops.credential).post(f"{API}/certificates", json=wish("localhost", profile="server"))
        assert problem(refused, 422, "policy-refused")["reasons"][0]["code"] == "profile-not-allowed"
        for other in (
            world.holder("email:ops2@example.internal"),
            world.holder("ops.devices.example.internal", profile="device"),
        ):
            assert world.as_(other.credential).get(ME).json()["role"] == "holder"


@pytest.mark.parametrize("role", ["requester", "consumer", "auditor"])
def test_a_role_takes_nothing_away(world_with: Worlds, role: str) -> None:
    """Whoever holds a certificate renews and revokes that very certificate, whatever role it carries besides."""
    grant = {"profile": "client", "name": "email:ops@example.internal", "role": role, "profiles": ["mesh"]}
    with world_with(IDENTITY__CERTIFICATES=[grant]) as world:
        ops = world.holder("email:ops@example.internal")
        path = f"{API}/certificates/{ops.serial}/renew"
        assert world.as_(ops.credential).post(path, json={"csr": csr(place=61)}).status_code == 201


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
def test_a_token_for_one_profile_renews_no_other(world: World, role: Role) -> None:
    """The profiles that a token names bind it at both doors: what it may not issue it may not renew with a new key."""
    server, client = world.holder("localhost", profile="server"), world.as_(world.token(role, profiles=["mesh"]))
    answer = client.post(f"{API}/certificates", json=wish("localhost", profile="server"))
    problem(answer, 422, "policy-refused")
    answer = client.post(f"{API}/certificates/{server.serial}/renew", json={"csr": csr(place=62)})
    assert answer.status_code in (403, 422)


def test_a_bad_token_is_not_saved_by_a_good_certificate(world: World) -> None:
    """A credential that is presented and does not hold is refused, whatever else is presented."""
    client = world.as_(both(bearer("cw_000000000000_" + "A" * 43), world.holder().credential))
    problem(client.get(ME), 401, "unauthenticated")


def test_a_bad_certificate_is_not_saved_by_a_good_token(world: World) -> None:
    """The same the other way round: a revoked machine does not go on with a token that was left on it."""
    holder = world.holder()
    revoke(world, holder.serial)
    client = world.as_(both(world.token(Role.AUDITOR), holder.credential))
    problem(client.get(ME), 401, "certificate-not-valid")


def test_an_identity_is_held_to_its_rate(world_with: Worlds, tick: Callable[[float], None]) -> None:
    """At most a burst at once and the rate in the long run, each identity by itself; Retry-After says when."""
    with world_with(LIMITS__BURST=3, LIMITS__PER_SECOND=0.25) as world:
        ada, bob = world.as_(world.holder().credential), world.as_(world.token(Role.AUDITOR))
        assert [ada.get(ME).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
        answer = ada.get(ME)
        assert problem(answer, 429, "rate-limited")["hint"] == "try again in 4 s"
        assert answer.headers["retry-after"] == "4"
        assert bob.get(ME).status_code == 200
        tick(3.9)
        assert ada.get(ME).status_code == 429
        tick(0.2)
        assert [ada.get(ME).status_code for _ in range(2)] == [200, 429]
        tick(3600)
        assert [ada.get(ME).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_strangers_are_held_to_a_rate_by_address(world_with: Worlds, tick: Callable[[float], None]) -> None:
    """Guessing tokens costs the address that guesses, and no one else; whoever has an identity is not in its bucket."""
    with world_with(LIMITS__ANONYMOUS_BURST=3, LIMITS__ANONYMOUS_PER_SECOND=1) as world:
        guesses = [bearer(f"cw_{number:012x}_" + "A" * 43) for number in range(5)]
        assert [world.as_(guess).get(ME).status_code for guess in guesses] == [401, 401, 401, 429, 429]
        assert world.as_(guesses[0]).get(ME).headers["retry-after"] == "1"
        problem(world.as_(NOBODY).get(ME), 429, "rate-limited")
        elsewhere = Credential(scope={"client": ("192.0.2.8", 1)})
        problem(world.as_(elsewhere).get(ME), 401, "unauthenticated")
        assert world.as_(world.holder().credential).get(ME).status_code == 200
        tick(1)
        problem(world.as_(NOBODY).get(ME), 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/certificates", "/tokens"])
def test_nonsense_of_a_stranger_costs_it_too(world_with: Worlds, tick: Callable[[float], None], path: str) -> None:
    """A stranger who sends what cannot be read is asked who it is first, and is held to the same rate."""
    with world_with(LIMITS__ANONYMOUS_BURST=3, LIMITS__ANONYMOUS_PER_SECOND=1) as world:
        answers = [world.nobody.post(API + path, content=b"{", headers=JSON).status_code for _ in range(4)]
        assert answers == [401, 401, 401, 429]


def test_the_owner_is_not_held_up(world_with: Worlds) -> None:
    """Over the Unix socket there is no rate: whoever owns the state directory could do worse."""
    with world_with(LIMITS__BURST=1, LIMITS__ANONYMOUS_BURST=1) as world:
        assert {world.as_(LOCALLY).get(ME).status_code for _ in range(20)} == {200}


def test_buckets_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more callers than buckets the ones unseen for longest go, so a busy one is never forgiven."""
    monkeypatch.setattr(limits, "MAX_BUCKETS", 10)
    limiter = RateLimiter(0.001, 50)
    for number in range(50):
        limiter.take("busy")
        limiter.take(f"caller {number}")
    assert len(limiter._buckets) == 10
    with pytest.raises(RateLimited):
        limiter.take("busy")


@pytest.fixture
def ada(server: Server, tmp_path: Path) -> tuple[Path, Path]:
    """Somebody with two names, as a certificate file and a key file."""
    return server.holder(tmp_path / "ada", "email:ada@example.internal", "ada.clients.example.internal")


def serial_of(path: Path) -> str:
    """The serial number of the first certificate in a file."""
    return f"{x509.load_pem_x509_certificate(path.read_bytes()).serial_number:x}"


def names_of(answer: httpx.Response) -> list[str]:
    """The names of a certificate that was just issued."""
    assert answer.status_code == 201, answer.text
    certificate = x509.load_pem_x509_certificate(answer.json()["certificate"].encode())
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in san]


def test_a_holder_renews_itself_again_and_again(server: Server, ada: tuple[Path, Path], tmp_path: Path) -> None:
    """The successor has the same names, profile and subject, a key of its own, and renews itself in its turn."""
    holder = ada
    for number in range(3):
        serial, key = serial_of(holder[0]), rig.pooled_key(place=70 + number)
        with server.over_tls(holder=holder) as client:
            answer = client.post(f"{API}/certificates/{serial}/renew", json={"csr": csr(place=70 + number)})
            assert names_of(answer) == ["ada@example.internal", "ada.clients.example.internal"]
            assert answer.json()["profile"] == "client"
            assert client.get(f"{API}/certificates/{serial}").json()["state"] == "valid"
        holder = write_pair(tmp_path / str(number), answer.json()["certificate"] + answer.json()["chain"], key)
        with server.over_tls(holder=holder) as client:
            shown = client.get(f"{API}/certificates/{answer.json()['serial']}").json()
            assert (shown["renews"], shown["requested_by"]) == (serial, f"certificate:{serial}")
            assert shown["subject"] == "ada@example.internal"


def test_a_renewal_may_be_less(server: Server, ada: tuple[Path, Path]) -> None:
    """Fewer names and a shorter life are fine, whether they are asked for beside the request or in it."""
    with server.over_tls(holder=ada) as client:
        path = f"{API}/certificates/{serial_of(ada[0])}/renew"
        asked: tuple[dict[str, Any], ...] = (
            {"csr": csr(place=71), "names": ["email:ada@example.internal"], "lifetime": "1h"},
            {"csr": csr("email:ada@example.internal", place=71)},
        )
        for body in asked:
            assert names_of(client.post(path, json=body)) == ["ada@example.internal"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"names": ["email:ada@example.internal", "email:bob@example.internal"]}, "identity-widened"),
        ({"names": ["email:bob@example.internal"]}, "identity-widened"),
        ({"names": ["bob.clients.example.internal"]}, "identity-widened"),
        ({"csr": csr("email:bob@example.internal", place=71)}, "identity-widened"),
        ({"names": []}, "number-of-names"),
        ({"lifetime": "31d"}, "lifetime-not-allowed"),
    ],
)
def test_a_renewal_is_never_more(server: Server, ada: tuple[Path, Path], body: dict[str, Any], code: str) -> None:
    """Another name, no name, a longer life than the profile's: refused, though the profile allows each of the names."""
    with server.over_tls(holder=ada) as client:
        answer = client.post(f"{API}/certificates/{serial_of(ada[0])}/renew", json={"csr": csr(place=71), **body})
    assert code in [reason["code"] for reason in problem(answer, 422, "policy-refused")["reasons"]]


def test_a_renewal_has_no_say_about_profile_or_subject(server: Server, ada: tuple[Path, Path]) -> None:
    """There is no way to ask for another profile or a subject when renewing."""
    with server.over_tls(holder=ada) as client:
        for more in ({"profile": "server"}, {"subject": "CN=root"}):
            path = f"{API}/certificates/{serial_of(ada[0])}/renew"
            problem(client.post(path, json={"csr": csr(place=71), **more}), 400, "bad-request")


def test_a_certificate_is_proof_for_itself_alone(server: Server, ada: tuple[Path, Path], tmp_path: Path) -> None:
    """With one's own certificate nobody reads, renews or revokes another's, and neither with a requester's token."""
    bob = server.holder(tmp_path / "bob", "email:bob@example.internal", place=2)
    other = f"{API}/certificates/{serial_of(bob[0])}"
    with server.over_socket() as admin:
        body = {"name": f"requester-{tmp_path.name}"[:60], "role": "requester", "profiles": ["client"]}
        token = admin.post(f"{API}/tokens", json=body).raise_for_status().json()["token"]
        for client in (server.over_tls(holder=ada), server.over_tls(token)):
            with client:
                problem(client.get(other), 403, "not-yours")
                problem(client.post(f"{other}/renew", json={"csr": csr(place=72)}), 403, "not-yours")
                problem(client.post(f"{other}/revoke", json={"reason": "key-compromise"}), 403, "not-yours")
        assert admin.get(other).json()["state"] == "valid"
    with server.over_tls(holder=bob) as client:
        assert [item["serial"] for item in client.get(f"{API}/certificates").json()["items"]] == [serial_of(bob[0])]


def test_a_revoked_certificate_renews_nothing(server: Server, ada: tuple[Path, Path]) -> None:
    """Its holder may revoke it; with the next request on the same connection it is nobody, and has no successor."""
    path = f"{API}/certificates/{serial_of(ada[0])}"
    with server.over_tls(holder=ada) as client:
        assert client.post(f"{path}/revoke", json={"reason": "superseded"}).status_code == 200
        problem(client.post(f"{path}/renew", json={"csr": csr(place=73)}), 401, "certificate-not-valid")
    with server.over_socket() as admin:
        problem(admin.post(f"{path}/renew", json={"csr": csr(place=73)}), 409, "not-renewable")
        names = {"name": "ada.clients.example.internal", "limit": "500"}
        assert serial_of(ada[0]) not in {
            row["renews"] for row in admin.get(f"{API}/certificates", params=names).json()["items"]
        }


def test_a_compromised_key_is_not_renewed_into(server: Server, ada: tuple[Path, Path], tmp_path: Path) -> None:
    """A successor for a blocked key is refused, and so is one for a CA's own key."""
    with server.over_socket() as admin:
        doomed = admin.post(f"{API}/certificates", json=wish(place=74)).raise_for_status().json()
        body = {"reason": "key-compromise"}
        admin.post(f"{API}/certificates/{doomed['serial']}/revoke", json=body).raise_for_status()
    with server.over_tls(holder=ada) as client:
        answer = client.post(f"{API}/certificates/{serial_of(ada[0])}/renew", json={"csr": csr(place=74)})
    assert problem(answer, 422, "policy-refused")["reasons"][0]["code"] == "blocked-key"
