"""A real Kubernetes API on loopback: kube-apiserver over an etcd of its own, with throwaway certificates.

Both are started by a test and stopped by process id; there are no nodes and no controllers, only the API with its
authentication, authorization, validation and storage. Where they come from: `make peers` (`tests/apiserver`).
"""

from __future__ import annotations

import json
import os
import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ca import clock
from tests import peer
from tests.pebble import loopback_tls

ADMINS = "system:masters"


@dataclass(frozen=True)
class ClientFiles:
    """A client certificate and its key, as files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Kubernetes:
    """A Kubernetes API that runs; `admin` may do everything."""

    port: int
    server: str
    ca_file: Path
    admin: httpx.Client
    home: Path

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask as the administrator; None for what is not there."""
        reply = self.admin.request(method, path, json=body)
        if reply.status_code == 404:
            return None
        assert reply.is_success, reply.text
        return reply.json()

    def namespace(self, name: str) -> str:
        """Make an empty namespace; returns its name."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def read(self, namespace: str, plural: str, name: str) -> Any:
        """An object as it is stored; None if there is none."""
        return self.call("GET", f"/api/v1/namespaces/{namespace}/{plural}/{name}")

    def account(self, namespace: str, name: str, *, verbs: Sequence[str] = ("get", "create", "update")) -> str:
        """Make a service account that may do this with Secrets and ConfigMaps of its namespace; returns its name."""
        base, rbac = f"/api/v1/namespaces/{namespace}", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        self.call("POST", f"{base}/serviceaccounts", {"metadata": {"name": name}})
        rule = {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": list(verbs)}
        self.call("POST", f"{rbac}/roles", {"metadata": {"name": name}, "rules": [rule]})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        self.call("POST", f"{rbac}/rolebindings", binding)
        return name

    def token(self, namespace: str, account: str, *, bound_to: str | None = None, audience: str | None = None) -> str:
        """A token of an account for an hour, or as long as a Secret exists; for the API, or for somebody else."""
        spec: dict[str, Any] = {"expirationSeconds": 3600}
        if audience is not None:
            spec["audiences"] = [audience]
        if bound_to is not None:
            spec["boundObjectRef"] = {"kind": "Secret", "apiVersion": "v1", "name": bound_to}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return str(self.call("POST", path, {"spec": spec})["status"]["token"])

    def client(self, name: str, *groups: str) -> ClientFiles:
        """A client certificate by the CA that the API trusts for them."""
        return _client(self.home, name, *groups)


def content(found: Mapping[str, Any]) -> dict[str, bytes]:
    """The files in a Secret or a ConfigMap."""
    if found["kind"] == "Secret":
        return {name: b64decode(value) for name, value in (found.get("data") or {}).items()}
    texts = {name: value.encode() for name, value in (found.get("data") or {}).items()}
    return texts | {name: b64decode(value) for name, value in (found.get("binaryData") or {}).items()}


@contextmanager
def kubernetes(home: Path) -> Iterator[Kubernetes]:
    """Run etcd and kube-apiserver."""
    etcd, program = peer.require("etcd"), peer.require("kube-apiserver")
    home.mkdir(parents=True, exist_ok=True)
    tls = loopback_tls(home / "tls")
    _make_client_ca(home)
    signing = _pem(home / "accounts.key", rsa.generate_private_key(65537, 2048))
    port = peer.free_port()
    with ExitStack() as stack:
        storage = stack.enter_context(_etcd(etcd, home))
        argv: list[str | Path] = [program, f"--etcd-servers={storage}", "--bind-address=127.0.0.1"]
        argv += [f"--secure-port={port}", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        argv += [f"--tls-cert-file={tls.certificate}", f"--tls-private-key-file={tls.key}"]
        argv += [f"--client-ca-file={home / 'clients.pem'}", "--authorization-mode=RBAC", "--anonymous-auth=false"]
        argv += ["--service-account-issuer=https://kubernetes.test", f"--service-account-key-file={signing}"]
        argv += [f"--service-account-signing-key-file={signing}", "--service-cluster-ip-range=10.0.0.0/24"]
        argv += ["--profiling=false"]
        admin = stack.enter_context(_admin(home, f"https://127.0.0.1:{port}", tls.ca_file))
        env = {**os.environ, "GOMAXPROCS": "2"}
        stack.enter_context(peer.running(argv, ready=lambda: _is_ready(admin), log=home / "log", timeout=120, env=env))
        yield Kubernetes(port, f"https://127.0.0.1:{port}", tls.ca_file, admin, home)


@contextmanager
def _etcd(program: str, home: Path) -> Iterator[str]:
    client, between = (f"http://127.0.0.1:{peer.free_port()}" for _ in range(2))
    argv: list[str | Path] = [program, f"--data-dir={home / 'etcd'}", "--unsafe-no-fsync"]
    argv += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    argv += [f"--listen-peer-urls={between}", f"--initial-advertise-peer-urls={between}"]
    argv += [f"--initial-cluster=default={between}"]

    def ready() -> bool:
        try:
            return httpx.get(f"{client}/health", trust_env=False).json() == {"health": "true"}
        except (httpx.HTTPError, json.JSONDecodeError):
            return False

    with peer.running(argv, ready=ready, log=home / "etcd.log", timeout=60):
        yield client


@contextmanager
def _admin(home: Path, server: str, ca_file: Path) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(ca_file))
    files = _client(home, "admin", ADMINS)
    context.load_cert_chain(files.certificate, files.key)
    with httpx.Client(base_url=server, verify=context, trust_env=False, timeout=30) as client:
        yield client


def _is_ready(admin: httpx.Client) -> bool:
    """Including that the roles that it comes with are there."""
    try:
        return admin.get("/readyz").status_code == 200 and admin.get("/api/v1/namespaces/default").status_code == 200
    except httpx.HTTPError:
        return False


def _pem(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


_CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clients of the test API")])


def _make_client_ca(home: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_CA_NAME, key.public_key())
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    _pem(home / "clients.key", key)
    (home / "clients.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def _client(home: Path, name: str, *groups: str) -> ClientFiles:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    issuer = load_pem_private_key((home / "clients.key").read_bytes(), None)
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    parts += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _builder(x509.Name(parts), key.public_key()).add_extension(usage, critical=False).sign(issuer, hashes.SHA256())
    )
    files = ClientFiles(home / f"{name}.pem", _pem(home / f"{name}.key", key))
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    return files


def _builder(subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = clock.now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_CA_NAME)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
    )
