"""CAs with name constraints, and CAs beneath somebody else's root, over the API and from the command line."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock
from ca.access import Role
from ca.founding import Plan, self_signed
from ca.keys.algorithms import KeyType
from ca.x509.bundle import pem_certificate
from tests import rig
from tests.pki.conftest import API, LOCALLY, Warm, World, problem, wish

ROOT = rig.pooled_key(KeyType.P384, place=5)


def chain_for(request: str) -> str:
    """What somebody else's CA answers."""
    root = x509.load_der_x509_certificate(self_signed(ROOT, Plan("x", rig.common_name("Company"), KeyType.P384)))
    asked, now = x509.load_pem_x509_csr(request.encode()), clock.now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(root.subject)
        .public_key(asked.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(seconds=30))
        .not_valid_after(now + timedelta(days=30))
    )
    for extension in asked.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(asked.public_key()), critical=False)
    signed = builder.sign(ROOT, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode() + pem_certificate(root.public_bytes(Encoding.DER))


def test_a_ca_with_constraints(world: World) -> None:
    """It says what it may certify, and refuses the rest by that rule."""
    body = {"line": "issuing", "subject": "CN=Shop CA", "permit": ["dns:shop.example.internal"], "exclude": ["ip:::/0"]}
    with world.as_(LOCALLY) as admin:
        made = admin.post(f"{API}/authorities", json=body).raise_for_status().json()
        assert (made["permitted"], made["excluded"], made["key"]) == (body["permit"], body["exclude"], "here")
        admin.post(f"{API}/authorities/{made['name']}/state", json={"state": "active"}).raise_for_status()
        taken = wish("api.shop.example.internal", profile="server")
        assert admin.post(f"{API}/certificates", json=taken).json()["authority"] == made["name"]
        refused = problem(
            admin.post(f"{API}/certificates", json=wish("api.example.internal", profile="server")),
            422,
            "policy-refused",
        )
        assert [reason["code"] for reason in refused["reasons"]] == ["name-constrained"]
        problem(admin.post(f"{API}/authorities", json={**body, "permit": ["shop"]}), 400, "bad-constraint")


def test_from_request_to_chain(world: World) -> None:
    """Asked for, listed, answered once; the root stands in the bundle and in the list as one whose key is elsewhere."""
    body = {"line": "mesh", "subject": "CN=Mesh CA", "crl_shards": 2, "permit": ["uri:example.internal"]}
    with world.as_(LOCALLY) as admin:
        made = admin.post(f"{API}/authority-requests", json=body).raise_for_status().json()
        assert admin.get(f"{API}/authority-requests").json() == [made]
        assert admin.get(f"{API}/authority-requests/mesh-1").json() == made
        answer = {"certificates": chain_for(made["csr"])}
        row = admin.post(f"{API}/authority-requests/mesh-1/chain", json=answer).raise_for_status().json()
        assert (row["name"], row["state"], row["parent"], row["key"]) == ("mesh-1", "active", "external-1", "here")
        assert row["permitted"] == ["uri:example.internal"]
        assert admin.get(f"{API}/authorities/external-1").json()["key"] == "elsewhere"
        assert admin.get(f"{API}/authorities/external-1/crls").json() == []
        assert (
            admin.get(f"{API}/authorities/external-1").json()["certificate"]
            in world.nobody.get("/bundles/roots.pem").text
        )
        problem(admin.post(f"{API}/authority-requests/mesh-1/chain", json=answer), 404, "unknown-request")
        assert len(admin.get(f"{API}/authorities/mesh-1/crls").json()) == 3
        assert '"is_sound": true' in admin.post(f"{API}/ledger/verify", json={}).text
        assert admin.get("/metrics").status_code == 200
    for page in ("/", "/authorities"):
        assert world.local.get(page).status_code == 200, page


def test_a_request_is_given_up(world: World) -> None:
    """By an admin; nobody else makes, answers or ends one."""
    body = {"line": "mesh", "subject": "CN=Mesh CA"}
    with world.as_(LOCALLY) as admin, world.as_(world.token(Role.OPERATOR)) as operator:
        problem(operator.post(f"{API}/authority-requests", json=body), 403, "forbidden")
        made = admin.post(f"{API}/authority-requests", json=body).raise_for_status().json()
        answer = {"certificates": chain_for(made["csr"])}
        problem(operator.post(f"{API}/authority-requests/mesh-1/chain", json=answer), 403, "forbidden")
        problem(operator.delete(f"{API}/authority-requests/mesh-1"), 403, "forbidden")
        assert admin.delete(f"{API}/authority-requests/mesh-1").json() == made
        problem(admin.get(f"{API}/authority-requests/mesh-1"), 404, "unknown-request")


def test_the_command_line(state: Path, warm: Warm, tmp_path: Path) -> None:
    """Request, requests, accept, withdraw, and what the list of CAs shows then."""

    def run(*argv: str, code: int = 0) -> str:
        done = warm.run("--state", state, "ca", *argv, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert "certwright ca accept mesh-1" in run("request", "mesh", "--subject", "CN=Mesh CA", "-o", "mesh.csr")
    (tmp_path / "chain.pem").write_text(chain_for((tmp_path / "mesh.csr").read_text()))
    assert [row["name"] for row in json.loads(run("requests", "--json"))] == ["mesh-1"]
    assert "BEGIN CERTIFICATE REQUEST" in run("requests", "mesh-1")
    assert "external-1" in run("accept", "mesh-1", "chain.pem")
    shown = run("list")
    assert "elsewhere" in shown
    assert "external-1" not in run("crl")
    run("request", "other", "--subject", "CN=Other CA", "-o", "other.csr")
    assert "other-1 is withdrawn" in run("withdraw", "other-1", "--yes")
    assert "no CA waits" in run("requests")
    assert "unknown-request" in run("withdraw", "other-1", "--yes", "--json", code=1)
