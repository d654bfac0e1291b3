"""JSON Web Tokens as clusters and CI systems make them, and what settings say of their issuers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jwt

from ca import clock
from tests.provider import Key, as_jwk, make_key

AUDIENCE = "certwright"
CLUSTER, FORGE = "https://kubernetes.default.svc.cluster.local", "https://ci.example.org"
GRANTS: Mapping[str, list[dict[str, Any]]] = {
    "cluster": [
        {
            "where": {"sub": "system:serviceaccount:*:*"},
            "role": "requester",
            "profiles": ["mesh"],
            "attributes": {"namespace": "/kubernetes.io/namespace", "node": "/kubernetes.io/node/name"},
        }
    ],
    "forge": [
        {
            "where": {"sub": "repo:acme/{namespace}:ref:refs/heads/main", "ref_protected": "true"},
            "role": "requester",
            "profiles": ["mesh", "server"],
        },
        {"where": {"groups": "pki-audit"}, "role": "auditor"},
    ],
}


@cache
def _key(_issuer: str, algorithm: str, _place: int) -> Key:
    return make_key(algorithm)


def key_of(issuer: str, algorithm: str = "ES256", place: int = 0) -> Key:
    """The keys of an issuer, each made once."""
    return _key(issuer, algorithm, place)


def jwks(*described: Mapping[str, Any]) -> bytes:
    """A set of keys as it is served."""
    return json.dumps({"keys": list(described)}).encode()


def public(issuer: str, kid: str, algorithm: str = "ES256", place: int = 0) -> dict[str, Any]:
    """One of them, as its issuer publishes it."""
    return as_jwk(key_of(issuer, algorithm, place), algorithm, kid)


def entry(name: str, issuer: str, **more: Any) -> dict[str, Any]:
    """What the settings say of an issuer."""
    return {
        "name": name,
        "issuer": issuer,
        "audience": AUDIENCE,
        "algorithms": ["ES256"],
        "grants": GRANTS[name],
        **more,
    }


def cluster_in(state: Path, **more: Any) -> dict[str, Any]:
    """The cluster, with its keys in a file of the state directory."""
    (state / "cluster.json").write_bytes(jwks(public(CLUSTER, "c-1")))
    return entry("cluster", CLUSTER, jwks_file="cluster.json", **more)


def service_account(**changes: Any) -> dict[str, Any]:
    """The claims of a projected service account token (Kubernetes 1.30 and later); None leaves something out."""
    now, namespace, name = clock.timestamp(), changes.pop("namespace", "payments"), changes.pop("account", "api")
    said = {
        "aud": [AUDIENCE],
        "exp": now + 3600,
        "iat": now,
        "iss": CLUSTER,
        "jti": "6b6dfb3b-1f8f-4a6d-9a4f-1f1f0a9c1a11",
        "kubernetes.io": {
            "namespace": namespace,
            "node": {"name": "node-1", "uid": "c1f5a0a4-54b4-4b33-8a25-6a3e0a3b7a01"},
            "pod": {"name": "api-6d4c75cb6d-hbwxs", "uid": "9d3c5d8c-8b3b-4f1e-9d7a-3b6e7f0c2b7f"},
            "serviceaccount": {"name": name, "uid": "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"},
        },
        "nbf": now,
        "sub": f"system:serviceaccount:{namespace}:{name}",
        **changes,
    }
    return {claim: value for claim, value in said.items() if value is not None}


def job(**changes: Any) -> dict[str, Any]:
    """The claims of a job of a CI system."""
    now = clock.timestamp()
    said = {
        "iss": FORGE,
        "aud": AUDIENCE,
        "sub": "repo:acme/payments:ref:refs/heads/main",
        "repository": "acme/payments",
        "ref_protected": True,
        "exp": now + 300,
        "iat": now,
        "nbf": now - 5,
        **changes,
    }
    return {claim: value for claim, value in said.items() if value is not None}


def signed(
    said: Mapping[str, Any], kid: str = "c-1", *, key: Any = None, algorithm: str = "ES256", **header: Any
) -> str:
    """A token; of the cluster, if nothing else is said."""
    content = json.dumps(said).encode()  # the library would not say what is odd
    return jwt.PyJWS().encode(content, key or key_of(CLUSTER), algorithm, {"typ": "", "kid": kid, **header})
