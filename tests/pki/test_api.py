"""The REST API: what each endpoint answers, and how it refuses. Whatever is sent, it is never an error of ours."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from ca import clock
from ca.access import Role
from ca.files import pem
from ca.founding import Plan, self_signed
from ca.keys.algorithms import KeyType, spki
from ca.ledger.checkpoint import Head, Verifier, open_head, sign_head
from ca.x509.bundle import pem_certificate
from tests import rig
from tests.pki.conftest import API, World, csr, key_pem, problem, routes, wish

HASH = "0" * 64
JSON = {"content-type": "application/json"}


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """A client with an admin's token."""
    return world.as_(world.token(Role.ADMIN))


@pytest.fixture
def requester(world: World) -> httpx.Client:
    """A client with a requester's token, for mesh and server."""
    return world.as_(world.token(Role.REQUESTER))


def issued(client: httpx.Client, *names: str, **more: Any) -> dict[str, Any]:
    """A certificate that was just issued."""
    return dict(client.post(f"{API}/certificates", json=wish(*names, **more)).raise_for_status().json())


def test_issuing_answers_with_a_certificate_that_chains_to_the_root(world: World, requester: httpx.Client) -> None:
    """201 with the certificate, its chain and every fact about it; and the request's key and names, nothing else."""
    answer = requester.post(f"{API}/certificates", json=wish(lifetime="2h"))
    assert answer.status_code == 201
    found = answer.json()
    certificate = x509.load_pem_x509_certificate(found["certificate"].encode())
    (issuing,) = x509.load_pem_x509_certificates(found["chain"].encode())
    certificate.verify_directly_issued_by(issuing)
    assert found["serial"] == f"{certificate.serial_number:x}"
    assert certificate.public_key() == rig.pooled_key(place=0).public_key()
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == [rig.WORKLOAD]
    shown = [found[name] for name in ("authority", "profile", "is_repeat", "ignored")]
    assert shown == ["issuing-1", "mesh", False, []]
    assert found["not_after"] == certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(hours=2, seconds=-1)


def test_the_requests_own_names_count_where_none_are_given(requester: httpx.Client) -> None:
    """Without `names`, those of the PKCS#10 request are judged and used."""
    body = {"profile": "mesh", "csr": csr(rig.WORKLOAD)}
    found = requester.post(f"{API}/certificates", json=body).raise_for_status().json()
    shown = requester.get(f"{API}/certificates/{found['serial']}").json()
    assert shown["names"] == [f"uri:{rig.WORKLOAD}"]
    elsewhere = {"profile": "mesh", "csr": csr("spiffe://example.internal/ns/billing/sa/api")}
    document = problem(requester.post(f"{API}/certificates", json=elsewhere), 422, "policy-refused")
    assert [reason["code"] for reason in document["reasons"]] == ["name-not-allowed"]


def test_what_is_not_copied_is_said(requester: httpx.Client) -> None:
    """Subject attributes and extensions that a request asks for are named in the answer, and not in the certificate."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Mallory")])
    wanted = [(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), False)]
    der = rig.make_csr(rig.WORKLOAD, subject=subject, extensions=wanted)
    text = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()
    found = requester.post(f"{API}/certificates", json={"profile": "mesh", "csr": text}).raise_for_status().json()
    assert found["ignored"] == ["subject organizationName", "extension extendedKeyUsage"]
    assert b"Mallory" not in x509.load_pem_x509_certificate(found["certificate"].encode()).public_bytes(Encoding.DER)


def _tampered() -> str:
    der = bytearray(rig.make_csr(rig.WORKLOAD))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


REFUSED_ISSUES: dict[str, tuple[dict[str, Any], int, str]] = {
    "no such profile": ({"profile": "nothing"}, 404, "unknown-profile"),
    "a profile of CAs": ({"profile": "sub-ca"}, 403, "not-a-leaf-profile"),
    "not a request": ({"csr": "hello"}, 400, "bad-csr"),
    "a damaged request": ({"csr": pem("CERTIFICATE REQUEST", b"0\x82").decode()}, 400, "bad-csr"),
    "two requests": ({"csr": csr() + csr()}, 400, "bad-csr"),
    "another's signature": ({"csr": _tampered()}, 400, "bad-csr"),
    "an unreadable name": ({"names": ["dns:a..b"]}, 400, "bad-name"),
    "a name with a NUL": ({"names": ["dns:a\0.example.internal"]}, 400, "bad-name"),
    "an empty name": ({"names": [""]}, 400, "bad-name"),
    "no names": ({"names": []}, 422, "policy-refused"),
    "a foreign name": ({"names": ["dns:example.com"]}, 422, "policy-refused"),
    "no duration": ({"lifetime": "forever"}, 400, "bad-duration"),
    "too long": ({"lifetime": "8d"}, 422, "policy-refused"),
    "absurdly long": ({"lifetime": "999999w"}, 400, "bad-duration"),
    "a subject for a leaf": ({"subject": "CN=Mallory"}, 422, "policy-refused"),
    "an unreadable subject": ({"subject": "CN"}, 400, "bad-subject"),
    "101 names": ({"names": [f"n{i}.example.internal" for i in range(101)]}, 400, "bad-request"),
    "1,000 names": ({"names": [f"n{i}.example.internal" for i in range(1000)]}, 400, "bad-request"),
    "a very long name": ({"names": ["a" * 2049]}, 400, "bad-request"),
    "names that are no list": ({"names": "localhost"}, 400, "bad-request"),
    "a number for a name": ({"names": [7]}, 400, "bad-request"),
    "no profile": ({"profile": ""}, 400, "bad-request"),
    "something unknown": ({"is_ca": True}, 400, "bad-request"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_ISSUES)
def test_a_refused_issue_says_why_and_changes_nothing(world: World, admin: httpx.Client, case: str) -> None:
    """Each refusal has its status, its code and its document, and nothing is recorded."""
    change, status, code = REFUSED_ISSUES[case]
    before = world.counts()
    document = problem(admin.post(f"{API}/certificates", json={**wish(), **change}), status, code)
    assert world.counts() == before
    if status == 422:
        assert all(set(reason) == {"code", "message", "rule"} for reason in document["reasons"])
    if code in ("unknown-profile", "bad-request"):
        assert document["hint"]


def test_all_reasons_of_a_refusal_come_at_once(requester: httpx.Client) -> None:
    """A caller can mend everything in one go: each name, the lifetime and the profile are reported together."""
    names = ["dns:example.com", "spiffe://elsewhere/ns/payments/sa/api"]
    answer = requester.post(f"{API}/certificates", json=wish(*names, profile="client", lifetime="90d"))
    document = problem(answer, 422, "policy-refused")
    codes = [reason["code"] for reason in document["reasons"]]
    assert codes == ["profile-not-allowed", "lifetime-not-allowed", "name-not-allowed", "name-not-allowed"]
    assert {reason["rule"] for reason in document["reasons"]} >= {"client: longest", "client: allow.dns"}


def test_an_idempotency_key_makes_one_certificate(world: World, requester: httpx.Client) -> None:
    """The same key and request get 201 and then 200 with the same bytes; another request under it gets 409."""
    path, header = f"{API}/certificates", {"Idempotency-Key": "order-66"}
    first = requester.post(path, json=wish(), headers=header)
    before = world.counts()
    second = requester.post(path, json=wish(), headers=header)
    assert (first.status_code, second.status_code) == (201, 200)
    assert {**first.json(), "is_repeat": True} == second.json()
    other = requester.post(path, json=wish(lifetime="1h"), headers=header)
    problem(other, 409, "idempotency-mismatch")
    assert world.counts() == before
    somebody_else = world.as_(world.token(Role.REQUESTER)).post(path, json=wish(), headers=header)
    assert somebody_else.status_code == 201
    assert somebody_else.json()["serial"] != first.json()["serial"]


def test_an_idempotency_key_knows_the_subject(world: World, admin: httpx.Client) -> None:
    """A request that differs in its subject alone is another request: it is refused, not answered with the first."""
    path, header = f"{API}/certificates", {"Idempotency-Key": "ocsp"}
    first = {"profile": "ocsp-signer", "csr": csr(), "subject": "CN=Responder one"}
    assert admin.post(path, json=first, headers=header).status_code == 201
    problem(
        admin.post(path, json={**first, "subject": "CN=Responder two"}, headers=header), 409, "idempotency-mismatch"
    )


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_idempotency_key_has_a_size(world: World, requester: httpx.Client, key: str) -> None:
    """A key that is empty or longer than 255 characters is refused on both routes that take one."""
    serial = issued(requester)["serial"]
    operator = world.as_(world.token(Role.OPERATOR))
    for path, body in (("", wish()), (f"/{serial}/renew", {"csr": csr()})):
        answer = operator.post(f"{API}/certificates{path}", json=body, headers={"Idempotency-Key": key})
        problem(answer, 400, "bad-idempotency-key")


def test_one_key_at_once_makes_one_certificate(world: World) -> None:
    """Twenty requests with one idempotency key at the same moment get one certificate, and exactly one a 201."""
    headers = {**world.token(Role.REQUESTER).headers, "Idempotency-Key": "at-once"}

    async def all_at_once() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=world.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://ca.test", headers=headers) as client:
            return await asyncio.gather(*(client.post(f"{API}/certificates", json=wish()) for _ in range(20)))

    before = world.counts()["certificate"]
    answers = asyncio.run(all_at_once())
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["certificate"] for answer in answers}) == 1
    assert world.counts()["certificate"] == before + 1


def test_a_certificate_is_shown_with_its_state(world: World, admin: httpx.Client) -> None:
    """What is shown agrees with the certificate, in whatever spelling its serial number is asked for."""
    found = issued(admin, "db.example.internal", profile="server")
    spelt = ":".join(found["serial"][i : i + 2] for i in range(0, len(found["serial"]), 2)).upper()
    shown = admin.get(f"{API}/certificates/{found['serial']}").json()
    assert admin.get(f"{API}/certificates/0x{found['serial']}").json() == shown
    if len(found["serial"]) % 2 == 0:
        assert admin.get(f"{API}/certificates/{spelt}").json() == shown
    der = x509.load_pem_x509_certificate(shown["certificate"].encode()).public_bytes(Encoding.DER)
    assert shown["sha256"] == sha256(der).hexdigest()
    assert shown["certificate"] == found["certificate"]
    key = rig.pooled_key(place=0).public_key()
    expected = {"state": "valid", "names": ["dns:db.example.internal"], "subject": "db.example.internal"}
    expected |= {"authority": "issuing-1", "profile": "server", "requested_by": "token:admin-1", "reason": None}
    expected |= {"spki_sha256": sha256(spki(key)).hexdigest(), "renews": None, "revoked_at": None}  # type: ignore[arg-type]
    assert {name: shown[name] for name in expected} == expected
    assert shown["crl_shard"] == int(found["serial"], 16) % 4


@pytest.mark.parametrize(
    ("serial", "status", "code"),
    [*((text, 400, "bad-serial") for text in ("zz", "0", "f" * 41)), ("1a", 404, "unknown-certificate")],
)
def test_an_unknown_certificate_is_not_found(admin: httpx.Client, serial: str, status: int, code: str) -> None:
    """Reading, renewing and revoking what does not exist is refused alike."""
    document = problem(admin.get(f"{API}/certificates/{serial}"), status, code)
    if status == 404:
        assert document["hint"] == "certwright cert list"
    problem(admin.post(f"{API}/certificates/{serial}/revoke", json={}), status, code)
    problem(admin.post(f"{API}/certificates/{serial}/renew", json={"csr": csr()}), status, code)


def test_pages_hold_every_certificate_once(world: World, admin: httpx.Client) -> None:
    """Walking by cursor shows all, newest first, each once, even while others are issued; and soonest to end first."""
    for number in range(11):
        rig.issue(world.installation, lifetime=timedelta(hours=1 + number))
    for options in ({}, {"expires_before": clock.timestamp() + 12 * 3600}):
        seen, pages, cursor = [], 0, None
        while pages == 0 or cursor is not None:
            more = {"cursor": cursor} if cursor is not None else {}
            page = admin.get(f"{API}/certificates", params={"limit": 3, **options, **more}).raise_for_status().json()
            seen += [(item["serial"], item["not_after"]) for item in page["items"]]
            pages, cursor = pages + 1, page["next"]
            rig.issue(world.installation, lifetime=timedelta(days=2))
        assert pages > 3
        assert len(set(seen)) == len(seen) >= 11
        if options:
            assert [not_after for _, not_after in seen] == sorted(not_after for _, not_after in seen)
    newest = admin.get(f"{API}/certificates", params={"limit": 1}).json()["items"][0]
    assert newest["not_after"] > clock.from_timestamp(clock.timestamp() + 36 * 3600).isoformat()


def test_every_filter_narrows(world: World, admin: httpx.Client, requester: httpx.Client) -> None:
    """Name, profile, authority, state, key and requester each leave those that fit."""
    mine = issued(requester, "spiffe://example.internal/ns/payments/sa/x", place=5)
    issued(admin, "localhost", profile="server")
    key = sha256(spki(rig.pooled_key(place=5).public_key())).hexdigest()  # type: ignore[arg-type]
    admin.post(f"{API}/certificates/{mine['serial']}/revoke", json={"reason": "superseded"}).raise_for_status()

    def serials(**params: str) -> list[str]:
        return [
            item["serial"]
            for item in admin.get(f"{API}/certificates", params=params).raise_for_status().json()["items"]
        ]

    for params in (
        {"name": "uri:spiffe://example.internal/ns/payments/sa/x"},
        {"name": "spiffe://example.internal/ns/payments/sa/x"},
        {"profile": "mesh"},
        {"state": "revoked"},
        {"key": key},
        {"requested_by": "token:requester-2"},
    ):
        assert serials(**params) == [mine["serial"]], params
    assert mine["serial"] not in serials(authority="root-1")
    assert len(serials(authority="root-1")) == 1
    assert mine["serial"] not in serials(state="valid")
    assert serials(state="expired") == serials(state="abandoned") == serials(profile="mesh", state="valid") == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"cursor": "1"}, "bad-cursor"),
        ({"cursor": "-"}, "bad-cursor"),
        ({"cursor": "9" * 19 + "-1"}, "bad-cursor"),
        ({"cursor": "²-1"}, "bad-cursor"),
        ({"limit": "0"}, "bad-request"),
        ({"limit": "501"}, "bad-request"),
        ({"limit": "9" * 5000}, "bad-request"),
        ({"limit": "x"}, "bad-request"),
        ({"key": "f" * 63}, "bad-request"),
        ({"state": "fresh"}, "bad-state"),
        ({"name": "dns:a..b"}, "bad-name"),
        ({"expires_before": "-1"}, "bad-request"),
        ({"expires_before": "1e400"}, "bad-request"),
    ],
)
def test_a_list_that_cannot_be_is_refused(admin: httpx.Client, params: dict[str, str], code: str) -> None:
    """What no list can be made of gets 400."""
    problem(admin.get(f"{API}/certificates", params=params), 400, code)


def test_a_requester_sees_its_own(world: World, admin: httpx.Client, requester: httpx.Client) -> None:
    """A requester lists, reads and revokes what it asked for; another's certificate is not its business."""
    mine, others = issued(requester), issued(admin)
    page = requester.get(f"{API}/certificates", params={"requested_by": "token:admin-1"}).json()
    assert [item["serial"] for item in page["items"]] == [mine["serial"]]
    assert requester.get(f"{API}/certificates/{mine['serial']}").status_code == 200
    problem(requester.get(f"{API}/certificates/{others['serial']}"), 403, "not-yours")
    problem(requester.post(f"{API}/certificates/{others['serial']}/revoke", json={}), 403, "not-yours")
    assert requester.post(f"{API}/certificates/{mine['serial']}/revoke", json={}).status_code == 200


def test_revoking_is_final(admin: httpx.Client) -> None:
    """A revoked certificate shows when and why; it is not revoked again and not renewed."""
    serial = issued(admin)["serial"]
    done = admin.post(f"{API}/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status().json()
    assert (done["serials"], done["reason"], done["key_blocked"]) == ([serial], "superseded", False)
    shown = admin.get(f"{API}/certificates/{serial}").json()
    assert (shown["state"], shown["reason"], shown["revoked_at"]) == ("revoked", "superseded", done["revoked_at"])
    problem(admin.post(f"{API}/certificates/{serial}/revoke", json={}), 409, "already-revoked")
    problem(admin.post(f"{API}/certificates/{serial}/renew", json={"csr": csr()}), 409, "not-renewable")


def test_a_compromised_key_goes_with_all_its_certificates(admin: httpx.Client) -> None:
    """For key-compromise everything with the key is revoked, and the key never certified again."""
    first, second = issued(admin, place=6), issued(admin, "localhost", profile="server", place=6)
    done = admin.post(f"{API}/certificates/{first['serial']}/revoke", json={"reason": "key-compromise"}).json()
    assert set(done["serials"]) == {first["serial"], second["serial"]}
    assert done["key_blocked"]
    document = problem(admin.post(f"{API}/certificates", json=wish(place=6)), 422, "policy-refused")
    assert [reason["code"] for reason in document["reasons"]] == ["blocked-key"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"reason": "boredom"}, 400, "bad-reason"),
        ({"reason": ""}, 400, "bad-request"),
        ({"reason": None}, 400, "bad-request"),
        ({"because": "x"}, 400, "bad-request"),
    ],
)
def test_a_revocation_needs_a_reason_that_exists(admin: httpx.Client, body: Any, status: int, code: str) -> None:
    """Reasons are those of RFC 5280, spelt out; anything else is refused on both routes."""
    serial = issued(admin)["serial"]
    document = problem(admin.post(f"{API}/certificates/{serial}/revoke", json=body), status, code)
    if code == "bad-reason":
        assert "key-compromise" in document["hint"]
    problem(admin.post(f"{API}/certificates/revocations", json={"key": HASH, **body}), status, code)
    assert admin.get(f"{API}/certificates/{serial}").json()["state"] == "valid"


def test_an_expired_certificate_is_not_revoked(world: World) -> None:
    """Nobody accepts it any more: 409, and nothing on a list."""
    holder = world.holder()
    with clock.pinned(clock.now() + timedelta(days=8)):
        problem(world.local.post(f"{API}/certificates/{holder.serial}/revoke", json={}), 409, "expired")


def test_many_are_revoked_by_filter_or_key(admin: httpx.Client, requester: httpx.Client) -> None:
    """A dry run only says which; the run revokes them; what falls under no filter stays."""
    path = f"{API}/certificates/revocations"
    mine = {issued(requester, place=7)["serial"], issued(requester, place=8)["serial"]}
    other = issued(admin, place=9)["serial"]
    body = {"reason": "affiliation-changed", "filter": {"requested_by": "token:requester-2", "profile": "mesh"}}
    dry = admin.post(path, json={**body, "dry_run": True}).raise_for_status().json()
    assert (set(dry["serials"]), dry["dry_run"]) == (mine, True)
    assert {admin.get(f"{API}/certificates/{serial}").json()["state"] for serial in mine} == {"valid"}
    assert set(admin.post(path, json=body).json()["serials"]) == mine
    assert admin.post(path, json=body).json()["serials"] == []
    assert admin.get(f"{API}/certificates/{other}").json()["state"] == "valid"
    key = admin.get(f"{API}/certificates/{other}").json()["spki_sha256"]
    done = admin.post(path, json={"key": key}).json()
    assert (done["serials"], done["key_blocked"]) == ([other], True)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad-revocation"),
        ({"key": HASH, "filter": {}}, 400, "bad-revocation"),
        ({"key": HASH, "dry_run": True}, 400, "bad-revocation"),
        ({"filter": {}}, 400, "bad-filter"),
        ({"filter": {"everything": True}}, 400, "bad-request"),
        ({"filter": {"name": "dns:a..b"}}, 400, "bad-name"),
        ({"key": "xyz"}, 400, "bad-request"),
    ],
)
def test_a_revocation_says_exactly_what(world: World, admin: httpx.Client, body: Any, status: int, code: str) -> None:
    """A revocation of nothing, of two things or of everything is refused."""
    before = world.counts()
    problem(admin.post(f"{API}/certificates/revocations", json=body), status, code)
    assert world.counts() == before


def test_a_cas_own_key_is_not_blocked_like_a_leafs(world: World, admin: httpx.Client) -> None:
    """The key of an authority is not revoked by its hash."""
    key = world.installation.authorities.get("issuing").spki_sha256.hex()
    problem(admin.post(f"{API}/certificates/revocations", json={"key": key}), 403, "authority-key")


def test_a_blocked_key_is_never_certified(admin: httpx.Client) -> None:
    """Blocking says whether it was new, revokes nothing, and refuses the key from then on."""
    serial = issued(admin, place=10)["serial"]
    key = admin.get(f"{API}/certificates/{serial}").json()["spki_sha256"]
    answers = [admin.post(f"{API}/keys/block", json={"key": key}).raise_for_status().json() for _ in range(2)]
    assert answers == [{"was_new": True}, {"was_new": False}]
    assert admin.get(f"{API}/certificates/{serial}").json()["state"] == "valid"
    problem(admin.post(f"{API}/certificates", json=wish(place=10)), 422, "policy-refused")
    problem(admin.post(f"{API}/keys/block", json={"key": key.upper()}), 400, "bad-request")


def test_authorities_are_listed_and_shown(world: World, admin: httpx.Client) -> None:
    """Root first; by name and by line; a certificate that is the public one, and never a key."""
    rows = admin.get(f"{API}/authorities").raise_for_status().json()
    assert [(row["name"], row["parent"], row["state"]) for row in rows] == [
        ("root-1", None, "active"),
        ("issuing-1", "root-1", "active"),
    ]
    assert admin.get(f"{API}/authorities/issuing").json() == admin.get(f"{API}/authorities/issuing-1").json() == rows[1]
    assert rows[1]["certificate"] == world.nobody.get("/ca/issuing-1.pem").text
    assert "PRIVATE" not in json.dumps(rows)
    document = problem(admin.get(f"{API}/authorities/nothing"), 404, "unknown-authority")
    assert document["hint"] == "certwright ca list"
    problem(admin.get(f"{API}/authorities/nothing/crls"), 404, "unknown-authority")


def test_a_generation_follows_another(admin: httpx.Client) -> None:
    """The second generation is prepared; activating it taints the first, which can then be retired, once."""
    body = {"line": "issuing", "subject": "CN=Second Issuing CA", "key_type": "P-384", "crl_shards": 2}
    made = admin.post(f"{API}/authorities", json=body)
    assert made.status_code == 201
    assert [made.json()[name] for name in ("name", "state", "parent", "key_type", "crl_shards")] == [
        "issuing-2", "prepared", "root-1", "P-384", 2,
    ]  # fmt: skip
    assert issued(admin)["authority"] == "issuing-1"
    active = admin.post(f"{API}/authorities/issuing-2/state", json={"state": "active"}).raise_for_status().json()
    assert active["state"] == "active"
    assert admin.get(f"{API}/authorities/issuing-1").json()["state"] == "tainted"
    assert issued(admin)["authority"] == "issuing-2"
    retired = admin.post(f"{API}/authorities/issuing-1/state", json={"state": "retired"}).raise_for_status().json()
    assert retired["state"] == "retired"
    problem(admin.post(f"{API}/authorities/issuing-1/state", json={"state": "active"}), 409, "bad-transition")


def test_a_root_of_its_own_has_a_list_at_once(world: World, admin: httpx.Client) -> None:
    """A new root is in the trust bundle and its CRL can be fetched as soon as it is made."""
    made = admin.post(f"{API}/authorities", json={"line": "factory", "subject": "CN=Factory", "profile": None})
    assert made.json()["parent"] is None
    assert made.json()["certificate"] in world.nobody.get("/bundles/roots.pem").text
    assert world.nobody.get("/crl/factory-1.crl").status_code == 200


REFUSED_AUTHORITIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "a line in capitals": ({"line": "Issuing"}, 400, "bad-authority-name"),
    "a line that climbs": ({"line": "../keys"}, 400, "bad-authority-name"),
    "no such key": ({"key_type": "P-521"}, 400, "bad-key-type"),
    "a subject's key": ({"key_type": "RSA-2048"}, 400, "bad-authority-key"),
    "no subject": ({"subject": ""}, 422, "policy-refused"),
    "an unreadable subject": ({"subject": "nonsense"}, 400, "bad-subject"),
    "no such profile": ({"profile": "nothing"}, 404, "unknown-profile"),
    "a leaf's profile": ({"profile": "mesh"}, 403, "not-an-authority-profile"),
    "too long": ({"lifetime": "600w"}, 422, "policy-refused"),
    "too many shards": ({"crl_shards": 4097}, 400, "bad-request"),
    "half a shard": ({"crl_shards": 1.5}, 400, "bad-request"),
    "something unknown": ({"path_length": 3}, 400, "bad-request"),
}


def test_a_refused_authority_leaves_no_key(world: World, admin: httpx.Client) -> None:
    """A CA that policy refuses, and one that is here already, leave no key file that nothing names."""
    keys = sorted((world.product.state / "keys").iterdir())
    body = {"line": "factory", "subject": "CN=Factory CA", "lifetime": "600w"}
    problem(admin.post(f"{API}/authorities", json=body), 422, "policy-refused")
    assert sorted((world.product.state / "keys").iterdir()) == keys


@pytest.mark.parametrize("case", REFUSED_AUTHORITIES)
def test_a_refused_authority_leaves_none(world: World, admin: httpx.Client, case: str) -> None:
    """Each refusal has its status and code, and no authority and no certificate is there afterwards."""
    change, status, code = REFUSED_AUTHORITIES[case]
    before = world.counts()
    body = {"line": "factory", "subject": "CN=Factory CA", **change}
    problem(admin.post(f"{API}/authorities", json=body), status, code)
    assert world.counts() == before


@pytest.mark.parametrize("change", [{"subject": ""}, {"lifetime": "999999w"}])
def test_an_impossible_root_is_a_refusal(admin: httpx.Client, change: dict[str, str]) -> None:
    """A root without a subject, or one that outlives the calendar, is the caller's mistake and gets a 4xx."""
    body = {"line": "factory", "subject": "CN=Factory CA", "profile": None, **change}
    assert 400 <= admin.post(f"{API}/authorities", json=body).status_code < 500


def test_a_cas_subject_has_no_control_characters(admin: httpx.Client) -> None:
    """A NUL in the name of a CA is refused, as it is in the name of a leaf."""
    body = {"line": "factory", "subject": "CN=Factory\\00CA", "profile": None}
    assert 400 <= admin.post(f"{API}/authorities", json=body).status_code < 500


@pytest.mark.parametrize(
    ("body", "code"), [({"state": "gone"}, "bad-state"), ({"state": ""}, "bad-request"), ({}, "bad-request")]
)
def test_a_state_that_is_none_is_refused(admin: httpx.Client, body: Any, code: str) -> None:
    """Only the five states exist."""
    document = problem(admin.post(f"{API}/authorities/issuing-1/state", json=body), 400, code)
    if code == "bad-state":
        assert document["hint"] == "prepared, active, tainted, distrusted, retired"


def _foreign_root(place: int = 20) -> dict[str, Any]:
    key = rig.pooled_key(place=place)
    der = self_signed(key, Plan("old", rig.common_name("Old Root"), KeyType.P256))
    return {"line": "old", "certificate": pem_certificate(der), "key": key_pem(key)}


def test_a_ca_is_taken_over_on_the_machine_itself(world: World, admin: httpx.Client) -> None:
    """Over the socket a CA comes in with its key, encrypted or not; over a network not even an admin brings one."""
    body = _foreign_root()
    assert problem(admin.post(f"{API}/authorities/import", json=body), 403, "local-only")["hint"]
    before = world.counts()
    encryption = BestAvailableEncryption(b"a passphrase of theirs")
    locked = rig.pooled_key(place=20).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
    for wrong in (None, "not this one"):
        attempt = {**body, "key": locked, "passphrase": wrong}
        problem(world.local.post(f"{API}/authorities/import", json=attempt), 400, "bad-key")
    assert world.counts() == before
    body |= {"key": locked, "passphrase": "a passphrase of theirs"}
    made = world.local.post(f"{API}/authorities/import", json=body)
    assert (made.status_code, made.json()["name"], made.json()["state"]) == (201, "old-1", "active")
    assert world.nobody.get("/crl/old-1.crl").status_code == 200
    before = world.counts()
    problem(world.local.post(f"{API}/authorities/import", json=body), 409, "authority-exists")
    assert world.counts() == before


def _leaf() -> str:
    key = rig.pooled_key(place=20)
    builder = x509.CertificateBuilder(rig.common_name("A"), rig.common_name("A"), key.public_key(), 1)  # type: ignore[arg-type]
    builder = builder.not_valid_before(clock.now()).not_valid_after(clock.now() + timedelta(days=9))
    return pem_certificate(builder.sign(key, rig.hashes.SHA256()).public_bytes(Encoding.DER))  # type: ignore[arg-type]


def _orphan() -> str:
    parent, key = rig.pooled_key(place=21), rig.pooled_key(place=20)
    builder = x509.CertificateBuilder(rig.common_name("B"), rig.common_name("A"), key.public_key(), 1)  # type: ignore[arg-type]
    builder = builder.not_valid_before(clock.now()).not_valid_after(clock.now() + timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    return pem_certificate(builder.sign(parent, rig.hashes.SHA256()).public_bytes(Encoding.DER))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"key": key_pem(rig.pooled_key(place=21))}, 400, "bad-authority"),
        ({"key": "nothing"}, 400, "bad-key"),
        ({"certificate": "nothing"}, 400, "bad-certificate"),
        ({"certificate": _leaf()}, 400, "bad-authority"),
        ({"certificate": _orphan()}, 400, "unknown-parent"),
        ({"line": "no line"}, 400, "bad-authority-name"),
        ({"crl_shards": -1}, 400, "bad-request"),
    ],
)
def test_a_refused_import_leaves_no_authority(world: World, change: dict[str, Any], status: int, code: str) -> None:
    """A foreign key, a leaf, an unknown parent: refused, and neither key file nor row is left."""
    before, keys = world.counts(), sorted((world.product.state / "keys").iterdir())
    problem(world.local.post(f"{API}/authorities/import", json={**_foreign_root(), **change}), status, code)
    assert (world.counts(), sorted((world.product.state / "keys").iterdir())) == (before, keys)


def test_the_freshness_of_crls_is_shown(world: World, admin: httpx.Client) -> None:
    """The complete list first, then each shard, with the number and hash of what can be fetched under the URL."""
    rows = admin.get(f"{API}/authorities/issuing/crls").raise_for_status().json()
    assert [row["shard"] for row in rows] == [None, 0, 1, 2, 3]
    for row in rows:
        fetched = world.nobody.get(row["url"].removeprefix(rig.PUBLIC_URL)).content
        assert sha256(fetched).hexdigest() == row["sha256"]
        number = x509.load_der_x509_crl(fetched).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        assert (number, row["entries"], row["is_overdue"]) == (row["number"], 0, False)
    with clock.pinned(clock.now() + timedelta(hours=73)):
        assert {row["is_overdue"] for row in world.local.get(f"{API}/authorities/issuing/crls").json()} == {True}


def test_profiles_are_shown_linted_and_tested(world: World, admin: httpx.Client) -> None:
    """All shipped ones are listed with the text of their files; each lints clean and its examples hold."""
    rows = {row["name"]: row for row in admin.get(f"{API}/profiles").raise_for_status().json()}
    shipped = {p.stem for p in (rig.CONFIG / "profiles").glob("*.toml") if ".examples" not in p.name}
    assert set(rows) == shipped
    for name, row in rows.items():
        assert row["text"] == (rig.CONFIG / "profiles" / f"{name}.toml").read_text()
        assert row["sha256"] == sha256(row["text"].encode()).hexdigest()
        assert admin.get(f"{API}/profiles/{name}").json() == row
    assert admin.post(f"{API}/profiles/mesh/lint").raise_for_status().json() == []
    outcomes = admin.post(f"{API}/profiles/mesh/test").raise_for_status().json()
    assert len(outcomes) > 3
    assert all(row["is_as_expected"] for row in outcomes)
    for ask in (admin.get, admin.post):
        tail = "" if ask == admin.get else "/lint"
        assert "mesh" in problem(ask(f"{API}/profiles/nothing{tail}"), 404, "unknown-profile")["hint"]
    problem(admin.post(f"{API}/profiles/nothing/test"), 404, "unknown-profile")


def test_a_token_is_shown_once(world: World, admin: httpx.Client) -> None:
    """The answer to its making carries the secret; lists, its revocation and the ledger do not."""
    body = {
        "name": "ci",
        "role": "requester",
        "profiles": ["mesh"],
        "attributes": {"namespace": "ci"},
        "lifetime": "2d",
    }
    made = admin.post(f"{API}/tokens", json=body)
    assert made.status_code == 201
    secret = made.json()["token"]
    client = world.as_(world.token(Role.AUDITOR))
    mine = httpx.Headers({"Authorization": f"Bearer {secret}"})
    me = world.nobody.get(f"{API}/me", headers=mine).raise_for_status().json()
    assert (me["identity"], me["role"], me["profiles"], me["attributes"]) == (
        "token:ci", "requester", ["mesh"], {"namespace": "ci"},
    )  # fmt: skip
    listed = client.get(f"{API}/tokens")
    row = next(row for row in listed.json() if row["name"] == "ci")
    assert {name: made.json()[name] for name in row} == row
    revoked = admin.delete(f"{API}/tokens/ci")
    assert revoked.json()["revoked_at"] is not None
    entries = client.get(f"{API}/ledger/entries", params={"limit": 1000})
    for answer in (listed, revoked, entries):
        assert secret not in answer.text
        assert secret[-43:] not in answer.text
    problem(world.nobody.get(f"{API}/me", headers=mine), 401, "unauthenticated")
    problem(admin.delete(f"{API}/tokens/ci"), 409, "already-revoked")
    problem(admin.delete(f"{API}/tokens/{row['id']}"), 409, "already-revoked")
    assert problem(admin.delete(f"{API}/tokens/nobody"), 404, "unknown-token")["hint"] == "certwright token list"


REFUSED_TOKENS: dict[str, tuple[dict[str, Any], int, str]] = {
    "a name with a space": ({"name": "c i"}, 400, "bad-token-name"),
    "a name that is taken": ({"name": "first-admin"}, 409, "token-exists"),
    "no name": ({"name": ""}, 400, "bad-request"),
    "a role that none can have": ({"role": "holder"}, 400, "bad-role"),
    "no such role": ({"role": "root"}, 400, "bad-request"),
    "too long": ({"lifetime": "367d"}, 400, "bad-token-lifetime"),
    "absurdly long": ({"lifetime": "999999w"}, 400, "bad-duration"),
    "no duration": ({"lifetime": "1y"}, 400, "bad-duration"),
    "a requester without profiles": ({"role": "requester"}, 400, "token-without-profiles"),
    "a requester with no profiles": ({"role": "requester", "profiles": []}, 400, "token-without-profiles"),
    "no such profile": ({"profiles": ["nothing"]}, 404, "unknown-profile"),
    "an attribute in capitals": ({"attributes": {"Namespace": "x"}}, 400, "bad-attribute"),
    "a long attribute": ({"attributes": {"namespace": "x" * 64}}, 400, "bad-attribute"),
    "an empty attribute": ({"attributes": {"namespace": ""}}, 400, "bad-request"),
    "many attributes": ({"attributes": {f"a{'b' * i}": "x" for i in range(21)}}, 400, "bad-request"),
    "something unknown": ({"scope": "all"}, 400, "bad-request"),
}


@pytest.mark.parametrize("case", REFUSED_TOKENS)
def test_a_refused_token_is_none(world: World, admin: httpx.Client, case: str) -> None:
    """Each refusal has its status and code, and no token is there afterwards."""
    change, status, code = REFUSED_TOKENS[case]
    before = world.counts()
    body = {"name": "ci", "role": "auditor", "lifetime": "1d", **change}
    problem(admin.post(f"{API}/tokens", json=body), status, code)
    assert world.counts() == before


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.HOLDER])
def test_everybody_learns_who_they_are(world: World, role: Role) -> None:
    """`/me` tells the role and what it may do, and nothing of a secret."""
    me = world.as_(world.token(role)).get(f"{API}/me").raise_for_status().json()
    assert (me["identity"], me["role"]) == (f"token:{role}-1", role)
    assert "read authorities" in me["operations"]


def test_the_head_can_be_kept_and_checked(world: World, admin: httpx.Client) -> None:
    """The head opens under its verifier, is what strangers fetch, and grows with what happens."""
    first = admin.get(f"{API}/ledger/head").raise_for_status().json()
    verifier = Verifier.parse(first["verifier"])
    assert open_head(first["checkpoint"], verifier).size == first["size"]
    fetched = world.nobody.get("/ledger/checkpoint")
    assert (fetched.text, fetched.headers["cache-control"]) == (first["checkpoint"], "no-cache")
    issued(admin)
    second = admin.get(f"{API}/ledger/head").json()
    assert second["size"] == first["size"] + 1
    assert second["waiting"] == 0


def test_entries_come_in_pages(world: World, admin: httpx.Client) -> None:
    """Oldest first, each once; or those of one subject, from issuance to revocation."""
    serial = issued(admin)["serial"]
    admin.post(f"{API}/certificates/{serial}/revoke", json={}).raise_for_status()
    seen, pages, after = [], 0, "0"
    while after is not None:
        page = admin.get(f"{API}/ledger/entries", params={"after": after, "limit": 4}).raise_for_status().json()
        seen += [item["id"] for item in page["items"]]
        pages, after = pages + 1, page["next"]
    assert pages > 3
    assert seen == sorted(set(seen))
    assert len(seen) == world.counts()["ledger_entry"]
    history = admin.get(f"{API}/ledger/entries", params={"subject": serial}).json()["items"]
    assert [(item["entry"]["action"], item["entry"]["by"]) for item in history] == [
        ("certificate-issued", "token:admin-1"),
        ("certificate-revoked", "token:admin-1"),
    ]
    for params in ({"after": "-1"}, {"after": str(1 << 54)}, {"limit": "1001"}, {"subject": "x" * 129}):
        problem(admin.get(f"{API}/ledger/entries", params=params), 400, "bad-request")


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    """The objects of a stream, one a line."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_audit_is_a_stream(world: World, admin: httpx.Client) -> None:
    """Progress, then one report that says sound; a head kept before holds after more has happened."""
    kept = admin.get(f"{API}/ledger/head").json()
    issued(admin)
    *progress, report = lines(admin.post(f"{API}/ledger/verify", json={"checkpoint": kept["checkpoint"]}))
    assert progress
    assert all(set(line) == {"checked", "of"} for line in progress)
    assert report == {
        "is_sound": True, "first": None, "findings": [],
        "entries": kept["size"] + 1, "heads": report["heads"], "certificates": 2,
    }  # fmt: skip
    assert lines(admin.post(f"{API}/ledger/verify", json={}))[-1]["is_sound"]


def test_the_audit_finds_what_was_changed(world: World, admin: httpx.Client) -> None:
    """A row changed behind the ledger's back, and a head that the ledger never had, are both reported."""
    head = admin.get(f"{API}/ledger/head").json()
    origin = head["verifier"].partition("+")[0]
    key = world.installation.ledger._key  # what only a thief has
    forged = sign_head(Head(origin, head["size"], b"\1" * 32), key)
    report = lines(admin.post(f"{API}/ledger/verify", json={"checkpoint": forged}))[-1]
    assert (report["is_sound"], bool(report["findings"])) == (False, True)
    assert report["first"] == report["findings"][0]["message"]


@pytest.mark.parametrize("checkpoint", ["", "nonsense", "a\n1\nAAAA\n\n— a AAAA\n"])
def test_what_is_no_checkpoint_is_refused(admin: httpx.Client, checkpoint: str) -> None:
    """A text that no ledger of ours has signed is refused before the audit begins."""
    problem(admin.post(f"{API}/ledger/verify", json={"checkpoint": checkpoint}), 400, "bad-checkpoint")


PUBLIC = {
    "/crl/issuing-1.crl": "application/pkix-crl",
    "/crl/issuing-1.pem": "application/x-pem-file",
    "/crl/issuing-1/3.crl": "application/pkix-crl",
    "/ca/issuing-1.cer": "application/pkix-cert",
    "/ca/issuing-1.pem": "application/x-pem-file",
    "/bundles/roots.pem": "application/x-pem-file",
}


@pytest.mark.parametrize("path", PUBLIC)
def test_public_files_can_be_cached(world: World, path: str) -> None:
    """A strong ETag, a life in caches, HEAD like GET, and 304 without a body for who has it already."""
    client = world.nobody
    fetched = client.get(path)
    tag = fetched.headers["etag"]
    assert (fetched.status_code, fetched.headers["content-type"]) == (200, PUBLIC[path])
    assert tag.startswith('"')
    assert fetched.headers["cache-control"] == "public, max-age=300"
    assert int(fetched.headers["content-length"]) == len(fetched.content) > 100
    head = client.head(path)
    assert (head.status_code, head.headers) == (200, fetched.headers)
    for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(path, headers={"If-None-Match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), asked
        assert again.headers["cache-control"] == fetched.headers["cache-control"]
        assert client.head(path, headers={"If-None-Match": asked}).status_code == 304
    for asked in ('"other"', tag.strip('"'), ""):
        assert client.get(path, headers={"If-None-Match": asked}).status_code == 200, asked


def test_a_crl_says_how_long_it_is_good(world: World) -> None:
    """Last-Modified and Expires frame the list, and no cache keeps it beyond its end."""
    fetched = world.nobody.get("/crl/issuing-1.crl")
    crl = x509.load_der_x509_crl(fetched.content)
    assert parsedate_to_datetime(fetched.headers["last-modified"]) == crl.last_update_utc
    expires = parsedate_to_datetime(fetched.headers["expires"])
    assert expires <= min(crl.next_update_utc, clock.now() + timedelta(seconds=300))  # type: ignore[type-var]
    assert fetched.headers["etag"] == f'"{sha256(fetched.content).hexdigest()}"'
    with clock.pinned(crl.next_update_utc - timedelta(seconds=10)):  # type: ignore[operator]
        late = world.nobody.get("/crl/issuing-1.crl")
        assert late.headers["cache-control"] == "public, max-age=10"
        assert parsedate_to_datetime(late.headers["expires"]) == crl.next_update_utc
    with clock.pinned(crl.next_update_utc + timedelta(seconds=10)):  # type: ignore[operator]
        assert world.nobody.get("/crl/issuing-1.crl").headers["cache-control"] == "public, max-age=0"


def test_pem_and_der_say_the_same(world: World) -> None:
    """Both forms of a CRL and of a CA certificate hold the same bytes, signed by who they say."""
    client = world.nobody
    crl = x509.load_der_x509_crl(client.get("/crl/issuing-1.crl").content)
    assert x509.load_pem_x509_crl(client.get("/crl/issuing-1.pem").content) == crl
    issuing = x509.load_der_x509_certificate(client.get("/ca/issuing-1.cer").content)
    assert x509.load_pem_x509_certificate(client.get("/ca/issuing-1.pem").content) == issuing
    assert crl.is_signature_valid(issuing.public_key())  # type: ignore[arg-type]
    (root,) = x509.load_pem_x509_certificates(client.get("/bundles/roots.pem").content)
    issuing.verify_directly_issued_by(root)


def test_a_revocation_changes_the_shard_and_its_tag(world: World, admin: httpx.Client) -> None:
    """The shard that a certificate names lists it once it is revoked and published, and who had the old one gets it."""
    found = issued(admin)
    certificate = x509.load_pem_x509_certificate(found["certificate"].encode())
    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    path = point.full_name[0].value.removeprefix(rig.PUBLIC_URL)  # type: ignore[index]
    before = world.nobody.get(path)
    admin.post(f"{API}/certificates/{found['serial']}/revoke", json={"reason": "superseded"}).raise_for_status()
    world.product.settle()
    for where in (path, "/crl/issuing-1.crl"):
        after = world.nobody.get(where, headers={"If-None-Match": before.headers["etag"]})
        entry = x509.load_der_x509_crl(after.content).get_revoked_certificate_by_serial_number(
            certificate.serial_number
        )
        assert entry is not None
        assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.superseded


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/crl/nothing.crl", "unknown-authority"),
        ("/crl/issuing.crl", "unknown-authority"),
        ("/crl/issuing-1/4.crl", "unknown-crl"),
        ("/crl/issuing-1/-1.crl", "unknown-crl"),
        (f"/crl/issuing-1/{'9' * 40}.crl", "unknown-crl"),
        ("/ca/nothing.cer", "unknown-authority"),
        ("/ca/nothing.pem", "unknown-authority"),
        ("/ca/..%2f..%2fkey-passphrase.pem", "not-found"),
        ("/nothing", "not-found"),
        ("/api/v1", "not-found"),
        ("/api/v2/me", "not-found"),
        ("/docs", "not-found"),
        ("/openapi.json", "not-found"),
    ],
)
def test_what_is_not_there_is_not_found(world: World, path: str, code: str) -> None:
    """404 as a problem, wherever one looks."""
    problem(world.nobody.get(path), 404, code)


def test_a_wrong_method_is_said(world: World) -> None:
    """405 with what is allowed."""
    answer = world.nobody.delete("/bundles/roots.pem")
    problem(answer, 405, "method-not-allowed")
    assert "GET" in answer.headers["allow"]


def test_health_fails_where_consumers_will(world: World) -> None:
    """200 while everything is in time; 503 with the reason when CRLs are overdue or a CA has expired."""
    fine = world.nobody.get("/healthz")
    assert (fine.status_code, fine.json()) == (200, {"status": "ok", "problems": []})
    with clock.pinned(clock.now() + timedelta(hours=73)):
        late = world.nobody.get("/healthz")
        assert (late.status_code, late.headers["cache-control"]) == (503, "no-store")
        assert late.json()["problems"] == ["CRLs of issuing-1 are overdue", "CRLs of root-1 are overdue"]
    with clock.pinned(clock.now() + timedelta(days=1826)):
        assert "the CA certificate of issuing-1 has expired" in world.nobody.get("/healthz").json()["problems"]


def test_metrics_count_what_happened(world: World, admin: httpx.Client) -> None:
    """Issued, revoked and refused are counted; CAs, CRLs and the ledger are measured."""
    serial = issued(admin)["serial"]
    admin.post(f"{API}/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status()
    admin.post(f"{API}/certificates", json=wish(profile="nothing"))
    answer = admin.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for expected in (
        'certwright_certificates_issued_total{authority="issuing-1",profile="mesh"} 1.0',
        'certwright_certificates_revoked_total{reason="superseded"} 1.0',
        'certwright_requests_refused_total{code="unknown-profile"} 1.0',
        "certwright_issue_seconds_count 1.0",
        'certwright_crl_entries{authority="issuing-1"} 0.0',
    ):
        assert expected in answer.text
    for gauge in ("authority_seconds_left", "crl_seconds_left", "crl_age_seconds", "ledger_size", "ledger_waiting"):
        assert f"\ncertwright_{gauge}" in answer.text


@pytest.fixture
def described(world: World) -> dict[str, Any]:
    """The OpenAPI document."""
    return dict(world.nobody.get(f"{API}/openapi.json").raise_for_status().json())


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation."""
    for path, item in described["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_the_description_is_openapi(described: dict[str, Any]) -> None:
    """It satisfies the schema of OpenAPI 3.1, its references lead somewhere, each operation has an id of its own."""
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    assert described["openapi"].startswith("3.1")
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(described)] == []
    ids = [operation["operationId"] for *_, operation in operations(described)]
    assert len(ids) == len(set(ids))
    assert all(operation["summary"] for *_, operation in operations(described))
    text = json.dumps(described)
    for name in described["components"]["schemas"]:
        text = text.replace(f'"#/components/schemas/{name}"', "")
    assert '"#/components' not in text


def test_every_route_is_described_once(world: World, described: dict[str, Any]) -> None:
    """Whatever the application routes is in its description, and nothing else is; HEAD goes with GET."""
    served = [route for route in routes(world.app) if route != ("GET", f"{API}/openapi.json")]
    assert sorted(served) == sorted((method, path) for method, path, _ in operations(described))


def test_every_request_model_refuses_unknown_keys(described: dict[str, Any]) -> None:
    """Each model that a body is made of forbids what it does not name, and each of its texts and lists has an end."""
    schemas = described["components"]["schemas"]
    wanted = set()
    bodies = [
        o["requestBody"]["content"] for _, path, o in operations(described) if "requestBody" in o and path != SIGNED
    ]
    pending = [_model(body["application/json"]["schema"]) for body in bodies]
    while pending:
        name = pending.pop()
        wanted.add(name)
        for field in schemas[name].get("properties", {}).values():
            options = field.get("anyOf", [field])
            options += [option["items"] for option in options if "items" in option]
            pending += [_model(o) for o in options if "$ref" in o and "enum" not in schemas[_model(o)]]
            for option in (o for o in options if o.get("type") == "string"):
                assert {"maxLength", "pattern", "enum"} & set(option), (name, field)
            for option in (o for o in options if o.get("type") == "array"):
                assert "maxItems" in option, (name, field)
    assert len(bodies) == len(BODIES)
    assert wanted == {
        *("AuthorityImport", "AuthorityRequest", "BlockRequest", "CertificateFilter", "IssueRequest", "RenewRequest"),
        *(
            "CompareRequest",
            "AuthorityChain",
            "AuthorityWanted",
            "RevokeManyRequest",
            "RevokeRequest",
            "StateRequest",
            "TokenRequest",
            "TokenText",
            "VerifyRequest",
            "CeremonyAnswer",
            "CeremonyWanted",
            "CrossRequest",
            "KeyExport",
            "KeyFile",
            "KeyLeaving",
        ),
        *("AssignRequest", "ClaimRequest", "DestinationChange", "DestinationRequest", "ImportItem", "ImportRequest"),
        *("LineageChange", "LineageRequest", "Nothing", "OwnerChange", "OwnerRequest", "ScanRequest"),
        *("AnchorsRequest", "ConsumerChange", "ConsumerRequest", "NeedsRequest", "OverrideRequest", "ReportRequest"),
        *("DrillRequest", "ReplacementRequest", "RotationRequest", "SelectionRequest", "SteerRequest"),
        *("AcknowledgeRequest", "BounceRequest", "CalendarRequest", "SignInLinkRequest"),
    }
    assert [name for name in wanted if schemas[name].get("additionalProperties") is not False] == []


def _model(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def test_refusals_are_described(described: dict[str, Any]) -> None:
    """What the description promises for a refusal is what is answered: a problem document."""
    wrong = [
        (method, path, status)
        for method, path, operation in operations(described)
        for status, answer in operation["responses"].items()
        if status[0] in "45" and list(answer.get("content", {})) != ["application/problem+json"]
    ]
    assert wrong == []


def test_media_types_are_described(world: World, described: dict[str, Any]) -> None:
    """Each public path is described with the media type that it is answered with."""
    wrong = []
    for path in [*PUBLIC, "/ledger/checkpoint", "/healthz", "/metrics"]:
        described_as = path.replace("issuing-1/3", "{authority}/{shard}").replace("issuing-1", "{authority}")
        answer = world.local.get(path).headers["content-type"].partition(";")[0]
        content = described["paths"][described_as]["get"]["responses"]["200"].get("content", {})
        wrong += [(path, answer, list(content))] if answer not in content else []
    assert wrong == []


SIGNED = "/acknowledgements"
"""Whose body is signed: what is wrong with it is refused as one that is not, see `test_publications_api.py`."""
BODIES = {
    f"POST {API}/certificates": wish(),
    f"POST {API}/certificates/1a/renew": {"csr": csr()},
    f"POST {API}/certificates/1a/revoke": {},
    f"POST {API}/certificates/revocations": {"key": HASH},
    f"POST {API}/authorities": {"line": "factory", "subject": "CN=Factory"},
    f"POST {API}/authorities/import": {"line": "a", "certificate": "x", "key": "y"},
    f"POST {API}/authorities/issuing/state": {"state": "active"},
    f"POST {API}/authority-requests": {"line": "factory", "subject": "CN=Factory"},
    f"POST {API}/authority-requests/issuing/chain": {"certificates": "x"},
    f"POST {API}/authorities/issuing/cross-certificates": {"by": "root"},
    f"POST {API}/approvals/5/grant": {},
    f"POST {API}/approvals/5/refuse": {},
    f"POST {API}/ceremonies": {"authority": "root"},
    f"POST {API}/ceremonies/issuing/answer": {"answer": "x"},
    f"POST {API}/authorities/issuing/key/export": {"passphrase": "x"},
    f"POST {API}/authorities/issuing/key/leave": {"key": "x", "passphrase": "y"},
    f"POST {API}/authorities/issuing/key/return": {"key": "x", "passphrase": "y"},
    f"POST {API}/tokens": {"name": "ci", "role": "auditor"},
    f"POST {API}/identity/explain": {"token": "a.b.c"},
    f"POST {API}/sign-in-links": {},
    f"POST {API}/profiles/issuing/compare": {"content": "x"},
    f"POST {API}/ledger/verify": {},
    f"POST {API}/backups": {},
    f"POST {API}/keys/block": {"key": HASH},
    f"POST {API}/owners": {"name": "payments", "email": "pay@example.org"},
    f"PATCH {API}/owners/issuing": {"email": "pay@example.org"},
    f"POST {API}/owners/issuing/claims": {"kind": "name", "pattern": "dns:a.example"},
    f"POST {API}/owners/issuing/releases": {"kind": "name", "pattern": "dns:a.example"},
    f"POST {API}/tracked": {"items": [{"name": "a", "pem": "x"}]},
    f"PUT {API}/tracked/thing/owner": {"owner": None},
    f"PUT {API}/tracked/thing/acknowledgement": {"within": "3d", "reason": "because of a test"},
    f"PUT {API}/lineages/issuing/acknowledgement": {"within": "3d", "reason": "because of a test"},
    f"POST {API}/owners/issuing/calendar": {},
    f"POST {API}/mailboxes/lost@example.org/revive": {},
    f"POST {API}/bounces": {"message": "eA=="},
    f"POST {API}/letters/run": {},
    f"POST {API}/scans": {"targets": "127.0.0.1:9"},
    f"POST {API}/lineages": {"name": "a", "names": ["a.edge.example.internal"]},
    f"PATCH {API}/lineages/issuing": {"key_age": "9d"},
    f"POST {API}/lineages/issuing/renew": {},
    f"POST {API}/renewals/run": {},
    f"POST {API}/destinations": {"name": "a", "lineage": "a"},
    f"PATCH {API}/destinations/issuing": {"rank": 1},
    f"POST {API}/destinations/issuing/deliver": {},
    f"POST {API}/issuers/issuing/check": {},
    f"POST {API}/issuers/issuing/roll-key": {},
    f"POST {API}/consumers": {"name": "edge"},
    f"PATCH {API}/consumers/issuing": {"gates": False},
    f"POST {API}/consumers/issuing/spread": {},
    f"POST {API}/consumers/issuing/pause": {},
    f"POST {API}/consumers/issuing/resume": {},
    f"POST {API}/consumers/issuing/secret": {},
    f"POST {API}/consumers/issuing/acknowledgements": {"stream": "trust:x", "version": 1, "sha256": HASH, "at": 1},
    f"POST {API}/publications": {},
    f"PUT {API}/anchors/partner": {"certificates": "x"},
    f"POST {API}/rotations": {"line": "issuing", "reason": "because of a test"},
    f"POST {API}/rotations/plan": {"line": "issuing", "reason": "because of a test"},
    f"POST {API}/rotations/7/pause": {"reason": "because of a test"},
    f"POST {API}/rotations/7/resume": {"reason": "because of a test"},
    f"POST {API}/rotations/7/hurry": {"reason": "because of a test"},
    f"POST {API}/rotations/7/override": {"gate": "prove", "subject": "edge", "reason": "because of a test"},
    f"POST {API}/rotations/7/abort": {"reason": "because of a test"},
    f"POST {API}/replacements": {"selection": {"profile": "server"}, "reason": "because of a test"},
    f"POST {API}/replacements/plan": {"selection": {"profile": "server"}, "reason": "because of a test"},
    f"POST {API}/replacements/drill": {"selection": {"profile": "server"}, "reason": "because of a test"},
    f"POST {API}/replacements/9/stop": {"reason": "because of a test"},
}


def test_the_bodies_below_are_all_there_are(described: dict[str, Any]) -> None:
    """A new route that takes a body has to be listed, or the tests below would not know of it."""
    found = {
        f"{method} {path}"
        for method, path, operation in operations(described)
        if "requestBody" in operation and path != SIGNED
    }
    names = {"1a": "serial", "issuing": "name", "thing": "identity", "7": "rotation", "9": "replacement", "5": "number"}
    names |= {"partner": "trust_domain", "lost@example.org": "address"}
    places = re.compile(f"/({'|'.join(names)})(?=/|$)")
    assert {places.sub(lambda m: f"/{{{names[m[1]]}}}", text) for text in BODIES} == found


def _deep(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


BAD_BODIES = {
    "nothing": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "deep objects": _deep(20_000),
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "a huge number": b'{"crl_shards": ' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"crl_shards": 1e999999}',
    "not a number": b'{"crl_shards": NaN}',
    "not UTF-8": b'{"profile": "\xff\xfe", "name": "\xff"}',
    "half a surrogate": b'{"profile": "\\ud800", "name": "\\ud800", "line": "\\ud800"}',
    "an unknown key": b'{"surprise": 1}',
    "many keys": json.dumps({f"key{i}": i for i in range(10_000)}).encode(),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_makes_no_sense_gets_400(world: World, what: str) -> None:
    """On every route that takes a body: 400 as a problem, nothing is changed, and nothing of the body comes back."""
    before = world.counts()
    for method, path in map(str.split, BODIES):
        if (path, what) == (f"{API}/certificates/1a/revoke", "nothing"):
            continue
        answer = world.local.request(method, path, content=BAD_BODIES[what], headers=JSON)
        assert "bad-request" in problem(answer, 400, "bad-request")["type"]
        assert len(answer.content) < 8192
    assert world.counts() == before


def test_an_unknown_key_is_refused_beside_what_is_right(world: World) -> None:
    """A body that would be fine but for one key more is refused: a misspelt wish must not be a missing one."""
    before = world.counts()
    for door, body in BODIES.items():
        answer = world.local.request(*door.split(), json={**body, "lifetme": "1h"})
        document = problem(answer, 400, "bad-request")
        assert document["reasons"] == [
            {"code": "invalid", "message": "Extra inputs are not permitted", "rule": document["reasons"][0]["rule"]}
        ]
        assert document["reasons"][0]["rule"].endswith("lifetme")
    assert world.counts() == before


@pytest.mark.parametrize("door", BODIES)
def test_a_declared_body_over_the_limit_gets_413(world: World, door: str) -> None:
    """A Content-Length over the limit is refused before the body is read, and the hint names the setting."""
    answer = world.local.request(*door.split(), content=b" " * (256 * 1024 + 1), headers=JSON)
    assert "limits.body_bytes" in problem(answer, 413, "too-large")["hint"]


@pytest.mark.parametrize("door", BODIES)
def test_a_chunked_body_over_the_limit_gets_413(world: World, door: str) -> None:
    """What arrives counts, not what a header promises: a body without a length is cut off at the limit."""
    read = 0

    def chunks() -> Iterator[bytes]:
        nonlocal read
        for _ in range(64):
            read += 64 * 1024
            yield b" " * 64 * 1024

    answer = world.local.request(*door.split(), content=chunks(), headers=JSON)
    assert read <= 6 * 64 * 1024
    problem(answer, 413, "too-large")


def test_a_body_at_the_limit_is_read(world: World) -> None:
    """Exactly the limit is not over it."""
    body = json.dumps(wish()).encode()
    assert world.local.post(f"{API}/certificates", content=body.ljust(256 * 1024), headers=JSON).status_code == 201


@pytest.mark.parametrize("door", BODIES)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_a_body_that_is_not_called_json_is_refused(world: World, door: str, kind: str | None) -> None:
    """A page in the browser of somebody with a client certificate can send text, and gets nothing done by it."""
    method, path = door.replace("/1a/", f"/{world.holder().serial}/").split()
    content = json.dumps(BODIES[door]).encode()
    client, before = world.as_(world.token(Role.ADMIN)), world.counts()
    answer = client.request(method, path, content=content, headers={} if kind is None else {"content-type": kind})
    assert answer.status_code in (400, 415), answer.text
    assert world.counts() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "["},
        {"Host": "a b\x00"},
        {"X-Forwarded-For": "x" * 10_000},
        {"Accept": "text/html"},
        {"Content-Length": "-1"},
        {"Idempotency-Key": "\x80\xff"},
        {"If-None-Match": '"' * 1000},
        {"Expect": "100-continue"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_odd_headers_are_no_error_of_ours(world: World, headers: dict[str, str]) -> None:
    """Whatever headers say, the answer is not a 5xx."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for method, path, body in (("GET", "/crl/issuing-1.crl", None), ("POST", f"{API}/certificates", wish())):
        assert world.local.request(method, path, json=body, headers=raw).status_code < 500


def test_an_error_of_ours_says_nothing_of_its_inside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected becomes a bare 500 problem on framework routes and hot ones alike."""

    def boom(*_args: object, **_named: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("ca.enrolment.authorise_issue", boom)
    monkeypatch.setattr("ca.tokens.list_tokens", boom)
    for answer in (world.local.post(f"{API}/certificates", json=wish()), world.local.get(f"{API}/tokens")):
        document = problem(answer, 500, "internal")
        assert set(document) == {"type", "title", "status", "code", "detail"}
        assert "inside" not in document["detail"]
